"""The seam's memory: which exchanges are open, and who may answer in place of the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from pytest_llmtelemetry.capture.exchange import Exchange
from pytest_llmtelemetry.facts import Ended
from pytest_llmtelemetry.wire.dialect import WireRequest
from pytest_llmtelemetry.wire.hosts import Hosts


class Responder(Protocol):
    """Answers provider requests below ``send``, so that the SDK cannot tell."""

    def respond(self, request: Any, stack: Any, exchange: Exchange) -> Any:
        """Return a response of ``stack`` (the module ``httpx`` or ``httpx2``), or ``None`` to let it pass."""

    async def arespond(self, request: Any, stack: Any, exchange: Exchange) -> Any:
        """The same, for an async client."""


class Observer:
    """One session's watch over the HTTP stacks."""

    def __init__(self, hosts: Hosts, *, on_escape: Callable[[Exchange], None] = lambda exchange: None) -> None:
        self.hosts = hosts
        self.on_escape = on_escape
        """Told of a request that reached the network past the responders. May raise."""
        self.responders: list[Responder] = []
        # By identity: span ids repeat where a test has a clock of its own.
        self._open: dict[int, Exchange] = {}
        # Filled by finalisers, which must not lock, emit or raise.
        self._dropped: deque[tuple[Exchange, int]] = deque()

    def begin(self, request: WireRequest) -> Exchange | None:
        """Open an exchange if ``request`` is for an LLM provider."""
        from pytest_llmtelemetry.wire.registry import identify  # noqa: PLC0415 - all dialects, for the first request only

        self.collect()
        conversation = identify(request, self.hosts)
        if conversation is None:
            return None
        exchange = Exchange(conversation, on_end=self._forget)
        self._open[id(exchange)] = exchange
        return exchange

    def drop(self, exchange: Exchange) -> None:
        """A stream was garbage-collected before its end. Safe in a finaliser."""
        self._dropped.append((exchange, exchange.span.now_ns()))

    def collect(self) -> None:
        """Close the streams that were dropped since the last time."""
        while self._dropped:
            try:
                exchange, at_ns = self._dropped.popleft()
            except IndexError:
                return  # another thread was faster
            exchange.finish_stream(Ended.ABANDONED, at_ns=at_ns)

    def flush(self, belongs: Callable[[Exchange], bool] = lambda exchange: True) -> None:
        """Close the streams that are still open, as abandoned. A request without an answer yet goes on."""
        self.collect()
        for exchange in list(self._open.values()):
            if exchange.streaming and belongs(exchange):
                exchange.finish_stream(Ended.ABANDONED)

    def is_contacting(self, host: str) -> bool:
        """True while a request that we see is under way to ``host``."""
        return any(exchange.conversation.request.host == host for exchange in list(self._open.values()))

    def _forget(self, exchange: Exchange) -> None:
        self._open.pop(id(exchange), None)


_stack: list[Observer] = []


def active() -> Observer | None:
    """The innermost session's observer."""
    return _stack[-1] if _stack else None


def push(observer: Observer) -> Callable[[], None]:
    """Make ``observer`` the active one, and return a function that undoes it."""
    _stack.append(observer)

    def undo() -> None:
        if observer in _stack:
            _stack.remove(observer)

    return undo


faults = 0
"""How often watching itself failed in this process. The report says so: something was not seen."""


def report_fault() -> None:
    """Note that something could not be seen."""
    global faults  # noqa: PLW0603
    faults += 1
