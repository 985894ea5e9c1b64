"""The SDK ``cohere``, whose older clients speak an API of their own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from kinds import items, opened, value
from polyglot import Broken
from pytest_llmtelemetry import CallFacts, EventLog, FinishReason, RequestFacts, Usage
from pytest_llmtelemetry.wire.dialect import Failure, Fault
from suite import ANSWER, LIMIT, MODEL, PARAMETERS, Begin, Heard, Suite, arguments, stated


cohere: Any = pytest.importorskip("cohere")

SCHEMA = {"type": "json_object", "schema": PARAMETERS}


class TestChat(Suite):
    """``ClientV2.chat`` and ``chat_stream``."""

    provider_name = "cohere"
    version = "V2"
    api = "cohere.v2.chat"
    usage: ClassVar[Any] = {
        "tokens": {"input_tokens": 1000.0, "output_tokens": 200.0, "reasoning_tokens": 50},
        "cached_tokens": 600.0,
    }
    finishes: ClassVar[Any] = {
        FinishReason.STOP: "COMPLETE",
        FinishReason.LENGTH: "MAX_TOKENS",
        FinishReason.TOOL_CALLS: "TOOL_CALL",
    }
    stream_attempts = 1
    errors: ClassVar[Any] = {
        Failure.BAD_REQUEST: (cohere.BadRequestError, 400),
        Failure.AUTH: (cohere.UnauthorizedError, 401),
        Failure.NOT_FOUND: (cohere.NotFoundError, 404),
        Failure.CONTEXT_WINDOW: (cohere.BadRequestError, 400),
        Failure.RATE_LIMIT: (cohere.TooManyRequestsError, 429),
        Failure.SERVER_ERROR: (cohere.InternalServerError, 500),
        Failure.OVERLOADED: (cohere.ServiceUnavailableError, 503),
    }
    question: ClassVar[Any] = [{"role": "user", "content": "Comment ça va ?"}]
    offer: ClassVar[Any] = MappingProxyType(
        {"tools": [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]}
    )

    def make(self, kind: str, url: str) -> Any:
        maker = getattr(cohere, ("AsyncClient" if kind == "async" else "Client") + self.version)
        return maker("co-test", base_url=url)

    def arguments_for(self, turns: Sequence[Any]) -> Mapping[str, Any]:
        """What says the turns."""
        return {"messages": turns}

    async def ask(self, client: Any, turns: Sequence[Any], **more: Any) -> Any:
        return await value(client.chat(model=MODEL, max_tokens=LIMIT, **self.arguments_for(turns), **more))

    async def listen(self, client: Any, turns: Sequence[Any], **more: Any) -> AsyncIterator[Any]:
        stream = client.chat_stream(model=MODEL, max_tokens=LIMIT, **self.arguments_for(turns), **more)
        async for event in items(stream):
            yield event

    def hear(self, answer: Any) -> Heard:
        said = answer.message
        return Heard(
            id=answer.id,
            model=None,
            pieces=tuple(part.text for part in said.content or () if part.type == "text"),
            reasoning="".join(part.thinking for part in said.content or () if part.type == "thinking"),
            tools=tuple(
                (call.id, call.function.name, arguments(call.function.arguments)) for call in said.tool_calls or ()
            ),
            finish=answer.finish_reason,
            usage=stated(answer.usage),
        )

    def hear_pieces(self, pieces: Sequence[Any]) -> Heard:
        first, *rest, last = pieces
        assert (first.type, last.type) == ("message-start", "message-end")
        said = [event.delta.message.content for event in rest if event.type == "content-delta"]
        calls: list[list[str]] = []
        for event in rest:
            if event.type == "tool-call-start":
                call = event.delta.message.tool_calls
                calls.append([call.id, call.function.name, call.function.arguments])
            elif event.type == "tool-call-delta":
                calls[event.index][2] += event.delta.message.tool_calls.function.arguments
        return Heard(
            id=first.id,
            model=None,
            pieces=tuple(part.text for part in said if part.text),
            reasoning="".join(part.thinking or "" for part in said),
            tools=tuple((identity, name, arguments(given)) for identity, name, given in calls),
            finish=last.delta.finish_reason,
            usage=stated(last.delta.usage),
        )

    def follow_up(self, answer: Any) -> Sequence[Any]:
        calls = answer.message.tool_calls
        results = [{"role": "tool", "tool_call_id": call.id, "content": "Il pleut."} for call in calls]
        return [answer.message, *results]

    def expected(self, facts: CallFacts, *, streamed: bool) -> Heard:
        return replace(super().expected(facts, streamed=streamed), model=None)

    async def test_broken_stream(self, kind: str, provider: Begin) -> None:
        """The SDK raises nothing: that it failed is the reason why the answer ended."""
        server = provider("cohere")
        server.answers = [Broken(fault=Fault(kind=Failure.OVERLOADED), facts=ANSWER)]
        async with self.open(kind, server) as client:
            heard = await self.heard(client, streamed=True)
        assert (heard.pieces, heard.finish, heard.usage) == (("Ça ", "va ", "bien."), "ERROR", None)

    async def test_structured_output(self, kind: str, provider: Begin) -> None:
        """A schema is sent, and the words are an instance of it."""
        server = provider("cohere")
        server.answers = [replace(ANSWER, text='{"city": "Rome", "days": 2}')]
        async with self.open(kind, server) as client:
            heard = await self.heard(client, streamed=False, response_format=SCHEMA)
        assert json.loads("".join(heard.pieces)) == {"city": "Rome", "days": 2}
        assert server.asked[0].body["response_format"] == SCHEMA


class TestOlderChat(TestChat):
    """``Client.chat`` and ``chat_stream``."""

    version = ""
    api = "cohere.v1.chat"
    # A tool call is a complete answer here.
    finishes: ClassVar[Any] = {**TestChat.finishes, FinishReason.TOOL_CALLS: "COMPLETE"}
    question: ClassVar[Any] = [{"message": "Comment ça va ?"}]
    offer: ClassVar[Any] = MappingProxyType(
        {
            "tools": [
                {
                    "name": "weather",
                    "description": "The weather in a city.",
                    "parameter_definitions": {"city": {"type": "str", "required": True}},
                }
            ]
        }
    )

    def arguments_for(self, turns: Sequence[Any]) -> Mapping[str, Any]:
        return {name: said for turn in turns for name, said in turn.items()}

    def hear(self, answer: Any) -> Heard:
        return Heard(
            id=answer.generation_id,
            model=None,
            pieces=(answer.text,) if answer.text else (),
            tools=tuple((None, call.name, call.parameters) for call in answer.tool_calls or ()),
            finish=answer.finish_reason,
            usage={name: counts for name, counts in stated(answer.meta).items() if name in self.usage},
        )

    def hear_pieces(self, pieces: Sequence[Any]) -> Heard:
        first, *rest, last = pieces
        assert (first.event_type, last.event_type) == ("stream-start", "stream-end")
        said = tuple(event.text for event in rest if event.event_type == "text-generation")
        whole = self.hear(last.response)
        assert (whole.id, "".join(whole.pieces), whole.finish) == (
            first.generation_id,
            "".join(said),
            last.finish_reason,
        )
        calls = [call for event in rest if event.event_type == "tool-calls-generation" for call in event.tool_calls]
        assert calls == (last.response.tool_calls or [])
        return replace(whole, pieces=said)

    def follow_up(self, answer: Any) -> Sequence[Any]:
        results = [{"call": call, "outputs": [{"weather": "Il pleut."}]} for call in answer.tool_calls]
        return [{"tool_results": results, "force_single_step": True}]

    def expected(self, facts: CallFacts, *, streamed: bool) -> Heard:
        """This API names no tool call, and has no words for thoughts."""
        heard = super().expected(facts, streamed=streamed)
        return replace(heard, reasoning="", tools=tuple((None, name, given) for _, name, given in heard.tools))

    async def test_broken_stream(self, kind: str, provider: Begin) -> None:
        """The SDK raises nothing: that it failed is the reason why the answer ended."""
        server = provider("cohere")
        server.answers = [Broken(fault=Fault(kind=Failure.OVERLOADED), facts=ANSWER)]
        async with self.open(kind, server) as client:
            _, *said, last = [event async for event in self.listen(client, self.question)]
        assert [event.text for event in said] == ["Ça ", "va ", "bien."]
        assert (last.event_type, last.finish_reason, last.response) == ("stream-end", "ERROR", None)


# The SDK merges what its older client was answered in ways that pydantic has given up.
@pytest.mark.filterwarnings("ignore:Accessing the 'model_fields' attribute:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The `parse_obj` method:DeprecationWarning")
@pytest.mark.parametrize("version", ["V2", ""], ids=["v2", "v1"])
async def test_embeddings(kind: str, version: str, provider: Begin, llm_events: EventLog) -> None:
    """One vector for each text, by its type, with what is billed."""
    server = provider("cohere")
    usage = Usage.checked(input_tokens=8, output_tokens=0)
    server.answers = [CallFacts(id="answer-1", vectors=((0.5, -0.25), (1.0, 0.0)), usage=usage)]
    suite = TestChat() if version else TestOlderChat()
    async with opened(suite.make(kind, server.url), kind) as client:
        answer = await value(
            client.embed(model=MODEL, texts=["Paris", "Rome"], input_type="search_query", embedding_types=["float"])
        )
    assert (answer.id, answer.texts) == ("answer-1", ["Paris", "Rome"])
    assert answer.embeddings.float_ == [[0.5, -0.25], [1.0, 0.0]]
    assert answer.meta.billed_units.input_tokens == 8
    api = f"cohere.{version.lower() or 'v1'}.embed"
    assert server.asked == [RequestFacts(api=api, provider="cohere", model=MODEL)]
    assert [(call.model, call.usage) for call in llm_events.calls] == [(MODEL, usage)]


async def test_the_older_embeddings(kind: str, provider: Begin) -> None:
    """Without a type, they are a list."""
    server = provider("cohere")
    server.answers = [CallFacts(vectors=((0.5, -0.25), (1.0, 0.0)))]
    async with opened(TestOlderChat().make(kind, server.url), kind) as client:
        answer = await value(client.embed(model=MODEL, texts=["Paris", "Rome"], input_type="search_query"))
    assert (answer.id, answer.embeddings) == ("", [[0.5, -0.25], [1.0, 0.0]])
