"""Telemetry, budgets and mocks for test suites of software that calls LLMs.

Names are loaded when they are first used: importing this package imports no HTTP
library and no pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmtelemetry.lazy import attributes


if TYPE_CHECKING:
    from pytest_llmtelemetry.errors import (
        HandlerExistsError,
        HandlerNotFoundError,
        LLMTelemetryError,
        LLMTelemetryWarning,
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
    from pytest_llmtelemetry.telemetry.clock import FixedClock
    from pytest_llmtelemetry.telemetry.testing import LLMTelemetry

_HOMES = {
    "errors": (
        "HandlerExistsError",
        "HandlerNotFoundError",
        "LLMTelemetryError",
        "LLMTelemetryWarning",
        "MockError",
        "Refused",
        "SettingError",
    ),
    "facts": ("CallFacts", "FinishReason", "RequestFacts", "ToolCall", "Usage"),
    "mocking.faults": ("faults",),
    "mocking.mock": ("LLMMock",),
    "mocking.replies": ("Reply", "reply", "tool_call"),
    "recording.event": ("Call", "Event"),
    "recording.log": ("EventLog",),
    "recording.owner": ("Owner",),
    "telemetry.clock": ("FixedClock",),
    "telemetry.testing": ("LLMTelemetry",),
}

__all__ = [
    "Call",
    "CallFacts",
    "Event",
    "EventLog",
    "FinishReason",
    "FixedClock",
    "HandlerExistsError",
    "HandlerNotFoundError",
    "LLMMock",
    "LLMTelemetry",
    "LLMTelemetryError",
    "LLMTelemetryWarning",
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


__getattr__ = attributes(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
