"""Streams: every piece is passed on, and the span ends once, whatever ends the stream."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any, Self

import openai
import pytest
from anthropic.types import RawMessageDeltaEvent
from openai.types.chat import ChatCompletionChunk

from pytest_llmtelemetry import LLMMock
from pytest_llmtelemetry.facts import Ended, FinishReason
from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import FixedClock, attach, bus, dropped, instrument_stream, span, streams
from pytest_llmtelemetry.telemetry.clock import set_clock


ABOUT = {"provider": "acme", "model": "acme-1"}


@pytest.fixture
def clock() -> Iterator[FixedClock]:
    """A clock that stands still."""
    one = FixedClock()
    undo = set_clock(one)
    yield one
    undo()


class OopsError(Exception):
    """The application's own."""


def look_up(mapping: dict[str, object], key: str) -> object:
    """Raises a KeyError."""
    return mapping[key]


class Stream:
    """Like an SDK's stream: an iterator with a response, to be closed or used as a context manager."""

    response = "the response"

    def __init__(self, *pieces: object) -> None:
        self._pieces = iter(pieces)
        self.log: list[object] = []

    def __iter__(self) -> Iterator[object]:
        return self

    def __next__(self) -> object:
        piece = next(self._pieces)
        if isinstance(piece, BaseException):
            raise piece
        return piece

    def close(self) -> None:
        self.log.append("closed")

    def __enter__(self) -> Self:
        self.log.append("entered")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self.log.append(kind)
        return kind is KeyError


class AsyncStream:
    """The same for async code."""

    response = "the response"

    def __init__(self, *pieces: object) -> None:
        self._pieces = iter(pieces)
        self.log: list[object] = []

    def __aiter__(self) -> AsyncIterator[object]:
        return self

    async def __anext__(self) -> object:
        for piece in self._pieces:
            await asyncio.sleep(0)
            if isinstance(piece, BaseException):
                raise piece
            return piece
        raise StopAsyncIteration

    async def close(self) -> None:
        self.log.append("closed")

    async def __aenter__(self) -> Self:
        self.log.append("entered")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self.log.append(kind)
        return kind is KeyError


def ends(heard: list[Event]) -> list[tuple[str, Any]]:
    """How streams ended."""
    return [
        (event.name.removeprefix("llm.stream."), event["ended"])
        for event in heard
        if event.name.startswith("llm.stream.") and "ended" in event
    ]


# -- how it ends --------------------------------------------------------------------------------


def exhaust() -> None:
    assert list(instrument_stream(Stream("a", "b"), ABOUT)) == ["a", "b"]


def exhaust_and_close() -> None:
    stream = instrument_stream(Stream("a"), ABOUT)
    list(stream)
    stream.close()
    assert list(stream) == []


def close_early() -> None:
    stream = instrument_stream(Stream("a", "b"), ABOUT)
    next(stream)
    stream.close()
    stream.close()


def leave_block_early() -> None:
    with instrument_stream(Stream("a", "b"), ABOUT) as stream:
        next(stream)


def raise_in_block() -> None:
    with pytest.raises(OopsError), instrument_stream(Stream("a", "b"), ABOUT):
        raise OopsError


def raise_in_a_block_of_a_generator() -> None:
    with pytest.raises(OopsError), instrument_stream((n for n in range(3)), ABOUT):
        raise OopsError


def stream_raises() -> None:
    error = OopsError("broken pipe")
    stream = instrument_stream(Stream("a", error), ABOUT)
    next(stream)
    with pytest.raises(OopsError) as caught:
        next(stream)
    assert caught.value is error
    stream.close()


def stream_raises_at_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        list(instrument_stream(Stream(KeyboardInterrupt()), ABOUT))


def drop() -> None:
    next(instrument_stream(Stream("a", "b"), ABOUT))
    gc.collect()
    dropped.collect()


def test_abandoned_stream_lasts_until_it_is_dropped(clock: FixedClock, heard: list[Event]) -> None:
    """Not until somebody reads events, which may be much later."""
    stream = instrument_stream(Stream("a", "b"), ABOUT)
    next(stream)
    clock.advance(ms=10)
    del stream
    gc.collect()
    clock.advance(60)
    dropped.collect()
    assert heard[-1]["duration_ns"] == heard[-1]["monotonic_time_ns"] == 10_000_000


def generator_that_is_closed() -> None:
    def answer() -> Iterator[object]:
        yield from instrument_stream(Stream("a", "b"), ABOUT)

    pieces: Any = answer()
    next(pieces)
    pieces.close()


async def exhaust_async() -> None:
    assert [piece async for piece in instrument_stream(AsyncStream("a", "b"), ABOUT)] == ["a", "b"]


async def close_early_async() -> None:
    stream = instrument_stream(AsyncStream("a", "b"), ABOUT)
    await anext(stream)
    await stream.close()
    await stream.aclose()


async def leave_block_early_async() -> None:
    async with instrument_stream(AsyncStream("a", "b"), ABOUT) as stream:
        await anext(stream)


async def leave_block_of_an_async_generator() -> None:
    async def pieces() -> AsyncIterator[str]:
        yield "a"
        yield "b"

    async with instrument_stream(pieces(), ABOUT) as stream:
        await anext(stream)


async def stream_raises_async() -> None:
    with pytest.raises(OopsError):
        [piece async for piece in instrument_stream(AsyncStream("a", OopsError()), ABOUT)]


async def cancelled() -> None:
    class Endless(AsyncStream):
        async def __anext__(self) -> object:
            started.set()
            await asyncio.sleep(60)
            return None

    async def read() -> None:
        [piece async for piece in instrument_stream(Endless(), ABOUT)]

    started = asyncio.Event()
    task = asyncio.ensure_future(read())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def drop_async() -> None:
    await anext(instrument_stream(AsyncStream("a", "b"), ABOUT))
    gc.collect()
    dropped.collect()


@pytest.mark.parametrize(
    ("scene", "end", "ended"),
    [
        (exhaust, "stop", Ended.COMPLETE),
        (exhaust_and_close, "stop", Ended.COMPLETE),
        (close_early, "stop", Ended.CLOSED),
        (leave_block_early, "stop", Ended.CLOSED),
        (raise_in_block, "stop", Ended.CLOSED),
        (raise_in_a_block_of_a_generator, "stop", Ended.CLOSED),
        (stream_raises, "exception", Ended.ERROR),
        (stream_raises_at_once, "exception", Ended.ERROR),
        (drop, "stop", Ended.ABANDONED),
        (generator_that_is_closed, "stop", Ended.CLOSED),
        (exhaust_async, "stop", Ended.COMPLETE),
        (close_early_async, "stop", Ended.CLOSED),
        (leave_block_early_async, "stop", Ended.CLOSED),
        (leave_block_of_an_async_generator, "stop", Ended.CLOSED),
        (stream_raises_async, "exception", Ended.ERROR),
        (cancelled, "exception", Ended.ERROR),
        (drop_async, "stop", Ended.ABANDONED),
    ],
    ids=lambda value: value.__name__ if inspect.isfunction(value) else str(value),
)
async def test_ends_once(scene: Callable[[], Any], end: str, ended: Ended, heard: list[Event]) -> None:
    """Whatever ends a stream, its span ends once, and says how."""
    done = scene()
    if inspect.isawaitable(done):
        await done
    assert ends(heard) == [(end, ended)]


def test_stream_that_cannot_be_closed(heard: list[Event]) -> None:
    """A plain iterator is closed for us alone."""
    stream = instrument_stream(iter(["a", "b"]), ABOUT)
    stream.close()
    assert ends(heard) == [("stop", Ended.CLOSED)]


def test_what_cannot_be_iterated_is_no_stream(heard: list[Event]) -> None:
    """It is the application's error, and no span."""
    with pytest.raises(TypeError):
        instrument_stream(7)  # type: ignore[call-overload]
    assert heard == []


@pytest.mark.parametrize("error", [OopsError(), KeyboardInterrupt()], ids=["error", "interrupt"])
async def test_close_that_raises(error: BaseException, heard: list[Event]) -> None:
    """A stream whose close raises is closed all the same, and the exception is passed on."""

    def close(self: object) -> None:
        raise error

    for kind in (Stream, AsyncStream):
        stream = instrument_stream(type("Broken", (kind,), {"close": close})("a"), ABOUT)
        with pytest.raises(type(error)) as caught:
            await stream.close()
        assert caught.value is error
    assert ends(heard) == [("stop", Ended.CLOSED)] * 2


# -- what is measured ---------------------------------------------------------------------------


def test_pace(clock: FixedClock, heard: list[Event]) -> None:
    """The time to the first piece, the gaps after it, and how many there were."""

    def pieces() -> Iterator[str]:
        for wait in (300, 10, 60, 20):
            clock.advance(ms=wait)
            yield "x"
        clock.advance(ms=5)

    list(instrument_stream(pieces(), ABOUT))
    start, stop = heard
    assert start.metadata == {**ABOUT, "source": "application", "span_id": 1, "parent_id": None}
    assert stop.measurements == {
        "time_to_first_token_ns": 300_000_000,
        "chunks": 4,
        "mean_gap_ns": 30_000_000,
        "max_gap_ns": 60_000_000,
        "duration_ns": 395_000_000,
        "monotonic_time_ns": 395_000_000,
    }
    assert stop.metadata == {
        **ABOUT,
        "source": "application",
        "ended": Ended.COMPLETE,
        "finish_reason": None,
        "success": True,
        "span_id": 1,
        "parent_id": None,
    }


async def test_pace_async(clock: FixedClock, heard: list[Event]) -> None:
    """The same for an async stream."""

    async def pieces() -> AsyncIterator[str]:
        for wait in (300, 10):
            clock.advance(ms=wait)
            yield "x"

    async for _ in instrument_stream(pieces(), ABOUT):
        pass
    stop = heard[1]
    found = [stop[key] for key in ("time_to_first_token_ns", "chunks", "mean_gap_ns", "max_gap_ns")]
    assert found == [300_000_000, 2, 10_000_000, 10_000_000]


@pytest.mark.parametrize(
    ("pieces", "keys"), [([], set()), (["a"], {"time_to_first_token_ns"})], ids=["no piece", "one piece"]
)
def test_no_gap_without_two_pieces(pieces: list[str], keys: set[str], heard: list[Event]) -> None:
    """What did not happen is not there."""
    list(instrument_stream(iter(pieces), ABOUT))
    assert set(heard[1].measurements) == {"chunks", "duration_ns", "monotonic_time_ns"} | keys


def openai_chunk(finish: str | None) -> ChatCompletionChunk:
    choices = [{"index": 0, "delta": {"content": "x"}, "finish_reason": finish}]
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}
    return ChatCompletionChunk.model_validate({**head, "choices": choices})


def openai_usage() -> ChatCompletionChunk:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini", "choices": []}
    return ChatCompletionChunk.model_validate(head)


def anthropic_delta(stop: str) -> RawMessageDeltaEvent:
    delta = {"stop_reason": stop, "stop_sequence": None}
    return RawMessageDeltaEvent.model_validate({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 1}})


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([openai_chunk(None), openai_chunk("length"), openai_usage()], FinishReason.LENGTH),
        ([openai_chunk(None)], None),
        ([anthropic_delta("end_turn"), {"type": "message_stop"}], FinishReason.STOP),
        (["text", b"bytes", {"finish_reason": "tool_calls"}], FinishReason.TOOL_CALLS),
    ],
    ids=["OpenAI", "cut off", "Anthropic", "mapping"],
)
def test_finish_reason(pieces: list[object], reason: FinishReason | None, heard: list[Event]) -> None:
    """The last piece that says why the model stopped is believed."""
    assert list(instrument_stream(iter(pieces), ABOUT)) == pieces
    assert heard[1]["finish_reason"] == reason


class Unreadable:
    """Not even its kind can be asked for."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("working outside of a context")


def test_piece_that_cannot_be_read(heard: list[Event]) -> None:
    """It is passed on all the same, and the failure is told."""
    piece = Unreadable()
    stream = instrument_stream(iter([piece]), ABOUT)
    assert next(stream) is piece
    failure = heard[-1]
    assert (failure.name, failure["where"]) == (bus.INSTRUMENT_FAILURE, "a piece of llm.stream")


# -- pieces -------------------------------------------------------------------------------------


def test_pieces_are_told_on_demand(clock: FixedClock, heard: list[Event]) -> None:
    """An event for each piece, only while a handler is attached to exactly that name."""

    def pieces() -> Iterator[str]:
        for text in "abcd":
            clock.advance(ms=10)
            yield text

    stream = instrument_stream(pieces(), ABOUT)
    next(stream)
    undo = attach("asks for pieces", "llm.stream.chunk", lambda *args: None)
    next(stream)
    next(stream)
    undo()
    next(stream)
    told = [event for event in heard if event.name == "llm.stream.chunk"]
    assert [event.measurements for event in told] == [{"gap_ns": 10_000_000}] * 2
    assert [event.metadata for event in told] == [
        {**ABOUT, "source": "application", "index": index, "span_id": 1, "parent_id": None} for index in (1, 2)
    ]


def test_stream_is_inside_its_span(heard: list[Event]) -> None:
    """A stream belongs to the span in which it was begun."""
    with span("app.answer") as around:
        stream = instrument_stream(Stream("a"), ABOUT)
    list(stream)
    assert {event["parent_id"] for event in heard if event.name.startswith("llm.stream")} == {around.id}


# -- the stream inside --------------------------------------------------------------------------


def test_everything_else_is_the_streams_own() -> None:
    """Attributes come from the stream inside, and those that it lacks are lacking."""
    inner = Stream("a")
    stream = instrument_stream(inner, ABOUT)
    assert (stream.response, iter(stream)) == ("the response", stream)
    assert not hasattr(stream, "nonsense")
    stream.close()
    assert inner.log == ["closed"]


def test_context_manager_of_the_stream() -> None:
    """A block enters and leaves the stream inside, which may swallow an exception."""
    inner = Stream("a")
    with instrument_stream(inner, ABOUT):
        look_up({}, "missing")
    assert inner.log == ["entered", KeyError]


async def test_context_manager_of_an_async_stream() -> None:
    """The same for ``async with``."""
    inner = AsyncStream("a")
    async with instrument_stream(inner, ABOUT) as stream:
        assert stream.response == "the response"
        look_up({}, "missing")
    assert inner.log == ["entered", KeyError]


def test_block_around_what_is_no_context_manager() -> None:
    """Leaving it closes a generator."""
    closed: list[str] = []

    def pieces() -> Iterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            closed.append("closed")

    with instrument_stream(pieces(), ABOUT) as stream:
        next(stream)
    assert closed == ["closed"]


class Restartable:
    """Makes its iterator when it is asked for one, and cannot be closed itself."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def __iter__(self) -> Iterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            self.log.append("closed")


def test_iterator_that_the_stream_makes_is_closed() -> None:
    """Where the stream has no close, its iterator may have one."""
    inner = Restartable()
    stream = instrument_stream(inner, ABOUT)
    next(stream)
    stream.close()
    assert inner.log == ["closed"]


async def test_async_stream_with_a_plain_close(heard: list[Event]) -> None:
    """A close that is not to be awaited is not to be awaited."""

    class Plain(AsyncStream):
        def close(self) -> str:  # type: ignore[override]
            self.log.append("closed")
            return "done"

    one, other = Plain("a"), Plain("a")
    assert instrument_stream(one, ABOUT).close() == "done"
    await instrument_stream(other, ABOUT).aclose()
    assert (one.log, other.log) == (["closed"], ["closed"])
    assert ends(heard) == [("stop", Ended.CLOSED)] * 2


def test_copy_that_is_not_filled_yet() -> None:
    """Copying asks for attributes of an object that has none."""
    empty = streams.InstrumentedStream.__new__(streams.InstrumentedStream)
    assert not hasattr(empty, "response")


async def test_sdk_streams(llm_mock: LLMMock, heard: list[Event]) -> None:
    """Streams of the real SDK, sync and async, give what they give, and are closed."""
    llm_mock.openai.chat("Paris is nice.")
    question: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello?"}], "stream": True}
    with openai.OpenAI(api_key="sk-test") as client:
        raw = client.chat.completions.create(**question)
        with instrument_stream(raw, ABOUT) as stream:
            text = "".join(piece.choices[0].delta.content or "" for piece in stream if piece.choices)
        assert (text, stream.response, raw.response.is_closed) == ("Paris is nice.", raw.response, True)
    async with openai.AsyncOpenAI(api_key="sk-test") as client:
        raw = await client.chat.completions.create(**question)
        stream = instrument_stream(raw, ABOUT)
        await anext(stream)
        await stream.close()
        assert raw.response.is_closed
    mine = [event for event in heard if event.name == "llm.stream.stop" and event["provider"] == "acme"]
    found = [(event["ended"], event["finish_reason"]) for event in mine]
    assert found == [(Ended.COMPLETE, FinishReason.STOP), (Ended.CLOSED, None)]
