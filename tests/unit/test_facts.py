"""Token counts: what is believed of a usage, and sums that never make up a zero."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmtelemetry.facts import CallFacts, Usage


COUNTS = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
)

counts = st.fixed_dictionaries({name: st.none() | st.integers(0, 10_000) for name in COUNTS})
"""For example {"input_tokens": 10, "output_tokens": None, ...}."""
usages = counts.map(Usage.of_counts)


# -- one usage --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "believed"),
    [
        (
            {"input_tokens": 10, "output_tokens": 5, "cache_read_tokens": 4, "reasoning_tokens": 2},
            Usage(input_tokens=10, output_tokens=5, total_tokens=15, cache_read_tokens=4, reasoning_tokens=2),
        ),
        (
            {"input_tokens": 10, "output_tokens": 5, "total_tokens": 17},
            Usage(input_tokens=10, output_tokens=5, total_tokens=17),
        ),
        ({"input_tokens": 10}, Usage(input_tokens=10)),
        ({"output_tokens": 5}, Usage(output_tokens=5)),
        ({}, Usage()),
        (
            {"input_tokens": 0, "output_tokens": 0, "cache_read_tokens": 0},
            Usage(input_tokens=0, output_tokens=0, total_tokens=0, cache_read_tokens=0),
        ),
        (
            {"input_tokens": 10, "cache_read_tokens": 6, "cache_write_tokens": 4, "cache_write_1h_tokens": 4},
            Usage(input_tokens=10, cache_read_tokens=6, cache_write_tokens=4, cache_write_1h_tokens=4),
        ),
        (
            {"input_tokens": 10, "cache_read_tokens": 6, "cache_write_tokens": 5, "cache_write_1h_tokens": 5},
            Usage(input_tokens=10, doubts=("11 cached tokens of 10 input tokens",)),
        ),
        (
            {"input_tokens": 10, "cache_read_tokens": 1, "cache_write_tokens": 4, "cache_write_1h_tokens": 5},
            Usage(
                input_tokens=10,
                cache_read_tokens=1,
                cache_write_tokens=4,
                doubts=("5 one-hour tokens of 4 cache writes",),
            ),
        ),
        (
            {"output_tokens": 5, "reasoning_tokens": 6},
            Usage(output_tokens=5, doubts=("6 reasoning tokens of 5 output tokens",)),
        ),
        ({"cache_read_tokens": 6}, Usage(cache_read_tokens=6)),
        ({"reasoning_tokens": 6}, Usage(reasoning_tokens=6)),
        (
            {"input_tokens": 1, "output_tokens": 1, "cache_read_tokens": 2, "reasoning_tokens": 2},
            Usage(
                input_tokens=1,
                output_tokens=1,
                total_tokens=2,
                doubts=("2 cached tokens of 1 input tokens", "2 reasoning tokens of 1 output tokens"),
            ),
        ),
    ],
    ids=[
        "all is well",
        "a stated total is kept",
        "only input",
        "only output",
        "nothing",
        "zeros are stated",
        "all of the input is cached",
        "more cached than input",
        "more one-hour writes than writes",
        "more reasoning than output",
        "cached of unknown input",
        "reasoning of unknown output",
        "two doubts",
    ],
)
def test_split_that_cannot_be_true_is_dropped(stated: dict[str, Any], believed: Usage) -> None:
    """A usage is believed as far as it adds up; what does not is dropped, and said."""
    assert Usage.checked(**stated) == believed


def test_doubts_of_the_reader_come_first() -> None:
    """What the dialect doubts is kept beside what does not add up."""
    usage = Usage.checked(doubts=["odd"], output_tokens=1, reasoning_tokens=2)
    assert usage.doubts == ("odd", "2 reasoning tokens of 1 output tokens")


@given(stated=counts)
def test_checked_usage_adds_up(stated: dict[str, Any]) -> None:
    """Whatever is stated, the parts that are kept fit into their whole, and wholes are never changed."""
    usage = Usage.checked(**stated)
    read, written = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
    assert usage.input_tokens is None or read + written <= usage.input_tokens
    assert (usage.cache_write_1h_tokens or 0) <= written
    assert usage.output_tokens is None or (usage.reasoning_tokens or 0) <= usage.output_tokens
    assert (usage.input_tokens, usage.output_tokens) == (stated["input_tokens"], stated["output_tokens"])
    kept: dict[str, Any] = usage.counts()
    assert Usage.checked(**kept) == replace(usage, doubts=())


@given(stated=counts)
def test_of_counts_is_the_inverse_of_counts(stated: dict[str, int | None]) -> None:
    """Counts by name become a usage, and the same counts again, in a fixed order."""
    written = Usage.of_counts(stated).counts()
    assert written == stated
    assert tuple(written) == COUNTS


@given(usage=usages)
def test_counts_is_the_inverse_of_of_counts(usage: Usage) -> None:
    """A usage becomes counts by name, and the same usage again."""
    assert Usage.of_counts(usage.counts()) == usage


def test_of_counts_ignores_what_is_no_count() -> None:
    """Other measurements do not matter, and a missing count is None."""
    assert Usage.of_counts({"input_tokens": 3, "duration_ns": 5}) == Usage(input_tokens=3)


# -- sums -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "total"),
    [
        ([], Usage()),
        ([None], Usage(partial=True)),
        (
            [Usage(input_tokens=1, output_tokens=2), Usage(input_tokens=10, output_tokens=20)],
            Usage(input_tokens=11, output_tokens=22),
        ),
        (
            [Usage(input_tokens=1, output_tokens=2, cache_read_tokens=1), Usage(input_tokens=10, output_tokens=20)],
            Usage(input_tokens=11, output_tokens=22, cache_read_tokens=1),
        ),
        (
            [Usage(input_tokens=1, output_tokens=2), None],
            Usage(input_tokens=1, output_tokens=2, partial=True),
        ),
        (
            [Usage(input_tokens=1, output_tokens=2), Usage(input_tokens=3)],
            Usage(input_tokens=4, output_tokens=2, partial=True),
        ),
        ([Usage(output_tokens=2)], Usage(output_tokens=2, partial=True)),
        (
            [Usage(input_tokens=1, output_tokens=2, partial=True)],
            Usage(input_tokens=1, output_tokens=2, partial=True),
        ),
        ([Usage(input_tokens=0, output_tokens=0)], Usage(input_tokens=0, output_tokens=0)),
        (
            [Usage(input_tokens=1, output_tokens=1, doubts=(word,)) for word in ("a", "b", "a")],
            Usage(input_tokens=3, output_tokens=3, doubts=("a", "b")),
        ),
    ],
    ids=[
        "of nothing",
        "of a call that stated nothing",
        "of two",
        "a split that one stated",
        "one stated nothing",
        "one stated no output",
        "one stated no input",
        "of a lower bound",
        "zeros are stated",
        "doubts once each",
    ],
)
def test_total_adds_what_was_stated(parts: list[Usage | None], total: Usage) -> None:
    """A field of a sum is None only if nobody stated it, and the sum says if it is a lower bound."""
    assert Usage.total(parts) == total


@given(parts=st.lists(st.none() | usages, max_size=6))
def test_total_of_any_calls(parts: list[Usage | None]) -> None:
    """Each field is the sum of what was stated; partial says that an input or an output is missing."""
    total = Usage.total(parts)
    for name in COUNTS:
        stated = [getattr(part, name) for part in parts if part is not None and getattr(part, name) is not None]
        assert getattr(total, name) == (sum(stated) if stated else None)
    assert total.partial == any(
        part is None or part.input_tokens is None or part.output_tokens is None for part in parts
    )


@given(parts=st.lists(st.none() | usages, max_size=6), cut=st.integers(0, 6))
def test_total_of_totals(parts: list[Usage | None], cut: int) -> None:
    """It does not matter in how many steps calls are added up."""
    sums = [Usage.total(some) for some in (parts[:cut], parts[cut:]) if some]
    assert Usage.total(sums) == Usage.total(parts)


# -- facts ------------------------------------------------------------------------------


def test_model_is_filled_in_where_the_answer_named_none() -> None:
    """The requested model stands in only for an answer without one."""
    named, unnamed = CallFacts(model="a"), CallFacts()
    assert (named.with_model("b"), unnamed.with_model("b")) == (named, CallFacts(model="b"))
