"""Conversations: created, added to, cleared, cut. What is said in them is never kept."""

from __future__ import annotations

from enum import Enum
from typing import Any

from pytest_llmtelemetry.telemetry import bus
from pytest_llmtelemetry.telemetry.results import look, read_result


CREATED, ADDED, USED = "llm.session.created", "llm.session.message.added", "llm.session.token_usage.updated"
CLEARED, TRUNCATED = "llm.session.cleared", "llm.session.truncated"


def instrument_session_created(session_id: str, **metadata: Any) -> None:
    """A conversation begins: ``llm.session.created``."""
    bus.execute(CREATED, {}, {**metadata, "session_id": session_id})


def instrument_session_add_message(session_id: str, message: object, tokens: int | None = None) -> None:
    """A message joins a conversation: ``llm.session.message.added``.

    Args:
        message: a mapping or an object with ``role`` and ``content``, or a text. Of its
            content only the length is kept.
        tokens: of this message, not of the whole exchange.

    >>> instrument_session_add_message("s1", {"role": "user", "content": "Hello"}, tokens=1)
    """
    measurements: dict[str, int] = {}
    if tokens is not None:
        measurements["tokens"] = tokens
    about = {"session_id": session_id}
    try:
        length = _length(message if isinstance(message, str) else look(message, "content"))
        if length is not None:
            measurements["content_length"] = length
        role = look(message, "role")
        role = role.value if isinstance(role, Enum) else role
        about |= {"role": role} if isinstance(role, str) else {}
    except Exception as error:  # noqa: BLE001 - the message is the application's
        bus.report_failure(f"the message of {ADDED}", error)
    bus.execute(ADDED, measurements, about)


def instrument_session_token_usage(session_id: str, result: object) -> None:
    """A conversation has used tokens: ``llm.session.token_usage.updated``, with the usage that a result states."""
    try:
        usage = read_result(result).usage
    except Exception as error:  # noqa: BLE001 - the result is the application's
        bus.report_failure(f"the result of {USED}", error)
        return
    if usage is None:
        return
    counts = {key: usage.counts()[key] for key in ("input_tokens", "output_tokens", "total_tokens")}
    bus.execute(USED, counts, {"session_id": session_id})


def instrument_session_cleared(session_id: str, message_count: int | None = None) -> None:
    """A conversation is emptied: ``llm.session.cleared``.

    Args:
        message_count: how many messages were removed; ``None`` if nobody knows.
    """
    bus.execute(CLEARED, {"message_count": message_count}, {"session_id": session_id})


def instrument_session_truncated(session_id: str, messages_removed: int, message_count: int | None = None) -> None:
    """Old messages leave a conversation: ``llm.session.truncated``.

    Args:
        message_count: how many are left.
    """
    left = {} if message_count is None else {"message_count": message_count}
    bus.execute(TRUNCATED, {"messages_removed": messages_removed, **left}, {"session_id": session_id})


def _length(content: object) -> int | None:
    """Characters of a text, or of the texts of a list of parts."""
    if isinstance(content, str):
        return len(content)
    if not isinstance(content, list | tuple):
        return None
    texts = (part if isinstance(part, str) else look(part, "text") for part in content)
    return sum(len(text) for text in texts if isinstance(text, str))
