"""One answer says the same however its bytes come: cut anywhere, with other ends of lines, or packed.

W05, W09 to W14, W16, W17, W19, W23 and W25 of the list of faults, for every dialect. The bodies are
those that the dialects write and, where they are at hand, the shortest recordings of each API.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bodies
import speakers
from bodies import CHANGES, PACKED, WRITTEN, Body
from pytest_llmtelemetry.capture.decoding import decoder
from pytest_llmtelemetry.facts import COUNTS, Usage
from speakers import Speaker


BODIES = [*WRITTEN, *bodies.recorded()]
CHANGED = [(body, change) for body in BODIES for change in CHANGES[body.framing]]

every_body = pytest.mark.parametrize("body", BODIES, ids=[body.name for body in BODIES])
every_speaker = pytest.mark.parametrize(
    "speaker", speakers.ONE_OF_EACH, ids=[speaker.name for speaker in speakers.ONE_OF_EACH]
)
places = st.lists(st.integers(min_value=0, max_value=9999), max_size=8)

MOST_CUTS = 1500
"""Of a recording that is longer, not every place is tried."""


# -- cut -----------------------------------------------------------------------------------


@every_body
def test_two_pieces_cut_anywhere(body: Body) -> None:
    """A character, a word, a number, the end of a line: whatever is cut comes together again."""
    expected = body.read()
    for place in range(0, len(body.data) + 1, len(body.data) // MOST_CUTS + 1):
        assert body.read([body.data[:place], body.data[place:]]) == expected, f"cut at {place}"


@every_body
@pytest.mark.parametrize("size", [1, 2, 7])
def test_small_pieces(body: Body, size: int) -> None:
    """All of the same size, with nothing at all between them."""
    pieces = (body.data[start : start + size] for start in range(0, len(body.data), size))
    assert body.read(part for piece in pieces for part in (piece, b"")) == body.read()


@every_body
def test_an_answer_that_is_cut_short_states_nothing_wrong(body: Body) -> None:
    """Its text is the beginning of the whole, and each of its counts is the final one, or none."""
    whole, _ = body.read()
    final = whole.usage or Usage()
    for end in range(0, len(body.data), len(body.data) // MOST_CUTS + 1):
        facts, _ = body.read([body.data[:end]])
        usage = facts.usage or Usage()
        wrong = [name for name in COUNTS if getattr(usage, name) not in {None, getattr(final, name)}]
        assert (wrong, usage.doubts) == ([], ()), f"cut at {end}"
        assert whole.text.startswith(facts.text), f"cut at {end}"
        assert facts.vectors in {(), whole.vectors}, f"cut at {end}"
        assert facts.stated_cost_usd in {None, whole.stated_cost_usd}, f"cut at {end}"


# -- sent otherwise ------------------------------------------------------------------------


@pytest.mark.parametrize("body", WRITTEN, ids=[body.name for body in WRITTEN])
def test_nothing_in_a_text_ends_a_line(body: Body) -> None:
    """Not what Unicode takes for the end of a line, and not what JSON escapes."""
    facts, _ = body.read()
    assert facts.text == ("" if facts.vectors else speakers.LINE_ENDS_OF_OTHERS)


@pytest.mark.parametrize(("body", "change"), CHANGED, ids=[f"{body.name}-{change}" for body, change in CHANGED])
def test_the_same_answer_sent_otherwise(body: Body, change: str) -> None:
    """All at once, and byte by byte."""
    other = body.sent(CHANGES[body.framing][change])
    assert other.data != body.data or change in {"lf", "crlf", "without-space"}
    assert other.read() == other.read(bodies.cut(other.data, range(len(other.data)))) == body.read()


@every_speaker
@settings(max_examples=25)
@given(data=st.data(), places=places)
def test_any_answer_sent_otherwise_and_cut_anywhere(speaker: Speaker, data: st.DataObject, places: list[int]) -> None:
    """Changes may be combined: what was meant is read."""
    said = data.draw(speakers.answers(speaker))
    body = bodies.of(speaker, said, stream=data.draw(st.booleans()))
    framing = body.framing
    for change in data.draw(COMBINED[framing]):
        body = body.sent(CHANGES[framing][change])
    assert body.read(bodies.cut(body.data, places))[0] == said.facts


def some(*changes: str) -> st.SearchStrategy[list[str]]:
    """Up to two of those after which another may come."""
    return st.lists(st.sampled_from(changes), max_size=2, unique=True)


COMBINED = {
    "document": some("last-line-end", "indented", "indented-crlf", "without-space"),
    "lines": some("crlf", "blank-lines-before", "no-last-line-end", "spaces"),
    "array": some("blank-lines-around", "spaces", "indented"),
    "events": some(
        "lf", "crlf", "blank-lines", "comments", "noise", "other-fields", "two-spaces", "no-last-blank-line"
    ),
    "messages": st.just([]),
}


# -- packed --------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", PACKED)
@every_body
def test_a_packed_answer_byte_by_byte(body: Body, packing: str) -> None:
    """Each byte alone."""
    encoding, pack = PACKED[packing]
    packed, decode = pack(body.data), decoder(encoding)
    assert body.read(decode(packed[i : i + 1]) for i in range(len(packed))) == body.read()


@every_speaker
@settings(max_examples=25)
@given(data=st.data(), places=places, packing=st.sampled_from(sorted(PACKED)))
def test_any_packed_answer_cut_anywhere(speaker: Speaker, data: st.DataObject, places: list[int], packing: str) -> None:
    """What was meant is read."""
    said = data.draw(speakers.answers(speaker))
    body = bodies.of(speaker, said, stream=data.draw(st.booleans()))
    encoding, pack = PACKED[packing]
    decode = decoder(encoding)
    assert body.read(map(decode, bodies.cut(pack(body.data), places)))[0] == said.facts
