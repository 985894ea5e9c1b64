"""A call is paid once, so it is counted once: the only emitter of ``llm.cost.calculated``.

Prices are injected, and may be loaded late: a call waits until they are there, so that
loading them never happens inside a user's request. Its event keeps the place in the
order of events that it had when the call was answered.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Protocol

from pytest_llmtelemetry.facts import FinishReason, Usage
from pytest_llmtelemetry.telemetry import bus


COST_CALCULATED = "llm.cost.calculated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Billable:
    """What is needed to price one answered call."""

    provider: str
    model: str | None
    """The model that answered; priced first."""
    requested_model: str | None
    operation: str
    usage: Usage | None
    at: datetime
    """When the request was sent, in UTC: some prices depend on it."""
    service_tier: str | None = None
    stated_cost_usd: Decimal | None = None
    free: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a call costs, and who says so."""

    cost_usd: Decimal | None
    """``None``: nobody knows. Never zero for that."""
    source: str
    """``provider``, ``override``, ``genai-prices VERSION``, ``free`` or ``unpriced``."""
    reason: str | None = None
    """Why a call is unpriced."""


class Pricer(Protocol):
    """Turns a call into a price."""

    @property
    def ready(self) -> bool:
        """True if pricing needs no loading."""

    def price(self, call: Billable) -> Price:
        """Price a call. Loads the price table if need be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountedCall:
    """A call that was answered, waiting for its price."""

    billable: Billable
    served_by: str
    """``live``, ``mock`` or ``replay``."""
    finish_reason: FinishReason | None = None
    estimated: bool = False
    """The usage was estimated, not stated."""
    metadata: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """More for the event: its owner, its span."""


_waiting: deque[tuple[AccountedCall, int]] = deque()
_settling = threading.RLock()
_pricer: Pricer | None = None


def set_pricer(pricer: Pricer | None) -> Callable[[], None]:
    """Say who knows the prices, and return a function that undoes it."""
    global _pricer
    previous, _pricer = _pricer, pricer

    def undo() -> None:
        global _pricer  # noqa: PLW0603
        _pricer = previous

    return undo


def account(call: AccountedCall) -> None:
    """Count a call. Its event follows at once, or when :func:`settle` is called."""
    _waiting.append((call, bus.ticket()))
    if _pricer is not None and _pricer.ready:
        settle()


def is_waiting() -> bool:
    """True if a call waits for its price."""
    return bool(_waiting)


def settle() -> None:
    """Price the calls that wait, and emit their events."""
    with _settling:
        while _waiting:
            call, place = _waiting.popleft()
            _emit(call, place)


def _emit(call: AccountedCall, place: int) -> None:
    billable = call.billable
    price = (
        Price(cost_usd=None, source="unpriced", reason="no prices are loaded")
        if _pricer is None
        else _pricer.price(billable)
    )
    usage = billable.usage
    counts = Usage().counts() if usage is None else usage.counts()
    metadata: dict[str, Any] = {
        "provider": billable.provider,
        "model": billable.model or billable.requested_model,
        "requested_model": billable.requested_model,
        "operation": billable.operation,
        "price_source": price.source,
        "served_by": call.served_by,
        "finish_reason": call.finish_reason,
        "estimated": call.estimated,
    }
    if price.reason is not None:
        metadata["unpriced_reason"] = price.reason
    if usage is not None and usage.doubts:
        metadata["doubts"] = usage.doubts
    if usage is not None and usage.partial:
        metadata["partial"] = True
    bus.execute(COST_CALCULATED, {"cost_usd": price.cost_usd, **counts}, {**metadata, **call.metadata}, at=place)
