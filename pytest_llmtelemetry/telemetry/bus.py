"""The event bus: who listens to what, and spans.

The semantics are those of BEAM ``telemetry``: exact names, handlers called in the
emitter's thread, a handler that raises is detached and the emitter never sees it.
An event that nobody hears costs one dictionary look-up.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any, Literal, ParamSpec, TypeVar, cast

from pytest_llmtelemetry.errors import HandlerExistsError, HandlerNotFoundError


Handler = Callable[[str, Mapping[str, Any], Mapping[str, Any], Any], object]
"""Called as ``handler(event, measurements, metadata, config)``."""

Tap = Callable[[str, Mapping[str, Any], Mapping[str, Any], int], object]
"""Called as ``tap(event, measurements, metadata, ticket)`` for every event."""

HANDLER_FAILURE = "telemetry.handler.failure"

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
_span_ids = itertools.count(1)


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
    if isinstance(events, str):
        raise TypeError(f"attach_many() wants a list of event names, got the string {events!r}")
    if not callable(handler):
        raise TypeError(f"handler {handler_id!r} is not callable: {handler!r}")
    names = list(dict.fromkeys(events))
    if "" in names:
        raise ValueError("an event name is empty; give one such as 'llm.tool.call'")
    with _lock:
        if any(one.handler_id == handler_id for one in _attachments):
            raise HandlerExistsError(f"a handler {handler_id!r} is attached already; detach it first")
        added = tuple(Attachment(handler_id=handler_id, event=name, handler=handler, config=config) for name in names)
        _set_attachments((*_attachments, *added))

    def undo() -> None:
        with _lock:
            # By identity: the same handler may have been detached and attached again since.
            _set_attachments(tuple(one for one in _attachments if all(one is not mine for mine in added)))

    return undo


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
        {},
        {"event": event, "handler_id": handler_id, "error_type": qualified_name(error)},
    )


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


def now_ns(_clock: Callable[[], int] = time.perf_counter_ns) -> int:
    """The monotonic clock, in nanoseconds. Bound at import, so that a frozen clock cannot stop it."""
    return _clock()


# -- spans --------------------------------------------------------------------------


class Span:
    """A piece of work with a beginning and exactly one end.

    Measurements and metadata may be added until it ends; ``error`` marks a result that
    says it failed, without an exception.
    """

    __slots__ = ("_ended", "error", "id", "measurements", "metadata", "name", "parent_id", "started_ns")

    def __init__(self, name: str, metadata: Mapping[str, Any] = _NOTHING) -> None:
        parent = _current.get()
        self.name = name
        self.id = next(_span_ids)
        self.parent_id = None if parent is None else parent.id
        self.metadata: dict[str, Any] = dict(metadata)
        self.measurements: dict[str, Any] = {}
        self.error: object = None
        self._ended = False
        execute(f"{name}.start", {}, self._metadata())
        self.started_ns = now_ns()

    @property
    def ended(self) -> bool:
        """True once ``.stop`` or ``.exception`` was emitted."""
        return self._ended

    def stop(self) -> None:
        """End the span well. Only the first end counts."""
        if self._end():
            execute(f"{self.name}.stop", self.measurements, self._metadata(success=self.error is None))

    def fail(self, error: BaseException) -> None:
        """End the span with an exception. Only the first end counts."""
        if self._end():
            names = {"error_type": qualified_name(error), **self.metadata}
            execute(f"{self.name}.exception", self.measurements, names | self._ids() | {"success": False})

    def _end(self) -> bool:
        if self._ended:
            return False
        self._ended = True
        self.measurements["duration_ns"] = now_ns() - self.started_ns
        return True

    def _metadata(self, **more: object) -> dict[str, Any]:
        if self.error is not None:
            more["error"] = self.error
        return {**self.metadata, **more, **self._ids()}

    def _ids(self) -> dict[str, Any]:
        return {"span_id": self.id, "parent_id": self.parent_id}


_current: ContextVar[Span | None] = ContextVar("llmtelemetry_span", default=None)


def current_span() -> Span | None:
    """The innermost open span of this context."""
    return _current.get()


def qualified_name(error: BaseException) -> str:
    """The name of an exception's type, without the ``builtins`` prefix."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


P = ParamSpec("P")
R = TypeVar("R")


class _SpanContext:
    """What :func:`span` returns: a context manager and a decorator, for both kinds of code."""

    def __init__(self, name: str, metadata: Mapping[str, Any]) -> None:
        self._name = name
        self._metadata = metadata
        self._open: list[tuple[Span, Token[Span | None]]] = []

    def __enter__(self) -> Span:
        span = Span(self._name, self._metadata)
        self._open.append((span, _current.set(span)))
        return span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        # Tasks and threads may share this object: each ends the span that it began.
        here = _current.get()
        opened = next((one for one in reversed(self._open) if one[0] is here), self._open[-1])
        self._open.remove(opened)
        span, token = opened
        with suppress(ValueError):  # left in another context than it was entered in: nothing to put back
            _current.reset(token)
        if error is None:
            span.stop()
        else:
            span.fail(error)
        return False

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        return self.__exit__(kind, error, traceback)

    def __call__(self, fn: Callable[P, R]) -> Callable[P, R]:
        # Each call is a span of its own, so that recursion, threads and tasks do not share one.
        if inspect.iscoroutinefunction(fn):

            @functools.wraps(fn)
            async def run_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                with _SpanContext(self._name, self._metadata):
                    return await fn(*args, **kwargs)

            return cast("Callable[P, R]", run_async)

        @functools.wraps(fn)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with _SpanContext(self._name, self._metadata):
                return fn(*args, **kwargs)

        return run


def span(name: str, metadata: Mapping[str, Any] = _NOTHING) -> _SpanContext:
    """Emit ``name.start``, then exactly one of ``name.stop`` or ``name.exception``, and re-raise.

    >>> with span("app.answer", {"model": "gpt-4o"}) as work:
    ...     work.measurements["documents"] = 3

    Also a decorator, ``@span("app.answer")``, of functions and coroutine functions.
    """
    return _SpanContext(name, metadata)
