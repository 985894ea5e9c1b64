"""The seam in ``httpx`` and ``httpx2``: one module, because the two have the same face.

``send`` of both clients is wrapped at class level. It is public, and sees real traffic,
respx at any level, MockTransport, cassettes and aiohttp-backed transports alike.
Responders answer below it, at ``_transport_for_url``, so that auth flows, event hooks,
cookies and redirects still run.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pytest_llmtelemetry.capture import observer as observers
from pytest_llmtelemetry.capture.answer import LIVE, MOCK, REPLAY, Answer
from pytest_llmtelemetry.capture.exchange import Exchange
from pytest_llmtelemetry.facts import Ended
from pytest_llmtelemetry.wire.dialect import WireRequest


MOCKED = "llmtelemetry.mock"
"""The key in a response's extensions by which a responder signs its answers."""

# Which exchange a transport is working for: the transport is asked below ``send``.
_exchange: ContextVar[Exchange | None] = ContextVar("llmtelemetry_exchange", default=None)


def install(stack: Any) -> Callable[[], None]:
    """Put the seam into a module (``httpx`` or ``httpx2``), and return a function that takes it out.

    Only what is still ours is taken out; a wrapper that somebody put around ours stays,
    and finds nobody to report to.
    """
    _wrap(stack.Client, "send", functools.partial(_sync_send, stack))
    _wrap(stack.AsyncClient, "send", functools.partial(_async_send, stack))
    can_answer(stack)

    def uninstall() -> None:
        for client in (stack.Client, stack.AsyncClient):
            _unwrap(client, "send")
            _unwrap(client, _FIND)

    return uninstall


def is_installed(stack: Any) -> bool:
    """True if the module already carries a seam."""
    return hasattr(stack.Client.send, _OURS)


def can_answer(stack: Any) -> bool:
    """Put the responders before whatever was patched in since; true if this version of the module lets us."""
    clients = (stack.Client, stack.AsyncClient)
    for client in clients:
        if _FIND in vars(client) and not _is_ours(vars(client)[_FIND]):
            _wrap(client, _FIND, functools.partial(_transport_for_url, stack))
    return all(_FIND in vars(client) for client in clients)


_FIND = "_transport_for_url"
_OURS = "__llmtelemetry__"


def _wrap(owner: type, name: str, wrap: Callable[[Any], Any]) -> None:
    original = vars(owner)[name]
    ours = functools.wraps(original)(wrap(original))
    setattr(ours, _OURS, ours)
    setattr(owner, name, ours)


def _unwrap(owner: type, name: str) -> None:
    function: Any = vars(owner).get(name)
    while _is_ours(function):
        function = function.__wrapped__
        setattr(owner, name, function)


def _is_ours(function: Any) -> bool:
    # A wrapper around ours may have copied its attributes, as functools.wraps() does.
    return function is not None and getattr(function, _OURS, None) is function


# -- watching ------------------------------------------------------------------------


def _sync_send(stack: Any, original: Any) -> Any:
    def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        exchange = _begin(stack, request)
        if exchange is None:
            return original(self, request, *args, **kwargs)
        try:
            with _sending(exchange):
                response = original(self, request, *args, **kwargs)
        except BaseException as error:
            _guarded(_fail, exchange, self, request, error)
            raise
        _guarded(_receive, exchange, self, request, response, _tee(stack, is_async=False))
        return response

    return send


def _async_send(stack: Any, original: Any) -> Any:
    async def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        exchange = _begin(stack, request)
        if exchange is None:
            return await original(self, request, *args, **kwargs)
        try:
            with _sending(exchange):
                response = await original(self, request, *args, **kwargs)
        except BaseException as error:
            _guarded(_fail, exchange, self, request, error)
            raise
        _guarded(_receive, exchange, self, request, response, _tee(stack, is_async=True))
        return response

    return send


@contextmanager
def _sending(exchange: Exchange) -> Iterator[None]:
    before = _exchange.get()
    _exchange.set(exchange)
    try:
        yield
    finally:
        # No token: a coroutine that is thrown away is closed in another context than it began in.
        _exchange.set(before)


def _begin(stack: Any, request: Any) -> Exchange | None:
    observer = observers.active()
    if observer is None:
        return None
    try:
        seen = _wire_request(request)
        outer = _exchange.get()
        # A client that sends through another client (google-genai) makes one attempt, not two.
        if outer is not None and not outer.ended and outer.conversation.request.path == seen.path:
            return None
        if observer.responders:
            can_answer(stack)
        return observer.begin(seen)
    except Exception:  # noqa: BLE001 - watching must not break the request
        observers.report_fault()
        return None


def _guarded(step: Callable[..., None], exchange: Exchange, *args: Any) -> None:
    try:
        step(exchange, *args)
    except Exception as fault:  # noqa: BLE001 - watching must not break the request
        observers.report_fault()
        exchange.fail(fault)


def _receive(exchange: Exchange, client: Any, request: Any, response: Any, tee: Any) -> None:
    served_by = _served_by(client, request, response)
    headers = {name.lower(): value for name, value in response.headers.items()}
    answer = Answer(status=response.status_code, headers=headers, served_by=served_by)
    if response.is_closed or response.is_stream_consumed:
        exchange.finish_plain(answer, _body(response) or b"")
    else:
        exchange.begin_stream(answer)
        response.stream = tee(response.stream, exchange)
    observer = observers.active()
    if observer is not None and observer.responders and served_by == LIVE and not exchange.asked:
        observer.on_escape(exchange)


def _fail(exchange: Exchange, client: Any, request: Any, error: BaseException) -> None:
    exchange.fail(error, served_by=_failed_by(client, request, error))


# Transports that leave ``network_stream`` behind when they touch the network.
_NETWORK = frozenset({"HTTPTransport", "AsyncHTTPTransport"})
# Transports that never touch it.
_DOUBLES = frozenset({"MockTransport", "WSGITransport", "ASGITransport"})


def _served_by(client: Any, request: Any, response: Any) -> str:
    if MOCKED in response.extensions:
        return MOCK
    if "network_stream" in response.extensions:
        return LIVE
    # Doubt counts as live: an aiohttp-backed transport leaves no trace either.
    return REPLAY if _transport_kind(client, request) in {*_NETWORK, *_DOUBLES} else LIVE


def _failed_by(client: Any, request: Any, error: BaseException) -> str:
    # A failure of the network carries the one of httpcore as its cause; a double's does not.
    if _package(type(error.__cause__)) in {"httpcore", "httpcore2"}:
        return LIVE
    kind = _transport_kind(client, request)
    if kind in _DOUBLES or _package(type(error)) in {"respx", "vcr"}:
        return REPLAY
    return REPLAY if kind in _NETWORK and _is_transport_error(type(error)) else LIVE


def _is_transport_error(kind: type) -> bool:
    """Not so, for example, of a body that cannot be decoded: the request itself went well."""
    return any(_package(base) in _PACKAGES and base.__name__ == "TransportError" for base in kind.__mro__)


_PACKAGES = frozenset({"httpx", "httpx2"})


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _transport_kind(client: Any, request: Any) -> str | None:
    """The transport's class name, if it is one that we know all about."""
    find = getattr(client, "_transport_for_url", None)
    if find is None:
        return None
    kind = type(find(request.url))
    if _package(kind) == "respx":
        return "MockTransport"
    return kind.__name__ if _package(kind) in _PACKAGES else None


def _wire_request(request: Any) -> WireRequest:
    url = request.url
    return WireRequest(
        method=request.method,
        host=url.host,
        port=url.port or {"http": 80, "https": 443}.get(url.scheme),
        path=url.path,
        query=url.query.decode("ascii", "replace"),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=_body(request),
    )


def _body(message: Any) -> bytes | None:
    """The body of a request or response, if it is in memory; else it is not ours to consume."""
    try:
        content: bytes = message.content
    except Exception:  # noqa: BLE001 - RequestNotRead, ResponseNotRead
        return None
    return content


@functools.cache
def _tee(stack: Any, *, is_async: bool) -> Any:
    """The class of streams that pass every chunk on, and show it to an exchange first."""

    class Tee(stack.AsyncByteStream if is_async else stack.SyncByteStream):  # type: ignore[misc]
        def __init__(self, stream: Any, exchange: Exchange) -> None:
            self._stream = stream
            self._exchange = exchange

        def __getattr__(self, name: str) -> Any:
            if name == "_stream":  # a copy that is not filled yet
                raise AttributeError(name)
            return getattr(self._stream, name)  # such as ``elapsed`` of httpx2

        def __del__(self) -> None:
            observer = observers.active()
            if observer is not None:
                observer.drop(self._exchange)

    class SyncTee(Tee):
        def __iter__(self) -> Iterator[bytes]:
            try:
                for chunk in self._stream:
                    self._exchange.feed(chunk)
                    yield chunk
            except GeneratorExit:
                raise  # the client stopped reading; whether it closes the stream is yet to be seen
            except BaseException as error:
                _guarded(Exchange.finish_stream, self._exchange, Ended.ERROR, error)
                raise
            _guarded(Exchange.finish_stream, self._exchange, Ended.COMPLETE)

        def close(self) -> None:
            try:
                self._stream.close()
            finally:
                _guarded(Exchange.finish_stream, self._exchange, Ended.CLOSED)

    class AsyncTee(Tee):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            chunks = aiter(self._stream)
            try:
                async for chunk in chunks:
                    self._exchange.feed(chunk)
                    yield chunk
            except GeneratorExit:
                raise
            except BaseException as error:
                _guarded(Exchange.finish_stream, self._exchange, Ended.ERROR, error)
                raise
            finally:
                if isinstance(chunks, AsyncGenerator):
                    await chunks.aclose()
            _guarded(Exchange.finish_stream, self._exchange, Ended.COMPLETE)

        async def aclose(self) -> None:
            try:
                await self._stream.aclose()
            finally:
                _guarded(Exchange.finish_stream, self._exchange, Ended.CLOSED)

    return AsyncTee if is_async else SyncTee


# -- answering -----------------------------------------------------------------------


def _transport_for_url(stack: Any, original: Any) -> Any:
    def transport_for_url(self: Any, url: Any) -> Any:
        transport = original(self, url)
        observer, exchange = observers.active(), _exchange.get()
        if observer is None or exchange is None or not observer.responders:
            return transport
        kind = _answering(stack, is_async=isinstance(self, stack.AsyncClient))
        return kind(transport, observer.responders, exchange)

    return transport_for_url


@functools.cache
def _answering(stack: Any, *, is_async: bool) -> Any:
    """The class of transports that ask the responders first."""

    class Answering(stack.AsyncBaseTransport if is_async else stack.BaseTransport):  # type: ignore[misc]
        def __init__(self, transport: Any, responders: list[observers.Responder], exchange: Exchange) -> None:
            self._transport = transport
            self._responders = responders
            self._exchange = exchange

    class SyncAnswering(Answering):
        def handle_request(self, request: Any) -> Any:
            self._exchange.asked = True
            for responder in self._responders:
                response = responder.respond(request, stack, self._exchange)
                if response is not None:
                    return response
            self._exchange.passed = True
            return self._transport.handle_request(request)

    class AsyncAnswering(Answering):
        async def handle_async_request(self, request: Any) -> Any:
            self._exchange.asked = True
            for responder in self._responders:
                response = await responder.arespond(request, stack, self._exchange)
                if response is not None:
                    return response
            self._exchange.passed = True
            return await self._transport.handle_async_request(request)

    return AsyncAnswering if is_async else SyncAnswering
