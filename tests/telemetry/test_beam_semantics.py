"""The semantics of BEAM `telemetry`, statement by statement: what is the same here, and what is not, and why.

The sections are the functions of the original: attach, attach_many, detach, list_handlers,
execute, the list of handlers during an event, a handler that fails, span, time. On purpose
everywhere: names are dotted strings instead of lists of atoms, and mistakes are exceptions
instead of error tuples, because those are what Python programs have.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pytest_llmtelemetry.errors import HandlerExistsError, HandlerNotFoundError
from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import (
    Attachment,
    FixedClock,
    attach,
    attach_many,
    detach,
    execute,
    list_handlers,
    span,
)


FAILURE = "telemetry.handler.failure"
WALL = 1_767_225_600_000_000_000
"""The date of a clock that stands still."""


class Listener:
    """A handler that remembers what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any], dict[str, Any], Any]] = []

    def __call__(self, event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: Any) -> None:
        self.calls.append((event, dict(measurements), dict(metadata), config))


def break_down(*args: object) -> None:
    """A handler that fails."""
    raise ValueError("sk-secret")


@pytest.fixture
def listener() -> Listener:
    """A handler that is not attached yet."""
    return Listener()


def attached() -> list[tuple[str, str]]:
    """Who hears what."""
    return [(one.handler_id, one.event) for one in list_handlers()]


def told(events: list[Event]) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Events as plain values."""
    return [(event.name, dict(event.measurements), dict(event.metadata)) for event in events]


# -- attach(id, event, handler, config) ---------------------------------------------------


def test_attach_is_attach_many_of_one_event(listener: Listener) -> None:
    """attach(id, event, ...) attaches what attach_many(id, [event], ...) attaches."""
    attach("a", "x", listener, 1)
    first = list_handlers()
    detach("a")
    attach_many("a", ["x"], listener, 1)
    assert first == list_handlers() == [Attachment(handler_id="a", event="x", handler=listener, config=1)]


def test_attach_calls_the_handler_with_four_arguments() -> None:
    """A handler is called with event, measurements, metadata and config, in this order."""
    calls: list[tuple[object, ...]] = []
    attach("a", "x.y", lambda *args: calls.append(args), config="config")
    execute("x.y", {"n": 1}, {"m": 2})
    assert calls == [("x.y", {"n": 1}, {"m": 2}, "config")]


@pytest.mark.parametrize("event", ["x", "y"], ids=["the same event", "another event"])
def test_attach_wants_an_id_that_no_event_has(event: str, listener: Listener) -> None:
    """Ids are unique over all events. Differs: a duplicate raises, because an error tuple is easy to overlook."""
    attach("a", "x", listener)
    with pytest.raises(HandlerExistsError):
        attach("a", event, Listener())
    assert attached() == [("a", "x")]


@pytest.mark.parametrize(
    ("event", "error"), [("", ValueError), (3, TypeError), (None, TypeError), (["x"], TypeError)], ids=repr
)
def test_attach_wants_an_event_name(event: Any, error: type[Exception], listener: Listener) -> None:
    """An event is named. Differs: by a string that is not empty, not by a list of atoms."""
    with pytest.raises(error, match="event name"):
        attach("a", event, listener)
    assert attached() == []


def test_attach_does_not_count_the_parameters_of_a_handler() -> None:
    """Differs: a wrong arity fails on the first event, because a callable need not say what it takes."""
    attach("a", "x", lambda event: None)  # type: ignore[misc,arg-type]
    before = attached()
    execute("x")
    assert (before, attached()) == ([("a", "x")], [])


def test_attach_has_nothing_to_say_about_lambdas(caplog: pytest.LogCaptureFixture) -> None:
    """Differs: no log line for a local function, because Python's are not slower, nor lost when code is reloaded."""
    caplog.set_level(0)
    attach("a", "x", lambda *args: None)
    assert caplog.records == []


# -- attach_many(id, events, handler, config) ---------------------------------------------


def test_attach_many_attaches_one_id_to_many_events(listener: Listener) -> None:
    """The handler hears each of the events, with its one config."""
    attach_many("a", ["x", "y"], listener, 1)
    for event in ("x", "y", "z"):
        execute(event)
    assert listener.calls == [("x", {}, {}, 1), ("y", {}, {}, 1)]


def test_attach_many_is_undone_by_one_failure() -> None:
    """A handler that fails on one event hears none of its others any more."""
    attach_many("a", ["x", "y"], break_down)
    execute("x")
    assert attached() == []


def test_attach_many_is_undone_by_one_detach(listener: Listener) -> None:
    """One detach removes it from all."""
    attach_many("a", ["x", "y"], listener)
    detach("a")
    assert attached() == []


def test_attach_many_attaches_a_repeated_event_once(listener: Listener) -> None:
    """Differs: an event that is named twice is heard once, because to count an event twice is never meant."""
    attach_many("a", ["x", "x"], listener)
    execute("x")
    assert (attached(), len(listener.calls)) == ([("a", "x")], 1)


def test_attach_many_of_nothing_leaves_no_trace(listener: Listener) -> None:
    """An empty list is no error; there is nothing to detach afterwards, and the id is still free."""
    attach_many("a", [], listener)
    with pytest.raises(HandlerNotFoundError):
        detach("a")
    attach("a", "x", listener)
    assert attached() == [("a", "x")]


# -- detach(id) ---------------------------------------------------------------------------


def test_detach_removes_a_handler(listener: Listener) -> None:
    """It hears no more, others do, and its id is free again."""
    other = Listener()
    attach("a", "x", listener)
    attach("b", "x", other)
    detach("a")
    execute("x")
    attach("a", "y", listener)
    assert (listener.calls, len(other.calls), attached()) == ([], 1, [("b", "x"), ("a", "y")])


def test_detach_of_an_unknown_id_is_an_error() -> None:
    """Differs: it raises, instead of returning not_found."""
    with pytest.raises(HandlerNotFoundError):
        detach("a")


# -- list_handlers(prefix) ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("", ["x.y.z", "x.yy", "w"]),
        ("x", ["x.y.z", "x.yy"]),
        ("x.y", ["x.y.z"]),
        ("x.y.z", ["x.y.z"]),
        ("x.y.z.more", []),
    ],
    ids=["empty is all", "one segment", "whole segments only", "the event itself", "longer than the event"],
)
def test_list_handlers_goes_by_a_prefix_of_segments(prefix: str, found: list[str], listener: Listener) -> None:
    """A handler of n events under the prefix is listed n times."""
    attach_many("a", ["x.y.z", "x.yy", "w"], listener)
    assert [one.event for one in list_handlers(prefix)] == found


def test_list_handlers_tells_id_event_handler_and_config(listener: Listener) -> None:
    """What was given to attach is what is listed."""
    attach("a", "x", listener, {"unit": "ms"})
    (one,) = list_handlers()
    assert (one.handler_id, one.event, one.handler, one.config) == ("a", "x", listener, {"unit": "ms"})


# -- execute(event, measurements, metadata) -----------------------------------------------


@pytest.mark.parametrize("event", ["x", "x.y.z", "x.*"], ids=["a prefix", "a more specific one", "a pattern"])
def test_execute_matches_the_exact_name(event: str, listener: Listener) -> None:
    """Neither a prefix of the event's name hears it, nor anything more specific."""
    attach("a", event, listener)
    execute("x.y")
    assert listener.calls == []


def test_execute_is_synchronous() -> None:
    """Handlers have run, in the thread of the emitter, when it returns."""
    threads: list[int] = []
    attach("a", "x", lambda *args: threads.append(threading.get_ident()))
    execute("x")
    assert threads == [threading.get_ident()]


def test_execute_keeps_the_order_of_attaching() -> None:
    """Differs: no order is promised there; here it is that of attaching, so that tests can rely on it."""
    order: list[str] = []
    for name in ("b", "c", "a"):
        attach(name, "x", lambda event, measurements, metadata, config: order.append(config), name)
    execute("x")
    assert order == ["b", "c", "a"]


@pytest.mark.parametrize("handler", [lambda *args: 3, break_down], ids=["returns something", "fails"])
def test_execute_always_returns_the_same(handler: Callable[..., object]) -> None:
    """What handlers return or raise makes no difference to what the emitter gets: nothing."""
    attach("a", "x", handler)
    assert execute("x") is None  # type: ignore[func-returns-value]


def test_execute_needs_no_values(listener: Listener) -> None:
    """Metadata may be left out. Differs: so may measurements."""
    attach("a", "x", listener)
    execute("x")
    assert listener.calls == [("x", {}, {}, None)]


@pytest.mark.parametrize("number", [1, 0.5], ids=["int", "float"])
def test_execute_wants_mappings(number: Any, listener: Listener) -> None:
    """A number is an error, and not wrapped. Differs: only if somebody listens, because else nothing is read."""
    execute("x", number)
    attach("a", "x", listener)
    with pytest.raises(TypeError):
        execute("x", number)
    assert (listener.calls, attached()) == ([], [("a", "x")])


def test_execute_does_not_check_names() -> None:
    """An event of any name may be emitted; in a test session, strict mode is for that."""
    name: Any = 3
    execute(name)
    execute("")


def test_execute_that_nobody_hears_does_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """There is no application to be started: a bus without handlers is off."""
    caplog.set_level(0)
    execute("x", {"n": 1})
    assert (attached(), caplog.records) == ([], [])


# -- the list of handlers during an event -------------------------------------------------


def test_handler_that_is_detached_during_an_event_hears_that_one(listener: Listener) -> None:
    """The list of handlers is read once."""
    attach("a", "x", lambda *args: detach("b"))
    attach("b", "x", listener)
    execute("x")
    assert (len(listener.calls), attached()) == (1, [("a", "x")])


def test_handler_that_is_attached_during_an_event_does_not_hear_that_one(listener: Listener) -> None:
    """It hears the next."""
    undo = attach("a", "x", lambda *args: attach("b", "x", listener))
    execute("x", {"n": 1})
    undo()
    execute("x", {"n": 2})
    assert listener.calls == [("x", {"n": 2}, {}, None)]


# -- a handler that fails -----------------------------------------------------------------


def test_failing_handler_is_detached_before_it_is_announced() -> None:
    """Who hears of the failure finds the handler gone."""
    found: list[list[tuple[str, str]]] = []
    attach("watcher", FAILURE, lambda *args: found.append(attached()))
    attach("bad", "x", break_down)
    execute("x")
    assert found == [[("watcher", FAILURE)]]


def test_failing_handler_is_announced_without_its_secrets(heard: list[Event], llm_clock: FixedClock) -> None:
    """The event has both times, event and id. Differs: no config, reason or stack trace: secrets may be there."""
    llm_clock.advance(1)
    attach("bad", "x", break_down, {"api_key": "sk-secret"})
    execute("x", {"n": 1}, {"prompt": "private"})
    assert told(heard)[1:] == [
        (
            FAILURE,
            {"monotonic_time_ns": 1_000_000_000, "system_time_ns": WALL + 1_000_000_000},
            {"event": "x", "handler_id": "bad", "error_type": "ValueError"},
        )
    ]


def test_failing_handler_is_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """The log says that it has failed and has been detached, with the stack trace."""
    attach("bad", "x", break_down)
    execute("x")
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("ERROR", "Handler 'bad' failed on x and has been detached")
    assert record.exc_info is not None


def test_failing_handler_leaves_the_others_alone(listener: Listener) -> None:
    """Handlers behind it hear the event, and the emitter sees nothing."""
    attach("bad", "x", break_down)
    attach("good", "x", listener)
    execute("x")
    assert (len(listener.calls), attached()) == (1, [("good", "x")])


def test_failing_handler_of_failures_ends_there(heard: list[Event]) -> None:
    """It is detached as well, and there is no loop."""
    attach("worse", FAILURE, break_down)
    attach("bad", "x", break_down)
    execute("x")
    assert attached() == []
    assert sorted(event["handler_id"] for event in heard if event.name == FAILURE) == ["bad", "worse"]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(1), pytest.fail.Exception("odd")], ids=lambda error: type(error).__name__
)
def test_failing_handler_fails_with_an_exception(error: BaseException) -> None:
    """Differs: an exit, an interrupt or pytest.fail passes through, because it is meant for the program."""

    def stop(*args: object) -> None:
        raise error

    attach("a", "x", stop)
    with pytest.raises(type(error)) as caught:
        execute("x")
    assert (caught.value, attached()) == (error, [("a", "x")])


# -- span(prefix, metadata, fun) ----------------------------------------------------------


def test_span_start_has_both_times_and_its_metadata(heard: list[Event], llm_clock: FixedClock) -> None:
    """`.start` says when, on both clocks, and what was given."""
    llm_clock.advance(1)
    with span("x", {"model": "m"}):
        pass
    assert told(heard)[0] == (
        "x.start",
        {"monotonic_time_ns": 1_000_000_000, "system_time_ns": WALL + 1_000_000_000},
        {"model": "m", "span_id": 1, "parent_id": None},
    )


def test_span_stop_has_duration_and_time(heard: list[Event], llm_clock: FixedClock) -> None:
    """`.stop` says how long it took and when it ended, beside what was measured."""
    with span("x") as work:
        llm_clock.advance(2)
        work.measurements["n"] = 1
    assert heard[1].measurements == {"n": 1, "duration_ns": 2_000_000_000, "monotonic_time_ns": 2_000_000_000}


def test_span_takes_more_through_an_object(heard: list[Event]) -> None:
    """Differs: what there is to add is set on the span, so that the return value is untouched."""

    @span("x")
    def work() -> tuple[str, dict[str, int]]:
        return "result", {"looks": 1}

    assert work() == ("result", {"looks": 1})
    assert "looks" not in heard[1]


def test_span_measures_its_own_time(heard: list[Event], llm_clock: FixedClock) -> None:
    """Duration and time cannot be overridden by what is measured."""
    with span("x") as work:
        work.measurements |= {"duration_ns": -1, "monotonic_time_ns": -1}
    assert heard[1].measurements == {"duration_ns": 0, "monotonic_time_ns": 0}


def test_span_stop_has_the_metadata_of_start(heard: list[Event]) -> None:
    """Differs: what was given at the start is in `.stop` too, so that its handlers need not remember starts."""
    with span("x", {"model": "asked", "stream": False}) as work:
        work.metadata["model"] = "answered"
    assert (heard[1]["model"], heard[1]["stream"]) == ("answered", False)


def test_span_exception_has_start_metadata_and_the_type_of_the_error(heard: list[Event], llm_clock: FixedClock) -> None:
    """`.exception` has the times and the start's metadata. Differs: of the error, its type; the rest may be secret."""

    @span("x", {"model": "m"})
    def work() -> None:
        llm_clock.advance(1)
        raise ValueError("sk-secret")

    with pytest.raises(ValueError):
        work()
    assert told(heard)[1] == (
        "x.exception",
        {"duration_ns": 1_000_000_000, "monotonic_time_ns": 1_000_000_000},
        {"model": "m", "error_type": "ValueError", "success": False, "span_id": 1, "parent_id": None},
    )


def test_span_raises_again_with_the_original_traceback() -> None:
    """The exception is the same object, and its traceback ends where it was raised."""
    error = ValueError()

    @span("x")
    def work() -> None:
        raise error

    with pytest.raises(ValueError) as caught:
        work()
    assert (caught.value, caught.traceback[-1].name) == (error, "work")


def test_span_has_a_context_of_its_own(heard: list[Event]) -> None:
    """Its events share an id of their own. Differs: the author cannot put another, because parents are known by it."""
    for _ in range(2):
        with span("x", {"span_id": "mine"}):
            pass
    first, second = ({event["span_id"] for event in pair} for pair in (heard[:2], heard[2:]))
    assert (len(first), len(second), len(first | second)) == (1, 1, 2)
    assert "mine" not in first | second


@pytest.mark.parametrize("result", [None, "text", ("text",), object()], ids=["None", "text", "tuple", "object"])
def test_span_stops_whatever_is_returned(result: object, heard: list[Event]) -> None:
    """Differs: there is no shape of the return value to get wrong, and so no span without an end."""
    assert span("x")(lambda: result)() is result
    assert [event.name for event in heard] == ["x.start", "x.stop"]


def test_span_may_stop_with_an_error(heard: list[Event]) -> None:
    """A result that failed is a `.stop` with `error`, as is the convention there. And `success` is always said."""
    with span("x") as work:
        work.error = "rate_limit"
    with span("x"):
        pass
    stops = [event for event in heard if event.name == "x.stop"]
    assert [(one["success"], one.metadata.get("error")) for one in stops] == [(False, "rate_limit"), (True, None)]


# -- time ---------------------------------------------------------------------------------


def test_time_is_whole_nanoseconds(heard: list[Event]) -> None:
    """Times are integers. Differs: always nanoseconds, as their keys say, because Python has no native unit."""
    attach("bad", "x.stop", break_down)
    with span("x"):
        pass
    times = {key: value for event in heard for key, value in event.measurements.items()}
    assert times.keys() == {"monotonic_time_ns", "system_time_ns", "duration_ns"}
    assert {type(value) for value in times.values()} == {int}
