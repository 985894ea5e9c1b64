"""Conversations: how much was said, and nothing of what was said."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, StrEnum
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import (
    instrument_session_add_message,
    instrument_session_cleared,
    instrument_session_created,
    instrument_session_token_usage,
    instrument_session_truncated,
)


class Role(Enum):
    """As some applications name roles."""

    USER = "user"


class TextRole(str, Enum):  # noqa: UP042 - older than StrEnum
    """As others do."""

    USER = "user"


class ModernRole(StrEnum):
    """As the rest does."""

    USER = "user"


def told(heard: list[Event]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The only event."""
    (event,) = heard
    return event.name.removeprefix("llm.session."), dict(event.measurements), dict(event.metadata)


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda: instrument_session_created("s", model="m"), ("created", {}, {"model": "m", "session_id": "s"})),
        (lambda: instrument_session_cleared("s", 3), ("cleared", {"message_count": 3}, {"session_id": "s"})),
        (
            lambda: instrument_session_truncated("s", 2),
            ("truncated", {"messages_removed": 2}, {"session_id": "s"}),
        ),
        (
            lambda: instrument_session_truncated("s", 2, 5),
            ("truncated", {"messages_removed": 2, "message_count": 5}, {"session_id": "s"}),
        ),
        (
            lambda: instrument_session_token_usage("s", {"usage": {"prompt_tokens": 10, "completion_tokens": 5}}),
            (
                "token_usage.updated",
                {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
                {"session_id": "s"},
            ),
        ),
    ],
    ids=["created", "cleared", "truncated", "truncated to", "usage"],
)
def test_events(
    act: Callable[[], None], expected: tuple[str, dict[str, Any], dict[str, Any]], heard: list[Event]
) -> None:
    """Each says whose it is."""
    act()
    assert told(heard) == expected


@pytest.mark.parametrize(
    ("message", "length", "role"),
    [
        ({"role": "user", "content": "Hello"}, 5, "user"),
        (SimpleNamespace(role=Role.USER, content="Hello"), 5, "user"),
        (SimpleNamespace(role=TextRole.USER, content="Hello"), 5, "user"),
        (SimpleNamespace(role=ModernRole.USER, content="Hello"), 5, "user"),
        ("Hello", 5, None),
        ({"role": "assistant", "content": None}, None, "assistant"),
        ({"role": "user", "content": []}, 0, "user"),
        ({"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "image"}, "lo"]}, 5, "user"),
        ({"role": "user", "content": b"Hello"}, None, "user"),
        ({"role": 7, "content": 7}, None, None),
        (MagicMock(), None, None),
        (None, None, None),
    ],
    ids=[
        *("mapping", "enum", "text enum", "StrEnum", "text", "no content", "no parts", "parts", "bytes", "numbers"),
        *("mock", "None"),
    ],
)
def test_messages(message: object, length: int | None, role: str | None, heard: list[Event]) -> None:
    """Of a message only the length of its text and its role are kept, where they are known."""
    instrument_session_add_message("s", message)
    measurements = {} if length is None else {"content_length": length}
    metadata = {"session_id": "s"} | ({} if role is None else {"role": role})
    assert told(heard) == ("message.added", measurements, metadata)


@pytest.mark.parametrize(("tokens", "measured"), [(3, {"tokens": 3}), (0, {"tokens": 0}), (None, {})])
def test_tokens_of_a_message(tokens: int | None, measured: dict[str, int], heard: list[Event]) -> None:
    """The tokens are those of the message; unknown ones are not there."""
    instrument_session_add_message("s", None, tokens)
    assert told(heard)[1] == measured


@pytest.mark.parametrize("result", [None, {}, "text", {"usage": None}], ids=["None", "empty", "text", "null"])
def test_no_usage_no_event(result: object, heard: list[Event]) -> None:
    """What states no usage updates none."""
    instrument_session_token_usage("s", result)
    assert heard == []


def test_what_was_said_is_never_kept(heard: list[Event]) -> None:
    """Neither text nor parts are in any event."""
    instrument_session_add_message("s", {"role": "user", "content": [{"text": "secret"}], "name": "secret"})
    instrument_session_add_message("s", "secret")
    assert "secret" not in str(heard)
