"""All numbers of a session, as one frozen value. Every format is a function of it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext

from pytest_llmtelemetry.limits.ledger import (
    OWN_THRESHOLD,
    PROMPT_REFUSED,
    TRUNCATED,
    UNSEEN,
    Ledger,
    Totals,
)
from pytest_llmtelemetry.limits.verdict import Limits, Verdict, judge, over_budget
from pytest_llmtelemetry.money import MONEY
from pytest_llmtelemetry.telemetry.names import CACHE_HIT, CACHE_MISS, RESPONSE_TRUNCATED, THRESHOLD, WINDOW_EXCEEDED


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """What went to one model."""

    provider: str
    model: str
    totals: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerRow:
    """What one test or fixture came to."""

    label: str
    totals: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A session."""

    totals: Totals
    limits: Limits
    verdicts: tuple[Verdict, ...]
    models: tuple[ModelRow, ...]
    """Most expensive first."""
    owners: tuple[OwnerRow, ...]
    """Most expensive first."""
    truncated_responses: int
    truncated_contexts: int
    cache_hits: int
    """Of the application's own cache."""
    cache_misses: int
    thresholds_exceeded: int
    """Limits of this run on cost."""
    own_thresholds_exceeded: int
    """Thresholds of the application that it announced itself."""
    unpriced: tuple[tuple[str, int], ...]
    """Why calls are unpriced, and how many."""
    uncertain: int
    """Live requests that were sent and never answered: they may have been billed."""
    blind: tuple[tuple[str, str], ...]
    """Provider hosts that were contacted through a stack that has no seam, and whose they are."""
    faults: int
    """How often watching itself failed."""
    complete: bool
    """False if a worker was lost: all sums are lower bounds."""

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to tell."""
        nothing_seen = not (self.totals.calls or self.uncertain or self.blind or self.faults)
        return nothing_seen and self.limits.max_cost is None and not self._noted

    @property
    def misses_calls(self) -> bool:
        """True if there may have been calls that are in no sum."""
        return bool(self.uncertain or self.blind or self.faults) or not self.complete

    @property
    def is_lower_bound(self) -> bool:
        """True if more may have been spent than is known."""
        return self.misses_calls or bool(self.totals.unpriced_live)

    @property
    def prompt_cache_hit_rate(self) -> Decimal | None:
        """Cached input tokens over input tokens; ``None`` if no call spoke of its cache."""
        return _rate(self.totals.cache_read_tokens, self.totals.input_tokens) if self.totals.cache_stated else None

    @property
    def application_cache_hit_rate(self) -> Decimal | None:
        """Hits over look-ups; ``None`` without look-ups."""
        return _rate(self.cache_hits, self.cache_hits + self.cache_misses)

    @property
    def budget_used(self) -> Decimal | None:
        """Cost over budget; ``None`` without a budget, or with one of zero."""
        budget = self.limits.max_cost
        return _rate(self.totals.cost_usd, budget) if budget else None

    @property
    def _noted(self) -> bool:
        return bool(self.truncated_responses or self.truncated_contexts or self.cache_hits or self.cache_misses)


def summarise(ledger: Ledger, limits: Limits, *, faults: int = 0, complete: bool = True) -> Summary:
    """Bring a ledger into the form of the reports."""
    totals = ledger.totals
    notes = ledger.notes
    faults += notes.get(UNSEEN, 0)
    return Summary(
        totals=totals,
        limits=limits,
        verdicts=judge(limits, totals, unseen=_unseen(ledger, faults=faults, complete=complete)),
        models=tuple(
            sorted(
                (ModelRow(provider=who, model=model, totals=part) for (who, model), part in ledger.by_model.items()),
                key=lambda row: (row.totals.cost_usd.copy_negate(), -row.totals.calls, row.provider, row.model),
            )
        ),
        owners=tuple(
            sorted(
                (OwnerRow(label=label, totals=part) for label, part in ledger.by_owner.items()),
                key=lambda row: (row.totals.cost_usd.copy_negate(), -row.totals.tokens, row.label),
            )
        ),
        truncated_responses=notes.get(RESPONSE_TRUNCATED, 0),
        # An application that finds a prompt too long, and then truncates it, says so in two events.
        truncated_contexts=max(notes.get(TRUNCATED, 0), notes.get(WINDOW_EXCEEDED, 0)) + notes.get(PROMPT_REFUSED, 0),
        cache_hits=notes.get(CACHE_HIT, 0),
        cache_misses=notes.get(CACHE_MISS, 0),
        own_thresholds_exceeded=notes.get(OWN_THRESHOLD, 0),
        thresholds_exceeded=notes.get(THRESHOLD, 0) + int(over_budget(limits, totals) is not None),
        unpriced=tuple(sorted(ledger.unpriced.items())),
        uncertain=ledger.uncertain,
        blind=tuple(ledger.blind.items()),
        faults=faults,
        complete=complete,
    )


def _unseen(ledger: Ledger, *, faults: int, complete: bool) -> tuple[str, ...]:
    """Why calls may have been made that are in no sum."""
    reasons = [f"{host} was contacted through a stack that is not watched" for host in ledger.blind]
    if faults:
        reasons.append("watching failed")
    if not complete:
        reasons.append("a worker was lost")
    return tuple(reasons)


def _rate(part: int | Decimal, whole: int | Decimal) -> Decimal | None:
    with localcontext(MONEY):
        return Decimal(part) / Decimal(whole) if whole else None
