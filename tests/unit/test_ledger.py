"""Sums of calls: for the session, by model and by test, and the same from several processes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from decimal import ROUND_UP, Context, Decimal, Inexact, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmtelemetry.facts import FinishReason, Usage
from pytest_llmtelemetry.limits.ledger import Ledger, Totals
from pytest_llmtelemetry.recording.event import Call, Event
from pytest_llmtelemetry.recording.owner import SESSION, Owner


ALICE = Owner(nodeid="test_a.py::test_alice", phase="call")


def call_event(
    cost: str | None = "0.02",
    usage: Usage | None = None,
    *,
    provider: str = "openai",
    model: str | None = "gpt-4o-mini",
    served_by: str = "live",
    owner: Owner = ALICE,
    **more: Any,
) -> Event:
    """The event of one accounted call."""
    counts = (usage or Usage()).counts()
    metadata = {
        "provider": provider,
        "model": model,
        "price_source": "override" if cost else "unpriced",
        "finish_reason": FinishReason.STOP,
        "served_by": served_by,
        "estimated": False,
        **more,
    }
    cost_usd = None if cost is None else Decimal(cost)
    return Event(
        name="llm.cost.calculated", measurements={"cost_usd": cost_usd, **counts}, metadata=metadata, owner=owner
    )


def ledger_of(events: Iterable[Event]) -> Ledger:
    """A ledger that heard these events."""
    ledger = Ledger()
    for event in events:
        ledger.hear(event)
    return ledger


FULL = Usage(
    input_tokens=10,
    output_tokens=5,
    total_tokens=15,
    cache_read_tokens=4,
    cache_write_tokens=3,
    cache_write_1h_tokens=2,
    reasoning_tokens=1,
)
FULL_SUMS: dict[str, Any] = {
    "input_tokens": 10,
    "output_tokens": 5,
    "cache_read_tokens": 4,
    "cache_stated": 1,
    "cache_write_tokens": 3,
    "reasoning_tokens": 1,
}

# -- one call ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "totals"),
    [
        (call_event("0.02", FULL), Totals(calls=1, spent_usd=Decimal("0.02"), **FULL_SUMS)),
        (
            call_event("0.02", FULL, served_by="mock"),
            Totals(calls=1, simulated_usd=Decimal("0.02"), **FULL_SUMS),
        ),
        (
            call_event("0.02", FULL, served_by="replay"),
            Totals(calls=1, simulated_usd=Decimal("0.02"), **FULL_SUMS),
        ),
        (call_event(None, FULL), Totals(calls=1, unpriced_live=1, **FULL_SUMS)),
        (call_event(None, FULL, served_by="mock"), Totals(calls=1, unpriced_simulated=1, **FULL_SUMS)),
        (call_event(None), Totals(calls=1, unpriced_live=1, without_usage=1)),
        (call_event("0", FULL), Totals(calls=1, **FULL_SUMS)),
        (
            call_event(None, Usage(input_tokens=3)),
            Totals(calls=1, unpriced_live=1, input_tokens=3, without_usage=1),
        ),
        (
            call_event(None, Usage(output_tokens=3)),
            Totals(calls=1, unpriced_live=1, output_tokens=3, without_usage=1),
        ),
    ],
    ids=["live", "mock", "replay", "unpriced live", "unpriced mock", "no usage", "free", "only input", "only output"],
)
def test_totals_of_one_call(event: Event, totals: Totals) -> None:
    """Live calls are spent, others simulated; what is not known is counted, not taken for zero."""
    assert Totals.of(Call.of(event)) == totals


# -- sums -------------------------------------------------------------------------------


money = st.decimals(min_value=0, max_value=10_000, places=12)
counts = st.integers(0, 1_000_000)
totals_ = st.builds(
    Totals,
    **{f.name: money if f.name.endswith("_usd") else counts for f in fields(Totals)},
)
"""For example Totals(calls=3, input_tokens=10, ..., spent_usd=Decimal("0.02"))."""


@given(one=totals_, two=totals_, three=totals_)
def test_addition_is_in_any_order(one: Totals, two: Totals, three: Totals) -> None:
    """Totals can be added in any order and grouping, and no totals at all change nothing."""
    assert one + two == two + one
    assert (one + two) + three == one + (two + three)
    assert one + Totals() == one


@given(one=totals_, two=totals_)
def test_addition_adds_every_field(one: Totals, two: Totals) -> None:
    """No field is forgotten."""
    added = one + two
    assert {f.name: getattr(added, f.name) for f in fields(Totals)} == {
        f.name: getattr(one, f.name) + getattr(two, f.name) for f in fields(Totals)
    }


def test_what_follows_from_totals() -> None:
    """Cost is spent and simulated, unpriced is live and simulated, tokens are input and output."""
    totals = Totals(
        spent_usd=Decimal("0.1"),
        simulated_usd=Decimal("0.02"),
        unpriced_live=1,
        unpriced_simulated=2,
        input_tokens=10,
        output_tokens=5,
        cache_read_tokens=4,
        cache_stated=1,
        reasoning_tokens=3,
    )
    assert (totals.cost_usd, totals.unpriced, totals.tokens) == (Decimal("0.12"), 3, 15)


def test_sums_are_exact_in_any_context() -> None:
    """The decimal context of the code under test does not round money."""
    with localcontext(Context(prec=2, rounding=ROUND_UP, traps=[Inexact])):
        ledger = ledger_of([call_event("1.0001"), call_event("2.0002", served_by="mock")])
        cost = ledger.totals.cost_usd
    assert cost == Decimal("3.0003")


# -- the ledger -------------------------------------------------------------------------


def test_empty_ledger_has_empty_totals() -> None:
    """Nothing is nothing."""
    assert Ledger().totals == Totals()


def test_calls_are_summed_by_model_and_by_owner() -> None:
    """Each call counts once for its model, once for its test or fixture, and once in all."""
    fixture = Owner(fixture="index", scope="session")
    again = Owner(nodeid=ALICE.nodeid, phase="teardown", attempt=2)
    ledger = ledger_of(
        [
            call_event("0.01"),
            call_event("0.02", owner=again),
            call_event("0.04", provider="azure", owner=fixture),
            call_event("0.08", provider="anthropic", model="claude-haiku-4-5", served_by="mock", owner=fixture),
            call_event("0.16", model=None, owner=SESSION),
        ]
    )
    no_usage: dict[str, Any] = {"without_usage": 1}
    assert ledger.by_model == {
        ("openai", "gpt-4o-mini"): Totals(calls=2, spent_usd=Decimal("0.03"), without_usage=2),
        ("azure", "gpt-4o-mini"): Totals(calls=1, spent_usd=Decimal("0.04"), **no_usage),
        ("anthropic", "claude-haiku-4-5"): Totals(calls=1, simulated_usd=Decimal("0.08"), **no_usage),
        ("openai", "unnamed model"): Totals(calls=1, spent_usd=Decimal("0.16"), **no_usage),
    }
    assert ledger.by_owner == {
        "test_a.py::test_alice": Totals(calls=2, spent_usd=Decimal("0.03"), without_usage=2),
        "[fixture index, session]": Totals(
            calls=2, spent_usd=Decimal("0.04"), simulated_usd=Decimal("0.08"), without_usage=2
        ),
        "[session]": Totals(calls=1, spent_usd=Decimal("0.16"), **no_usage),
    }
    assert ledger.totals == Totals(calls=5, spent_usd=Decimal("0.23"), simulated_usd=Decimal("0.08"), without_usage=5)


@pytest.mark.parametrize(
    ("provider", "host", "name"),
    [
        ("unknown", "llm.internal", "at llm.internal"),
        ("unknown", None, "unknown"),
        ("openai", "api.openai.com", "openai"),
    ],
)
def test_unknown_provider_is_named_by_its_host(provider: str, host: str | None, name: str) -> None:
    """A host that is nobody's stands in for the provider."""
    ledger = ledger_of([call_event(provider=provider, host=host)])
    assert [*ledger.by_model] == [(name, "gpt-4o-mini")]


def test_reasons_of_unpriced_calls_are_counted() -> None:
    """Each reason is counted by provider and model."""
    ledger = ledger_of(
        [
            call_event(None, unpriced_reason="no usage"),
            call_event(None, unpriced_reason="no usage", served_by="mock"),
            call_event(None, unpriced_reason="no price", provider="unknown", host="h", model=None),
            call_event(None),
            call_event("0.02", unpriced_reason="not asked for"),
        ]
    )
    assert ledger.unpriced == {
        "openai gpt-4o-mini: no usage": 2,
        "at h unnamed model: no price": 1,
        "openai gpt-4o-mini: unknown": 1,
    }


@pytest.mark.parametrize(
    ("name", "metadata", "notes"),
    [
        ("llm.response.truncated", {}, {"llm.response.truncated": 2}),
        ("llm.context.truncation.stop", {}, {"llm.context.truncation.stop": 2}),
        ("llm.context.truncation.stop", {"truncated": True}, {"llm.context.truncation.stop": 2}),
        ("llm.context.truncation.stop", {"truncated": False}, {}),
        ("llm.context.window.exceeded", {}, {"llm.context.window.exceeded": 2}),
        ("llm.context.window.exceeded", {"source": "application"}, {"llm.context.window.exceeded": 2}),
        ("llm.context.window.exceeded", {"source": "capture"}, {"prompt refused": 2}),
        ("llm.cache.lookup.hit", {}, {"llm.cache.lookup.hit": 2}),
        ("llm.cache.lookup.miss", {}, {"llm.cache.lookup.miss": 2}),
        ("llm.cost.threshold.exceeded", {"scope": "test"}, {"llm.cost.threshold.exceeded": 2}),
        ("llm.cost.threshold.exceeded", {"scope": "call"}, {"threshold of the application": 2}),
        ("llm.cost.threshold.exceeded", {"scope": "session"}, {}),
        ("llm.provider.request.exception", {"uncertain": True}, {"uncertain": 2}),
        ("llm.provider.request.exception", {"uncertain": False}, {}),
        ("llm.provider.request.stop", {"uncertain": False}, {}),
        ("llm.cache.lookup.hit", {"uncertain": True}, {"llm.cache.lookup.hit": 2}),
        ("app.answer.stop", {"uncertain": True}, {}),
        ("llm.tool.call", {}, {}),
        ("llm.context.truncation.start", {}, {}),
    ],
)
def test_events_that_the_report_counts(name: str, metadata: dict[str, Any], notes: dict[str, int]) -> None:
    """What the report mentions is counted by name; an application's own words are not mistaken for ours."""
    event = Event(name=name, metadata=metadata)
    ledger = ledger_of([event, event])
    assert (ledger.notes, ledger.totals) == (notes, Totals())


def test_event_that_only_has_the_name_is_not_counted() -> None:
    """An application may emit an event of the name of accounting's; that is no call."""
    event = Event(name="llm.cost.calculated", measurements={"cost_usd": 0.5}, metadata={"model": "gpt-4o"})
    assert ledger_of([event]) == Ledger()


# -- several processes ------------------------------------------------------------------


texts = st.text(max_size=8) | st.sampled_from(["openai", "gpt-4o", "é", "\u2028", "\ud800", "[x]", '"'])
ledgers = st.builds(
    Ledger,
    by_model=st.dictionaries(st.tuples(texts, texts), totals_, max_size=3),
    by_owner=st.dictionaries(texts, totals_, max_size=3),
    unpriced=st.dictionaries(texts, counts, max_size=3),
    notes=st.dictionaries(texts, counts, max_size=3),
    blind=st.dictionaries(texts, texts, max_size=3),
)


@given(ledger=ledgers)
def test_load_is_the_inverse_of_dump(ledger: Ledger) -> None:
    """A ledger survives the way to another process, whatever its names are, as one line of ASCII."""
    line = ledger.dump()
    assert Ledger.load(line) == ledger
    assert line.isascii()
    assert line.isprintable()


def test_dump_is_plain_json() -> None:
    """Amounts are written as text, so that no reader makes floats of them."""
    ledger = ledger_of([call_event("0.10", FULL)])
    (row,) = json.loads(ledger.dump())["by_model"]
    assert (row[:2], row[2]["spent_usd"], row[2]["calls"]) == (["openai", "gpt-4o-mini"], "0.10", 1)


call_events = st.builds(
    call_event,
    cost=st.none() | money.map(str),
    usage=st.none() | st.builds(Usage, input_tokens=st.none() | counts, output_tokens=counts),
    provider=st.sampled_from(["openai", "unknown"]),
    model=st.sampled_from(["gpt-4o-mini", None]),
    served_by=st.sampled_from(["live", "mock", "replay"]),
    owner=st.sampled_from([ALICE, SESSION]),
    host=st.sampled_from(["h", None]),
)
noted = st.builds(Event, name=st.sampled_from(["llm.cache.lookup.hit", "llm.response.truncated", "llm.tool.call"]))


@given(dealt=st.lists(st.tuples(st.integers(0, 3), call_events | noted), max_size=12))
def test_it_does_not_matter_which_process_heard_a_call(dealt: list[tuple[int, Event]]) -> None:
    """However events are dealt to processes, the merged ledger is that of one process that heard all."""
    alone = ledger_of(event for _, event in dealt)
    merged = Ledger()
    for process in range(4):
        merged.merge(Ledger.load(ledger_of(event for number, event in dealt if number == process).dump()))
    assert merged == alone
    assert merged.totals == alone.totals


def test_merge_joins_blind_spots() -> None:
    """What any process could not see is known in the end."""
    merged = Ledger(blind={"a": "openai"})
    merged.merge(Ledger(blind={"a": "openai", "b": "anthropic"}))
    assert merged.blind == {"a": "openai", "b": "anthropic"}


def test_merge_leaves_the_other_alone() -> None:
    """Merging changes one ledger, not two."""
    theirs = ledger_of([call_event("0.02"), Event(name="llm.cache.lookup.hit")])
    before = theirs.dump()
    mine = ledger_of([call_event("0.01")])
    mine.merge(theirs)
    mine.hear(call_event("0.04"))
    assert theirs.dump() == before
