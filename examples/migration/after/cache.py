"""Answers that were given before, for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from pytest_llmtelemetry.telemetry import cache_expired, instrument_cache_lookup, instrument_cache_store


T = TypeVar("T")


class TTLCache(Generic[T]):
    """Values that are forgotten after some seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[str, tuple[T, float]] = {}

    @instrument_cache_lookup(lambda self, key: key)
    def get(self, key: str) -> T | None:
        """The value, unless there is none, or it is too old."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, expires_at = entry
        if self._clock() < expires_at:
            return value
        self._entries.pop(key, None)
        cache_expired(key)
        return None

    def put(self, key: str, value: T, ttl: float) -> None:
        """Keep a value for ``ttl`` seconds."""
        with instrument_cache_store(key, value, ttl):
            self._entries[key] = (value, self._clock() + ttl)
