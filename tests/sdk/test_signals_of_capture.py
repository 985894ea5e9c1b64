"""What an answer is the occasion of, seen on the wire: retries, rate limits, prompts that do not fit, tools, chunks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from loopback import Drop, Reply, Server
from pytest_llmtelemetry import EventLog, LLMTelemetry
from pytest_llmtelemetry.telemetry.names import CHUNK
from sdks import SDK, answers


pytestmark = pytest.mark.matrix

_RETRY, _LIMIT, _OVERFLOW, _TOOL = (
    "llm.retry.attempt",
    "llm.rate_limit.hit",
    "llm.context.window.exceeded",
    "llm.tool.call",
)


def refusal(status: int, error: Mapping[str, Any], **headers: str) -> Reply:
    """An error in the words of either provider."""
    document = {"type": "error", "error": dict(error)}
    headers = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Reply(status=status, headers=headers, body=[json.dumps(document).encode()])


def rate_limited(**headers: str) -> Reply:
    """HTTP 429."""
    return refusal(429, {"type": "rate_limit_error", "message": "slow down"}, **headers)


# -- retries and rate limits ---------------------------------------------------------------


async def test_a_retry_that_a_rate_limit_made_necessary(
    sdk: SDK, kind: str, provider: Server, llm_events: EventLog
) -> None:
    """A 429 is a rate limit with the wait that was asked for, and the SDK's next attempt is a retry."""
    provider.answer(rate_limited(retry_after_ms="1"), sdk.plain)
    async with sdk.client(kind, provider) as client:
        await answers(sdk, client, "plain")

    (limit,) = llm_events.filter(_LIMIT)
    (retry,) = llm_events.filter(_RETRY)
    first, second = llm_events.filter("llm.provider.request.stop")
    assert (limit["retry_after_s"], limit["provider"], limit.span_id) == (0.001, sdk.name, first.span_id)
    assert (retry["attempt"], retry["provider"], retry.span_id) == (2, sdk.name, second.span_id)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry_after": "2.5", "x_should_retry": "false"}, 2.5),
        ({"retry_after": "20", "retry_after_ms": "1500", "x_should_retry": "false"}, 1.5),
        ({"retry_after": "soon", "x_should_retry": "false"}, None),
        ({"retry_after": "nan", "x_should_retry": "false"}, None),
        ({"retry_after": "-1", "x_should_retry": "false"}, None),
        ({"x_should_retry": "false"}, None),
    ],
    ids=["seconds", "milliseconds win", "no number", "nan", "negative", "not stated"],
)
async def test_the_wait_that_a_rate_limit_asks_for(
    *, headers: dict[str, str], wait_s: float | None, sdk: SDK, kind: str, provider: Server, llm_events: EventLog
) -> None:
    """It is read as the SDKs read it; what makes no sense is not stated."""
    provider.answer(rate_limited(**headers))
    async with sdk.client(kind, provider) as client:
        with pytest.raises(sdk.module.RateLimitError):
            await answers(sdk, client, "plain")
    (limit,) = llm_events.filter(_LIMIT)
    assert limit["retry_after_s"] == wait_s


async def test_the_wait_may_be_a_date(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """HTTP allows a date in place of seconds; one that has passed asks for no wait."""
    dates = [datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) - timedelta(hours=1)]
    for date in dates:
        provider.answer(rate_limited(retry_after=format_datetime(date, usegmt=True), x_should_retry="false"))
    async with sdk.client(kind, provider) as client:
        for _ in dates:
            with pytest.raises(sdk.module.RateLimitError):
                await answers(sdk, client, "plain")
    ahead, past = (limit["retry_after_s"] for limit in llm_events.filter(_LIMIT))
    assert 3500 < ahead <= 3600
    assert past == 0


async def test_no_retry_and_no_limit_without_occasion(
    sdk: SDK, kind: str, provider: Server, llm_events: EventLog
) -> None:
    """A call that goes well says nothing of the kind."""
    provider.answer(sdk.plain)
    async with sdk.client(kind, provider) as client:
        await answers(sdk, client, "plain")
    assert not any(name in llm_events for name in (_RETRY, _LIMIT, _OVERFLOW, _TOOL, CHUNK))


# -- prompts that do not fit ---------------------------------------------------------------

_OPENAI_SAYS = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
_ANTHROPIC_SAYS = "prompt is too long: 208310 tokens > 200000 maximum"


@pytest.mark.parametrize(
    ("errors", "sizes"),
    [
        (
            {
                "openai": {"code": "context_length_exceeded", "message": _OPENAI_SAYS},
                "anthropic": {"type": "invalid_request_error", "message": _ANTHROPIC_SAYS},
            },
            {"openai": (9000, 8192, 808), "anthropic": (208310, 200000, 8310)},
        ),
        (
            {
                "openai": {"code": "context_length_exceeded", "message": "too long"},
                "anthropic": {"type": "invalid_request_error", "message": "prompt is too long"},
            },
            {"openai": (None, None, None), "anthropic": (None, None, None)},
        ),
    ],
    ids=["with numbers", "without"],
)
async def test_a_prompt_that_does_not_fit(
    *,
    errors: Mapping[str, Mapping[str, str]],
    sizes: Mapping[str, tuple[int | None, ...]],
    sdk: SDK,
    kind: str,
    provider: Server,
    llm_events: EventLog,
) -> None:
    """The provider's refusal is told once, with the numbers that it states, and costs nothing."""
    provider.answer(refusal(400, errors[sdk.name]))
    async with sdk.client(kind, provider) as client:
        with pytest.raises(sdk.module.BadRequestError):
            await answers(sdk, client, "plain")
    (event,) = llm_events.filter(_OVERFLOW)
    assert (event["tokens"], event["max_tokens"], event["exceeded_by"]) == sizes[sdk.name]
    assert llm_events.calls == ()


async def test_another_refusal_is_no_overflow(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """A bad request for any other reason says nothing about the window."""
    provider.answer(refusal(400, {"type": "invalid_request_error", "message": "messages: at least one is required"}))
    async with sdk.client(kind, provider) as client:
        with pytest.raises(sdk.module.BadRequestError):
            await answers(sdk, client, "plain")
    assert _OVERFLOW not in llm_events


# -- tools ---------------------------------------------------------------------------------

_ARGUMENTS = '{"q":"Zürich"}'


def _with_tools(sdk: SDK) -> Reply:
    """The answer, which asks for two tools."""
    if sdk.name == "openai":
        calls = [
            {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": _ARGUMENTS}}
            for name in ("search", "open")
        ]
        message = {"role": "assistant", "content": None, "tool_calls": calls}
        parts: dict[str, Any] = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    else:
        blocks = [
            {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": json.loads(_ARGUMENTS)}
            for name in ("search", "open")
        ]
        parts = {"content": blocks, "stop_reason": "tool_use"}
    return Reply(body=[json.dumps({**sdk.answer, **parts}).encode()])


async def test_tools_that_a_model_asks_for(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """Each tool is told by name, with the size of its arguments and not the arguments."""
    provider.answer(_with_tools(sdk))
    async with sdk.client(kind, provider) as client:
        await answers(sdk, client, "plain")

    calls = llm_events.filter(_TOOL)
    assert [(call["tool"], call["arguments_bytes"]) for call in calls] == [
        ("search", len(_ARGUMENTS.encode())),
        ("open", len(_ARGUMENTS.encode())),
    ]
    assert "Zürich" not in repr(list(calls))


# -- chunks --------------------------------------------------------------------------------


async def test_chunks_are_told_to_who_asks_for_them(
    sdk: SDK, kind: str, provider: Server, llm_events: EventLog, llm_telemetry: LLMTelemetry
) -> None:
    """With a handler on exactly this event, every piece of a stream is an event; without one, none is."""
    sizes: list[int] = []
    provider.answer(sdk.stream, sdk.stream)
    async with sdk.client(kind, provider) as client:
        await answers(sdk, client, "streamed")
        unasked = CHUNK in llm_events
        undo = llm_telemetry.attach(
            "sizes", CHUNK, lambda event, measurements, metadata, config: sizes.append(measurements["bytes"])
        )
        await answers(sdk, client, "streamed")
        undo()

    stop = llm_events.filter("llm.stream.stop")[1]
    chunks = llm_events.filter(CHUNK)
    assert not unasked
    assert sum(sizes) == stop["bytes"] == sum(map(len, sdk.chunks))
    assert [chunk["index"] for chunk in chunks] == list(range(stop["chunks"]))
    assert all(chunk["gap_ns"] >= 0 and chunk.span_id == stop.span_id for chunk in chunks)


async def test_gaps_of_a_stream(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """The end of a stream says how steadily it came: the longest gap is at least the mean one."""
    provider.answer(sdk.stream)
    async with sdk.client(kind, provider) as client:
        await answers(sdk, client, "streamed")
    (stop,) = llm_events.filter("llm.stream.stop")
    if stop["chunks"] > 1:
        assert stop["max_gap_ns"] >= stop["mean_gap_ns"] >= 0
    assert (stop["ended"], stop["success"]) == ("complete", True)


async def test_a_stream_that_breaks_is_an_exception(
    sdk: SDK, kind: str, provider: Server, llm_events: EventLog
) -> None:
    """The stream's own span says that it failed, and of what."""
    provider.answer(Reply(headers=sdk.stream.headers, body=[*sdk.chunks[:2], Drop()]))
    async with sdk.client(kind, provider) as client:
        with pytest.raises((sdk.module.APIConnectionError, sdk.stack.RemoteProtocolError)):
            await answers(sdk, client, "streamed")
    (end,) = llm_events.filter("llm.stream.exception")
    assert (end["success"], end["ended"]) == (False, "error")
    assert end["error_type"].endswith("RemoteProtocolError")
