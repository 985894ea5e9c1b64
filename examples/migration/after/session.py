"""A conversation."""

from __future__ import annotations

from migration.shared import Message, count_tokens
from pytest_llmtelemetry.telemetry import (
    instrument_session_add_message,
    instrument_session_cleared,
    instrument_session_created,
    instrument_session_truncated,
)


class Session:
    """What was said so far."""

    def __init__(self, session_id: str) -> None:
        self.id = session_id
        self.messages: list[Message] = []
        self.tokens = 0
        instrument_session_created(session_id)

    def add(self, message: Message) -> None:
        """Add a message."""
        tokens = count_tokens([message])
        self.messages.append(message)
        self.tokens += tokens
        instrument_session_add_message(self.id, message, tokens)

    def clear(self) -> None:
        """Forget everything."""
        instrument_session_cleared(self.id, len(self.messages))
        self._forget(len(self.messages))

    def truncate(self, keep: int) -> None:
        """Forget all but the newest messages."""
        removed = len(self.messages) - keep
        if removed > 0:
            self._forget(removed)
            instrument_session_truncated(self.id, removed, len(self.messages))

    def _forget(self, count: int) -> None:
        del self.messages[:count]
        self.tokens = count_tokens(self.messages)
