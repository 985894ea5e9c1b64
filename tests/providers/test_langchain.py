"""The frameworks ``langchain-openai`` and ``langchain-anthropic``, on the SDKs of the two."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import reduce
from itertools import count
from operator import add
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from kinds import items, opened, value
from polyglot import Polyglot
from pytest_llmtelemetry import CallFacts, EventLog, FinishReason, RequestFacts, ToolCall, Usage
from pytest_llmtelemetry.wire.dialect import Failure
from suite import ANSWER, LIMIT, MODEL, PARAMETERS, Begin, Heard, Suite


langchain_openai: Any = pytest.importorskip("langchain_openai")
langchain_anthropic: Any = pytest.importorskip("langchain_anthropic")
messages: Any = pytest.importorskip("langchain_core.messages")
openai: Any = pytest.importorskip("openai")
anthropic: Any = pytest.importorskip("anthropic")
models: Any = pytest.importorskip("langchain_openai.chat_models.base")
claudes: Any = pytest.importorskip("langchain_anthropic.chat_models")

# LangChain keeps an HTTP client for each URL, beyond the test that has closed it.
URLS = count()
SCHEMA = {"title": "weather", "description": "Where and when.", **PARAMETERS}


class LangChain(Suite):
    """What holds for its models."""

    usage: ClassVar[Any] = {
        "input_tokens": 1000,
        "output_tokens": 200,
        "total_tokens": 1200,
        "input_token_details": {"cache_read": 600},
        "output_token_details": {"reasoning": 50},
    }
    finish: ClassVar[str]
    """The key of the finish reason."""
    structured: ClassVar[CallFacts]
    """What the model answers if it is to fill a schema."""
    question: ClassVar[Any] = [messages.HumanMessage("Comment ça va ?")]
    offer: ClassVar[Any] = MappingProxyType({"tools": [SCHEMA]})

    def open(self, kind: str, server: Polyglot) -> Any:
        return self.closed(kind, self.make(kind, f"{server.url}/{next(URLS)}"))

    @asynccontextmanager
    async def closed(self, kind: str, model: Any) -> AsyncIterator[Any]:
        """A model, whose SDK's client is closed in the end."""
        async with opened(self.client_of(model, kind), kind):
            yield model, kind

    def client_of(self, model: Any, kind: str) -> Any:
        """The SDK's client."""
        return model.root_async_client if kind == "async" else model.root_client

    async def ask(self, client: Any, turns: Sequence[Any], **more: Any) -> Any:
        model, kind = client
        bound = model.bind_tools(**more) if more else model
        return await value(bound.ainvoke(turns) if kind == "async" else bound.invoke(turns))

    async def listen(self, client: Any, turns: Sequence[Any], **more: Any) -> AsyncIterator[Any]:
        model, kind = client
        bound = model.bind_tools(**more) if more else model
        async for chunk in items(bound.astream(turns) if kind == "async" else bound.stream(turns)):
            yield chunk

    def hear(self, answer: Any) -> Heard:
        metadata: Mapping[str, Any] = answer.response_metadata
        return Heard(
            id=metadata.get("id"),
            model=metadata.get("model_name"),
            pieces=(answer.text,) if answer.text else (),
            reasoning="".join(
                block.get("reasoning", "") for block in answer.content_blocks if block["type"] == "reasoning"
            ),
            tools=tuple((call["id"], call["name"], call["args"]) for call in answer.tool_calls),
            finish=metadata.get(self.finish),
            usage=answer.usage_metadata,
        )

    def hear_pieces(self, pieces: Sequence[Any]) -> Heard:
        whole = reduce(add, pieces)
        return replace(self.hear(whole), pieces=tuple(chunk.text for chunk in pieces if chunk.text))

    def follow_up(self, answer: Any) -> Sequence[Any]:
        results = [messages.ToolMessage("Il pleut.", tool_call_id=call["id"]) for call in answer.tool_calls]
        return [answer, *results]

    async def test_structured_output(self, kind: str, provider: Begin) -> None:
        """The model fills a schema."""
        server = provider(self.provider_name)
        server.answers = [self.structured]
        async with self.open(kind, server) as (model, _):
            filler = model.with_structured_output(SCHEMA)
            turns = self.question
            filled = await value(filler.ainvoke(turns) if kind == "async" else filler.invoke(turns))
        assert filled == {"city": "Rome", "days": 2}


class TestOpenAI(LangChain):
    """``ChatOpenAI``, which does not keep thoughts, and in a stream no id."""

    provider_name = "openai"
    api = "openai.chat"
    finish = "finish_reason"
    finishes: ClassVar[Any] = {
        FinishReason.STOP: "stop",
        FinishReason.LENGTH: "length",
        FinishReason.TOOL_CALLS: "tool_calls",
    }
    errors: ClassVar[Any] = {
        Failure.BAD_REQUEST: (models.OpenAIInvalidRequestError, 400),
        Failure.AUTH: (models.OpenAIAuthenticationError, 401),
        Failure.NOT_FOUND: (models.OpenAIModelNotFoundError, 404),
        # It looks for OpenAI's code in a message that no longer has it.
        Failure.CONTEXT_WINDOW: (models.OpenAIInvalidRequestError, 400),
        Failure.RATE_LIMIT: (models.OpenAIRateLimitError, 429),
        Failure.SERVER_ERROR: (models.OpenAIAPIError, 500),
        Failure.OVERLOADED: (models.OpenAIAPIError, 503),
    }
    broken = openai.APIError
    structured = replace(ANSWER, text='{"city": "Rome", "days": 2}')

    def make(self, kind: str, url: str) -> Any:
        return langchain_openai.ChatOpenAI(
            model=MODEL, base_url=url, api_key="sk-test", max_tokens=LIMIT, stream_usage=True
        )

    def expected(self, facts: CallFacts, *, streamed: bool) -> Heard:
        heard = super().expected(facts, streamed=streamed)
        return replace(heard, id=None if streamed else heard.id, reasoning="")


class TestOpenAIResponses(TestOpenAI):
    """The same over responses, whose status is the only finish reason."""

    api = "openai.responses"
    finish = "status"
    finishes: ClassVar[Any] = {
        FinishReason.STOP: "completed",
        FinishReason.LENGTH: "incomplete",
        FinishReason.TOOL_CALLS: "completed",
    }

    def make(self, kind: str, url: str) -> Any:
        return langchain_openai.ChatOpenAI(
            model=MODEL, base_url=url, api_key="sk-test", max_tokens=LIMIT, use_responses_api=True
        )

    def expected(self, facts: CallFacts, *, streamed: bool) -> Heard:
        return LangChain.expected(self, facts, streamed=streamed)


# Where the model calls a tool that nobody offered.
@pytest.mark.filterwarnings("ignore:Received unexpected tool content block:UserWarning")
class TestAnthropic(LangChain):
    """``ChatAnthropic``, which does not keep the id of a stream."""

    provider_name = "anthropic"
    api = "anthropic.messages"
    finish = "stop_reason"
    finishes: ClassVar[Any] = {
        FinishReason.STOP: "end_turn",
        FinishReason.LENGTH: "max_tokens",
        FinishReason.TOOL_CALLS: "tool_use",
    }
    errors: ClassVar[Any] = {
        Failure.BAD_REQUEST: (claudes.AnthropicInvalidRequestError, 400),
        Failure.AUTH: (claudes.AnthropicAuthenticationError, 401),
        Failure.NOT_FOUND: (claudes.AnthropicModelNotFoundError, 404),
        Failure.CONTEXT_WINDOW: (claudes.AnthropicContextOverflowError, 400),
        Failure.RATE_LIMIT: (claudes.AnthropicRateLimitError, 429),
        Failure.SERVER_ERROR: (claudes.AnthropicAPIError, 500),
        Failure.OVERLOADED: (claudes.AnthropicOverloadedError, 529),
    }
    broken = anthropic.APIStatusError
    structured = replace(
        ANSWER,
        text="",
        tool_calls=(ToolCall(id="call-1", name="weather", arguments='{"city": "Rome", "days": 2}'),),
        finish_reason=FinishReason.TOOL_CALLS,
    )

    def make(self, kind: str, url: str) -> Any:
        return langchain_anthropic.ChatAnthropic(model=MODEL, base_url=url, api_key="sk-test", max_tokens=LIMIT)

    def client_of(self, model: Any, kind: str) -> Any:
        return model._async_client if kind == "async" else model._client

    def expected(self, facts: CallFacts, *, streamed: bool) -> Heard:
        heard = super().expected(facts, streamed=streamed)
        return replace(heard, id=None if streamed else heard.id)


async def test_embeddings(kind: str, provider: Begin, llm_events: EventLog) -> None:
    """One vector for each text; the SDK asks for them in base64."""
    server = provider("openai")
    usage = Usage.checked(input_tokens=8, output_tokens=0)
    server.answers = [CallFacts(model=MODEL, vectors=((0.5, -0.25), (1.0, 0.0)), usage=usage)]
    embed = langchain_openai.OpenAIEmbeddings(
        model=MODEL, base_url=server.url, api_key="sk-test", check_embedding_ctx_length=False
    )
    async with opened(embed.async_client._client if kind == "async" else embed.client._client, kind):
        texts = ["Paris", "Rome"]
        vectors = await (embed.aembed_documents(texts) if kind == "async" else value(embed.embed_documents(texts)))
    assert vectors == [[0.5, -0.25], [1.0, 0.0]]
    assert server.asked == [RequestFacts(api="openai.embeddings", provider="openai", model=MODEL)]
    assert server.asked[0].body["encoding_format"] == "base64"
    assert [(call.model, call.usage) for call in llm_events.calls] == [(MODEL, usage)]
