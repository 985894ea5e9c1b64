"""The same calls are seen whoever answers them, and it is known whether that was the network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from loopback import Reply, Server
from pytest_llmtelemetry import EventLog, LLMMock
from sdks import KINDS, SDK, SDKS, WAYS, OpenAI, answers, entered, expected_call, http_client, reply_to


pytestmark = pytest.mark.matrix


class LegacyOpenAI(OpenAI):
    """Version 3, given a client of ``httpx``."""

    @property
    def stack(self) -> Any:
        return httpx

    @property
    def label(self) -> str:
        return f"{super().label}-httpx"

    def make(self, kind: str, **options: Any) -> Any:
        client = httpx.AsyncClient if kind == "async" else httpx.Client
        return super().make(kind, **{"http_client": client(), **options})


ALL: tuple[SDK, ...] = (*SDKS, *([] if OpenAI().stack is httpx else [LegacyOpenAI()]))
ON_HTTPX = [one for one in ALL if one.stack is httpx]
ON_HTTPX2 = [one for one in ALL if one.stack is not httpx]
BOTH_WAYS = ("plain", "streaming", "streamed", "helped")

each_way = pytest.mark.parametrize("way", BOTH_WAYS)


def of(sdks: list[SDK]) -> pytest.MarkDecorator:
    """For these SDKs alone."""
    return pytest.mark.parametrize("sdk", sdks, ids=lambda one: one.label)


def body_of(reply: Reply) -> bytes:
    return b"".join(step for step in reply.body if isinstance(step, bytes))


async def replayed(sdk: SDK, kind: str, way: str, log: EventLog, **options: Any) -> None:
    """Ask the provider itself, and hold what was seen against what should be."""
    async with sdk.client(kind, **options) as client:
        assert await answers(sdk, client, way)
    assert log.calls == (expected_call(sdk, log, served_by="replay"),)


@of(ON_HTTPX)
@each_way
@pytest.mark.parametrize("using", ["httpcore", "httpx"])
async def test_respx(sdk: SDK, kind: str, way: str, using: str, llm_events: EventLog) -> None:
    """respx, at either of its levels, is a replay."""
    reply = reply_to(sdk, way)
    with respx.mock(using=using) as router:
        router.post(sdk.home + sdk.path).mock(
            return_value=httpx.Response(200, headers=dict(reply.headers), content=body_of(reply))
        )
        await replayed(sdk, kind, way, llm_events)


@of(ON_HTTPX2)
@each_way
async def test_pytest_httpx2(sdk: SDK, kind: str, way: str, llm_events: EventLog) -> None:
    """respx for httpx2, which pytest_httpx2 registers, is a replay."""
    pytest.importorskip("pytest_httpx2")
    reply = reply_to(sdk, way)
    with respx.mock(using="httpcore2") as router:
        router.post(sdk.home + sdk.path).mock(
            return_value=httpx.Response(200, headers=dict(reply.headers), content=body_of(reply))
        )
        await replayed(sdk, kind, way, llm_events)


@of(ON_HTTPX)
@each_way
async def test_pytest_httpx(sdk: SDK, kind: str, way: str, llm_events: EventLog, httpx_mock: Any) -> None:
    """pytest-httpx is a replay."""
    reply = reply_to(sdk, way)
    httpx_mock.add_response(url=sdk.home + sdk.path, headers=dict(reply.headers), content=body_of(reply))
    await replayed(sdk, kind, way, llm_events)


class Pieces:
    """The makings of a response that comes in pieces, in either HTTP library."""

    def __init__(self, stack: Any, chunks: tuple[bytes, ...]) -> None:
        class Body(stack.SyncByteStream, stack.AsyncByteStream):  # type: ignore[misc]
            def __iter__(self) -> Iterator[bytes]:
                yield from chunks

            async def __aiter__(self) -> AsyncIterator[bytes]:
                for chunk in chunks:
                    yield chunk

        self.stream = Body()


@pytest.mark.parametrize("in_pieces", [False, True], ids=["whole", "pieces"])
@of(list(ALL))
@each_way
async def test_mock_transport(*, sdk: SDK, kind: str, way: str, in_pieces: bool, llm_events: EventLog) -> None:
    """A MockTransport is a replay, whether its answer is in memory or comes in pieces."""
    transport = sdk.stack.MockTransport(lambda request: canned(sdk, way, in_pieces=in_pieces))
    async with entered(http_client(sdk.stack, kind, transport=transport)) as client:
        await replayed(sdk, kind, way, llm_events, http_client=client)


@of(list(ALL))
@each_way
async def test_unknown_transport(sdk: SDK, kind: str, way: str, llm_events: EventLog) -> None:
    """A transport that nobody knows may well be a network: its answers count as live."""
    async with (
        entered(http_client(sdk.stack, kind, transport=elsewhere(sdk, way))) as client,
        sdk.client(kind, http_client=client) as asking,
    ):
        await answers(sdk, asking, way)
    assert llm_events.calls == (expected_call(sdk, llm_events, served_by="live"),)


@each_way
async def test_cassette(
    *, sdk: SDK, kind: str, way: str, provider: Server, tmp_path: Path, llm_events: EventLog
) -> None:
    """A cassette is live while it is recorded, and a replay from then on."""
    vcr = pytest.importorskip("vcr")
    cassette = str(tmp_path / "cassette.yaml")
    provider.answer(reply_to(sdk, way))
    given = []
    for _ in range(2):
        with vcr.use_cassette(cassette, record_mode="once"):
            async with sdk.client(kind, provider) as client:
                given.append(await answers(sdk, client, way))

    assert given[0] == given[1]
    assert len(provider.requests) == 1
    assert llm_events.calls == (expected_call(sdk, llm_events), expected_call(sdk, llm_events, served_by="replay"))


# -- failures ----------------------------------------------------------------------------


async def failed(sdk: SDK, kind: str, log: EventLog, **options: Any) -> tuple[str, bool]:
    """Ask the provider itself, which fails; say who failed, and whether it may have cost something."""
    async with sdk.client(kind, max_retries=0, **options) as client:
        with pytest.raises(Exception):  # noqa: B017 - what an SDK wraps, and in what, differs
            await answers(sdk, client, "plain")
    assert log.calls == ()
    (end,) = log.filter("llm.provider.request.exception")
    return end["served_by"], end["uncertain"]


@of(ON_HTTPX)
@pytest.mark.parametrize("using", ["httpcore", "httpx"])
async def test_respx_raises(sdk: SDK, kind: str, using: str, llm_events: EventLog) -> None:
    """A failure that respx plays cost nothing."""
    with respx.mock(using=using) as router:
        router.post(sdk.home + sdk.path).mock(side_effect=httpx.ReadTimeout)
        assert await failed(sdk, kind, llm_events) == ("replay", False)


@of(ON_HTTPX)
@pytest.mark.parametrize("using", ["httpcore", "httpx"])
async def test_respx_has_no_route(sdk: SDK, kind: str, using: str, llm_events: EventLog) -> None:
    """A request that respx refuses was not sent, and cost nothing."""
    with respx.mock(using=using):
        assert await failed(sdk, kind, llm_events) == ("replay", False)


@of(ON_HTTPX2)
async def test_pytest_httpx2_raises(sdk: SDK, kind: str, llm_events: EventLog) -> None:
    """A failure that respx plays below httpx2 cost nothing."""
    pytest.importorskip("pytest_httpx2")
    with respx.mock(using="httpcore2") as router:
        router.post(sdk.home + sdk.path).mock(side_effect=httpx.ReadTimeout)
        assert await failed(sdk, kind, llm_events) == ("replay", False)


@of(ON_HTTPX)
@pytest.mark.httpx_mock(assert_all_requests_were_expected=False)
async def test_pytest_httpx_has_no_answer(sdk: SDK, kind: str, llm_events: EventLog, httpx_mock: Any) -> None:
    """A request that pytest-httpx refuses was not sent, and cost nothing."""
    assert await failed(sdk, kind, llm_events) == ("replay", False)


@pytest.mark.parametrize("raised", ["ReadTimeout", "ConnectError", "DecodingError"])
@of(list(ALL))
async def test_mock_transport_raises(sdk: SDK, kind: str, raised: str, llm_events: EventLog) -> None:
    """A failure of a MockTransport cost nothing."""

    def answer(request: Any) -> Any:
        raise getattr(sdk.stack, raised)("Played.", request=request)

    async with entered(http_client(sdk.stack, kind, transport=sdk.stack.MockTransport(answer))) as client:
        assert await failed(sdk, kind, llm_events, http_client=client) == ("replay", False)


async def test_cassette_has_no_answer(sdk: SDK, kind: str, tmp_path: Path, llm_events: EventLog) -> None:
    """A request that a cassette refuses was not sent, and cost nothing."""
    vcr = pytest.importorskip("vcr")
    with vcr.use_cassette(str(tmp_path / "cassette.yaml"), record_mode="none"):
        assert await failed(sdk, kind, llm_events) == ("replay", False)


@of(list(ALL))
async def test_unknown_transport_raises(sdk: SDK, kind: str, llm_events: EventLog) -> None:
    """A transport that nobody knows may have sent the request before it failed."""
    stack: Any = sdk.stack

    class Failing(stack.BaseTransport, stack.AsyncBaseTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            raise stack.ReadError("Broken.", request=request)

        async def handle_async_request(self, request: Any) -> Any:
            raise stack.ReadError("Broken.", request=request)

    async with entered(http_client(sdk.stack, kind, transport=Failing())) as client:
        assert await failed(sdk, kind, llm_events, http_client=client) == ("live", True)


@of(list(ALL))
async def test_llm_mock_raises(sdk: SDK, kind: str, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """A failure that llm_mock plays is a mock's, and cost nothing."""
    llm_mock.router.post(sdk.home + sdk.path).mock(side_effect=httpx.ReadTimeout)
    assert await failed(sdk, kind, llm_events) == ("mock", False)


# -- llm_mock --------------------------------------------------------------------------

AT_IMPORT = {(sdk.name, kind): sdk.make(kind, api_key="sk-test") for sdk in SDKS for kind in KINDS}
"""Clients as an application makes them: before any fixture runs."""


def script(llm_mock: LLMMock, sdk: SDK) -> None:
    """Let llm_mock give the SDK's answer."""
    register = {"openai": llm_mock.openai.chat, "anthropic": llm_mock.anthropic.messages}[sdk.name]
    register(
        "Paris.",
        input_tokens=sdk.usage.input_tokens,
        output_tokens=sdk.usage.output_tokens,
        cached_tokens=sdk.usage.cache_read_tokens,
        cache_write_tokens=sdk.usage.cache_write_tokens,
        reasoning_tokens=sdk.usage.reasoning_tokens,
    )


@of(list(ALL))
@pytest.mark.parametrize("way", WAYS)
async def test_llm_mock(sdk: SDK, kind: str, way: str, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """llm_mock is a mock."""
    script(llm_mock, sdk)
    async with sdk.client(kind) as client:
        assert await answers(sdk, client, way)
    assert llm_events.calls == (expected_call(sdk, llm_events, served_by="mock"),)


@each_way
async def test_client_of_import_time(sdk: SDK, kind: str, way: str, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """A client that was built before the test is mocked like any other."""
    script(llm_mock, sdk)
    assert await answers(sdk, AT_IMPORT[sdk.name, kind], way)
    assert llm_events.calls == (expected_call(sdk, llm_events, served_by="mock"),)


@of(list(ALL))
@each_way
async def test_llm_mock_before_a_transport(
    sdk: SDK, kind: str, way: str, llm_mock: LLMMock, llm_events: EventLog
) -> None:
    """llm_mock answers in place of a client's own transport, even one that nobody knows."""
    script(llm_mock, sdk)
    async with (
        entered(http_client(sdk.stack, kind, transport=elsewhere(sdk, way))) as client,
        sdk.client(kind, http_client=client) as asking,
    ):
        assert await answers(sdk, asking, way)
    assert llm_events.calls == (expected_call(sdk, llm_events, served_by="mock"),)


@of(ON_HTTPX)
@pytest.mark.parametrize("using", ["httpcore", "httpx"])
@pytest.mark.parametrize("first", ["llm_mock", "respx"])
async def test_llm_mock_before_respx(
    *, sdk: SDK, kind: str, using: str, first: str, llm_events: EventLog, request: pytest.FixtureRequest
) -> None:
    """llm_mock answers in place of respx, whichever came first."""
    if first == "llm_mock":
        script(request.getfixturevalue("llm_mock"), sdk)
    with respx.mock(using=using, assert_all_called=False) as router:
        route = router.post(sdk.home + sdk.path).mock(return_value=httpx.Response(418))
        if first == "respx":
            script(request.getfixturevalue("llm_mock"), sdk)
        async with sdk.client(kind) as client:
            await answers(sdk, client, "plain")
        assert not route.called
    assert llm_events.calls == (expected_call(sdk, llm_events, served_by="mock"),)


@of(ON_HTTPX)
@pytest.mark.httpx_mock(assert_all_responses_were_requested=False)
async def test_llm_mock_before_pytest_httpx(
    sdk: SDK, kind: str, llm_mock: LLMMock, llm_events: EventLog, httpx_mock: Any
) -> None:
    """llm_mock answers in place of pytest-httpx."""
    script(llm_mock, sdk)
    httpx_mock.add_response(status_code=418)
    async with sdk.client(kind) as client:
        await answers(sdk, client, "plain")
    assert llm_events.calls == (expected_call(sdk, llm_events, served_by="mock"),)


# -- the makings -----------------------------------------------------------------------


def canned(sdk: SDK, way: str, *, in_pieces: bool = True) -> Any:
    """The SDK's answer as a response of its HTTP library."""
    reply = reply_to(sdk, way)
    chunks = tuple(step for step in reply.body if isinstance(step, bytes))
    body = {"stream": Pieces(sdk.stack, chunks).stream} if in_pieces else {"content": b"".join(chunks)}
    return sdk.stack.Response(200, headers=dict(reply.headers), **body)


def elsewhere(sdk: SDK, way: str) -> Any:
    """A transport of somebody's own, which could lead anywhere."""
    stack: Any = sdk.stack

    class Elsewhere(stack.BaseTransport, stack.AsyncBaseTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            return canned(sdk, way)

        async def handle_async_request(self, request: Any) -> Any:
            return canned(sdk, way)

    return Elsewhere()
