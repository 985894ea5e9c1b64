"""What the Elixir original got wrong, one bug after another, and that we do not have it.

Number 9 is one of truncation itself, which is the application's: it is shown on the example.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from migration.after.context import sliding_window
from migration.shared import Message, count_tokens
from pytest_llmtelemetry.errors import HandlerExistsError
from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import (
    FixedClock,
    attach,
    attach_default_handlers,
    attach_many,
    cache_expired,
    check_cost_threshold,
    circuit_breaker_state_changed,
    context_window_exceeded,
    current_span,
    execute,
    instrument,
    instrument_cache_lookup,
    instrument_cache_store,
    instrument_context_truncation,
    instrument_http,
    instrument_provider,
    instrument_session_add_message,
    instrument_session_token_usage,
    instrument_stream,
    list_handlers,
    span,
)
from pytest_llmtelemetry.telemetry.catalogue import CATALOGUE
from pytest_llmtelemetry.telemetry.testing import LLMTelemetry


ACME = {"provider": "acme", "model": "acme-1"}
LOGGER = "pytest_llmtelemetry.events"


def told(events: list[Event]) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Events as plain values."""
    return [(event.name, dict(event.measurements), dict(event.metadata)) for event in events]


def names(events: list[Event]) -> list[str]:
    """What happened, in order."""
    return [event.name for event in events]


def components(telemetry: LLMTelemetry) -> dict[str, Any]:
    """The dashboard's parts."""
    found = telemetry.dashboard_data()["components"]
    assert isinstance(found, dict)
    return found


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the default logger wrote."""
    return [record.getMessage() for record in caplog.records if record.name == LOGGER]


# -- in the implementation ----------------------------------------------------------------


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "ERROR"])
def test_bug_01_default_logger_died_on_its_first_event(level: str, caplog: pytest.LogCaptureFixture) -> None:
    """Above debug the logger failed on the first event, and heard no more; ours logs at every level, and stays."""
    caplog.set_level(logging.DEBUG)
    attach_default_handlers(level)
    before = list_handlers()
    with instrument("llm.chat.call", ACME):
        pass
    assert [line.partition(" ")[0] for line in lines(caplog)] == ["llm.chat.call.start", "llm.chat.call.stop"]
    assert list_handlers() == before


@pytest.mark.parametrize(
    "event", [name for name in CATALOGUE if name.endswith((".stop", ".exception"))], ids=lambda name: name
)
def test_bug_02_default_logger_died_on_a_stop_without_duration(event: str, caplog: pytest.LogCaptureFixture) -> None:
    """It read a duration that not every end had; ours logs an end that says nothing at all."""
    caplog.set_level(logging.DEBUG)
    attach_default_handlers()
    before = list_handlers()
    execute(event)
    assert (lines(caplog), list_handlers()) == ([event], before)


def test_bug_03_errors_were_swallowed(heard: list[Event], caplog: pytest.LogCaptureFixture) -> None:
    """Bad arguments and exits were hidden; here a handler's error is logged and announced, and all else comes out."""

    def fail(*args: object) -> None:
        raise ArithmeticError

    def leave(*args: object) -> None:
        raise SystemExit(3)

    attach("fails", "x", fail)
    attach("leaves", "y", leave)
    execute("x")
    with pytest.raises(SystemExit):
        execute("y")
    with pytest.raises(TypeError):
        execute("z", 3)  # type: ignore[arg-type]
    assert names(heard) == ["x", "telemetry.handler.failure", "y"]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_bug_04_system_time_held_monotonic_time(heard: list[Event], llm_clock: FixedClock) -> None:
    """A start had the one time under the other's name, and no id; ours has both, as measurements, and ids."""
    llm_clock.advance(1)
    with span("x"):
        pass
    assert told(heard)[0] == (
        "x.start",
        {"monotonic_time_ns": 1_000_000_000, "system_time_ns": llm_clock.wall_ns()},
        {"span_id": 1, "parent_id": None},
    )
    assert llm_clock.wall_ns() != llm_clock.now_ns()


def test_bug_05_results_that_say_they_failed_looked_well(heard: list[Event], llm_telemetry: LLMTelemetry) -> None:
    """An error that was returned looked well and was in no error rate; ours says success=False, and counts."""

    @instrument("llm.chat.call", ACME)
    def chat() -> dict[str, str]:
        return {"error": "overloaded"}

    assert chat() == {"error": "overloaded"}
    assert (heard[-1].name, heard[-1]["success"], heard[-1]["error"]) == ("llm.chat.call.stop", False, "overloaded")
    assert components(llm_telemetry)["chat"]["failed_calls"] == 1


class Awkward:
    """A response whose attributes cannot be read."""

    @property
    def usage(self) -> object:
        raise KeyError("usage")

    def __getitem__(self, key: str) -> object:
        raise TypeError("not a mapping")


@pytest.mark.parametrize(
    ("response", "tokens"),
    [(SimpleNamespace(usage=SimpleNamespace(input_tokens=3)), 3), (Awkward(), None), (None, None), (7, None)],
    ids=["a structure", "an awkward one", "None", "a number"],
)
def test_bug_06_instrumentation_broke_the_call(response: object, tokens: int | None, heard: list[Event]) -> None:
    """A response that was no map made the call raise; ours reads what it can, and returns the very response."""

    @instrument_provider("acme", "acme-1")
    def request() -> object:
        return response

    assert request() is response
    (stop,) = (event for event in heard if event.name == "llm.provider.request.stop")
    assert stop.measurements.get("input_tokens") == tokens


def test_bug_07_handlers_found_no_success_and_no_tokens(heard: list[Event]) -> None:
    """The guide's handler failed on keys that nobody set; each end of ours says success, and a chat call its tokens."""
    seen: list[tuple[str, bool, int | None]] = []

    def handle(event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: object) -> None:
        seen.append((event, metadata["success"], measurements.get("total_tokens")))

    ends = [f"llm.{name}.{end}" for name in ("chat.call", "provider.request") for end in ("stop", "exception")]
    attach_many("guide", ends, handle)
    with instrument("llm.chat.call", ACME) as call:
        with instrument_provider("acme", "acme-1"):
            pass
        call.result = {"usage": {"total_tokens": 12}}
    with pytest.raises(TimeoutError), instrument_provider("acme", "acme-1"):
        raise TimeoutError
    assert seen == [
        ("llm.provider.request.stop", True, None),
        ("llm.chat.call.stop", True, 12),
        ("llm.provider.request.exception", False, None),
    ]
    assert "telemetry.handler.failure" not in names(heard)


def test_bug_08_calls_under_half_a_cent_cost_nothing(heard: list[Event], llm_telemetry: LLMTelemetry) -> None:
    """Costs were cents here and dollars there, and rounded; ours are exact dollars by name, and their sum is exact."""
    for _ in range(3):
        with instrument("llm.chat.call", ACME) as call:
            call.result = {"cost": 0.0036}
    told_costs = [event.measurements["cost_usd"] for event in heard if event.name == "llm.cost.calculated"]
    assert told_costs == [Decimal("0.0036")] * 3
    costs = components(llm_telemetry)["costs"]
    assert (costs["total_usd"], costs["total"]) == (Decimal("0.0108"), Decimal("1.08"))


def test_bug_09_sliding_window_kept_the_oldest_messages() -> None:
    """What was to keep the newest messages kept the oldest; the example keeps the newest, and what the system says."""
    messages: list[Message] = [{"role": "system", "content": "be brief"}]
    messages += [{"role": "user", "content": f"question {number}"} for number in range(9)]
    room = count_tokens([messages[0], *messages[-2:]])
    assert sliding_window(messages, room) == [messages[0], *messages[-2:]]


def test_bug_10_events_came_twice(heard: list[Event]) -> None:
    """A prompt that did not fit, and a look-up, were each told twice, and stores never; here all are told once."""
    store: dict[str, str] = {}
    context_window_exceeded(130_000, 128_000)
    instrument_cache_lookup("k", lambda: store.get("k"))
    instrument_cache_store("k", "v", 60, lambda: store.update(k="v"))
    instrument_cache_lookup("k", lambda: store.get("k"))
    assert names(heard) == [
        "llm.context.window.exceeded",
        "llm.cache.lookup.miss",
        "llm.cache.store.success",
        "llm.cache.lookup.hit",
    ]


def test_bug_11_nobody_heard_http_and_keys_were_told(heard: list[Event], llm_telemetry: LLMTelemetry) -> None:
    """Handlers listened to other names, the request's size was the response's, and headers were told; not so here."""
    with instrument_http(
        "post",
        "https://api.example.com/v1/chat?key=sk-secret",
        content=b"12345",
        headers={"authorization": "Bearer sk-secret"},
    ) as request:
        request.result = {"status": 200, "body": b"123", "headers": {"set-cookie": "sk-secret"}}
    stop = heard[-1]
    assert names(heard) == ["llm.http.request.start", "llm.http.request.stop"]
    assert (stop["request_bytes"], stop["response_bytes"]) == (5, 3)
    assert components(llm_telemetry)["http"]["total"] == 1
    assert "sk-secret" not in repr(told(heard))


def pieces(finish: str | None, error: Exception | None = None) -> Iterator[object]:
    """A streamed answer of two pieces."""
    yield "Par"
    yield {"finish_reason": finish}
    if error is not None:
        raise error


@pytest.mark.parametrize("finish", ["stop", "length", "tool_calls", "content_filter", None], ids=str)
def test_bug_12_streams_were_closed_for_one_finish_reason(finish: str | None, heard: list[Event]) -> None:
    """Only a stream that ended on "stop" had an end, and its count two names; here each has an end, and one name."""
    assert len(list(instrument_stream(pieces(finish), ACME))) == 2
    stop = heard[-1]
    assert names(heard) == ["llm.stream.start", "llm.stream.stop"]
    assert (stop["ended"], stop["finish_reason"], stop["chunks"]) == ("complete", finish, 2)


def test_bug_12_streams_that_failed_were_not_told(heard: list[Event]) -> None:
    """There was no event for a stream that raised."""
    with pytest.raises(ConnectionError):
        list(instrument_stream(pieces(None, ConnectionError()), ACME))
    assert (names(heard)[-1], heard[-1]["ended"], heard[-1]["chunks"]) == ("llm.stream.exception", "error", 2)


def test_bug_12_streams_that_were_left_early_had_no_end(heard: list[Event]) -> None:
    """A reader that stopped reading left a stream open for good."""
    stream = instrument_stream(pieces("stop"), ACME)
    next(stream)
    stream.close()
    assert (names(heard)[-1], heard[-1]["ended"], heard[-1]["chunks"]) == ("llm.stream.stop", "closed", 1)


@pytest.mark.parametrize(
    ("event", "key", "unit"),
    [(spec.name, field.key, field.unit) for spec in CATALOGUE.values() for field in spec.measurements],
)
def test_bug_13_durations_had_several_units(event: str, key: str, unit: str | None) -> None:
    """Some durations were milliseconds, others native; ours say their unit, and what we time is nanoseconds."""
    suffixes = {"ns": "_ns", "s": "_s", "USD": "_usd", "bytes": "bytes"}
    assert unit is not None
    assert key.endswith(suffixes.get(unit, key))
    assert not key.endswith("_ms")
    if any(word in key for word in ("duration", "time", "gap")):
        assert unit == "ns"


@pytest.mark.parametrize(
    ("response", "status", "success"),
    [({}, None, True), ({"status": 204}, 204, True), ({"status": 429}, 429, False), ({"status": 500}, 500, False)],
    ids=["no status", "204", "429", "500"],
)
def test_bug_14_no_status_was_a_server_error(
    response: dict[str, int], status: int | None, success: bool, heard: list[Event]
) -> None:
    """A response without a status was of the class 5xx; here it has no status, and has not failed."""
    with instrument_http("get", "https://api.example.com/v1") as request:
        request.result = response
    assert (heard[-1].metadata.get("status"), heard[-1]["success"]) == (status, success)


def test_bug_15_counters_counted_nothing(llm_telemetry: LLMTelemetry) -> None:
    """Counters wanted a measurement that no event had, and sums met None; ours count events, and sum what is stated."""
    for usage in ({"input_tokens": 10, "output_tokens": None}, None, {"input_tokens": 5, "output_tokens": 2}):
        with instrument("llm.chat.call", ACME) as call:
            call.result = {"usage": usage, "cost": "0.01"}
    execute("llm.cache.lookup.hit", {}, {"key": "k"})
    execute("llm.cost.calculated", {"cost_usd": None, "input_tokens": None}, {})
    found = components(llm_telemetry)
    assert (found["chat"]["total_calls"], found["cache"]["hits"], found["costs"]["calls"]) == (3, 1, 4)
    assert (found["tokens"]["input"], found["tokens"]["output"]) == (15, 2)


def test_bug_16_eighty_percent_failures_were_excellent(llm_telemetry: LLMTelemetry) -> None:
    """The health was read from a key that did not exist, and made up; ours says the rate, and raises an alert."""
    for n in range(10):
        with instrument("llm.chat.call", ACME) as call:
            call.error = "overloaded" if n < 8 else None
    dashboard = llm_telemetry.dashboard_data()
    assert dashboard["components"]["chat"]["success_rate"] == 0.2
    assert [(alert["rule"], alert["value"]) for alert in dashboard["alerts"]] == [("error_rate", 0.8)]


def test_bug_16_time_window_was_ignored(llm_telemetry: LLMTelemetry, llm_clock: FixedClock) -> None:
    """The dashboard took a window and did not look at it; ours leaves out what is older."""
    for _ in range(3):
        with instrument("llm.chat.call", ACME):
            pass
        llm_clock.advance(10)
    calls = [
        llm_telemetry.dashboard_data(window)["components"]["chat"]["total_calls"] for window in (None, 25_000, 15_000)
    ]
    assert calls == [3, 2, 1]


@pytest.mark.usefixtures("hasty_threads")
def test_bug_17_concurrent_calls_were_lost(llm_telemetry: LLMTelemetry) -> None:
    """Of 2,000 concurrent successes 1,861 were counted; ours are all there."""
    ready = threading.Barrier(8, timeout=10)

    def work() -> None:
        ready.wait()
        for _ in range(250):
            with instrument("llm.chat.call", ACME):
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    dashboard = llm_telemetry.dashboard_data()
    chat = dashboard["components"]["chat"]
    assert (chat["total_calls"], chat["success_rate"], dashboard["dropped"]) == (2000, 1.0, 0)
    assert dashboard["alerts"] == []


def test_bug_18_dashboard_showed_random_numbers(llm_telemetry: LLMTelemetry, llm_clock: FixedClock) -> None:
    """Percentiles and rates were random; ours are what was measured, the same each time, and None of nothing."""
    empty = components(llm_telemetry)["chat"]
    for ms in (10, 20, 30, 40):
        with instrument("llm.chat.call", ACME):
            llm_clock.advance(ms=ms)
    first, second = components(llm_telemetry), components(llm_telemetry)
    keys = ("success_rate", "avg_duration_ms", "p50_duration_ms", "p95_duration_ms", "p99_duration_ms")
    assert [empty[key] for key in keys] == [None] * 5
    assert [first["chat"][key] for key in keys] == [1.0, 25.0, 20.0, 40.0, 40.0]
    assert first == second


def test_bug_19_attaching_made_noise(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """Each attach logged a complaint, which users could only suppress; ours is silent, also for lambdas."""
    caplog.set_level(0)
    attach_default_handlers()
    attach("mine", "x", lambda *args: None)
    assert (caplog.records, capfd.readouterr()) == ([], ("", ""))


def test_bug_20_spans_of_one_name_overwrote_one_another(heard: list[Event]) -> None:
    """Contexts were kept by the name of the span; ours nest, also within themselves, and each ends as it began."""

    @span("x")
    def count(n: int) -> None:
        mine = current_span()
        assert mine is not None
        mine.metadata["n"] = n
        if n:
            count(n - 1)
        assert current_span() is mine

    count(2)
    first, second, third = (event["span_id"] for event in heard[:3])
    assert [(event["span_id"], event["parent_id"], event["n"]) for event in heard[3:]] == [
        (third, second, 0),
        (second, first, 1),
        (first, None, 2),
    ]
    assert current_span() is None


def test_bug_21_second_attach_of_the_default_handlers_was_lost(caplog: pytest.LogCaptureFixture) -> None:
    """Its error was ignored, and so was its level; here the second takes the place of the first."""
    caplog.set_level(logging.DEBUG)
    attach_default_handlers("INFO")
    once = len(list_handlers())
    attach_default_handlers("DEBUG")
    circuit_breaker_state_changed("openai", "closed", "open")
    assert len(list_handlers()) == once
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def test_bug_21_second_attach_of_a_handler_was_ignored() -> None:
    """Who attaches under an id that is taken is told so."""
    attach("mine", "x", lambda *args: None)
    with pytest.raises(HandlerExistsError):
        attach("mine", "y", lambda *args: None)


# -- in the text of the seed --------------------------------------------------------------


@pytest.mark.parametrize("kept", [1, 3], ids=["two are removed", "nothing is removed"])
def test_seed_truncation_had_two_stops(kept: int, heard: list[Event]) -> None:
    """A truncation had two `.stop` of different shape, also if nothing was cut; ours has one, which says what."""
    messages = ["one", "two", "three"]

    @instrument_context_truncation(messages, strategy="sliding_window", count_tokens=len)
    def truncate() -> list[str]:
        return messages[-kept:]

    assert truncate() == messages[-kept:]
    assert names(heard) == ["llm.context.truncation.start", "llm.context.truncation.stop"]
    sizes = {key: heard[1][key] for key in ("messages_removed", "tokens_removed")}
    assert sizes == {"messages_removed": 3 - kept, "tokens_removed": 3 - kept}
    assert heard[1]["truncated"] is (kept < 3)


def test_seed_numbers_were_metadata(heard: list[Event]) -> None:
    """How far a window was exceeded, and how old an entry was, no metric could sum; ours are measurements."""
    context_window_exceeded(130_000, 128_000)
    cache_expired("k", age_s=61.5)
    check_cost_threshold("0.03", "0.01")
    assert told(heard) == [
        (
            "llm.context.window.exceeded",
            {"tokens": 130_000, "max_tokens": 128_000, "exceeded_by": 2_000},
            {"source": "application"},
        ),
        ("llm.cache.ttl.expired", {"age_s": 61.5}, {"key": "k"}),
        (
            "llm.cost.threshold.exceeded",
            {"cost_usd": Decimal("0.03"), "threshold_usd": Decimal("0.01"), "exceeded_by_usd": Decimal("0.02")},
            {"scope": "call"},
        ),
    ]


def test_seed_expired_entry_was_told_twice(heard: list[Event], llm_telemetry: LLMTelemetry) -> None:
    """What is too old is told as expired and as a miss, because it is both; but it is one look-up, and one miss."""

    def look_up() -> None:
        cache_expired("k")

    assert instrument_cache_lookup("k", look_up) is None
    assert names(heard) == ["llm.cache.ttl.expired", "llm.cache.lookup.miss"]
    cache = components(llm_telemetry)["cache"]
    assert (cache["lookups"], cache["misses"], cache["expired"], cache["hit_rate"]) == (1, 1, 1, 0.0)


def test_seed_message_had_the_tokens_of_the_whole_exchange(heard: list[Event]) -> None:
    """A message was told with the exchange's total; here it has its own, and the exchange an event of its own."""
    instrument_session_add_message("s1", {"role": "user", "content": "Hello"}, tokens=1)
    instrument_session_token_usage("s1", {"usage": {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12}})
    assert told(heard) == [
        (
            "llm.session.message.added",
            {"tokens": 1, "content_length": 5},
            {"session_id": "s1", "role": "user"},
        ),
        (
            "llm.session.token_usage.updated",
            {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12},
            {"session_id": "s1"},
        ),
    ]


@dataclass
class Response:
    """What an HTTP client returns."""

    status_code: int
    body: bytes


@pytest.mark.parametrize(
    "decorate",
    [
        instrument_http("post", "https://api.example.com/v1"),
        instrument_provider("acme", "acme-1"),
        instrument("llm.chat.call", ACME),
        lambda fn: lambda: instrument_cache_lookup("k", fn),
        lambda fn: lambda: instrument_cache_store("k", "v", 60, fn),
        instrument_cache_lookup("k"),
        instrument_cache_store("k", "v", 60),
        instrument_context_truncation([], strategy="none"),
    ],
    ids=["http", "provider", "chat", "look-up", "store", "decorated look-up", "decorated store", "truncation"],
)
def test_seed_instrumentation_changed_the_return_value(
    decorate: Callable[[Callable[[], object]], Callable[[], object]],
) -> None:
    """The instrumented HTTP client returned something else than before; ours return the very thing."""
    response = Response(200, b"{}")
    assert decorate(lambda: response)() is response
    assert response == Response(200, b"{}")


@pytest.mark.parametrize(
    ("decorate", "name"),
    [
        (lambda: instrument_http("get", "https://api.example.com/v1"), "llm.http.request"),
        (lambda: instrument_provider("acme", "acme-1"), "llm.provider.request"),
        (lambda: instrument("llm.chat.call", ACME), "llm.chat.call"),
    ],
    ids=["http", "provider", "chat"],
)
def test_seed_errors_ended_in_two_ways(decorate: Callable[[], Any], name: str, heard: list[Event]) -> None:
    """A returned error was an exception for HTTP, and a stop for all else; here only what is raised is an exception."""
    with decorate() as returned:
        returned.error = "refused"
    with pytest.raises(ConnectionError), decorate():
        raise ConnectionError
    ends = [(event.name, event["success"]) for event in heard if not event.name.endswith(".start")]
    assert ends == [(f"{name}.stop", False), (f"{name}.exception", False)]
