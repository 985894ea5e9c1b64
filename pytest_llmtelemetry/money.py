"""Amounts of US dollars: exact, read strictly, written for people."""

from __future__ import annotations

import re
from decimal import Context, Decimal, localcontext

from pytest_llmtelemetry.errors import SettingError


MONEY = Context(prec=34)
"""For all arithmetic on amounts: the code under test may have changed the thread's own context."""


def usd(amount: Decimal) -> str:
    """Write an amount for people: cents, and four digits where cents are too coarse.

    >>> usd(Decimal("5")), usd(Decimal("0.0123")), usd(Decimal("0.00000421")), usd(Decimal(0))
    ('$5.00', '$0.0123', '$0.00000421', '$0.00')
    """
    with localcontext(MONEY):
        if amount == 0 or amount >= 1:
            return f"${amount:,.2f}"
        text = f"{amount:.{max(4, 3 - amount.adjusted())}f}".rstrip("0")
        return f"${text}{'0' * (4 - len(text.partition('.')[2]))}"


_AMOUNT = re.compile(r"\$?(\d{1,12}(?:\.\d{1,12})?|\.\d{1,12})", re.ASCII)


def parse_usd(value: object, *, source: str) -> Decimal:
    """Read an amount such as ``5``, ``5.00`` or ``$5.00``.

    Raises:
        SettingError: anything else, with one line that says what is valid.

    >>> parse_usd("$5.00", source="--llm-budget")
    Decimal('5.00')
    """
    match = None if isinstance(value, bool) else _AMOUNT.fullmatch(str(value).strip())
    if match is None:
        raise SettingError(f"{source}: {str(value)!r} is not an amount in USD; write it as 5, 5.00 or $5.00")
    return Decimal(match[1])
