"""JSON documents in a row: lines, arrays and single ones, cut anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmtelemetry.wire.ndjson import ArrayDecoder, DocumentDecoder, LineDecoder


REPLACED = "\ufffd"


def decode(decoder: ArrayDecoder | DocumentDecoder | LineDecoder, *chunks: bytes) -> list[str | bytes]:
    """The data of all frames."""
    frames = [frame for chunk in chunks for frame in decoder.feed(chunk)]
    return [frame.data for frame in (*frames, *decoder.close())]


def cuts(body: bytes, places: Iterable[int]) -> list[bytes]:
    """``body`` in pieces."""
    marks = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in pairwise(marks)]


# -- lines ---------------------------------------------------------------------------------

LINES: dict[str, tuple[bytes, Sequence[str | bytes]]] = {
    "lf": (b'{"a":1}\n{"b":2}\n', ['{"a":1}', '{"b":2}']),
    "crlf": (b'{"a":1}\r\n{"b":2}\r\n', ['{"a":1}', '{"b":2}']),
    "cr": (b'{"a":1}\r{"b":2}\r', ['{"a":1}', '{"b":2}']),
    "no-last-line-end": (b'{"a":1}\n{"b":2}', ['{"a":1}', '{"b":2}']),
    "one-line": (b'{"a":1}\n', ['{"a":1}']),
    "one-line-without-end": (b'{"a":1}', ['{"a":1}']),
    "keep-alive": (b'\n\r\n{"a":1}\n\n \n\r\n{"b":2}\n\n', ['{"a":1}', '{"b":2}']),
    "spaces-around": (b' {"a":1} \n\t{"b":2}', [' {"a":1} ', '\t{"b":2}']),
    "byte-order-mark": (b'\xef\xbb\xbf{"a":1}\n{"b":2}\n', ['{"a":1}', '{"b":2}']),
    "unicode-separators": (
        '{"a":"\u2028\u2029\u0085"}\n{"b":2}'.encode(),
        ['{"a":"\u2028\u2029\u0085"}', '{"b":2}'],
    ),
    "multibyte": ('{"a":"é\U0001f40d"}\n{"b":2}\n'.encode(), ['{"a":"é\U0001f40d"}', '{"b":2}']),
    "damaged-first-line": (b'{"a":"\xff"}\n{"b":2}\n', [f'{{"a":"{REPLACED}"}}', '{"b":2}']),
    "damaged-last-line": (b'{"a":1}\n{"b":"\xe2\x82', ['{"a":1}', f'{{"b":"{REPLACED}']),
    "garbage-between": (b'{"a":1}\nbad\n{"b":2}\n', ['{"a":1}', "bad", '{"b":2}']),
    "cut-last-line": (b'{"a":1}\n{"b":', ['{"a":1}', '{"b":']),
    "pretty-printed": (b'{\n  "a": {"b": 1}\n}\n', ['{\n  "a": {"b": 1}\n}\n']),
    "pretty-printed-crlf": (b'{\r\n"a": 1\r\n}', ['{\r\n"a": 1\r\n}']),
    "pretty-printed-and-cut": (b'{\n  "a":\n  {"b": 1}\n', ['{\n  "a":\n  {"b": 1}\n']),
    "first-line-is-garbage": (b'bad\n{"a":1}\n', ['bad\n{"a":1}\n']),
    "utf-16": ('{\n"a": 1}'.encode("utf-16-le"), ['{\n"a": 1}'.encode("utf-16-le")]),
    "only-blank-lines": (b"\n \r\n", []),
    "empty": (b"", []),
}


@pytest.mark.parametrize(("body", "expected"), LINES.values(), ids=LINES)
def test_lines_are_read(body: bytes, expected: Sequence[str | bytes]) -> None:
    """All at once."""
    assert decode(LineDecoder(), body) == expected


@pytest.mark.parametrize(("body", "expected"), LINES.values(), ids=LINES)
def test_lines_are_read_byte_by_byte(body: bytes, expected: Sequence[str | bytes]) -> None:
    """Each byte alone, with an empty chunk before each."""
    assert decode(LineDecoder(), *(piece for i in range(len(body)) for piece in (b"", body[i : i + 1]))) == expected


@pytest.mark.parametrize(("body", "expected"), LINES.values(), ids=LINES)
def test_lines_are_read_wherever_they_are_cut(body: bytes, expected: Sequence[str | bytes]) -> None:
    """Two pieces, cut at every place."""
    for place in range(len(body) + 1):
        assert decode(LineDecoder(), body[:place], body[place:]) == expected, f"cut at {place}"


def test_a_line_is_yielded_with_the_byte_that_ends_it() -> None:
    """Nobody waits for the next line to see this one."""
    decoder = LineDecoder()
    seen = [
        [frame.data for frame in decoder.feed(chunk)] for chunk in (b'{"a"', b":1}", b"\n", b'{"b":2}\r', b'\n{"c"')
    ]
    assert seen == [[], [], ['{"a":1}'], ['{"b":2}'], []]


def test_lines_are_counted() -> None:
    """That is how a stream is told from a single document."""
    decoder = LineDecoder()
    decode(decoder, b'\n{"a":1}\n\n{"b":2}\n{"c":3}')
    assert decoder.frames == 3


def test_a_huge_line_in_small_chunks_is_read() -> None:
    """Five megabytes without a line end are joined once; once for each chunk would take minutes."""
    line = '{"a":"' + "0123456789abcdef" * 327_680 + '"}'
    body = line.encode()
    assert decode(LineDecoder(), *(body[i : i + 256] for i in range(0, len(body), 256))) == [line]


# -- one array -----------------------------------------------------------------------------

ARRAYS: dict[str, tuple[bytes, Sequence[str]]] = {
    "objects": (b'[{"a":1},{"b":2}]', ['{"a":1}', '{"b":2}']),
    "one-to-a-line": (b'[{"a":1}\n,\r\n{"b":2}\n]\n', ['{"a":1}', '{"b":2}']),
    "pretty-printed": (b'[\n  {\n    "a": {}\n  }\n]', ['{\n    "a": {}\n  }']),
    "nested": (b'[{"a":[1,{"b":[[]]}]},{"c":{}}]', ['{"a":[1,{"b":[[]]}]}', '{"c":{}}']),
    "arrays": (b"[[1],[[2]]]", ["[1]", "[[2]]"]),
    "brackets-in-strings": (b'[{"a":"]}"},{"[{":"{["}]', ['{"a":"]}"}', '{"[{":"{["}']),
    "quotes-in-strings": (
        rb'[{"a":"\"]"},{"b":"\\"},{"c":"\\\"}"}]',
        [r'{"a":"\"]"}', r'{"b":"\\"}', r'{"c":"\\\"}"}'],
    ),
    "escapes-in-strings": (rb'[{"a":"\u007d\n"}]', [r'{"a":"\u007d\n"}']),
    "multibyte": ('[{"a":"é\u2028\U0001f40d"}]'.encode(), ['{"a":"é\u2028\U0001f40d"}']),
    "damaged": (b'[{"a":"\xff"}]', [f'{{"a":"{REPLACED}"}}']),
    "byte-order-mark": (b'\xef\xbb\xbf[{"a":1}]', ['{"a":1}']),
    "values-that-are-no-objects": (b'[1,"{x]",null,{"a":1},true]', ['{"a":1}']),
    "cut-in-an-item": (b'[{"a":1},{"b":[2', ['{"a":1}']),
    "cut-between-items": (b'[{"a":1},', ['{"a":1}']),
    "more-after-the-end": (b'[{"a":1}]{"b":2}]}', ['{"a":1}']),
    "empty-array": (b"[]", []),
    "empty": (b"", []),
}


@pytest.mark.parametrize(("body", "expected"), ARRAYS.values(), ids=ARRAYS)
def test_the_items_of_an_array_are_read(body: bytes, expected: Sequence[str]) -> None:
    """All at once."""
    assert decode(ArrayDecoder(), body) == expected


@pytest.mark.parametrize(("body", "expected"), ARRAYS.values(), ids=ARRAYS)
def test_the_items_of_an_array_are_read_byte_by_byte(body: bytes, expected: Sequence[str]) -> None:
    """Each byte alone, with an empty chunk before each."""
    assert decode(ArrayDecoder(), *(piece for i in range(len(body)) for piece in (b"", body[i : i + 1]))) == expected


@pytest.mark.parametrize(("body", "expected"), ARRAYS.values(), ids=ARRAYS)
def test_the_items_of_an_array_are_read_wherever_it_is_cut(body: bytes, expected: Sequence[str]) -> None:
    """Two pieces, cut at every place."""
    for place in range(len(body) + 1):
        assert decode(ArrayDecoder(), body[:place], body[place:]) == expected, f"cut at {place}"


def test_an_item_is_yielded_with_the_byte_that_ends_it() -> None:
    """Nobody waits for the comma."""
    decoder = ArrayDecoder()
    seen = [[frame.data for frame in decoder.feed(chunk)] for chunk in (b"[", b'{"a":1', b"}", b',{"b":2},{', b"}]")]
    assert seen == [[], [], ['{"a":1}'], ['{"b":2}'], ["{}"]]


values = st.recursive(
    st.none() | st.integers() | st.text(st.sampled_from('ab"\\[]{}\n,:é\u2028'), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(st.sampled_from('a"\\[]{}'), max_size=3), values, max_size=3)
"""Such as ``{"}": ['\\\\"[']}``: full of what an array is cut by."""
places = st.lists(st.integers(min_value=0, max_value=9999), max_size=8)
indents = st.sampled_from([None, 0, 2])


@given(st.lists(objects, max_size=4), indents, st.booleans(), places)
def test_an_array_is_read_however_it_is_written_and_cut(
    items: list[dict[str, object]], indent: int | None, ascii_only: bool, places: list[int]
) -> None:
    """What comes out is what went in."""
    body = json.dumps(items, indent=indent, ensure_ascii=ascii_only).encode()
    assert [json.loads(item) for item in decode(ArrayDecoder(), *cuts(body, places))] == items


@given(st.lists(objects, min_size=1, max_size=4), st.sampled_from(["\n", "\r\n", "\r", "\n\n"]), st.booleans(), places)
def test_lines_are_read_however_they_are_written_and_cut(
    items: list[dict[str, object]], end: str, ascii_only: bool, places: list[int]
) -> None:
    """What comes out is what went in."""
    body = "".join(json.dumps(item, ensure_ascii=ascii_only) + end for item in items).encode()
    assert [json.loads(line) for line in decode(LineDecoder(), *cuts(body, places))] == items


# -- one document --------------------------------------------------------------------------

DOCUMENTS: dict[str, tuple[bytes, str | bytes]] = {
    "text": (b'{"a":\n1}', '{"a":\n1}'),
    "byte-order-mark": (b"\xef\xbb\xbf{}", "{}"),
    "damaged": (b'{"a":"\xff"}', f'{{"a":"{REPLACED}"}}'),
    "utf-16": ("{}".encode("utf-16"), "{}".encode("utf-16")),
    "empty": (b"", ""),
}


@pytest.mark.parametrize(("body", "expected"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_is_read_at_its_end(body: bytes, expected: str | bytes) -> None:
    """Whatever it is, and however it comes."""
    assert decode(DocumentDecoder(), *(body[i : i + 1] for i in range(len(body)))) == [expected]
