"""Time and ids: the system's, or a test's own."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where times and span ids come from."""

    def now_ns(self) -> int:
        """A monotonic time in nanoseconds, for durations and windows."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""

    def next_span_id(self) -> int:
        """A number that no open span has."""


class SystemClock:
    """The machine's own. Its functions are bound at import, so that a frozen ``time`` cannot stop it."""

    now_ns = staticmethod(time.perf_counter_ns)
    wall_ns = staticmethod(time.time_ns)

    def __init__(self) -> None:
        self.next_span_id = itertools.count(1).__next__


class FixedClock:
    """Stands still until it is told to advance; span ids are 1, 2, 3.

    >>> clock = FixedClock()
    >>> clock.advance(ms=250)
    >>> clock.now_ns(), clock.next_span_id(), clock.next_span_id()
    (250000000, 1, 2)
    """

    def __init__(self, *, wall_ns: int = 1_767_225_600_000_000_000) -> None:
        self._began_ns = wall_ns  # 2026-01-01, unless another date is wanted
        self._passed_ns = 0
        self._ids: Iterator[int] = itertools.count(1)

    def advance(self, seconds: float = 0, *, ms: float = 0) -> None:
        """Let time pass.

        Raises:
            ValueError: it would run backwards.
        """
        step = round(seconds * 1_000_000_000) + round(ms * 1_000_000)
        if step < 0:
            raise ValueError(f"time does not run backwards: advance({seconds!r}, ms={ms!r})")
        self._passed_ns += step

    def now_ns(self) -> int:
        """Nanoseconds that have passed since the clock was made."""
        return self._passed_ns

    def wall_ns(self) -> int:
        """The fixed date, and what has passed since."""
        return self._began_ns + self._passed_ns

    def next_span_id(self) -> int:
        """1, 2, 3 and so on."""
        return next(self._ids)


_clock: Clock = SystemClock()


def current() -> Clock:
    """The clock that is set now. Who measures a duration keeps to one."""
    return _clock


def now_ns() -> int:
    """The monotonic time in nanoseconds."""
    return _clock.now_ns()


def wall_ns() -> int:
    """Nanoseconds since 1970, UTC."""
    return _clock.wall_ns()


def next_span_id() -> int:
    """The id of a new span."""
    return _clock.next_span_id()


def date_of_prices(_clock: Callable[[], float] = time.time) -> datetime:
    """The real date, whatever clock is set: a test's fixed clock does not change what a call costs."""
    return datetime.fromtimestamp(_clock(), UTC)


def set_clock(clock: Clock) -> Callable[[], None]:
    """Take times and ids from ``clock``, and return a function that undoes it."""
    global _clock
    previous, _clock = _clock, clock

    def undo() -> None:
        global _clock  # noqa: PLW0603 - time is the process's
        _clock = previous

    return undo
