"""Every way of asking, in both SDKs, sync and async: what is seen of it."""

from __future__ import annotations

from typing import Any

import pytest

from loopback import Reply, Server
from pytest_llmtelemetry import EventLog, FinishReason
from sdks import PLAIN_WAYS, SDK, STREAM_WAYS, WAYS, answers, expected_call, reply_to


pytestmark = pytest.mark.matrix

REQUEST = ["llm.provider.request.start", "llm.provider.request.stop", "llm.cost.calculated"]
STREAMED = [
    "llm.provider.request.start",
    "llm.stream.start",
    "llm.stream.stop",
    "llm.provider.request.stop",
    "llm.cost.calculated",
]


@pytest.mark.parametrize("way", WAYS)
async def test_one_call(sdk: SDK, kind: str, way: str, provider: Server, llm_events: EventLog) -> None:
    """One answered request is one closed span and one accounted call, with its exact usage and cost."""
    provider.answer(reply_to(sdk, way))
    async with sdk.client(kind, provider) as client:
        given = await answers(sdk, client, way)

    assert given
    assert [request.path for request in provider.requests] == [sdk.path]
    assert llm_events.names == (REQUEST if way in PLAIN_WAYS else STREAMED)
    assert llm_events.calls == (expected_call(sdk, llm_events),)
    assert llm_events.cost_usd == sdk.cost_usd


@pytest.mark.parametrize("way", WAYS)
async def test_what_the_span_says(sdk: SDK, kind: str, way: str, provider: Server, llm_events: EventLog) -> None:
    """The end of the span names who answered what, how, and how it went."""
    reply = reply_to(sdk, way)
    provider.answer(Reply(body=reply.body, headers={**reply.headers, "x-request-id": "req_1"}))
    async with sdk.client(kind, provider) as client:
        await answers(sdk, client, way)

    (end,) = llm_events.filter("llm.provider.request.stop")
    assert dict(end.metadata) == {
        "provider": sdk.name,
        "model": sdk.model,
        "requested_model": sdk.model,
        "operation": "chat",
        "api": {"openai": "openai.chat", "anthropic": "anthropic.messages"}[sdk.name],
        "stream": way not in PLAIN_WAYS,
        "host": "127.0.0.1",
        "attempt": 1,
        "source": "capture",
        "status": 200,
        "served_by": "live",
        "request_id": "req_1",
        "finish_reason": FinishReason.STOP,
        "response_id": sdk.answer["id"],
        "ended": "complete",
        "uncertain": False,
        "success": True,
    }
    times = {"duration_ns", "monotonic_time_ns"} | ({"time_to_first_token_ns"} if way in STREAM_WAYS else set())
    assert end.measurements.keys() - sdk.usage.counts().keys() == times
    assert {name: end[name] for name in sdk.usage.counts()} == sdk.usage.counts()
    assert all(end[name] > 0 for name in times)


@pytest.mark.parametrize("way", WAYS)
async def test_a_retry(sdk: SDK, kind: str, way: str, provider: Server, llm_events: EventLog) -> None:
    """A refused request that the SDK repeats is two attempts, and one call."""
    provider.answer(rate_limited(sdk), reply_to(sdk, way))
    async with sdk.client(kind, provider) as client:
        await answers(sdk, client, way)

    ends = llm_events.filter("llm.provider.request.stop")
    assert [(end["attempt"], end["status"], end["success"]) for end in ends] == [(1, 429, False), (2, 200, True)]
    assert len(llm_events.filter("llm.provider.request.start")) == 2
    assert llm_events.calls == (expected_call(sdk, llm_events),)


@pytest.mark.parametrize("way", WAYS)
async def test_all_attempts_fail(sdk: SDK, kind: str, way: str, provider: Server, llm_events: EventLog) -> None:
    """Refusals without usage are attempts, never calls, and cost nothing."""
    provider.answer(*[rate_limited(sdk)] * 3)
    async with sdk.client(kind, provider) as client:
        with pytest.raises(sdk.module.RateLimitError):
            await answers(sdk, client, way)

    starts = llm_events.filter("llm.provider.request.start")
    ends = llm_events.filter("llm.provider.request.stop")
    assert [event["attempt"] for event in starts] == [1, 2, 3]
    assert [(end["attempt"], end["status"], end["success"], end["uncertain"]) for end in ends] == [
        (attempt, 429, False, False) for attempt in (1, 2, 3)
    ]
    # Where a stream was asked for, the SDK reads the body of the last refusal alone.
    assert ends[-1]["error"] == ERROR_TYPE[sdk.name]
    assert llm_events.calls == ()
    assert llm_events.cost_usd == 0


async def test_calls_one_after_the_other(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """Requests over one kept connection are calls of their own."""
    ways = ("plain", "streamed", "streaming", "plain")
    provider.answer(*(reply_to(sdk, way) for way in ways))
    async with sdk.client(kind, provider) as client:
        for way in ways:
            await answers(sdk, client, way)

    assert llm_events.calls == (expected_call(sdk, llm_events),) * 4
    assert llm_events.cost_usd == 4 * sdk.cost_usd


ERROR_TYPE = {"openai": "rate_limit_exceeded", "anthropic": "rate_limit_error"}


def rate_limited(sdk: SDK) -> Reply:
    """A 429 after which the SDK waits a millisecond."""
    bodies: dict[str, Any] = {
        "openai": b'{"error": {"message": "Slow down.", "type": "requests", "code": "rate_limit_exceeded"}}',
        "anthropic": b'{"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down."}}',
    }
    headers = {"content-type": "application/json", "retry-after-ms": "1"}
    return Reply(status=429, headers=headers, body=[bodies[sdk.name]])
