"""A call is paid once, so it is counted once: the only emitter of ``llm.cost.calculated``.

Who sees a call on the wire, :func:`account`, counts it. An application that reports the
same call, :func:`report`, is recognised and not counted again (see ``claims.py``).

Prices are injected, and may be loaded late: a call waits until they are there, so that
loading them never happens inside a user's request. Its event keeps the place in the
order of events that it had when the call was answered.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Protocol

from pytest_llmtelemetry.facts import FinishReason, Usage
from pytest_llmtelemetry.telemetry import bus
from pytest_llmtelemetry.telemetry.claims import Counted, Memory, Shelf
from pytest_llmtelemetry.telemetry.locks import lock
from pytest_llmtelemetry.telemetry.names import COST_CALCULATED
from pytest_llmtelemetry.telemetry.spans import Span, current_span


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
    stated_by: str = "provider"
    """Who states that cost: ``provider`` or ``application``."""
    free: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a call costs, and who says so."""

    cost_usd: Decimal | None
    """``None``: nobody knows. Never zero for that."""
    source: str
    """``provider``, ``application``, ``override``, ``genai-prices VERSION``, ``free`` or ``unpriced``."""
    reason: str | None = None
    """Why a call is unpriced."""


class Pricer(Protocol):
    """Turns a call into a price. Not asked about a call whose cost is stated."""

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
    response_id: str | None = None
    """The provider's id of the answer."""
    span: Span | None = None
    """The request, or the application's call."""
    is_poll: bool = False
    """The answer was begun by an earlier request, and may have been asked for before."""
    owner: Owner | None = None
    """Whose call it is; calls of different owners are never taken for the same."""
    finish_reason: FinishReason | None = None
    estimated: bool = False
    """The usage was estimated, not stated."""
    metadata: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """More for the event."""


class Owner(Protocol):
    """Whose call it is: a test, in a test run."""

    @property
    def key(self) -> object:
        """What is equal for calls that belong together."""


_waiting: deque[tuple[AccountedCall, int, Counted]] = deque()
_settling = lock()
_pricer: Pricer | None = None


def _nobody() -> Owner | None:
    return None


_whose: Callable[[], Owner | None] = _nobody
_memory = Memory()


def set_pricer(pricer: Pricer | None) -> Callable[[], None]:
    """Say who knows the prices, and return a function that undoes it.

    Without one, a call costs what its answer states, or else is unpriced. In production:
    ``set_pricer(PriceBook())`` with the ``PriceBook`` of ``pytest_llmtelemetry.pricing``,
    after its ``load()``.
    """
    global _pricer
    previous, _pricer = _pricer, pricer

    def undo() -> None:
        global _pricer  # noqa: PLW0603
        _pricer = previous

    return undo


def set_owner(whose: Callable[[], Owner | None]) -> Callable[[], None]:
    """Say how to find out whose turn it is, and return a function that undoes it."""
    global _whose
    previous, _whose = _whose, whose

    def undo() -> None:
        global _whose  # noqa: PLW0603
        _whose = previous

    return undo


def current_owner() -> Owner | None:
    """Whose turn it is now."""
    return _whose()


def account(call: AccountedCall) -> bool:
    """Count a call that was seen on the wire; false if it is counted already.

    Its event follows at once, or when :func:`settle` is called.
    """
    seen = _counted(call, reported=False)
    if call.is_poll and seen.response_id is not None and _memory.knows(seen.response_id, seen.scope):
        return False
    if not _memory.see(seen, _shelves(_around(call.span))):
        return False
    _enqueue(call, seen)
    return True


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a report."""

    span_id: int | None
    """The span under which the call is counted; ``None`` if it is not."""
    is_news: bool
    """Nobody else has seen the call."""
    was_paid_before: bool
    """The answer comes from a cache: it was counted before this span began, if at all."""
    emit: Callable[[], None]
    """Emits the event, if the call is counted because of this report."""


def report(call: AccountedCall) -> Receipt:
    """Count a call that an application reports, unless it is counted already, or states neither usage nor cost."""
    mine = _counted(call, reported=True)
    states_something = call.billable.usage is not None or call.billable.stated_cost_usd is not None
    span = call.span
    known = _memory.claim(
        mine,
        keep=states_something,
        inside=None if span is None else span.shelf,
        shelves=_shelves(_around(span)),
    )
    if known is not None:
        before = known.from_cache or known.ended < mine.began
        return Receipt(known.span_id, is_news=False, was_paid_before=before, emit=lambda: None)
    if not states_something:
        return Receipt(None, is_news=True, was_paid_before=False, emit=lambda: None)
    return Receipt(mine.span_id, is_news=True, was_paid_before=False, emit=lambda: _enqueue(call, mine))


def recall(response_id: str | None, model: str | None, usage: Usage | None) -> None:
    """An answer came out of an application's cache: who passes it on reports a call that is not made now."""
    here, place = current_span(), bus.ticket()
    around = () if here is None else (here, *here.ancestors)
    _memory.add(
        Counted(
            scope=_scope(_whose()),
            response_id=response_id,
            model=model,
            usage=usage,
            span_id=None,
            began=place,
            ended=place,
            around=tuple(one.place for one in around),
            reported=False,
            from_cache=True,
        ),
        _shelves(around),
    )


def cost_of(response_id: str) -> Decimal | None:
    """What a call cost, by the id of its answer; ``None`` if that is not known, or not yet."""
    return _memory.cost_of(response_id, _scope(_whose()))


def forget(key: object) -> None:
    """An owner is done: its calls will not be reported any more."""
    _memory.forget(key)


def is_waiting() -> bool:
    """True if a call waits for its price."""
    return bool(_waiting)


def settle() -> None:
    """Price the calls that wait, and emit their events."""
    with _settling:
        while _waiting:
            call, place, counted = _waiting.popleft()
            _emit(call, place, counted)


def _enqueue(call: AccountedCall, counted: Counted) -> None:
    # Without its span, which holds the whole result: it may wait for long.
    ids = {} if call.span is None else call.span.ids
    _waiting.append((replace(call, span=None, metadata={**ids, **call.metadata}), bus.ticket(), counted))
    # Without a pricer nobody will ever know more, and nobody may ever settle.
    if _pricer is None or _pricer.ready or len(_waiting) > _LONGEST_QUEUE:
        settle()


if hasattr(os, "register_at_fork"):
    # What the parent's calls cost is told by the parent.
    os.register_at_fork(after_in_child=_waiting.clear)

_LONGEST_QUEUE = 10_000
"""A production system that never loads its prices must not grow."""


def _counted(call: AccountedCall, *, reported: bool) -> Counted:
    span, place = call.span, bus.ticket()
    return Counted(
        scope=_scope(call.owner),
        response_id=call.response_id,
        model=call.billable.model or call.billable.requested_model,
        usage=call.billable.usage,
        span_id=None if span is None else span.id,
        began=place if span is None else span.place,
        ended=place,
        around=tuple(one.place for one in _around(span)),
        operation=call.billable.operation,
        reported=reported,
    )


def _around(span: Span | None) -> tuple[Span, ...]:
    return () if span is None else tuple(span.ancestors)


def _shelves(around: Iterable[Span]) -> list[Shelf]:
    """Of the spans that may still report what is counted inside of them."""
    return [one.shelf for one in around if one.shelf is not None and not one.ended]


def _scope(owner: Owner | None) -> object:
    return None if owner is None else owner.key


def _price(billable: Billable) -> Price:
    if billable.stated_cost_usd is not None:
        return Price(cost_usd=billable.stated_cost_usd, source=billable.stated_by)
    if _pricer is None:
        return Price(cost_usd=None, source="unpriced", reason="no prices are loaded")
    try:
        return _pricer.price(billable)
    except Exception as error:  # noqa: BLE001 - the call was made, and is counted, whatever becomes of its price
        bus.report_failure("the price of a call", error)
        return Price(cost_usd=None, source="unpriced", reason=f"the pricer raised {bus.qualified_name(error)}")


def _emit(call: AccountedCall, place: int, counted: Counted) -> None:
    billable = call.billable
    price = _price(billable)
    counted.cost_usd = price.cost_usd
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
    if call.owner is not None:
        metadata["owner"] = call.owner
    bus.execute(COST_CALCULATED, {"cost_usd": price.cost_usd, **counts}, {**metadata, **call.metadata}, at=place)
