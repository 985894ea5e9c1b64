"""AWS event streams (``application/vnd.amazon.eventstream``), fed in pieces of any size.

botocore reads them, but does not write them, comes with 25 MB, and is not there where
LiteLLM or Anthropic's SDK speak to Bedrock over httpx. The tests hold this one against it.

A message is ``length, headers length, checksum of both, headers, payload, checksum of all``:
https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from zlib import crc32

from pytest_llmtelemetry.wire.frame import Frame
from pytest_llmtelemetry.wire.jsontext import dump


MEDIA = "application/vnd.amazon.eventstream"
EXCEPTION = "exception:"
"""How the event of a frame begins that says what went wrong; the provider's word for it follows."""

_PRELUDE = struct.Struct(">III")
_CHECKSUM = struct.Struct(">I")
_NAME = struct.Struct(">B")
_LONG = struct.Struct(">H")

PRELUDE_SIZE = _PRELUDE.size

# Sizes of the values of a header, by type; types 6 and 7 state their own.
_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_BYTES, _TEXT = 6, 7

# What botocore allows.
_LONGEST_HEADERS = 2**17
_LONGEST_PAYLOAD = 24 * 2**20


def begins_event_stream(head: bytes) -> bool:
    """True if these bytes, at least ``PRELUDE_SIZE``, are the prelude of a message."""
    _, _, checksum = _PRELUDE.unpack_from(head)
    return bool(crc32(head[: PRELUDE_SIZE - _CHECKSUM.size]) == checksum)


class EventStreamDecoder:
    """Turns bytes into messages, incrementally. After a damaged one nothing more is read."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._damaged = False

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Yield the messages that ``chunk`` completes."""
        if self._damaged:
            return
        self._rest += chunk
        while len(self._rest) >= PRELUDE_SIZE:
            prelude = bytes(self._rest[:PRELUDE_SIZE])
            length, headers_length, _ = _PRELUDE.unpack(prelude)
            sound = _is_sound(prelude)
            if sound and len(self._rest) < length:
                return
            message = bytes(self._rest[:length])
            if not (sound and _is_whole(message)):
                self._damaged = True
                self._rest.clear()
                return
            del self._rest[:length]
            head_end = PRELUDE_SIZE + headers_length
            headers = _read_headers(message[PRELUDE_SIZE:head_end])
            yield _frame(headers, message[head_end : -_CHECKSUM.size])

    def close(self) -> Iterator[Frame]:
        """A message that is cut is none."""
        return iter(())


def _is_sound(prelude: bytes) -> bool:
    length, headers_length, _ = _PRELUDE.unpack(prelude)
    payload_length = length - headers_length - PRELUDE_SIZE - _CHECKSUM.size
    return (
        begins_event_stream(prelude) and headers_length <= _LONGEST_HEADERS and 0 <= payload_length <= _LONGEST_PAYLOAD
    )


def _is_whole(message: bytes) -> bool:
    (checksum,) = _CHECKSUM.unpack(message[-_CHECKSUM.size :])
    return bool(crc32(message[: -_CHECKSUM.size]) == checksum)


def _frame(headers: Mapping[str, str], payload: bytes) -> Frame:
    """An exception has a type and says the rest in its payload; an error says all in its headers."""
    match headers.get(":message-type"):
        case "exception":
            return Frame(payload or b"{}", EXCEPTION + headers.get(":exception-type", ""))
        case "error":
            said = dump({"message": headers.get(":error-message", "")})
            return Frame(said.encode(), EXCEPTION + headers.get(":error-code", ""))
    return Frame(payload, headers.get(":event-type", ""))


def _read_headers(data: bytes) -> dict[str, str]:
    """The headers that are texts; the others are of no use here."""
    found: dict[str, str] = {}
    place = 0
    try:
        while place < len(data):
            (size,) = _NAME.unpack_from(data, place)
            place += _NAME.size
            name = data[place : place + size].decode()
            kind = data[place + size]
            place += size + 1
            if kind in {_BYTES, _TEXT}:
                (size,) = _LONG.unpack_from(data, place)
                place += _LONG.size
            else:
                size = _FIXED[kind]
            if kind == _TEXT and place + size <= len(data):
                found[name] = data[place : place + size].decode()
            place += size
    except (struct.error, IndexError, KeyError, UnicodeDecodeError):
        pass  # what was read until here is true, and the payload does not depend on the rest
    return found


def encode(data: str, *, headers: Mapping[str, str]) -> bytes:
    """Write one message with headers that are texts.

    >>> encode("{}", headers={":event-type": "ping"})[12:24]
    b'\\x0b:event-type'
    """
    head = b"".join(_header(name.encode(), value.encode()) for name, value in headers.items())
    payload = data.encode()
    length = PRELUDE_SIZE + len(head) + len(payload) + _CHECKSUM.size
    prelude = struct.pack(">II", length, len(head))
    message = prelude + _CHECKSUM.pack(crc32(prelude)) + head + payload
    return message + _CHECKSUM.pack(crc32(message))


def _header(name: bytes, value: bytes) -> bytes:
    return _NAME.pack(len(name)) + name + bytes([_TEXT]) + _LONG.pack(len(value)) + value


def encode_event(kind: str, data: str) -> bytes:
    """Write one event whose payload is JSON."""
    return encode(data, headers={":event-type": kind, ":content-type": "application/json", ":message-type": "event"})


def encode_exception(kind: str, data: str) -> bytes:
    """Write what went wrong, after which nothing more comes."""
    return encode(
        data, headers={":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    )
