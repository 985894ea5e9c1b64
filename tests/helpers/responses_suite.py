"""SDKs whose objects are shaped like OpenAI's responses."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

from kinds import items, value
from pytest_llmtelemetry.facts import FinishReason
from suite import LIMIT, MODEL, PARAMETERS, Heard, Suite, arguments, stated


class ResponsesSuite(Suite):
    """The tests of one such SDK."""

    api = "openai.responses"
    finishes: ClassVar[Mapping[FinishReason, str]] = MappingProxyType(
        {
            FinishReason.STOP: "completed",
            FinishReason.LENGTH: "incomplete: max_output_tokens",
            FinishReason.TOOL_CALLS: "completed",
        }
    )
    usage: ClassVar[object] = MappingProxyType(
        {
            "input_tokens": 1000,
            "input_tokens_details": {"cached_tokens": 600},
            "output_tokens": 200,
            "output_tokens_details": {"reasoning_tokens": 50},
            "total_tokens": 1200,
        }
    )
    question: ClassVar[Sequence[Any]] = [{"role": "user", "content": "Comment ça va ?"}]
    offer: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"tools": [{"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": False}]}
    )

    @abstractmethod
    def create(self, client: Any) -> Any:
        """The method that asks."""

    async def ask(self, client: Any, turns: Sequence[Any], **more: Any) -> Any:
        return await value(self.create(client)(model=MODEL, input=turns, max_output_tokens=LIMIT, **more))

    async def listen(self, client: Any, turns: Sequence[Any], **more: Any) -> AsyncIterator[Any]:
        async for event in items(await self.ask(client, turns, stream=True, **more)):
            yield event

    def hear(self, answer: Any) -> Heard:
        cut = answer.incomplete_details
        text = "".join(part.text for item in answer.output if item.type == "message" for part in item.content)
        thoughts = [part.text for item in answer.output if item.type == "reasoning" for part in item.summary]
        return Heard(
            id=answer.id,
            model=answer.model,
            pieces=(text,) if text else (),
            reasoning="".join(thoughts),
            tools=tuple(
                (item.call_id, item.name, arguments(item.arguments))
                for item in answer.output
                if item.type == "function_call"
            ),
            finish=f"{answer.status}: {cut.reason}" if cut else answer.status,
            usage=stated(answer.usage),
        )

    def hear_pieces(self, pieces: Sequence[Any]) -> Heard:
        head = next(event for event in reversed(pieces) if hasattr(event, "response"))
        text = tuple(event.delta for event in pieces if event.type == "response.output_text.delta")
        thoughts = [event.delta for event in pieces if event.type == "response.reasoning_summary_text.delta"]
        begun = [event.item for event in pieces if event.type == "response.output_item.added"]
        calls = {item.id: (item.call_id, item.name, "") for item in begun if item.type == "function_call"}
        for event in pieces:
            if event.type == "response.function_call_arguments.delta":
                *who, said = calls[event.item_id]
                calls[event.item_id] = (*who, said + event.delta)
        tools = tuple((id_, name, arguments(said)) for id_, name, said in calls.values())
        return replace(self.hear(head.response), pieces=text, reasoning="".join(thoughts), tools=tools)

    def follow_up(self, answer: Any) -> Sequence[Any]:
        calls = [item for item in answer.output if item.type == "function_call"]
        results = [{"type": "function_call_output", "call_id": call.call_id, "output": "Il pleut."} for call in calls]
        return [*answer.output, *results]
