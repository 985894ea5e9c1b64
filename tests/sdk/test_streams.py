"""However a stream ends, it ends once, and what it said until then is known."""

from __future__ import annotations

import asyncio
import gc
import threading
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import pytest

from loopback import SSE, Drop, Reply, Server, Step
from pytest_llmtelemetry import Event, EventLog, FinishReason, FixedClock
from pytest_llmtelemetry.plugin.session import SESSION
from sdks import SDK, answers, entered, expected_call, http_client, pieces, value


pytestmark = pytest.mark.matrix

only_async = pytest.mark.parametrize("kind", ["async"])


@dataclass
class Opened:
    """A response of the SDK's HTTP library, of which nothing was read yet."""

    kind: str
    client: Any
    response: Any

    def chunks(self) -> AsyncGenerator[Any, None]:
        """Its body, as it comes over the wire."""
        return pieces(self.response.iter_raw() if self.kind == "sync" else self.response.aiter_raw())

    async def close(self, thing: Any) -> None:
        """Close the response or the client."""
        await value(thing.close() if self.kind == "sync" else thing.aclose())


@asynccontextmanager
async def opened(sdk: SDK, kind: str, server: Server, *steps: Step, **headers: str) -> AsyncIterator[Opened]:
    """Ask for a stream that the server makes of ``steps``."""
    server.answer(Reply(headers={**SSE, **headers}, body=steps))
    client = http_client(sdk.stack, kind, timeout=server.patience_s)
    async with entered(client):
        request = client.build_request("POST", server.url + sdk.path, json=dict(sdk.streamed_question, stream=True))
        yield Opened(kind, client, await value(client.send(request, stream=True)))


def the_end(log: EventLog) -> Event:
    """The one end of the one request; its stream must have ended once too, and in the same way."""
    starts = log.filter("llm.*.start")
    assert starts.names == ["llm.provider.request.start", "llm.stream.start"]
    stream, request = [event for event in log if event.name.endswith((".stop", ".exception"))]
    kind = request.name.rpartition(".")[2]
    assert [stream.name, request.name] == [f"llm.stream.{kind}", f"llm.provider.request.{kind}"]
    assert stream["ended"] == request["ended"]
    return request


# -- how it ends -----------------------------------------------------------------------


async def test_exhausted(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """A stream that is read to its end is complete, and all of its bytes were counted."""
    async with opened(sdk, kind, provider, *sdk.chunks) as stream:
        assert b"".join([chunk async for chunk in stream.chunks()]) == b"".join(sdk.chunks)

    assert the_end(llm_events)["ended"] == "complete"
    assert llm_events.filter("llm.stream.stop")[0]["bytes"] == sum(map(len, sdk.chunks))
    assert llm_events.calls == (expected_call(sdk, llm_events),)


async def test_closed_after_the_last_event(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """A stream is complete when the provider said so, even if the client does not wait for the end of the bytes."""
    async with opened(sdk, kind, provider, *sdk.chunks, threading.Event()) as stream:
        await read_until(stream, sdk.chunks[-1])
        await stream.close(stream.response)

    assert the_end(llm_events)["ended"] == "complete"
    assert llm_events.calls == (expected_call(sdk, llm_events),)


async def test_closed_early(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """A stream that the SDK's user closes early is closed, and its price is unknown."""
    provider.answer(Reply(headers=SSE, body=[*sdk.chunks[:3], threading.Event()]))
    async with sdk.client(kind, provider) as client:
        stream = await value(sdk.ask_streamed(client))
        async with aclosing(pieces(stream)) as items:
            await anext(items)
        await value(stream.close())
        await value(stream.close())

    assert the_end(llm_events)["ended"] == "closed"
    assert [call.cost_usd for call in llm_events.calls] == [None]


async def test_never_read_and_closed(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """A stream that is closed unread is closed."""
    async with opened(sdk, kind, provider, *sdk.chunks) as stream:
        await stream.close(stream.response)

    assert the_end(llm_events)["ended"] == "closed"
    assert [call.usage for call in llm_events.calls] == [None]


async def test_never_read_and_dropped(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """A stream that is forgotten unread is abandoned, as soon as it is collected."""
    async with opened(sdk, kind, provider, *sdk.chunks) as stream:
        del stream.response
        gc.collect()
        assert the_end(llm_events)["ended"] == "abandoned"

    assert the_end(llm_events)["ended"] == "abandoned"


async def test_dropped_stream_lasts_until_it_is_dropped(
    *, sdk: SDK, kind: str, provider: Server, llm_events: EventLog, llm_clock: FixedClock
) -> None:
    """Not until somebody reads events, which may be much later."""
    async with opened(sdk, kind, provider, *sdk.chunks) as stream:
        llm_clock.advance(1)
        del stream.response
        gc.collect()
        llm_clock.advance(60)
        ends = [the_end(llm_events), *llm_events.filter("llm.stream.stop")]

    assert [end["duration_ns"] for end in ends] == [1_000_000_000] * 2


async def test_broken_off_and_dropped(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """A stream that is forgotten half read ends once; some libraries close it then, others do not."""
    async with opened(sdk, kind, provider, *sdk.chunks[:2], threading.Event()) as stream:
        await read_until(stream, sdk.chunks[1])
        del stream.response
        await collected()
        assert the_end(llm_events)["ended"] in {"closed", "abandoned"}


async def test_broken_off_in_the_sdk(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """A loop over the SDK's stream that is left by ``break`` ends it once."""
    provider.answer(Reply(headers=SSE, body=[*sdk.chunks[:3], threading.Event()]))
    async with sdk.client(kind, provider) as client:
        await first_of(sdk, client)
        await collected()

    assert the_end(llm_events)["ended"] in {"closed", "abandoned"}


async def test_connection_dropped(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """A connection that breaks is an error, and the call is counted all the same."""
    async with opened(sdk, kind, provider, *sdk.chunks[:3], Drop()) as stream:
        with pytest.raises(sdk.stack.RemoteProtocolError):
            await read_until(stream, b"no such thing")

    end = the_end(llm_events)
    assert (end.name, end["ended"]) == ("llm.provider.request.exception", "error")
    assert (end["error_type"], end["uncertain"]) == (f"{sdk.stack.__name__}.RemoteProtocolError", False)
    assert [call.cost_usd for call in llm_events.calls] == [None]


async def test_client_closed(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """A client that is closed under a stream ends it once."""
    async with (
        opened(sdk, kind, provider, *sdk.chunks[:2], threading.Event()) as stream,
        aclosing(stream.chunks()) as chunks,
    ):
        await anext(chunks)
        await stream.close(stream.client)
        with pytest.raises((sdk.stack.TransportError, OSError, RuntimeError)):
            await read_until(stream, b"no such thing", chunks)

    assert the_end(llm_events)["ended"] == "error"


@only_async
async def test_task_cancelled(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """A task that is cancelled in the middle of a stream ends it as an error, and stays cancelled."""
    async with opened(sdk, kind, provider, *sdk.chunks[:2], threading.Event()) as stream:
        reading = asyncio.create_task(read_until(stream, b"no such thing"))
        await asyncio.sleep(0.02)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    end = the_end(llm_events)
    assert (end["ended"], end["error_type"]) == ("error", "asyncio.exceptions.CancelledError")


def test_loop_ended(sdk: SDK, provider: Server, llm_events: EventLog) -> None:
    """A stream that is left open when its event loop ends is ended once."""

    async def leave() -> None:
        opening = opened(sdk, "async", provider, *sdk.chunks[:2], threading.Event())
        stream = await opening.__aenter__()
        left.extend([opening, stream, stream.chunks()])
        await anext(left[-1])

    left: list[Any] = []
    asyncio.run(leave())
    left.clear()
    gc.collect()
    assert the_end(llm_events)["ended"] in {"closed", "abandoned"}


@only_async
async def test_wait_for(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """A time limit around a stream ends it as an error, and is raised as what it is."""
    async with opened(sdk, kind, provider, *sdk.chunks[:2], threading.Event()) as stream:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(read_until(stream, b"no such thing"), 0.02)

    assert the_end(llm_events)["ended"] == "error"


async def test_read_timeout(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """A provider that falls silent in the middle of a stream ends it as an error."""
    provider.answer(Reply(headers=SSE, body=[*sdk.chunks[:2], threading.Event()]))
    limit = sdk.stack.Timeout(provider.patience_s, read=0.2)
    async with sdk.client(kind, provider, timeout=limit, max_retries=0) as client:
        with pytest.raises((sdk.module.APITimeoutError, sdk.stack.ReadTimeout)):
            await answers(sdk, client, "streamed")

    end = the_end(llm_events)
    assert (end["ended"], end["error_type"]) == ("error", f"{sdk.stack.__name__}.ReadTimeout")


async def test_no_finish_reason(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """A stream that ends cleanly before the provider was done is unterminated, though the SDK calls it a success."""
    provider.answer(Reply(headers=SSE, body=sdk.chunks[:3]))
    async with sdk.client(kind, provider) as client:
        assert await answers(sdk, client, "streamed")

    end = the_end(llm_events)
    assert (end.name, end["ended"], end["finish_reason"]) == ("llm.provider.request.stop", "unterminated", None)
    assert [call.cost_usd for call in llm_events.calls] == [None]


async def test_error_event(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """A failure that the provider tells in the middle of a stream is the request's."""
    failure = b'data: {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}\n\n'
    failure = failure if sdk.name == "openai" else b"event: error\n" + failure
    provider.answer(Reply(headers=SSE, body=[*sdk.chunks[:3], failure]))
    async with sdk.client(kind, provider, max_retries=0) as client:
        with pytest.raises(sdk.module.APIError, match="Overloaded"):
            await answers(sdk, client, "streamed")

    end = the_end(llm_events)
    assert (end["success"], end["error"]) == (False, "overloaded_error")


async def test_flushed(
    sdk: SDK, kind: str, provider: Server, llm_events: EventLog, request: pytest.FixtureRequest
) -> None:
    """A stream that outlives its test is abandoned there, and still gives its reader every byte."""
    async with opened(sdk, kind, provider, *sdk.chunks) as stream:
        request.config.stash[SESSION].observer.flush()
        assert the_end(llm_events)["ended"] == "abandoned"
        assert b"".join([chunk async for chunk in stream.chunks()]) == b"".join(sdk.chunks)

    assert the_end(llm_events)["ended"] == "abandoned"


@pytest.mark.parametrize("kind", ["sync"])
async def test_read_in_another_thread(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """A stream that another thread reads is complete, and belongs to the test that asked for it."""
    async with opened(sdk, kind, provider, *sdk.chunks) as stream:
        reading = threading.Thread(target=lambda: list(stream.response.iter_raw()))
        reading.start()
        reading.join()

    assert the_end(llm_events)["ended"] == "complete"


async def test_streams_at_once(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """Streams of one client that are read in turns are told apart."""
    provider.answer(sdk.stream, Reply(headers=SSE, body=sdk.chunks[:3]))
    async with sdk.client(kind, provider) as client:
        both = [pieces(await value(sdk.ask_streamed(client))) for _ in range(2)]
        for stream in both:
            await anext(stream)
        for stream in reversed(both):
            assert [item async for item in stream]

    assert [end["ended"] for end in llm_events.filter("llm.stream.stop")] == ["unterminated", "complete"]
    assert sorted(call.cost_usd == sdk.cost_usd for call in llm_events.calls) == [False, True]


# -- what it says ----------------------------------------------------------------------


async def test_time_to_first_token(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """The first token counts when it comes: after the opening, and long before the end."""
    opening, first, *rest = sdk.chunks
    holds = [threading.Event(), threading.Event()]
    async with (
        opened(sdk, kind, provider, opening, holds[0], first, holds[1], *rest) as stream,
        aclosing(stream.chunks()) as chunks,
    ):
        for hold, before in zip(holds, (opening, first), strict=True):
            await read_until(stream, before, chunks)
            await asyncio.sleep(PAUSE_S)
            hold.set()
        async for _ in chunks:
            pass

    end = the_end(llm_events)
    assert end["time_to_first_token_ns"] >= PAUSE_S * 1e9
    assert end["duration_ns"] - end["time_to_first_token_ns"] >= PAUSE_S * 1e9


async def test_without_usage(sdk: SDK, kind: str, provider: Server, llm_events: EventLog) -> None:
    """A stream that ends well but states no usage is a call without a price."""
    chunks = [chunk for chunk in sdk.chunks if b"usage" not in chunk]
    provider.answer(Reply(headers=SSE, body=chunks))
    async with sdk.client(kind, provider) as client:
        await answers(sdk, client, "streamed")

    (call,) = llm_events.calls
    assert the_end(llm_events)["ended"] == "complete"
    assert (call.usage, call.cost_usd, call.price_source) == (None, None, "unpriced")
    assert llm_events.cost_usd is None


@pytest.mark.parametrize("way", ["plain", "streamed"])
async def test_truncated(*, sdk: SDK, kind: str, way: str, provider: Server, llm_events: EventLog) -> None:
    """An answer that the limit on output tokens cut short is announced, with the limit."""
    cut = {"openai": (b'"stop"', b'"length"'), "anthropic": (b'"end_turn"', b'"max_tokens"')}[sdk.name]
    whole = sdk.plain if way == "plain" else sdk.stream
    body = [step.replace(*cut) for step in whole.body if isinstance(step, bytes)]
    provider.answer(Reply(headers=whole.headers, body=body))
    async with sdk.client(kind, provider) as client:
        await answers(sdk, client, way)

    (event,) = llm_events.filter("llm.response.truncated")
    assert dict(event.measurements) == {"output_tokens": sdk.usage.output_tokens, "max_tokens": 300}
    assert (event["finish_reason"], event["model"]) == (FinishReason.LENGTH, sdk.model)
    assert llm_events.calls[0].finish_reason is FinishReason.LENGTH


# -- how it is packed ------------------------------------------------------------------

Pack = Callable[[Sequence[bytes]], list[bytes]]
"""Encodes a body piece by piece."""


def zipped(wbits: int) -> Pack:
    def pack(chunks: Sequence[bytes]) -> list[bytes]:
        packer = zlib.compressobj(wbits=wbits)
        return [*(packer.compress(chunk) + packer.flush(zlib.Z_SYNC_FLUSH) for chunk in chunks), packer.flush()]

    return pack


def brotli(chunks: Sequence[bytes]) -> list[bytes]:
    packer = pytest.importorskip("brotli").Compressor()
    return [*(packer.process(chunk) + packer.flush() for chunk in chunks), packer.finish()]


def zstd(chunks: Sequence[bytes]) -> list[bytes]:
    zstandard = pytest.importorskip("zstandard")
    packer = zstandard.ZstdCompressor().compressobj()
    flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK
    return [*(packer.compress(chunk) + packer.flush(flush) for chunk in chunks), packer.flush()]


def zstd_frames(chunks: Sequence[bytes]) -> list[bytes]:
    compress = pytest.importorskip("zstandard").ZstdCompressor().compress
    return [compress(chunk) for chunk in chunks]


def one_by_one(pack: Pack) -> Pack:
    """The same bytes, each on its own."""

    def cut(chunks: Sequence[bytes]) -> list[bytes]:
        whole = b"".join(pack(chunks))
        return [whole[at : at + 1] for at in range(len(whole))]

    return cut


PACKED: dict[str, tuple[str, Pack]] = {
    "gzip": ("gzip", zipped(zlib.MAX_WBITS | 16)),
    "gzip, byte by byte": ("gzip", one_by_one(zipped(zlib.MAX_WBITS | 16))),
    "deflate": ("deflate", zipped(zlib.MAX_WBITS)),
    "raw deflate": ("deflate", zipped(-zlib.MAX_WBITS)),
    "br": ("br", brotli),
    "br, byte by byte": ("br", one_by_one(brotli)),
    "zstd": ("zstd", zstd),
    "zstd, byte by byte": ("zstd", one_by_one(zstd)),
    "zstd in frames": ("zstd", zstd_frames),
    "gzip in br": ("gzip, br", lambda chunks: brotli(zipped(zlib.MAX_WBITS | 16)(chunks))),
}


@pytest.mark.parametrize(("encoding", "pack"), PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("kind", ["sync"])
async def test_packed(
    *, sdk: SDK, kind: str, encoding: str, pack: Pack, provider: Server, llm_events: EventLog
) -> None:
    """A packed stream is read while its bytes pass by packed."""
    packed = pack(sdk.chunks)
    async with opened(sdk, kind, provider, *packed, **{"content-encoding": encoding}) as stream:
        assert b"".join([chunk async for chunk in stream.chunks()]) == b"".join(packed)

    assert the_end(llm_events)["ended"] == "complete"
    assert llm_events.calls == (expected_call(sdk, llm_events),)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "rot13", "gzip, rot13"])
@pytest.mark.parametrize("kind", ["sync"])
async def test_not_packed_as_it_says(
    *, sdk: SDK, kind: str, encoding: str, provider: Server, llm_events: EventLog
) -> None:
    """A stream that cannot be unpacked passes as it is, and its price is unknown."""
    async with opened(sdk, kind, provider, *sdk.chunks, **{"content-encoding": encoding}) as stream:
        assert b"".join([chunk async for chunk in stream.chunks()]) == b"".join(sdk.chunks)

    assert the_end(llm_events)["ended"] == "unterminated"
    assert [(call.usage, call.cost_usd) for call in llm_events.calls] == [(None, None)]


# -- the makings -----------------------------------------------------------------------

PAUSE_S = 0.02


async def read_until(stream: Opened, mark: bytes, chunks: AsyncGenerator[Any, None] | None = None) -> None:
    """Read until ``mark`` has passed, and leave the rest."""
    seen = b""
    async with aclosing(stream.chunks()) if chunks is None else nullcontext(chunks) as pulled:
        while not seen.endswith(mark):
            try:
                seen += await anext(pulled)
            except StopAsyncIteration:
                return


async def collected() -> None:
    """Let go of what nobody holds: async generators are closed by the loop, and may be part of a cycle."""
    await asyncio.sleep(0.005)
    gc.collect()
    await asyncio.sleep(0.005)


async def first_of(sdk: SDK, client: Any) -> Any:
    """The first piece of a streamed answer; the rest is forgotten."""
    async for item in pieces(await value(sdk.ask_streamed(client))):
        return item
    return None
