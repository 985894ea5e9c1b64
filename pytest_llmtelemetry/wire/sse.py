"""Server-sent events, fed in pieces of any size.

No library fits: ``httpx2.EventSource`` and ``sseclient`` pull from a response that they
own, where a tee is pushed to; the decoder inside ``httpx-sse`` is private and loads
httpx. The tests hold this one against ``httpx2.EventSource``, split at every byte.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from pytest_llmtelemetry.wire.frame import Frame


# Only these end a line: str.splitlines() would also cut at U+2028 inside JSON.
_LINE_END = re.compile(r"\r\n|\n|\r")


class SSEDecoder:
    """Turns bytes into events, incrementally."""

    def __init__(self) -> None:
        # utf-8-sig strips the byte order mark that some gateways prepend.
        self._text = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._rest: list[str] = []
        self._event = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Yield the events that ``chunk`` completes."""
        yield from self._lines(self._text.decode(chunk), last=False)

    def close(self) -> Iterator[Frame]:
        """Yield a last event that no blank line ended. Browsers drop it; its usage is real."""
        yield from self._lines(self._text.decode(b"", final=True), last=True)
        yield from self._line("")

    def _lines(self, text: str, *, last: bool) -> Iterator[Frame]:
        self._rest.append(text)
        after_cr = len(self._rest) > 1 and self._rest[-2].endswith("\r")
        if not last and not after_cr and "\n" not in text and "\r" not in text:
            return  # one long line in many pieces is joined once, when it ends
        buffer = "".join(self._rest)
        start = 0
        for end in _LINE_END.finditer(buffer):
            if end.group() == "\r" and end.end() == len(buffer) and not last:
                break  # may be half of a CRLF
            yield from self._line(buffer[start : end.start()])
            start = end.end()
        self._rest = [buffer[start:]]
        if last and buffer[start:]:
            yield from self._line(buffer[start:])
            self._rest = []

    def _line(self, line: str) -> Iterator[Frame]:
        if not line:
            if self._data:
                yield Frame("\n".join(self._data), self._event or "message")
            self._event, self._data = "", []
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)


def encode(data: str, *, event: str | None = None) -> bytes:
    """Write one event.

    >>> encode("{}", event="ping")
    b'event: ping\\ndata: {}\\n\\n'
    """
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {data}\n\n".encode()
