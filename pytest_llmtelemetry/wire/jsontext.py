"""JSON as it comes from the outside: never trusted, never the cause of an exception."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any


def load_object(data: bytes | str) -> dict[str, Any] | None:
    """Parse a JSON object, or return ``None``. Numbers with a fraction are exact ``Decimal``.

    ``NaN`` and ``Infinity`` are not JSON, but the SDKs read on, and so does this.
    """
    try:
        value = json.loads(data, parse_float=Decimal, parse_constant=Decimal)
    except (ValueError, RecursionError, ArithmeticError):
        return None
    return value if isinstance(value, dict) else None


def dump(value: object) -> str:
    """Write compact JSON; a ``Decimal`` keeps all its digits."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{dump(str(key))}:{dump(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(dump, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def mapping(value: object) -> Mapping[str, Any]:
    """``value`` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> list[Mapping[str, Any]]:
    """The JSON objects in ``value`` if it is a list, else nothing."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: object) -> str | None:
    """``value`` if it is a non-empty string."""
    return value if isinstance(value, str) and value else None


def money(value: object) -> Decimal | None:
    """An amount that a provider stated, if it is a number that is not negative and that makes sense."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    amount = Decimal(value)
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
        self.doubts.append(f"{'.'.join(path)} is {str(value)[:20]!r}")
        return None


# More tokens, or dollars, than all providers take in a year; a sum of such numbers would mean nothing.
_ABSURD = 10**15
# Less than any token costs. 1e-999999999 is a number too, and would be printed with all its zeros.
_TINY = Decimal("1e-18")
