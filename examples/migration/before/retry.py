"""Another try, after a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from migration.shared import TransientError


ATTEMPTS = 3
FIRST_DELAY_S = 0.5

T = TypeVar("T")


def with_retries(fn: Callable[[], T], *, sleep: Callable[[float], None]) -> T:
    """Call ``fn`` until it answers, up to three times; the waits are the provider's, or double each time."""
    attempt = 1
    while True:
        try:
            return fn()
        except TransientError as error:
            if attempt == ATTEMPTS:
                raise
            delay_s = FIRST_DELAY_S * 2 ** (attempt - 1) if error.retry_after_s is None else error.retry_after_s
            attempt += 1
            sleep(delay_s)
