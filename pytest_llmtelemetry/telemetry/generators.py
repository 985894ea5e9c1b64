"""Runs a generator step by step, as one piece of work.

The work lasts until the generator ends, but it is the current work only while the
generator's own code runs, not while its user looks at an item.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Generator
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
                    with work.current():
                        inner.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - thrown in by the user, and passed on
                    step, value = inner.throw, error
        except StopIteration as stop:
            work.finish(stop.value, None)
            return stop.value
        except GeneratorExit:
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

    @functools.wraps(fn)
    async def run(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        inner = fn(*args, **kwargs)
        work = begin(args, kwargs)
        step: Callable[[Any], Any] = inner.asend
        value: Any = None
        try:
            while True:
                with work.current():
                    item = await step(value)
                try:
                    step, value = inner.asend, (yield item)
                except GeneratorExit:
                    with work.current():
                        await inner.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001
                    step, value = inner.athrow, error
        except StopAsyncIteration:
            work.finish(None, None)
        except GeneratorExit:
            work.finish(None, None)
            raise
        except BaseException as error:
            work.finish(None, error)
            raise
        finally:
            value = None  # an exception that was thrown in and this frame would keep each other alive

    return run
