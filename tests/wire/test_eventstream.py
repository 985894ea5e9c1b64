"""The decoder of AWS event streams, held against the one of botocore and cut at every byte."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from itertools import pairwise
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmtelemetry.wire.eventstream import (
    EventStreamDecoder,
    begins_event_stream,
    encode,
    encode_event,
    encode_exception,
)
from pytest_llmtelemetry.wire.frame import Frame


Header = tuple[str, int, bytes]
"""A name, the number of a type, and the value with its length, if it has one."""


def prelude(length: int, headers_length: int) -> bytes:
    """The first twelve bytes of a message."""
    head = struct.pack(">II", length, headers_length)
    return head + struct.pack(">I", crc32(head))


def sealed(head: bytes, payload: bytes) -> bytes:
    """A message with these bytes for headers, whatever they are."""
    message = prelude(12 + len(head) + len(payload) + 4, len(head)) + head + payload
    return message + struct.pack(">I", crc32(message))


def message(headers: Iterable[Header], payload: bytes = b"{}") -> bytes:
    """A message with headers of any type."""
    return sealed(
        b"".join(bytes([len(name.encode())]) + name.encode() + bytes([kind]) + value for name, kind, value in headers),
        payload,
    )


def said(value: str) -> bytes:
    """The value of a header that is a text."""
    return struct.pack(">H", len(value.encode())) + value.encode()


def text(name: str, value: str) -> Header:
    """A header that is a text."""
    return name, 7, said(value)


def decode(*chunks: bytes) -> list[Frame]:
    """All messages of a body that comes in ``chunks``."""
    decoder = EventStreamDecoder()
    frames = [frame for chunk in chunks for frame in decoder.feed(chunk)]
    return [*frames, *decoder.close()]


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    """``body`` in pieces, some of them empty."""
    marks = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in pairwise(marks)]


FIRST = encode_event("first", '{"a":1}')
SECOND = encode_event("second", '{"b":"\u2028é"}')
THIRD = encode_exception("third", "{}")
BODY = FIRST + SECOND + THIRD
FRAMES = [
    Frame(b'{"a":1}', "first"),
    Frame('{"b":"\u2028é"}'.encode(), "second"),
    Frame(b"{}", "exception:third"),
]

# -- held against botocore -----------------------------------------------------------------

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
texts = st.text(st.characters(codec="utf-8"), max_size=12)
values = st.one_of(
    st.tuples(st.sampled_from([0, 1]), st.just(b"")),
    st.tuples(st.just(2), st.binary(min_size=1, max_size=1)),
    st.tuples(st.just(3), st.binary(min_size=2, max_size=2)),
    st.tuples(st.just(4), st.binary(min_size=4, max_size=4)),
    st.tuples(st.sampled_from([5, 8]), st.integers(0, 10**12).map(lambda number: struct.pack(">q", number))),
    st.tuples(st.just(6), st.binary(max_size=9).map(lambda value: struct.pack(">H", len(value)) + value)),
    st.tuples(st.just(7), texts.map(said)),
    st.tuples(st.just(9), st.binary(min_size=16, max_size=16)),
)
others = st.builds(lambda name, value: (name, *value), names.filter(lambda name: not name.startswith(":")), values)
messages = st.tuples(
    texts,
    st.lists(others, max_size=4, unique_by=lambda header: header[0]),
    st.binary(max_size=40),
)


@given(st.lists(messages, max_size=4), st.lists(st.integers(min_value=0), max_size=6))
def test_reads_what_botocore_reads(drawn: Sequence[tuple[str, list[Header], bytes]], places: list[int]) -> None:
    """Headers of all types, any payload and any cut: the events and payloads are those of botocore."""
    buffer = pytest.importorskip("botocore.eventstream").EventStreamBuffer()
    body = b"".join(
        message([*headers, text(":event-type", event), text(":message-type", "event")], payload)
        for event, headers, payload in drawn
    )
    buffer.add_data(body)
    expected = [Frame(event.payload, event.headers[":event-type"]) for event in buffer]
    assert decode(*cut(body, places)) == expected
    assert len(expected) == len(drawn)


@given(st.dictionaries(names, texts, max_size=4), texts)
def test_botocore_reads_what_is_written(headers: dict[str, str], payload: str) -> None:
    """A message as a mock writes it has its headers and its payload for botocore."""
    buffer = pytest.importorskip("botocore.eventstream").EventStreamBuffer()
    buffer.add_data(encode(payload, headers=headers))
    [event] = buffer
    assert (event.headers, event.payload) == (headers, payload.encode())


# -- cuts and damage -----------------------------------------------------------------------


def test_a_cut_at_any_byte_changes_nothing() -> None:
    """Two pieces, cut anywhere, are the same messages."""
    wrong = [place for place in range(len(BODY) + 1) if decode(BODY[:place], BODY[place:]) != FRAMES]
    assert wrong == []


def test_single_bytes_are_the_same_messages() -> None:
    """The body may come byte by byte."""
    assert decode(*(BODY[place : place + 1] for place in range(len(BODY)))) == FRAMES


def test_a_message_that_is_cut_is_none() -> None:
    """Where the body ends early, only the messages before are read."""
    wrong = [missing for missing in range(1, len(THIRD) + 1) if decode(BODY[:-missing]) != FRAMES[:2]]
    assert wrong == []


def test_nothing_is_read_after_damage() -> None:
    """One wrong byte anywhere in the second message ends the reading after the first."""
    wrong = []
    for place in range(len(FIRST), len(FIRST + SECOND)):
        damaged = bytearray(BODY)
        damaged[place] ^= 0x55
        if decode(bytes(damaged), BODY) != FRAMES[:1]:
            wrong.append(place)
    assert wrong == []


@pytest.mark.parametrize(
    ("length", "headers_length"),
    [
        pytest.param(0, 0, id="nothing at all"),
        pytest.param(15, 0, id="shorter than an empty message"),
        pytest.param(16, 1, id="headers that do not fit"),
        pytest.param(2**32 - 1, 0, id="a payload of gigabytes"),
        pytest.param(2**18, 2**17 + 1, id="headers beyond what AWS allows"),
    ],
)
def test_impossible_lengths_are_damage(length: int, headers_length: int) -> None:
    """A prelude that is sound, but states what cannot be, is not waited for."""
    decoder = EventStreamDecoder()
    assert list(decoder.feed(prelude(length, headers_length) + bytes(64) + BODY)) == []
    assert decoder._rest == b""


def test_a_damaged_length_is_not_waited_for() -> None:
    """The prelude has a checksum of its own, so that a wrong length is known at once."""
    decoder = EventStreamDecoder()
    assert list(decoder.feed(struct.pack(">III", 10**6, 0, 7))) == []
    assert decoder._rest == b""


@given(st.binary(max_size=60), st.lists(st.integers(min_value=0), max_size=3))
def test_garbage_is_no_message(garbage: bytes, places: list[int]) -> None:
    """Random bytes neither raise nor are read."""
    assert decode(*cut(garbage, places)) == []


@given(st.binary(max_size=40))
def test_garbage_in_the_headers_hides_no_payload(garbage: bytes) -> None:
    """The payload stands where the prelude says, whatever the headers are."""
    [frame] = decode(sealed(garbage, b'{"a":1}'))
    assert frame.data == b'{"a":1}'


def test_a_header_that_is_cut_is_none() -> None:
    """A text that is longer than what is left is not half a text."""
    whole = message([text(":event-type", "known")])
    head = whole[12:-6] + b"\x0d:message-type\x07\x00\x09error"
    assert decode(sealed(head, b"{}")) == [Frame(b"{}", "known")]


@pytest.mark.parametrize(
    ("head", "begins"),
    [
        pytest.param(BODY[:12], True, id="a prelude"),
        pytest.param(BODY[:40], True, id="a message"),
        pytest.param(BODY[1:13], False, id="not at its begin"),
        pytest.param(bytes(12), False, id="zeros"),
    ],
)
def test_a_prelude_proves_itself(head: bytes, begins: bool) -> None:
    """Its checksum tells an event stream from anything else."""
    assert begins_event_stream(head) is begins


# -- what went wrong -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "payload", "frame"),
    [
        pytest.param(
            [text(":message-type", "exception"), text(":exception-type", "throttlingException")],
            b'{"message":"slow"}',
            Frame(b'{"message":"slow"}', "exception:throttlingException"),
            id="an exception",
        ),
        pytest.param(
            [text(":exception-type", "throttlingException"), text(":message-type", "exception")],
            b"",
            Frame(b"{}", "exception:throttlingException"),
            id="an exception that says nothing",
        ),
        pytest.param(
            [
                text(":message-type", "error"),
                text(":error-code", "InternalError"),
                text(":error-message", 'a "quoted" one'),
            ],
            b"",
            Frame(b'{"message":"a \\"quoted\\" one"}', "exception:InternalError"),
            id="an error, which has no payload",
        ),
        pytest.param([text(":message-type", "exception")], b"{}", Frame(b"{}", "exception:"), id="without a type"),
        pytest.param([text(":event-type", "chunk")], b"{}", Frame(b"{}", "chunk"), id="an event without a type"),
        pytest.param([], b"", Frame(b"", ""), id="nothing at all"),
    ],
)
def test_what_a_message_is_called(headers: list[Header], payload: bytes, frame: Frame) -> None:
    """Events have their names; exceptions and errors are told apart from them."""
    assert decode(message(headers, payload)) == [frame]
