"""Recorded answers that something went wrong with: no dialect raises, and nothing becomes a number that is none.

The accidents are the same in every run: an id of a failing test names the recording, and the assertion the number of
the mutant. More of them are made by hand with ``MUTANTS_PER_RECORDING=500`` in the environment.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bodies
import cassettes
import mutants
from bodies import Body
from pytest_llmtelemetry.facts import CallFacts
from pytest_llmtelemetry.wire.dialect import Dialect
from pytest_llmtelemetry.wire.jsontext import load_object
from pytest_llmtelemetry.wire.registry import DIALECTS, OTHER
from soundness import is_sound, is_sound_request


PER_RECORDING = int(os.environ.get("MUTANTS_PER_RECORDING", "8"))
PER_BODY = 10 * PER_RECORDING

EVERY: Sequence[Dialect] = (*DIALECTS, OTHER)
every_dialect = pytest.mark.parametrize("dialect", EVERY, ids=[f"{one.api}-{one.operation}" for one in EVERY])

# The reader of the recordings leaves its files to the collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


def pieces(chance: random.Random, data: bytes) -> Iterator[bytes]:
    """``data`` in pieces of uneven sizes."""
    while data:
        size = chance.choice([1, 3, 50, 1000, 100_000])
        yield data[:size]
        data = data[size:]


def accidents(body: Body, many: int) -> Iterator[tuple[int, CallFacts]]:
    """What is read of each mutant of ``body``, at times by the dialect of another API."""
    for number in range(many):
        chance = random.Random(f"{body.name} {number}")
        mutant = mutants.mutant(chance, body)
        if chance.random() < _OF_ANOTHER:
            mutant = mutant.for_(chance.choice(EVERY))
        yield number, mutant.read(pieces(chance, mutant.data))[0]


_OF_ANOTHER = 0.3


@pytest.mark.parametrize("body", bodies.FULL, ids=[body.name for body in bodies.FULL])
def test_a_damaged_answer_of_our_own_does_no_harm(body: Body) -> None:
    """Of every dialect, where there are no recordings too."""
    for number, facts in accidents(body, PER_BODY):
        assert is_sound(facts), number


FILES = bodies.recorded_files()


@pytest.mark.parametrize("file", FILES, ids=FILES)
def test_a_damaged_recording_does_no_harm(file: str) -> None:
    """Bits, bytes and values that are wrong, missing, repeated, or in each other's place."""
    for one in cassettes.interactions(file):
        body = Body(name=one.key, dialect=one.converse().dialect, data=one.body, headers=one.headers)
        for number, facts in accidents(body, PER_RECORDING):
            assert is_sound(facts), f"{one.key} {number}"


@pytest.mark.parametrize("file", FILES, ids=FILES)
def test_a_damaged_request_does_no_harm(file: str) -> None:
    """It is read by its own dialect and, as on a gateway's host, held against all of them."""
    for one in cassettes.interactions(file):
        conversation = one.converse()
        body = Body(name=one.key, dialect=conversation.dialect, data=one.request.body or b"{}")
        for number in range(PER_RECORDING):
            sent = load_object(mutants.mutant(random.Random(f"{one.key} {number}"), body).data) or {}
            facts = conversation.dialect.read_request(sent, request=one.request, provider="unknown")
            assert is_sound_request(facts), f"{one.key} {number}"
            assert {type(dialect.fits(sent)) for dialect in EVERY} == {bool}, f"{one.key} {number}"


@every_dialect
@pytest.mark.parametrize("body", bodies.FULL, ids=[body.name for body in bodies.FULL])
def test_an_answer_in_another_apis_words_does_no_harm(dialect: Dialect, body: Body) -> None:
    """A gateway may answer in a dialect that it was not asked in."""
    assert is_sound(body.for_(dialect).read()[0])


# -- anything ------------------------------------------------------------------------------

# Bytes that mean something to one of the framings are more likely than others.
CRUMBS = st.sampled_from(
    [
        b"data: ",
        b"event: x",
        b"[DONE]",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b'"',
        b"\\",
        b"\0",
    ]
)
anything = st.binary(max_size=60) | st.lists(CRUMBS | st.binary(max_size=4), max_size=30).map(b"".join)


@every_dialect
@settings(max_examples=200)
@given(data=anything, places=st.lists(st.integers(min_value=0, max_value=60), max_size=4))
def test_any_bytes_do_no_harm(dialect: Dialect, data: bytes, places: list[int]) -> None:
    """And they say the same, wherever they are cut."""
    body = Body(name="any", dialect=dialect, data=data)
    facts, stream = body.read()
    assert is_sound(facts)
    assert body.read(bodies.cut(data, places)) == (facts, stream)
