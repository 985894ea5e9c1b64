"""The event system. Free of pytest, and safe in production code.

>>> from pytest_llmtelemetry import telemetry
>>> seen = []
>>> with telemetry.attached("llm.tool.call", lambda name, measurements, metadata, config: seen.append(metadata)):
...     telemetry.execute("llm.tool.call", {"arguments_bytes": 2}, {"tool": "search"})
>>> seen[0]["tool"]
'search'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmtelemetry.lazy import attributes
from pytest_llmtelemetry.telemetry.accounting import set_pricer
from pytest_llmtelemetry.telemetry.bus import (
    Attachment,
    attach,
    attach_many,
    attached,
    detach,
    execute,
    list_handlers,
)
from pytest_llmtelemetry.telemetry.clock import FixedClock, set_clock

# Not lazy, because it is the name of a module too: whoever came first would win.
from pytest_llmtelemetry.telemetry.instrument import embedding_call, instrument, instrument_http, instrument_provider
from pytest_llmtelemetry.telemetry.spans import Span, current_span, span


if TYPE_CHECKING:
    from pytest_llmtelemetry.telemetry.cache import (
        cache_evicted,
        cache_expired,
        instrument_cache_lookup,
        instrument_cache_store,
    )
    from pytest_llmtelemetry.telemetry.catalogue import declare
    from pytest_llmtelemetry.telemetry.context import context_window_exceeded, instrument_context_truncation
    from pytest_llmtelemetry.telemetry.dashboard import Thresholds
    from pytest_llmtelemetry.telemetry.handlers import attach_default_handlers
    from pytest_llmtelemetry.telemetry.metrics import Metrics, dashboard_data, get_metrics
    from pytest_llmtelemetry.telemetry.schema import EventSpec, Field
    from pytest_llmtelemetry.telemetry.sessions import (
        instrument_session_add_message,
        instrument_session_cleared,
        instrument_session_created,
        instrument_session_token_usage,
        instrument_session_truncated,
    )
    from pytest_llmtelemetry.telemetry.signals import (
        check_cost_threshold,
        circuit_breaker_state_changed,
        rate_limit_hit,
        retry_attempt,
        tool_call,
    )
    from pytest_llmtelemetry.telemetry.streams import instrument_stream

_HOMES = {
    "cache": (
        "cache_evicted",
        "cache_expired",
        "instrument_cache_lookup",
        "instrument_cache_store",
    ),
    "catalogue": ("declare",),
    "context": (
        "context_window_exceeded",
        "instrument_context_truncation",
    ),
    "dashboard": ("Thresholds",),
    "handlers": ("attach_default_handlers",),
    "metrics": (
        "Metrics",
        "dashboard_data",
        "get_metrics",
    ),
    "schema": (
        "EventSpec",
        "Field",
    ),
    "sessions": (
        "instrument_session_add_message",
        "instrument_session_cleared",
        "instrument_session_created",
        "instrument_session_token_usage",
        "instrument_session_truncated",
    ),
    "signals": (
        "check_cost_threshold",
        "circuit_breaker_state_changed",
        "rate_limit_hit",
        "retry_attempt",
        "tool_call",
    ),
    "streams": ("instrument_stream",),
}

__all__ = [
    "Attachment",
    "EventSpec",
    "Field",
    "FixedClock",
    "Metrics",
    "Span",
    "Thresholds",
    "attach",
    "attach_default_handlers",
    "attach_many",
    "attached",
    "cache_evicted",
    "cache_expired",
    "check_cost_threshold",
    "circuit_breaker_state_changed",
    "context_window_exceeded",
    "current_span",
    "dashboard_data",
    "declare",
    "detach",
    "embedding_call",
    "execute",
    "get_metrics",
    "instrument",
    "instrument_cache_lookup",
    "instrument_cache_store",
    "instrument_context_truncation",
    "instrument_http",
    "instrument_provider",
    "instrument_session_add_message",
    "instrument_session_cleared",
    "instrument_session_created",
    "instrument_session_token_usage",
    "instrument_session_truncated",
    "instrument_stream",
    "list_handlers",
    "rate_limit_hit",
    "retry_attempt",
    "set_clock",
    "set_pricer",
    "span",
    "tool_call",
]

__getattr__ = attributes(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
