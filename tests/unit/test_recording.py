"""Events, whose they are, and the view of them that tests read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Context, Decimal, Inexact, localcontext
from typing import Any

import pytest

from pytest_llmtelemetry.facts import Ended, FinishReason, Usage
from pytest_llmtelemetry.recording import owner as owners
from pytest_llmtelemetry.recording.event import Call, Event
from pytest_llmtelemetry.recording.log import EventLog
from pytest_llmtelemetry.recording.owner import SESSION, Owner
from pytest_llmtelemetry.recording.recorder import Recorder
from pytest_llmtelemetry.telemetry import Span, bus, execute, span
from pytest_llmtelemetry.telemetry.clock import FixedClock, set_clock


COST = "llm.cost.calculated"
ALICE = Owner(nodeid="test_a.py::test_alice", phase="call")
BOB = Owner(nodeid="test_a.py::test_bob", phase="call")
INDEX = Owner(fixture="index", scope="session")


def cost_metadata(**more: Any) -> dict[str, Any]:
    """What accounting says beside the numbers."""
    return {
        "provider": "openai",
        "model": "gpt-4o-mini",
        "price_source": "override",
        "finish_reason": FinishReason.STOP,
        "served_by": "mock",
        "estimated": False,
        **more,
    }


def cost_event(cost: str | None = "0.02", usage: Usage | None = None, place: int = 0, **more: Any) -> Event:
    """The event of one accounted call."""
    counts = (usage or Usage()).counts()
    cost_usd = None if cost is None else Decimal(cost)
    return Event(name=COST, measurements={"cost_usd": cost_usd, **counts}, metadata=cost_metadata(**more), place=place)


def log_of(*events: Event) -> EventLog:
    """A log of these events."""
    return EventLog(lambda: events)


# -- owners -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "label"),
    [
        (ALICE, "test_a.py::test_alice"),
        (replace(ALICE, phase="setup", fixture="bot", scope="function"), "test_a.py::test_alice"),
        (replace(ALICE, attempt=2), "test_a.py::test_alice"),
        (INDEX, "[fixture index, session]"),
        (Owner(phase="collection"), "[collection]"),
        (SESSION, "[session]"),
    ],
    ids=["test", "its own fixture", "rerun", "wider fixture", "collection", "session"],
)
def test_label_of_an_owner(owner: Owner, label: str) -> None:
    """Reports name a test by its node id, and all else in brackets."""
    assert owner.label == label


@pytest.mark.parametrize(
    ("owner", "key"),
    [
        (ALICE, ("test_a.py::test_alice", 1)),
        (replace(ALICE, phase="teardown", fixture="bot", scope="function"), ("test_a.py::test_alice", 1)),
        (replace(ALICE, attempt=2), ("test_a.py::test_alice", 2)),
        (INDEX, (None, 1)),
        (Owner(phase="collection"), (None, 1)),
    ],
    ids=["test", "its own fixture", "rerun", "wider fixture", "collection"],
)
def test_key_of_an_owner(owner: Owner, key: tuple[str | None, int]) -> None:
    """All phases of one attempt at a test have the same key; what belongs to no test shares another."""
    assert owner.key == key


def test_swap_puts_an_owner_to_work() -> None:
    """Swapping returns who was at work before, so that it can be put back."""
    before = owners.current()
    assert owners.swap(ALICE) is before
    assert owners.current() is ALICE
    assert owners.swap(before) is ALICE
    assert owners.current() is before


# -- one event --------------------------------------------------------------------------


def test_event_is_read_by_key() -> None:
    """A measurement is found first, then a metadata value; what is neither is a KeyError."""
    event = Event(name="x", measurements={"n": 1, "both": 2}, metadata={"model": None, "both": 3})
    assert (event["n"], event["model"], event["both"]) == (1, None, 2)
    assert ["n" in event, "model" in event, "y" in event, 3 in event] == [True, True, False, False]
    with pytest.raises(KeyError, match="y"):
        event["y"]


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Event(name="x"), "<x>"),
        (
            Event(name="x", measurements={"duration_ns": 5}, metadata={"tool": "search", "model": None}),
            "<x tool='search', duration_ns=5>",
        ),
        (
            Event(
                name="x",
                measurements={"cost_usd": Decimal("0.0100")},
                metadata={"finish_reason": FinishReason.STOP, "ended": Ended.COMPLETE},
            ),
            "<x finish_reason=stop, ended=complete, cost_usd=0.0100>",
        ),
        (Event(name="x", metadata={"error": "wrong key sk-abcdefghijklmnop1234"}), "<x error='wrong key [redacted]'>"),
        (
            Event(name="x", metadata={"error": "a" * 70 + " sk-abcdefghijklmnop1234"}),
            "<x error='" + "a" * 70 + " [redacte…>",
        ),
        (Event(name="x", metadata={"sk-abcdefghijklmnop1234": 1}), "<x [redacted]=1>"),
        (Event(name="x", metadata={"prompt": "long " * 100}), "<x prompt='" + ("long " * 100)[:79] + "…>"),
        (Event(name="x", owner=ALICE, span_id=1, place=3), "<x>"),
    ],
    ids=[
        "bare",
        "None is left out",
        "values as words",
        "credential",
        "credential at the cut",
        "credential as a key",
        "long",
        "not ours",
    ],
)
def test_event_is_shown_on_one_short_line(event: Event, text: str) -> None:
    """A repr has the name and the values, without credentials, and no value is long."""
    assert repr(event) == text


# -- one call ---------------------------------------------------------------------------


def test_call_is_read_out_of_its_event() -> None:
    """A call has what accounting said, and knows its event."""
    usage = Usage(input_tokens=10, output_tokens=5, total_tokens=15, cache_read_tokens=4)
    event = cost_event("0.02", usage, doubts=("odd",))
    call = Call.of(event)
    assert call == Call(
        provider="openai",
        model="gpt-4o-mini",
        usage=replace(usage, doubts=("odd",)),
        cost_usd=Decimal("0.02"),
        price_source="override",
        finish_reason=FinishReason.STOP,
        served_by="mock",
        estimated=False,
        event=Event(name="another"),
    )
    assert call.event is event


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        (None, None),
        (Usage(), None),
        (Usage(input_tokens=0, output_tokens=0), Usage(input_tokens=0, output_tokens=0)),
    ],
    ids=["none", "empty", "zeros"],
)
def test_call_without_usage_has_none(usage: Usage | None, read: Usage | None) -> None:
    """A call that stated no tokens has no usage; zero tokens are a usage."""
    assert Call.of(cost_event(usage=usage)).usage == read


# -- the log ----------------------------------------------------------------------------


ONE, TWO, THREE = (Event(name=f"llm.{name}", metadata={"n": n}, place=n) for n, name in enumerate(("a.b", "a.c", "d")))


def test_log_is_a_sequence_in_order_of_place() -> None:
    """Events come in the order in which they happened, however they arrived."""
    log = log_of(THREE, ONE, TWO)
    assert [*log] == [ONE, TWO, THREE]
    assert (len(log), log[0], log[-1]) == (3, ONE, THREE)
    assert [*reversed(log)] == [THREE, TWO, ONE]
    assert log.names == ["llm.a.b", "llm.a.c", "llm.d"]
    with pytest.raises(IndexError):
        log[3]


@pytest.mark.parametrize("cut", [slice(1), slice(1, None), slice(None, None, -1), slice(5, 9)], ids=str)
def test_slice_of_a_log_is_a_log(cut: slice) -> None:
    """A slice has the events that a list would have, in order of place."""
    part = log_of(THREE, ONE, TWO)[cut]
    assert isinstance(part, EventLog)
    assert [*part] == sorted([ONE, TWO, THREE][cut], key=lambda event: event.place)


@pytest.mark.parametrize(
    ("item", "found"),
    [
        (ONE, True),
        (replace(ONE), True),
        (replace(ONE, place=7), False),
        ("llm.a.b", True),
        ("llm.a", False),
        ("llm.a.*", True),
        ("llm.?", True),
        ("LLM.D", False),
        ("app.*", False),
        (3, False),
    ],
    ids=repr,
)
def test_membership(item: object, found: bool) -> None:
    """An event, its name or a pattern of names can be `in` a log."""
    assert (item in log_of(ONE, TWO, THREE)) is found


@pytest.mark.parametrize(
    ("pattern", "subset", "found"),
    [
        ("*", {}, [ONE, TWO, THREE]),
        ("llm.a.*", {}, [ONE, TWO]),
        ("llm.d", {}, [THREE]),
        ("llm", {}, []),
        ("*", {"n": 1}, [TWO]),
        ("llm.a.*", {"n": 2}, []),
        ("*", {"n": 1, "m": 1}, []),
        ("*", {"m": None}, []),
    ],
    ids=str,
)
def test_filter(pattern: str, subset: dict[str, object], found: list[Event]) -> None:
    """A filter takes a pattern of names and a subset of values; what is missing equals nothing, not even None."""
    log = log_of(THREE, TWO, ONE).filter(pattern, **subset)
    assert isinstance(log, EventLog)
    assert [*log] == found


def test_filter_looks_at_measurements_first() -> None:
    """A value is looked up as `event[key]` is."""
    event = Event(name="x", measurements={"both": 1, "cost_usd": None}, metadata={"both": 2, "tool": "search"})
    log = log_of(event)
    assert [[*log.filter(both=1)], [*log.filter(both=2)], [*log.filter(cost_usd=None, tool="search")]] == [
        [event],
        [],
        [event],
    ]


def test_log_is_shown_line_by_line() -> None:
    """A repr is a timeline."""
    assert repr(log_of(TWO, ONE)) == "<EventLog of 2 events>\n  <llm.a.b n=0>\n  <llm.a.c n=1>"


def test_log_is_live() -> None:
    """A log shows what has happened since; what was filtered or cut out of it does not change."""
    events = [ONE]
    log = EventLog(lambda: events)
    part, filtered = log[:], log.filter("*")
    events.append(TWO)
    assert (len(log), len(part), len(filtered)) == (2, 1, 1)


def test_session_of_a_log() -> None:
    """A test's log leads to the events of wider fixtures; so do its parts. Without a session there are none."""
    wide = log_of(THREE)
    log = EventLog(lambda: [ONE], session=lambda: wide)
    assert (log.session, log.filter("*").session, log[:0].session) == (wide, wide, wide)
    assert [*log_of(ONE).session] == []


# -- sums -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("costs", "cost", "priced"),
    [
        ([], "0", "0"),
        (["0.02"], "0.02", "0.02"),
        (["0.02", "0.1"], "0.12", "0.12"),
        (["0.02", None], None, "0.02"),
        ([None], None, "0"),
        (["0"], "0", "0"),
    ],
    ids=["no call", "one", "two", "one is unpriced", "all are unpriced", "free"],
)
def test_cost_of_a_log(costs: list[str | None], cost: str | None, priced: str) -> None:
    """The cost is None if any call is unpriced; the priced part is known all the same, and zero without calls."""
    log = log_of(ONE, *(cost_event(one) for one in costs), TWO)
    assert (log.cost_usd, log.priced_cost_usd) == (None if cost is None else Decimal(cost), Decimal(priced))
    assert [call.cost_usd for call in log.calls] == [None if one is None else Decimal(one) for one in costs]


def test_cost_is_exact_in_any_context() -> None:
    """The decimal context of the code under test does not round money."""
    log = log_of(cost_event("1.00000001"), cost_event("2.00000002"))
    with localcontext(Context(prec=2, traps=[Inexact])):
        cost = log.cost_usd
    assert cost == Decimal("3.00000003")


@pytest.mark.parametrize(
    ("usages", "total"),
    [
        ([], Usage()),
        (
            [Usage(input_tokens=1, output_tokens=2), Usage(input_tokens=3, output_tokens=4, cache_read_tokens=1)],
            Usage(input_tokens=4, output_tokens=6, cache_read_tokens=1),
        ),
        ([Usage(input_tokens=1, output_tokens=2), None], Usage(input_tokens=1, output_tokens=2, partial=True)),
        ([None], Usage(partial=True)),
    ],
    ids=["no call", "two", "one stated nothing", "nobody stated anything"],
)
def test_usage_of_a_log(usages: list[Usage | None], total: Usage) -> None:
    """Tokens are summed over calls, and a call that stated none makes the sum partial."""
    assert log_of(ONE, *(cost_event(usage=usage) for usage in usages)).usage == total


def test_event_that_only_has_the_name_is_no_call() -> None:
    """An application may emit an event of the same name; it is shown, and is not counted."""
    foreign = Event(name=COST, measurements={"cost_usd": 0.5}, metadata={"model": "gpt-4o"})
    log = log_of(foreign, cost_event("0.02"))
    assert (len(log.filter(COST)), len(log.calls), log.cost_usd) == (2, 1, Decimal("0.02"))


# -- the recorder -----------------------------------------------------------------------


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """A recorder that listens, with two tests running."""
    one = Recorder()
    one.begin(ALICE.key)
    one.begin(BOB.key)
    undo = one.install()
    try:
        yield one
    finally:
        undo()


def test_event_is_kept_under_who_is_at_work(recorder: Recorder) -> None:
    """Each test's log has its own events, whole."""
    owners.swap(ALICE)
    execute("x", {"n": 1}, {"tool": "search"})
    owners.swap(BOB)
    execute("y")
    (event,) = recorder.log(ALICE.key)
    assert event == Event(
        name="x",
        measurements={"n": 1},
        metadata={"tool": "search"},
        owner=ALICE,
        place=event.place,
    )
    assert event.place > 0
    assert recorder.log(BOB.key).names == ["y"]


def test_phases_and_own_fixtures_belong_to_the_test(recorder: Recorder) -> None:
    """Set-up, call, teardown and function-scoped fixtures share the log of the test, each with its owner."""
    mine = [replace(ALICE, phase="setup", fixture="bot", scope="function"), ALICE, replace(ALICE, phase="teardown")]
    for owner in mine:
        owners.swap(owner)
        execute("x")
    assert [event.owner for event in recorder.log(ALICE.key)] == mine


def test_wider_fixtures_belong_to_the_session(recorder: Recorder) -> None:
    """Events of wider fixtures and of collection are in the session's log, and in no test's."""
    for owner in (Owner(phase="collection"), INDEX):
        owners.swap(owner)
        execute("wide")
    owners.swap(ALICE)
    execute("own")
    log = recorder.log(ALICE.key)
    assert log.names == ["own"]
    assert [event.owner.label for event in log.session] == ["[collection]", "[fixture index, session]"]
    assert recorder.session_log().names == ["wide", "wide"]
    assert not any(event.late for event in recorder.session_log())


def test_span_belongs_to_who_began_it(recorder: Recorder) -> None:
    """A span that ends under another owner stays with the first; its neighbours do not."""
    owners.swap(ALICE)
    work = span("work")
    inner = work.__enter__()
    owners.swap(BOB)
    execute("between")
    work.__exit__(None, None, None)
    assert recorder.log(ALICE.key).names == ["work.start", "work.stop"]
    assert recorder.log(BOB.key).names == ["between"]
    assert {event.span_id for event in [*recorder.log(ALICE.key), *recorder.log(BOB.key)]} == {inner.id}


def test_event_that_names_its_span_belongs_to_who_began_that(recorder: Recorder) -> None:
    """What is told in the middle of a span, with its ids, stays with the span."""
    owners.swap(ALICE)
    with span("work") as work:
        owners.swap(BOB)
        execute("work.chunk", {}, {"span_id": work.id, "parent_id": None})
    assert recorder.log(ALICE.key).names == ["work.start", "work.chunk", "work.stop"]
    assert len(recorder.log(BOB.key)) == 0


def test_span_that_fails_belongs_to_who_began_it(recorder: Recorder) -> None:
    """The same for .exception."""
    owners.swap(ALICE)
    work = span("work")
    work.__enter__()
    owners.swap(BOB)
    work.__exit__(ValueError, ValueError(), None)
    assert recorder.log(ALICE.key).names == ["work.start", "work.exception"]


def test_owner_that_is_stated_wins(recorder: Recorder) -> None:
    """Capture states whose request it was; that is no metadata of the event."""
    owners.swap(BOB)
    execute("x", {}, {"owner": ALICE, "tool": "search"})
    (event,) = recorder.log(ALICE.key)
    assert (event.owner, event.metadata) == (ALICE, {"tool": "search"})


def test_ids_of_spans_are_lifted_out_of_the_metadata(recorder: Recorder) -> None:
    """Span and parent are attributes of an event; one that is not of a span belongs to the span around it."""
    owners.swap(ALICE)
    with span("outer") as outer, span("inner", {"n": 1}) as inner:
        execute("x")
    execute("y")
    rows = [(event.name, event.span_id, event.parent_id) for event in recorder.log(ALICE.key)]
    assert rows == [
        ("outer.start", outer.id, None),
        ("inner.start", inner.id, outer.id),
        ("x", inner.id, outer.id),
        ("inner.stop", inner.id, outer.id),
        ("outer.stop", outer.id, None),
        ("y", None, None),
    ]
    assert dict(recorder.log(ALICE.key)[1].metadata) == {"n": 1}


@pytest.mark.parametrize(
    "metadata",
    [
        {"owner": "team-search"},
        {"owner": None},
        {"span_id": "4bf92f3577b34da6"},
        {"span_id": ["unhashable"]},
        {"parent_id": 7},
        {"span_id": "4bf92f3577b34da6", "parent_id": "00f067aa0ba902b7"},
    ],
    ids=str,
)
def test_words_of_the_application_are_left_alone(metadata: dict[str, Any], recorder: Recorder) -> None:
    """Applications have owners and spans of their own: they stay metadata, and do not stop the recorder."""
    owners.swap(ALICE)
    execute("x.start", {}, metadata)
    execute("x.stop", {}, metadata)
    first, second = recorder.log(ALICE.key)
    assert (first.metadata, first.owner, first.span_id, first.parent_id) == (metadata, ALICE, None, None)
    assert (second.name, second.metadata) == ("x.stop", metadata)


def test_events_come_in_the_order_in_which_they_happened(recorder: Recorder) -> None:
    """An event that was emitted late is at the place at which it happened."""
    owners.swap(ALICE)
    place = bus.ticket()
    execute("second")
    execute("first", at=place)
    assert recorder.log(ALICE.key).names == ["first", "second"]


def test_reading_a_log_settles_first() -> None:
    """What waits for its price is emitted before a log is read."""
    recorder = Recorder(settle=lambda: execute("settled"))
    recorder.begin(ALICE.key)
    recorder.install()
    owners.swap(ALICE)
    assert recorder.log(ALICE.key).names == ["settled"]
    assert len(recorder.log(ALICE.key)) == 2


def test_every_event_is_passed_on() -> None:
    """Sums hear every event, of whomever, also late ones."""
    passed: list[tuple[str, bool]] = []
    recorder = Recorder(on_event=lambda event: passed.append((event.name, event.late)))
    undo = recorder.install()
    owners.swap(SESSION)
    execute("wide")
    recorder.begin(ALICE.key)
    owners.swap(ALICE)
    execute("own")
    recorder.end(ALICE.key)
    execute("late")
    undo()
    execute("unheard")
    assert passed == [("wide", False), ("own", False), ("late", True)]


def test_late_event_is_not_in_the_log(recorder: Recorder) -> None:
    """What happens after a test has ended is not added to what its log says, even to who still holds it."""
    owners.swap(ALICE)
    log = recorder.log(ALICE.key)
    execute("own")
    recorder.end(ALICE.key)
    execute("late")
    assert log.names == ["own"]
    assert recorder.log(ALICE.key).names == []


def test_log_survives_its_test_for_who_holds_it(recorder: Recorder) -> None:
    """A log that is held keeps its events after the end; the recorder itself forgets them."""
    owners.swap(ALICE)
    execute("own")
    log = recorder.log(ALICE.key)
    recorder.end(ALICE.key)
    assert log.names == ["own"]
    assert recorder.log(ALICE.key).names == []


def test_rerun_begins_with_an_empty_log(recorder: Recorder) -> None:
    """A second attempt at the same test does not see the events of the first."""
    owners.swap(ALICE)
    execute("first")
    recorder.end(ALICE.key)
    again = replace(ALICE, attempt=2)
    recorder.begin(again.key)
    owners.swap(again)
    execute("second")
    assert recorder.log(again.key).names == ["second"]


def test_event_cannot_be_changed_by_who_reads_it(recorder: Recorder) -> None:
    """What was measured stays what was measured."""
    owners.swap(ALICE)
    execute("x", {"n": 1}, {"owner": ALICE, "tool": "search"})
    (event,) = recorder.log(ALICE.key)
    for values in (event.measurements, event.metadata):
        with pytest.raises(TypeError):
            values["n"] = 2  # type: ignore[index]
    assert (event.measurements, event.metadata) == ({"n": 1}, {"tool": "search"})


def test_an_event_that_cannot_be_kept_is_counted_and_the_next_is_kept() -> None:
    """A tap that raises is removed; the session would be blind from there on, and the budget would pass."""

    def broken(event: Event) -> None:
        if event.name == "app.bad":
            raise ValueError(event.name)

    recorder = Recorder(on_event=broken)
    undo = recorder.install()
    before = owners.swap(SESSION)
    try:
        bus.execute("app.bad")
        bus.execute("app.good")
    finally:
        owners.swap(before)
        undo()

    assert recorder.faults == 1
    assert recorder.session_log().names == ["app.bad", "app.good"]


def test_spans_of_the_same_id_have_an_owner_each(recorder: Recorder) -> None:
    """A test's own clock counts ids from 1 while a span of a wider fixture is open: each keeps its owner."""
    spans = []
    for owner in (ALICE, BOB):
        owners.swap(owner)
        undo = set_clock(FixedClock())
        spans.append(Span("work"))
        undo()
    outer, inner = spans
    inner.stop()
    outer.stop()
    assert [one.id for one in spans] == [1, 1]
    for owner in (ALICE, BOB):
        assert recorder.log(owner.key).names == ["work.start", "work.stop"]
