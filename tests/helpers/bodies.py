"""Bodies of answers, written and recorded, and the same bodies as others would have sent them."""

from __future__ import annotations

import base64
import functools
import gzip
import importlib.util
import json
import re
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType

import pytest

import cassettes
import speakers
from pytest_llmtelemetry.facts import CallFacts
from pytest_llmtelemetry.wire import eventstream, sse
from pytest_llmtelemetry.wire.body import BodyReader, Framing
from pytest_llmtelemetry.wire.dialect import Dialect
from pytest_llmtelemetry.wire.ndjson import ArrayDecoder, DocumentDecoder, LineDecoder


BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True)
class Body:
    """The bytes of one answer."""

    name: str
    dialect: Dialect
    data: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def framing(self) -> str:
        """How it is framed, judged by its first bytes and the ends of its lines."""
        if self.data.startswith(b"["):
            return "array"
        if self.data.startswith(b"{"):
            return "lines" if re.search(rb"\}\r?\n\{", self.data) else "document"
        return "messages" if self.data.startswith(b"\0") else "events"

    def read(self, chunks: Iterable[bytes] | None = None) -> tuple[CallFacts, bool]:
        """What it says, and whether it is a stream."""
        reader = BodyReader(self.dialect.draft(), self.headers)
        for chunk in (self.data,) if chunks is None else chunks:
            reader.feed(chunk)
        facts = reader.close()
        return facts, reader.is_stream

    def for_(self, dialect: Dialect) -> Body:
        """The same, taken for an answer in another dialect."""
        return replace(self, dialect=dialect)

    def sent(self, change: Callable[[bytes], bytes]) -> Body:
        """The same, as somebody else would have sent it."""
        return replace(self, data=change(self.data))


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """``data`` in pieces."""
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(marks)]


# -- taken apart ---------------------------------------------------------------------------

Part = tuple[str, str]
"""The name of an event, if it has one, and what it says."""


def parts(framing: str, data: bytes) -> list[Part]:
    """The documents of a body, those that Bedrock wraps unwrapped."""
    decoder = _DECODERS[framing]()
    frames = [*decoder.feed(data), *decoder.close()]
    return [
        (frame.event, _unwrapped(frame.data.decode() if isinstance(frame.data, bytes) else frame.data))
        for frame in frames
    ]


def joined(framing: str, said: Iterable[Part]) -> bytes:
    """The inverse of :func:`parts`."""
    match framing:
        case "array":
            return ("[" + ",".join(text for _, text in said) + "]").encode()
        case "events":
            return b"".join(sse.encode(text, event=event) for event, text in said)
        case "messages":
            return b"".join(eventstream.encode(_wrapped(part), headers={":event-type": part[0]}) for part in said)
    return "\n".join(text for _, text in said).encode()


_DECODERS: Mapping[str, Callable[[], Framing]] = {
    "document": DocumentDecoder,
    "lines": LineDecoder,
    "array": ArrayDecoder,
    "events": sse.SSEDecoder,
    "messages": eventstream.EventStreamDecoder,
}


def _unwrapped(text: str) -> str:
    wrapped = re.fullmatch(r'\{"bytes":\s*"([^"]*)".*\}', text)
    return text if wrapped is None else base64.b64decode(wrapped[1]).decode()


def _wrapped(part: Part) -> str:
    event, text = part
    return text if event != "chunk" else json.dumps({"bytes": base64.b64encode(text.encode()).decode()})


# -- where they come from ------------------------------------------------------------------


def of(speaker: speakers.Speaker, said: speakers.Said, *, stream: bool) -> Body:
    """What a dialect writes."""
    answer = speakers.written(speaker, said, stream=stream)
    kind = "stream" if stream else "plain"
    return Body(name=f"{speaker.name}-{kind}", dialect=speaker.dialect, data=answer.body, headers=answer.headers)


def _of_all(example: Callable[[speakers.Speaker], speakers.Said]) -> Sequence[Body]:
    return [
        of(speaker, example(speaker), stream=stream)
        for speaker in speakers.ONE_OF_EACH
        for stream in ([False, True] if speaker.may_stream else [False])
    ]


WRITTEN = _of_all(speakers.example)
"""An answer of each dialect, plain and streamed."""
FULL = _of_all(speakers.full_example)
"""The same with all that can be stated."""


def recorded_files() -> Sequence[str]:
    """The files of the recordings; none if these, or the library that reads them, are not here."""
    return sorted(cassettes.rows()) if importlib.util.find_spec("yaml") else []


@functools.cache
def recorded() -> Sequence[Body]:
    """The shortest recording with usage of each API, plain and streamed; nothing where there are none."""
    found: dict[str, Body] = {}
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # the reader leaves its files open
        for one in (one for file in recorded_files() for one in cassettes.interactions(file)):
            name = f"recorded-{one.row['api']}-{'stream' if one.row['stream'] else 'plain'}"
            if one.row["usage_raw"] and (name not in found or len(one.body) < len(found[name].data)):
                found[name] = Body(name=name, dialect=one.converse().dialect, data=one.body, headers=one.headers)
    return [found[name] for name in sorted(found)]


# -- how others would send them ------------------------------------------------------------

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},:]|\s+')


def _respaced(data: bytes, space: bytes) -> bytes:
    """JSON with ``space`` after each of its marks, and no other."""

    def one(match: re.Match[bytes]) -> bytes:
        token = match[0]
        if token.isspace():
            return b""
        return token if token.startswith(b'"') else token + space

    return _TOKEN.sub(one, data)


def spaced(space: bytes) -> Callable[[bytes], bytes]:
    """JSON with ``space`` wherever space may be."""
    return lambda data: _respaced(data, space)


def _lf(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n")


def line_ends(end: bytes) -> Callable[[bytes], bytes]:
    """The same lines with other ends."""
    return lambda data: _lf(data).replace(b"\n", end)


def _each_data(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    return re.sub(rb"(?m)^data: ?([^\n]*)$", lambda line: change(line[1]), _lf(data))


def _in_many_lines(said: bytes) -> bytes:
    """The data of one event, a line for each mark of its JSON."""
    if not said.startswith(b"{"):
        return b"data: " + said
    return b"data: " + _respaced(said, b"\ndata: ").removesuffix(b"\ndata: ")


NOISE = b": keep-alive\n\nevent: ping\n\nretry: 3000\n\nid: a\0b\n\ndata\n\ndata:\n\nunknown: field\nnor this\n\n"

Change = Callable[[bytes], bytes]

CHANGES: Mapping[str, Mapping[str, Change]] = {
    "document": {
        "byte-order-mark": lambda data: BOM + data,
        "last-line-end": lambda data: data + b"\n",
        "blank-lines-around": lambda data: b"\r\n\n " + data + b"\r\n\r\n",
        "indented": spaced(b"\n  "),
        "indented-crlf": spaced(b"\r\n\t"),
        "indented-cr": spaced(b"\r "),
        "without-space": spaced(b""),
        "utf-16": lambda data: data.decode().encode("utf-16"),
        "utf-16-big": lambda data: spaced(b"\n")(data).decode().encode("utf-16-be"),
    },
    "lines": {
        "byte-order-mark": lambda data: BOM + data,
        "crlf": line_ends(b"\r\n"),
        "cr": line_ends(b"\r"),
        "blank-lines": line_ends(b"\n\n \r\n"),
        "blank-lines-before": lambda data: b"\n\r\n" + data,
        "no-last-line-end": bytes.rstrip,
        "spaces": lambda data: b"\n".join(_respaced(line, b" \t") for line in data.splitlines()),
    },
    "array": {
        "byte-order-mark": lambda data: BOM + data,
        "blank-lines-around": lambda data: b"\r\n" + data + b"\n\n",
        "without-space": spaced(b""),
        "spaces": spaced(b" \t"),
        "indented": spaced(b"\n  "),
        "indented-crlf": spaced(b"\r\n"),
    },
    "events": {
        "byte-order-mark": lambda data: BOM + data,
        "lf": _lf,
        "crlf": line_ends(b"\r\n"),
        "cr": line_ends(b"\r"),
        "mixed": lambda data: _lf(data).replace(b"\n\n", b"\n\r").replace(b"\ndata", b"\r\ndata"),
        "blank-lines": lambda data: b"\n\n" + _lf(data).replace(b"\n\n", b"\n\n\n\n"),
        "no-last-blank-line": lambda data: data.rstrip() + b"\n",
        "no-last-line-end": bytes.rstrip,
        "comments": lambda data: re.sub(rb"(?m)^data", b": it is coming\n:\ndata", _lf(data)),
        "noise": lambda data: NOISE + _lf(data).replace(b"\n\n", b"\n\n" + NOISE),
        "other-fields": lambda data: re.sub(rb"(?m)^data", b"id: 1\nretry: 9\nfoo: {}\ndata", _lf(data)),
        "no-space": lambda data: re.sub(rb"(?m)^(data|event): ", rb"\1:", _lf(data)),
        "two-spaces": lambda data: re.sub(rb"(?m)^data: ?", b"data:  ", _lf(data)),
        "many-data-lines": lambda data: _each_data(data, _in_many_lines),
        "many-data-lines-crlf": lambda data: _each_data(data, _in_many_lines).replace(b"\n", b"\r\n"),
        "data-after-the-end": lambda data: data + b"data: [DONE]\n\ndata: [DONE]\n\n",
    },
    "messages": {},
}
"""By framing: what changes the bytes, and not what they say."""


# -- how they are packed -------------------------------------------------------------------


def _flushed(data: bytes, wbits: int) -> bytes:
    """As servers pack a stream: each piece can be read before the next is there."""
    packer = zlib.compressobj(wbits=wbits)
    pieces = [packer.compress(data[i : i + 50]) + packer.flush(zlib.Z_SYNC_FLUSH) for i in range(0, len(data), 50)]
    return b"".join(pieces) + packer.flush()


def _brotli(data: bytes) -> bytes:
    packed: bytes = pytest.importorskip("brotli").compress(data)
    return packed


def _zstd(data: bytes) -> bytes:
    packed: bytes = pytest.importorskip("zstandard").compress(data)
    return packed


PACKED: Mapping[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip-flushed": ("x-gzip", lambda data: _flushed(data, zlib.MAX_WBITS | 16)),
    "deflate": ("deflate", zlib.compress),
    "deflate-without-head": ("deflate", lambda data: _flushed(data, -zlib.MAX_WBITS)),
    "br": ("br", _brotli),
    "zstd": ("zstd", _zstd),
    "zstd-of-two-frames": ("zstd", lambda data: _zstd(data[:99]) + _zstd(data[99:])),
    "gzip-and-br": ("gzip, br", lambda data: _brotli(gzip.compress(data))),
    "identity": ("identity", bytes),
}
"""The name of the encoding, and how to encode."""
