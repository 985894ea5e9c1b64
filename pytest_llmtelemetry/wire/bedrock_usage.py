"""Tokens as AWS counts them: in bodies, in headers and in the last chunk of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmtelemetry.facts import CallFacts, Usage
from pytest_llmtelemetry.wire.jsontext import Counts, objects


HEADERS = {
    "inputTokenCount": "x-amzn-bedrock-input-token-count",
    "outputTokenCount": "x-amzn-bedrock-output-token-count",
    "cacheReadInputTokenCount": "x-amzn-bedrock-cache-read-input-token-count",
    "cacheWriteInputTokenCount": "x-amzn-bedrock-cache-write-input-token-count",
}
"""The counts in the last chunk of a stream, and the headers that state them elsewhere."""


def read_usage(source: Mapping[str, Any]) -> Usage | None:
    """Read counts, whose input is only what was neither read from the cache nor written to it."""
    count = Counts(source)

    def either(name: str) -> int | None:
        # Converse says "Tokens", AWS elsewhere "TokenCount", and Claude's and Nova's answers mix both.
        stated = count(f"{name}Tokens")
        return count(f"{name}TokenCount") if stated is None else stated

    fresh, read, written = either("input"), either("cacheReadInput"), either("cacheWriteInput")
    counts = {
        # A part that cannot be read leaves the whole unknown.
        "input_tokens": None if fresh is None or count.doubts else fresh + (read or 0) + (written or 0),
        "output_tokens": either("output"),
        "total_tokens": count("totalTokens"),
        "cache_read_tokens": read,
        "cache_write_tokens": written,
        "cache_write_1h_tokens": _one_hour(source, count.doubts),
    }
    if all(value is None for value in counts.values()) and not count.doubts:
        return None
    return Usage.checked(doubts=count.doubts, **counts)


def _one_hour(source: Mapping[str, Any], doubts: list[str]) -> int | None:
    """The cache writes that are kept for an hour."""
    details = [Counts(entry) for entry in objects(source.get("cacheDetails")) if entry.get("ttl") == "1h"]
    written = [tokens for count in details if (tokens := count("inputTokens")) is not None]
    doubts += [doubt for count in details for doubt in count.doubts]
    return sum(written) if written else None


def write_usage(usage: Usage) -> dict[str, object]:
    """Write counts as Converse does."""
    counts: dict[str, object] = {
        "inputTokens": _fresh(usage),
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "cacheReadInputTokens": usage.cache_read_tokens,
        "cacheWriteInputTokens": usage.cache_write_tokens,
    }
    stated = {name: count for name, count in counts.items() if count is not None}
    if (hour := usage.cache_write_1h_tokens) is not None:
        minutes = max(0, (usage.cache_write_tokens or 0) - hour)
        stated["cacheDetails"] = [{"ttl": "1h", "inputTokens": hour}, {"ttl": "5m", "inputTokens": minutes}]
    return stated


def write_counts(facts: CallFacts) -> dict[str, int]:
    """Write counts as the last chunk of a stream states them; an embedding has no output."""
    usage = facts.usage or Usage()
    produced = None if facts.vectors else usage.output_tokens
    counts = (_fresh(usage), produced, usage.cache_read_tokens, usage.cache_write_tokens)
    return {name: count for name, count in zip(HEADERS, counts, strict=True) if count is not None}


def _fresh(usage: Usage) -> int | None:
    if usage.input_tokens is None:
        return None
    return max(0, usage.input_tokens - (usage.cache_read_tokens or 0) - (usage.cache_write_tokens or 0))
