"""Telemetry, budgets and mocks for test suites of software that calls LLMs.

Names are loaded when they are first used: importing this package imports no HTTP
library and no pytest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from pytest_llmtelemetry.errors import (
        HandlerExistsError,
        HandlerNotFoundError,
        LLMTelemetryError,
        MockError,
        Refused,
        SettingError,
    )
    from pytest_llmtelemetry.facts import CallFacts, FinishReason, RequestFacts, ToolCall, Usage
    from pytest_llmtelemetry.mocking import faults
    from pytest_llmtelemetry.mocking.mock import LLMMock
    from pytest_llmtelemetry.mocking.replies import Reply, reply, tool_call
    from pytest_llmtelemetry.recording.event import Call, Event
    from pytest_llmtelemetry.recording.log import EventLog
    from pytest_llmtelemetry.recording.owner import Owner

_HOMES = {
    "errors": (
        "HandlerExistsError",
        "HandlerNotFoundError",
        "LLMTelemetryError",
        "MockError",
        "Refused",
        "SettingError",
    ),
    "facts": ("CallFacts", "FinishReason", "RequestFacts", "ToolCall", "Usage"),
    "mocking": ("faults",),
    "mocking.mock": ("LLMMock",),
    "mocking.replies": ("Reply", "reply", "tool_call"),
    "recording.event": ("Call", "Event"),
    "recording.log": ("EventLog",),
    "recording.owner": ("Owner",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Call",
    "CallFacts",
    "Event",
    "EventLog",
    "FinishReason",
    "HandlerExistsError",
    "HandlerNotFoundError",
    "LLMMock",
    "LLMTelemetryError",
    "MockError",
    "Owner",
    "Refused",
    "Reply",
    "RequestFacts",
    "SettingError",
    "ToolCall",
    "Usage",
    "faults",
    "reply",
    "tool_call",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(f"{__name__}.{_HOME_OF[name]}")
    return import_module(f"{home.__name__}.{name}") if name == "faults" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
