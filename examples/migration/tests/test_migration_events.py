"""What the instrumented application tells, event by event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest

from migration import after
from migration.shared import CACHE_TTL_S, CLAUDE, GPT, Message, Model, PromptTooLongError, RejectedError
from pytest_llmtelemetry import EventLog, FixedClock, LLMMock, LLMTelemetry, faults, reply
from pytest_llmtelemetry.telemetry.catalogue import known_events, problems


Build = Callable[..., Any]

QUESTION: Message = {"role": "user", "content": "Capital of France?"}
LONG: Message = {"role": "user", "content": "long " * 20}
SMALL = Model(provider="openai", name="gpt-6-luna", max_input_tokens=20)

# One request, as the adapter tells it, the HTTP client in it, and a test session that sees the wire.
REQUEST_BEGINS = ["llm.provider.request.start", "llm.http.request.start", "llm.provider.request.start"]
REQUEST_ANSWERED = [
    *REQUEST_BEGINS,
    "llm.provider.request.stop",
    "llm.cost.calculated",
    "llm.http.request.stop",
    "llm.provider.request.stop",
]


@pytest.fixture
def assistant(build: Build) -> Any:
    """An instrumented assistant."""
    return build(after)


def test_an_uncached_chat(assistant: Any, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """A miss, a request, a store; one cost."""
    llm_mock.openai.chat("Paris.")
    assistant.chat(GPT, [QUESTION])

    assert llm_events.names == [
        "llm.chat.call.start",
        "llm.cache.lookup.miss",
        *REQUEST_ANSWERED,
        "llm.cache.store.success",
        "llm.chat.call.stop",
    ]


def test_a_cached_chat(assistant: Any, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """A hit, and nothing else: no request, no cost."""
    llm_mock.openai.chat("Paris.")
    assistant.chat(GPT, [QUESTION])
    seen = len(llm_events)
    assistant.chat(GPT, [QUESTION])

    assert llm_events[seen:].names == ["llm.chat.call.start", "llm.cache.lookup.hit", "llm.chat.call.stop"]


def test_a_chat_with_a_retry(assistant: Any, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """The rate limit is told by the wire and by the HTTP client; the retry by the application alone."""
    llm_mock.openai.chat([faults.rate_limit(retry_after=2), "Paris."])
    assistant.chat(GPT, [QUESTION])

    assert llm_events.names == [
        "llm.chat.call.start",
        "llm.cache.lookup.miss",
        *REQUEST_BEGINS,
        "llm.rate_limit.hit",
        "llm.provider.request.stop",
        "llm.http.request.stop",
        "llm.rate_limit.hit",
        "llm.provider.request.exception",
        "llm.retry.attempt",
        *REQUEST_ANSWERED,
        "llm.cache.store.success",
        "llm.chat.call.stop",
    ]


def test_a_truncated_chat(assistant: Any, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """The window is exceeded once, and the truncation ends once."""
    llm_mock.openai.chat("Paris.")
    assistant.chat(SMALL, [LONG, QUESTION])

    assert llm_events.names == [
        "llm.chat.call.start",
        "llm.context.window.exceeded",
        "llm.context.truncation.start",
        "llm.context.truncation.stop",
        "llm.cache.lookup.miss",
        *REQUEST_ANSWERED,
        "llm.cache.store.success",
        "llm.chat.call.stop",
    ]


def test_a_chat_whose_cached_answer_expired(
    assistant: Any, llm_mock: LLMMock, llm_events: EventLog, llm_clock: FixedClock
) -> None:
    """An entry that is too old is a miss all the same."""
    llm_mock.openai.chat("Paris.")
    assistant.chat(GPT, [QUESTION])
    seen = len(llm_events)
    llm_clock.advance(CACHE_TTL_S)
    assistant.chat(GPT, [QUESTION])

    assert llm_events[seen:].names[:3] == ["llm.chat.call.start", "llm.cache.ttl.expired", "llm.cache.lookup.miss"]


def test_a_chat_in_a_session(assistant: Any, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """Each message with its own tokens, and the exchange with what the provider counted."""
    llm_mock.openai.chat("Paris.", input_tokens=12, output_tokens=2)
    assistant.chat(GPT, [QUESTION], session=after.Session("s1"))

    told = [(event.name, dict(event.measurements), event["session_id"]) for event in llm_events.filter("llm.session.*")]
    assert told == [
        ("llm.session.created", {}, "s1"),
        ("llm.session.message.added", {"tokens": 9, "content_length": 18}, "s1"),
        ("llm.session.message.added", {"tokens": 6, "content_length": 6}, "s1"),
        ("llm.session.token_usage.updated", {"input_tokens": 12, "output_tokens": 2, "total_tokens": 14}, "s1"),
    ]
    assert [event["role"] for event in llm_events.filter("llm.session.message.added")] == ["user", "assistant"]


def test_a_session_that_is_cut_and_cleared(llm_events: EventLog) -> None:
    """How many messages went, and how many are left; a truncation that removes nothing is none."""
    session = after.Session("s1")
    for _ in range(3):
        session.add(QUESTION)
    session.truncate(keep=3)
    session.truncate(keep=2)
    session.clear()

    ends = [event for event in llm_events if event.name in {"llm.session.truncated", "llm.session.cleared"}]
    assert [(event.name, dict(event.measurements)) for event in ends] == [
        ("llm.session.truncated", {"messages_removed": 1, "message_count": 2}),
        ("llm.session.cleared", {"message_count": 2}),
    ]


def test_a_circuit_that_opens_and_closes(
    assistant: Any, llm_mock: LLMMock, llm_events: EventLog, llm_clock: FixedClock
) -> None:
    """Every change of state, once."""
    down = faults.server_error()
    llm_mock.openai.chat([down, down, down, "Paris."])
    with pytest.raises(Exception, match="openai failed with 500"):
        assistant.chat(GPT, [QUESTION])
    llm_clock.advance(30)
    assistant.chat(GPT, [QUESTION])

    changes = llm_events.filter("llm.circuit_breaker.state.changed", circuit="openai")
    assert [(event["old_state"], event["new_state"]) for event in changes] == [
        ("closed", "open"),
        ("open", "half_open"),
        ("half_open", "closed"),
    ]


def test_an_expensive_answer(assistant: Any, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """Above the threshold it is told, once, although the answer is used twice."""
    llm_mock.openai.chat("Paris.", input_tokens=10_000, output_tokens=1)
    assistant.chat(GPT, [QUESTION])
    assistant.chat(GPT, [QUESTION])

    [exceeded] = llm_events.filter("llm.cost.threshold.exceeded")
    assert dict(exceeded.measurements) == {
        "cost_usd": Decimal("0.0010005"),
        "threshold_usd": Decimal("0.001"),
        "exceeded_by_usd": Decimal("0.0000005"),
    }


def test_a_chat_that_fails(assistant: Any, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """Each span around the failure ends with an exception, but the HTTP request was answered: 401."""
    llm_mock.openai.chat(faults.auth())
    with pytest.raises(RejectedError):
        assistant.chat(GPT, [QUESTION])

    assert llm_events.names == [
        "llm.chat.call.start",
        "llm.cache.lookup.miss",
        *REQUEST_BEGINS,
        "llm.provider.request.stop",
        "llm.http.request.stop",
        "llm.provider.request.exception",
        "llm.chat.call.exception",
    ]
    [answered] = llm_events.filter("llm.http.request.stop")
    assert (answered["status"], answered["success"]) == (401, False)


def test_a_chat_whose_prompt_cannot_be_cut(assistant: Any, llm_events: EventLog) -> None:
    """The truncation fails, and so does the chat; nothing was looked up."""
    with pytest.raises(PromptTooLongError):
        assistant.chat(SMALL, [LONG])

    assert llm_events.names == [
        "llm.chat.call.start",
        "llm.context.window.exceeded",
        "llm.context.truncation.start",
        "llm.context.truncation.exception",
        "llm.chat.call.exception",
    ]


def test_what_a_chat_says_of_itself(assistant: Any, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """The seed's metadata, and what was read out of the answer."""
    llm_mock.anthropic.messages("Paris.", input_tokens=12, output_tokens=2)
    assistant.chat(CLAUDE, [QUESTION])

    [call] = llm_events.filter("llm.chat.call.stop")
    assert dict(call.measurements) == {
        "duration_ns": 0,
        "monotonic_time_ns": 0,
        "input_tokens": 12,
        "output_tokens": 2,
        "total_tokens": 14,
        "cost_usd": Decimal("0.0000022"),
    }
    assert dict(call.metadata) == {
        "provider": "anthropic",
        "model": "claude-haiku-5-5",
        "stream": False,
        "session": False,
        "circuit_breaker": True,
        "success": True,
        "finish_reason": "stop",
        "response_id": "msg_1",
        "accounted_span_id": 4,
    }


@pytest.mark.parametrize("model", [GPT, CLAUDE], ids=["openai", "anthropic"])
@pytest.mark.llm_mock(assert_all_called=False)
def test_what_an_adapter_says_of_a_request(
    assistant: Any, llm_mock: LLMMock, llm_events: EventLog, model: Model
) -> None:
    """Beside the request on the wire, the adapter's own, with what it read out of the answer."""
    llm_mock.openai.chat("Paris.", input_tokens=12, output_tokens=2)
    llm_mock.anthropic.messages("Paris.", input_tokens=12, output_tokens=2)
    response = assistant.chat(model, [QUESTION])

    [request] = llm_events.filter("llm.provider.request.stop", max_tokens=400)
    assert (request["provider"], request["model"], request["response_id"]) == (model.provider, model.name, response.id)
    assert (request["total_tokens"], request["source"]) == (14, "application")


def test_a_chat_lasts_as_long_as_its_attempts_and_waits(
    assistant: Any, llm_mock: LLMMock, llm_events: EventLog
) -> None:
    """Two seconds of waiting belong to the chat, and to no request."""
    llm_mock.openai.chat([faults.rate_limit(retry_after=2), "Paris."])
    assistant.chat(GPT, [QUESTION])

    durations = {(e.name, e["duration_ns"]) for e in llm_events if e.name.endswith((".stop", ".exception"))}
    assert {name for name, duration in durations if duration} == {"llm.chat.call.stop"}
    assert ("llm.chat.call.stop", 2_000_000_000) in durations


def test_what_a_retry_says(assistant: Any, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """Which attempt, after what wait, and why; of which provider the span around it says."""
    llm_mock.openai.chat([faults.rate_limit(retry_after=2), "Paris."])
    assistant.chat(GPT, [QUESTION])

    [retry] = llm_events.filter("llm.retry.attempt")
    assert (dict(retry.measurements), dict(retry.metadata)) == (
        {"attempt": 2, "delay_s": 2.0},
        {
            "reason": "migration.shared.RateLimitedError",
            "provider": "openai",
            "model": "gpt-6-luna",
            "source": "application",
        },
    )


def test_every_event_is_as_the_catalogue_says(
    build: Build, llm_mock: LLMMock, llm_telemetry: LLMTelemetry, llm_clock: FixedClock
) -> None:
    """A long day of this application has nothing that strict mode would find."""
    found: list[str] = []
    seen: set[str] = set()

    def hear(event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: object) -> None:
        seen.add(event)
        found.extend(problems(event, measurements, metadata))

    llm_telemetry.attach_many("catalogue", known_events(), hear)
    down, dear = faults.server_error(), reply("Paris.", input_tokens=10_000, finish_reason="length")
    llm_mock.openai.chat([faults.rate_limit(), dear, "Rome.", faults.auth(), down, down, down])
    assistant, session = build(after), after.Session("s1")
    assistant.chat(GPT, [QUESTION], session=session)
    session.truncate(keep=1)
    session.clear()
    assistant.chat(GPT, [QUESTION])
    llm_clock.advance(CACHE_TTL_S)
    assistant.chat(SMALL, [LONG, QUESTION])
    for messages in ([LONG], [LONG], [LONG, LONG]):
        with pytest.raises(Exception, match="openai"):
            assistant.chat(GPT, messages)
    with pytest.raises(PromptTooLongError):
        assistant.chat(SMALL, [LONG])

    assert found == []
    assert seen == {
        *(f"llm.chat.call.{step}" for step in ("start", "stop", "exception")),
        *(f"llm.provider.request.{step}" for step in ("start", "stop", "exception")),
        *(f"llm.http.request.{step}" for step in ("start", "stop")),
        *(f"llm.context.truncation.{step}" for step in ("start", "stop", "exception")),
        *(f"llm.session.{what}" for what in ("created", "message.added", "token_usage.updated")),
        *(f"llm.session.{what}" for what in ("cleared", "truncated")),
        *(f"llm.cache.{what}" for what in ("lookup.hit", "lookup.miss", "store.success", "ttl.expired")),
        *("llm.cost.calculated", "llm.cost.threshold.exceeded", "llm.context.window.exceeded"),
        *("llm.rate_limit.hit", "llm.retry.attempt", "llm.response.truncated", "llm.circuit_breaker.state.changed"),
    }
