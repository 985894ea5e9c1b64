"""Things that happen at one moment, and the exact threshold of a cost."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import (
    attached,
    check_cost_threshold,
    circuit_breaker_state_changed,
    context_window_exceeded,
    rate_limit_hit,
    retry_attempt,
    span,
    tool_call,
)


class SlowDownError(Exception):
    """The application's own."""


def told(heard: list[Event]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The only event."""
    (event,) = heard
    return event.name, dict(event.measurements), dict(event.metadata)


RETRY, LIMIT, CIRCUIT = "llm.retry.attempt", "llm.rate_limit.hit", "llm.circuit_breaker.state.changed"


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda: retry_attempt(2), (RETRY, {"attempt": 2}, {})),
        (
            lambda: retry_attempt(3, delay_s=0.5, reason=SlowDownError("secret"), provider="acme", model=None),
            (RETRY, {"attempt": 3, "delay_s": 0.5}, {"provider": "acme", "reason": f"{__name__}.SlowDownError"}),
        ),
        (
            lambda: retry_attempt(2, reason="refused sk-abcdefghijklmnop1234"),
            (RETRY, {"attempt": 2}, {"reason": "refused [redacted]"}),
        ),
        (rate_limit_hit, (LIMIT, {"retry_after_s": None}, {})),
        (
            lambda: rate_limit_hit("acme", retry_after_s=1.5, model="m"),
            (LIMIT, {"retry_after_s": 1.5}, {"provider": "acme", "model": "m"}),
        ),
        (
            lambda: circuit_breaker_state_changed("acme", "closed", "open"),
            (CIRCUIT, {}, {"circuit": "acme", "old_state": "closed", "new_state": "open"}),
        ),
        (
            lambda: circuit_breaker_state_changed("acme", "open", "half_open", reason=TimeoutError(), model="m"),
            (
                CIRCUIT,
                {},
                {
                    "model": "m",
                    "circuit": "acme",
                    "old_state": "open",
                    "new_state": "half_open",
                    "reason": "TimeoutError",
                },
            ),
        ),
    ],
    ids=["retry", "retry for a reason", "retry for a word", "rate limit", "rate limit stated", "circuit", "reason"],
)
def test_events(
    act: Callable[[], None], expected: tuple[str, dict[str, Any], dict[str, Any]], heard: list[Event]
) -> None:
    """What is not known is not there, and of an exception only its type is kept."""
    act()
    name, measurements, metadata = expected
    source = {} if name == CIRCUIT else {"source": "application"}
    assert told(heard) == (name, measurements, metadata | source)


@pytest.mark.parametrize(
    ("act", "name"),
    [
        (lambda: retry_attempt(2), RETRY),
        (rate_limit_hit, LIMIT),
        (lambda: tool_call("search"), "llm.tool.call"),
        (lambda: context_window_exceeded(2, 1), "llm.context.window.exceeded"),
    ],
    ids=["retry", "rate limit", "tool call", "window"],
)
def test_who_is_known_from_the_spans_around(act: Callable[[], None], name: str, heard: list[Event]) -> None:
    """Inside a span that states provider and model they need not be repeated, and the event belongs to that span."""
    with span("llm.chat.call", {"provider": "acme", "model": "acme-1"}), span("app.step", {"model": "acme-2"}) as step:
        act()
    (event,) = (one for one in heard if one.name == name)
    assert (event["provider"], event["model"], event["span_id"]) == ("acme", "acme-2", step.id)


def test_who_is_stated_wins() -> None:
    """What is stated is not replaced by what the spans around say."""
    seen: list[str] = []
    with (
        attached(LIMIT, lambda event, measurements, metadata, config: seen.append(metadata["provider"])),
        span("llm.chat.call", {"provider": "acme", "model": "acme-1"}),
    ):
        rate_limit_hit("other")
    assert seen == ["other"]


def recursive() -> dict[str, Any]:
    thing: dict[str, Any] = {}
    thing["self"] = thing
    return thing


def deep() -> dict[str, Any]:
    thing: dict[str, Any] = {}
    for _ in range(100_000):
        thing = {"in": thing}
    return thing


class Unprintable:
    """A value that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: '{"q": "ü"}', 11),
        (lambda: {"q": "ü"}, 11),
        (lambda: MappingProxyType({"q": 1}), 8),
        (lambda: b"{}", 2),
        (dict, 2),
        (lambda: None, None),
        (recursive, None),
        (deep, None),
        (lambda: {"q": Unprintable()}, None),
        (lambda: {(1, 2): 3}, None),
        (lambda: 7, None),
    ],
    ids=[
        *("JSON", "mapping", "proxy", "bytes", "empty", "none", "recursive", "deep", "unprintable", "odd key"),
        "number",
    ],
)
def test_tool_calls(make: Callable[[], object], size: int | None, heard: list[Event]) -> None:
    """The arguments are measured in bytes of JSON, and not kept; what cannot be measured is unknown."""
    tool_call("search", make(), provider="acme")
    expected = (
        "llm.tool.call",
        {"arguments_bytes": size},
        {"provider": "acme", "tool": "search", "source": "application"},
    )
    assert told(heard) == expected


# -- thresholds ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cost", "threshold", "excess"),
    [
        (0.02, "0.01", "0.01"),
        ("0.0036", 0.0035, "0.0001"),
        (Decimal("0.00000421"), Decimal("0.0000042"), "0.00000001"),
        (1, 0, "1"),
        (0.1 + 0.2, 0.3, "0.00000000000000004"),
        (Decimal("1e-12"), 0, "1e-12"),
    ],
    ids=["cents", "less than a cent", "sub-cent", "whole", "sum of floats", "tiny"],
)
def test_above(cost: Any, threshold: Any, excess: str, heard: list[Event]) -> None:
    """A cost above its threshold is told with exact decimals."""
    assert check_cost_threshold(cost, threshold, scope="session") is True
    name, measurements, metadata = told(heard)
    assert (name, metadata) == ("llm.cost.threshold.exceeded", {"scope": "session"})
    assert {type(value) for value in measurements.values()} == {Decimal}
    assert measurements["exceeded_by_usd"] == Decimal(excess)
    assert measurements["cost_usd"] - measurements["threshold_usd"] == Decimal(excess)


@pytest.mark.parametrize(
    ("cost", "threshold", "answer"),
    [
        (0.01, 0.01, False),
        ("0.010", Decimal("0.01"), False),
        (0, 0, False),
        (0.0036, 0.01, False),
        (None, 1, None),
        (1, None, None),
        (float("nan"), 1, None),
        (1, float("nan"), None),
        ("NaN", 1, None),
        (float("inf"), 1, None),
        ("much", 1, None),
        (-1, 1, None),
        (True, 0, None),
        (object(), 1, None),
    ],
    ids=[
        *("equal", "equal decimals", "zeros", "below", "no cost", "no threshold", "NaN", "NaN threshold", "NaN text"),
        *("infinite", "word", "negative", "bool", "object"),
    ],
)
def test_not_above(cost: Any, threshold: Any, answer: bool | None, heard: list[Event]) -> None:
    """Equal is within; what is no amount cannot be judged; neither is told."""
    assert check_cost_threshold(cost, threshold) is answer
    assert heard == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cost=st.decimals(0, 100, places=9, allow_nan=False), threshold=st.decimals(0, 100, places=9, allow_nan=False))
def test_threshold_is_exact(cost: Decimal, threshold: Decimal, heard: list[Event]) -> None:
    """The answer is that of exact arithmetic, and there is an event if it is yes."""
    heard.clear()
    above = check_cost_threshold(str(cost), threshold)
    assert above is (cost > threshold)
    assert [event["exceeded_by_usd"] for event in heard] == ([cost - threshold] if cost > threshold else [])
