"""JSON as it comes from the outside: never trusted, never the cause of an exception."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any


def load_object(data: bytes | str, *, exact: bool = True) -> dict[str, Any] | None:
    """Parse a JSON object, or return ``None``. Numbers with a fraction are ``Decimal``, or ``float`` if not ``exact``.

    ``NaN`` and ``Infinity`` are not JSON, but the SDKs read on, and so does this.
    """
    try:
        value = json.loads(data, parse_float=Decimal if exact else float, parse_constant=Decimal)
    except (ValueError, RecursionError, ArithmeticError):
        return None
    return value if isinstance(value, dict) else None


def dump(value: object) -> str:
    """Write compact JSON; a ``Decimal`` keeps all its digits, and half a surrogate pair is written so that it can be sent."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{dump(str(key))}:{dump(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(dump, value)) + "]"
    return json.dumps(value, ensure_ascii=not isinstance(value, str) or _SURROGATE.search(value) is not None)


_SURROGATE = re.compile("[\ud800-\udfff]")


def arguments_of(given: object) -> str:
    """The arguments of a tool as JSON text; empty if they are nested too deep to be written."""
    try:
        return dump(given)
    except RecursionError:
        return ""  # nobody's tool is called with that; the usage beside it is real


def mapping(value: object) -> Mapping[str, Any]:
    """``value`` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> list[Mapping[str, Any]]:
    """The JSON objects in ``value`` if it is a list, else nothing."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: object) -> str | None:
    """``value`` if it is a non-empty string."""
    return value if isinstance(value, str) and value else None


def count_of(value: object) -> int | None:
    """``value`` if it is a whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def money(value: object) -> Decimal | None:
    """An amount that a provider stated, if it is a number that is not negative and that makes sense."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    amount = Decimal(float.__repr__(value)) if isinstance(value, float) else Decimal(value)
    if not amount.is_finite() or amount < 0 or (amount and not _TINY < amount < _ABSURD):
        return None
    return amount


class Counts:
    """Reads token counts out of an object and keeps note of those that make no sense."""

    def __init__(self, source: Mapping[str, Any]) -> None:
        self._source = source
        self.doubts: list[str] = []

    def __call__(self, *path: str) -> int | None:
        """The count at ``path``; ``None`` if absent, null, or not a whole number from zero up."""
        value: object = self._source
        for key in path:
            value = mapping(value).get(key)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _ABSURD:
            return value
        self.doubts.append(f"{'.'.join(path)} is {_brief(value)}")
        return None


def _brief(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > _PRINTABLE:
        return "a number of more than 4000 digits"
    try:
        return repr(str(value)[:20])
    except RecursionError:
        return "nested too deep to be shown"


_PRINTABLE = 14_000  # bits; Python refuses to print more than 4300 digits


# More tokens, or dollars, than all providers take in a year; a sum of such numbers would mean nothing.
_ABSURD = 10**15
# Less than any token costs. 1e-999999999 is a number too, and would be printed with all its zeros.
_TINY = Decimal("1e-18")
