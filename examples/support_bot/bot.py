"""The conversation: ask the model, do what it asks for, tell it what came of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from openai.types.chat import (
    ChatCompletionAssistantMessageParam,
    ChatCompletionMessageFunctionToolCall,
    ChatCompletionMessageParam,
)
from openai.types.chat.chat_completion import Choice

from support_bot.desk import DESCRIPTIONS, Desk
from support_bot.settings import CUT, INSTRUCTIONS, MAX_OUTPUT_TOKENS, MODEL, client


MAX_ROUNDS = 4
"""How often the model may use tools before it has to answer."""
HANDED_OVER = "I have passed this on to a colleague, who will write to you today."


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the customer reads."""

    text: str
    truncated: bool = False
    """The model ran into its limit; the text ends in the middle."""
    handed_over: bool = False
    """A human has to take it from here."""


class SupportBot:
    """One conversation with one customer."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._messages: list[ChatCompletionMessageParam] = [{"role": "system", "content": INSTRUCTIONS}]

    def ask(self, question: str) -> Answer:
        """Answer a message of the customer."""
        self._messages.append({"role": "user", "content": question})
        for _ in range(MAX_ROUNDS):
            choice = self._complete()
            calls = [call for call in choice.message.tool_calls or () if call.type == "function"]
            if not calls:
                return self._answer(choice)
            if self._use_tools(calls):
                break
        return self._hand_over()

    def _complete(self) -> Choice:
        completion = client.chat.completions.create(
            model=MODEL, messages=self._messages, tools=DESCRIPTIONS, max_completion_tokens=MAX_OUTPUT_TOKENS
        )
        return completion.choices[0]

    def _use_tools(self, calls: Sequence[ChatCompletionMessageFunctionToolCall]) -> bool:
        """Run the tools, and say whether a human is needed. Each call gets its result, as the API demands."""
        outcomes = [self._desk.use(call.function.name, call.function.arguments) for call in calls]
        self._messages.append(_as_param(calls))
        for call, outcome in zip(calls, outcomes, strict=True):
            self._messages.append({"role": "tool", "tool_call_id": call.id, "content": outcome.text})
        return any(outcome.needs_human for outcome in outcomes)

    def _answer(self, choice: Choice) -> Answer:
        text, truncated = choice.message.content or "", choice.finish_reason == "length"
        self._messages.append({"role": "assistant", "content": text})
        return Answer(text=text + CUT if truncated else text, truncated=truncated)

    def _hand_over(self) -> Answer:
        self._messages.append({"role": "assistant", "content": HANDED_OVER})
        return Answer(text=HANDED_OVER, handed_over=True)


def _as_param(calls: Sequence[ChatCompletionMessageFunctionToolCall]) -> ChatCompletionAssistantMessageParam:
    return {
        "role": "assistant",
        "tool_calls": [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for call in calls
        ],
    }
