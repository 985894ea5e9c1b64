"""The SDK ``mistralai``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from chats import ChatSuite
from kinds import items, value
from pytest_llmtelemetry.wire.dialect import Failure
from suite import ANSWER, LIMIT, MODEL, Begin, Caller, EmbeddingSuite, Structured


mistralai: Any = pytest.importorskip("mistralai.client")
failures: Any = pytest.importorskip("mistralai.client.errors")


class Mistral(Caller):
    """At Mistral."""

    provider_name = "mistral"

    def make(self, kind: str, url: str) -> Any:
        return mistralai.Mistral(server_url=url, api_key="test")

    def method(self, resource: Any, name: str) -> Any:
        """The method of either kind."""
        return getattr(resource, f"{name}_async" if self.kind == "async" else name)


class TestChat(Mistral, ChatSuite, Structured):
    """``chat.complete`` and ``chat.stream``."""

    errors: ClassVar[Any] = MappingProxyType(
        {
            Failure.BAD_REQUEST: (failures.SDKError, 400),
            Failure.AUTH: (failures.SDKError, 401),
            Failure.NOT_FOUND: (failures.SDKError, 404),
            Failure.CONTEXT_WINDOW: (failures.SDKError, 400),
            Failure.RATE_LIMIT: (failures.SDKError, 429),
            Failure.SERVER_ERROR: (failures.SDKError, 500),
            Failure.OVERLOADED: (failures.SDKError, 503),
        }
    )
    broken = failures.ResponseValidationError
    attempts = 1
    wish: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def create(self, client: Any, *, stream: bool) -> Any:
        return self.method(client.chat, "stream" if stream else "complete")

    async def listen(self, client: Any, turns: Sequence[Any], **more: Any) -> AsyncIterator[Any]:
        async for event in super().listen(client, turns, **more):
            yield event.data

    def said(self, message: Any) -> tuple[str, str]:
        parts = message.content or ""
        if isinstance(parts, str):
            return parts, ""
        thoughts = [thought.text for part in parts if part.type == "thinking" for thought in part.thinking]
        return "".join(part.text for part in parts if part.type == "text"), "".join(thoughts)

    async def parse(self, client: Any, kind: type[Any]) -> Any:
        parse = self.method(client.chat, "parse")
        answer = await value(parse(kind, model=MODEL, messages=self.question, max_tokens=LIMIT))
        return answer.choices[0].message.parsed


class TestEmbeddings(Mistral, EmbeddingSuite):
    """``embeddings.create``."""

    async def embed(self, client: Any, texts: Sequence[str]) -> Any:
        return await value(self.method(client.embeddings, "create")(model=MODEL, inputs=texts))


class TestFim(Mistral):
    """``fim``, which fills in the middle and is answered as a chat."""

    api = "openai.chat"

    async def test_middle(self, *, kind: str, streamed: bool, provider: Begin) -> None:
        """The text, its end and its usage are what was written."""
        server = provider(self.provider_name)
        server.answers = [ANSWER]
        async with self.open(kind, server) as client:
            fill = self.method(client.fim, "stream" if streamed else "complete")
            answer = await value(fill(model=MODEL, prompt="Ça", suffix="bien.", max_tokens=LIMIT))
            documents = [event.data async for event in items(answer)] if streamed else [answer]
        choices = [choice for document in documents for choice in document.choices]
        texts = [(choice.delta if streamed else choice.message).content for choice in choices]
        assert "".join(text for text in texts if text) == "Ça va bien."
        assert (choices[-1].finish_reason, documents[-1].usage.total_tokens) == ("stop", 1200)
        assert [request.api for request in server.asked] == [self.api]
