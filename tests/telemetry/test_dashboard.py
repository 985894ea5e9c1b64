"""The dashboard: the seed's shape, exact money, and each call counted once whoever saw it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmtelemetry import faults
from pytest_llmtelemetry.mocking.mock import LLMMock
from pytest_llmtelemetry.telemetry import (
    FixedClock,
    Metrics,
    Thresholds,
    cache_evicted,
    cache_expired,
    context_window_exceeded,
    embedding_call,
    execute,
    instrument,
    instrument_cache_lookup,
    instrument_cache_store,
    instrument_context_truncation,
    instrument_http,
    instrument_provider,
    instrument_session_add_message,
    instrument_session_cleared,
    instrument_session_created,
    instrument_session_truncated,
    instrument_stream,
    retry_attempt,
    span,
    tool_call,
)
from pytest_llmtelemetry.telemetry.testing import LLMTelemetry


CHAT, REQUEST = "llm.chat.call", "llm.provider.request"
ACME = {"provider": "acme", "model": "acme-1"}

NO_CALLS: dict[str, Any] = {
    "total": 0,
    "failed": 0,
    "success_rate": None,
    "avg_duration_ms": None,
    "p50_duration_ms": None,
    "p95_duration_ms": None,
    "p99_duration_ms": None,
}
NO_MONEY: dict[str, Any] = {"calls": 0, "total": 0, "total_usd": 0, "unpriced_calls": 0}
NO_STREAMS: dict[str, Any] = {
    "total": 0,
    "ended": {},
    "time_to_first_token_ms": {"p50": None, "p95": None, "p99": None},
}


def component(telemetry: LLMTelemetry, name: str) -> dict[str, Any]:
    """One component of the metrics."""
    numbers: dict[str, Any] = telemetry.get_metrics()["components"][name]
    return numbers


# -- the shape --------------------------------------------------------------------------


def test_dashboard_of_nothing(llm_telemetry: LLMTelemetry) -> None:
    """Without an event all counts are zero, and every rate, average and percentile is None."""
    calls = {key: value for key, value in NO_CALLS.items() if key not in {"total", "failed"}}
    assert llm_telemetry.get_metrics() == {
        "time_window_ms": None,
        "complete": True,
        "dropped": 0,
        "components": {
            "chat": {"total_calls": 0, "failed_calls": 0, **calls, "truncated": 0, "retries": 0},
            "providers": {},
            "http": NO_CALLS,
            "embeddings": NO_CALLS,
            "streams": {"captured": NO_STREAMS, "application": NO_STREAMS},
            "cache": {
                "lookups": 0,
                "hits": 0,
                "misses": 0,
                "hit_rate": None,
                "stores": 0,
                "expired": 0,
                "evicted": 0,
                "saved": 0,
                "saved_usd": 0,
                "saved_unknown": 0,
            },
            "context": {"window_exceeded": 0, "truncations": 0, "messages_removed": 0, "tokens_removed": 0},
            "sessions": {"created": 0, "messages_added": 0, "cleared": 0, "truncated": 0},
            "tools": {"calls": 0},
            "tokens": {"input": 0, "output": 0, "total": 0, "cache_read": 0},
            "costs": {**NO_MONEY, "by_provider": {}, "thresholds_exceeded": 0},
            "circuits": {},
        },
        "sla": {
            "availability": None,
            "availability_target": 0.99,
            "availability_met": None,
            "p95_duration_ms": None,
            "p95_duration_ms_target": 10_000,
            "p95_duration_ms_met": None,
        },
        "alerts": [],
        "events": {},
    }


def test_seed_reads_its_dashboard(llm_telemetry: LLMTelemetry, llm_clock: FixedClock) -> None:
    """The summary that the seed makes of its dashboard can be made of ours."""
    with instrument(CHAT, ACME) as work:
        llm_clock.advance(ms=12)
        work.result = {"usage": {"input_tokens": 10, "output_tokens": 2}, "cost": Decimal("0.0036")}
    instrument_cache_lookup("greeting", lambda: "Hello")
    dashboard = llm_telemetry.dashboard_data(time_window=3_600_000)
    components = dashboard["components"]
    summary = {
        "total_calls": components["chat"]["total_calls"],
        "avg_response_time": components["chat"]["avg_duration_ms"],
        "cache_hit_rate": components["cache"]["hit_rate"],
        "total_cost": components["costs"]["total"] / 100,
    }
    assert summary == {
        "total_calls": 1,
        "avg_response_time": 12.0,
        "cache_hit_rate": 1.0,
        "total_cost": Decimal("0.0036"),
    }
    assert (dashboard["alerts"], list(components["providers"])) == ([], ["acme"])


def test_dashboard_is_written_as_json(llm_telemetry: LLMTelemetry) -> None:
    """Plain mappings, lists, texts and numbers; money keeps its digits as text."""
    with instrument(CHAT, ACME) as work:
        work.result = {"cost": Decimal("0.0000036")}
    written = json.loads(json.dumps(llm_telemetry.get_metrics(), default=str, allow_nan=False))
    assert written["components"]["costs"]["total_usd"] == "0.0000036"


# -- components -------------------------------------------------------------------------


def test_success_rate_of_each_provider(llm_telemetry: LLMTelemetry) -> None:
    """Failed are those that raised, and those whose result says so; what names no provider is unknown."""
    for provider, failures, total in (("acme", 1, 4), ("other", 0, 2), (None, 3, 3)):
        for number in range(total):
            about = {"provider": provider, "success": number >= failures}
            execute(f"{REQUEST}.{'stop' if number else 'exception'}", {"duration_ns": 1_000_000 * number}, about)
    rates = {
        name: (numbers["total"], numbers["failed"], numbers["success_rate"])
        for name, numbers in component(llm_telemetry, "providers").items()
    }
    assert rates == {"acme": (4, 1, 0.75), "other": (2, 1, 0.5), "unknown": (3, 3, 0.0)}


def test_chat_counts_failures_truncations_and_retries(llm_telemetry: LLMTelemetry) -> None:
    """A result that says that it failed is a failed call; an answer that was cut is counted beside it."""
    for result in ({"finish_reason": "length"}, {"error": "overloaded"}, None):
        with instrument(CHAT, ACME) as work:
            work.result = result
    with suppress(ZeroDivisionError), instrument(CHAT, ACME):
        raise ZeroDivisionError
    retry_attempt(2)
    chat = component(llm_telemetry, "chat")
    assert {key: chat[key] for key in ("total_calls", "failed_calls", "success_rate", "truncated", "retries")} == {
        "total_calls": 4,
        "failed_calls": 2,
        "success_rate": 0.5,
        "truncated": 1,
        "retries": 1,
    }


@pytest.mark.parametrize(("hits", "misses", "rate"), [(0, 0, None), (0, 2, 0.0), (1, 3, 0.25), (2, 0, 1.0)])
def test_hit_rate(hits: int, misses: int, rate: float | None, llm_telemetry: LLMTelemetry) -> None:
    """Hits by look-ups; None, not zero, if there was none."""
    for found in ["Hello"] * hits + [None] * misses:
        instrument_cache_lookup("greeting", lambda found=found: found)  # type: ignore[misc]
    cache = component(llm_telemetry, "cache")
    assert (cache["lookups"], cache["hits"], cache["misses"], cache["hit_rate"]) == (hits + misses, hits, misses, rate)


def test_saved_cost(llm_telemetry: LLMTelemetry) -> None:
    """A hit saves what its answer cost, if that is known; how many are not is said."""
    for found in ({"cost": Decimal("0.0000036")}, {"cost": Decimal("0.01")}, "Hello"):
        instrument_cache_lookup("greeting", lambda found=found: found)  # type: ignore[misc]
    cache = component(llm_telemetry, "cache")
    assert (cache["saved_usd"], cache["saved"], cache["saved_unknown"]) == (Decimal("0.0100036"), Decimal("1.00036"), 1)


def test_cache_counts_what_happens_in_it(llm_telemetry: LLMTelemetry) -> None:
    """Stores, expiries and evictions are counted, and are no look-ups."""
    for _ in range(3):
        instrument_cache_store("greeting", "Hello", 60, lambda: None)
    for _ in range(2):
        cache_expired("greeting")
    cache_evicted("greeting")
    cache = component(llm_telemetry, "cache")
    assert [cache[key] for key in ("stores", "expired", "evicted", "lookups", "hit_rate")] == [3, 2, 1, 0, None]


def test_context_adds_up_what_was_removed(llm_telemetry: LLMTelemetry) -> None:
    """A truncation that removes nothing is none."""
    for before, after in (([1, 2, 3], [3]), ([1, 2], [2]), ([1], [1])):
        with instrument_context_truncation(before, strategy="last", count_tokens=lambda kept: len(kept) * 10) as work:
            work.result = after
    context_window_exceeded(130_000, 128_000)
    assert component(llm_telemetry, "context") == {
        "window_exceeded": 1,
        "truncations": 2,
        "messages_removed": 3,
        "tokens_removed": 30,
    }


def test_sessions_tools_and_http_are_counted(llm_telemetry: LLMTelemetry) -> None:
    """Each event of a session, each tool call, and each HTTP request with its success."""
    instrument_session_created("s1")
    for _ in range(2):
        instrument_session_add_message("s1", "Hello")
    instrument_session_truncated("s1", 1)
    instrument_session_cleared("s1", 1)
    tool_call("search")
    for status in (200, 500):
        with instrument_http("get", "https://api.example.com") as work:
            work.result = {"status": status}
    sessions = {"created": 1, "messages_added": 2, "cleared": 1, "truncated": 1}
    assert (component(llm_telemetry, "sessions"), component(llm_telemetry, "tools")) == (sessions, {"calls": 1})
    assert component(llm_telemetry, "http")["success_rate"] == 0.5


def test_streams_of_the_application(llm_telemetry: LLMTelemetry, llm_clock: FixedClock) -> None:
    """How streams ended, and how long it took to their first piece."""

    def pieces(wait_ms: int) -> Iterator[str]:
        llm_clock.advance(ms=wait_ms)
        yield "Par"
        llm_clock.advance(ms=1000)
        yield "is"

    for wait_ms in (10, 20):
        list(instrument_stream(pieces(wait_ms)))
    closed = instrument_stream(pieces(30))
    next(closed)
    closed.close()
    assert component(llm_telemetry, "streams") == {
        "captured": NO_STREAMS,
        "application": {
            "total": 3,
            "ended": {"complete": 2, "closed": 1},
            "time_to_first_token_ms": {"p50": 20.0, "p95": 30.0, "p99": 30.0},
        },
    }


def test_circuits_show_their_state(llm_telemetry: LLMTelemetry, llm_clock: FixedClock) -> None:
    """The last state of each, however long ago that was."""
    for circuit, state in (("a", "open"), ("b", "open"), ("a", "half_open"), (None, None)):
        execute("llm.circuit_breaker.state.changed", {}, {"circuit": circuit, "new_state": state})
    llm_clock.advance(3600)
    circuits = llm_telemetry.dashboard_data(1)["components"]["circuits"]
    assert circuits == {"b": "open", "a": "half_open", "unknown": "unknown"}


# -- money and tokens -------------------------------------------------------------------


def test_money_is_exact(llm_telemetry: LLMTelemetry) -> None:
    """Ten thousand calls of $0.0000036 cost 3.6 cents, to the last digit; the sum is in cents and in dollars."""
    for _ in range(10_000):
        execute("llm.cost.calculated", {"cost_usd": Decimal("0.0000036")}, {"provider": "acme"})
    costs = component(llm_telemetry, "costs")
    expected = {"calls": 10_000, "total": Decimal("3.6"), "total_usd": Decimal("0.036"), "unpriced_calls": 0}
    assert costs == {**expected, "by_provider": {"acme": expected}, "thresholds_exceeded": 0}
    assert (type(costs["total"]), type(costs["total_usd"])) == (Decimal, Decimal)


def test_unpriced_calls_are_not_free(llm_telemetry: LLMTelemetry) -> None:
    """What has no price, or none that makes sense, is counted as unknown, not as zero."""
    for cost in (Decimal("0.01"), None, Decimal("NaN"), -1, True, "much"):
        execute("llm.cost.calculated", {"cost_usd": cost}, {"provider": "acme"})
    costs = component(llm_telemetry, "costs")
    assert (costs["calls"], costs["total_usd"], costs["unpriced_calls"]) == (6, Decimal("0.01"), 5)


def test_costs_by_provider(llm_telemetry: LLMTelemetry) -> None:
    """They are in the costs, and beside the requests of each provider."""
    for provider, cost in (("acme", "0.01"), ("other", "0.02"), ("acme", "0.0003")):
        execute("llm.cost.calculated", {"cost_usd": Decimal(cost)}, {"provider": provider})
    totals = {"acme": Decimal("0.0103"), "other": Decimal("0.02")}
    by_provider = component(llm_telemetry, "costs")["by_provider"]
    assert {name: numbers["total_usd"] for name, numbers in by_provider.items()} == totals
    providers = component(llm_telemetry, "providers")
    assert {name: numbers["costs"] for name, numbers in providers.items()} == by_provider


def test_tokens_are_those_of_accounting(llm_telemetry: LLMTelemetry) -> None:
    """Other events repeat them, and are not added."""
    for tokens in ({"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}, {"cache_read_tokens": 4}, {}):
        for name in ("llm.cost.calculated", f"{CHAT}.stop", f"{REQUEST}.stop", "llm.session.token_usage.updated"):
            execute(name, tokens, ACME)
    assert component(llm_telemetry, "tokens") == {"input": 10, "output": 2, "total": 12, "cache_read": 4}


@pytest.mark.parametrize("value", [None, "3", True, -1, float("nan"), Decimal("NaN"), 10**20], ids=repr)
def test_numbers_that_make_no_sense_are_not_added(value: Any, llm_telemetry: LLMTelemetry) -> None:
    """They are neither counted as zero nor in the way."""
    for measured in (value, 3_000_000):
        measurements = {"duration_ns": measured, "input_tokens": measured, "tokens_removed": measured}
        for name in (f"{CHAT}.stop", "llm.cost.calculated", "llm.context.truncation.stop"):
            execute(name, measurements, ACME)
    assert component(llm_telemetry, "chat")["avg_duration_ms"] == 3.0
    assert component(llm_telemetry, "tokens")["input"] == 3_000_000
    assert component(llm_telemetry, "context")["tokens_removed"] == 3_000_000


@pytest.mark.parametrize("value", [3_000_000.0, Decimal(3_000_000)], ids=["float", "decimal"])
def test_numbers_of_other_kinds_are_taken(value: Any, llm_telemetry: LLMTelemetry) -> None:
    """A measurement need not be an int."""
    execute(f"{CHAT}.stop", {"duration_ns": value}, ACME)
    assert component(llm_telemetry, "chat")["avg_duration_ms"] == 3.0


# -- percentiles and the SLA ------------------------------------------------------------


def nearest_rank(values: list[int], percent: int) -> int:
    """The smallest value such that so many percent of all are not above it: slow, and obvious."""
    return min(value for value in values if 100 * sum(other <= value for other in values) >= percent * len(values))


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=60))
def test_percentiles_are_values_that_occurred(durations: list[int]) -> None:
    """p50, p95 and p99 are the nearest ranks of what was measured."""
    metrics = Metrics()
    for duration in durations:
        metrics.hear(f"{CHAT}.stop", {"duration_ns": duration}, {})
    chat = metrics.get_metrics()["components"]["chat"]
    for percent in (50, 95, 99):
        assert chat[f"p{percent}_duration_ms"] == nearest_rank(durations, percent) / 1e6


@pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 99, 100, 101, 200, 300, 700, 1000, 1100, 2000])
def test_percentiles_of_a_number_of_calls(count: int) -> None:
    """The rank is exact for any number of calls: of 1 to 100 ms, p95 is 95 ms."""
    metrics = Metrics(capacity=2000)
    for duration in range(count, 0, -1):
        metrics.hear(f"{CHAT}.stop", {"duration_ns": duration * 1_000_000}, {})
    chat = metrics.get_metrics()["components"]["chat"]
    ranks = {percent: -(-percent * count // 100) for percent in (50, 95, 99)}
    assert {percent: chat[f"p{percent}_duration_ms"] for percent in ranks} == ranks


@pytest.mark.parametrize(
    ("failed", "met", "slow_ms", "fast_enough"),
    [(1, True, 10_000, True), (2, False, 10_001, False)],
    ids=["at the targets", "beyond them"],
)
def test_sla(failed: int, met: bool, slow_ms: int, fast_enough: bool, llm_telemetry: LLMTelemetry) -> None:
    """Availability and p95 beside their targets, and whether these are met."""
    for number in range(100):
        execute(f"{CHAT}.stop", {"duration_ns": slow_ms * 1_000_000}, {**ACME, "success": number >= failed})
    assert llm_telemetry.get_metrics()["sla"] == {
        "availability": 1 - failed / 100,
        "availability_target": 0.99,
        "availability_met": met,
        "p95_duration_ms": float(slow_ms),
        "p95_duration_ms_target": 10_000,
        "p95_duration_ms_met": fast_enough,
    }


def test_sla_has_targets_of_its_own(llm_telemetry: LLMTelemetry) -> None:
    """Thresholds say what is wanted."""
    for number in range(10):
        execute(f"{CHAT}.stop", {"duration_ns": 2_000_000}, {**ACME, "success": number > 0})
    sla = llm_telemetry.dashboard_data(thresholds=Thresholds(availability=0.9, p95_latency_ms=1))["sla"]
    assert (sla["availability_target"], sla["availability_met"]) == (0.9, True)
    assert (sla["p95_duration_ms_target"], sla["p95_duration_ms_met"]) == (1, False)


# -- each call once ---------------------------------------------------------------------


@pytest.fixture
def client() -> Iterator[openai.OpenAI]:
    """A real SDK."""
    with openai.OpenAI(api_key="k") as made:
        yield made


def ask(client: openai.OpenAI, **options: Any) -> Any:
    """One question."""
    return client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "Capital of France?"}], **options
    )


def in_a_thread(work: Callable[[], Any]) -> Any:
    """Do some work where the context is lost."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


def chat_call(work: Callable[[], Any]) -> Any:
    """The application's own chat function."""
    return instrument(CHAT, {"provider": "openai", "model": "gpt-4o-mini"})(work)()


def adapter(work: Callable[[], Any]) -> Any:
    """The application's own adapter of a provider."""
    return instrument_provider("openai", "gpt-4o-mini")(work)()


WAYS: Mapping[str, Callable[[openai.OpenAI], Any]] = {
    "alone": ask,
    "in a chat call": lambda client: chat_call(lambda: ask(client)),
    "in an adapter": lambda client: adapter(lambda: ask(client)),
    "in both": lambda client: chat_call(lambda: adapter(lambda: ask(client))),
    "in a span of another name": lambda client: chat_call(span("app.answer")(lambda: ask(client))),
    "in a thread": lambda client: in_a_thread(lambda: ask(client)),
    "in a chat call and a thread": lambda client: chat_call(lambda: in_a_thread(lambda: ask(client))),
    "in an adapter and a thread": lambda client: adapter(lambda: in_a_thread(lambda: ask(client))),
    "in both and a thread": lambda client: chat_call(lambda: adapter(lambda: in_a_thread(lambda: ask(client)))),
    "in both with a thread between": lambda client: chat_call(
        lambda: in_a_thread(lambda: adapter(lambda: ask(client)))
    ),
    "in adapters of two layers": lambda client: adapter(lambda: adapter(lambda: ask(client))),
}


@pytest.mark.parametrize("way", WAYS)
def test_call_is_counted_once(way: str, llm_telemetry: LLMTelemetry, llm_mock: LLMMock, client: openai.OpenAI) -> None:
    """One question to a real SDK is one call, one request and one bill, whatever is wrapped around it."""
    llm_mock.openai.chat("Paris.")
    assert WAYS[way](client).choices[0].message.content == "Paris."
    components = llm_telemetry.get_metrics()["components"]
    assert (components["chat"]["total_calls"], components["chat"]["success_rate"]) == (1, 1.0)
    assert {name: numbers["total"] for name, numbers in components["providers"].items()} == {"openai": 1}
    assert components["costs"]["calls"] == 1


@pytest.mark.parametrize("way", WAYS)
def test_calls_are_counted_each(
    way: str, llm_telemetry: LLMTelemetry, llm_mock: LLMMock, client: openai.OpenAI
) -> None:
    """Three questions are three calls: none is taken for another, though their answers are alike."""
    llm_mock.openai.chat("Paris.")
    for _ in range(3):
        WAYS[way](client)
    components = llm_telemetry.get_metrics()["components"]
    assert (components["chat"]["total_calls"], components["providers"]["openai"]["total"]) == (3, 3)
    assert components["costs"]["calls"] == 3


@pytest.mark.parametrize(
    ("way", "counted"),
    [("alone", (3, 2)), ("in a chat call", (1, 0)), ("in both", (1, 0)), ("in an adapter", (3, 2))],
)
def test_retries_are_requests_and_no_calls(
    way: str, counted: tuple[int, int], llm_telemetry: LLMTelemetry, llm_mock: LLMMock, client: openai.OpenAI
) -> None:
    """An SDK that tries three times makes three requests, in one call of the application's; without one, each counts."""
    llm_mock.openai.chat([faults.rate_limit(), faults.server_error(), "Paris."])
    WAYS[way](client)
    components = llm_telemetry.get_metrics()["components"]
    chat, provider = components["chat"], components["providers"]["openai"]
    assert (chat["total_calls"], chat["failed_calls"]) == counted
    assert chat["retries"] == 2
    assert (provider["total"], provider["failed"], provider["rate_limited"]) == (3, 2, 1)
    assert components["costs"]["calls"] == 1


@pytest.mark.parametrize("way", ["in a chat call", "in both"])
def test_several_requests_of_one_call(
    way: str, llm_telemetry: LLMTelemetry, llm_mock: LLMMock, client: openai.OpenAI
) -> None:
    """A chat function that asks twice is one call of two requests, with the cost of both."""
    llm_mock.openai.chat("Paris.")
    wrap = {"in a chat call": lambda work: work(), "in both": adapter}[way]
    chat_call(lambda: [wrap(lambda: ask(client)) for _ in range(2)][1])
    components = llm_telemetry.get_metrics()["components"]
    assert (components["chat"]["total_calls"], components["providers"]["openai"]["total"]) == (1, 2)
    assert components["costs"]["calls"] == 2


@pytest.mark.parametrize("way", ["alone", "in a chat call", "in both"])
def test_call_that_fails_is_counted_once(
    way: str, llm_telemetry: LLMTelemetry, llm_mock: LLMMock, client: openai.OpenAI
) -> None:
    """A refusal of the provider is one failed call, one failed request, and no bill."""
    llm_mock.openai.chat([faults.auth()])
    with suppress(openai.AuthenticationError):
        WAYS[way](client)
    components = llm_telemetry.get_metrics()["components"]
    assert (components["chat"]["total_calls"], components["chat"]["failed_calls"]) == (1, 1)
    assert (components["providers"]["openai"]["total"], components["providers"]["openai"]["failed"]) == (1, 1)
    assert components["costs"]["calls"] == 0


def test_stream_is_read_after_its_call(llm_telemetry: LLMTelemetry, llm_mock: LLMMock, client: openai.OpenAI) -> None:
    """A stream that the chat function returns ends later, and is still its request."""
    llm_mock.openai.chat("Paris.")
    pieces = instrument_stream(chat_call(lambda: ask(client, stream=True)))
    assert len(list(pieces)) > 1
    components = llm_telemetry.get_metrics()["components"]
    assert (components["chat"]["total_calls"], components["providers"]["openai"]["total"]) == (1, 1)
    assert components["costs"]["calls"] == 1
    streams = components["streams"]
    assert (streams["captured"]["total"], streams["application"]["total"]) == (1, 1)
    assert (streams["captured"]["ended"], streams["application"]["ended"]) == ({"complete": 1}, {"complete": 1})
    assert streams["captured"]["time_to_first_token_ms"]["p50"] is not None


@pytest.mark.parametrize(("wrap", "requests"), [(chat_call, 1), (adapter, 2)], ids=["a chat call", "an adapter"])
def test_answer_from_before_is_another_call(
    wrap: Callable[..., Any],
    requests: int,
    llm_telemetry: LLMTelemetry,
    llm_mock: LLMMock,
    client: openai.OpenAI,
) -> None:
    """A call that returns an answer from a cache is a call; the one that made the answer stays one too."""
    llm_mock.openai.chat("Paris.")
    kept = ask(client)
    wrap(lambda: kept)
    components = llm_telemetry.get_metrics()["components"]
    assert (components["chat"]["total_calls"], components["providers"]["openai"]["total"]) == (2, requests)
    assert components["costs"]["calls"] == 1


def test_call_without_requests_is_a_call(llm_telemetry: LLMTelemetry) -> None:
    """What no wire showed is counted by the application's word, with its cost, and no request."""
    chat_call(lambda: {"usage": {"total_tokens": 3}, "cost": Decimal("0.0000036")})
    components = llm_telemetry.get_metrics()["components"]
    provider = components["providers"]["openai"]
    assert (components["chat"]["total_calls"], provider["total"], provider["costs"]["calls"]) == (1, 0, 1)


def test_request_of_the_application_alone_is_a_call(llm_telemetry: LLMTelemetry) -> None:
    """An adapter without a chat function around it is a chat call, and a request."""
    adapter(lambda: {"usage": {"total_tokens": 3}})
    components = llm_telemetry.get_metrics()["components"]
    assert (components["chat"]["total_calls"], components["providers"]["openai"]["total"]) == (1, 1)


def test_embeddings_are_counted_once(llm_telemetry: LLMTelemetry) -> None:
    """A request under an embedding call is its request; one under none is a call; neither is a chat call."""

    def embed() -> dict[str, Any]:
        with instrument_provider("acme", "acme-1", operation="embeddings") as request:
            request.result = answer = {"usage": {"prompt_tokens": 8, "total_tokens": 8}}
        return answer

    embedding_call("acme", "acme-1")(embed)()
    embed()
    components = llm_telemetry.get_metrics()["components"]
    assert (components["embeddings"]["total"], components["chat"]["total_calls"]) == (2, 0)
    assert components["providers"]["acme"]["total"] == 2


def test_embedding_inside_a_chat_call_is_an_embedding(llm_telemetry: LLMTelemetry) -> None:
    """A chat function that looks things up makes a chat call and an embedding."""
    with instrument(CHAT, ACME), instrument_provider("acme", "acme-1", operation="embeddings"):
        pass
    components = llm_telemetry.get_metrics()["components"]
    assert (components["chat"]["total_calls"], components["embeddings"]["total"]) == (1, 1)


def test_requests_of_other_operations_are_no_calls(llm_telemetry: LLMTelemetry) -> None:
    """A list of models is a request to a provider, and neither chat nor embedding."""
    with instrument_provider("acme", "acme-1", operation="other"):
        pass
    components = llm_telemetry.get_metrics()["components"]
    assert (components["chat"]["total_calls"], components["embeddings"]["total"]) == (0, 0)
    assert components["providers"]["acme"]["total"] == 1
