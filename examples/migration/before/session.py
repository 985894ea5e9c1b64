"""A conversation."""

from __future__ import annotations

from migration.shared import Message, count_tokens


class Session:
    """What was said so far."""

    def __init__(self, session_id: str) -> None:
        self.id = session_id
        self.messages: list[Message] = []
        self.tokens = 0

    def add(self, message: Message) -> None:
        """Add a message."""
        tokens = count_tokens([message])
        self.messages.append(message)
        self.tokens += tokens

    def clear(self) -> None:
        """Forget everything."""
        self._forget(len(self.messages))

    def truncate(self, keep: int) -> None:
        """Forget all but the newest messages."""
        removed = len(self.messages) - keep
        if removed > 0:
            self._forget(removed)

    def _forget(self, count: int) -> None:
        del self.messages[:count]
        self.tokens = count_tokens(self.messages)
