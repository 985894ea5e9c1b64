"""Metrics: each event counted once, in any thread, in a window that slides on an injected clock."""

from __future__ import annotations

import gc
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pytest_llmtelemetry.telemetry import (
    FixedClock,
    Metrics,
    Span,
    Thresholds,
    attach_default_handlers,
    attach_many,
    dashboard_data,
    declare,
    execute,
    get_metrics,
    instrument,
    instrument_provider,
    instrument_stream,
    span,
)
from pytest_llmtelemetry.telemetry.clock import set_clock
from pytest_llmtelemetry.telemetry.handlers import default_events
from pytest_llmtelemetry.telemetry.metrics import swap_metrics


ACME = {"provider": "acme", "model": "acme-1"}
CHAT, HIT = "llm.chat.call", "llm.cache.lookup.hit"


def hearing(metrics: Metrics, handler_id: str = "metrics") -> Callable[[], None]:
    """Let metrics hear what the default handlers hear."""
    return attach_many(handler_id, default_events(), metrics.hear)


@pytest.fixture
def metrics() -> Metrics:
    """Metrics that hear every event."""
    fresh = Metrics()
    hearing(fresh)
    return fresh


def total_calls(metrics: Metrics) -> int:
    """How many chat calls were counted."""
    total: int = metrics.get_metrics()["components"]["chat"]["total_calls"]
    return total


def stuck(metrics: Metrics) -> int:
    """How many spans are open."""
    alerts = metrics.dashboard_data(thresholds=Thresholds(open_span_ms=0))["alerts"]
    return next((alert["value"] for alert in alerts if alert["rule"] == "span_never_closed"), 0)


def at_once(threads: int, work: Callable[[int], None]) -> None:
    """Run some work in threads that begin together."""
    failures: list[BaseException] = []
    ready = threading.Barrier(threads, timeout=10)

    def run(number: int) -> None:
        try:
            ready.wait()
            work(number)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            failures.append(error)

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert failures == []


# -- counting ---------------------------------------------------------------------------


def test_each_event_is_counted_once(metrics: Metrics) -> None:
    """Ends of spans and single events are counted by name; the starts of spans are not."""
    with span(CHAT, ACME), span("llm.provider.request", ACME):
        execute(HIT)
    execute(HIT)
    assert metrics.get_metrics()["events"] == {HIT: 2, "llm.provider.request.stop": 1, f"{CHAT}.stop": 1}


@pytest.mark.parametrize("made", [{"span_id": 3}, {}], ids=["with an id", "without"])
def test_event_may_be_called_start(made: dict[str, Any], metrics: Metrics) -> None:
    """An event of an application that is called ``.start``, and has no ends, is an event like any other."""
    undo = declare("myapp.race.start")
    attach_many("more", ["myapp.race.start"], metrics.hear)
    execute("myapp.race.start", {}, made)
    undo()
    assert (metrics.get_metrics()["events"], stuck(metrics)) == ({"myapp.race.start": 1}, 0)


@pytest.mark.usefixtures("hasty_threads")
def test_threads_lose_no_event(metrics: Metrics) -> None:
    """2,000 calls from 16 threads are 2,000, while others read."""
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            metrics.dashboard_data(60_000)

    def work(thread: int) -> None:
        for _ in range(125):
            execute(f"{CHAT}.stop", {"duration_ns": 1_000_000}, ACME)

    reader = threading.Thread(target=read)
    reader.start()
    at_once(16, work)
    done.set()
    reader.join()
    numbers = metrics.get_metrics()
    assert (numbers["events"], numbers["dropped"]) == ({f"{CHAT}.stop": 2000}, 0)
    assert numbers["components"]["chat"]["total_calls"] == 2000
    assert numbers["components"]["chat"]["avg_duration_ms"] == 1.0


@pytest.mark.usefixtures("hasty_threads")
def test_threads_lose_no_span(metrics: Metrics) -> None:
    """2,000 spans in 16 threads, a fifth of which raise, are 2,000; each request is one of its call's."""

    def work(thread: int) -> None:
        for number in range(125):
            try:
                with instrument(CHAT, ACME) as work, instrument_provider("acme", "acme-1") as request:
                    request.result = {"id": f"{thread}-{number}", "usage": {"total_tokens": 3}}
                    work.result = request.result
                    if number % 5 == 0:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                pass

    at_once(16, work)
    components = metrics.get_metrics()["components"]
    assert (components["chat"]["total_calls"], components["chat"]["failed_calls"]) == (2000, 400)
    assert (components["providers"]["acme"]["total"], components["providers"]["acme"]["failed"]) == (2000, 400)
    assert (components["costs"]["calls"], components["tokens"]["total"], stuck(metrics)) == (2000, 6000, 0)


def test_finaliser_may_emit_while_metrics_are_read(metrics: Metrics) -> None:
    """A stream that was dropped is ended, and counted, by whoever reads."""
    stream = instrument_stream(iter("ab"), ACME)
    next(stream)
    del stream
    gc.collect()
    assert metrics.get_metrics()["components"]["streams"]["application"]["ended"] == {"abandoned": 1}


# -- the metrics of the process ---------------------------------------------------------


def test_process_has_metrics() -> None:
    """What the default handlers hear, the functions of the package tell."""
    undo = swap_metrics(Metrics())
    attach_default_handlers(level="DEBUG")
    execute(HIT, {}, {"key": "greeting"})
    numbers, recent = get_metrics(), dashboard_data(time_window=60_000)
    undo()
    assert (numbers["events"], recent["events"]) == ({HIT: 1}, {HIT: 1})
    assert (numbers["time_window_ms"], recent["time_window_ms"]) == (None, 60_000)


def test_swapped_metrics_come_back() -> None:
    """A swap is undone; what was counted before is there again."""
    undo_first = swap_metrics(Metrics())
    attach_default_handlers(level="DEBUG")
    execute(HIT)
    undo = swap_metrics(Metrics())
    execute("llm.cache.lookup.miss")
    during = get_metrics()["events"]
    undo()
    after = get_metrics()["events"]
    undo_first()
    assert (during, after) == ({"llm.cache.lookup.miss": 1}, {HIT: 1})


# -- the window -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window_ms", "seen"),
    [
        (0.000001, ["c: at the end"]),
        (4.999999, ["c: at the end"]),
        (5, ["b: 5 ms ago", "c: at the end"]),
        (5.000001, ["a: 5 ms and a nanosecond ago", "b: 5 ms ago", "c: at the end"]),
        (10**6, ["a: 5 ms and a nanosecond ago", "b: 5 ms ago", "c: at the end"]),
        (10**15, ["a: 5 ms and a nanosecond ago", "b: 5 ms ago", "c: at the end"]),
        (None, ["a: 5 ms and a nanosecond ago", "b: 5 ms ago", "c: at the end"]),
    ],
)
def test_window_slides_to_the_nanosecond(
    window_ms: float | None, seen: list[str], metrics: Metrics, llm_clock: FixedClock
) -> None:
    """An event exactly as old as the window is in it; one that is a nanosecond older is not."""
    execute("llm.provider.request.stop", {}, {"provider": "a: 5 ms and a nanosecond ago"})
    llm_clock.advance(ms=0.000001)
    execute("llm.provider.request.stop", {}, {"provider": "b: 5 ms ago"})
    llm_clock.advance(ms=5)
    execute("llm.provider.request.stop", {}, {"provider": "c: at the end"})
    numbers = metrics.dashboard_data(window_ms)
    assert sorted(numbers["components"]["providers"]) == seen
    assert numbers["time_window_ms"] == window_ms


def test_window_moves_on(metrics: Metrics, llm_clock: FixedClock) -> None:
    """What was in the window leaves it as time passes."""
    execute(HIT)
    hit_rates = []
    for _ in range(3):
        hit_rates.append(metrics.dashboard_data(1000)["components"]["cache"]["hit_rate"])
        llm_clock.advance(0.6)
    assert hit_rates == [1.0, 1.0, None]


def test_call_belongs_to_the_window_in_which_it_ends(metrics: Metrics, llm_clock: FixedClock) -> None:
    """A call that began before the window and ended in it is counted, with its whole duration."""
    with span(CHAT, ACME):
        llm_clock.advance(10)
    numbers = metrics.dashboard_data(1)["components"]["chat"]
    assert (numbers["total_calls"], numbers["avg_duration_ms"]) == (1, 10_000.0)


def test_window_leaves_out_what_is_on_another_clock(metrics: Metrics) -> None:
    """An event that was heard on the machine's clock is not in a window of a test's own clock."""
    execute(HIT)
    undo = set_clock(FixedClock())
    execute("llm.cache.lookup.miss")
    recent = metrics.dashboard_data(60_000)["events"]
    undo()
    assert recent == {"llm.cache.lookup.miss": 1}


@pytest.mark.parametrize(
    "window",
    [0, -1, -0.5, 0.0, math.nan, math.inf, -math.inf, 10**16, 10**400, "60000", True, False, [60], object],
    ids=lambda value: repr(value)[:20],
)
def test_window_that_makes_no_sense_is_an_error(window: Any, metrics: Metrics) -> None:
    """One line shows the value, and says what to give."""
    for read in (metrics.dashboard_data, dashboard_data):
        with pytest.raises(ValueError) as caught:
            read(window)
        assert (
            str(caught.value)
            == f"dashboard_data(time_window={window!r}): give milliseconds above zero, or None for all"
        )


# -- memory -----------------------------------------------------------------------------


def test_oldest_samples_go_first(llm_clock: FixedClock) -> None:
    """Beyond its capacity, metrics drop the oldest samples and say how many."""
    metrics = Metrics(capacity=3)
    hearing(metrics)
    for provider in "abcde":
        execute("llm.provider.request.stop", {}, {"provider": provider})
    numbers = metrics.get_metrics()
    assert (numbers["dropped"], numbers["complete"]) == (2, False)
    assert list(numbers["components"]["providers"]) == ["c", "d", "e"]


def test_full_metrics_are_complete() -> None:
    """As long as nothing was dropped, nothing is missing."""
    metrics = Metrics(capacity=3)
    hearing(metrics)
    for _ in range(3):
        execute(HIT)
    numbers = metrics.get_metrics()
    assert (numbers["dropped"], numbers["complete"]) == (0, True)


@pytest.mark.parametrize(("window_ms", "complete"), [(1999, True), (2000, False), (5000, False)])
def test_window_is_complete_if_what_was_dropped_is_older(window_ms: int, complete: bool, llm_clock: FixedClock) -> None:
    """A window within the samples that are kept misses nothing, whatever was dropped before."""
    metrics = Metrics(capacity=3)
    hearing(metrics)
    for _ in range(5):
        llm_clock.advance(1)
        execute(HIT)
    assert metrics.dashboard_data(window_ms)["complete"] is complete


@pytest.mark.parametrize("capacity", [0, -1, 1.5, True, "10", None], ids=repr)
def test_capacity_that_makes_no_sense_is_an_error(capacity: Any) -> None:
    """It is a whole number above zero."""
    with pytest.raises(ValueError) as caught:
        Metrics(capacity=capacity)
    assert str(caught.value) == f"Metrics(capacity={capacity!r}): give a whole number above zero"


def size(metrics: Metrics) -> int:
    """How many things metrics hold on to."""
    return sum(len(held) for held in (metrics._samples, metrics._open, metrics._requests, metrics._circuits))


def test_memory_is_bounded() -> None:
    """Spans that never close, requests, and circuits with ever new names fill it up to a limit."""
    metrics = Metrics(capacity=1000)
    for number in range(15_000):
        metrics.hear(f"{CHAT}.start", {}, {"span_id": number})
        metrics.hear("llm.provider.request.stop", {}, {"span_id": number})
        metrics.hear("llm.circuit_breaker.state.changed", {}, {"circuit": f"c{number}", "new_state": "open"})
    held = size(metrics)
    assert held == 1000 + 10_000 + 1000 + 1000
    assert stuck(metrics) == 10_000


def test_newest_are_remembered() -> None:
    """What is heard of again is as new as what is heard of first."""
    metrics = Metrics()
    for number in (*range(1000), 0, 1000):
        metrics.hear("llm.circuit_breaker.state.changed", {}, {"circuit": f"c{number}", "new_state": "open"})
    circuits = metrics.get_metrics()["components"]["circuits"]
    assert {f"c{number}" for number in range(1001)} - set(circuits) == {"c1"}


def test_request_that_was_dropped_is_taken_for_no_other() -> None:
    """A call that ends after its request's sample was dropped leaves the samples of other requests alone."""
    metrics = Metrics(capacity=3)
    metrics.hear(f"{CHAT}.start", {}, {"span_id": 1})
    for span_id in (2, 3, 4, 5):
        metrics.hear("llm.provider.request.stop", {}, {"span_id": span_id, "operation": "chat"})
    metrics.hear(f"{CHAT}.stop", {}, {"span_id": 1, "accounted_span_id": 2})
    assert total_calls(metrics) == 3


def test_names_are_cut() -> None:
    """A text of any length leaves a small sample."""
    metrics = Metrics()
    metrics.hear("llm.provider.request.stop", {}, {"provider": "x" * 10**6})
    (provider,) = metrics.get_metrics()["components"]["providers"]
    assert provider == "x" * 200


# -- open spans -------------------------------------------------------------------------


def test_spans_that_end_are_forgotten(metrics: Metrics) -> None:
    """Nothing is kept of a span that has ended, well or not."""
    for name in (CHAT, "llm.provider.request", "llm.http.request", "llm.context.truncation"):
        with span(name, ACME):
            pass
        with pytest.raises(ZeroDivisionError), span(name, ACME):
            raise ZeroDivisionError
    assert (stuck(metrics), metrics._open) == (0, {})


def test_span_that_began_before_is_counted_when_it_ends() -> None:
    """Metrics that are attached in the middle of a call count it, and its request is not a second one."""
    metrics = Metrics()
    with span(CHAT, ACME), span("llm.provider.request", {**ACME, "operation": "chat"}):
        hearing(metrics)
    assert (total_calls(metrics), stuck(metrics)) == (1, 0)
    assert metrics.get_metrics()["components"]["providers"]["acme"]["total"] == 1


def test_outer_request_that_began_before_is_known_by_its_bill() -> None:
    """It was not seen to begin, but accounting says that the request inside is the one that was counted."""
    metrics = Metrics()
    usage = {"id": "a-1", "usage": {"total_tokens": 3}}
    with instrument_provider("acme", "acme-1") as outer:
        hearing(metrics)
        with instrument_provider("acme", "acme-1") as inner:
            inner.result = usage
        outer.result = usage
    assert metrics.get_metrics()["components"]["providers"]["acme"]["total"] == 1


def test_spans_may_share_an_id(metrics: Metrics) -> None:
    """Two clocks give the same ids: spans of different names are told apart, of the same name the last is kept."""
    undo = set_clock(FixedClock())
    first, other = Span(CHAT), Span("llm.http.request")
    undo()
    undo = set_clock(FixedClock())
    second = Span(CHAT)
    undo()
    assert (first.id, second.id, other.id) == (1, 1, 2)
    for one in (first, second, other):
        one.stop()
    assert (total_calls(metrics), metrics._open) == (2, {})


def test_repeated_ids_do_not_pile_up() -> None:
    """Tests with clocks of their own leave spans open under the same ids, and hold no more than one of each."""
    metrics = Metrics()
    hearing(metrics)
    for _ in range(50):
        undo = set_clock(FixedClock())
        Span(CHAT)
        undo()
    assert size(metrics) == 1


def test_age_is_on_the_clock_on_which_a_span_began(metrics: Metrics) -> None:
    """A span that a test's own clock left open is not as old as the machine."""
    undo = set_clock(FixedClock())
    Span(CHAT)
    undo()
    assert metrics.get_metrics()["alerts"] == []


@pytest.mark.parametrize("span_id", [None, "7", 7.0, True, [7]], ids=repr)
def test_id_that_is_none_is_ignored(span_id: Any, metrics: Metrics) -> None:
    """Anybody may emit anything: only whole numbers are ids."""
    execute(f"{CHAT}.start", {}, {"span_id": span_id})
    execute(f"{CHAT}.stop", {}, {"span_id": span_id, "accounted_span_id": span_id})
    assert (total_calls(metrics), stuck(metrics)) == (1, 0)
