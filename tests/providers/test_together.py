"""The SDK ``together``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from chats import ChatSuite, errors_of
from kinds import items, value
from suite import ANSWER, LIMIT, MODEL, Begin, Caller, EmbeddingSuite


together: Any = pytest.importorskip("together")


class Together(Caller):
    """At Together."""

    provider_name = "together"

    def make(self, kind: str, url: str) -> Any:
        return (together.AsyncTogether if kind == "async" else together.Together)(base_url=url, api_key="test")


class TestChat(Together, ChatSuite):
    """``chat.completions``."""

    reasoning = "reasoning"
    errors: ClassVar[Any] = errors_of(together)
    broken = together.APIError

    def create(self, client: Any, *, stream: bool) -> Any:
        return client.chat.completions.create


class TestEmbeddings(Together, EmbeddingSuite):
    """``embeddings``."""

    async def embed(self, client: Any, texts: Sequence[str]) -> Any:
        return await value(client.embeddings.create(model=MODEL, input=texts))


class TestCompletions(Together):
    """``completions``."""

    api = "openai.completions"

    async def test_completion(self, *, kind: str, streamed: bool, provider: Begin) -> None:
        """The text, its end and its usage are what was written."""
        server = provider(self.provider_name)
        server.answers = [ANSWER]
        async with self.open(kind, server) as client:
            answer = await value(
                client.completions.create(model=MODEL, prompt="Ça va ?", max_tokens=LIMIT, stream=streamed)
            )
            documents = [chunk async for chunk in items(answer)] if streamed else [answer]
        choices = [choice for document in documents for choice in document.choices]
        assert "".join(choice.text for choice in choices) == "Ça va bien."
        assert choices[-1].finish_reason == "stop"
        assert documents[-1].usage.total_tokens == 1200
        assert server.asked == [self.request(stream=streamed, limit=LIMIT)]
