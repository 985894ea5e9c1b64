"""One HTTP attempt at an LLM provider, from request to the last byte, free of any HTTP library.

It opens a ``llm.provider.request`` span, ends it exactly once, and hands an answered
call to accounting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Lock
from typing import Any

from pytest_llmtelemetry.capture.answer import LIVE, MOCK, Answer
from pytest_llmtelemetry.capture.decoding import Decode, Undecodable, decoder
from pytest_llmtelemetry.capture.occasions import occasions
from pytest_llmtelemetry.facts import CallFacts, Ended
from pytest_llmtelemetry.recording import owner as owners
from pytest_llmtelemetry.telemetry import accounting, bus, clock
from pytest_llmtelemetry.telemetry.names import CAPTURE, CHUNK, REQUEST, RETRY, STREAM
from pytest_llmtelemetry.telemetry.pace import Pace
from pytest_llmtelemetry.telemetry.spans import Span
from pytest_llmtelemetry.wire.body import BodyReader
from pytest_llmtelemetry.wire.dialect import GENERATING, Conversation


# A copy of an answer is read up to here; beyond, its usage is unknown. Bytes of the client are never held back.
_LONGEST_ANSWER = 64 * 1024 * 1024


class Exchange:
    """What is seen of one attempt. Every ``finish`` but the first does nothing."""

    def __init__(
        self, conversation: Conversation, *, on_end: Callable[[Exchange], None] = lambda exchange: None
    ) -> None:
        facts = conversation.facts
        self.conversation = conversation
        self.owner = owners.current()
        self.told: CallFacts | None = None
        """What a mock said that it would answer, if the bytes cannot say all of it."""
        self.estimated = False
        """The mock made the usage up."""
        self.asked = False
        """Responders were asked to answer in place of the network."""
        self.passed = False
        """None of them did."""
        self.refused = False
        """It was stopped before it was sent."""
        self._on_end = on_end
        self._lock = Lock()
        self._ended = False
        self._sent_at = clock.date_of_prices()
        self._answer: Answer | None = None
        self._reader: BodyReader | None = None
        self._decode: Decode | None = None
        self._reading = False
        self._pace = Pace()
        self._bytes = 0
        self._metadata: dict[str, Any] = {
            "provider": facts.provider,
            "model": facts.model,
            "requested_model": facts.model,
            "operation": conversation.dialect.operation,
            "api": facts.api,
            "stream": facts.stream,
            "host": conversation.request.host,
            "attempt": _attempt(conversation.request.headers),
            "source": CAPTURE,
            "owner": self.owner,
        }
        self.span = Span(REQUEST, self._metadata)
        if self._metadata["attempt"] > 1:
            self._tell(RETRY, {"attempt": self._metadata["attempt"]}, reason="the SDK says so")

    # -- what the seam reports ---------------------------------------------------------

    def _answered(self, answer: Answer) -> None:
        self._answer = answer
        self.span.metadata |= {
            "status": answer.status,
            "served_by": answer.served_by,
            "request_id": answer.headers.get("x-request-id") or answer.headers.get("request-id"),
        }

    @property
    def streaming(self) -> bool:
        """The body is on its way, in pieces that the client pulls."""
        return self._reading

    def begin_stream(self, answer: Answer) -> None:
        """The head of the response is there; the body will come in pieces, to :meth:`feed`."""
        self._answered(answer)
        self._reading = True
        self.span.metadata["stream"] = True
        self._pace = Pace()
        times = {"monotonic_time_ns": clock.now_ns(), "system_time_ns": clock.wall_ns()}
        bus.execute(f"{STREAM}.start", times, self._stream_metadata())
        self._reader = self._reader_of(answer)
        try:
            self._decode = decoder(answer.headers.get("content-encoding", ""))
        except Undecodable:
            self._reader = None

    def feed(self, chunk: bytes) -> None:
        """The next piece of the body, as it came over the wire. Never raises."""
        gap = self._pace.tick()
        self._bytes += len(chunk)
        if bus.has_handler(CHUNK):
            about = self._stream_metadata() | {"index": self._pace.pieces - 1}
            bus.execute(CHUNK, {"gap_ns": gap, "bytes": len(chunk)}, about)
        reader = self._reader
        if reader is None or self._decode is None:
            return
        try:
            reader.feed(self._decode(chunk))
        except Exception:  # noqa: BLE001 - the client's bytes matter more than our reading of them
            self._reader = None
        if self._bytes > _LONGEST_ANSWER:
            self._reader = None
        if reader.has_content and "time_to_first_token_ns" not in self.span.measurements:
            self.span.measurements["time_to_first_token_ns"] = self.span.elapsed_ns

    def finish_plain(self, answer: Answer, body: bytes) -> None:
        """The whole body is in memory, content-encoding removed: one document, or a double's stream."""
        self._answered(answer)
        if self._end():
            self._close(self._read(answer, body), Ended.COMPLETE)

    def finish_stream(self, ended: Ended, error: BaseException | None = None, *, at_ns: int | None = None) -> None:
        """No more pieces will come. ``COMPLETE`` is believed only if the provider said it was done.

        Args:
            at_ns: when it ended, on the clock of its span, if that was before now.
        """
        if not self._end():
            return
        facts = CallFacts() if self._reader is None else _guarded(self._reader.close)
        if facts.terminated and ended in {Ended.CLOSED, Ended.ABANDONED, Ended.COMPLETE}:
            ended = Ended.COMPLETE
        elif ended is Ended.COMPLETE and self._answer is not None and self._answer.good:
            ended = Ended.UNTERMINATED
        at_ns = self.span.now_ns() if at_ns is None else at_ns
        measurements = {
            "duration_ns": at_ns - self.span.started_ns,
            "monotonic_time_ns": at_ns,
            "bytes": self._bytes,
            **self._pace.measurements(),
        }
        metadata = self._stream_metadata() | {
            "ended": ended,
            "finish_reason": facts.finish_reason,
            "success": error is None and facts.error_type is None,
        }
        if error is None:
            bus.execute(f"{STREAM}.stop", measurements, metadata)
        else:
            metadata["error_type"] = bus.qualified_name(error)
            bus.execute(f"{STREAM}.exception", measurements, metadata)
        self._close(facts, ended, error, at_ns=at_ns)

    @property
    def ended(self) -> bool:
        """True once it is over, however."""
        return self._ended

    def fail(self, error: BaseException, *, served_by: str = LIVE) -> None:
        """No usable response came: the transport failed, or the request was refused or cancelled."""
        if self._end():
            mocked = self.refused or (self.asked and not self.passed)
            self.span.metadata.setdefault("served_by", MOCK if mocked else served_by)
            self._close(CallFacts(), Ended.ERROR, error)

    # -- the one end ---------------------------------------------------------------------

    def _end(self) -> bool:
        with self._lock:
            first, self._ended = not self._ended, True
        return first

    def _close(
        self, facts: CallFacts, ended: Ended, error: BaseException | None = None, *, at_ns: int | None = None
    ) -> None:
        self._on_end(self)
        if self.told is not None and facts.usage is None and self._answer is not None and self._answer.good:
            facts = replace(facts, usage=self.told.usage)
            self.estimated = True
        span, answer = self.span, self._answer
        usage = facts.usage
        if usage is not None:
            span.measurements |= usage.counts()
        asked = self.conversation.facts
        span.metadata |= {
            "model": facts.model or asked.model,
            "finish_reason": facts.finish_reason,
            "response_id": facts.id,
            "ended": ended,
        }
        if facts.pending:
            span.metadata["pending"] = True
        span.metadata["uncertain"] = self._is_uncertain(error)
        if facts.error_type is not None:
            span.metadata["error_type"] = facts.error_type
        if answer is not None and not answer.good:
            span.error = facts.error_type or f"HTTP {answer.status}"
        elif facts.error_type is not None:
            span.error = facts.error_type
        for event, sizes, about in occasions(facts, asked, answer):
            self._tell(event, sizes, **about)
        if error is None:
            span.stop(at_ns=at_ns)
        else:
            span.fail(error)
        if self._is_accounted(facts):
            self._account(facts)

    def _tell(self, event: str, measurements: Mapping[str, Any], **more: object) -> None:
        bus.execute(event, measurements, self._metadata | more | self.span.ids)

    def _is_accounted(self, facts: CallFacts) -> bool:
        if facts.usage is not None:
            return True
        if facts.pending or self._answer is None or not self._answer.good:
            return False
        return self.conversation.dialect.operation in GENERATING or facts.unread_usage

    def _is_uncertain(self, error: BaseException | None) -> bool:
        """Sent over the network, and nobody knows whether it was answered and billed."""
        unanswered = self._answer is None and error is not None and not self.refused
        return unanswered and self.span.metadata["served_by"] == LIVE and not _never_sent(error)

    def _account(self, facts: CallFacts) -> None:
        asked, seat = self.conversation.facts, self.conversation.seat
        accounting.account(
            accounting.AccountedCall(
                billable=accounting.Billable(
                    provider=asked.provider,
                    model=facts.model,
                    requested_model=asked.model,
                    operation=self.conversation.dialect.operation,
                    usage=facts.usage,
                    at=self._sent_at,
                    service_tier=facts.service_tier,
                    stated_cost_usd=facts.stated_cost_usd,
                    free=seat.free,
                ),
                served_by=self.span.metadata["served_by"],
                finish_reason=facts.finish_reason,
                estimated=self.estimated,
                response_id=facts.id or None,
                is_poll=asked.poll,
                span=self.span,
                owner=self.owner,
                metadata={
                    "api": asked.api,
                    "host": self.conversation.request.host,
                    "response_id": facts.id or None,
                },
            )
        )

    def _reader_of(self, answer: Answer) -> BodyReader:
        return BodyReader(self.conversation.dialect.draft(), answer.headers)

    def _read(self, answer: Answer, body: bytes) -> CallFacts:
        if len(body) > _LONGEST_ANSWER:
            return CallFacts()
        reader = self._reader_of(answer)

        def read() -> CallFacts:
            reader.feed(body)
            return reader.close()

        return _guarded(read)

    def _stream_metadata(self) -> dict[str, Any]:
        served_by = self.span.metadata.get("served_by")
        return self._metadata | {"stream": True, "served_by": served_by} | self.span.ids


def _guarded(read: Callable[[], CallFacts]) -> CallFacts:
    """A body that no dialect can read says nothing; it must not break the client."""
    try:
        return read()
    except Exception:  # noqa: BLE001
        return CallFacts()


def _attempt(headers: Mapping[str, str]) -> int:
    """The SDKs made by Stainless count their retries in a header."""
    count = headers.get("x-stainless-retry-count", "")
    return int(count) + 1 if count.isascii() and count.isdigit() and len(count) < _DIGITS else 1


_DIGITS = 6

# Names, because the classes live in modules that we do not import.
_BEFORE_SENDING = frozenset(
    {"ConnectError", "ConnectTimeout", "LocalProtocolError", "PoolTimeout", "ProxyError", "UnsupportedProtocol"}
)


def _never_sent(error: BaseException | None) -> bool:
    return type(error).__name__ in _BEFORE_SENDING
