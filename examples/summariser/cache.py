"""Summaries that were made before. The one place where this application speaks of itself."""

from __future__ import annotations

from contextlib import suppress


class SummaryCache:
    """Summaries, by a key that stands for everything that led to them."""

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}

    def look_up(self, key: str) -> str | None:
        """The summary under ``key``, if there is one."""
        found = self._kept.get(key)
        _announce("miss" if found is None else "hit", key)
        return found

    def keep(self, key: str, summary: str) -> None:
        """Remember a summary."""
        self._kept[key] = summary


def _announce(outcome: str, key: str) -> None:
    """Tell whoever listens; where the test dependencies are not installed, nobody does."""
    with suppress(ImportError):
        from pytest_llmtelemetry.telemetry import execute  # noqa: PLC0415 - optional

        execute(f"llm.cache.lookup.{outcome}", {}, {"key": key})
