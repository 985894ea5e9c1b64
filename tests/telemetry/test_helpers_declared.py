"""Every helper keeps to the catalogue, whatever it is given, and nothing that it tells is a float of money."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from pytest_llmtelemetry import telemetry
from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import catalogue


ABOUT = {"provider": "acme", "model": "acme-1"}
ANSWER = {
    "id": "a-1",
    "usage": {"input_tokens": 10, "output_tokens": 5},
    "cost": 0.0036,
    "finish_reason": "length",
    "status": 503,
}


def end_well(helper: telemetry.spans.SpanContext, result: object = ANSWER) -> None:
    with helper as span:
        span.result = result


def fail(helper: telemetry.spans.SpanContext) -> None:
    with pytest.raises(ZeroDivisionError), helper:
        raise ZeroDivisionError


def stream(*pieces: object, close: bool = False) -> None:
    undo = telemetry.attach("asks for pieces", "llm.stream.chunk", lambda *args: None)
    one = telemetry.instrument_stream(iter(pieces))
    if close:
        one.close()
    else:
        list(one)
    undo()


def broken_stream() -> None:
    with pytest.raises(ZeroDivisionError):
        list(telemetry.instrument_stream(1 / 0 for _ in "a"))


SPANS: dict[str, Callable[[], telemetry.spans.SpanContext]] = {
    "chat": lambda: telemetry.instrument("llm.chat.call", ABOUT),
    "provider": lambda: telemetry.instrument_provider("acme", "acme-1"),
    "embedding": lambda: telemetry.embedding_call("acme", "embed-1", inputs=2),
    "http": lambda: telemetry.instrument_http("post", "https://api.example.com", content=b"{}"),
    "truncation": lambda: telemetry.instrument_context_truncation(["a"], strategy="newest", count_tokens=len),
}
HELPERS: dict[str, Callable[[], object]] = {
    **{f"{name}, good": lambda make=make: end_well(make()) for name, make in SPANS.items()},  # type: ignore[misc]
    **{f"{name}, bad": lambda make=make: fail(make()) for name, make in SPANS.items()},  # type: ignore[misc]
    **{f"{name}, empty": lambda make=make: end_well(make(), None) for name, make in SPANS.items()},  # type: ignore[misc]
    "messages": lambda: end_well(SPANS["truncation"](), []),
    "failed result": lambda: end_well(SPANS["chat"](), {"error": "overloaded"}),
    "unreadable counter": lambda: end_well(
        telemetry.instrument_context_truncation(["a"], strategy="newest", count_tokens=lambda _: 1 // 0)
    ),
    "stream": lambda: stream("a", "b"),
    "closed stream": lambda: stream("a", close=True),
    "broken stream": broken_stream,
    "hit": lambda: telemetry.instrument_cache_lookup("k", lambda: ANSWER),
    "text hit": lambda: telemetry.instrument_cache_lookup("k", lambda: "text"),
    "miss": lambda: telemetry.instrument_cache_lookup("k", lambda: None),
    "store": lambda: telemetry.instrument_cache_store("k", "v", 60, lambda: None),
    "store for good": lambda: telemetry.instrument_cache_store("k", "v", None, lambda: None),
    "expired": lambda: telemetry.cache_expired("k", age_s=61.5),
    "evicted": lambda: telemetry.cache_evicted("k", reason="size", size_bytes=5),
    "window exceeded": lambda: telemetry.context_window_exceeded(130_000, 128_000, **ABOUT),
    "window exceeded somehow": lambda: telemetry.context_window_exceeded(None, None),
    "session created": lambda: telemetry.instrument_session_created("s"),
    "message": lambda: telemetry.instrument_session_add_message("s", {"role": "user", "content": "Hello"}, 1),
    "message of an odd kind": lambda: telemetry.instrument_session_add_message("s", 7),
    "usage": lambda: telemetry.instrument_session_token_usage("s", ANSWER),
    "cleared": lambda: telemetry.instrument_session_cleared("s", 3),
    "session truncated": lambda: telemetry.instrument_session_truncated("s", 2, 5),
    "retry": lambda: telemetry.retry_attempt(2, delay_s=0.5, reason=TimeoutError(), provider="acme"),
    "rate limit": lambda: telemetry.rate_limit_hit("acme"),
    "circuit": lambda: telemetry.circuit_breaker_state_changed("acme", "closed", "open"),
    "tool": lambda: telemetry.tool_call("search", {"q": "x"}),
    "tool of an odd kind": lambda: telemetry.tool_call("search", 7),
    "threshold": lambda: telemetry.check_cost_threshold(0.02, "0.01"),
}


@pytest.mark.parametrize("helper", HELPERS.values(), ids=HELPERS.keys())
def test_helper_keeps_to_the_catalogue(helper: Callable[[], object], heard: list[Event]) -> None:
    """Strict mode has nothing to say, and every key that is told is declared or the application's own."""
    helper()
    assert heard
    problems = [line for event in heard for line in catalogue.problems(event.name, event.measurements, event.metadata)]
    assert problems == []


@pytest.mark.parametrize("helper", HELPERS.values(), ids=HELPERS.keys())
def test_every_measurement_is_declared(helper: Callable[[], object], heard: list[Event]) -> None:
    """The reference lists all that a helper measures, and money is never a float."""
    helper()
    for event in heard:
        spec = catalogue.find(event.name)
        assert spec is not None
        declared = {field.key: field.unit for field in spec.measurements}
        assert set(event.measurements) - set(declared) == set()
        money = {key: value for key, value in event.measurements.items() if declared[key] == "USD"}
        assert all(value is None or type(value) is Decimal for value in money.values())


def test_every_event_of_an_application_is_emitted_by_a_helper(heard: list[Event]) -> None:
    """No event that the catalogue says an application emits is without a helper."""
    for helper in HELPERS.values():
        helper()
    promised = {spec.name for spec in catalogue.CATALOGUE.values() if "application" in spec.emitters}
    assert promised - {event.name for event in heard} == set()
