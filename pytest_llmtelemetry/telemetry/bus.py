"""The event bus: who listens to what.

The semantics are those of BEAM ``telemetry``: exact names, handlers called in the
emitter's thread, a handler that raises is detached and the emitter never sees it.
An event that nobody hears costs one dictionary look-up.
"""

from __future__ import annotations

import functools
import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pytest_llmtelemetry.errors import HandlerExistsError, HandlerNotFoundError
from pytest_llmtelemetry.telemetry import clock


Handler = Callable[[str, Mapping[str, Any], Mapping[str, Any], Any], object]
"""Called as ``handler(event, measurements, metadata, config)``."""

Tap = Callable[[str, Mapping[str, Any], Mapping[str, Any], int], object]
"""Called as ``tap(event, measurements, metadata, ticket)`` for every event."""

HANDLER_FAILURE = "telemetry.handler.failure"
"""A handler raised, and was detached."""

INSTRUMENT_FAILURE = "telemetry.instrument.failure"
"""Instrumentation could not read what it was given; the code that it watches went on."""

_log = logging.getLogger("pytest_llmtelemetry")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A handler and the event it hears."""

    handler_id: str
    event: str
    handler: Handler
    config: Any = None


_lock = threading.RLock()
_attachments: tuple[Attachment, ...] = ()
_taps: tuple[Tap, ...] = ()
# Resolved once per change: event -> its handlers. Replaced whole, so that a dispatch
# that is under way keeps the list it began with.
_by_event: dict[str, tuple[Attachment, ...]] = {}

_tickets = itertools.count(1)


def attach(handler_id: str, event: str, handler: Handler, config: Any = None) -> Callable[[], None]:
    """Call ``handler`` for each ``event``, and return a function that undoes it.

    A handler that raises an ``Exception`` is detached from all its events, announced as
    ``telemetry.handler.failure`` and logged; the others still run.

    Raises:
        HandlerExistsError: ``handler_id`` is attached already.
    """
    return attach_many(handler_id, [event], handler, config)


def attach_many(handler_id: str, events: Iterable[str], handler: Handler, config: Any = None) -> Callable[[], None]:
    """Like :func:`attach`, for several events under one id."""
    added = _prepare(handler_id, events, handler, config)
    with _lock:
        if any(one.handler_id == handler_id for one in _attachments):
            raise HandlerExistsError(f"a handler {handler_id!r} is attached already; detach it first")
        _set_attachments((*_attachments, *added))
    return functools.partial(_remove, added)


def replace(handler_id: str, events: Iterable[str], handler: Handler, config: Any = None) -> Callable[[], None]:
    """Like :func:`attach_many`, in place of the handler that has the id, if there is one."""
    added = _prepare(handler_id, events, handler, config)
    with _lock:
        _set_attachments((*(one for one in _attachments if one.handler_id != handler_id), *added))
    return functools.partial(_remove, added)


def _prepare(handler_id: str, events: Iterable[str], handler: Handler, config: Any) -> tuple[Attachment, ...]:
    if isinstance(events, str):
        raise TypeError(f"attach_many() wants a list of event names, got the string {events!r}")
    if not callable(handler):
        raise TypeError(f"handler {handler_id!r} is not callable: {handler!r}")
    names = list(events)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"an event name is a string such as 'llm.tool.call', not {name!r}")
        if not name:
            raise ValueError("an event name is empty; give one such as 'llm.tool.call'")
    return tuple(
        Attachment(handler_id=handler_id, event=name, handler=handler, config=config) for name in dict.fromkeys(names)
    )


def _remove(added: tuple[Attachment, ...]) -> None:
    with _lock:
        # By identity: the same handler may have been detached and attached again since.
        _set_attachments(tuple(one for one in _attachments if all(one is not mine for mine in added)))


def detach(handler_id: str) -> None:
    """Remove a handler from all its events.

    Raises:
        HandlerNotFoundError: no handler of that id is attached.
    """
    with _lock:
        kept = tuple(one for one in _attachments if one.handler_id != handler_id)
        if len(kept) == len(_attachments):
            known = ", ".join(sorted({repr(one.handler_id) for one in _attachments})) or "none"
            raise HandlerNotFoundError(f"no handler {handler_id!r} is attached; attached are: {known}")
        _set_attachments(kept)


def list_handlers(prefix: str = "") -> list[Attachment]:
    """The attachments of events under ``prefix``, by whole segments: ``llm.chat`` is not under ``llm.ch``."""
    return [
        one
        for one in _attachments
        if not prefix or one.event == prefix or one.event.startswith(prefix.rstrip(".") + ".")
    ]


@contextmanager
def attached(
    event: str | Iterable[str], handler: Handler, *, config: Any = None, handler_id: str | None = None
) -> Iterator[str]:
    """Attach for the length of a ``with`` block. Yields the handler's id."""
    names = [event] if isinstance(event, str) else list(event)
    name = handler_id or f"attached-{next(_tickets)}"
    undo = attach_many(name, names, handler, config)
    try:
        yield name
    finally:
        undo()


def tap(fn: Tap) -> Callable[[], None]:
    """Hear every event, and return a function that undoes it. A tap that raises is removed."""
    global _taps  # noqa: PLW0603 - the bus is the process's, like logging
    with _lock:
        _taps = (*_taps, fn)

    def undo() -> None:
        global _taps  # noqa: PLW0603
        with _lock:
            _taps = tuple(one for one in _taps if one is not fn)

    return undo


def has_handler(event: str) -> bool:
    """True if a handler is attached to exactly this event. For events that are emitted only on demand."""
    return event in _by_event


def attachments() -> tuple[Attachment, ...]:
    """Everything that is attached, in order."""
    return _attachments


def restore(attachments: Iterable[Attachment]) -> None:
    """Attach exactly this: what :func:`attachments` returned at another time, or a part of it."""
    with _lock:
        _set_attachments(tuple(attachments))


def ticket() -> int:
    """Draw the next place in the order of events, for one that is emitted later."""
    return next(_tickets)


def execute(
    event: str,
    measurements: Mapping[str, Any] = _NOTHING,
    metadata: Mapping[str, Any] = _NOTHING,
    *,
    at: int | None = None,
) -> None:
    """Emit an event: numbers in ``measurements`` (units in their keys), all else in ``metadata``.

    Args:
        at: a :func:`ticket` drawn when the event happened, if that was before now.
    """
    handlers = _by_event.get(event)
    if handlers is None and not _taps:
        return
    _dispatch(event, handlers or (), measurements, metadata, next(_tickets) if at is None else at)


def _dispatch(
    event: str,
    handlers: tuple[Attachment, ...],
    measurements: Mapping[str, Any],
    metadata: Mapping[str, Any],
    place: int,
) -> None:
    # A view: what one handler does to it must not reach the next.
    measurements, metadata = MappingProxyType(dict(measurements)), MappingProxyType(dict(metadata))
    for hear in _taps:
        try:
            hear(event, measurements, metadata, place)
        except Exception as error:  # noqa: BLE001 - a listener must not harm the emitter
            _remove_tap(hear)
            _announce_failure(getattr(hear, "__qualname__", repr(hear)), event, error)
    for one in handlers:
        try:
            one.handler(event, measurements, metadata, one.config)
        except Exception as error:  # noqa: BLE001 - a listener must not harm the emitter
            with _lock:
                _set_attachments(tuple(other for other in _attachments if other.handler_id != one.handler_id))
            _announce_failure(one.handler_id, event, error)


def _announce_failure(handler_id: str, event: str, error: Exception) -> None:
    _log.error("Handler %r failed on %s and has been detached", handler_id, event, exc_info=error)
    execute(
        HANDLER_FAILURE,
        {"monotonic_time_ns": clock.now_ns(), "system_time_ns": clock.wall_ns()},
        {"event": event, "handler_id": handler_id, "error_type": qualified_name(error)},
    )


def report_failure(where: str, error: Exception) -> None:
    """Say that instrumentation itself failed, without harm to the code that it watches."""
    _log.error("%s failed; the code that it instruments goes on", where, exc_info=error)
    execute(
        INSTRUMENT_FAILURE,
        {"monotonic_time_ns": clock.now_ns(), "system_time_ns": clock.wall_ns()},
        {"where": where, "error_type": qualified_name(error)},
    )


def qualified_name(error: BaseException) -> str:
    """The name of an exception's type, without the ``builtins`` prefix."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _remove_tap(fn: Tap) -> None:
    global _taps  # noqa: PLW0603
    with _lock:
        _taps = tuple(one for one in _taps if one is not fn)


def _set_attachments(attachments: tuple[Attachment, ...]) -> None:
    global _attachments, _by_event
    by_event: dict[str, tuple[Attachment, ...]] = {}
    for one in attachments:
        by_event[one.event] = (*by_event.get(one.event, ()), one)
    _attachments, _by_event = attachments, by_event
