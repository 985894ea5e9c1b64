"""The event bus: who hears what, and how often."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from pytest_llmtelemetry.errors import HandlerExistsError, HandlerNotFoundError
from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import (
    Attachment,
    FixedClock,
    attach,
    attach_many,
    attached,
    bus,
    detach,
    execute,
    list_handlers,
)
from pytest_llmtelemetry.telemetry.clock import set_clock


class Listener:
    """A handler that remembers what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any], dict[str, Any], Any]] = []

    def __call__(self, name: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: Any) -> None:
        self.calls.append((name, dict(measurements), dict(metadata), config))

    @property
    def names(self) -> list[str]:
        return [call[0] for call in self.calls]


class Broken(Listener):
    """A handler that raises each time."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def __call__(self, name: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: Any) -> None:
        super().__call__(name, measurements, metadata, config)
        raise self._error


@pytest.fixture
def clock() -> Iterator[FixedClock]:
    """A clock that stands still; one second has passed since 1970."""
    fixed = FixedClock(wall_ns=1_000_000_000)
    undo = set_clock(fixed)
    yield fixed
    undo()


@pytest.fixture
def listener() -> Listener:
    """A handler that is not attached yet."""
    return Listener()


def ids(attachments: Iterable[Attachment]) -> list[tuple[str, str]]:
    """What is attached, for comparison."""
    return [(one.handler_id, one.event) for one in attachments]


# -- attach and detach ------------------------------------------------------------------


def test_handler_is_called_with_event_values_and_config(listener: Listener) -> None:
    """A handler gets the event's name, its measurements, its metadata and its own config."""
    attach("a", "llm.tool.call", listener, config={"unit": "bytes"})
    execute("llm.tool.call", {"arguments_bytes": 2}, {"tool": "search"})
    assert listener.calls == [("llm.tool.call", {"arguments_bytes": 2}, {"tool": "search"}, {"unit": "bytes"})]


def test_values_and_config_are_optional(listener: Listener) -> None:
    """An event may have no values, and a handler no config."""
    attach("a", "llm.tool.call", listener)
    execute("llm.tool.call")
    assert listener.calls == [("llm.tool.call", {}, {}, None)]


@pytest.mark.parametrize("other", ["llm.tool", "llm.tool.call.stop", "llm.tool.cal", "LLM.TOOL.CALL", "llm.tool.*", ""])
def test_names_match_exactly(listener: Listener, other: str) -> None:
    """Neither a prefix, nor a longer name, nor a pattern reaches a handler."""
    attach("a", "llm.tool.call", listener)
    execute(other)
    assert listener.calls == []


def test_handlers_run_in_the_order_in_which_they_were_attached() -> None:
    """Who came first hears first."""
    order: list[str] = []
    for name in ("c", "a", "b"):
        attach(name, "x", lambda event, measurements, metadata, config: order.append(config), config=name)
    execute("x")
    assert order == ["c", "a", "b"]


def test_one_handler_may_hear_many_events(listener: Listener) -> None:
    """attach_many attaches one id to each event once, also if an event is repeated."""
    attach_many("a", ["x", "y", "x"], listener)
    for name in ("x", "y", "z"):
        execute(name)
    assert listener.names == ["x", "y"]


def test_second_handler_of_an_id_is_an_error(listener: Listener) -> None:
    """Ids are unique over all events, and the error names the id."""
    attach("metrics", "x", listener)
    with pytest.raises(HandlerExistsError) as caught:
        attach("metrics", "y", listener)
    assert str(caught.value) == "a handler 'metrics' is attached already; detach it first"
    assert ids(list_handlers()) == [("metrics", "x")]


def test_detach_removes_a_handler_from_all_its_events(listener: Listener) -> None:
    """One detach is enough for attach_many."""
    attach_many("a", ["x", "y"], listener)
    detach("a")
    execute("x")
    execute("y")
    assert (listener.calls, list_handlers()) == ([], [])


@pytest.mark.parametrize(
    ("attached_ids", "known"),
    [([], "none"), (["b", "a"], "'a', 'b'")],
    ids=["nothing attached", "two attached"],
)
def test_detach_of_an_unknown_id_names_the_known_ones(attached_ids: list[str], known: str, listener: Listener) -> None:
    """The error of detach lists each attached id once, sorted."""
    for handler_id in attached_ids:
        attach_many(handler_id, ["x", "y"], listener)
    with pytest.raises(HandlerNotFoundError) as caught:
        detach("c")
    assert str(caught.value) == f"no handler 'c' is attached; attached are: {known}"


def test_handler_of_no_event_leaves_no_trace(listener: Listener) -> None:
    """An empty list of events attaches nothing."""
    attach_many("a", [], listener)
    with pytest.raises(HandlerNotFoundError):
        detach("a")


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (
            lambda: attach_many("a", "llm.tool.call", Listener()),
            TypeError,
            "attach_many() wants a list of event names, got the string 'llm.tool.call'",
        ),
        (
            lambda: attach("a", "x", None),  # type: ignore[arg-type]
            TypeError,
            "handler 'a' is not callable: None",
        ),
        (
            lambda: attach("a", "", Listener()),
            ValueError,
            "an event name is empty; give one such as 'llm.tool.call'",
        ),
        (
            lambda: attach_many("a", ["x", ["llm", "tool"]], Listener()),  # type: ignore[list-item]
            TypeError,
            "an event name is a string such as 'llm.tool.call', not ['llm', 'tool']",
        ),
    ],
    ids=["one string", "no handler", "empty name", "no string"],
)
def test_what_cannot_be_attached_is_said(act: Callable[[], object], error: type[Exception], message: str) -> None:
    """A mistake is an error with a hint, and attaches nothing."""
    with pytest.raises(error) as caught:
        act()
    assert (str(caught.value), list_handlers()) == (message, [])


@pytest.mark.parametrize("attach_one", [attach, lambda i, e, h: attach_many(i, [e, "y"], h)], ids=["attach", "many"])
def test_attaching_returns_its_undo(attach_one: Callable[[str, str, Listener], Callable[[], None]]) -> None:
    """The undo function detaches, and does nothing the second time."""
    undo = attach_one("a", "x", Listener())
    undo()
    assert list_handlers() == []
    undo()


def test_undo_leaves_a_later_handler_of_the_same_id(listener: Listener) -> None:
    """An undo removes what it belongs to, not an equal handler that was attached since."""
    undo = attach("a", "x", listener)
    detach("a")
    attach("a", "x", listener)
    undo()
    assert ids(list_handlers()) == [("a", "x")]


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("", ["llm.chat.stop", "llm.chats", "llm", "app.llm"]),
        ("llm", ["llm.chat.stop", "llm.chats", "llm"]),
        ("llm.", ["llm.chat.stop", "llm.chats"]),
        ("llm.chat", ["llm.chat.stop"]),
        ("llm.ch", []),
        ("llm.chat.stop", ["llm.chat.stop"]),
        ("llm.chat.stop.more", []),
        ("app", ["app.llm"]),
    ],
)
def test_list_handlers_takes_a_prefix_of_whole_segments(prefix: str, found: list[str], listener: Listener) -> None:
    """A handler is listed once for each of its events under the prefix."""
    attach_many("a", ["llm.chat.stop", "llm.chats", "llm", "app.llm"], listener)
    assert [one.event for one in list_handlers(prefix)] == found


def test_list_handlers_gives_whole_attachments(listener: Listener) -> None:
    """What is listed says who hears what, with which config."""
    attach("a", "x", listener, config=3)
    assert list_handlers() == [Attachment(handler_id="a", event="x", handler=listener, config=3)]


def test_list_is_a_copy(listener: Listener) -> None:
    """Changing the list changes nothing."""
    attach("a", "x", listener)
    list_handlers().clear()
    assert ids(list_handlers()) == [("a", "x")]


# -- attached ---------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["x", ["x", "y"]], ids=["one event", "several"])
def test_attached_lasts_for_the_block(event: str | list[str], listener: Listener) -> None:
    """A handler hears inside the block, and not after it."""
    with attached(event, listener, config=1):
        execute("x")
    execute("x")
    assert (listener.calls, list_handlers()) == ([("x", {}, {}, 1)], [])


def test_attached_ends_with_an_exception(listener: Listener) -> None:
    """A block that raises detaches too."""
    with pytest.raises(ZeroDivisionError), attached("x", listener):
        raise ZeroDivisionError
    assert list_handlers() == []


def test_attached_makes_an_id_of_its_own(listener: Listener) -> None:
    """Blocks can be nested, each with the id that it yields."""
    with attached("x", listener) as outer, attached("x", listener) as inner:
        assert ids(list_handlers()) == [(outer, "x"), (inner, "x")]
    assert outer != inner


def test_attached_takes_an_id(listener: Listener) -> None:
    """An id of one's own is used, and is as unique as any."""
    with attached("x", listener, handler_id="mine") as name, pytest.raises(HandlerExistsError):
        attach("mine", "y", listener)
    assert name == "mine"


def test_attached_tolerates_a_handler_that_is_gone(listener: Listener) -> None:
    """Detaching inside the block is allowed."""
    with attached("x", listener) as name:
        detach(name)
    assert list_handlers() == []


# -- replace, restore, has_handler --------------------------------------------------------


def test_replace_takes_the_place_of_the_handler_of_that_id(listener: Listener) -> None:
    """The new handler hears its own events, and the old one none of its own; others stay."""
    old = Listener()
    attach("other", "x", Listener())
    attach_many("a", ["x", "y"], old)
    bus.replace("a", ["y", "z"], listener, config=3)
    for name in ("x", "y", "z"):
        execute(name, {}, {})
    assert (old.calls, listener.calls) == ([], [("y", {}, {}, 3), ("z", {}, {}, 3)])
    assert ids(list_handlers()) == [("other", "x"), ("a", "y"), ("a", "z")]


def test_replace_needs_nothing_to_replace(listener: Listener) -> None:
    """Without a handler of the id, replace attaches one."""
    bus.replace("a", ["x"], listener)
    assert ids(list_handlers()) == [("a", "x")]


def test_replace_returns_its_undo(listener: Listener) -> None:
    """Undoing removes the new handler, and leaves one that has replaced it since."""
    undo_first = bus.replace("a", ["x"], listener)
    undo_second = bus.replace("a", ["y"], listener)
    undo_first()
    assert ids(list_handlers()) == [("a", "y")]
    undo_second()
    assert list_handlers() == []


def test_replace_refuses_what_attach_refuses(listener: Listener) -> None:
    """A mistake leaves the old handler where it is."""
    attach("a", "x", listener)
    with pytest.raises(TypeError):
        bus.replace("a", "y", listener)
    assert ids(list_handlers()) == [("a", "x")]


def test_restore_attaches_what_was_attached_then(listener: Listener) -> None:
    """What has been attached since is gone, and what has been detached since is back, in the old order."""
    undo = attach_many("a", ["x", "y"], listener)
    attach("b", "x", listener)
    before = bus.attachments()
    detach("a")
    attach("c", "x", listener)
    bus.restore(before)
    assert ids(list_handlers()) == [("a", "x"), ("a", "y"), ("b", "x")]
    undo()
    assert ids(list_handlers()) == [("b", "x")]


def test_restored_handlers_hear_again(listener: Listener) -> None:
    """Restoring is more than a list: events are heard."""
    attach("a", "x", listener)
    before = bus.attachments()
    detach("a")
    execute("x")
    bus.restore(before)
    execute("x")
    assert listener.names == ["x"]


@pytest.mark.parametrize(
    ("event", "known"),
    [("x.y", True), ("x", False), ("x.y.z", False), ("", False)],
    ids=["the event", "a prefix", "a longer name", "no name"],
)
def test_has_handler_asks_for_exactly_this_event(event: str, known: bool, listener: Listener) -> None:
    """Only a handler of the very name counts, and only while it is attached."""
    undo = attach("a", "x.y", listener)
    found = bus.has_handler(event)
    undo()
    assert (found, bus.has_handler(event)) == (known, False)


@pytest.mark.usefixtures("heard")
def test_tap_is_no_handler() -> None:
    """A tap hears all events, and makes none of those happen that are emitted on demand."""
    assert not bus.has_handler("x")


# -- dispatch ---------------------------------------------------------------------------


def test_handlers_are_called_in_the_thread_of_the_emitter() -> None:
    """No thread and no queue stands between emitter and handler."""
    threads: list[int] = []
    attach("a", "x", lambda *args: threads.append(threading.get_ident()))
    execute("x")
    assert threads == [threading.get_ident()]


def test_handler_detached_during_dispatch_still_hears_this_event(listener: Listener) -> None:
    """The list of handlers is read once per event."""
    attach("first", "x", lambda *args: detach("second") if ids(list_handlers("x"))[1:] else None)
    attach("second", "x", listener)
    execute("x")
    execute("x")
    assert listener.names == ["x"]


def test_handler_attached_during_dispatch_hears_the_next_event(listener: Listener) -> None:
    """A newcomer does not hear the event during which it came."""
    attach("first", "x", lambda *args: attach("second", "x", listener) if len(list_handlers("x")) == 1 else None)
    execute("x", {"n": 1})
    execute("x", {"n": 2})
    assert listener.calls == [("x", {"n": 2}, {}, None)]


def test_handler_may_emit() -> None:
    """An event may cause another, which is heard before the first one is done."""
    order: list[str] = []

    def emit_another(*args: object) -> None:
        execute("y")
        order.append("x")

    attach("a", "x", emit_another)
    attach("b", "y", lambda *args: order.append("y"))
    execute("x")
    assert order == ["y", "x"]


@pytest.mark.parametrize("index", [1, 2], ids=["measurements", "metadata"])
def test_handler_cannot_change_what_the_next_one_sees(index: int, listener: Listener) -> None:
    """Values reach handlers as views that cannot be written to."""

    def write(*args: Any) -> None:
        args[index]["stolen"] = True

    attach("bad", "x", write)
    attach("good", "x", listener)
    execute("x", {"n": 1}, {"m": 2})
    assert listener.calls == [("x", {"n": 1}, {"m": 2}, None)]
    assert ids(list_handlers()) == [("good", "x")]


def test_emitter_cannot_change_what_was_heard() -> None:
    """A handler that keeps an event keeps it as it was."""
    kept: list[Mapping[str, Any]] = []
    attach("a", "x", lambda event, measurements, metadata, config: kept.extend([measurements, metadata]))
    measurements, metadata = {"n": 1}, {"m": 2}
    execute("x", measurements, metadata)
    measurements["n"] = metadata["m"] = 3
    assert kept == [{"n": 1}, {"m": 2}]


def test_read_only_mappings_can_be_emitted(listener: Listener) -> None:
    """Any mapping will do."""
    attach("a", "x", listener)
    execute("x", MappingProxyType({"n": 1}), MappingProxyType({"m": 2}))
    assert listener.calls == [("x", {"n": 1}, {"m": 2}, None)]


def test_event_that_nobody_hears_is_not_looked_at() -> None:
    """Without a listener an event's values are not even read."""

    class Costly(Mapping[str, Any]):
        def __getitem__(self, key: str) -> Any:
            raise AssertionError("the values were read")

        def __iter__(self) -> Iterator[str]:
            raise AssertionError("the values were read")

        def __len__(self) -> int:
            raise AssertionError("the values were read")

    execute("x", Costly(), Costly())
    with attached("x", Listener()), pytest.raises(AssertionError):
        execute("x", Costly())


# -- a handler that fails ---------------------------------------------------------------


class OddError(Exception):
    """An error of a handler."""


def test_failing_handler_is_detached_from_all_its_events() -> None:
    """A handler that raises hears no more events, of any name."""
    broken = Broken(OddError("broken"))
    attach_many("bad", ["x", "y"], broken)
    execute("x")
    execute("x")
    execute("y")
    assert (broken.names, list_handlers()) == (["x"], [])


def test_failing_handler_is_announced(heard: list[Event], clock: FixedClock) -> None:
    """The failure is an event that says when which handler failed on what, and how."""
    clock.advance(ms=250)
    attach("bad", "x", Broken(OddError("a secret")))
    execute("x", {"n": 1})
    failure = {"event": "x", "handler_id": "bad", "error_type": f"{__name__}.OddError"}
    times = {"monotonic_time_ns": 250_000_000, "system_time_ns": 1_250_000_000}
    assert [(event.name, dict(event.measurements), dict(event.metadata)) for event in heard] == [
        ("x", {"n": 1}, {}),
        ("telemetry.handler.failure", times, failure),
    ]


def test_failing_handler_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The failure is one error in the log, with the traceback."""
    error = OddError("broken")
    attach("bad", "x", Broken(error))
    execute("x")
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("pytest_llmtelemetry", logging.ERROR)
    assert record.getMessage() == "Handler 'bad' failed on x and has been detached"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_other_handlers_run_when_one_fails() -> None:
    """Handlers before and after a failing one hear the event, and go on to hear."""
    before, after = Listener(), Listener()
    attach("before", "x", before)
    attach("bad", "x", Broken(OddError()))
    attach("after", "x", after)
    execute("x")
    execute("x")
    assert (before.names, after.names) == (["x", "x"], ["x", "x"])


def test_failing_handler_of_failures_does_not_loop(caplog: pytest.LogCaptureFixture) -> None:
    """A handler of failures that fails is detached like any other; another one hears of both."""
    bad_watcher, watcher = Broken(OddError()), Listener()
    attach("bad watcher", bus.HANDLER_FAILURE, bad_watcher)
    attach("watcher", bus.HANDLER_FAILURE, watcher)
    attach("bad", "x", Broken(OddError()))
    execute("x")
    assert len(bad_watcher.calls) == 1
    assert sorted((metadata["handler_id"], metadata["event"]) for _, _, metadata, _ in watcher.calls) == [
        ("bad", "x"),
        ("bad watcher", "telemetry.handler.failure"),
    ]
    assert ids(list_handlers()) == [("watcher", "telemetry.handler.failure")]
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), SystemExit(3), asyncio.CancelledError(), GeneratorExit(), pytest.fail.Exception("too dear")],
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_an_exception_passes_through(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """An interrupt, a cancellation or pytest.fail reaches the emitter, and its handler stays attached."""
    attach("a", "x", Broken(error))
    with pytest.raises(type(error)) as caught:
        execute("x")
    assert caught.value is error
    assert (ids(list_handlers()), caplog.records) == ([("a", "x")], [])


def test_failure_of_instrumentation_is_an_event_and_a_log_line(
    heard: list[Event], clock: FixedClock, caplog: pytest.LogCaptureFixture
) -> None:
    """What could not be done and the error's type are told; its text, maybe a secret, only the log has."""
    clock.advance(ms=1)
    error = OddError("sk-secret")
    bus.report_failure("the result of x", error)
    (event,) = heard
    assert (event.name, event.measurements, event.metadata) == (
        "telemetry.instrument.failure",
        {"monotonic_time_ns": 1_000_000, "system_time_ns": 1_001_000_000},
        {"where": "the result of x", "error_type": f"{__name__}.OddError"},
    )
    (record,) = caplog.records
    assert record.getMessage() == "the result of x failed; the code that it instruments goes on"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


# -- taps -------------------------------------------------------------------------------


def test_tap_hears_every_event_in_order(heard: list[Event]) -> None:
    """A tap hears events of any name, each with a later place than the one before."""
    execute("x", {"n": 1}, {"m": 2})
    execute("y")
    assert [(event.name, event.measurements, event.metadata) for event in heard] == [
        ("x", {"n": 1}, {"m": 2}),
        ("y", {}, {}),
    ]
    assert heard[0].place < heard[1].place


def test_event_may_have_a_place_that_was_drawn_before(heard: list[Event]) -> None:
    """An event that is emitted late has the place of its ticket."""
    place = bus.ticket()
    execute("early")
    execute("late", at=place)
    assert [(event.name, event.place) for event in heard] == [("early", place + 1), ("late", place)]


def test_tap_is_undone(heard: list[Event]) -> None:
    """The undo function ends a tap and no other, and does nothing the second time."""
    names: list[str] = []
    undo = bus.tap(lambda name, measurements, metadata, place: names.append(name))
    execute("x")
    undo()
    execute("y")
    undo()
    assert (names, [event.name for event in heard]) == (["x"], ["x", "y"])


def test_failing_tap_is_removed_and_announced(heard: list[Event], caplog: pytest.LogCaptureFixture) -> None:
    """A tap that raises is removed; other taps and all handlers still hear, and the emitter is unharmed."""
    listener = Listener()
    attach("a", "x", listener)

    def bad_tap(*args: object) -> None:
        raise OddError

    bus.tap(bad_tap)
    execute("x")
    execute("x")
    name = bad_tap.__qualname__
    assert [event.name for event in heard] == ["x", "telemetry.handler.failure", "x"]
    assert heard[1].metadata == {"event": "x", "handler_id": name, "error_type": f"{__name__}.OddError"}
    assert listener.names == ["x", "x"]
    assert [record.getMessage() for record in caplog.records] == [f"Handler {name!r} failed on x and has been detached"]


# -- threads ----------------------------------------------------------------------------


@pytest.mark.usefixtures("hasty_threads")
def test_threads_lose_nothing_while_others_attach_and_detach() -> None:
    """Eight threads emit while two attach and detach: a handler that stays hears everything, and nothing raises."""
    heard: list[tuple[int, int]] = []
    attach(
        "stays", "x", lambda event, measurements, metadata, config: heard.append((metadata["thread"], metadata["n"]))
    )
    failures: list[BaseException] = []
    done = threading.Event()
    ready = threading.Barrier(10, timeout=10)

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                ready.wait()
                work()
            except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
                failures.append(error)

        return run

    def emitter(thread: int) -> Callable[[], None]:
        def emit() -> None:
            for n in range(300):
                execute("x", {}, {"thread": thread, "n": n})

        return guarded(emit)

    def churner(name: str) -> Callable[[], None]:
        def churn() -> None:
            while not done.is_set():
                undo = attach_many(name, ["x", "y"], lambda *args: None)
                detach(name)
                with attached("x", lambda *args: None):
                    undo()

        return guarded(churn)

    workers = [threading.Thread(target=emitter(thread)) for thread in range(8)]
    churners = [threading.Thread(target=churner(name)) for name in ("a", "b")]
    for thread in (*workers, *churners):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    for thread in churners:
        thread.join()
    assert failures == []
    assert sorted(heard) == [(thread, n) for thread in range(8) for n in range(300)]
    assert ids(list_handlers()) == [("stays", "x")]


@pytest.mark.usefixtures("hasty_threads")
def test_threads_may_attach_and_detach_at_the_same_time() -> None:
    """Four threads that attach and detach handlers of their own do not lose one another's."""
    failures: list[Exception] = []
    ready = threading.Barrier(4, timeout=10)

    def work(name: str) -> None:
        ready.wait()
        try:
            for _ in range(500):
                attach_many(name, ["x", "y"], lambda *args: None)
                detach(name)
            attach(name, "x", lambda *args: None)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must see it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(ids(list_handlers())) == [(name, "x") for name in "abcd"]


def test_attaching_waits_for_who_is_detaching(listener: Listener) -> None:
    """A handler that is attached while another thread detaches one is not lost."""
    attach("a", "x", listener)
    other = threading.Thread(target=lambda: attach("b", "x", listener))

    class SlowId(str):
        __slots__ = ()

        def __ne__(self, name: object) -> bool:
            other.start()
            other.join(0.02)
            return str(self) != name

    detach(SlowId("a"))
    other.join()
    assert ids(list_handlers()) == [("b", "x")]


# -- against a model --------------------------------------------------------------------


EVENTS = ("x", "x.y", "x.y.z", "z")
handler_ids = st.sampled_from(("a", "b", "c"))
event_names = st.sampled_from(EVENTS)


class BusModel(RuleBasedStateMachine):
    """The bus beside a dictionary: id -> (events, whether it fails)."""

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, tuple[list[str], bool]] = {}
        self.heard: list[tuple[str, str]] = []
        logging.getLogger("pytest_llmtelemetry").disabled = True

    def teardown(self) -> None:
        for handler_id in self.model:
            detach(handler_id)
        logging.getLogger("pytest_llmtelemetry").disabled = False

    @rule(handler_id=handler_ids, events=st.lists(event_names, min_size=1, max_size=3), fails=st.booleans())
    def attach(self, handler_id: str, events: list[str], fails: bool) -> None:
        def handler(name: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: Any) -> None:
            self.heard.append((handler_id, name))
            if fails:
                raise OddError

        if handler_id in self.model:
            with pytest.raises(HandlerExistsError):
                attach_many(handler_id, events, handler)
        else:
            attach_many(handler_id, events, handler)
            self.model[handler_id] = (list(dict.fromkeys(events)), fails)

    @rule(handler_id=handler_ids)
    def detach(self, handler_id: str) -> None:
        if self.model.pop(handler_id, None) is None:
            with pytest.raises(HandlerNotFoundError):
                detach(handler_id)
        else:
            detach(handler_id)

    @rule(event=event_names)
    def execute(self, event: str) -> None:
        self.heard.clear()
        execute(event)
        expected = [(handler_id, event) for handler_id, (events, _) in self.model.items() if event in events]
        assert self.heard == expected
        self.model = {
            handler_id: (events, fails)
            for handler_id, (events, fails) in self.model.items()
            if not (fails and event in events)
        }

    @rule(prefix=st.sampled_from(("", "x", "x.y", "z", "q")))
    def list(self, prefix: str) -> None:
        expected = [
            (handler_id, event)
            for handler_id, (events, _) in self.model.items()
            for event in events
            if not prefix or event.split(".")[: prefix.count(".") + 1] == prefix.split(".")
        ]
        assert ids(list_handlers(prefix)) == expected


def test_bus_does_what_a_dictionary_does() -> None:
    """Any sequence of attach, detach, execute and list_handlers does what a plain dictionary of handlers would."""
    run_state_machine_as_test(BusModel, settings=settings(max_examples=60, stateful_step_count=25))
