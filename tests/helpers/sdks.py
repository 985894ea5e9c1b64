"""The real SDKs: one question to each in every way that it can be asked, and its answer in the provider's own words."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from inspect import isawaitable
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar

import anthropic
import genai_prices
import openai

from loopback import SSE, Reply, Server
from pytest_llmtelemetry import Call, EventLog, FinishReason, Usage


class SDK(ABC):
    """One SDK as it is installed here, and one question with its answer in its provider's words."""

    name: ClassVar[str]
    """The module's name, which is the provider's name too."""
    module: ClassVar[ModuleType]
    path: ClassVar[str]
    """Where the question is sent."""
    base_path: ClassVar[str] = ""
    home: ClassVar[str]
    """The provider's own base URL."""
    model: ClassVar[str]
    question: ClassVar[Mapping[str, Any]]
    streamed_question: ClassVar[Mapping[str, Any]]
    answer: ClassVar[Mapping[str, Any]]
    chunks: ClassVar[tuple[bytes, ...]]
    """The same answer as a stream; the first piece of text is in the second chunk."""
    usage: ClassVar[Usage]
    cost_usd: ClassVar[Decimal]

    @property
    def stack(self) -> Any:
        """The HTTP library that it is built on: the module ``httpx`` or ``httpx2``."""
        base = next(kind for kind in self.module.DefaultHttpxClient.__mro__ if kind.__name__ == "Client")
        return sys.modules[base.__module__.partition(".")[0]]

    @property
    def label(self) -> str:
        """Its name and major version, for the ids of tests."""
        return f"{self.name}{self.module.__version__.partition('.')[0]}"

    @property
    def plain(self) -> Reply:
        """The answer as one document."""
        return Reply(body=[_json(dict(self.answer))])

    @property
    def stream(self) -> Reply:
        """The answer as a stream."""
        return Reply(headers=SSE, body=self.chunks)

    @asynccontextmanager
    async def client(self, kind: str, server: Server | None = None, **options: Any) -> AsyncIterator[Any]:
        """A client of ``kind`` ``sync`` or ``async``, of the provider itself if no server is given."""
        url = self.home if server is None else server.url
        async with entered(self.make(kind, base_url=url + self.base_path, api_key="sk-test", **options)) as client:
            yield client

    @abstractmethod
    def make(self, kind: str, **options: Any) -> Any:
        """A client of the SDK."""

    @abstractmethod
    def resource(self, client: Any) -> Any:
        """What ``create`` is called on."""

    def ask(self, client: Any, **more: Any) -> Any:
        """Ask the question."""
        return self.resource(client).create(**self.question, **more)

    def ask_streamed(self, client: Any) -> Any:
        """Ask for a streamed answer."""
        return self.resource(client).create(**self.streamed_question, stream=True)


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


_QUESTION = [{"role": "user", "content": "The capital of France?"}]

_COMPLETION_HEAD = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": "gpt-4o-mini"}
_COMPLETION_USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 200,
    "total_tokens": 1200,
    "prompt_tokens_details": {"cached_tokens": 600},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
_COMPLETION = {
    **_COMPLETION_HEAD,
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris."}, "finish_reason": "stop"}],
    "usage": _COMPLETION_USAGE,
}
_COMPLETION_CHUNKS = [
    {**_COMPLETION_HEAD, "object": "chat.completion.chunk", **fields}
    for fields in (
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"content": "Par"}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"content": "is."}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": _COMPLETION_USAGE},
    )
]


class OpenAI(SDK):
    name = "openai"
    module: ClassVar[ModuleType] = openai
    path = "/v1/chat/completions"
    base_path = "/v1"
    home = "https://api.openai.com"
    model = "gpt-4o-mini"
    question = MappingProxyType({"model": model, "messages": _QUESTION, "max_tokens": 300})
    streamed_question = MappingProxyType({**question, "stream_options": {"include_usage": True}})
    answer = MappingProxyType(_COMPLETION)
    chunks = tuple(b"data: %s\n\n" % data for data in (*map(_json, _COMPLETION_CHUNKS), b"[DONE]"))
    usage = Usage(input_tokens=1000, output_tokens=200, total_tokens=1200, cache_read_tokens=600, reasoning_tokens=0)
    # 400 fresh at $0.15, 600 cached at $0.075 and 200 out at $0.60 per million.
    cost_usd = Decimal("0.000225")

    def make(self, kind: str, **options: Any) -> Any:
        return (openai.AsyncOpenAI if kind == "async" else openai.OpenAI)(**options)

    def resource(self, client: Any) -> Any:
        return client.chat.completions


_MESSAGE_HEAD = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5"}
_MESSAGE_USAGE = {
    "input_tokens": 100,
    "cache_creation_input_tokens": 200,
    "cache_read_input_tokens": 700,
    "output_tokens": 50,
}
_MESSAGE = {
    **_MESSAGE_HEAD,
    "content": [{"type": "text", "text": "Paris."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": _MESSAGE_USAGE,
}
_MESSAGE_EVENTS: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {
            **_MESSAGE,
            "content": [],
            "stop_reason": None,
            "usage": {**_MESSAGE_USAGE, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Par"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "is."}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 50},
    },
    {"type": "message_stop"},
]


class Anthropic(SDK):
    name = "anthropic"
    module: ClassVar[ModuleType] = anthropic
    path = "/v1/messages"
    home = "https://api.anthropic.com"
    model = "claude-haiku-4-5"
    question = MappingProxyType({"model": model, "messages": _QUESTION, "max_tokens": 300})
    streamed_question = question
    answer = MappingProxyType(_MESSAGE)
    chunks = tuple(b"event: %s\ndata: %s\n\n" % (event["type"].encode(), _json(event)) for event in _MESSAGE_EVENTS)
    usage = Usage(input_tokens=1000, output_tokens=50, total_tokens=1050, cache_read_tokens=700, cache_write_tokens=200)
    # 100 fresh at $1, 200 written at $1.25, 700 cached at $0.10 and 50 out at $5 per million.
    cost_usd = Decimal("0.00067")

    def make(self, kind: str, **options: Any) -> Any:
        return (anthropic.AsyncAnthropic if kind == "async" else anthropic.Anthropic)(**options)

    def resource(self, client: Any) -> Any:
        return client.messages


SDKS: tuple[SDK, ...] = (OpenAI(), Anthropic())
KINDS = ("sync", "async")


# -- the HTTP libraries below them -----------------------------------------------------


def http_client(stack: Any, kind: str, **options: Any) -> Any:
    """A client of the HTTP library."""
    return {"sync": stack.Client, "async": stack.AsyncClient}[kind](**options)


def asked(sdk: SDK, server: Server) -> dict[str, Any]:
    """The SDK's question, as arguments of a request."""
    return {"url": server.url + sdk.path, "json": dict(sdk.question)}


# -- one code for both kinds of client -------------------------------------------------


async def value(result: Any) -> Any:
    """What a sync call returned, or an async one will."""
    return await result if isawaitable(result) else result


async def pieces(stream: Any) -> AsyncGenerator[Any, None]:
    """The items of either kind of iterable."""
    if hasattr(stream, "__aiter__"):
        async for item in stream:
            yield item
    else:
        for item in stream:
            yield item


@asynccontextmanager
async def entered(manager: Any) -> AsyncIterator[Any]:
    """Either kind of context manager, entered."""
    if hasattr(manager, "__aenter__"):
        async with manager as inner:
            yield inner
    else:
        with manager as inner:
            yield inner


# -- the ways in which an SDK can be asked ---------------------------------------------

Way = Callable[[SDK, Any], AsyncIterator[Any]]
"""Asks with a client, and yields what the SDK gives, as plain data and as it comes."""


async def plain(sdk: SDK, client: Any) -> AsyncIterator[Any]:
    """``create()``."""
    yield dumped(await value(sdk.ask(client)))


async def streamed(sdk: SDK, client: Any) -> AsyncIterator[Any]:
    """``create(stream=True)``."""
    async for item in pieces(await value(sdk.ask_streamed(client))):
        yield dumped(item)


async def helped(sdk: SDK, client: Any) -> AsyncIterator[Any]:
    """``stream()``, the SDK's own helper."""
    async with entered(sdk.resource(client).stream(**sdk.streamed_question)) as stream:
        async for item in pieces(stream):
            yield dumped(item)


async def raw(sdk: SDK, client: Any) -> AsyncIterator[Any]:
    """``with_raw_response``."""
    response = await value(sdk.resource(client).with_raw_response.create(**sdk.question))
    yield response.status_code
    yield response.text
    yield dumped(await value(response.parse()))


async def raw_streamed(sdk: SDK, client: Any) -> AsyncIterator[Any]:
    """``with_raw_response`` of a stream."""
    response = await value(sdk.resource(client).with_raw_response.create(**sdk.streamed_question, stream=True))
    async for item in pieces(await value(response.parse())):
        yield dumped(item)


async def streaming(sdk: SDK, client: Any) -> AsyncIterator[Any]:
    """``with_streaming_response``: the body is read only when it is asked for."""
    async with entered(sdk.resource(client).with_streaming_response.create(**sdk.question)) as response:
        yield response.status_code
        yield dumped(await value(response.parse()))


async def streaming_lines(sdk: SDK, client: Any) -> AsyncIterator[Any]:
    """``with_streaming_response`` of a stream, as lines of text."""
    manager = sdk.resource(client).with_streaming_response.create(**sdk.streamed_question, stream=True)
    async with entered(manager) as response:
        async for line in pieces(response.iter_lines()):
            yield line


PLAIN_WAYS: Mapping[str, Way] = {"plain": plain, "raw": raw}
"""The whole body is read before ``send`` of the HTTP library returns."""
BODY_WAYS: Mapping[str, Way] = {"streaming": streaming}
"""The answer is one document, and the SDK pulls it."""
STREAM_WAYS: Mapping[str, Way] = {
    "streamed": streamed,
    "helped": helped,
    "raw_streamed": raw_streamed,
    "streaming_lines": streaming_lines,
}
WAYS: Mapping[str, Way] = {**PLAIN_WAYS, **BODY_WAYS, **STREAM_WAYS}


async def answers(sdk: SDK, client: Any, way: str) -> list[Any]:
    """All that the SDK gives to one way of asking."""
    return [item async for item in WAYS[way](sdk, client)]


def reply_to(sdk: SDK, way: str) -> Reply:
    """What a provider answers to a way of asking."""
    return sdk.stream if way in STREAM_WAYS else sdk.plain


def expected_call(sdk: SDK, log: EventLog, *, served_by: str = "live") -> Call:
    """The accounted call of the SDK's question."""
    return Call(
        provider=sdk.name,
        model=sdk.model,
        usage=sdk.usage,
        cost_usd=sdk.cost_usd,
        price_source=f"genai-prices {genai_prices.__version__}",
        finish_reason=FinishReason.STOP,
        served_by=served_by,
        estimated=False,
        event=log.filter("llm.cost.calculated")[0],
    )


def dumped(item: Any) -> Any:
    """What the SDK gave, as plain data."""
    return item.model_dump(mode="json", warnings=False) if hasattr(item, "model_dump") else item
