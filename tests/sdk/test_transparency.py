"""Being watched changes nothing: what the SDK gives, what it raises, what it sends, and when."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from loopback import JSON, SSE, Drop, Reply, Server
from pytest_llmtelemetry import EventLog
from pytest_llmtelemetry.plugin.session import SESSION
from sdks import SDK, STREAM_WAYS, WAYS, answers, entered, http_client, pieces, reply_to, value


pytestmark = pytest.mark.matrix

Unwatched = Callable[[], Any]


@pytest.fixture
def unwatched(request: pytest.FixtureRequest) -> Unwatched:
    """A context manager inside which the plugin does not watch."""
    watch = request.config.stash[SESSION]._watch

    @contextmanager
    def pause() -> Iterator[None]:
        watch.end()
        try:
            yield
        finally:
            watch.begin()

    return pause


@dataclass(frozen=True, kw_only=True)
class Case:
    """Something that a provider may answer."""

    replies: Callable[[Reply], Sequence[Reply]]
    """Made from the good answer."""
    retries: int = 0
    attempts: int = 1


def squeezed(reply: Reply) -> Reply:
    """The same answer under gzip, each piece flushed."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    packed = [packer.compress(step) + packer.flush(zlib.Z_SYNC_FLUSH) for step in reply.body if isinstance(step, bytes)]
    return Reply(headers={**reply.headers, "content-encoding": "gzip"}, body=[*packed, packer.flush()])


def broken(reply: Reply) -> Reply:
    """The connection breaks in the middle of the second piece."""
    whole = b"".join(step for step in reply.body if isinstance(step, bytes))
    half = len(whole) // 2
    return Reply(headers=reply.headers, body=[whole[: half - 10], whole[half - 10 : half], Drop()])


def refusal(status: int, **headers: str) -> Reply:
    return Reply(status=status, headers={**JSON, **headers}, body=[b'{"error": {"type": "oops", "message": "No."}}'])


CASES = {
    "answered": Case(replies=lambda good: [good]),
    "gzip": Case(replies=lambda good: [squeezed(good)]),
    "bad request": Case(replies=lambda good: [refusal(400)]),
    "rate limited, then answered": Case(
        replies=lambda good: [refusal(429, **{"retry-after-ms": "1"}), good], retries=2, attempts=2
    ),
    "rate limited for good": Case(
        replies=lambda good: [refusal(429, **{"retry-after-ms": "1"})] * 3, retries=2, attempts=3
    ),
    "dropped in the middle": Case(replies=lambda good: [broken(good)]),
    "malformed": Case(replies=lambda good: [Reply(headers=good.headers, body=[b'data: {"id": \n\n'])]),
    "not gzip": Case(
        replies=lambda good: [Reply(headers={**good.headers, "content-encoding": "gzip"}, body=[b"not gzip"])]
    ),
    "an unknown encoding": Case(
        replies=lambda good: [Reply(headers={**good.headers, "content-encoding": "rot13"}, body=good.body)]
    ),
    "a page": Case(replies=lambda good: [Reply(headers={"content-type": "text/html"}, body=[b"<html>Hi</html>"])]),
    "nothing": Case(replies=lambda good: [Reply(headers=good.headers, body=[b""])]),
    "a list": Case(replies=lambda good: [Reply(headers=good.headers, body=[b"[1, 2]"])]),
    "not UTF-8": Case(replies=lambda good: [Reply(headers=good.headers, body=[b'data: {"id": "\xff"}\n\n'])]),
}


async def outcome(sdk: SDK, client: Any, way: str) -> list[Any]:
    """All that the caller gets, and then what is raised, with its causes."""
    given: list[Any] = []
    try:
        async for item in WAYS[way](sdk, client):
            given.append(item)  # noqa: PERF401 - what came before an error is compared too
    except Exception as error:  # noqa: BLE001 - what it is, is compared
        given += [*described(error)]
    return given


def described(error: BaseException | None) -> Iterator[object]:
    while error is not None:
        yield type(error)
        yield str(error)
        yield getattr(error, "body", None)
        error = error.__cause__


@pytest.mark.parametrize("way", ["plain", "streaming", "streamed", "helped"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_same_outcome(
    *,
    sdk: SDK,
    kind: str,
    case: Case,
    way: str,
    provider: Server,
    llm_events: EventLog,
    unwatched: Unwatched,
) -> None:
    """The SDK gives, raises and sends the same, watched and unwatched."""
    replies = case.replies(reply_to(sdk, way))
    provider.answer(*replies, *replies)
    async with sdk.client(kind, provider, max_retries=case.retries) as client:
        with unwatched():
            expected = await outcome(sdk, client, way)
        assert len(llm_events) == 0
        assert await outcome(sdk, client, way) == expected

    asked = provider.requests
    assert asked[: case.attempts] == asked[case.attempts :]
    assert len(llm_events.filter("llm.provider.request.start")) == case.attempts
    assert len(llm_events.filter("llm.provider.request.[se][tx][oc]*")) == case.attempts


@pytest.mark.parametrize("packed", [False, True], ids=["as it is", "gzip"])
@pytest.mark.parametrize("way", STREAM_WAYS)
async def test_chunks_arrive_at_once(sdk: SDK, kind: str, way: str, packed: bool, provider: Server) -> None:
    """The first piece reaches the caller while the provider still keeps the rest back."""
    reply = squeezed(sdk.stream) if packed else sdk.stream
    seen = threading.Event()
    provider.answer(Reply(headers=reply.headers, body=[*reply.body[:2], seen, *reply.body[2:]]))
    provider.answer(reply)
    async with sdk.client(kind, provider) as client:
        answer = WAYS[way](sdk, client)
        first = await anext(answer)
        seen.set()
        assert [first, *[item async for item in answer]] == await answers(sdk, client, way)


async def test_same_chunks(sdk: SDK, kind: str) -> None:
    """Whoever reads the raw body gets the very chunks that the transport gave."""
    chunks = list(sdk.chunks)

    stack: Any = sdk.stack

    class Body(stack.SyncByteStream, stack.AsyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            yield from chunks

        async def __aiter__(self) -> Any:
            for chunk in chunks:
                yield chunk

    transport = sdk.stack.MockTransport(lambda request: sdk.stack.Response(200, headers=dict(SSE), stream=Body()))
    async with (
        entered(http_client(stack, kind, transport=transport)) as client,
        entered(client.stream("POST", sdk.home + sdk.path)) as response,
    ):
        given = [chunk async for chunk in pieces(response.iter_raw() if kind == "sync" else response.aiter_raw())]

    assert [id(chunk) for chunk in given] == [id(chunk) for chunk in chunks]


async def test_how_much_and_how_long(sdk: SDK, kind: str, provider: Server) -> None:
    """A watched stream still counts its bytes and its time."""
    provider.answer(sdk.stream)
    async with sdk.client(kind, provider) as client:
        stream = await value(sdk.ask_streamed(client))
        response = stream.response
        with pytest.raises(RuntimeError, match="elapsed"):
            assert response.elapsed
        async for _ in pieces(stream):
            pass

    assert response.num_bytes_downloaded == sum(map(len, sdk.chunks))
    assert response.elapsed.total_seconds() > 0
