"""Which API does a request speak, and how are its bytes read and written?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from pytest_llmtelemetry.facts import CallFacts, RequestFacts
from pytest_llmtelemetry.wire.hosts import Seat
from pytest_llmtelemetry.wire.sse import SSEDecoder


@dataclass(frozen=True, slots=True, kw_only=True)
class WireRequest:
    """A request as it is sent, free of any HTTP library."""

    method: str
    host: str
    port: int | None
    path: str
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """Lower-case names. Never kept, never printed: they carry the credentials."""
    body: bytes | None = field(default=None, repr=False)
    """``None`` if the body is not in memory; it is never consumed to be looked at."""

    def __str__(self) -> str:
        port = "" if self.port in {None, 80, 443} else f":{self.port}"
        return f"{self.method} {self.host}{port}{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WireError:
    """A failure in the provider's own words."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StreamReader(Protocol):
    """Reads one streamed answer."""

    @property
    def has_content(self) -> bool:
        """True once the first token of the answer was seen."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes, content-encoding removed."""

    def close(self) -> CallFacts:
        """No more bytes will come: say what is known."""


class EventReader:
    """Reads a stream of server-sent events: ``take`` each, then ``conclude``."""

    def __init__(self) -> None:
        self._events = SSEDecoder()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        for event in self._events.feed(chunk):
            self.take(event.data)

    def close(self) -> CallFacts:
        """Take what is left, and say what is known."""
        for event in self._events.close():
            self.take(event.data)
        return self.conclude()

    def take(self, data: str) -> None:
        """One event."""
        raise NotImplementedError

    def conclude(self) -> CallFacts:
        """No more events will come."""
        raise NotImplementedError


class Dialect(Protocol):
    """One wire API, in both directions."""

    api: str
    """Its name, such as ``openai.chat``."""
    operation: str
    """What it does: ``chat``, ``embeddings``, or ``other``."""
    id_prefix: str
    """How the ids of its answers begin."""

    def speaks(self, method: str, path: str) -> bool:
        """True if a request to ``path`` speaks this API."""

    def read_request(self, body: Mapping[str, Any], *, path: str, provider: str) -> RequestFacts:
        """Read the parsed body of a request."""

    def read_response(self, body: bytes) -> CallFacts:
        """Read a plain answer, whatever its status."""

    def stream_reader(self) -> StreamReader:
        """Begin to read a streamed answer."""

    def write_response(self, facts: CallFacts) -> bytes:
        """Write a plain answer."""

    def write_stream(self, facts: CallFacts, pieces: Sequence[str], *, usage: bool = True) -> Iterator[bytes]:
        """Write a streamed answer, its text cut into ``pieces``."""

    def write_error(self, kind: str, *, retry_after_s: float | None = None) -> WireError:
        """Write a failure: ``rate_limit``, ``overloaded``, ``server_error`` or ``auth``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A request that an LLM provider is to answer, with who and how."""

    seat: Seat
    dialect: Dialect
    request: WireRequest
    facts: RequestFacts


GENERATING = frozenset({"chat", "completion", "embeddings"})
"""Operations that are billed when they are answered."""
