"""The SDK ``ollama``."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from kinds import items, opened, value
from pytest_llmtelemetry import CallFacts, EventLog, FinishReason, RequestFacts, Usage
from pytest_llmtelemetry.wire.dialect import Failure
from suite import ANSWER, LIMIT, MODEL, PARAMETERS, Begin, Heard, Suite, stated


ollama: Any = pytest.importorskip("ollama")

OPTIONS = {"num_predict": LIMIT}


class TestChat(Suite):
    """``chat``."""

    provider_name = "ollama"
    api = "ollama.chat"
    usage: ClassVar[Any] = {"prompt_eval_count": 1000, "eval_count": 200}
    taken = Usage.checked(input_tokens=1000, output_tokens=200)
    # A tool call is no reason to finish here.
    finishes: ClassVar[Any] = {
        FinishReason.STOP: "stop",
        FinishReason.LENGTH: "length",
        FinishReason.TOOL_CALLS: "stop",
    }
    errors: ClassVar[Any] = {
        Failure.BAD_REQUEST: (ollama.ResponseError, 400),
        Failure.AUTH: (ollama.ResponseError, 401),
        Failure.NOT_FOUND: (ollama.ResponseError, 404),
        Failure.CONTEXT_WINDOW: (ollama.ResponseError, 400),
        Failure.RATE_LIMIT: (ollama.ResponseError, 429),
        Failure.SERVER_ERROR: (ollama.ResponseError, 500),
        Failure.OVERLOADED: (ollama.ResponseError, 503),
    }
    broken = ollama.ResponseError
    attempts = 1
    question: ClassVar[Any] = [{"role": "user", "content": "Comment ça va ?"}]
    offer: ClassVar[Any] = MappingProxyType(
        {"tools": [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]}
    )

    def make(self, kind: str, url: str) -> Any:
        return (ollama.AsyncClient if kind == "async" else ollama.Client)(host=url)

    async def ask(self, client: Any, turns: Sequence[Any], **more: Any) -> Any:
        return await value(client.chat(model=MODEL, messages=turns, options=OPTIONS, **more))

    async def listen(self, client: Any, turns: Sequence[Any], **more: Any) -> AsyncIterator[Any]:
        stream = await value(client.chat(model=MODEL, messages=turns, options=OPTIONS, stream=True, **more))
        async for part in items(stream):
            yield part

    def hear(self, answer: Any) -> Heard:
        return self.hear_pieces([answer])

    def hear_pieces(self, pieces: Sequence[Any]) -> Heard:
        said = [self.said(part) for part in pieces]
        *begun, last = pieces
        assert not any(part.done for part in begun)
        return Heard(
            id=None,
            model=last.model,
            pieces=tuple(words for words, _, _ in said if words),
            reasoning="".join(thoughts for _, thoughts, _ in said),
            tools=tuple(
                (None, call.function.name, dict(call.function.arguments)) for *_, tools in said for call in tools
            ),
            finish=last.done_reason,
            usage={name: count for name, count in stated(last).items() if name in self.usage},
        )

    def said(self, part: Any) -> tuple[str, str, Sequence[Any]]:
        """The words, the thoughts and the tool calls of a part."""
        message = part.message
        return message.content, message.thinking or "", message.tool_calls or ()

    def follow_up(self, answer: Any) -> Sequence[Any]:
        calls = answer.message.tool_calls
        results = [{"role": "tool", "tool_name": call.function.name, "content": "Il pleut."} for call in calls]
        return [answer.message, *results]

    def expected(self, facts: CallFacts, *, streamed: bool) -> Heard:
        heard = super().expected(facts, streamed=streamed)
        return replace(heard, id=None, tools=tuple((None, name, given) for _, name, given in heard.tools))

    async def test_structured_output(self, kind: str, provider: Begin) -> None:
        """A schema is sent, and the words are an instance of it."""
        server = provider("ollama")
        server.answers = [replace(ANSWER, text='{"city": "Rome", "days": 2}')]
        async with self.open(kind, server) as client:
            answer = await self.ask(client, self.question, format=PARAMETERS)
        assert json.loads(self.said(answer)[0]) == {"city": "Rome", "days": 2}
        assert server.asked[0].body["format"] == PARAMETERS


class TestGenerate(TestChat):
    """``generate``."""

    api = "ollama.generate"
    offer: ClassVar[Any] = MappingProxyType({})

    async def ask(self, client: Any, turns: Sequence[Any], **more: Any) -> Any:
        return await value(client.generate(model=MODEL, prompt=turns[0]["content"], options=OPTIONS, **more))

    async def listen(self, client: Any, turns: Sequence[Any], **more: Any) -> AsyncIterator[Any]:
        prompt = turns[0]["content"]
        stream = await value(client.generate(model=MODEL, prompt=prompt, options=OPTIONS, stream=True, **more))
        async for part in items(stream):
            yield part

    def said(self, part: Any) -> tuple[str, str, Sequence[Any]]:
        return part.response, part.thinking or "", ()

    def expected(self, facts: CallFacts, *, streamed: bool) -> Heard:
        return replace(super().expected(facts, streamed=streamed), tools=())

    # The SDK has no way to offer a tool here, nor to tell its result.
    test_tool_results: ClassVar[Any] = None


async def test_embeddings(kind: str, provider: Begin, llm_events: EventLog) -> None:
    """One vector for each text, with what they took."""
    server = provider("ollama")
    usage = Usage.checked(input_tokens=8, output_tokens=0)
    server.answers = [CallFacts(model=MODEL, vectors=((0.5, -0.25), (1.0, 0.0)), usage=usage)]
    async with opened(TestChat().make(kind, server.url), kind) as client:
        answer = await value(client.embed(model=MODEL, input=["Paris", "Rome"]))
    assert (answer.model, answer.prompt_eval_count) == (MODEL, 8)
    assert answer.embeddings == [[0.5, -0.25], [1.0, 0.0]]
    assert server.asked == [RequestFacts(api="ollama.embed", provider="ollama", model=MODEL)]
    assert [(call.model, call.usage) for call in llm_events.calls] == [(MODEL, usage)]


async def test_the_older_embeddings(kind: str, provider: Begin, llm_events: EventLog) -> None:
    """One vector for one prompt, and no word of what it took."""
    server = provider("ollama")
    server.answers = [CallFacts(vectors=((0.5, -0.25),), usage=Usage.checked(input_tokens=8, output_tokens=0))]
    async with opened(TestChat().make(kind, server.url), kind) as client:
        answer = await value(client.embeddings(model=MODEL, prompt="Paris"))
    assert answer.embedding == [0.5, -0.25]
    assert server.asked == [RequestFacts(api="ollama.embed", provider="ollama", model=MODEL)]
    assert [(call.model, call.usage) for call in llm_events.calls] == [(MODEL, None)]
