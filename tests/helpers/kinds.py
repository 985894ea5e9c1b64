"""One code for both kinds of client, sync and async."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from inspect import isawaitable
from typing import Any


KINDS = ("sync", "async")


async def value(result: Any) -> Any:
    """What a sync call returned, or an async one will."""
    return await result if isawaitable(result) else result


async def items(stream: Any) -> AsyncGenerator[Any, None]:
    """The items of either kind of iterable."""
    if hasattr(stream, "__aiter__"):
        async for item in stream:
            yield item
    else:
        for item in stream:
            yield item


@asynccontextmanager
async def opened(manager: Any, kind: str) -> AsyncIterator[Any]:
    """What a context manager of ``kind`` gives; some are of both kinds."""
    if kind == "async":
        async with manager as inner:
            yield inner
    else:
        with manager as inner:
            yield inner
