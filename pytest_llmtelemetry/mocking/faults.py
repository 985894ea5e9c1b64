"""Failures of a provider, in the provider's own status, headers and body.

SDK retries run for real; ``retry_after`` keeps them fast.
"""

from __future__ import annotations

from pytest_llmtelemetry.wire.dialect import Failure, Fault


def rate_limit(*, retry_after: float = 0.001) -> Fault:
    """429: too many requests. ``retry_after`` is in seconds."""
    return Fault(kind=Failure.RATE_LIMIT, retry_after_s=retry_after)


def overloaded(*, retry_after: float = 0.001) -> Fault:
    """The provider is overloaded: 529 at Anthropic, 503 elsewhere."""
    return Fault(kind=Failure.OVERLOADED, retry_after_s=retry_after)


def server_error(*, retry_after: float = 0.001) -> Fault:
    """500: the provider failed."""
    return Fault(kind=Failure.SERVER_ERROR, retry_after_s=retry_after)


def auth() -> Fault:
    """401: a key that is not valid. SDKs do not retry it."""
    return Fault(kind=Failure.AUTH)
