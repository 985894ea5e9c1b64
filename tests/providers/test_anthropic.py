"""The SDK ``anthropic``: its own service, and the clouds that host it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from kinds import items, opened, value
from pytest_llmtelemetry import EventLog
from pytest_llmtelemetry.facts import FinishReason, Usage
from pytest_llmtelemetry.wire.dialect import Failure
from suite import ANSWER, ANSWERS, LIMIT, MODEL, PARAMETERS, Begin, Heard, Structured, Suite, arguments, stated


anthropic: Any = pytest.importorskip("anthropic")

ERRORS = {
    Failure.BAD_REQUEST: (anthropic.BadRequestError, 400),
    Failure.AUTH: (anthropic.AuthenticationError, 401),
    Failure.NOT_FOUND: (anthropic.NotFoundError, 404),
    Failure.CONTEXT_WINDOW: (anthropic.BadRequestError, 400),
    Failure.RATE_LIMIT: (anthropic.RateLimitError, 429),
    Failure.SERVER_ERROR: (anthropic.InternalServerError, 500),
    Failure.OVERLOADED: (anthropic.OverloadedError, 529),
}


class MessagesSuite(Suite, Structured):
    """``messages``, wherever it is."""

    api = "anthropic.messages"
    finishes: ClassVar[Mapping[FinishReason, str]] = MappingProxyType(
        {FinishReason.STOP: "end_turn", FinishReason.LENGTH: "max_tokens", FinishReason.TOOL_CALLS: "tool_use"}
    )
    # Anthropic counts what was cached beside the input.
    usage: ClassVar[object] = MappingProxyType(
        {
            "input_tokens": 400,
            "cache_read_input_tokens": 600,
            "output_tokens": 200,
            "output_tokens_details": {"thinking_tokens": 50},
        }
    )
    errors: ClassVar[Any] = ERRORS
    broken = anthropic.APIStatusError
    question: ClassVar[Sequence[Any]] = [{"role": "user", "content": "Comment ça va ?"}]
    offer: ClassVar[Mapping[str, Any]] = MappingProxyType({"tools": [{"name": "weather", "input_schema": PARAMETERS}]})

    async def ask(self, client: Any, turns: Sequence[Any], **more: Any) -> Any:
        return await value(client.messages.create(model=MODEL, messages=turns, max_tokens=LIMIT, **more))

    async def listen(self, client: Any, turns: Sequence[Any], **more: Any) -> AsyncIterator[Any]:
        async for event in items(await self.ask(client, turns, stream=True, **more)):
            yield event

    def hear(self, answer: Any) -> Heard:
        return Heard(
            id=answer.id,
            model=answer.model,
            pieces=tuple(block.text for block in answer.content if block.type == "text"),
            reasoning="".join(block.thinking for block in answer.content if block.type == "thinking"),
            tools=tuple((block.id, block.name, block.input) for block in answer.content if block.type == "tool_use"),
            finish=answer.stop_reason,
            usage=stated(answer.usage),
        )

    def hear_pieces(self, pieces: Sequence[Any]) -> Heard:
        (begun,) = [event.message for event in pieces if event.type == "message_start"]
        end = next((event for event in pieces if event.type == "message_delta"), None)
        blocks = {event.index: event.content_block for event in pieces if event.type == "content_block_start"}
        deltas = [(event.index, event.delta) for event in pieces if event.type == "content_block_delta"]
        return Heard(
            id=begun.id,
            model=begun.model,
            pieces=tuple(delta.text for _, delta in deltas if delta.type == "text_delta"),
            reasoning="".join(delta.thinking for _, delta in deltas if delta.type == "thinking_delta"),
            tools=tuple(
                (block.id, block.name, arguments("".join(delta.partial_json for at, delta in deltas if at == index)))
                for index, block in blocks.items()
                if block.type == "tool_use"
            ),
            finish=end and end.delta.stop_reason,
            usage=stated(end and end.usage),
        )

    def follow_up(self, answer: Any) -> Sequence[Any]:
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "Il pleut."}
            for block in answer.content
            if block.type == "tool_use"
        ]
        return [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]

    async def parse(self, client: Any, kind: type[Any]) -> Any:
        asked = {"model": MODEL, "messages": self.question, "max_tokens": LIMIT, "output_format": kind}
        return (await value(client.messages.parse(**asked))).parsed_output

    async def test_cache_writes(self, *, kind: str, streamed: bool, provider: Begin, llm_events: EventLog) -> None:
        """What was cached for five minutes and for an hour stands apart."""
        usage = Usage.checked(
            input_tokens=1000, output_tokens=200, cache_read_tokens=0, cache_write_tokens=300, cache_write_1h_tokens=100
        )
        server = provider(self.provider_name)
        server.answers = [replace(ANSWER, usage=usage)]
        async with self.open(kind, server) as client:
            if streamed:
                (begun, *_) = [event async for event in self.listen(client, self.question)]
                said = stated(begun.message.usage)
            else:
                said = stated((await self.ask(client, self.question)).usage)
        assert said == {
            "input_tokens": 700,
            "cache_creation_input_tokens": 300,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 100},
            "output_tokens": 1 if streamed else 200,  # the real count comes at the end
        }
        assert [call.usage for call in llm_events.calls] == [usage]

    @pytest.mark.parametrize("case", ANSWERS)
    async def test_helper(self, kind: str, case: str, provider: Begin) -> None:
        """``stream()`` puts together the answer that ``create()`` gives."""
        server = provider(self.provider_name)
        server.answers = [ANSWERS[case]]
        asked = {"model": MODEL, "messages": self.question, "max_tokens": LIMIT}
        async with (
            self.open(kind, server) as client,
            opened(client.messages.stream(**asked), kind) as stream,
        ):
            text = [piece async for piece in items(stream.text_stream)]
            message = await value(stream.get_final_message())
        assert "".join(text) == ANSWERS[case].text
        assert self.hear(message) == self.expected(ANSWERS[case], streamed=False)


class TestMessages(MessagesSuite):
    """At Anthropic."""

    provider_name = "anthropic"

    def make(self, kind: str, url: str) -> Any:
        return (anthropic.AsyncAnthropic if kind == "async" else anthropic.Anthropic)(base_url=url, api_key="sk-test")


class TestBedrock(MessagesSuite):
    """In AWS's frames, and with AWS's errors."""

    provider_name = "bedrock"
    api = "bedrock.invoke"
    errors: ClassVar[Any] = ERRORS | {
        Failure.AUTH: (anthropic.PermissionDeniedError, 403),
        Failure.OVERLOADED: (anthropic.ServiceUnavailableError, 503),
    }

    def make(self, kind: str, url: str) -> Any:
        pytest.importorskip("boto3")
        clients = {"sync": anthropic.AnthropicBedrock, "async": anthropic.AsyncAnthropicBedrock}
        return clients[kind](base_url=url, aws_access_key="AKIATEST", aws_secret_key="test", aws_region="eu-west-1")


class TestVertex(MessagesSuite):
    """At Google's Vertex."""

    provider_name = "vertex"

    def make(self, kind: str, url: str) -> Any:
        pytest.importorskip("google.auth")
        clients = {"sync": anthropic.AnthropicVertex, "async": anthropic.AsyncAnthropicVertex}
        return clients[kind](base_url=f"{url}/v1", access_token="test", project_id="p", region="europe-west1")


class TestFoundry(MessagesSuite):
    """At Azure's Foundry."""

    provider_name = "azure"

    def make(self, kind: str, url: str) -> Any:
        clients = {"sync": anthropic.AnthropicFoundry, "async": anthropic.AsyncAnthropicFoundry}
        return clients[kind](base_url=f"{url}/anthropic/", api_key="test")
