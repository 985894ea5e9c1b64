"""What could be true, whatever was sent: the least that any reading must give."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from math import isfinite
from typing import Any

from pytest_llmtelemetry.facts import CallFacts, FinishReason, Overflow, RequestFacts, Usage


MOST = 10**16
"""No count is larger: none of more than 15 digits is believed, and a sum has few parts."""

# What values of each kind may be; a subclass is another type.
_KINDS: dict[type, Callable[[Any], bool]] = {
    type(None): lambda value: True,
    str: lambda value: value != "",
    int: lambda value: 0 <= value < MOST,
    float: lambda value: isfinite(value) and value >= 0,
    Decimal: lambda value: value.is_finite() and 0 <= value < MOST,
}


def is_of(kind: type, value: object) -> bool:
    """``value`` is one of its kind that makes sense, or not stated."""
    return type(value) in {kind, type(None)} and _KINDS[type(value)](value)


def is_sound(facts: CallFacts) -> bool:
    """Every fact is of its type, and could be true."""
    usage, overflow = facts.usage or Usage(), facts.overflow or Overflow()
    words = (facts.id, facts.model, facts.raw_finish_reason, facts.service_tier, facts.error_type)
    counts = (*usage.counts().values(), overflow.tokens, overflow.max_tokens)
    said = (facts.text, facts.reasoning, *(part for call in facts.tool_calls for part in (call.name, call.arguments)))
    return (
        all(is_of(str, word) for word in (*words, *(call.id for call in facts.tool_calls)))
        and all(type(text) is str for text in (*said, *usage.doubts))
        and all(is_of(int, count) for count in counts)
        and is_of(Decimal, facts.stated_cost_usd)
        and is_of(float, facts.retry_after_s)
        and all(type(number) is float and isfinite(number) for vector in facts.vectors for number in vector)
        and type(facts.finish_reason) in {FinishReason, type(None)}
        and {type(flag) for flag in (facts.terminated, facts.pending, facts.unread_usage, usage.partial)} == {bool}
    )


def is_sound_request(facts: RequestFacts) -> bool:
    """The same of a request."""
    flags = (facts.stream, facts.wants_usage, facts.poll, facts.array)
    return (
        is_of(str, facts.model)
        and type(facts.max_tokens) in {int, type(None)}
        and all(type(name) is str and name for name in facts.tools)
        and {type(flag) for flag in flags} == {bool}
    )
