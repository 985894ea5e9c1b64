"""Is the session within its limits? A verdict is a value; what to do about it is decided elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

from pytest_llmtelemetry.limits.ledger import Totals
from pytest_llmtelemetry.money import MONEY, usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Upper bounds. ``None`` means none; exactly equal is within."""

    max_cost: Decimal | None = None
    """USD, spent and simulated together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A limit that was not kept, or cannot be shown to be kept."""

    limit: str
    """The field of :class:`Limits`."""
    message: str
    """One line for people."""


def over_budget(limits: Limits, totals: Totals) -> Decimal | None:
    """By how many USD the cost exceeds its limit, if it does."""
    if limits.max_cost is None or totals.cost_usd <= limits.max_cost:
        return None
    with localcontext(MONEY):
        return totals.cost_usd - limits.max_cost


def judge(limits: Limits, totals: Totals, *, unseen: Sequence[str] = ()) -> tuple[Verdict, ...]:
    """Compare what was spent with what may be.

    Args:
        unseen: why more may have been spent than is known; a limit is then not shown to be kept.
    """
    if limits.max_cost is None:
        return ()
    verdicts = []
    if (excess := over_budget(limits, totals)) is not None:
        verdicts.append(f"LLM budget exceeded by {usd(excess)}: {usd(totals.cost_usd)} of {usd(limits.max_cost)}")
    if totals.unpriced_live:
        calls = "1 live call is" if totals.unpriced_live == 1 else f"{totals.unpriced_live} live calls are"
        verdicts.append(f"LLM budget not proven: {calls} unpriced; give prices with --llm-prices or llm_hosts")
    verdicts += [f"LLM budget not proven: {reason}, and the total is a lower bound" for reason in unseen]
    return tuple(Verdict(limit="max_cost", message=message) for message in verdicts)
