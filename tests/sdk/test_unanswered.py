"""Requests without an answer: who failed, and whether they may have cost something."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import threading
from collections.abc import Generator
from typing import Any

import pytest

from loopback import JSON, Drop, Reply, Server
from pytest_llmtelemetry import EventLog
from sdks import SDK, OpenAI, asked, entered, http_client, value


pytestmark = pytest.mark.matrix


@pytest.fixture
def sdk() -> SDK:
    """Everybody here asks OpenAI's question, without its SDK."""
    return OpenAI()


async def failure(
    stack: Any, kind: str, log: EventLog, *, error: str, read_s: float = Server.patience_s, **request: Any
) -> tuple[str, bool]:
    """A request that fails with the library's ``error``; who failed, and whether it may have cost something."""
    async with entered(http_client(stack, kind, timeout=stack.Timeout(Server.patience_s, read=read_s))) as client:
        with pytest.raises(getattr(stack, error)):
            await value(client.post(**request))
    (end,) = log.filter("llm.provider.request.exception")
    assert end["error_type"] == f"{stack.__name__}.{error}"
    return end["served_by"], end["uncertain"]


async def test_read_timeout(stack: Any, kind: str, sdk: SDK, provider: Server, llm_events: EventLog) -> None:
    """A request that nobody answered in time may have cost something."""
    provider.answer(Reply(body=[b"{}"], before=threading.Event()))
    outcome = await failure(stack, kind, llm_events, error="ReadTimeout", read_s=0.05, **asked(sdk, provider))
    assert outcome == ("live", True)


async def test_no_answer(stack: Any, kind: str, sdk: SDK, provider: Server, llm_events: EventLog) -> None:
    """A connection that breaks before the end of the answer may have cost something."""
    provider.answer(Reply(body=[b'{"usage": ', Drop()]))
    outcome = await failure(stack, kind, llm_events, error="RemoteProtocolError", **asked(sdk, provider))
    assert outcome == ("live", True)


async def test_undecodable(stack: Any, kind: str, sdk: SDK, provider: Server, llm_events: EventLog) -> None:
    """An answer that the library cannot decode came from the network, and may have cost something."""
    provider.answer(Reply(headers={**JSON, "content-encoding": "gzip"}, body=[b"not gzip"]))
    outcome = await failure(stack, kind, llm_events, error="DecodingError", **asked(sdk, provider))
    assert outcome == ("live", True)


async def test_refused_connection(stack: Any, kind: str, sdk: SDK, llm_events: EventLog) -> None:
    """A request that found nobody cost nothing."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}{sdk.path}"
        outcome = await failure(stack, kind, llm_events, error="ConnectError", url=url, json=dict(sdk.question))
    assert outcome == ("live", False)


async def test_illegal_header(stack: Any, kind: str, sdk: SDK, provider: Server, llm_events: EventLog) -> None:
    """A request that cannot be sent, such as one with a line end in its key, cost nothing."""
    request = asked(sdk, provider) | {"headers": {"authorization": "Bearer sk-test\n"}}
    outcome = await failure(stack, kind, llm_events, error="LocalProtocolError", **request)
    assert outcome == ("live", False)
    assert provider.requests == []


@pytest.mark.parametrize("kind", ["async"])
async def test_cancelled(stack: Any, kind: str, sdk: SDK, provider: Server, llm_events: EventLog) -> None:
    """A request whose task is cancelled stays cancelled, and may have cost something."""
    provider.answer(Reply(body=[b"{}"], before=threading.Event()))
    async with stack.AsyncClient() as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.post(**asked(sdk, provider)), 0.03)

    (end,) = llm_events.filter("llm.provider.request.exception")
    assert (end["error_type"], end["uncertain"]) == ("asyncio.exceptions.CancelledError", True)


class Pause:
    """Something to wait for that never comes."""

    def __await__(self) -> Generator[None, None, None]:
        yield


def test_thrown_away(stack: Any, sdk: SDK, llm_events: EventLog) -> None:
    """A coroutine that is thrown away half-way, in another context than it began in, is closed in silence."""

    class Waiting(stack.AsyncBaseTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            await Pause()

    client = stack.AsyncClient(transport=Waiting())
    sending = client.send(client.build_request("POST", sdk.home + sdk.path, json=dict(sdk.question)))
    contextvars.copy_context().run(sending.send, None)
    sending.close()

    assert [end["error_type"] for end in llm_events.filter("llm.provider.request.exception")] == ["GeneratorExit"]
