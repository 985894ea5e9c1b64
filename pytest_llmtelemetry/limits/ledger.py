"""Adds calls up: for the session, by model, and by test or fixture.

Everything is a sum, so that the ledgers of several processes can be merged.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal, localcontext
from typing import Any, Self

from pytest_llmtelemetry.facts import Usage
from pytest_llmtelemetry.money import MONEY
from pytest_llmtelemetry.recording.event import Call, Event, is_call
from pytest_llmtelemetry.telemetry.names import (
    CACHE_HIT,
    CACHE_MISS,
    CAPTURE,
    CONTEXT_TRUNCATION,
    REQUEST,
    RESPONSE_TRUNCATED,
    THRESHOLD,
    WINDOW_EXCEEDED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What a number of calls came to."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_stated: int = 0
    """Calls that said how much they read from the prompt cache, be it nothing."""
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    spent_usd: Decimal = Decimal(0)
    """Paid for: live calls."""
    simulated_usd: Decimal = Decimal(0)
    """What mocked and replayed calls would have cost."""
    unpriced_live: int = 0
    """Live calls whose price nobody knows."""
    unpriced_simulated: int = 0
    without_usage: int = 0
    """Calls that did not state their tokens: the token sums are lower bounds."""

    @classmethod
    def of(cls, call: Call) -> Totals:
        """The totals of one call."""
        usage = call.usage or Usage()
        live = call.served_by == "live"
        cost = call.cost_usd or Decimal(0)
        return cls(
            calls=1,
            input_tokens=usage.input_tokens or 0,
            output_tokens=usage.output_tokens or 0,
            cache_read_tokens=usage.cache_read_tokens or 0,
            cache_stated=int(usage.cache_read_tokens is not None),
            cache_write_tokens=usage.cache_write_tokens or 0,
            reasoning_tokens=usage.reasoning_tokens or 0,
            spent_usd=cost if live else Decimal(0),
            simulated_usd=Decimal(0) if live else cost,
            unpriced_live=int(live and call.cost_usd is None),
            unpriced_simulated=int(not live and call.cost_usd is None),
            without_usage=int(usage.input_tokens is None or usage.output_tokens is None),
        )

    def __add__(self, other: Totals) -> Totals:
        with localcontext(MONEY):
            return replace(self, **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Totals)})

    @property
    def cost_usd(self) -> Decimal:
        """Spent and simulated, of the calls whose price is known."""
        with localcontext(MONEY):
            return self.spent_usd + self.simulated_usd

    @property
    def unpriced(self) -> int:
        """Calls whose price nobody knows."""
        return self.unpriced_live + self.unpriced_simulated

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


_NONE = Totals()


@dataclass(slots=True)
class Ledger:
    """All sums of a session. Fed with events, one after the other."""

    by_model: dict[tuple[str, str], Totals] = field(default_factory=dict)
    """By provider and model."""
    by_owner: dict[str, Totals] = field(default_factory=dict)
    """By node id, or ``[fixture NAME, scope]``."""
    unpriced: dict[str, int] = field(default_factory=dict)
    """Why calls are unpriced, and how many."""
    notes: dict[str, int] = field(default_factory=dict)
    """How often each event happened that the report counts."""
    pending: set[str] = field(default_factory=set)
    """Ids of the live answers that a provider works on in the background, and that nobody has asked for yet."""
    blind: dict[str, str] = field(default_factory=dict)
    """Provider hosts that were contacted through a stack that has no seam."""
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)
    """Streams end in any thread, and finalisers run in the middle of anything."""

    @property
    def totals(self) -> Totals:
        """The sum of everything."""
        total = _NONE
        for part in self.by_model.values():
            total += part
        return total

    @property
    def uncertain(self) -> int:
        """Live requests of which nobody knows what they cost: never answered, or never asked for again."""
        return self.notes.get(UNCERTAIN, 0) + len(self.pending)

    def hear(self, event: Event) -> None:
        """Take an event into account."""
        with self._lock:
            self._hear(event)

    def _hear(self, event: Event) -> None:
        if is_call(event):
            self._add(Call.of(event))
            self.pending.discard(str(event.metadata.get("response_id")))
        elif event.name == REQUEST_FAILED and event.metadata.get("uncertain"):
            self._note(UNCERTAIN)
        elif event.name == REQUEST_ANSWERED and event.metadata.get("pending"):
            if event.metadata.get("served_by") == "live":
                self.pending.add(str(event.metadata.get("response_id")))
        elif event.name == THRESHOLD:
            scope = event.metadata.get("scope")
            if scope != "session":  # the sums show that one; workers would count it once each
                self._note(THRESHOLD if scope == "test" else OWN_THRESHOLD)
        elif event.name == WINDOW_EXCEEDED and event.metadata.get("source") == CAPTURE:
            self._note(PROMPT_REFUSED)
        elif event.name in COUNTED:
            if event.name == TRUNCATED and event.metadata.get("truncated") is False:
                return
            self._note(event.name)

    def _note(self, name: str) -> None:
        self.notes[name] = self.notes.get(name, 0) + 1

    def _add(self, call: Call) -> None:
        totals = Totals.of(call)
        host = call.event.metadata.get("host")
        provider = f"at {host}" if call.provider == "unknown" and host else call.provider
        model = (provider, call.model or "unnamed model")
        owner = call.event.owner.label
        self.by_model[model] = self.by_model.get(model, _NONE) + totals
        self.by_owner[owner] = self.by_owner.get(owner, _NONE) + totals
        if call.cost_usd is None:
            why = f"{model[0]} {model[1]}: {call.event.metadata.get('unpriced_reason', 'unknown')}"
            self.unpriced[why] = self.unpriced.get(why, 0) + 1

    # -- from one process to another: ASCII JSON, because xdist dies of anything richer --------

    def dump(self) -> str:
        """Write the ledger as one line of ASCII JSON."""
        document = {
            "by_model": [[*key, _dump_totals(part)] for key, part in self.by_model.items()],
            "by_owner": [[key, _dump_totals(part)] for key, part in self.by_owner.items()],
            "unpriced": self.unpriced,
            "notes": self.notes,
            "pending": sorted(self.pending),
            "blind": self.blind,
        }
        return json.dumps(document, ensure_ascii=True)

    @classmethod
    def load(cls, text: str) -> Self:
        """Read what :meth:`dump` wrote."""
        document = json.loads(text)
        return cls(
            by_model={(provider, model): _load_totals(part) for provider, model, part in document["by_model"]},
            by_owner={owner: _load_totals(part) for owner, part in document["by_owner"]},
            unpriced=document["unpriced"],
            notes=document["notes"],
            pending=set(document["pending"]),
            blind=document["blind"],
        )

    def merge(self, other: Ledger) -> None:
        """Add the sums of another process."""
        for model, part in other.by_model.items():
            self.by_model[model] = self.by_model.get(model, _NONE) + part
        for owner, part in other.by_owner.items():
            self.by_owner[owner] = self.by_owner.get(owner, _NONE) + part
        for mine, theirs in ((self.unpriced, other.unpriced), (self.notes, other.notes)):
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
        self.pending |= other.pending
        self.blind.update(other.blind)


OWN_THRESHOLD = "threshold of the application"
"""Noted where the application announced that it crossed a threshold of its own."""

PROMPT_REFUSED = "prompt refused"
"""Noted where it was the provider who found a prompt too long."""

UNSEEN = "unseen"
"""Noted by a worker, for each time that watching itself failed there."""

UNCERTAIN = "uncertain"
"""Noted for a live request that was sent and never answered."""

TRUNCATED = f"{CONTEXT_TRUNCATION}.stop"

COUNTED = frozenset({RESPONSE_TRUNCATED, TRUNCATED, WINDOW_EXCEEDED, CACHE_HIT, CACHE_MISS})
"""The events that the report counts as they are."""

REQUEST_ANSWERED = f"{REQUEST}.stop"

REQUEST_FAILED = f"{REQUEST}.exception"
"""Ends a request that was not answered; it may be uncertain whether it was billed."""


def _dump_totals(totals: Totals) -> dict[str, Any]:
    return {f.name: _plain(getattr(totals, f.name)) for f in fields(Totals)}


def _plain(value: int | Decimal) -> int | str:
    return str(value) if isinstance(value, Decimal) else value


def _load_totals(document: Mapping[str, Any]) -> Totals:
    known: dict[str, Any] = {
        key: Decimal(value) if isinstance(value, str) else value for key, value in document.items()
    }
    return Totals(**known)
