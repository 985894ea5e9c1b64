"""A circuit breaker: who fails too often is left alone for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from migration.shared import CircuitOpenError, RejectedError, TransientError
from pytest_llmtelemetry.telemetry import circuit_breaker_state_changed


CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"

T = TypeVar("T")


class CircuitBreaker:
    """Opens after some failures in a row; after a while it lets calls through, and the first to end decides."""

    def __init__(
        self, name: str, *, clock: Callable[[], float], max_failures: int = 3, reset_after_s: float = 30
    ) -> None:
        self.name = name
        self.state = CLOSED
        self._clock = clock
        self._max_failures = max_failures
        self._reset_after_s = reset_after_s
        self._failures = 0
        self._opened_at = 0.0
        self._lock = threading.RLock()

    def call(self, fn: Callable[[], T]) -> T:
        """Call ``fn``, unless the circuit is open.

        Raises:
            CircuitOpenError: it is.
        """
        self._admit()
        try:
            result = fn()
        except TransientError:
            self._failed()
            raise
        except RejectedError:  # it answers, and that is all that is asked here
            self._answered()
            raise
        self._answered()
        return result

    def _admit(self) -> None:
        with self._lock:
            if self.state != OPEN:
                return
            if self._clock() - self._opened_at < self._reset_after_s:
                raise CircuitOpenError(f"{self.name} failed {self._failures} times in a row, and is left alone")
            self._change(HALF_OPEN)

    def _failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= self._max_failures:  # half open, it is one more
                self._opened_at = self._clock()
                self._change(OPEN)

    def _answered(self) -> None:
        with self._lock:
            self._failures = 0
            self._change(CLOSED)

    def _change(self, state: str) -> None:
        if state == self.state:
            return
        circuit_breaker_state_changed(self.name, self.state, state)
        self.state = state
