"""From the bytes of an answer to the documents in it.

The bytes say how they are framed, not the headers: providers answer with one document to
who asked for a stream, doubles forget the content type, and gateways change it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

from pytest_llmtelemetry.facts import CallFacts
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.eventstream import PRELUDE_SIZE, EventStreamDecoder, begins_event_stream
from pytest_llmtelemetry.wire.frame import Frame
from pytest_llmtelemetry.wire.jsontext import load_object
from pytest_llmtelemetry.wire.ndjson import ArrayDecoder, DocumentDecoder, LineDecoder
from pytest_llmtelemetry.wire.sse import SSEDecoder


class Framing(Protocol):
    """Cuts bytes into frames, incrementally."""

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Yield the frames that ``chunk`` completes."""

    def close(self) -> Iterator[Frame]:
        """Yield what is left."""


class BodyReader:
    """Reads one answer, in pieces of any size, content-encoding removed."""

    def __init__(self, draft: Draft, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        self._draft = draft
        self._head = b""
        self._framing: Framing | None = None
        self._facts: CallFacts | None = None
        draft.take_headers(headers)

    @property
    def has_content(self) -> bool:
        """True once the first token of the answer was seen."""
        return self._draft.has_content

    @property
    def is_stream(self) -> bool:
        """True if the answer comes as events or lines, rather than as one document or array."""
        match self._framing:
            case LineDecoder() as lines:
                return lines.frames > 1
            case framing:
                return isinstance(framing, SSEDecoder | EventStreamDecoder)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        if self._framing is None:
            self._head = _NOTHING.sub(b"", self._head + chunk)
            self._framing = self._choose(self._head)
            if self._framing is None:
                return
            chunk, self._head = self._head, b""
        for frame in self._framing.feed(chunk):
            self._take(frame)

    def close(self) -> CallFacts:
        """No more bytes will come: say what is known."""
        if self._facts is None:
            self._facts = self._conclude()
        return self._facts

    def _conclude(self) -> CallFacts:
        if self._framing is None:
            self._framing = DocumentDecoder()
            for frame in self._framing.feed(self._head):
                self._take(frame)
        for frame in self._framing.close():
            self._take(frame)
        self._draft.whole = isinstance(self._framing, DocumentDecoder | LineDecoder) and not self.is_stream
        return self._draft.facts()

    def _take(self, frame: Frame) -> None:
        document = load_object(frame.data, exact=self._draft.exact)
        if document is not None:
            self._draft.take(document, frame.event)
        elif isinstance(frame.data, str):
            self._draft.take_text(frame.data.strip())

    def _choose(self, head: bytes) -> Framing | None:
        """How the answer is framed; ``None`` if it is too early to say."""
        first = head[:1]
        if len(head) < _ENOUGH.get(first, 1):
            return None
        if first == b"{":
            return LineDecoder()
        if first == b"[" and self._draft.reads_arrays:
            return ArrayDecoder()
        if first == b"\0" and begins_event_stream(head):
            return EventStreamDecoder()
        return DocumentDecoder() if first in _NO_EVENTS else SSEDecoder()


# The byte order mark is what some gateways prepend; blank lines keep connections alive.
_NOTHING = re.compile(rb"\A(?:\xef\xbb\xbf|[ \t\r\n])+")
# How many bytes it takes to know what begins with these: an event stream, a byte order mark.
_ENOUGH = {b"\0": PRELUDE_SIZE, b"\xef": 3}
# An array, and UTF-16.
_NO_EVENTS = frozenset({b"[", b"\0", b"\xff", b"\xfe"})


def read(draft: Draft, body: bytes, headers: Mapping[str, str] = MappingProxyType({})) -> CallFacts:
    """Read a whole answer."""
    reader = BodyReader(draft, headers)
    reader.feed(body)
    return reader.close()
