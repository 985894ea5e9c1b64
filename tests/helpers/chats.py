"""SDKs whose objects are shaped like OpenAI's chat completions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from kinds import items, value
from pytest_llmtelemetry.facts import FinishReason
from pytest_llmtelemetry.wire.dialect import Failure
from suite import LIMIT, MODEL, PARAMETERS, Heard, Suite, arguments, stated


def errors_of(sdk: Any) -> Mapping[Failure, tuple[type[Exception], int]]:
    """What is raised by SDKs whose errors are named as OpenAI's SDK names them."""
    return {
        Failure.BAD_REQUEST: (sdk.BadRequestError, 400),
        Failure.AUTH: (sdk.AuthenticationError, 401),
        Failure.NOT_FOUND: (sdk.NotFoundError, 404),
        Failure.CONTEXT_WINDOW: (sdk.BadRequestError, 400),
        Failure.RATE_LIMIT: (sdk.RateLimitError, 429),
        Failure.SERVER_ERROR: (sdk.InternalServerError, 500),
        Failure.OVERLOADED: (sdk.InternalServerError, 503),
    }


class ChatSuite(Suite):
    """The tests of one such SDK."""

    api = "openai.chat"
    finishes: ClassVar[Mapping[FinishReason, str]] = MappingProxyType(
        {FinishReason.STOP: "stop", FinishReason.LENGTH: "length", FinishReason.TOOL_CALLS: "tool_calls"}
    )
    usage: ClassVar[object] = {
        "prompt_tokens": 1000,
        "completion_tokens": 200,
        "total_tokens": 1200,
        "prompt_tokens_details": {"cached_tokens": 600},
        "completion_tokens_details": {"reasoning_tokens": 50},
    }
    reasoning: ClassVar[str] = "reasoning_content"
    """Where the model's thoughts stand."""
    question: ClassVar[Sequence[Any]] = [{"role": "user", "content": "Comment ça va ?"}]
    offer: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"tools": [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]}
    )
    wish: ClassVar[Mapping[str, Any]] = MappingProxyType({"stream": True})
    """The arguments that ask for a stream with its usage."""

    @abstractmethod
    def create(self, client: Any, *, stream: bool) -> Any:
        """The method that asks."""

    async def ask(self, client: Any, turns: Sequence[Any], **more: Any) -> Any:
        return await value(self.create(client, stream=False)(model=MODEL, messages=turns, max_tokens=LIMIT, **more))

    async def listen(self, client: Any, turns: Sequence[Any], **more: Any) -> AsyncIterator[Any]:
        more = {**self.wish, **more}
        stream = await value(self.create(client, stream=True)(model=MODEL, messages=turns, max_tokens=LIMIT, **more))
        async for chunk in items(stream):
            yield chunk

    def hear(self, answer: Any) -> Heard:
        (choice,) = answer.choices
        said = choice.message
        return Heard(
            id=answer.id,
            model=answer.model,
            pieces=(text,) if (text := self.said(said)[0]) else (),
            reasoning=self.said(said)[1],
            tools=tuple(
                (call.id, call.function.name, arguments(call.function.arguments)) for call in said.tool_calls or ()
            ),
            finish=choice.finish_reason,
            usage=stated(answer.usage),
        )

    def hear_pieces(self, pieces: Sequence[Any]) -> Heard:
        choices = [choice for chunk in pieces for choice in chunk.choices]
        said = [choice.delta for choice in choices]
        calls: dict[int, dict[str, str]] = {}
        for part in (part for delta in said for part in delta.tool_calls or ()):
            call = calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
            call["id"] += part.id or ""
            call["name"] += part.function.name or ""
            call["arguments"] += part.function.arguments or ""
        return Heard(
            id=pieces[0].id,
            model=pieces[0].model,
            pieces=tuple(text for text, _ in map(self.said, said) if text),
            reasoning="".join(thought for _, thought in map(self.said, said)),
            tools=tuple((call["id"], call["name"], arguments(call["arguments"])) for _, call in sorted(calls.items())),
            finish=next((choice.finish_reason for choice in choices if choice.finish_reason), None),
            usage=next((stated(usage) for chunk in pieces if (usage := self.usage_of(chunk))), None),
        )

    def said(self, message: Any) -> tuple[str, str]:
        """The text and the thoughts of a message, or of a part of one."""
        return message.content or "", getattr(message, self.reasoning, None) or ""

    def usage_of(self, chunk: Any) -> Any:
        """The usage in a chunk of a stream."""
        return getattr(chunk, "usage", None)

    def follow_up(self, answer: Any) -> Sequence[Any]:
        said = answer.choices[0].message
        results = [{"role": "tool", "tool_call_id": call.id, "content": "Il pleut."} for call in said.tool_calls]
        return [said, *results]
