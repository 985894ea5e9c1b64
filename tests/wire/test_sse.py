"""The decoder of server-sent events, held against the one of httpx2 and cut at every byte."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmtelemetry.wire.frame import Frame
from pytest_llmtelemetry.wire.sse import SSEDecoder, encode


BOM = b"\xef\xbb\xbf"
REPLACED = "\N{REPLACEMENT CHARACTER}"


def decode(*chunks: bytes) -> list[Frame]:
    """All events of a body that comes in ``chunks``, those of the end included."""
    decoder = SSEDecoder()
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return [*events, *decoder.close()]


def decode_with_httpx2(body: bytes) -> list[Frame]:
    """What httpx2 makes of ``body``."""
    response = httpx2.Response(
        200,
        headers={"content-type": "text/event-stream"},
        content=body,
        request=httpx2.Request("GET", "http://provider.test/"),
    )
    return [Frame(event.data, event.event) for event in httpx2.EventSource(response)]


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    """``body`` in pieces, some of them empty."""
    marks = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in pairwise(marks)]


def unnamed(*data: str) -> list[Frame]:
    """Events without a name."""
    return [Frame(item, "message") for item in data]


# -- any stream ----------------------------------------------------------------------------

names = st.sampled_from([b"data", b"data", b"data", b"event", b"id", b"retry", b"", b" data", b"dat", b"DATA"])
colons = st.sampled_from([b":", b": ", b":  ", b":\t", b"", b" : ", b"::"])
values = st.one_of(
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=8).map(str.encode),
    st.binary(max_size=6).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"")),
    st.sampled_from(["\u2028", "\u2029", "\u0085", "\x0b", "\x1c", "\ufeff", "[DONE]", "\U0001f40d"]).map(str.encode),
)
lines = st.one_of(st.just(b""), st.builds(lambda *parts: b"".join(parts), names, colons, values))
ends = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])
bodies = st.builds(
    lambda pairs, rest: b"".join(line + end for line, end in pairs) + rest, st.lists(st.tuples(lines, ends)), lines
).filter(lambda body: not body.startswith(BOM))  # httpx2 keeps it; a test of its own says that we do not
"""Such as ``b"data: 1\\r\\ndata:2\\n\\nevent: x"``."""

places = st.lists(st.integers(min_value=0, max_value=999), max_size=6)


@given(bodies, places)
def test_any_stream_reads_as_httpx2_reads_it_with_the_last_event_ended(body: bytes, places: list[int]) -> None:
    """However it is cut, a stream gives the events of httpx2, which are those with data."""
    # httpx2 also yields events that have a name or an id alone; they are told from real ones by their data.
    expected = [event for event in decode_with_httpx2(body + b"\n\n") if event.data]
    assert [event for event in decode(*cut(body, places)) if event.data] == expected


@given(bodies, places)
def test_where_a_stream_is_cut_changes_nothing(body: bytes, places: list[int]) -> None:
    """A stream in pieces gives the same events as the whole, those with empty data included."""
    assert decode(*cut(body, places)) == decode(body)


@given(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), st.sampled_from([None, "ping"]))
def test_what_is_encoded_is_decoded(data: str, event: str | None) -> None:
    """Any single line survives being written and read."""
    assert decode(encode(data, event=event)) == [Frame(data, event or "message")]


# -- streams by hand -----------------------------------------------------------------------

STREAMS = {
    "lf": (b"data: 1\n\ndata: 2\n\n", unnamed("1", "2")),
    "crlf": (b"data: 1\r\n\r\ndata: 2\r\n\r\n", unnamed("1", "2")),
    "cr": (b"data: 1\r\rdata: 2\r\r", unnamed("1", "2")),
    "mixed": (b"data: 1\r\n\ndata: 2\r\r\ndata: 3\n\rdata: 4\n\n", unnamed("1", "2", "3", "4")),
    "crlf-is-one-end": (b"data: 1\r\ndata: 2\r\n\r\n", unnamed("1\n2")),
    "bom": (BOM + b"data: 1\n\n", unnamed("1")),
    "bom-later-is-text": (b"data: 1\n\n" + BOM + b"data: 2\n\ndata: " + BOM + b"3\n\n", unnamed("1", "\ufeff3")),
    "unicode-separators": (
        "data: a\u2028b\u2029c\u0085d\x0be\x1cf\n\n".encode(),
        unnamed("a\u2028b\u2029c\u0085d\x0be\x1cf"),
    ),
    "multibyte": ("data: é€\U0001f40d\n\n".encode(), unnamed("é€\U0001f40d")),
    "invalid-utf8": (b"data: a\xffb\xe2\x82c\n\n", unnamed(f"a{REPLACED}b{REPLACED}c")),
    "cut-utf8-at-the-end": (b"data: a\xe2\x82", unnamed(f"a{REPLACED}")),
    "comment": (b": OPENROUTER PROCESSING\n\ndata: 1\n:data: 2\n\n", unnamed("1")),
    "no-space": (b"data:1\n\n", unnamed("1")),
    "two-spaces": (b"data:  1\n\n", unnamed(" 1")),
    "tab": (b"data:\t1\n\n", unnamed("\t1")),
    "colon-in-data": (b"data: a:b: c\n\n", unnamed("a:b: c")),
    "many-lines": (b"data: {\ndata:  1\ndata: }\n\n", unnamed("{\n 1\n}")),
    "empty-data": (b"data:\n\n", unnamed("")),
    "no-colon": (b"data\n\ndata\ndata\n\n", unnamed("", "\n")),
    "named": (b"event: ping\ndata: 1\n\n", [Frame("1", "ping")]),
    "name-after-data": (b"data: 1\nevent: ping\n\n", [Frame("1", "ping")]),
    "last-name-wins": (b"event: a\nevent: b\ndata: 1\n\n", [Frame("1", "b")]),
    "name-is-forgotten": (b"event: a\ndata: 1\n\ndata: 2\n\n", [Frame("1", "a"), *unnamed("2")]),
    "name-alone": (b"event: ping\n\ndata: 1\n\n", unnamed("1")),
    "id-and-retry": (b"id: 7\nretry: 3\n\nid: 8\ndata: 1\n\n", unnamed("1")),
    "other-fields": (b"dat: 0\n data: 0\nDATA: 0\ndata: 1\n\n", unnamed("1")),
    "keep-alive": (b"\n\n\r\n\ndata: 1\n\n\n\n", unnamed("1")),
    "no-last-blank-line": (b"data: 1\n\ndata: 2\n", unnamed("1", "2")),
    "no-last-line-end": (b"data: 1\n\nevent: x\ndata: 2", [*unnamed("1"), Frame("2", "x")]),
    "last-cr": (b"data: 1\r", unnamed("1")),
    "name-without-data-at-the-end": (b"event: ping\n", []),
    "empty": (b"", []),
    "half-a-bom": (BOM[:2], []),
}


@pytest.mark.parametrize(("body", "expected"), STREAMS.values(), ids=STREAMS)
def test_a_stream_gives_its_events(body: bytes, expected: Sequence[Frame]) -> None:
    """The whole stream at once."""
    assert decode(body) == expected


@pytest.mark.parametrize(("body", "expected"), STREAMS.values(), ids=STREAMS)
def test_a_stream_gives_its_events_byte_by_byte(body: bytes, expected: Sequence[Frame]) -> None:
    """Each byte alone, with an empty chunk before each."""
    assert decode(*(piece for i in range(len(body)) for piece in (b"", body[i : i + 1]))) == expected


@pytest.mark.parametrize(("body", "expected"), STREAMS.values(), ids=STREAMS)
def test_a_stream_gives_its_events_wherever_it_is_cut(body: bytes, expected: Sequence[Frame]) -> None:
    """Two pieces, cut at every place."""
    for place in range(len(body) + 1):
        assert decode(body[:place], body[place:]) == expected, f"cut at {place}"


def test_an_event_is_yielded_with_the_byte_that_ends_it() -> None:
    """Nobody waits for the next event to see this one."""
    decoder = SSEDecoder()
    seen = [list(decoder.feed(chunk)) for chunk in (b"data: 1", b"\n", b"\n", b"data: 2\r\n\r\n", b"data: 3\n\ndata")]
    assert seen == [[], [], unnamed("1"), unnamed("2"), unnamed("3")]


def test_an_event_that_ends_in_a_lone_cr_is_yielded_with_the_next_byte() -> None:
    """Until then it may be half of a CRLF; after that nobody waits for a line end."""
    decoder = SSEDecoder()
    seen = [list(decoder.feed(chunk)) for chunk in (b"data: 1\r\r", b"", b"d", b"ata: 2\r", b"\n\r", b":")]
    assert seen == [[], [], unnamed("1"), [], [], unnamed("2")]


def test_a_last_event_without_a_blank_line_is_yielded_at_the_end() -> None:
    """httpx2 drops it, as browsers do; a provider that forgets the blank line still bills it."""
    decoder = SSEDecoder()
    body = b"data: 1\n\ndata: 2\n"
    assert (list(decoder.feed(body)), list(decoder.close())) == (unnamed("1"), unnamed("2"))
    assert decode_with_httpx2(body) == unnamed("1")


def test_a_byte_order_mark_is_dropped() -> None:
    """httpx2 takes it for a part of the first name, and so loses the first event."""
    body = BOM + b"data: 1\n\n"
    assert (decode(body), decode_with_httpx2(body)) == (unnamed("1"), [])


def test_a_huge_line_in_small_chunks_is_read() -> None:
    """Five megabytes without a line end are joined once; once for each chunk would take minutes."""
    data = "0123456789abcdef" * 327_680
    body = encode(data)
    assert decode(*(body[i : i + 256] for i in range(0, len(body), 256))) == unnamed(data)


# -- writing -------------------------------------------------------------------------------


def test_an_event_is_written_with_its_name_first() -> None:
    """The layout is that of the providers."""
    assert (encode("{}", event="ping"), encode("é")) == (b"event: ping\ndata: {}\n\n", "data: é\n\n".encode())
