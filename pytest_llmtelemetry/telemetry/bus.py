"""The event bus: who listens to what.

The semantics are those of BEAM ``telemetry``: exact names, handlers called in the
emitter's thread, a handler that raises is detached and the emitter never sees it.
An event that nobody hears costs one dictionary look-up.
"""

from __future__ import annotations

import functools
import itertools
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pytest_llmtelemetry.errors import HandlerExistsError, HandlerNotFoundError
from pytest_llmtelemetry.telemetry import clock
from pytest_llmtelemetry.telemetry.locks import lock


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


_Attachments = tuple[Attachment, ...]

_lock = lock()
_attachments: _Attachments = ()
_taps: tuple[Tap, ...] = ()
# Resolved once per change: event -> its handlers. Replaced whole, so that a dispatch
# that is under way keeps the list it began with.
_by_event: dict[str, _Attachments] = {}

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

    def add(now: _Attachments) -> _Attachments:
        if any(one.handler_id == handler_id for one in now):
            raise HandlerExistsError(f"a handler {handler_id!r} is attached already; detach it first")
        return (*now, *added)

    _change(add)
    return functools.partial(_remove, added)


def replace(handler_id: str, events: Iterable[str], handler: Handler, config: Any = None) -> Callable[[], None]:
    """Like :func:`attach_many`, in place of the handler that has the id, if there is one."""
    added = _prepare(handler_id, events, handler, config)
    _change(lambda now: (*_without(handler_id, now), *added))
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
    # By identity: the same handler may have been detached and attached again since.
    _change(lambda now: tuple(one for one in now if all(one is not mine for mine in added)))


def detach(handler_id: str) -> None:
    """Remove a handler from all its events.

    Raises:
        HandlerNotFoundError: no handler of that id is attached.
    """

    def remove(now: _Attachments) -> _Attachments:
        kept = _without(handler_id, now)
        if len(kept) == len(now):
            known = ", ".join(sorted({repr(one.handler_id) for one in now})) or "none"
            raise HandlerNotFoundError(f"no handler {handler_id!r} is attached; attached are: {known}")
        return kept

    _change(remove)


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
        except RecursionError:
            continue  # whoever has used up the stack, a session must not go blind of it
        except Exception as error:  # noqa: BLE001 - a listener must not harm the emitter
            _remove_tap(hear)
            _announce_failure(getattr(hear, "__qualname__", repr(hear)), event, error)
    for one in handlers:
        try:
            one.handler(event, measurements, metadata, one.config)
        except Exception as error:  # noqa: BLE001 - a listener must not harm the emitter
            if _is_out_of_stack(error, one):
                continue
            _change(functools.partial(_without, one.handler_id))
            _announce_failure(one.handler_id, event, error)


def _is_out_of_stack(error: Exception, handler: Attachment) -> bool:
    """True if somebody else has used up the stack: a handler is not detached because an application recurses."""
    if not isinstance(error, RecursionError):
        return False
    frame, depth = sys._getframe(1).f_back, 0  # noqa: SLF001 - the only way to see how deep we are
    while frame is not None:
        # A dispatch to it that is under way further out: it emits what it hears.
        if frame.f_code is _dispatch.__code__ and frame.f_locals.get("one") is handler:
            return False
        frame, depth = frame.f_back, depth + 1
    return depth > sys.getrecursionlimit() // 2


def _log_error(message: str, *args: object, error: Exception) -> None:
    with suppress(Exception):  # a handler of logging may raise, and that would reach the emitter
        _log.error(message, *args, exc_info=error)


def _announce_failure(handler_id: str, event: str, error: Exception) -> None:
    _log_error("Handler %r failed on %s and has been detached", handler_id, event, error=error)
    execute(
        HANDLER_FAILURE,
        {"monotonic_time_ns": clock.now_ns(), "system_time_ns": clock.wall_ns()},
        {"event": event, "handler_id": handler_id, "error_type": qualified_name(error)},
    )


def report_failure(where: str, error: Exception) -> None:
    """Say that instrumentation itself failed, without harm to the code that it watches."""
    _log_error("%s failed; the code that it instruments goes on", where, error=error)
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


def _without(handler_id: str, attachments: _Attachments) -> _Attachments:
    return tuple(one for one in attachments if one.handler_id != handler_id)


def _set_attachments(attachments: _Attachments) -> None:
    _change(lambda _: attachments)


def _change(update: Callable[[_Attachments], _Attachments]) -> None:
    global _attachments, _by_event
    with _lock:
        while True:
            before = _attachments
            after = update(before)
            by_event: dict[str, list[Attachment]] = {}
            for one in after:
                by_event.setdefault(one.event, []).append(one)
            resolved = {event: tuple(found) for event, found in by_event.items()}
            # A signal handler or a finaliser may attach something while we are at it, in this very thread.
            if _attachments is before:
                _attachments, _by_event = after, resolved
                return
