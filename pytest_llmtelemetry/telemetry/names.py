"""Names of events that more than one module emits or hears."""

from __future__ import annotations


CHAT = "llm.chat.call"
REQUEST = "llm.provider.request"
EMBEDDING = "llm.embedding.call"
HTTP = "llm.http.request"
STREAM = "llm.stream"
CHUNK = "llm.stream.chunk"
"""Emitted only if a handler is attached to exactly this name."""

COST_CALCULATED = "llm.cost.calculated"
THRESHOLD = "llm.cost.threshold.exceeded"

RESPONSE_TRUNCATED = "llm.response.truncated"
WINDOW_EXCEEDED = "llm.context.window.exceeded"
CONTEXT_TRUNCATION = "llm.context.truncation"

CACHE_HIT = "llm.cache.lookup.hit"
CACHE_MISS = "llm.cache.lookup.miss"

RETRY = "llm.retry.attempt"
RATE_LIMIT = "llm.rate_limit.hit"
TOOL = "llm.tool.call"

CAPTURE, APPLICATION = "capture", "application"
"""The ``source`` of an event that may be told by either."""
