"""What a result says of the call that made it: its usage, its cost, why it ended, whether it failed.

A result may be an SDK's response, a pydantic model, a dataclass, a mapping, an object of
the application, or nothing at all. It is only looked at: no method is called, and an
attribute that cannot be read says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pytest_llmtelemetry.facts import FinishReason, Usage
from pytest_llmtelemetry.money import MONEY
from pytest_llmtelemetry.redaction import scrub
from pytest_llmtelemetry.telemetry import bus
from pytest_llmtelemetry.wire import anthropic_messages, openai_chat
from pytest_llmtelemetry.wire.jsontext import Counts, money


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFacts:
    """What a result states. ``None`` is not stated."""

    id: str | None = None
    model: str | None = None
    usage: Usage | None = None
    cost_usd: Decimal | None = None
    finish_reason: FinishReason | None = None
    service_tier: str | None = None
    error: str | None = None
    """What went wrong, of a result that says it failed."""

    @property
    def says_something(self) -> bool:
        """True if it states what was used or what it cost."""
        return self.usage is not None or self.cost_usd is not None


def read_result(result: object) -> ResultFacts:
    """Read a result of any kind.

    >>> read_result({"usage": {"input_tokens": 10, "output_tokens": 5}, "cost": 0.0036}).cost_usd
    Decimal('0.0036')
    >>> read_result(None)
    ResultFacts(id=None, model=None, usage=None, cost_usd=None, finish_reason=None, service_tier=None, error=None)
    """
    if result is None or isinstance(result, str | bytes | int | float):
        return ResultFacts()
    usage = _plain(_first(result, "usage", "usage_metadata"), _USAGE_KEYS)
    return ResultFacts(
        id=_text(look(result, "id")),
        model=_text(look(result, "model")),
        usage=_read_usage(usage) if isinstance(usage, dict) else None,
        cost_usd=_read_cost(result, usage if isinstance(usage, dict) else {}),
        finish_reason=finish_reason(result),
        service_tier=_text(look(result, "service_tier")),
        error=_read_error(look(result, "error")),
    )


def look(thing: object, key: str) -> Any:
    """The value under a key of a mapping, or an attribute; ``None`` if there is none, or it cannot be read."""
    try:
        return thing.get(key) if isinstance(thing, Mapping) else getattr(thing, key, None)
    except Exception:  # noqa: BLE001 - a property of the application's own
        return None


def finish_reason(result: object) -> FinishReason | None:
    """Why the model stopped, of an answer or of a piece of a streamed one."""
    choices = look(result, "choices")
    places = [
        result,
        look(result, "delta"),  # Anthropic's events
        look(result, "response_metadata"),  # LangChain
        *(choices if isinstance(choices, list | tuple) else ()),
    ]
    words = [_text(_first(place, "finish_reason", "stop_reason")) for place in places]
    words.append(_text(look(look(result, "incomplete_details"), "reason")))  # OpenAI's responses
    found = [_FINISH.get(word, FinishReason.UNKNOWN) for word in words if word is not None]
    # Any choice that was cut makes the answer a cut one.
    return FinishReason.LENGTH if FinishReason.LENGTH in found else next(iter(found), None)


_FINISH = {
    **{str(reason): reason for reason in FinishReason},
    **anthropic_messages.FINISH_REASONS,
    **openai_chat.FINISH_REASONS,
    "max_output_tokens": FinishReason.LENGTH,
}

# -- usage ---------------------------------------------------------------------------------

# The words in which OpenAI, Anthropic, LangChain and this package state a usage. Only these are looked at.
_USAGE_KEYS: Mapping[str, Any] = {
    **dict.fromkeys(
        (
            *("prompt_tokens", "completion_tokens", "cost", "cost_in_usd_ticks", "is_byok", "num_cached_tokens"),
            *("prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
            *Usage().counts(),
        )
    ),
    "prompt_tokens_details": {"cached_tokens": None, "cache_write_tokens": None},
    "completion_tokens_details": {"reasoning_tokens": None},
    "input_tokens_details": {"cached_tokens": None},
    "output_tokens_details": {"reasoning_tokens": None, "thinking_tokens": None},
    "input_token_details": {"cache_read": None, "cache_creation": None},
    "output_token_details": {"reasoning": None},
    "cache_creation": {"ephemeral_1h_input_tokens": None},
    "cost_details": {"upstream_inference_cost": None},
}


_WIDEST = 64
"""Bits of a number that anybody means."""


def _plain(thing: object, keys: Mapping[str, Any]) -> object:
    """The part of ``thing`` under these keys, as dicts and numbers."""
    if thing is None:
        return None
    found: dict[str, object] = {}
    for key, below in keys.items():
        value = look(thing, key)
        if below is not None:
            value = _plain(value, below)
        elif isinstance(value, float):
            value = _exact(value)
        elif isinstance(value, int) and value.bit_length() > _WIDEST:
            value = Decimal(value)  # an int that long cannot even be printed
        if isinstance(value, int | Decimal | str | dict):
            found[key] = value
    return found or None


def _read_usage(source: Mapping[str, Any]) -> Usage | None:
    if "prompt_tokens" in source or "completion_tokens" in source:
        return openai_chat.read_usage(source)
    if "cache_read_input_tokens" in source or "cache_creation_input_tokens" in source:
        return anthropic_messages.read_usage(source)
    count = Counts(source)
    counts = {name: count(name) for name in Usage().counts()}
    for name, path in _ELSEWHERE:
        if counts[name] is None:
            counts[name] = count(*path)
    if all(value is None for value in counts.values()) and not count.doubts:
        return None
    return Usage.checked(doubts=count.doubts, **counts)


_ELSEWHERE = (
    ("cache_read_tokens", ("input_tokens_details", "cached_tokens")),
    ("cache_read_tokens", ("input_token_details", "cache_read")),
    ("cache_write_tokens", ("input_token_details", "cache_creation")),
    ("cache_write_1h_tokens", ("cache_creation", "ephemeral_1h_input_tokens")),
    ("reasoning_tokens", ("output_tokens_details", "reasoning_tokens")),
    ("reasoning_tokens", ("output_token_details", "reasoning")),
)

# -- cost ----------------------------------------------------------------------------------


def _read_cost(result: object, usage: Mapping[str, Any]) -> Decimal | None:
    cost = look(result, "cost")
    hidden = look(result, "_hidden_params")  # LiteLLM
    stated: tuple[Callable[[], Decimal | None], ...] = (
        lambda: amount(look(result, "cost_usd")),
        lambda: amount(cost),
        lambda: amount(_first(cost, "total_cost", "total_usd", "total")),
        lambda: cents(look(cost, "total_cents")),
        lambda: openai_chat.read_cost(usage),
        lambda: amount(look(hidden, "response_cost")),
    )
    return next((found for read in stated if (found := read()) is not None), None)


def amount(value: object) -> Decimal | None:
    """An amount of money, exact; ``None`` for what is no number, whatever its class says, not finite or negative.

    >>> amount(0.1), amount("0.0036"), amount(float("nan")), amount(-1), amount(True)
    (Decimal('0.1'), Decimal('0.0036'), None, None, None)
    """
    try:
        number = _exact(value) if isinstance(value, float) else value
        return money(Decimal(number) if isinstance(number, str) else number)
    except (ArithmeticError, TypeError, ValueError):
        return None


def _exact(value: float) -> Decimal:
    # As it is written. Not by repr(): numpy's floats are floats, and write more than the number.
    return Decimal(float.__repr__(value))


def cents(value: object) -> Decimal | None:
    """Cents as dollars."""
    stated = amount(value)
    return None if stated is None else MONEY.divide(stated, Decimal(100))


# -- the rest ------------------------------------------------------------------------------

_LONGEST_ERROR, _LONGEST_SCRUBBED = 200, 10_000


def _read_error(error: object) -> str | None:
    is_empty = isinstance(error, str | int | list | tuple | dict) and not error
    if error is None or is_empty or callable(error):
        return None  # a callable is a method of that name, or an attribute of a mock
    if error is True:
        return "error"
    said = (_word(part) for part in (error, *(look(error, key) for key in ("code", "type", "message"))))
    kind = bus.qualified_name(error) if isinstance(error, BaseException) else type(error).__name__
    word = next((word for word in said if word is not None), kind)
    return scrub(word[:_LONGEST_SCRUBBED])[:_LONGEST_ERROR]  # no credential is that long, but a page may be


def _word(value: object) -> str | None:
    """A text, or a number such as an HTTP status."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= _WIDEST:
        return str(value)
    return _text(value)


def _first(thing: object, *keys: str) -> Any:
    return next((value for key in keys if (value := look(thing, key)) is not None), None)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
