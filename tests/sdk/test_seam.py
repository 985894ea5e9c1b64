"""What passes through the seam in the HTTP libraries, and in what shape it comes out."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from loopback import SSE, Reply, Server
from pytest_llmtelemetry import EventLog
from pytest_llmtelemetry.capture import observer as observers
from pytest_llmtelemetry.capture.observer import Observer
from pytest_llmtelemetry.plugin.session import SESSION
from pytest_llmtelemetry.wire.dialect import WireRequest
from pytest_llmtelemetry.wire.hosts import Hosts
from sdks import SDK, OpenAI, asked, entered, expected_call, http_client, value


pytestmark = pytest.mark.matrix


@pytest.fixture
def sdk() -> SDK:
    """Everybody here asks OpenAI's question, without its SDK."""
    return OpenAI()


# -- what passes through ---------------------------------------------------------------


async def test_both_libraries(stack: Any, kind: str, sdk: SDK, provider: Server, llm_events: EventLog) -> None:
    """Either library is watched, without any SDK."""
    provider.answer(sdk.plain)
    async with entered(http_client(stack, kind)) as client:
        response = await value(client.post(**asked(sdk, provider)))

    assert response.json() == sdk.answer
    assert llm_events.calls == (expected_call(sdk, llm_events),)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "/health", None), ("POST", "/items", {"messages": []}), ("POST", "/v1/chat/completions", {"a": 1})],
    ids=["another method", "another path", "another body"],
)
async def test_other_traffic(
    *, stack: Any, kind: str, method: str, path: str, body: Any, server: Server, llm_events: EventLog
) -> None:
    """What is not for a provider is none of our business."""
    server.answer(Reply(body=[b"{}"]))
    async with entered(http_client(stack, kind)) as client:
        assert (await value(client.request(method, server.url + path, json=body))).json() == {}

    assert llm_events.names == []


async def test_unknown_host(stack: Any, kind: str, sdk: SDK, server: Server, llm_events: EventLog) -> None:
    """A call to a host that nobody named is seen, and its price is unknown."""
    server.answer(sdk.plain)
    async with entered(http_client(stack, kind)) as client:
        await value(client.post(**asked(sdk, server)))

    (call,) = llm_events.calls
    assert (call.provider, call.usage, call.cost_usd) == ("unknown", sdk.usage, None)


async def test_another_api(stack: Any, kind: str, sdk: SDK, provider: Server, llm_events: EventLog) -> None:
    """Another API of a provider is seen as an attempt, and as a call only if it reports usage."""
    provider.answer(Reply(body=[b'{"data": []}']), Reply(body=[b'{"usage": {"seconds": 3}}']))
    async with entered(http_client(stack, kind)) as client:
        for path in ("/v1/models", "/v1/audio/transcriptions"):
            await value(client.post(provider.url + path, json={}))

    ends = llm_events.filter("llm.provider.request.stop")
    assert [(end["operation"], end["success"]) for end in ends] == [("other", True)] * 2
    assert [(call.event["operation"], call.cost_usd) for call in llm_events.calls] == [("other", None)]


async def test_body_that_is_produced(stack: Any, kind: str, sdk: SDK, provider: Server, llm_events: EventLog) -> None:
    """A request body that is made while it is sent is not touched, and the answer is read all the same."""
    pieces = [b'{"model": "gpt-4o-mini", ', b'"messages": []}']

    def produced() -> Iterator[bytes]:
        yield from pieces

    async def produced_async() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    provider.answer(sdk.plain)
    body = produced() if kind == "sync" else produced_async()
    async with entered(http_client(stack, kind)) as client:
        await value(client.post(provider.url + sdk.path, content=body))

    assert provider.requests[0].body == b"".join(pieces)
    assert llm_events.calls == (expected_call(sdk, llm_events),)


async def test_redirect(stack: Any, kind: str, sdk: SDK, provider: Server, llm_events: EventLog) -> None:
    """A request that is sent on is one attempt, with the status of its last answer."""
    provider.answer(Reply(status=307, headers={"location": "/elsewhere" + sdk.path}, body=[b""]), sdk.plain)
    async with entered(http_client(stack, kind, follow_redirects=True)) as client:
        await value(client.post(**asked(sdk, provider)))

    assert [request.path for request in provider.requests] == [sdk.path, "/elsewhere" + sdk.path]
    assert [end["status"] for end in llm_events.filter("llm.provider.request.*")[1:]] == [200]
    assert llm_events.calls == (expected_call(sdk, llm_events),)


async def test_auth_flow(stack: Any, kind: str, sdk: SDK, provider: Server, llm_events: EventLog) -> None:
    """A request that an auth flow sends twice is one attempt."""

    class Twice(stack.Auth):  # type: ignore[misc]
        def auth_flow(self, request: Any) -> Iterator[Any]:
            yield request
            request.headers["authorization"] = "Token t"
            yield request

    provider.answer(Reply(status=401, body=[b"{}"]), sdk.plain)
    async with entered(http_client(stack, kind, auth=Twice())) as client:
        await value(client.post(**asked(sdk, provider)))

    assert [request.headers.get("authorization") for request in provider.requests] == [None, "Token t"]
    assert len(llm_events.filter("llm.provider.request.start")) == 1
    assert llm_events.calls == (expected_call(sdk, llm_events),)


@pytest.mark.parametrize("consume", [False, True], ids=["read", "consumed"])
async def test_event_hook(
    *, stack: Any, kind: str, consume: bool, sdk: SDK, provider: Server, llm_events: EventLog
) -> None:
    """A hook that reads the answer first leaves it to us; one that consumes it leaves a call without a price."""

    def hook(response: Any) -> None:
        if consume:
            assert list(response.iter_raw())
        else:
            response.read()

    async def hook_async(response: Any) -> None:
        if consume:
            assert [chunk async for chunk in response.aiter_raw()]
        else:
            await response.aread()

    provider.answer(sdk.plain)
    hooks = {"response": [hook if kind == "sync" else hook_async]}
    async with (
        entered(http_client(stack, kind, event_hooks=hooks)) as client,
        entered(client.stream("POST", **asked(sdk, provider))),
    ):
        pass

    assert [call.usage for call in llm_events.calls] == [None if consume else sdk.usage]
    assert [end["uncertain"] for end in llm_events.filter("llm.provider.request.stop")] == [False]


async def test_overridden_send(stack: Any, kind: str, sdk: SDK, provider: Server, llm_events: EventLog) -> None:
    """A client with a ``send`` of its own that calls the library's is seen once."""
    sent = []

    class Own(stack.Client):  # type: ignore[misc]
        def send(self, request: Any, **options: Any) -> Any:
            sent.append(request)
            return super().send(request, **options)

    class OwnAsync(stack.AsyncClient):  # type: ignore[misc]
        async def send(self, request: Any, **options: Any) -> Any:
            sent.append(request)
            return await super().send(request, **options)

    provider.answer(sdk.plain)
    async with entered(Own() if kind == "sync" else OwnAsync()) as client:
        await value(client.post(**asked(sdk, provider)))

    assert len(sent) == 1
    assert llm_events.calls == (expected_call(sdk, llm_events),)


async def test_client_inside_a_client(stack: Any, sdk: SDK, provider: Server, llm_events: EventLog) -> None:
    """A client whose transport is another client makes one attempt, not two."""
    inner = stack.Client()

    class Through(stack.BaseTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            answer = inner.send(request)
            return stack.Response(
                answer.status_code, headers={"content-type": "application/json"}, content=answer.content
            )

    provider.answer(sdk.plain)
    with inner, stack.Client(transport=Through()) as client:
        client.post(**asked(sdk, provider))

    assert len(llm_events.filter("llm.provider.request.start")) == 1
    assert llm_events.calls == (expected_call(sdk, llm_events),)


def test_threads(stack: Any, sdk: SDK, provider: Server, llm_events: EventLog) -> None:
    """Eight threads with one client lose nothing."""
    provider.answer(*[sdk.plain] * 40)
    with stack.Client() as client, ThreadPoolExecutor(8) as pool:
        assert {one.status_code for one in pool.map(lambda _: client.post(**asked(sdk, provider)), range(40))} == {200}

    assert llm_events.calls == (expected_call(sdk, llm_events),) * 40
    assert llm_events.cost_usd == 40 * sdk.cost_usd


def test_event_loops(stack: Any, sdk: SDK, provider: Server, llm_events: EventLog) -> None:
    """Event loops in several threads, each with its own client and requests at once, lose nothing."""

    async def ask() -> None:
        async with stack.AsyncClient() as client:
            await asyncio.gather(*(client.post(**asked(sdk, provider)) for _ in range(5)))

    provider.answer(*[sdk.plain] * 20)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: asyncio.run(ask()), range(4)))

    assert llm_events.calls == (expected_call(sdk, llm_events),) * 20


@pytest.mark.usefixtures("hasty_threads")
def test_dropped_in_many_threads(sdk: SDK) -> None:
    """Streams that were dropped are collected by any number of threads at once, and none stumbles."""
    request = WireRequest(method="POST", host="api.openai.com", port=443, path=sdk.path)
    with ThreadPoolExecutor(16) as pool:
        for _ in range(60):
            observer, together = Observer(Hosts()), threading.Barrier(16, timeout=10)
            exchanges = [observer.begin(request) for _ in range(50)]
            for exchange in filter(None, exchanges):
                observer.drop(exchange)
            list(pool.map(lambda _, o=observer, t=together: (t.wait(), o.collect()), range(16)))
            assert [exchange.ended for exchange in filter(None, exchanges)] == [True] * 50


def test_trio(stack: Any, sdk: SDK, provider: Server, llm_events: EventLog) -> None:
    """An async client is watched under trio too, and its cancellation is passed on."""
    trio = pytest.importorskip("trio")
    provider.answer(sdk.plain, Reply(headers=SSE, body=[*sdk.chunks[:2], threading.Event()]))

    async def ask() -> None:
        async with stack.AsyncClient(timeout=provider.patience_s) as client:
            await client.post(**asked(sdk, provider))
            with trio.CancelScope() as scope:
                async with client.stream("POST", **asked(sdk, provider)) as response:
                    async for _ in response.aiter_raw():
                        scope.cancel()
            assert scope.cancelled_caught

    trio.run(ask)

    ends = [event["ended"] for event in llm_events if event.name in ENDS]
    assert ends == ["complete", "error"]
    assert [call.cost_usd for call in llm_events.calls] == [sdk.cost_usd, None]


ENDS = {"llm.provider.request.stop", "llm.provider.request.exception"}


# -- what is left of the original ------------------------------------------------------


async def test_faces(stack: Any, kind: str, sdk: SDK, provider: Server) -> None:
    """``send`` and the stream look as they did: name, signature, kind of function, kind of stream."""
    send = vars(stack.Client if kind == "sync" else stack.AsyncClient)["send"]
    assert send.__qualname__ == send.__wrapped__.__qualname__
    assert inspect.signature(send) == inspect.signature(send.__wrapped__)
    assert inspect.iscoroutinefunction(send) == (kind == "async")

    provider.answer(sdk.plain)
    async with (
        entered(http_client(stack, kind)) as client,
        entered(client.stream("POST", **asked(sdk, provider))) as response,
    ):
        assert isinstance(response.stream, stack.SyncByteStream) == (kind == "sync")
        assert isinstance(response.stream, stack.AsyncByteStream) == (kind == "async")


def test_copies(stack: Any, sdk: SDK, provider: Server) -> None:
    """A watched response and its stream can be copied, the response pickled too."""
    provider.answer(sdk.plain)
    with stack.Client() as client, client.stream("POST", **asked(sdk, provider)) as response:
        assert type(copy.copy(response.stream)) is type(response.stream)
        response.read()
        for other in (copy.copy(response), pickle.loads(pickle.dumps(response))):
            assert other.json() == sdk.answer


async def test_our_own_failure(
    *,
    stack: Any,
    kind: str,
    sdk: SDK,
    provider: Server,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A failure of the watch itself is counted, and the request does not notice."""
    observer = request.config.stash[SESSION].observer
    monkeypatch.setattr(observers, "faults", 0)
    monkeypatch.setattr(observer, "hosts", None)
    provider.answer(sdk.plain)
    async with entered(http_client(stack, kind)) as client:
        assert (await value(client.post(**asked(sdk, provider)))).json() == sdk.answer

    assert observers.faults == 1
