"""An answer that comes out of an application's cache was paid before, and is not counted again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_llmtelemetry.recording import owner as owners
from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.recording.owner import Owner
from pytest_llmtelemetry.telemetry import accounting, instrument, instrument_cache_lookup
from pytest_llmtelemetry.telemetry.names import COST_CALCULATED


USAGE = {"input_tokens": 1000, "output_tokens": 10}
ANSWERS: dict[str, dict[str, Any]] = {
    "with an id": {"id": "a-1", "usage": USAGE},
    "without": {"usage": USAGE},
    "with a cost": {"usage": USAGE, "cost": 0.0036},
}


@pytest.fixture(params=ANSWERS)
def answer(request: pytest.FixtureRequest) -> dict[str, Any]:
    """An answer, as an application keeps it."""
    return ANSWERS[request.param]


@pytest.fixture
def store() -> dict[str, Any]:
    """A cache that outlives tests."""
    return {}


@pytest.fixture
def ask(store: dict[str, Any], answer: dict[str, Any]) -> Callable[[], Any]:
    """A chat that looks into the cache first."""

    @instrument("llm.chat.call", {"provider": "acme", "model": "acme-1"})
    def ask() -> Any:
        found = instrument_cache_lookup("k", lambda: store.get("k"))
        if found is None:
            found = store["k"] = answer
        return found

    return ask


@pytest.fixture
def as_test() -> Iterator[Callable[[str], object]]:
    """Puts a test to work."""
    before, names = owners.current(), set[str]()

    def work(name: str) -> None:
        names.add(name)
        owners.swap(Owner(nodeid=name, phase="call"))

    yield work
    owners.swap(before)
    for name in names:
        accounting.forget(Owner(nodeid=name).key)


def bills(heard: list[Event]) -> list[Event]:
    """The calls that were counted."""
    return [event for event in heard if event.name == COST_CALCULATED]


def test_within_a_test(ask: Callable[[], Any], heard: list[Event]) -> None:
    """Three chats, one of them paid; the ends of the others say where their answer is from."""
    assert ask() is ask() is ask()
    assert len(bills(heard)) == 1
    ends = [event for event in heard if event.name == "llm.chat.call.stop"]
    assert [event.metadata.get("from_cache", False) for event in ends] == [False, True, True]


def test_across_tests(ask: Callable[[], Any], as_test: Callable[[str], object], heard: list[Event]) -> None:
    """A cache that outlives the test that filled it: the next test pays nothing."""
    as_test("test_first")
    ask()
    as_test("test_second")
    ask()
    ask()
    assert [bill["owner"].nodeid for bill in bills(heard)] == ["test_first"]


def test_layers_above_the_cache(ask: Callable[[], Any], as_test: Callable[[str], object], heard: list[Event]) -> None:
    """Every layer that passes the answer on is recognised."""
    as_test("test_first")
    ask()
    as_test("test_second")
    with instrument("llm.chat.call", {"provider": "acme", "model": "acme-1"}) as outer:
        outer.result = ask()
    assert len(bills(heard)) == 1
    assert outer.metadata["from_cache"] is True


def test_call_beside_a_hit(store: dict[str, Any], heard: list[Event]) -> None:
    """A hit on something else does not hide a call that is made in the same span."""
    store["k"] = {"id": "old", "usage": {"input_tokens": 1, "output_tokens": 1}}
    with instrument("llm.chat.call", {"provider": "acme", "model": "acme-1"}) as span:
        instrument_cache_lookup("k", lambda: store.get("k"))
        span.result = {"id": "new", "usage": USAGE}
    (bill,) = bills(heard)
    assert (bill["span_id"], bill["input_tokens"]) == (span.id, 1000)
    assert "from_cache" not in span.metadata


def test_hit_that_says_nothing_of_usage(heard: list[Event]) -> None:
    """A text out of a cache of documents is no answer of a model."""
    with instrument("llm.chat.call", {"provider": "acme", "model": "acme-1"}) as span:
        instrument_cache_lookup("document", lambda: "text")
        span.result = {"usage": USAGE}
    assert len(bills(heard)) == 1
