"""The event system. Free of pytest, and safe in production code.

>>> from pytest_llmtelemetry import telemetry
>>> seen = []
>>> with telemetry.attached("llm.tool.call", lambda name, measurements, metadata, config: seen.append(metadata)):
...     telemetry.execute("llm.tool.call", {"arguments_bytes": 2}, {"tool": "search"})
>>> seen[0]["tool"]
'search'
"""

from __future__ import annotations

from pytest_llmtelemetry.telemetry.bus import (
    Attachment,
    Span,
    attach,
    attach_many,
    attached,
    current_span,
    detach,
    execute,
    list_handlers,
    span,
)


__all__ = [
    "Attachment",
    "Span",
    "attach",
    "attach_many",
    "attached",
    "current_span",
    "detach",
    "execute",
    "list_handlers",
    "span",
]
