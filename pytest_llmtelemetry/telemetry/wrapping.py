"""Wraps functions of every kind as pieces of work: plain, coroutine, generator, class method."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from pytest_llmtelemetry.telemetry.generators import Begin, Work, around_async_generator, around_generator


Wrap = Callable[[Any], Any]


def around(fn: Any, begin: Begin, around_function: Wrap) -> Any:
    """Wrap ``fn``, so that each call of it is a piece of work of its own.

    Args:
        begin: begins the work of a call with these arguments.
        around_function: wraps a plain function.

    Raises:
        TypeError: ``fn`` cannot be called, as a property.
    """
    if isinstance(fn, classmethod | staticmethod):
        return type(fn)(around(fn.__func__, begin, around_function))
    if not callable(fn):
        raise TypeError(f"cannot instrument {fn!r}, which cannot be called; decorate the function below it")
    if inspect.isgeneratorfunction(fn):
        return around_generator(fn, begin)
    if inspect.isasyncgenfunction(fn):
        return around_async_generator(fn, begin)
    if inspect.iscoroutinefunction(fn):
        return _around_coroutine(fn, begin)
    return around_function(fn)


def _around_coroutine(fn: Callable[..., Awaitable[Any]], begin: Begin) -> Callable[..., Any]:
    @functools.wraps(fn)
    async def run(*args: Any, **kwargs: Any) -> Any:
        return await awaited(begin(args, kwargs), fn(*args, **kwargs))

    return run


async def awaited(work: Work, result: Awaitable[Any]) -> Any:
    """Await what was begun: the work is over then."""
    try:
        with work.current():
            value = await result
    except BaseException as error:
        work.finish(None, error)
        raise
    work.finish(value, None)
    return value
