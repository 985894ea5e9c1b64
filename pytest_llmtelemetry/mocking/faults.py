"""Failures of a provider, in the provider's own status, headers and body.

SDK retries run for real; ``retry_after`` keeps them fast.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A failure to answer with."""

    kind: str
    retry_after_s: float | None = None
    """How long the provider asks the client to wait, in seconds."""


def rate_limit(*, retry_after: float = 0.001) -> Fault:
    """429: too many requests. ``retry_after`` is in seconds."""
    return Fault(kind="rate_limit", retry_after_s=retry_after)


def overloaded(*, retry_after: float = 0.001) -> Fault:
    """The provider is overloaded: 529 at Anthropic, 503 elsewhere."""
    return Fault(kind="overloaded", retry_after_s=retry_after)


def server_error(*, retry_after: float = 0.001) -> Fault:
    """500: the provider failed."""
    return Fault(kind="server_error", retry_after_s=retry_after)


def auth() -> Fault:
    """401: a key that is not valid. SDKs do not retry it."""
    return Fault(kind="auth")
