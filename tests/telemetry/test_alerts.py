"""Alerts: each rule is raised just beyond its threshold, and silent at it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from pytest_llmtelemetry.telemetry import (
    FixedClock,
    Span,
    Thresholds,
    attach,
    check_cost_threshold,
    circuit_breaker_state_changed,
    context_window_exceeded,
    execute,
    rate_limit_hit,
)
from pytest_llmtelemetry.telemetry.testing import LLMTelemetry


ACME = {"provider": "acme", "model": "acme-1"}


def raised(telemetry: LLMTelemetry, window_ms: float | None = None, **thresholds: Any) -> list[dict[str, Any]]:
    """The alerts."""
    alerts: list[dict[str, Any]] = telemetry.dashboard_data(window_ms, thresholds=Thresholds(**thresholds))["alerts"]
    return alerts


def alert(rule: str, severity: str, value: object, threshold: object, message: str) -> dict[str, Any]:
    """One alert, as it should be."""
    return {"rule": rule, "severity": severity, "value": value, "threshold": threshold, "message": message}


def chat_calls(total: int, *, failed: int = 0, ms: float = 1) -> None:
    """Chat calls of the application, the first of which fail."""
    for number in range(total):
        execute("llm.chat.call.stop", {"duration_ns": round(ms * 1e6)}, {**ACME, "success": number >= failed})


def look_ups(total: int, *, hits: int) -> None:
    """Look-ups in the application's cache."""
    for number in range(total):
        execute(f"llm.cache.lookup.{'hit' if number < hits else 'miss'}", {}, {"key": "greeting"})


def failing_handler() -> None:
    """A handler that raises, and an event for it."""

    def fail(*args: object) -> None:
        raise ZeroDivisionError

    attach("bad", "myapp.event", fail)
    execute("myapp.event")


def spend(*costs: str) -> None:
    """Calls that cost so much."""
    for cost in costs:
        execute("llm.cost.calculated", {"cost_usd": Decimal(cost)}, ACME)


# -- rates ------------------------------------------------------------------------------


@pytest.mark.parametrize("percent", range(0, 100, 7))
def test_error_rate_at_its_threshold_is_silent(percent: int, llm_telemetry: LLMTelemetry) -> None:
    """A rate that is exactly the threshold is within, whatever floats make of it; one failure more is not."""
    chat_calls(100, failed=percent)
    assert raised(llm_telemetry, error_rate=percent / 100) == []
    chat_calls(1, failed=1)
    rate = (percent + 1) / 101
    assert raised(llm_telemetry, error_rate=percent / 100) == [
        alert("error_rate", "critical", rate, percent / 100, f"{rate:.1%} of the chat calls failed")
    ]


@pytest.mark.parametrize(("ms", "expected"), [(10_000, []), (10_000.000001, ["p95_latency"])])
def test_p95_latency(ms: float, expected: list[str], llm_telemetry: LLMTelemetry) -> None:
    """p95 may be as long as the threshold, and not a nanosecond longer."""
    chat_calls(18)
    chat_calls(2, ms=ms)
    assert [one["rule"] for one in raised(llm_telemetry)] == expected


def test_p95_latency_says_how_slow(llm_telemetry: LLMTelemetry) -> None:
    """The alert has the percentile and the threshold, in milliseconds."""
    chat_calls(20, ms=12_345.6)
    message = "the slowest 5% of the chat calls took 12346 ms or more"
    assert raised(llm_telemetry) == [alert("p95_latency", "warning", 12_345.6, 10_000, message)]


@pytest.mark.parametrize(("hits", "expected"), [(20, []), (19, ["low_hit_rate"])])
def test_low_hit_rate(hits: int, expected: list[str], llm_telemetry: LLMTelemetry) -> None:
    """A hit rate as high as the threshold is enough."""
    look_ups(200, hits=hits)
    assert [one["rule"] for one in raised(llm_telemetry, hit_rate=0.1)] == expected


def test_low_hit_rate_says_how_low(llm_telemetry: LLMTelemetry) -> None:
    """The alert has the rate and the threshold."""
    look_ups(40, hits=1)
    message = "2.5% of the cache look-ups hit"
    assert raised(llm_telemetry, hit_rate=0.5) == [alert("low_hit_rate", "warning", 0.025, 0.5, message)]


@pytest.mark.parametrize(
    ("happen", "rules"),
    [
        (lambda count: chat_calls(count, failed=count, ms=20_000), ["error_rate", "p95_latency"]),
        (lambda count: look_ups(count, hits=0), ["low_hit_rate"]),
    ],
    ids=["chat calls", "look-ups"],
)
def test_rates_need_samples(happen: Callable[[int], None], rules: list[str], llm_telemetry: LLMTelemetry) -> None:
    """Ten calls make a rate, nine do not; how many it takes can be said."""
    happen(9)
    assert raised(llm_telemetry) == []
    assert [one["rule"] for one in raised(llm_telemetry, min_samples=9)] == rules
    happen(1)
    assert [one["rule"] for one in raised(llm_telemetry)] == rules


def test_no_samples_make_no_rate(llm_telemetry: LLMTelemetry) -> None:
    """Nothing is no rate, even if no samples are asked for."""
    assert raised(llm_telemetry, min_samples=0) == []


def test_calls_without_durations_have_no_latency(llm_telemetry: LLMTelemetry) -> None:
    """What was not measured is not slow."""
    for _ in range(20):
        execute("llm.chat.call.stop", {}, ACME)
    assert raised(llm_telemetry, p95_latency_ms=0) == []


# -- money ------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [Decimal("0.3"), 0.3, "0.3"], ids=["decimal", "float", "text"])
def test_cost_threshold(limit: Any, llm_telemetry: LLMTelemetry) -> None:
    """Exactly the limit may be spent, whatever kind of number it is; the smallest amount more is an alert."""
    spend("0.1", "0.2")
    assert raised(llm_telemetry, cost_usd=limit) == []
    spend("0.0000036")
    assert raised(llm_telemetry, cost_usd=limit) == [
        alert("cost_threshold", "critical", Decimal("0.3000036"), Decimal("0.3"), "$0.3000 spent, and $0.3000 allowed")
    ]


def test_no_limit_of_cost_is_no_alert(llm_telemetry: LLMTelemetry) -> None:
    """Unless one is set, anything may be spent."""
    spend("1000000")
    assert raised(llm_telemetry) == []


def test_limit_of_nothing_allows_nothing(llm_telemetry: LLMTelemetry) -> None:
    """Zero is a limit."""
    assert raised(llm_telemetry, cost_usd=0) == []
    spend("0.0000036")
    assert [one["rule"] for one in raised(llm_telemetry, cost_usd=0)] == ["cost_threshold"]


# -- things that happened ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("happen", "silent", "expected"),
    [
        (
            lambda: check_cost_threshold("0.02", "0.01"),
            lambda: check_cost_threshold("0.01", "0.01"),
            ("cost_threshold", "critical", "cost thresholds that were exceeded"),
        ),
        (
            lambda: context_window_exceeded(130_000, 128_000),
            lambda: None,
            ("window_exceeded", "warning", "prompts that did not fit the context window"),
        ),
        (
            lambda: rate_limit_hit("acme"),
            lambda: None,
            ("rate_limited", "warning", "requests that were rate limited"),
        ),
        (failing_handler, lambda: None, ("handler_detached", "critical", "handlers that failed and were detached")),
    ],
    ids=["cost_threshold", "window_exceeded", "rate_limited", "handler_detached"],
)
def test_what_should_not_happen(
    happen: Callable[[], object],
    silent: Callable[[], object],
    expected: tuple[str, str, str],
    llm_telemetry: LLMTelemetry,
) -> None:
    """One time is an alert, which counts how often it happened."""
    rule, severity, what = expected
    silent()
    assert raised(llm_telemetry) == []
    happen()
    assert raised(llm_telemetry) == [alert(rule, severity, 1, 0, f"{what}: 1")]
    happen()
    assert raised(llm_telemetry) == [alert(rule, severity, 2, 0, f"{what}: 2")]


def test_what_happened_before_the_window_is_no_alert(llm_telemetry: LLMTelemetry, llm_clock: FixedClock) -> None:
    """Alerts are about the window."""
    rate_limit_hit("acme")
    chat_calls(10, failed=10, ms=20_000)
    llm_clock.advance(61)
    assert (raised(llm_telemetry, 60_000), len(raised(llm_telemetry))) == ([], 3)


# -- what is the case now ---------------------------------------------------------------


def test_circuit_that_is_open(llm_telemetry: LLMTelemetry, llm_clock: FixedClock) -> None:
    """It is an alert for as long as it is open, also if it opened long before the window."""
    states: list[list[dict[str, Any]]] = []
    for old, new in (("closed", "open"), ("open", "half_open"), ("half_open", "closed")):
        circuit_breaker_state_changed("acme", old, new)
        llm_clock.advance(3600)
        states.append(raised(llm_telemetry, 1000))
    assert states == [[alert("circuit_open", "critical", 1, 0, "circuit breaker that is open: acme")], [], []]


def test_each_open_circuit_is_an_alert(llm_telemetry: LLMTelemetry) -> None:
    """Circuits are told apart by name."""
    for circuit in ("acme", "other", "third"):
        circuit_breaker_state_changed(circuit, "closed", "open")
    circuit_breaker_state_changed("other", "open", "closed")
    assert [one["message"].rpartition(": ")[2] for one in raised(llm_telemetry)] == ["acme", "third"]


def test_span_that_does_not_end(llm_telemetry: LLMTelemetry, llm_clock: FixedClock) -> None:
    """It may be open for as long as the threshold; then it is an alert, whatever the window, until it ends."""
    stuck = Span("llm.chat.call", ACME)
    llm_clock.advance(300)
    assert raised(llm_telemetry, 1000) == []
    llm_clock.advance(ms=0.000001)
    message = "spans that began and did not end: 1"
    assert raised(llm_telemetry, 1000) == [alert("span_never_closed", "warning", 1, 0, message)]
    assert raised(llm_telemetry, open_span_ms=300_000.000001) == []
    stuck.stop()
    assert raised(llm_telemetry) == []


# -- their form -------------------------------------------------------------------------


def test_alerts_are_plain(llm_telemetry: LLMTelemetry) -> None:
    """All rules at once: mappings of five keys, which JSON can hold."""
    Span("llm.http.request")
    chat_calls(10, failed=10, ms=20_000)
    look_ups(10, hits=0)
    spend("1")
    check_cost_threshold(2, 1)
    context_window_exceeded(2, 1)
    rate_limit_hit("acme")
    circuit_breaker_state_changed("acme", "closed", "open")
    failing_handler()
    alerts = raised(llm_telemetry, cost_usd=Decimal("0.5"), open_span_ms=0)
    assert {one["rule"] for one in alerts} == {
        "error_rate",
        "p95_latency",
        "cost_threshold",
        "low_hit_rate",
        "window_exceeded",
        "rate_limited",
        "circuit_open",
        "handler_detached",
        "span_never_closed",
    }
    assert {(type(one), tuple(one)) for one in alerts} == {
        (dict, ("rule", "severity", "value", "threshold", "message"))
    }
    assert {one["severity"] for one in alerts} == {"critical", "warning"}
    assert all("\n" not in one["message"] for one in alerts)
    assert len(json.loads(json.dumps(alerts, default=str))) == len(alerts)


def test_metrics_have_the_alerts_of_the_defaults(llm_telemetry: LLMTelemetry) -> None:
    """get_metrics() raises alerts too, by the thresholds that hold unless others are given."""
    rate_limit_hit("acme")
    assert llm_telemetry.get_metrics()["alerts"] == raised(llm_telemetry)


# -- thresholds -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "wanted"),
    [
        *(
            (name, (-0.1, 1.1, math.nan, math.inf, True, "0.1", None, Decimal("0.1")), "a rate from 0 to 1")
            for name in ("error_rate", "hit_rate", "availability")
        ),
        *(
            (name, (-1, math.nan, math.inf, 10**400, True, "10", None), "milliseconds, from 0 up")
            for name in ("p95_latency_ms", "open_span_ms")
        ),
        ("min_samples", (-1, 1.5, 3.0, True, "3", None, math.nan), "a whole number, from 0 up"),
        (
            "cost_usd",
            (-1, "-0.01", math.nan, Decimal("NaN"), "Infinity", True, "much", ""),
            "an amount in USD, or None",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "_" in value else "",
)
def test_threshold_that_makes_no_sense_is_an_error(name: str, values: tuple[Any, ...], wanted: str) -> None:
    """One line shows the value, and says what to give."""
    for value in values:
        with pytest.raises(ValueError) as caught:
            Thresholds(**{name: value})
        assert str(caught.value) == f"Thresholds({name}={value!r}): give {wanted}"


@pytest.mark.parametrize(
    "given",
    [
        {"error_rate": 0, "hit_rate": 0, "availability": 0, "p95_latency_ms": 0, "open_span_ms": 0, "min_samples": 0},
        {"error_rate": 1, "hit_rate": 1.0, "availability": 1},
        {"cost_usd": 0, "p95_latency_ms": 0.5},
        {"cost_usd": None},
    ],
    ids=["zeros", "ones", "fractions", "none"],
)
def test_thresholds_take_their_limits(given: dict[str, Any]) -> None:
    """The ends of each range are valid."""
    thresholds = Thresholds(**given)
    assert {name: getattr(thresholds, name) for name in given} == given
