"""Cohere embeddings, versions 2 and 1."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dialects
from pytest_llmtelemetry.facts import CallFacts, Overflow, RequestFacts, Usage
from pytest_llmtelemetry.wire.cohere_embed import CohereEmbed
from pytest_llmtelemetry.wire.dialect import Dialect, Failure, Fault


V2, V1 = CohereEmbed("v2"), CohereEmbed("v1")
BOTH = pytest.mark.parametrize("dialect", [V2, V1], ids=lambda dialect: str(dialect.api))

BODY = {"model": "embed-v4.0", "input_type": "search_query", "texts": ["a", "b"]}


def asked(dialect: Dialect, **more: object) -> RequestFacts:
    """A request for two texts."""
    return dialects.asked(dialect, {**BODY, **more}, provider="cohere")


# -- requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "path", "expected"),
    [
        (V2, "/v2/embed", True),
        (V2, "/cohere/v2/embed/", True),
        (V2, "/v1/embed", False),
        (V2, "/v2/embeddings", False),
        (V1, "/v1/embed", True),
        (V1, "/v2/embed", False),
        (V1, "/v1/embed-jobs", False),
    ],
)
def test_a_path_is_recognised(dialect: Dialect, path: str, expected: bool) -> None:
    """By its end, and only if something is posted to it."""
    assert (dialect.speaks("POST", path), dialect.speaks("GET", path)) == (expected, False)


@BOTH
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"texts": None, "images": ["data:"]}, True),
        ({"texts": None, "inputs": [{"content": []}]}, True),
        ({"texts": []}, False),
        ({"texts": "a"}, False),
        ({"model": None}, False),
        ({"input_type": None}, False),
    ],
)
def test_a_body_fits_if_it_has_a_model_and_inputs_and_their_type(
    dialect: Dialect, change: Mapping[str, Any], expected: bool
) -> None:
    """An application's own API has other keys."""
    assert dialect.fits({**BODY, **change}) is expected


@pytest.mark.parametrize(("dialect", "api"), [(V2, "cohere.v2.embed"), (V1, "cohere.v1.embed")])
def test_a_request_is_read(dialect: Dialect, api: str) -> None:
    """It has a model, and nothing else to know; junk has none."""
    assert asked(dialect) == RequestFacts(api=api, provider="cohere", model="embed-v4.0")
    assert asked(dialect, model=[1], stream=True) == RequestFacts(api=api, provider="cohere")


# -- answers -------------------------------------------------------------------------------

FLOATS = [[0.5, -1], [1e-7, 2.25]]
VECTORS = ((0.5, -1.0), (1e-7, 2.25))


@BOTH
@pytest.mark.parametrize(
    ("embeddings", "vectors"),
    [
        ({"float": FLOATS}, VECTORS),
        ({"int8": [[1, 2]], "float": FLOATS}, VECTORS),
        ({"int8": [[1, 2]]}, ()),
        (FLOATS, VECTORS),
        ([], ()),
        ([[], [1.5]], ((), (1.5,))),
    ],
    ids=["by-type", "two-types", "no-floats", "list", "none", "empty"],
)
def test_an_answer_is_read(dialect: Dialect, embeddings: object, vectors: tuple[tuple[float, ...], ...]) -> None:
    """Floats are read, by type or as a list; the input is all that is counted."""
    document = {"id": "a", "embeddings": embeddings, "texts": ["a"], "meta": {"billed_units": {"input_tokens": 4}}}
    assert dialects.read(dialect, document) == CallFacts(
        id="a",
        vectors=vectors,
        usage=Usage(input_tokens=4, output_tokens=0, total_tokens=4),
        terminated=True,
    )


@pytest.mark.parametrize(
    "vector",
    [None, "x", {}, [None], ["1"], [True], [[1]], [float("nan")], [float("inf")], [10**400], [0.5, None]],
    ids=lambda vector: repr(vector)[:20],
)
def test_junk_is_no_embedding(vector: object) -> None:
    """It keeps its place, so that the others keep theirs."""
    assert dialects.read(V2, {"embeddings": {"float": [vector, [1.5]]}}).vectors == ((), (1.5,))


def test_a_number_beyond_all_floats_is_no_embedding() -> None:
    """JSON has no limit."""
    assert dialects.read(V2, '{"embeddings": {"float": [[1e999]]}}').vectors == ((),)


USAGES: dict[str, tuple[object, Usage | None]] = {
    "words": ({"input_tokens": 4}, Usage(input_tokens=4, output_tokens=0, total_tokens=4)),
    "words-and-pictures": (
        {"input_tokens": 4, "image_tokens": 10},
        Usage(input_tokens=14, input_image_tokens=10, output_tokens=0, total_tokens=14),
    ),
    "words-and-no-pictures": (
        {"input_tokens": 4, "image_tokens": 0},
        Usage(input_tokens=4, input_image_tokens=0, output_tokens=0, total_tokens=4),
    ),
    "pictures": (
        {"image_tokens": 10},
        Usage(input_tokens=10, input_image_tokens=10, output_tokens=0, total_tokens=10),
    ),
    "zero": ({"input_tokens": 0}, Usage(input_tokens=0, output_tokens=0, total_tokens=0)),
    "other-units": ({"images": 1}, None),
    "empty": ({}, None),
    "null": (None, None),
    "junk": (
        {"input_tokens": "4", "image_tokens": 10},
        Usage(input_image_tokens=10, output_tokens=0, doubts=("billed_units.input_tokens is '4'",)),
    ),
    "junk-pictures": (
        {"input_tokens": 4, "image_tokens": -1},
        Usage(output_tokens=0, doubts=("billed_units.image_tokens is '-1'",)),
    ),
}


@BOTH
@pytest.mark.parametrize(("units", "expected"), USAGES.values(), ids=USAGES)
def test_usage_is_read(dialect: Dialect, units: object, expected: Usage | None) -> None:
    """The units of the bill are the tokens: those of pictures come on top of those of words."""
    assert dialects.read(dialect, {"meta": {"billed_units": units}}).usage == expected


@BOTH
@pytest.mark.parametrize("kind", Failure)
def test_a_failure_is_written_and_read(dialect: Dialect, kind: Failure) -> None:
    """As a chat's; an embedding has no stream that could break."""
    fault = Fault(kind=kind, tokens=120, max_tokens=100)
    long = kind is Failure.CONTEXT_WINDOW
    expected = CallFacts(
        error_type="TOO_MANY_TOKENS" if long else "error",
        overflow=Overflow(tokens=120, max_tokens=100) if long else None,
    )
    plain = dialect.write_error(fault, asked(dialect))
    broken = dialect.write_broken_stream(CallFacts(), [], fault, asked(dialect))
    assert [replace(dialects.read(dialect, answer.body), id=None) for answer in (plain, broken)] == [expected] * 2
    assert (plain.status == 200, broken.status == 200) == (False, False)


# -- there and back ------------------------------------------------------------------------

floats = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Such as ``Usage(input_tokens=9, input_image_tokens=4, output_tokens=0)``."""
    whole = draw(st.integers(0, 10**12))
    pictures = draw(st.none() | st.integers(0, whole))
    return Usage.checked(input_tokens=whole, input_image_tokens=pictures, output_tokens=0)


answers = st.builds(
    CallFacts,
    id=st.none() | st.text(min_size=1, max_size=8),
    vectors=st.lists(st.lists(floats, max_size=4).map(tuple), max_size=3).map(tuple),
    usage=st.none() | usages(),
    terminated=st.just(True),
)
"""Such as ``CallFacts(id="a", vectors=((0.5,), (1.0,)))``."""


@BOTH
@given(facts=answers, types=st.sampled_from([None, ["float"], ["float", "int8"]]))
def test_an_answer_is_read_as_it_was_written(dialect: Dialect, facts: CallFacts, types: list[str] | None) -> None:
    """Whatever types were asked for, floats are among them."""
    request = asked(dialect, embedding_types=types)
    answer = dialect.write_response(facts, request)
    assert dialects.read(dialect, answer.body) == facts
    assert dialect.write_stream(facts, [], request) == answer


@pytest.mark.parametrize(
    ("dialect", "types", "embeddings", "kind"),
    [
        (V2, None, {"float": [[0.5]]}, "embeddings_by_type"),
        (V2, ["float"], {"float": [[0.5]]}, "embeddings_by_type"),
        (V1, ["float"], {"float": [[0.5]]}, "embeddings_by_type"),
        (V1, None, [[0.5]], "embeddings_floats"),
    ],
    ids=["v2", "v2-typed", "v1-typed", "v1"],
)
def test_embeddings_are_written_by_type_unless_an_older_request_asks_for_none(
    dialect: Dialect, types: list[str] | None, embeddings: object, kind: str
) -> None:
    """The SDK tells both apart by the type of the response."""
    answer = dialect.write_response(CallFacts(id="a", vectors=((0.5,),)), asked(dialect, embedding_types=types))
    assert json.loads(answer.body) == {
        "id": "a",
        "texts": ["a", "b"],
        "embeddings": embeddings,
        "meta": {"api_version": {"version": "2" if dialect is V2 else "1"}},
        "response_type": kind,
    }


@BOTH
def test_an_answer_always_has_an_id(dialect: Dialect) -> None:
    """Cohere's older client joins those of its batches."""
    answer = dialect.write_response(CallFacts(), asked(dialect))
    assert json.loads(answer.body)["id"] == ""
    assert dialects.read(dialect, answer.body).id is None


def test_texts_that_are_junk_are_not_repeated() -> None:
    """A mock answers any request."""
    answers = [V2.write_response(CallFacts(), asked(V2, texts=texts)) for texts in ("a", [1, "b", None])]
    assert [json.loads(answer.body)["texts"] for answer in answers] == [[], ["b"]]
