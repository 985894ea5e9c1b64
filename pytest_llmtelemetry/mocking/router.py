"""One respx router behind every HTTP stack.

respx knows httpx alone. Requests, responses and exceptions are converted between
``httpx`` and the stack that asks, by name: the two libraries have the same face.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NoReturn

import httpx
import respx
from anyio.lowlevel import checkpoint
from respx.models import AllMockedAssertionError, PassThrough

from pytest_llmtelemetry.capture.exchange import Exchange
from pytest_llmtelemetry.capture.httpx_seam import MOCKED
from pytest_llmtelemetry.mocking.script import Line, Script
from pytest_llmtelemetry.wire.dialect import Fault, WireAnswer


Refuse = Callable[[str], NoReturn]
"""Raises what no SDK swallows."""

_exchange: ContextVar[Exchange] = ContextVar("llmtelemetry_mocked_exchange")


class MockRouter:
    """Answers provider requests from a script, then from the user's own respx routes.

    Args:
        script: the replies.
        refuse: called with the reason when nobody answers.
    """

    def __init__(self, script: Script, refuse: Refuse) -> None:
        self.respx = respx.Router(assert_all_called=False)
        self._script = script
        self._refuse = refuse
        self._answers = 0
        self._scripted = self.respx.route(name="llm_mock")
        self._scripted.side_effect = self._from_script

    def unused(self) -> list[str]:
        """One line for each of the user's own routes that was never called."""
        return [
            f"{route!r}: never called"
            for route in self.respx.routes
            if route is not self._scripted and not route.called
        ]

    # -- what the seam asks ----------------------------------------------------------------

    def respond(self, request: Any, stack: Any, exchange: Exchange) -> Any:
        """Answer a request of a sync client."""
        request.read()
        with self._working_for(exchange, request, stack) as outcome:
            outcome.response = self.respx.handler(_as_httpx(request, stack))
        return self._conclude(outcome, exchange, request, stack)

    async def arespond(self, request: Any, stack: Any, exchange: Exchange) -> Any:
        """Answer a request of an async client."""
        await request.aread()
        await checkpoint()  # as on a network, other tasks get their turn
        with self._working_for(exchange, request, stack) as outcome:
            outcome.response = await self.respx.async_handler(_as_httpx(request, stack))
        return self._conclude(outcome, exchange, request, stack)

    @contextmanager
    def _working_for(self, exchange: Exchange, request: Any, stack: Any) -> Iterator[_Outcome]:
        outcome = _Outcome()
        token = _exchange.set(exchange)
        try:
            with _errors_of(stack, request):
                yield outcome
        except PassThrough:
            outcome.passes = True
        except AllMockedAssertionError:
            pass  # respx has no answer; a refusal that is raised out of here would carry respx's words along
        finally:
            _exchange.reset(token)

    def _conclude(self, outcome: _Outcome, exchange: Exchange, request: Any, stack: Any) -> Any:
        if outcome.passes:
            return None
        if outcome.response is None:
            self._unanswered(exchange)
        return _as_stack(outcome.response, stack, request)

    # -- what the router asks --------------------------------------------------------------

    def _from_script(self, request: httpx.Request) -> httpx.Response | None:
        exchange = _exchange.get()
        conversation = exchange.conversation
        line: Line | None = None
        broken = ""
        try:
            line = self._script.choose(conversation.facts)
        except Exception as error:  # noqa: BLE001 - an SDK would call it a connection error
            broken = repr(error)
        if broken:
            exchange.refused = True
            self._refuse(f"llm_mock: when= raised {broken} for {conversation.request}")
        if line is None:
            return None
        dialect, asked = conversation.dialect, conversation.facts
        if isinstance(line, Fault):
            return _response(dialect.write_error(line, asked))
        self._answers += 1
        facts = line.facts(asked, answer_id=f"{dialect.id_prefix}{self._answers}")
        exchange.told, exchange.estimated = facts, line.is_estimated
        if asked.stream:
            return _response(dialect.write_stream(facts, line.pieces, asked))
        return _response(dialect.write_response(facts, asked))

    def _unanswered(self, exchange: Exchange) -> NoReturn:
        exchange.refused = True
        asked = exchange.conversation
        model = f" for model {asked.facts.model!r}" if asked.facts.model else ""
        head = f"llm_mock has no answer to {asked.request} ({asked.facts.api} at {asked.facts.provider}{model})."
        candidates = [f"  {line}" for line in self._script.explain(asked.facts)]
        tail = ["Registered, and why each does not answer:", *candidates] if candidates else ["Nothing is registered."]
        self._refuse("\n".join([head, *tail]))


@dataclass(slots=True)
class _Outcome:
    """What respx made of a request."""

    response: httpx.Response | None = None
    passes: bool = False
    """A route of the user's lets it through to the network."""


def _response(answer: WireAnswer) -> httpx.Response:
    if len(answer.chunks) == 1:
        return httpx.Response(answer.status, headers=dict(answer.headers), content=answer.body)
    return httpx.Response(answer.status, headers=dict(answer.headers), stream=_Chunks(answer.chunks))


class _Chunks(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in pieces, for either kind of client, any number of times."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            await checkpoint()
            yield chunk


# -- from one library to the other ---------------------------------------------------------


def _as_httpx(request: Any, stack: Any) -> httpx.Request:
    if stack is httpx:
        ours: httpx.Request = request
        return ours
    return httpx.Request(
        request.method,
        str(request.url),
        headers=request.headers.raw,
        content=request.content,
        extensions=dict(request.extensions),
    )


def _as_stack(response: httpx.Response, stack: Any, request: Any) -> Any:
    # Always anew: a response that respx has read, or gave before, cannot be streamed again.
    return stack.Response(
        response.status_code,
        headers=response.headers.raw,
        stream=_stream(response, stack, request),
        request=request,
        extensions={**response.extensions, MOCKED: True},
    )


def _stream(response: httpx.Response, stack: Any, request: Any) -> Any:
    body = response.stream

    class Converted(stack.SyncByteStream, stack.AsyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            with _errors_of(stack, request):
                yield from body  # type: ignore[misc]

        async def __aiter__(self) -> AsyncIterator[bytes]:
            with _errors_of(stack, request):
                async for chunk in body:  # type: ignore[union-attr]
                    yield chunk

    return Converted()


@contextmanager
def _errors_of(stack: Any, request: Any) -> Iterator[None]:
    """Raise the exceptions of one library as those of the same name in ``stack``; any other passes as it is."""
    try:
        yield
    except Exception as error:
        package = type(error).__module__.partition(".")[0]
        kind = getattr(stack, type(error).__name__, None)
        foreign = package in {"httpx", "httpx2", "httpcore", "httpcore2"}
        if not foreign or not isinstance(kind, type) or isinstance(error, kind):
            raise
        knows_request = issubclass(kind, stack.RequestError)
        raise (kind(str(error), request=request) if knows_request else kind(str(error))) from error
