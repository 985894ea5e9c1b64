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
from pytest_llmtelemetry.telemetry import bus, words
from pytest_llmtelemetry.wire.jsontext import money


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
    holder = _first(result, "usage", "usage_metadata", "usageMetadata", "meta")
    usage = _plain(result, words.OLLAMA_KEYS) if holder is None else _plain(holder, words.USAGE_KEYS)
    return ResultFacts(
        id=_text(_first(result, "id", "response_id", "responseId")),
        model=_text(_first(result, "model", "model_version", "modelVersion")),
        usage=words.read_usage(usage) if isinstance(usage, dict) else None,
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
    choices = _first(result, "choices", "candidates")
    places = [
        result,
        look(result, "delta"),  # Anthropic's events
        look(result, "response_metadata"),  # LangChain
        *(choices if isinstance(choices, list | tuple) else ()),
    ]
    said = [_text(_first(place, *_FINISH_KEYS)) for place in places]
    if (reason := _text(look(look(result, "incomplete_details"), "reason"))) is not None:  # OpenAI's responses
        said.append(f"incomplete:{reason}")
    found = [words.finish_reason(word) for word in said if word is not None]
    # Any choice that was cut makes the answer a cut one.
    return FinishReason.LENGTH if FinishReason.LENGTH in found else next(iter(found), None)


_FINISH_KEYS = ("finish_reason", "stop_reason", "finishReason", "stopReason", "done_reason")

# -- usage ---------------------------------------------------------------------------------

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
            # Cohere's SDK makes floats of all counts.
            value = int(value) if value.is_integer() and abs(value) < 2**_WIDEST else _exact(value)
        elif isinstance(value, int) and value.bit_length() > _WIDEST:
            value = Decimal(value)  # an int that long cannot even be printed
        if isinstance(value, int | Decimal | str | dict):
            found[key] = value
    return found or None


# -- cost ----------------------------------------------------------------------------------


def _read_cost(result: object, usage: Mapping[str, Any]) -> Decimal | None:
    cost = look(result, "cost")
    hidden = look(result, "_hidden_params")  # LiteLLM
    stated: tuple[Callable[[], Decimal | None], ...] = (
        lambda: amount(look(result, "cost_usd")),
        lambda: amount(cost),
        lambda: amount(_first(cost, "total_cost", "total_usd", "total")),
        lambda: cents(look(cost, "total_cents")),
        lambda: words.read_cost(usage),
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
    # The spelling of the wire occurs in documents only; objects have Python's.
    spelled = keys if isinstance(thing, Mapping) else filter(str.islower, keys)
    return next((value for key in spelled if (value := look(thing, key)) is not None), None)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
