"""A streamed answer, piece by piece: always closed, whatever ends it.

The stream that is returned passes every piece on as it comes, and everything else, such
as ``close()`` or ``response``, to the stream inside.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, TypeVar, overload

from pytest_llmtelemetry.facts import Ended, FinishReason
from pytest_llmtelemetry.telemetry import bus, dropped
from pytest_llmtelemetry.telemetry.names import APPLICATION, CHUNK, STREAM
from pytest_llmtelemetry.telemetry.pace import Pace
from pytest_llmtelemetry.telemetry.results import finish_reason
from pytest_llmtelemetry.telemetry.spans import Span


T = TypeVar("T")


@overload
def instrument_stream(stream: Iterable[T], metadata: Mapping[str, Any] = ...) -> InstrumentedStream[T]: ...
@overload
def instrument_stream(stream: AsyncIterable[T], metadata: Mapping[str, Any] = ...) -> InstrumentedAsyncStream[T]: ...
def instrument_stream(stream: Any, metadata: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """A ``llm.stream`` span around an iterator or an async iterator.

    It begins now and ends once: ``complete`` when the stream is exhausted, ``closed`` when it
    is closed or its ``with`` block is left before, ``abandoned`` when it is dropped, and
    ``error``, as ``.exception``, when it raises. Time to the first piece, the gaps between
    pieces and the finish reason are kept; the pieces are not.

    Args:
        metadata: such as ``{"provider": "openai", "model": "gpt-4o"}``.

    >>> pieces = instrument_stream(iter(["Par", "is."]), {"provider": "openai", "model": "gpt-4o"})
    >>> "".join(pieces)
    'Paris.'
    """
    dropped.collect()
    if isinstance(stream, AsyncIterable):
        return InstrumentedAsyncStream(stream, metadata)
    return InstrumentedStream(stream, metadata)


class _Watch:
    """What is seen of one stream."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self.span = Span(STREAM, {"source": APPLICATION, **metadata})
        self._pace = Pace()
        self._finish: FinishReason | None = None

    def see(self, piece: object) -> None:
        """A piece came."""
        gap = self._pace.tick()
        self.span.measurements.setdefault("time_to_first_token_ns", gap)
        if bus.has_handler(CHUNK):
            about = self.span.metadata | {"index": self._pace.pieces - 1} | self.span.ids
            bus.execute(CHUNK, {"gap_ns": gap}, about)
        try:
            self._finish = (None if isinstance(piece, str | bytes) else finish_reason(piece)) or self._finish
        except Exception as error:  # noqa: BLE001 - the piece is the application's, and is passed on all the same
            bus.report_failure(f"a piece of {STREAM}", error)

    def end(self, ended: Ended, error: BaseException | None = None, *, at_ns: int | None = None) -> None:
        """No more pieces will come. Only the first end counts."""
        span = self.span
        span.measurements |= self._pace.measurements()
        span.metadata |= {"ended": ended, "finish_reason": self._finish}
        if error is None:
            span.stop(at_ns=at_ns)
        else:
            span.fail(error)


class _Proxy:
    """Passes on whatever is not about iterating."""

    def __init__(self, stream: Any, metadata: Mapping[str, Any]) -> None:
        self._stream = stream
        self._watch = _Watch(metadata)

    def __getattr__(self, name: str) -> Any:
        if name in {"_stream", "_pieces", "_watch"}:  # a copy that is not filled yet
            raise AttributeError(name)
        return getattr(self._stream, name)

    def __del__(self, _is_over: Callable[[], bool] = sys.is_finalizing) -> None:
        watch = self.__dict__.get("_watch")
        # At the end of the process nobody reads events, and the modules are empty.
        if watch is not None and not watch.span.ended and not _is_over():
            dropped.leave(functools.partial(watch.end, Ended.ABANDONED, at_ns=watch.span.now_ns()))


def _closer(proxy: InstrumentedStream[Any] | InstrumentedAsyncStream[Any], *names: str) -> Callable[[], Any] | None:
    """How to close the stream inside, or at least the iterator that it made."""
    inner = (proxy._stream, proxy._pieces)  # noqa: SLF001 - one module
    found = (getattr(one, name, None) for one in inner for name in names)
    return next((close for close in found if close is not None), None)


class InstrumentedStream(_Proxy, Iterator[T]):
    """An iterator that is watched."""

    def __init__(self, stream: Iterable[T], metadata: Mapping[str, Any]) -> None:
        self._pieces = iter(stream)
        super().__init__(stream, metadata)

    def __iter__(self) -> InstrumentedStream[T]:
        return self

    def __next__(self) -> T:
        try:
            piece = next(self._pieces)
        except StopIteration:
            self._watch.end(Ended.COMPLETE)
            raise
        except BaseException as error:
            self._watch.end(Ended.ERROR, error)
            raise
        self._watch.see(piece)
        return piece

    def close(self) -> None:
        """Close the stream inside, if it can be closed."""
        try:
            close = _closer(self, "close")
            if close is not None:
                close()
        finally:
            self._watch.end(Ended.CLOSED)

    def __enter__(self) -> InstrumentedStream[T]:
        if hasattr(self._stream, "__enter__"):
            self._stream.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            if hasattr(self._stream, "__exit__"):
                swallowed: bool | None = self._stream.__exit__(kind, error, traceback)
                return swallowed
            self.close()
            return None
        finally:
            self._watch.end(Ended.CLOSED)


class InstrumentedAsyncStream(_Proxy, AsyncIterator[T]):
    """An async iterator that is watched."""

    def __init__(self, stream: AsyncIterable[T], metadata: Mapping[str, Any]) -> None:
        self._pieces = aiter(stream)
        super().__init__(stream, metadata)

    def __aiter__(self) -> InstrumentedAsyncStream[T]:
        return self

    async def __anext__(self) -> T:
        try:
            piece = await anext(self._pieces)
        except StopAsyncIteration:
            self._watch.end(Ended.COMPLETE)
            raise
        except BaseException as error:
            self._watch.end(Ended.ERROR, error)
            raise
        self._watch.see(piece)
        return piece

    async def aclose(self) -> None:
        """Close the stream inside, if it can be closed."""
        await self._end(self._begin_to_close("aclose", "close"))

    def close(self) -> Any:
        """The same, to be awaited or not, as the stream inside wants it."""
        closing = self._begin_to_close("close", "aclose")
        if inspect.isawaitable(closing):
            return self._end(closing)
        self._watch.end(Ended.CLOSED)
        return closing

    def _begin_to_close(self, *names: str) -> Any:
        close = _closer(self, *names)
        try:
            return None if close is None else close()
        except BaseException:
            self._watch.end(Ended.CLOSED)
            raise

    async def _end(self, closing: object) -> None:
        try:
            if inspect.isawaitable(closing):
                await closing
        finally:
            self._watch.end(Ended.CLOSED)

    async def __aenter__(self) -> InstrumentedAsyncStream[T]:
        if hasattr(self._stream, "__aenter__"):
            await self._stream.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            if hasattr(self._stream, "__aexit__"):
                swallowed: bool | None = await self._stream.__aexit__(kind, error, traceback)
                return swallowed
            await self.aclose()
            return None
        finally:
            self._watch.end(Ended.CLOSED)
