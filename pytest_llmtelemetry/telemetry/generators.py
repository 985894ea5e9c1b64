"""Runs a generator step by step, as one piece of work.

The work lasts until the generator ends, but it is the current work only while the
generator's own code runs, not while its user looks at an item.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Work(Protocol):
    """One call of a generator function."""

    def current(self) -> AbstractContextManager[object]:
        """Entered while the generator's code runs."""

    def finish(self, result: object, error: BaseException | None) -> None:
        """Called once: with what the generator returned, or what ended it."""


Begin = Callable[[tuple[Any, ...], dict[str, Any]], Work]


def around_generator(fn: Callable[..., Generator[Any, Any, Any]], begin: Begin) -> Callable[..., Any]:
    """Wrap a generator function. What is sent and thrown is passed on; to be closed is an end like any other."""
    is_over = sys.is_finalizing  # known here, because the modules are empty when the process ends

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        inner = fn(*args, **kwargs)
        work = begin(args, kwargs)
        step: Callable[[Any], Any] = inner.send
        value: Any = None
        try:
            while True:
                with work.current():
                    item = step(value)
                try:
                    step, value = inner.send, (yield item)
                except GeneratorExit:
                    if is_over():
                        raise  # what is inside closes itself
                    with work.current():
                        inner.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - thrown in by the user, and passed on
                    step, value = inner.throw, error
        except StopIteration as stop:
            work.finish(stop.value, None)
            return stop.value
        except GeneratorExit:
            if not is_over():
                work.finish(None, None)
            raise
        except BaseException as error:
            work.finish(None, error)
            raise
        finally:
            value = None  # an exception that was thrown in and this frame would keep each other alive

    return run


def around_async_generator(fn: Callable[..., AsyncGenerator[Any, Any]], begin: Begin) -> Callable[..., Any]:
    """The same for an async generator function."""
    is_over = sys.is_finalizing

    @functools.wraps(fn)
    async def run(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        inner = fn(*args, **kwargs)
        work = begin(args, kwargs)
        first = _first_step(inner)
        step: Callable[[Any], Any] = lambda _: first  # noqa: E731 - like the steps that follow
        value: Any = None
        try:
            while True:
                with work.current():
                    item = await step(value)
                try:
                    step, value = inner.asend, (yield item)
                except GeneratorExit:
                    if is_over():
                        raise  # what is inside closes itself
                    with work.current():
                        await inner.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001
                    step, value = inner.athrow, error
        except StopAsyncIteration:
            work.finish(None, None)
        except GeneratorExit:
            if not is_over():
                work.finish(None, None)
            raise
        except BaseException as error:
            work.finish(None, error)
            raise
        finally:
            value = None  # an exception that was thrown in and this frame would keep each other alive

    return run


def _first_step(inner: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    """The first step of a generator that no event loop knows: it would close this one and the one around it at once."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return inner.asend(None)  # the hooks are asked now, and never again
    finally:
        sys.set_asyncgen_hooks(*hooks)
