"""The budget, in the core: every case in which it holds beside the one in which it does not."""

from __future__ import annotations

from decimal import ROUND_UP, Context, Decimal, Inexact, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmtelemetry.limits.ledger import Totals
from pytest_llmtelemetry.limits.verdict import Limits, Verdict, judge, over_budget


def spent(amount: str = "0", *, simulated: str = "0", live: int = 0, mocked: int = 0) -> Totals:
    """Totals of so many dollars, and of so many unpriced live and mocked calls."""
    return Totals(
        calls=1,
        spent_usd=Decimal(amount),
        simulated_usd=Decimal(simulated),
        unpriced_live=live,
        unpriced_simulated=mocked,
    )


def budget(amount: str | None) -> Limits:
    """A limit on the cost of the session."""
    return Limits(max_cost=None if amount is None else Decimal(amount))


_UNPROVEN = "LLM budget not proven: 1 live call is unpriced; give prices with --llm-prices or llm_hosts"
_LOST = "LLM budget not proven: a worker was lost, and the total is a lower bound"


@pytest.mark.parametrize(
    ("limit", "totals", "complete", "messages"),
    [
        ("5", Totals(), True, []),
        ("5", spent("4.99"), True, []),
        ("5", spent("5"), True, []),
        ("5", spent("5.00"), True, []),
        ("5", spent("4.999999999999"), True, []),
        (
            "5",
            spent("5.000000000001"),
            True,
            ["LLM budget exceeded by $0.000000000001: $5.00 of $5.00"],
        ),
        ("5", spent("7.5"), True, ["LLM budget exceeded by $2.50: $7.50 of $5.00"]),
        ("5", spent(simulated="7.5"), True, ["LLM budget exceeded by $2.50: $7.50 of $5.00"]),
        ("5", spent("3", simulated="2"), True, []),
        ("5", spent("3", simulated="2.01"), True, ["LLM budget exceeded by $0.0100: $5.01 of $5.00"]),
        ("0", Totals(), True, []),
        ("0", spent("0"), True, []),
        ("0", spent("0.000000000001"), True, ["LLM budget exceeded by $0.000000000001: $0.000000000001 of $0.00"]),
        ("0", spent(simulated="0.02"), True, ["LLM budget exceeded by $0.0200: $0.0200 of $0.00"]),
        ("5", spent("1", mocked=3), True, []),
        ("5", spent("1", live=1), True, [_UNPROVEN]),
        (
            "5",
            spent("1", live=1234, mocked=1),
            True,
            ["LLM budget not proven: 1234 live calls are unpriced; give prices with --llm-prices or llm_hosts"],
        ),
        ("0", spent(live=1), True, [_UNPROVEN]),
        ("5", spent("1"), False, [_LOST]),
        ("5", Totals(), False, [_LOST]),
        ("5", spent("6", live=1), False, ["LLM budget exceeded by $1.00: $6.00 of $5.00", _UNPROVEN, _LOST]),
        (None, spent("1000000"), True, []),
        (None, spent(live=3), True, []),
        (None, spent("1"), False, []),
    ],
    ids=[
        "no call",
        "under",
        "exactly at",
        "exactly at, with cents",
        "a trillionth under",
        "a trillionth over",
        "over",
        "over by mocks alone",
        "live and mocks together, exactly at",
        "live and mocks together, over",
        "zero budget, no call",
        "zero budget, free call",
        "zero budget, a trillionth",
        "zero budget, a mock",
        "unpriced mocks",
        "one unpriced live call",
        "many unpriced live calls",
        "zero budget, unpriced live call",
        "incomplete",
        "incomplete without a call",
        "everything at once",
        "no limit",
        "no limit, unpriced",
        "no limit, incomplete",
    ],
)
def test_budget(limit: str | None, totals: Totals, complete: bool, messages: list[str]) -> None:
    """Exactly equal is within; more is over; what cannot be shown to be within is not; no limit is never broken."""
    verdicts = judge(budget(limit), totals, unseen=() if complete else ["a worker was lost"])
    assert verdicts == tuple(Verdict(limit="max_cost", message=message) for message in messages)


@pytest.mark.parametrize(
    ("limit", "totals", "excess"),
    [
        ("5", spent("5"), None),
        ("5", spent("5.000000000001"), "0.000000000001"),
        ("5", spent("3", simulated="4"), "2"),
        ("0", Totals(), None),
        (None, spent("9"), None),
        ("5", spent("1", live=1), None),
    ],
    ids=["exactly at", "a trillionth over", "mocks count", "zero", "no limit", "unpriced is not over"],
)
def test_excess(limit: str | None, totals: Totals, excess: str | None) -> None:
    """The excess is what is above the limit, exactly; None says that it is kept."""
    assert over_budget(budget(limit), totals) == (None if excess is None else Decimal(excess))


_money = st.decimals(min_value=0, max_value=1000, places=12)


@given(limit=_money, live=_money, simulated=_money)
def test_verdict_is_that_of_arithmetic(limit: Decimal, live: Decimal, simulated: Decimal) -> None:
    """With every price known there is a verdict if, and only if, the sum is above the limit."""
    totals = Totals(calls=1, spent_usd=live, simulated_usd=simulated)
    over = live + simulated > limit
    assert bool(judge(Limits(max_cost=limit), totals)) is over
    assert over_budget(Limits(max_cost=limit), totals) == (live + simulated - limit if over else None)


def test_verdict_does_not_depend_on_the_context_of_the_thread() -> None:
    """The decimal context of the code under test rounds nothing away, and raises nothing."""
    with localcontext(Context(prec=2, rounding=ROUND_UP, traps=[Inexact])):
        within = judge(budget("5"), spent("4.5", simulated="0.5"))
        verdicts = judge(budget("5"), spent("4.5", simulated="0.623456789012"))
    assert within == ()
    assert verdicts == (Verdict(limit="max_cost", message="LLM budget exceeded by $0.1235: $5.12 of $5.00"),)
