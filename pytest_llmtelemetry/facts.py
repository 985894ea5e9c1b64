"""What is known of one LLM call, in words that no provider owns.

Everything here is frozen and uses the standard library only: a dialect reads bytes
into these values, and writes them back as bytes for a mock. ``None`` always means
"not stated", never zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class FinishReason(StrEnum):
    """Why the model stopped. The provider's own word is kept beside it."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    ERROR = "error"
    UNKNOWN = "unknown"


class Ended(StrEnum):
    """How an answer came to its end, seen from the client."""

    COMPLETE = "complete"
    """The provider said it was done."""
    UNTERMINATED = "unterminated"
    """The bytes ended cleanly, but the provider never said it was done."""
    CLOSED = "closed"
    """The client closed the stream before the end."""
    ABANDONED = "abandoned"
    """The client dropped the stream without closing it."""
    ERROR = "error"
    """The transport failed, or the task was cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call, or of a sum of calls.

    ``input_tokens`` includes cached tokens and ``output_tokens`` includes reasoning,
    for every provider, whatever the wire says.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_tokens: int | None = None
    """Part of the input that was read from the provider's prompt cache."""
    cache_write_tokens: int | None = None
    """Part of the input that was written to the provider's prompt cache."""
    cache_write_1h_tokens: int | None = None
    """Part of ``cache_write_tokens`` that is kept for an hour, at its own price."""
    reasoning_tokens: int | None = None
    """Part of the output that the user does not see."""
    input_audio_tokens: int | None = None
    """Part of the input that is sound, at its own price."""
    input_image_tokens: int | None = None
    """Part of the input that is pictures, at its own price."""
    input_video_tokens: int | None = None
    """Part of the input that is film, at its own price."""
    output_audio_tokens: int | None = None
    """Part of the output that is sound, at its own price."""
    output_image_tokens: int | None = None
    """Part of the output that is pictures, at its own price."""
    output_video_tokens: int | None = None
    """Part of the output that is film, at its own price."""
    cache_audio_read_tokens: int | None = None
    """Part of both ``cache_read_tokens`` and ``input_audio_tokens``."""
    cache_image_read_tokens: int | None = None
    """Part of both ``cache_read_tokens`` and ``input_image_tokens``."""
    cache_video_read_tokens: int | None = None
    """Part of both ``cache_read_tokens`` and ``input_video_tokens``."""
    billed_input_tokens: int | None = None
    """What is paid for, where that is another number than ``input_tokens`` (Cohere)."""
    billed_output_tokens: int | None = None
    """What is paid for, where that is another number than ``output_tokens`` (Cohere)."""
    partial: bool = False
    """More was used than is stated here: some call of a sum, or some step of a call, is not in it."""
    doubts: tuple[str, ...] = ()
    """What does not add up, in words. A doubtful split is dropped; the totals stay."""

    @classmethod
    def checked(cls, *, doubts: Iterable[str] = (), **counts: int | None) -> Usage:
        """Build a usage as a provider stated it, dropping any split that cannot be true."""
        found = list(doubts)
        whole = counts.get("input_tokens")
        read = counts.get("cache_read_tokens") or 0
        written = counts.get("cache_write_tokens") or 0
        if whole is not None and read + written > whole:
            found.append(f"{read + written} cached tokens of {whole} input tokens")
            counts.update(cache_read_tokens=None, cache_write_tokens=None, cache_write_1h_tokens=None)
        elif (counts.get("cache_write_1h_tokens") or 0) > written:
            found.append(f"{counts['cache_write_1h_tokens']} one-hour tokens of {written} cache writes")
            counts.update(cache_write_1h_tokens=None)
        produced = counts.get("output_tokens")
        for part, total, words in _PARTS:
            of = counts.get(total)
            if of is not None and (counts.get(part) or 0) > of:
                found.append(f"{counts[part]} {words.format(of)}")
                counts[part] = None
        if counts.get("total_tokens") is None and whole is not None and produced is not None:
            counts["total_tokens"] = whole + produced
        return replace(cls.of_counts(counts), doubts=tuple(found))

    @classmethod
    def total(cls, usages: Iterable[Usage | None]) -> Usage:
        """Add up what was stated. A field is ``None`` only if nobody stated it."""
        sums: dict[str, int | None] = dict.fromkeys(COUNTS)
        partial = False
        doubts: dict[str, None] = {}
        for usage in usages:
            if usage is None:
                partial = True
                continue
            partial = partial or usage.partial or usage.input_tokens is None or usage.output_tokens is None
            doubts.update(dict.fromkeys(usage.doubts))
            for name in COUNTS:
                stated = getattr(usage, name)
                if stated is not None:
                    sums[name] = (sums[name] or 0) + stated
        return replace(cls.of_counts(sums), partial=partial, doubts=tuple(doubts))

    @classmethod
    def of_counts(cls, counts: Mapping[str, int | None]) -> Usage:
        """The inverse of :meth:`counts`; a count that is missing is ``None``."""
        known: dict[str, Any] = {name: counts.get(name) for name in COUNTS}
        return cls(**known)

    def counts(self) -> dict[str, int | None]:
        """The token counts by name, in a fixed order; of the rarer ones only those that are stated."""
        counts = {name: getattr(self, name) for name in COUNTS}
        return {name: count for name, count in counts.items() if count is not None or name not in _RARE}


MEDIA = ("audio", "image", "video")
"""What tokens may be of, beside text."""

_PARTS = (
    ("reasoning_tokens", "output_tokens", "reasoning tokens of {} output tokens"),
    *((f"input_{medium}_tokens", "input_tokens", f"{medium} tokens of {{}} input tokens") for medium in MEDIA),
    *((f"output_{medium}_tokens", "output_tokens", f"{medium} tokens of {{}} output tokens") for medium in MEDIA),
    *(
        (f"cache_{medium}_read_tokens", "cache_read_tokens", f"cached {medium} tokens of {{}} cached tokens")
        for medium in MEDIA
    ),
)

COUNTS = tuple(f.name for f in fields(Usage) if f.name not in {"partial", "doubts"})
"""The names of the token counts."""

_RARE = frozenset(COUNTS[COUNTS.index("input_audio_tokens") :])


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A function that the model asks for."""

    name: str
    arguments: str = "{}"
    """JSON text, as the model wrote it."""
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """What a request asks for."""

    api: str
    """The wire API, such as ``openai.chat``."""
    provider: str
    """Who answers, such as ``openai``; ``unknown`` for a host that nobody named."""
    model: str | None = None
    stream: bool = False
    wants_usage: bool = True
    """False if the client did not ask a stream for its usage (OpenAI's ``include_usage``)."""
    max_tokens: int | None = None
    """The limit on output tokens that the request sets."""
    tools: tuple[str, ...] = ()
    """Names of the tools that are offered."""
    poll: bool = False
    """It asks for an answer that was begun before, and is counted once however often it is asked for."""
    array: bool = False
    """A streamed answer is to come as one JSON array, as Gemini's does without ``alt=sse``."""
    body: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), compare=False, repr=False)
    """The parsed JSON body, for predicates of mocks. Not kept in events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overflow:
    """A prompt that does not fit the model's context window."""

    tokens: int | None = None
    """Of the prompt, as the provider states it."""
    max_tokens: int | None = None
    """Of the window, as the provider states it."""

    @property
    def exceeded_by(self) -> int | None:
        """The difference, if both are stated."""
        return None if self.tokens is None or self.max_tokens is None else self.tokens - self.max_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """What an answer says. A mock's reply is the same value, written as bytes."""

    id: str | None = None
    model: str | None = None
    text: str = ""
    """What the model says. With a ``REFUSAL`` it is the words of the refusal."""
    reasoning: str = ""
    """What it says to itself, where the provider shows it."""
    tool_calls: tuple[ToolCall, ...] = ()
    vectors: tuple[tuple[float, ...], ...] = field(default=(), repr=False)
    """Embeddings, one for each input."""
    usage: Usage | None = None
    finish_reason: FinishReason | None = None
    raw_finish_reason: str | None = None
    """The provider's own word for the finish reason."""
    service_tier: str | None = None
    """How it was served, in the provider's word, such as ``flex``, ``priority``, ``batch``, ``fast``: a matter of price."""
    stated_cost_usd: Decimal | None = None
    """What the provider says that the call costs, in USD."""
    error_type: str | None = None
    """The provider's word for what went wrong, such as ``rate_limit_error``."""
    overflow: Overflow | None = None
    """The request was refused because its prompt is too long."""
    retry_after_s: float | None = None
    """How long to wait, in seconds, where the body says so and not the headers (Google)."""
    terminated: bool = False
    """The answer reached an end that its API recognises."""
    pending: bool = False
    """The provider works on in the background; what it takes will be stated when somebody asks for the answer."""
    unread_usage: bool = False
    """The body reports usage in a form that this dialect cannot read."""

    def with_model(self, model: str | None) -> CallFacts:
        """The same facts, under ``model`` if the answer named none."""
        return self if self.model is not None else replace(self, model=model)
