"""What both variants share, because there is nothing in it to watch: values, errors, settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol, TypedDict


class Message(TypedDict):
    """One message of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one answer."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model, how much this application lets it read and write, and what that costs."""

    provider: str
    name: str
    max_input_tokens: int = 8_000
    """Of a prompt. What the model itself could read is far more, and dearer."""
    max_output_tokens: int = 400
    input_usd: Decimal = Decimal("0.10")
    """For a million tokens."""
    output_usd: Decimal = Decimal("0.50")

    def cost_usd(self, usage: Usage) -> Decimal:
        """What an answer costs, exactly: most cost less than a cent."""
        return (usage.input_tokens * self.input_usd + usage.output_tokens * self.output_usd) / 1_000_000


GPT = Model(provider="openai", name="gpt-6-luna")
CLAUDE = Model(provider="anthropic", name="claude-haiku-5-5")

CACHE_TTL_S = 300
COST_ALERT_USD = Decimal("0.001")
"""One answer that costs more is worth an alert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer, in one shape for all providers."""

    id: str
    model: str
    text: str
    finish_reason: str | None
    usage: Usage
    cost_usd: Decimal


class Provider(Protocol):
    """Who answers."""

    @property
    def name(self) -> str:
        """Such as ``openai``."""

    def call(self, model: Model, messages: Sequence[Message]) -> Response:
        """Send one request."""


# -- errors ----------------------------------------------------------------------------------


class ChatError(Exception):
    """There is no answer."""


class RejectedError(ChatError):
    """The provider will not answer this request, however often it is sent."""


class PromptTooLongError(ChatError):
    """What has to be kept of a conversation does not fit."""


class CircuitOpenError(ChatError):
    """The provider failed so often that it is left alone for a while."""


class TransientError(ChatError):
    """Another try may help."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        """The wait that the provider asks for, if it does."""


class RateLimitedError(TransientError):
    """The provider is asked too often."""


class UnavailableError(TransientError):
    """The provider failed, or cannot be reached."""


# -- messages --------------------------------------------------------------------------------


def count_tokens(messages: Sequence[Message]) -> int:
    """Estimate the tokens of messages: four characters each, and four for the frame of a message.

    >>> count_tokens([{"role": "user", "content": "Hello!"}])
    6
    """
    return sum(4 + -(-len(message["content"]) // 4) for message in messages)


def cache_key(model: Model, messages: Sequence[Message]) -> str:
    """What stands for a prompt in the cache."""
    return hashlib.sha256(json.dumps([model.name, *messages]).encode()).hexdigest()
