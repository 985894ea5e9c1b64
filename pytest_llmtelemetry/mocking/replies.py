"""What a mock says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

from pytest_llmtelemetry.errors import MockError
from pytest_llmtelemetry.facts import CallFacts, FinishReason, RequestFacts, ToolCall, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer. What is not given is estimated or copied from the request."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    model: str | None = None
    """``None``: the model that was asked for."""
    input_tokens: int | None = None
    """Includes cached ones. ``None``: estimated from the request."""
    output_tokens: int | None = None
    """``None``: estimated from the answer."""
    cached_tokens: int | None = None
    """Input tokens that are said to come from the prompt cache."""
    cache_write_tokens: int | None = None
    """Input tokens that are said to be written to the prompt cache."""
    reasoning_tokens: int | None = None
    finish_reason: FinishReason | str | None = None
    """``None``: ``tool_calls`` with tool calls, else ``stop``."""
    chunks: Sequence[str] | None = None
    """How a stream cuts the text. ``None``: after each word."""

    def __post_init__(self) -> None:
        """Say what is wrong where it is written, not where it is sent."""
        reasons = [reason.value for reason in FinishReason]
        if self.finish_reason is not None and self.finish_reason not in reasons:
            raise MockError(f"{self.finish_reason!r} is not a finish reason; valid are {', '.join(reasons)}")
        for name in _TOKENS:
            count = getattr(self, name)
            if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
                raise MockError(f"{name}={count!r} is not a number of tokens; give a whole number from 0 up")
        if self.chunks is not None and "".join(self.chunks) != self.text:
            raise MockError(f"chunks={list(self.chunks)!r} do not join to the text {self.text!r}; leave the text out")
        cached = (self.cached_tokens or 0) + (self.cache_write_tokens or 0)
        if self.input_tokens is not None and cached > self.input_tokens:
            raise MockError(f"input_tokens={self.input_tokens} includes cached tokens, but {cached} are cached")

    @property
    def pieces(self) -> tuple[str, ...]:
        """The text as a stream sends it."""
        return tuple(_WORDS.findall(self.text) if self.chunks is None else self.chunks)

    @property
    def is_estimated(self) -> bool:
        """True if the usage is made up."""
        return self.input_tokens is None or self.output_tokens is None

    def facts(self, request: RequestFacts, *, answer_id: str) -> CallFacts:
        """What the answer to ``request`` says."""
        reason = self.finish_reason or (FinishReason.TOOL_CALLS if self.tool_calls else FinishReason.STOP)
        return CallFacts(
            id=answer_id,
            model=self.model or request.model,
            text=self.text,
            tool_calls=tuple(
                ToolCall(name=call.name, arguments=call.arguments, id=call.id or f"call_{answer_id}_{i}")
                for i, call in enumerate(self.tool_calls)
            ),
            usage=self._usage(request),
            finish_reason=FinishReason(reason),
            terminated=True,
        )

    def _usage(self, request: RequestFacts) -> Usage:
        cached = (self.cached_tokens or 0) + (self.cache_write_tokens or 0)
        said = self.text + "".join(call.name + call.arguments for call in self.tool_calls)
        asked = "".join(text for key in _PROMPTS for text in _strings(request.body.get(key)))
        return Usage.checked(
            input_tokens=cached + estimate_tokens(asked) if self.input_tokens is None else self.input_tokens,
            output_tokens=(
                (self.reasoning_tokens or 0) + estimate_tokens(said)
                if self.output_tokens is None
                else self.output_tokens
            ),
            cache_read_tokens=self.cached_tokens,
            cache_write_tokens=self.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens,
        )


_TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
# Where the APIs put what the model is asked.
_PROMPTS = (
    *("system", "instructions", "systemInstruction", "messages", "contents"),
    *("input", "inputs", "prompt", "message", "chat_history", "texts", "inputText", "content"),
)
_WORDS = re.compile(r"\S+\s*|\s+")


class ReplyOptions(TypedDict, total=False):
    """The fields of :class:`Reply` beside its text and its tool calls."""

    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    finish_reason: FinishReason | str | None
    chunks: Sequence[str] | None


def reply(text: str = "", *tool_calls: ToolCall, **options: Unpack[ReplyOptions]) -> Reply:
    """Write a reply with more than text; the options are the fields of :class:`Reply`.

    >>> reply("Paris.", output_tokens=2).pieces
    ('Paris.',)
    """
    chunks = options.get("chunks")
    return Reply(text=text or "".join(chunks or ()), tool_calls=tool_calls, **options)


def tool_call(name: str, arguments: Mapping[str, Any] | str | None = None, *, id: str | None = None) -> ToolCall:  # noqa: A002 - the wire's word
    """Have the model call a tool.

    >>> tool_call("search", {"q": "x"}).arguments
    '{"q": "x"}'
    """
    return ToolCall(
        name=name, arguments=arguments if isinstance(arguments, str) else json.dumps(arguments or {}), id=id
    )


def estimate_tokens(text: str) -> int:
    """A plausible number of tokens: one for four characters, and never none."""
    return len(text) // 4 + 1


def _strings(value: object) -> list[str]:
    """Every text of a message, in order; the keys and the short words beside it do not count."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    if isinstance(value, dict):
        return [text for key in ("text", "content", "parts") for text in _strings(value.get(key))]
    return []
