"""The SDK ``openrouter``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from chats import ChatSuite
from kinds import value
from polyglot import Broken
from pytest_llmtelemetry import EventLog
from pytest_llmtelemetry.wire.dialect import Failure, Fault
from responses_suite import ResponsesSuite
from suite import ANSWER, MODEL, Begin, Caller, EmbeddingSuite, stated


openrouter: Any = pytest.importorskip("openrouter")
failures: Any = pytest.importorskip("openrouter.errors")
utils: Any = pytest.importorskip("openrouter.utils")


class OpenRouter(Caller):
    """At OpenRouter, without the hour in which its SDK tries again."""

    provider_name = "openrouter"

    def make(self, kind: str, url: str) -> Any:
        once = utils.RetryConfig("none", utils.BackoffStrategy(1, 1, 1, 1), retry_connection_errors=False)
        return openrouter.OpenRouter(server_url=url, api_key="sk-or-test", retry_config=once)


class TestChat(OpenRouter, ChatSuite):
    """``chat.send``."""

    reasoning = "reasoning"
    errors: ClassVar[Any] = MappingProxyType(
        {
            Failure.BAD_REQUEST: (failures.BadRequestResponseError, 400),
            Failure.AUTH: (failures.UnauthorizedResponseError, 401),
            Failure.NOT_FOUND: (failures.NotFoundResponseError, 404),
            Failure.CONTEXT_WINDOW: (failures.BadRequestResponseError, 400),
            Failure.RATE_LIMIT: (failures.TooManyRequestsResponseError, 429),
            Failure.SERVER_ERROR: (failures.InternalServerResponseError, 500),
            Failure.OVERLOADED: (failures.ServiceUnavailableResponseError, 503),
        }
    )
    attempts = 1

    def create(self, client: Any, *, stream: bool) -> Any:
        return client.chat.send_async if self.kind == "async" else client.chat.send

    async def test_broken_stream(self, kind: str, provider: Begin) -> None:
        """The SDK gives the error in the last chunk of a stream, and raises nothing."""
        server = provider(self.provider_name)
        server.answers = [Broken(fault=Fault(kind=Failure.OVERLOADED), facts=ANSWER)]
        async with self.open(kind, server) as client:
            chunks = [chunk async for chunk in self.listen(client, self.question)]
        heard = self.hear_pieces(chunks)
        assert (heard.pieces, heard.finish) == (("Ça ", "va ", "bien."), "error")
        assert [chunk.error.code for chunk in chunks if chunk.error] == [503]

    async def test_cost(self, *, kind: str, streamed: bool, provider: Begin, llm_events: EventLog) -> None:
        """The cost that was stated is what the SDK says, and what is captured."""
        server = provider(self.provider_name)
        server.answers = [replace(ANSWER, stated_cost_usd=Decimal("0.0125"))]
        async with self.open(kind, server) as client:
            heard = await self.heard(client, streamed=streamed)
        assert heard.usage["cost"] == 0.0125
        assert [call.cost_usd for call in llm_events.calls] == [Decimal("0.0125")]


class TestResponses(OpenRouter, ResponsesSuite):
    """``responses.send``."""

    errors: ClassVar[Any] = TestChat.errors
    attempts = 1

    def create(self, client: Any) -> Any:
        return client.responses.send_async if self.kind == "async" else client.responses.send

    def follow_up(self, answer: Any) -> Sequence[Any]:
        # The SDK does not take back its own objects.
        return [turn if isinstance(turn, dict) else stated(turn) for turn in super().follow_up(answer)]

    async def test_broken_stream(self, kind: str, provider: Begin) -> None:
        """The SDK gives the error as the last event of a stream, and raises nothing."""
        server = provider(self.provider_name)
        server.answers = [Broken(fault=Fault(kind=Failure.OVERLOADED), facts=ANSWER)]
        async with self.open(kind, server) as client:
            *events, last = [event async for event in self.listen(client, self.question)]
        assert self.hear_pieces(events).pieces == ("Ça ", "va ", "bien.")
        assert (last.type, last.code) == ("error", "503")


class TestEmbeddings(OpenRouter, EmbeddingSuite):
    """``embeddings.generate``."""

    async def embed(self, client: Any, texts: Sequence[str]) -> Any:
        generate = client.embeddings.generate_async if self.kind == "async" else client.embeddings.generate
        return await value(generate(model=MODEL, input=texts))
