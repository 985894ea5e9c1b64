"""What holds for every SDK: it understands what a dialect writes, and the dialect understands what it asks.

A module of ``tests/providers`` subclasses :class:`Suite`, and says how its SDK is called and what its words are.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, is_dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from kinds import opened
from polyglot import Broken, Polyglot
from pytest_llmtelemetry import EventLog
from pytest_llmtelemetry.facts import CallFacts, FinishReason, RequestFacts, ToolCall, Usage
from pytest_llmtelemetry.wire.dialect import Failure, Fault


Begin = Callable[[str], Polyglot]
"""The fixture ``provider``."""

MODEL = "model-1"
LIMIT = 300
"""Output tokens that are asked for at most."""
ANSWER = CallFacts(
    id="answer-1",
    model=MODEL,
    text="Ça va bien.",
    usage=Usage.checked(input_tokens=1000, output_tokens=200, cache_read_tokens=600, reasoning_tokens=50),
    finish_reason=FinishReason.STOP,
)
ANSWERS = {
    "answer": ANSWER,
    "cut short": replace(ANSWER, finish_reason=FinishReason.LENGTH),
    "thoughts": replace(ANSWER, reasoning="They greet me."),
    "tools": replace(
        ANSWER,
        text="",
        tool_calls=(
            ToolCall(id="call-1", name="weather", arguments='{"city": "Orléans"}'),
            ToolCall(id="call-2", name="weather", arguments='{"city": "Rome", "days": 2}'),
        ),
        finish_reason=FinishReason.TOOL_CALLS,
    ),
}

FORECAST = replace(ANSWER, text='{"city": "Orléans", "days": 2}')
VECTORS = CallFacts(
    model=MODEL,
    vectors=((0.5, -0.25, 1.0), (0.125, 0.0, -2.0)),
    usage=Usage.checked(input_tokens=9, output_tokens=0),
)

# What the tool "weather" takes.
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What an SDK's own objects say."""

    id: str | None
    model: str | None
    pieces: tuple[str, ...] = ()
    """The text, as it came."""
    reasoning: str = ""
    tools: tuple[tuple[str | None, str, object], ...] = ()
    """Id, name and arguments of each call."""
    finish: str | None
    """In the provider's word."""
    usage: Any
    """In the provider's words, without what is ``None``."""


def arguments(stated: object) -> object:
    """The arguments of a tool, whether the SDK has parsed them or not."""
    return json.loads(stated) if isinstance(stated, str) else stated


def stated(value: Any) -> Any:
    """An SDK's object as plain data, without what is ``None`` or was not sent."""
    if value is None:
        return None
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", exclude_unset=True, exclude_none=True, warnings=False)
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {name: stated(item) for name, item in value.items() if item is not None}
    return value


async def keep(given: list[Any], pieces: AsyncIterator[Any]) -> None:
    """Put the pieces into a list that stays if an error follows them."""
    async for piece in pieces:
        given.append(piece)  # noqa: PERF401 - a comprehension would lose them


class Caller(ABC):
    """How an SDK is told where to call."""

    provider_name: ClassVar[str]
    api: ClassVar[str]
    model: ClassVar[str] = MODEL
    """Whom it asks."""
    kind: str
    """Of the client that is in use."""

    @abstractmethod
    def make(self, kind: str, url: str) -> Any:
        """A client of ``kind`` ``sync`` or ``async``."""

    def open(self, kind: str, server: Polyglot) -> AbstractAsyncContextManager[Any]:
        """A client for the time of a ``with``."""
        self.kind = kind
        return opened(self.make(kind, server.url), kind)

    def request(self, *, stream: bool = False, tools: tuple[str, ...] = (), limit: int | None = None) -> RequestFacts:
        """What a request must be read as."""
        return RequestFacts(
            api=self.api, provider=self.provider_name, model=self.model, stream=stream, max_tokens=limit, tools=tools
        )


class Suite(Caller):
    """The tests of one API of one SDK that generates text."""

    usage: ClassVar[object]
    """That of ``ANSWER``, in the SDK's words."""
    taken: ClassVar[Usage | None] = ANSWER.usage
    """What of it the provider has words for."""
    finishes: ClassVar[Mapping[FinishReason, str]]
    errors: ClassVar[Mapping[Failure, tuple[type[Exception], int]]]
    """What the SDK raises, and its status."""
    broken: ClassVar[type[Exception]]
    """What it raises on an error in the middle of a stream."""
    streams: ClassVar[bool] = True
    """False if the SDK cannot read the provider's own streams."""
    attempts: ClassVar[int] = 3
    """How often it tries if it may help to try again."""
    stream_attempts: ClassVar[int | None] = None
    """The same for a stream, if it is another number."""
    question: ClassVar[Sequence[Any]]
    """One turn."""
    offer: ClassVar[Mapping[str, Any]]
    """The arguments that offer the tool ``weather``."""

    # -- how the SDK is called -----------------------------------------------------------------

    @abstractmethod
    async def ask(self, client: Any, turns: Sequence[Any], **more: Any) -> Any:
        """The SDK's answer."""

    @abstractmethod
    def listen(self, client: Any, turns: Sequence[Any], **more: Any) -> AsyncIterator[Any]:
        """The pieces of the SDK's streamed answer, with usage."""

    @abstractmethod
    def hear(self, answer: Any) -> Heard:
        """What an answer says."""

    @abstractmethod
    def hear_pieces(self, pieces: Sequence[Any]) -> Heard:
        """What the pieces of an answer say."""

    @abstractmethod
    def follow_up(self, answer: Any) -> Sequence[Any]:
        """The turns after an answer that called tools: the answer itself, and the tools' results."""

    def expected(self, facts: CallFacts, *, streamed: bool) -> Heard:
        """What the SDK's objects must say."""
        text = ("Ça ", "va ", "bien.") if streamed else ("Ça va bien.",)
        return Heard(
            id=facts.id,
            model=facts.model,
            pieces=text if facts.text else (),
            reasoning=facts.reasoning,
            tools=tuple((call.id, call.name, json.loads(call.arguments)) for call in facts.tool_calls),
            finish=self.finishes[facts.finish_reason or FinishReason.UNKNOWN],
            usage=self.usage,
        )

    def status(self, error: Any) -> int:
        """The status that an exception carries."""
        return int(error.status_code)

    async def heard(self, client: Any, *, streamed: bool, turns: Sequence[Any] | None = None, **more: Any) -> Heard:
        """What the SDK says if it is asked either way."""
        turns = self.question if turns is None else turns
        if streamed:
            return self.hear_pieces([piece async for piece in self.listen(client, turns, **more)])
        return self.hear(await self.ask(client, turns, **more))

    # -- what must hold ------------------------------------------------------------------------

    @pytest.mark.parametrize("case", ANSWERS)
    async def test_answer(self, *, kind: str, case: str, streamed: bool, provider: Begin) -> None:
        """The SDK's objects say what was written, and its request is read as it was asked."""
        server = provider(self.provider_name)
        server.answers = [ANSWERS[case]]
        async with self.open(kind, server) as client:
            heard = await self.heard(client, streamed=streamed)
            assert heard == self.expected(ANSWERS[case], streamed=streamed)
        assert server.asked == [self.request(stream=streamed, limit=LIMIT)]

    async def test_tool_results(self, *, kind: str, streamed: bool, provider: Begin) -> None:
        """What the model called is sent back with its result, and answered."""
        server = provider(self.provider_name)
        server.answers = [ANSWERS["tools"], ANSWER]
        async with self.open(kind, server) as client:
            called = await self.ask(client, self.question, **self.offer)
            turns = [*self.question, *self.follow_up(called)]
            heard = await self.heard(client, streamed=streamed, turns=turns, **self.offer)
            assert heard == self.expected(ANSWER, streamed=streamed)
        assert server.asked == [
            self.request(stream=stream, tools=("weather",), limit=LIMIT) for stream in (False, streamed)
        ]

    @pytest.mark.parametrize("failure", Failure)
    async def test_failure(self, *, kind: str, failure: Failure, streamed: bool, provider: Begin) -> None:
        """The SDK raises what it has for the failure, after as many attempts as it makes."""
        server = provider(self.provider_name)
        server.answers = [Fault(kind=failure, retry_after_s=0.001)]
        expected, status = self.errors[failure]
        async with self.open(kind, server) as client:
            with pytest.raises(expected) as caught:
                await self.heard(client, streamed=streamed)
            assert (type(caught.value), self.status(caught.value)) == (expected, status)
        passing = failure in {Failure.RATE_LIMIT, Failure.SERVER_ERROR, Failure.OVERLOADED}
        attempts = (self.stream_attempts or self.attempts) if streamed else self.attempts
        assert len(server.asked) == (attempts if passing else 1)

    async def test_broken_stream(self, kind: str, provider: Begin) -> None:
        """The SDK gives what came before the error in a stream, and then raises."""
        server = provider(self.provider_name)
        server.answers = [Broken(fault=Fault(kind=Failure.OVERLOADED), facts=ANSWER)]
        given: list[Any] = []
        async with self.open(kind, server) as client:
            with pytest.raises(self.broken) as caught:
                await keep(given, self.listen(client, self.question))
            assert type(caught.value) is self.broken
        assert self.hear_pieces(given).pieces == ("Ça ", "va ", "bien.")

    async def test_captured(self, *, kind: str, streamed: bool, provider: Begin, llm_events: EventLog) -> None:
        """What is captured on the way is what was written."""
        server = provider(self.provider_name)
        server.answers = [ANSWERS["tools"]]
        async with self.open(kind, server) as client:
            await self.heard(client, streamed=streamed, **self.offer)
        (call,) = llm_events.calls
        assert (call.provider, call.model, call.usage, call.finish_reason, call.served_by) == (
            self.provider_name,
            MODEL,
            self.taken,
            FinishReason.TOOL_CALLS,
            "live",
        )


class Structured(Caller):
    """The test of an SDK that parses an answer into the type that was asked for."""

    @abstractmethod
    async def parse(self, client: Any, kind: type[Any]) -> Any:
        """The SDK's answer, as an object of ``kind``."""

    async def test_structured(self, kind: str, provider: Begin) -> None:
        """The answer comes as the type that was asked for."""
        forecast = pytest.importorskip("pydantic").create_model("Forecast", city=(str, ...), days=(int, ...))
        server = provider(self.provider_name)
        server.answers = [FORECAST]
        async with self.open(kind, server) as client:
            assert await self.parse(client, forecast) == forecast(city="Orléans", days=2)
        assert server.asked == [self.request(limit=LIMIT)]


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What an SDK's own objects say of embeddings."""

    vectors: Sequence[Sequence[float]]
    model: str | None
    usage: object


class EmbeddingSuite(Caller):
    """The tests of one API of one SDK that embeds texts."""

    api = "openai.embeddings"
    usage: ClassVar[object] = MappingProxyType({"prompt_tokens": 9, "total_tokens": 9})
    """That of ``VECTORS``, in the SDK's words."""
    written: ClassVar[CallFacts] = VECTORS

    @abstractmethod
    async def embed(self, client: Any, texts: Sequence[str]) -> Any:
        """The SDK's answer."""

    def expected(self) -> Embedded:
        """What the SDK's objects must say."""
        return Embedded(vectors=self.written.vectors, model=self.written.model, usage=self.usage)

    def hear(self, answer: Any) -> Embedded:
        """What an answer says."""
        vectors = tuple(tuple(item.embedding) for item in sorted(answer.data, key=lambda item: item.index))
        return Embedded(vectors=vectors, model=answer.model, usage=stated(answer.usage))

    async def test_vectors(self, kind: str, provider: Begin, llm_events: EventLog) -> None:
        """The SDK's objects, and what is captured, say what was written."""
        server = provider(self.provider_name)
        server.answers = [self.written]
        async with self.open(kind, server) as client:
            heard = self.hear(await self.embed(client, ["Orléans", "Rome"][: len(self.written.vectors)]))
        assert heard == self.expected()
        assert server.asked == [self.request()]
        assert [(call.provider, call.model, call.usage) for call in llm_events.calls] == [
            (self.provider_name, self.model, self.written.usage)
        ]
