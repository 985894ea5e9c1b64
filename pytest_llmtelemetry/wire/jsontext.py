"""JSON as it comes from the outside: never trusted, never the cause of an exception."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def load_object(data: bytes | str) -> dict[str, Any] | None:
    """Parse a JSON object, or return ``None``. Numbers with a fraction are exact ``Decimal``."""
    try:
        value = json.loads(data, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError, ArithmeticError):
        return None
    return value if isinstance(value, dict) else None


def dump(value: object) -> str:
    """Write compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


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
    """An amount that a provider stated, if it is a finite number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    amount = Decimal(value)
    return amount if amount.is_finite() and amount >= 0 else None


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


# More tokens than all providers produce in a year; a sum of such numbers would mean nothing.
_ABSURD = 10**15
