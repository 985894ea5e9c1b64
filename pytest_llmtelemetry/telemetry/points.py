"""Work that ends in one event: a context manager and a decorator, of functions, coroutine functions and generators.

No event is emitted if the work raises: a look-up that failed is neither a hit nor a miss.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar, cast

from pytest_llmtelemetry.telemetry import bus, clock
from pytest_llmtelemetry.telemetry.wrapping import around, awaited


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of a decorated call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


Announce = Callable[[object, int, Arguments | None], None]
"""Called with the result, the duration in nanoseconds, and the arguments, if it is the call of a decorated function."""

P = ParamSpec("P")
R = TypeVar("R")


class Point:
    """One piece of work. In a ``with`` block, set :attr:`result`; each block has a point of its own."""

    def __init__(self, what: str, announce: Announce) -> None:
        self.result: object = None
        """What came of it."""
        self._what = what
        self._announce = announce
        self._work = self._begin(None)

    def __enter__(self) -> Self:
        self.result = None
        self._work = self._begin(None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        self._work.finish(self.result, error)
        return False

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        return self.__exit__(kind, error, traceback)

    def __call__(self, fn: Callable[P, R]) -> Callable[P, R]:
        return cast("Callable[P, R]", around(fn, self._call, self._around_function))

    def _around_function(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def run(*args: Any, **kwargs: Any) -> Any:
            return self._call(args, kwargs).do(functools.partial(fn, *args, **kwargs))

        return run

    def run(self, fn: Callable[[], R]) -> R:
        """Do the work now, and return what it returns; if that is awaitable, the event follows its end."""
        return self._begin(None).do(fn)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Work:
        return self._begin(Arguments(args, kwargs))

    def _begin(self, arguments: Arguments | None) -> _Work:
        return _Work(self._what, self._announce, arguments)


class _Work:
    """The work of one block or call."""

    __slots__ = ("_announce", "_arguments", "_began_ns", "_clock", "_what")

    def __init__(self, what: str, announce: Announce, arguments: Arguments | None) -> None:
        self._what = what
        self._announce = announce
        self._arguments = arguments
        self._clock = clock.current()
        self._began_ns = self._clock.now_ns()

    def current(self) -> nullcontext[None]:
        """Entered while the code of a generator runs."""
        return nullcontext()

    def do(self, fn: Callable[[], R]) -> R:
        """Call ``fn``, and return what it returns. What is awaitable is over when it was awaited."""
        result = fn()
        # Of the type, because to ask a lazy object for its class may do its work.
        if not issubclass(type(result), Awaitable):
            self.finish(result, None)
        elif hasattr(result, "add_done_callback"):  # a future is returned as it is: it can be cancelled, for example
            result.add_done_callback(self._finish_future)
        else:
            return cast("R", awaited(self, cast("Awaitable[Any]", result)))
        return result

    def finish(self, result: object, error: BaseException | None) -> None:
        """Emit the event, unless the work raised."""
        if error is not None:
            return
        try:
            self._announce(result, self._clock.now_ns() - self._began_ns, self._arguments)
        except Exception as fault:  # noqa: BLE001 - the work matters more than what is said of it
            bus.report_failure(self._what, fault)

    def _finish_future(self, future: Any) -> None:
        if not future.cancelled() and future.exception() is None:
            self.finish(future.result(), None)
