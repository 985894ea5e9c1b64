"""Spans: pieces of work with a beginning and exactly one end.

Parent and child are found through the context, which threads do not inherit: a span
that begins there says that it has no parent, instead of guessing one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from types import MappingProxyType, TracebackType
from typing import Any, Literal, ParamSpec, TypeVar, cast

from pytest_llmtelemetry.telemetry import bus, clock
from pytest_llmtelemetry.telemetry.wrapping import around, awaited


_NOTHING: Mapping[str, Any] = MappingProxyType({})

Metadata = Mapping[str, Any] | Callable[..., Mapping[str, Any]]
"""Metadata of a span; for a decorator also a function of the arguments of each call."""


class Span:
    """A piece of work. Measurements and metadata may be added until it ends."""

    __slots__ = (
        "_clock",
        "_ended",
        "error",
        "id",
        "measurements",
        "metadata",
        "name",
        "owner",
        "parent",
        "place",
        "result",
        "shelf",
        "started_ns",
    )

    def __init__(self, name: str, metadata: Mapping[str, Any] = _NOTHING) -> None:
        # One clock for both ends: a test's own may be set or taken away in between.
        self._clock = clock.current()
        self.name = name
        self.id = self._clock.next_span_id()
        self.parent = current_span()
        """The span around this one."""
        self.place = bus.ticket()
        """Where it began in the order of events."""
        self.metadata: dict[str, Any] = dict(metadata)
        self.measurements: dict[str, Any] = {}
        self.error: object = None
        """What went wrong, of a result that says it failed without an exception."""
        self.result: object = None
        """What came of it; instrumentation reads usage and cost out of it."""
        self.owner: Any = None
        """Whose work it is; set by instrumentation, for accounting."""
        self.shelf: Any = None
        """Where accounting remembers the calls inside of it, if it will report them; set by instrumentation."""
        self._ended = False
        times = {"monotonic_time_ns": self._clock.now_ns(), "system_time_ns": self._clock.wall_ns()}
        self.started_ns = times["monotonic_time_ns"]
        try:
            bus.execute(f"{name}.start", times, self._metadata(), at=self.place)
        except BaseException as error:  # a handler that fails the test, or an interrupt: some have heard that it began
            self.fail(error)
            raise
        self.started_ns = self._clock.now_ns()  # what handlers take is not the work's

    @property
    def parent_id(self) -> int | None:
        """The id of the span around this one."""
        return None if self.parent is None else self.parent.id

    @property
    def ancestors(self) -> Iterator[Span]:
        """The spans around this one, from the inside out."""
        around = self.parent
        while around is not None:
            yield around
            around = around.parent

    @property
    def ended(self) -> bool:
        """True once ``.stop`` or ``.exception`` was emitted."""
        return self._ended

    def stop(self, *, at_ns: int | None = None) -> None:
        """End the span well. Only the first end counts.

        Args:
            at_ns: what :meth:`now_ns` was when it ended, if that was before now.
        """
        if self._end(at_ns):
            bus.execute(f"{self.name}.stop", self.measurements, self._metadata(success=self.error is None))

    def fail(self, error: BaseException) -> None:
        """End the span with an exception. Only the first end counts."""
        if self._end():
            names = {"error_type": bus.qualified_name(error), **self.metadata}
            bus.execute(f"{self.name}.exception", self.measurements, names | self.ids | {"success": False})

    def now_ns(self) -> int:
        """The time on the span's own clock."""
        return self._clock.now_ns()

    @property
    def elapsed_ns(self) -> int:
        """Nanoseconds since it began."""
        return self.now_ns() - self.started_ns

    @property
    def ids(self) -> dict[str, Any]:
        """What events carry to say that they belong to it."""
        return {"span_id": self.id, "parent_id": self.parent_id}

    def _end(self, at_ns: int | None = None) -> bool:
        if self._ended:
            return False
        self._ended = True
        now = self.now_ns() if at_ns is None else at_ns
        self.measurements |= {"duration_ns": now - self.started_ns, "monotonic_time_ns": now}
        return True

    def _metadata(self, **more: object) -> dict[str, Any]:
        if self.error is not None:
            more["error"] = self.error
        return {**self.metadata, **more, **self.ids}


_current: ContextVar[Span | None] = ContextVar("llmtelemetry_span", default=None)


def current_span() -> Span | None:
    """The innermost open span of this context."""
    here = _current.get()
    # A task may outlive the span that began it, and a span may end in another context than it was entered in.
    while here is not None and here.ended:
        here = here.parent
    return here


P = ParamSpec("P")
R = TypeVar("R")


class SpanContext:
    """What :func:`span` returns: a context manager and a decorator, for sync and async code, and for generators."""

    def __init__(self, name: str, metadata: Metadata = _NOTHING) -> None:
        self._name = name
        self._about = metadata
        self._open: list[_Current] = []

    def _begin(self, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] = _NOTHING) -> Span:
        """Open a span: of a block, or of a call with these arguments."""
        about = self._about
        if callable(about):
            try:
                about = dict(about(*args, **kwargs))
            except Exception as error:  # noqa: BLE001 - the work matters more than what is said of it
                bus.report_failure(f"the metadata of {self._name}", error)
                about = _NOTHING
        return Span(self._name, about)

    def _finish(self, span: Span, error: BaseException | None) -> None:
        """Close it. Instrumentation reads the result here."""
        if error is None:
            span.stop()
        else:
            span.fail(error)

    # -- a context manager -----------------------------------------------------------------

    def __enter__(self) -> Span:
        current = _Current(self._begin())
        self._open.append(current)
        return current.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        opened = self._opened_here()
        self._open.remove(opened)
        opened.__exit__(kind, error, traceback)
        self._finish(opened.span, error)
        return False

    def _opened_here(self) -> _Current:
        # Tasks and threads may share this object: each ends the span that it began.
        opened = self._open.copy()
        here = _current.get()
        while here is not None:
            for one in reversed(opened):
                if one.span is here:
                    return one
            here = here.parent
        return opened[-1]

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        return self.__exit__(kind, error, traceback)

    # -- a decorator: each call is a span of its own, so that recursion, threads and tasks share none --

    def __call__(self, fn: Callable[P, R]) -> Callable[P, R]:
        return cast("Callable[P, R]", around(fn, self._call, self._around_function))

    def _around_function(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def run(*args: Any, **kwargs: Any) -> Any:
            call = self._call(args, kwargs)
            try:
                with call.current():
                    result = fn(*args, **kwargs)
            except BaseException as error:
                call.finish(None, error)
                raise
            # Of a function of coroutines, if another decorator has hidden what it is.
            if issubclass(type(result), Coroutine):
                return awaited(call, result)
            call.finish(result, None)
            return result

        return run

    def _call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Call:
        return _Call(self, self._begin(args, kwargs))


class _Current:
    """Makes a span the current one for the length of a block, or of one after another."""

    __slots__ = ("_here", "_token", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self._here: Span | None = span

    def __enter__(self) -> Span:
        self._token = _current.set(self._here)
        return self.span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._here = _current.get()  # a generator goes on inside the span that it stopped in
        with suppress(ValueError):  # left in another context than it was entered in: nothing to put back
            _current.reset(self._token)


class _Call:
    """One call of a decorated function."""

    __slots__ = ("_context", "_current")

    def __init__(self, context: SpanContext, span: Span) -> None:
        self._context = context
        self._current = _Current(span)

    def current(self) -> _Current:
        return self._current

    def finish(self, result: object, error: BaseException | None) -> None:
        span = self._current.span
        span.result = result
        self._context._finish(span, error)  # noqa: SLF001 - two halves of one idea


def span(name: str, metadata: Metadata = _NOTHING) -> SpanContext:
    """Emit ``name.start``, then exactly one of ``name.stop`` or ``name.exception``, and re-raise.

    Args:
        name: such as ``app.answer``.
        metadata: for both events; as a decorator also a function of the arguments of each call.

    >>> with span("app.answer", {"model": "gpt-4o"}) as work:
    ...     work.measurements["documents"] = 3

    Also a decorator, ``@span("app.answer")``, of functions, coroutine functions and generators.
    """
    return SpanContext(name, metadata)
