"""The SDK ``groq``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from chats import ChatSuite, errors_of
from kinds import value
from suite import MODEL, Caller, EmbeddingSuite


groq: Any = pytest.importorskip("groq")


class Groq(Caller):
    """At Groq."""

    provider_name = "groq"

    def make(self, kind: str, url: str) -> Any:
        return (groq.AsyncGroq if kind == "async" else groq.Groq)(base_url=url, api_key="gsk-test")


class TestChat(Groq, ChatSuite):
    """``chat.completions``."""

    reasoning = "reasoning"
    errors: ClassVar[Any] = errors_of(groq)
    broken = groq.APIError

    def create(self, client: Any, *, stream: bool) -> Any:
        return client.chat.completions.create

    def usage_of(self, chunk: Any) -> Any:
        return chunk.x_groq and chunk.x_groq.usage


class TestEmbeddings(Groq, EmbeddingSuite):
    """``embeddings``."""

    async def embed(self, client: Any, texts: Sequence[str]) -> Any:
        return await value(client.embeddings.create(model=MODEL, input=texts))
