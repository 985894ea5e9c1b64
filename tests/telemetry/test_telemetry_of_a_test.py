"""``LLMTelemetry``: the event bus as one test sees it, and nothing of it afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pytest_llmtelemetry.errors import HandlerExistsError
from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import (
    Metrics,
    Thresholds,
    attach,
    attach_default_handlers,
    bus,
    dashboard_data,
    execute,
    get_metrics,
    list_handlers,
)
from pytest_llmtelemetry.telemetry.metrics import swap_metrics
from pytest_llmtelemetry.telemetry.names import CHUNK
from pytest_llmtelemetry.telemetry.testing import LLMTelemetry


HIT, MISS = "llm.cache.lookup.hit", "llm.cache.lookup.miss"


class Listener:
    """A handler that remembers what it heard."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def __call__(self, name: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: Any) -> None:
        self.heard.append((name, config))


def ids(prefix: str = "") -> set[str]:
    """Who is attached."""
    return {one.handler_id for one in list_handlers(prefix)}


# -- metrics ----------------------------------------------------------------------------


def test_metrics_begin_at_zero() -> None:
    """What was counted before is not there, neither in the object nor in the functions of the package."""
    with LLMTelemetry():
        execute(HIT)
    with LLMTelemetry() as telemetry:
        before = (telemetry.get_metrics()["events"], get_metrics()["events"])
        execute(HIT)
        after = [read()["events"] for read in (telemetry.get_metrics, telemetry.dashboard_data, get_metrics)]
    assert (before, after) == (({}, {}), [{HIT: 1}] * 3)


def test_metrics_can_be_read_afterwards() -> None:
    """The object keeps its numbers, and counts no more."""
    with LLMTelemetry() as telemetry:
        execute(HIT)
    execute(HIT)
    assert telemetry.get_metrics()["events"] == {HIT: 1}


def test_metrics_of_the_process_are_left_alone() -> None:
    """What an application counts outside of it is neither lost nor added to."""
    undo = swap_metrics(Metrics())
    attach_default_handlers(level="DEBUG")
    execute(HIT)
    with LLMTelemetry():
        execute(MISS)
    inside = get_metrics()["events"]
    execute(HIT)
    after = get_metrics()["events"]
    undo()
    assert (inside, after) == ({HIT: 1}, {HIT: 2})


def test_default_handlers_of_the_application_are_left_alone() -> None:
    """What was attached before is attached in it, and afterwards."""
    attach_default_handlers(level="DEBUG")
    before = list(map(id, bus.attachments()))
    with LLMTelemetry():
        during = list(map(id, bus.attachments()))
    assert (during[: len(before)], list(map(id, bus.attachments()))) == (before, before)


@pytest.mark.parametrize("undone", [True, False], ids=["undone inside", "left attached"])
def test_application_may_attach_its_default_handlers_inside(undone: bool) -> None:
    """Nothing is counted twice, and the metrics are those of the test."""
    with LLMTelemetry() as telemetry:
        undo = attach_default_handlers(level="DEBUG")
        execute(HIT)
        if undone:
            undo()
        counted = (telemetry.get_metrics()["events"], get_metrics()["events"])
    assert counted == ({HIT: 1}, {HIT: 1})


def test_application_may_attach_and_undo_its_default_handlers() -> None:
    """The test's metrics hear on after an application has taken its own handlers away."""
    with LLMTelemetry() as telemetry:
        attach_default_handlers(level="DEBUG")()
        execute(HIT)
        counted = telemetry.get_metrics()["events"]
    assert counted == {HIT: 1}


def test_chunks_are_not_switched_on() -> None:
    """The event that is emitted on demand is not demanded."""
    with LLMTelemetry():
        assert not bus.has_handler(CHUNK)


def test_nested_use() -> None:
    """The inner one begins at zero; the outer one counts all that happens in its time."""
    with LLMTelemetry() as outer:
        execute(HIT)
        with LLMTelemetry() as inner:
            execute(MISS)
        execute(HIT)
        counted = (outer.get_metrics()["events"], inner.get_metrics()["events"], get_metrics()["events"])
    assert counted == ({HIT: 2, MISS: 1}, {MISS: 1}, {HIT: 2, MISS: 1})
    assert list_handlers() == []


# -- handlers ---------------------------------------------------------------------------


def test_handlers_undo_themselves() -> None:
    """What is attached through it is detached at its end, and what was there stays."""
    attach("before", HIT, Listener())
    with LLMTelemetry() as telemetry:
        telemetry.attach("one", HIT, Listener())
        telemetry.attach_many("many", [HIT, MISS], Listener())
    assert ids() == {"before"}


def test_handlers_undo_themselves_after_an_exception() -> None:
    """A test that fails leaves nothing either."""

    def fail() -> None:
        with LLMTelemetry() as telemetry:
            telemetry.attach("one", HIT, Listener())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list_handlers() == []


def test_handler_may_be_undone_or_detached_before() -> None:
    """The end of the test has nothing against it."""
    with LLMTelemetry() as telemetry:
        telemetry.attach("one", HIT, Listener())()
        telemetry.attach("two", HIT, Listener())
        telemetry.detach("two")
        assert not {"one", "two"} & ids()
    assert list_handlers() == []


def test_handlers_hear_with_their_config() -> None:
    """attach, attach_many and attached take a config, as the functions of the package do."""
    listener = Listener()
    with LLMTelemetry() as telemetry:
        telemetry.attach("one", HIT, listener, 1)
        telemetry.attach_many("many", [HIT, MISS], listener, config=2)
        with telemetry.attached(HIT, listener, config=3):
            telemetry.execute(HIT)
        telemetry.execute(MISS)
    assert listener.heard == [(HIT, 1), (HIT, 2), (HIT, 3), (MISS, 2)]


def test_ids_are_those_of_the_process() -> None:
    """There is one bus: an id that is taken is taken."""
    attach("mine", HIT, Listener())
    with LLMTelemetry() as telemetry, pytest.raises(HandlerExistsError):
        telemetry.attach("mine", MISS, Listener())


def test_events_are_emitted_through_it(heard: list[Event]) -> None:
    """execute and span emit on the one bus."""
    with LLMTelemetry() as telemetry:
        telemetry.execute(HIT, {"size_bytes": 5}, {"key": "greeting"})
        with telemetry.span("app.answer", {"model": "acme-1"}):
            telemetry.execute(MISS)
    assert [event.name for event in heard] == [HIT, "app.answer.start", MISS, "app.answer.stop"]
    assert (heard[0].measurements, heard[0].metadata) == ({"size_bytes": 5}, {"key": "greeting"})


def test_list_of_handlers_takes_a_prefix() -> None:
    """It lists what is attached, by whole segments."""
    with LLMTelemetry() as telemetry:
        telemetry.attach("one", "app.answer.stop", Listener())
        found = [(one.handler_id, one.event) for one in telemetry.list_handlers("app")]
    assert found == [("one", "app.answer.stop")]


def test_thresholds_reach_the_dashboard() -> None:
    """Its dashboard takes a window and thresholds, as the function of the package does."""
    with LLMTelemetry() as telemetry:
        for _ in range(3):
            execute(MISS)
        thresholds = Thresholds(min_samples=3)
        dashboards = [read(60_000, thresholds=thresholds) for read in (telemetry.dashboard_data, dashboard_data)]
    assert [[one["rule"] for one in dashboard["alerts"]] for dashboard in dashboards] == [["low_hit_rate"]] * 2
