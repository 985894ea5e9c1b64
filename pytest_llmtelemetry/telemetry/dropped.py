"""What finalisers leave behind: they may run in any thread, at any time, and must not lock, emit or raise."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


_left: deque[Callable[[], None]] = deque()

leave = _left.append
"""Have something done later; safe in a finaliser."""


def collect() -> None:
    """Do what was left. Called by whoever reads events."""
    while _left:
        try:
            finish = _left.popleft()
        except IndexError:
            return  # another thread was faster
        finish()
