"""Which API does a request speak, and how are its bytes read and written?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol

from pytest_llmtelemetry.facts import CallFacts, FinishReason, RequestFacts
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.hosts import Seat


@dataclass(frozen=True, slots=True, kw_only=True)
class WireRequest:
    """A request as it is sent, free of any HTTP library."""

    method: str
    host: str
    port: int | None
    path: str
    """Percent-decoded."""
    query: str = field(default="", repr=False)
    """As it is sent. Never kept, never printed: Gemini's may carry the key."""
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """Lower-case names. Never kept, never printed: they carry the credentials."""
    body: bytes | None = field(default=None, repr=False)
    """``None`` if the body is not in memory; it is never consumed to be looked at."""

    def __str__(self) -> str:
        port = "" if self.port in {None, 80, 443} else f":{self.port}"
        return f"{self.method} {self.host}{port}{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WireAnswer:
    """An answer as a provider sends it."""

    status: int = 200
    headers: Mapping[str, str]
    """Lower-case names."""
    chunks: Sequence[bytes]
    """The body, in the pieces in which it is sent: one, unless it is a stream."""

    @property
    def body(self) -> bytes:
        """The whole of it."""
        return b"".join(self.chunks)

    @property
    def content_type(self) -> str:
        """Its media type, without parameters."""
        return self.headers["content-type"].partition(";")[0]


JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"


def answer_of(
    chunks: bytes | Iterable[bytes], *, media: str = JSON, status: int = 200, headers: Mapping[str, str] | None = None
) -> WireAnswer:
    """An answer of one piece, or of many."""
    pieces = (chunks,) if isinstance(chunks, bytes) else tuple(chunks)
    return WireAnswer(status=status, headers={"content-type": media, **(headers or {})}, chunks=pieces)


class Failure(StrEnum):
    """What may go wrong at a provider, in words that none of them owns."""

    BAD_REQUEST = "bad_request"
    AUTH = "auth"
    NOT_FOUND = "not_found"
    CONTEXT_WINDOW = "context_window_exceeded"
    RATE_LIMIT = "rate_limit"
    SERVER_ERROR = "server_error"
    OVERLOADED = "overloaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A failure to be written in the provider's own status, headers and body."""

    kind: Failure
    retry_after_s: float | None = None
    """How long the provider asks the client to wait, in seconds."""
    tokens: int = 200_001
    """Of a prompt that does not fit."""
    max_tokens: int = 200_000
    """Of the window that it does not fit."""

    def retry_headers(self) -> dict[str, str]:
        """The wait, in the two headers that SDKs read."""
        if self.retry_after_s is None:
            return {}
        return {"retry-after": f"{self.retry_after_s:g}", "retry-after-ms": f"{self.retry_after_s * 1000:g}"}


class Dialect(Protocol):
    """One wire API, in both directions."""

    api: str
    """Its name, such as ``openai.chat``."""
    operation: str
    """What it does: ``chat``, ``completion``, ``embeddings``, or ``other``."""
    id_prefix: str
    """How the ids of its answers begin."""

    def speaks(self, method: str, path: str) -> bool:
        """True if a request to ``path`` speaks this API."""

    def fits(self, body: Mapping[str, Any]) -> bool:
        """True if ``body`` may be a request of this API. Asked only where the host says nothing."""

    def read_request(self, body: Mapping[str, Any], *, request: WireRequest, provider: str) -> RequestFacts:
        """Read the parsed body of a request, and what its path and query say."""

    def draft(self) -> Draft:
        """Begin to read an answer, plain or streamed, whatever its status."""

    def write_response(self, facts: CallFacts, asked: RequestFacts) -> WireAnswer:
        """Write a plain answer to ``asked``."""

    def write_stream(self, facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> WireAnswer:
        """Write a streamed answer to ``asked``, its text cut into ``pieces``."""

    def write_error(self, fault: Fault, asked: RequestFacts) -> WireAnswer:
        """Write a failure."""

    def write_broken_stream(
        self, facts: CallFacts, pieces: Sequence[str], fault: Fault, asked: RequestFacts
    ) -> WireAnswer:
        """Write a streamed answer that says ``pieces`` and then fails, after a status of 200."""


class Unstreamed:
    """What a dialect does with streams whose API has none: it answers plainly, or fails at once."""

    def write_response(self, facts: CallFacts, asked: RequestFacts) -> WireAnswer:
        """Write a plain answer to ``asked``."""
        raise NotImplementedError

    def write_error(self, fault: Fault, asked: RequestFacts) -> WireAnswer:
        """Write a failure."""
        raise NotImplementedError

    def write_stream(self, facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> WireAnswer:
        """As a plain answer."""
        return self.write_response(facts, asked)

    def write_broken_stream(
        self, facts: CallFacts, pieces: Sequence[str], fault: Fault, asked: RequestFacts
    ) -> WireAnswer:
        """As a failure."""
        return self.write_error(fault, asked)


def finish_word(
    facts: CallFacts, meanings: Mapping[str, FinishReason], nearest: Mapping[FinishReason, str]
) -> str | None:
    """Why the model stopped: the provider's own word if it is given, else its first for the reason, else the nearest."""
    reason = facts.finish_reason
    if facts.raw_finish_reason is not None or reason is None:
        return facts.raw_finish_reason
    return next((word for word, meaning in meanings.items() if meaning is reason), None) or nearest[reason]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A request that an LLM provider is to answer, with who and how."""

    seat: Seat
    dialect: Dialect
    request: WireRequest
    facts: RequestFacts


GENERATING = frozenset({"chat", "completion", "embeddings"})
"""Operations that are billed when they are answered."""
