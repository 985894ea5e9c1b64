"""JSON documents one after the other: one to a line, in one array, or a single one. Fed in pieces of any size.

The standard library reads whole documents only. ``ijson`` reads incrementally, but hands
out parsed values, where these hand out texts, so that one parser decides what a number is.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from pytest_llmtelemetry.wire.frame import Frame
from pytest_llmtelemetry.wire.jsontext import load_object


class DocumentDecoder:
    """One document, whatever it is."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Keep ``chunk``: nothing can be said before the end."""
        self._pieces.append(chunk)
        return iter(())

    def close(self) -> Iterator[Frame]:
        """Yield the document."""
        yield Frame(_readable(b"".join(self._pieces)))


def _readable(document: bytes) -> str | bytes:
    """UTF-8, damaged or not, as text; what has null bytes is in another encoding, which the parser finds out."""
    return document if b"\0" in document else document.decode("utf-8-sig", "replace")


# Neither stands inside a JSON text that is on one line.
_LINE_ENDS = (b"\n", b"\r")


class LineDecoder:
    """Objects, one to a line. If the first line is no object, all lines are one document."""

    def __init__(self) -> None:
        self.frames = 0
        self._rest: list[bytes] = []
        self._whole: DocumentDecoder | None = None

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Yield the lines that ``chunk`` completes."""
        if self._whole is not None:
            yield from self._whole.feed(chunk)
            return
        self._rest.append(chunk)
        if not any(end in chunk for end in _LINE_ENDS):
            return  # one long line in many pieces is joined once, when it ends
        buffer = b"".join(self._rest)
        *lines, rest = buffer.replace(b"\r", b"\n").split(b"\n")
        first = next(filter(bytes.strip, lines), None)
        if first is not None and not self.frames and load_object(_readable(first), exact=False) is None:
            self._whole = DocumentDecoder()
            yield from self._whole.feed(buffer)
            return
        self._rest = [rest]
        for line in lines:
            yield from self._line(line)

    def close(self) -> Iterator[Frame]:
        """Yield the last line, which may have no end."""
        if self._whole is not None:
            yield from self._whole.close()
        else:
            yield from self._line(b"".join(self._rest))

    def _line(self, line: bytes) -> Iterator[Frame]:
        if line.strip():
            self.frames += 1
            yield Frame(_readable(line))


_TOKEN = re.compile(r'["{}\[\]]')
_REST_OF_STRING = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


class ArrayDecoder:
    """The items of one array: what is between its brackets, as soon as each is whole."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._item: list[str] = []
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Yield the items that ``chunk`` completes."""
        text = self._text.decode(chunk)
        begin = 0  # of what belongs to the item under way, in this chunk
        position = 0
        if self._escaped and text:
            self._escaped, position = False, 1
        while position < len(text):
            if self._in_string:
                position = self._skip_string(text, position)
                continue
            token = _TOKEN.search(text, position)
            if token is None:
                break
            position = token.end()
            match token.group():
                case '"':
                    self._in_string = True
                case "{" | "[":
                    self._depth += 1
                    if self._depth == _ITEM:
                        begin = token.start()
                case _:
                    self._depth -= 1
                    if self._depth == _ITEM - 1:
                        self._item.append(text[begin:position])
                        yield Frame("".join(self._item))
                        self._item = []
        if self._depth >= _ITEM:
            self._item.append(text[begin:])

    def _skip_string(self, text: str, position: int) -> int:
        """Where the string under way is over, or else where ``text`` is."""
        rest = _REST_OF_STRING.match(text, position)
        self._in_string = rest is None
        if rest is not None:
            return rest.end()
        said = text[position:]
        self._escaped = (len(said) - len(said.rstrip("\\"))) % 2 == 1
        return len(text)

    def close(self) -> Iterator[Frame]:
        """An item that is cut is none."""
        return iter(())


# The array itself is the first level; an item opens the second.
_ITEM = 2
