"""From bytes to documents: the framing is found out from the bytes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pytest_llmtelemetry.facts import CallFacts
from pytest_llmtelemetry.wire.body import BodyReader, read
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.eventstream import encode as encode_message


BOM = b"\xef\xbb\xbf"


class Tape(Draft):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[object] = []

    def take(self, document: Mapping[str, Any], event: str) -> None:
        self.taken.append((document, event) if event else document)
        self.say(document.get("text"))

    def take_text(self, text: str) -> None:
        if text:
            self.taken.append(text)

    def take_headers(self, headers: Mapping[str, str]) -> None:
        self.taken += headers.items()


class ArrayTape(Tape):
    """The same, for an API that answers with arrays."""

    reads_arrays = True


def taken(body: bytes, *chunks: bytes, tape: type[Tape] = Tape) -> tuple[list[object], bool]:
    """What is read, and whether it came as a stream."""
    draft = tape()
    reader = BodyReader(draft)
    for chunk in (body, *chunks):
        reader.feed(chunk)
    reader.close()
    return draft.taken, reader.is_stream


MESSAGES = encode_message('{"a":1}', headers={":event-type": "x"}) + encode_message("{}", headers={})

BODIES: dict[str, tuple[bytes, list[object], bool]] = {
    "document": (b'{"a":1}', [{"a": 1}], False),
    "document-with-line-end": (b'{"a":1}\n', [{"a": 1}], False),
    "pretty-printed": (b'{\r\n  "a":\r\n  1}\r\n', [{"a": 1}], False),
    "document-of-numbers": (b'{"a":1,"data: x":[{}]}', [{"a": 1, "data: x": [{}]}], False),
    "byte-order-mark": (BOM + b'{"a":1}', [{"a": 1}], False),
    "byte-order-mark-and-blank-lines": (BOM + b'\r\n{"a":1}', [{"a": 1}], False),
    "byte-order-mark-after-blank-lines": (b"\r\n " + BOM + BOM + b'{"a":1}', [{"a": 1}], False),
    "byte-order-mark-and-no-more": (b"\t" + BOM, [], False),
    "utf-16": ('{"a":1}'.encode("utf-16"), [{"a": 1}], False),
    "utf-16-little": ('{"a":1}'.encode("utf-16-le"), [{"a": 1}], False),
    "utf-16-big": ('{"a":1}'.encode("utf-16-be"), [{"a": 1}], False),
    "lines": (b'{"a":1}\n{"b":2}\n', [{"a": 1}, {"b": 2}], True),
    "lines-with-keep-alive": (b'\n\n{"a":1}\r\n\r\n{"b":2}', [{"a": 1}, {"b": 2}], True),
    "line-that-is-no-object": (b'{"a":1}\n"x"\n{"b":2}', [{"a": 1}, '"x"', {"b": 2}], True),
    "events": (
        b'data: {"a":1}\n\nevent: x\ndata: {}\n\ndata: [DONE]\n\n',
        [({"a": 1}, "message"), ({}, "x"), "[DONE]"],
        True,
    ),
    "events-with-crlf": (b'data: {"a":1}\r\n\r\ndata: {}\r\n\r\n', [({"a": 1}, "message"), ({}, "message")], True),
    "events-with-cr": (b'data: {"a":1}\r\rdata: {}\r\r', [({"a": 1}, "message"), ({}, "message")], True),
    "events-without-last-line-end": (b'event: x\ndata: {"a":1}', [({"a": 1}, "x")], True),
    "events-with-byte-order-mark": (BOM + b'data: {"a":1}\n\n', [({"a": 1}, "message")], True),
    "events-after-keep-alive": (b'\n\n: waiting\n\ndata: {"a":1}\n\n', [({"a": 1}, "message")], True),
    "event-of-an-array": (b'data: [{"a":1}]\n\n', ['[{"a":1}]'], True),
    "messages": (MESSAGES, [({"a": 1}, "x"), {}], True),
    "messages-cut": (MESSAGES[:-1], [({"a": 1}, "x")], True),
    "messages-cut-in-the-prelude": (MESSAGES[:9], [], False),
    "damaged-text": (b'{"text":"a\xffb"}', [{"text": "a\ufffdb"}], False),
    "empty": (b"", [], False),
    "blank": (b" \r\n\t", [], False),
    "half-a-byte-order-mark": (BOM[:2], ["\ufffd"], False),
}


@pytest.mark.parametrize(("body", "expected", "stream"), BODIES.values(), ids=BODIES)
def test_a_body_is_read(body: bytes, expected: list[object], stream: bool) -> None:
    """All at once."""
    assert taken(body) == (expected, stream)


@pytest.mark.parametrize(("body", "expected", "stream"), BODIES.values(), ids=BODIES)
def test_a_body_is_read_byte_by_byte(body: bytes, expected: list[object], stream: bool) -> None:
    """Each byte alone, with an empty chunk before each."""
    assert taken(b"", *(piece for i in range(len(body)) for piece in (b"", body[i : i + 1]))) == (expected, stream)


@pytest.mark.parametrize(("body", "expected", "stream"), BODIES.values(), ids=BODIES)
def test_a_body_is_read_wherever_it_is_cut(body: bytes, expected: list[object], stream: bool) -> None:
    """Two pieces, cut at every place."""
    for place in range(len(body) + 1):
        assert taken(body[:place], body[place:]) == (expected, stream), f"cut at {place}"


GARBAGE = {
    "html": b"<html>\n<body>502 Bad Gateway</body></html>",
    "sentence": b"upstream connect error: reset\n",
    "number": b"5",
    "string": b'"{}"',
    "null": b"null",
    "cut": b'{"a": {"b": 1}, "c":',
    "cut-and-pretty-printed": b'{\n  "a":\n  {"b": 1}\n',
    "two-on-a-line": b"{} {}",
    "nulls": b"\x00" * 40,
    "high-bytes": b"\xff\xff\xff",
    "deep": b'{"a":' * 100_000,
    "array": b'[{"a":1}]',
}


@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE)
def test_garbage_has_no_documents(body: bytes) -> None:
    """Nothing raises, and no part of it is taken for the whole."""
    assert [item for item in taken(body)[0] if not isinstance(item, str)] == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'[{"a":1}\r\n,{"b":"]"}]', [{"a": 1}, {"b": "]"}]),
        (b'[{"a":1},{"b":', [{"a": 1}]),
        (BOM + b'\n[{"a":1}]', [{"a": 1}]),
        (b'{"error":{}}', [{"error": {}}]),
        (b'data: {"a":1}\n\n', [({"a": 1}, "message")]),
    ],
    ids=["array", "cut-array", "byte-order-mark", "document", "events"],
)
def test_an_api_of_arrays_may_answer_otherwise(body: bytes, expected: list[object]) -> None:
    """Its errors are single documents, and its streams may be events."""
    for place in range(len(body) + 1):
        assert taken(body[:place], body[place:], tape=ArrayTape)[0] == expected, f"cut at {place}"


def test_an_array_is_no_stream() -> None:
    """Nobody could tell it from a plain answer."""
    assert taken(b'[{"a":1},{"b":2}]', tape=ArrayTape) == ([{"a": 1}, {"b": 2}], False)


def test_the_content_type_is_not_trusted() -> None:
    """Doubles and gateways give the wrong one; the bytes say what they are."""
    draft = Tape()
    read(draft, b'data: {"a":1}\n\n', {"content-type": "application/json"})
    assert draft.taken == [("content-type", "application/json"), ({"a": 1}, "message")]


@pytest.mark.parametrize(
    "chunks",
    [[b'{"text":"a"}\n', b'{"text":"b"}\n'], [b'data: {"text":"a"}\n\n', b'data: {"text":"b"}\n\n']],
    ids=["lines", "events"],
)
def test_content_is_seen_as_it_comes(chunks: Sequence[bytes]) -> None:
    """The first token is known before the second is there."""
    reader = BodyReader(Tape())
    before = reader.has_content
    reader.feed(chunks[0])
    assert (before, reader.has_content) == (False, True)
    reader.feed(chunks[1])
    assert reader.close() == CallFacts(text="ab")
