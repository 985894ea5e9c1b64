"""Clocks: the system's, and one that stands still."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import FixedClock, attached, clock, execute, span
from pytest_llmtelemetry.telemetry.clock import SystemClock, set_clock


@pytest.fixture
def fixed() -> Iterator[FixedClock]:
    """A clock that stands still, and is set."""
    one = FixedClock()
    undo = set_clock(one)
    yield one
    undo()


# -- a clock that stands still ----------------------------------------------------------


def test_fixed_clock_stands_still() -> None:
    """However often it is asked, no time passes."""
    one = FixedClock()
    assert [one.now_ns(), one.wall_ns()] == [one.now_ns(), one.wall_ns()] == [0, 1_767_225_600_000_000_000]


def test_fixed_clock_begins_on_new_year() -> None:
    """Unless another date is wanted, it is the first of January 2026, UTC."""
    assert datetime.fromtimestamp(FixedClock().wall_ns() / 1e9, UTC) == datetime(2026, 1, 1, tzinfo=UTC)
    assert FixedClock(wall_ns=7).wall_ns() == 7


@pytest.mark.parametrize(
    ("seconds", "ms", "passed"),
    [(1, 0, 1_000_000_000), (0.25, 0, 250_000_000), (0, 250, 250_000_000), (1, 0.5, 1_000_500_000), (0, 0, 0)],
    ids=["seconds", "a part of a second", "milliseconds", "both", "nothing"],
)
def test_fixed_clock_advances(seconds: float, ms: float, passed: int) -> None:
    """Both of its times pass together, by seconds and milliseconds."""
    one = FixedClock(wall_ns=5)
    one.advance(seconds, ms=ms)
    assert (one.now_ns(), one.wall_ns()) == (passed, 5 + passed)
    one.advance(seconds, ms=ms)
    assert one.now_ns() == 2 * passed


def test_fixed_clock_does_not_run_backwards() -> None:
    """A negative step is an error, and changes nothing."""
    one = FixedClock()
    with pytest.raises(ValueError, match="does not run backwards") as caught:
        one.advance(1, ms=-1001)
    assert str(caught.value) == "time does not run backwards: advance(1, ms=-1001)"
    assert one.now_ns() == 0


def test_ids_of_a_fixed_clock_are_1_2_3(heard: list[Event], fixed: FixedClock) -> None:
    """Spans are numbered in the order in which they begin."""
    with span("a"), span("b"):
        pass
    with span("c"):
        pass
    assert [(event.name, event["span_id"]) for event in heard if event.name.endswith("start")] == [
        ("a.start", 1),
        ("b.start", 2),
        ("c.start", 3),
    ]


# -- the system's -----------------------------------------------------------------------


def test_system_clock_tells_the_time() -> None:
    """Its monotonic time never goes back, and its wall time is that of the machine."""
    one = SystemClock()
    before, first, second, after = time.time_ns(), one.now_ns(), one.now_ns(), time.time_ns()
    assert first <= second
    assert before - 10**9 <= one.wall_ns() <= after + 10**9


def test_system_clock_cannot_be_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its functions are bound at import: libraries that freeze the module `time` do not stop it."""
    monkeypatch.setattr("time.perf_counter_ns", lambda: 0)
    monkeypatch.setattr("time.time_ns", lambda: 0)
    one = SystemClock()
    assert one.now_ns() > 0
    assert one.wall_ns() > 0


@pytest.mark.usefixtures("hasty_threads")
@pytest.mark.parametrize("one", [SystemClock(), FixedClock()], ids=["system", "fixed"])
def test_no_id_is_given_twice(one: clock.Clock) -> None:
    """Threads that begin spans at the same time get different ids."""
    ids: list[int] = []
    threads = [threading.Thread(target=lambda: ids.extend(one.next_span_id() for _ in range(500))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ids) == list(range(1, 2001))


def test_date_of_prices_is_the_real_one(fixed: FixedClock) -> None:
    """A fixed clock does not change what a call costs."""
    fixed.advance(1)
    assert abs(clock.date_of_prices().timestamp() - time.time()) < 60


# -- setting one ------------------------------------------------------------------------


def test_set_clock_returns_its_undo() -> None:
    """Undoing brings the clock back that was set before."""
    outer, inner = FixedClock(), FixedClock()
    system = clock.current()
    undo_outer = set_clock(outer)
    undo_inner = set_clock(inner)
    seen = [clock.current()]
    undo_inner()
    seen.append(clock.current())
    undo_outer()
    seen.append(clock.current())
    assert seen == [inner, outer, system]


def test_everything_asks_the_clock_that_is_set(fixed: FixedClock) -> None:
    """Times and ids come from it."""
    fixed.advance(1)
    assert (clock.now_ns(), clock.wall_ns(), clock.next_span_id()) == (fixed.now_ns(), fixed.wall_ns(), 1)


def test_span_tells_the_time_of_the_clock(heard: list[Event], fixed: FixedClock) -> None:
    """Start, end and duration are exact."""
    fixed.advance(1)
    with span("x"):
        fixed.advance(ms=250)
    assert [event.measurements for event in heard] == [
        {"monotonic_time_ns": 1_000_000_000, "system_time_ns": fixed.wall_ns() - 250_000_000},
        {"duration_ns": 250_000_000, "monotonic_time_ns": 1_250_000_000},
    ]


def test_span_keeps_the_clock_that_it_began_with(heard: list[Event]) -> None:
    """A clock that is set or taken away in the middle does not make a duration of two clocks."""
    first, second = FixedClock(), FixedClock()
    second.advance(99)
    undo = set_clock(first)
    with span("x") as work:
        first.advance(1)
        undo_second = set_clock(second)
        second.advance(5)
        elapsed = work.elapsed_ns
    undo_second()
    undo()
    ended = {"duration_ns": 1_000_000_000, "monotonic_time_ns": 1_000_000_000}
    assert (elapsed, heard[-1].measurements) == (1_000_000_000, ended)


def test_event_without_a_span_has_no_time(heard: list[Event]) -> None:
    """execute adds nothing to what it is given."""
    execute("x")
    assert heard[0].measurements == {}


def test_time_that_handlers_take_is_not_the_works(fixed: FixedClock) -> None:
    """A handler of .start that takes a second does not make the work longer."""

    def slow(*args: object) -> None:
        fixed.advance(1)

    with attached(["x.start", "x.stop"], slow), span("x") as work:
        fixed.advance(ms=1)
    assert work.measurements == {"duration_ns": 1_000_000, "monotonic_time_ns": 1_001_000_000}
