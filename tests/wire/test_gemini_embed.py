"""Google's embeddings: of the Gemini API, of Vertex, and of Vertex's older models."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dialects
from pytest_llmtelemetry.facts import CallFacts, RequestFacts, Usage
from pytest_llmtelemetry.wire.body import BodyReader
from pytest_llmtelemetry.wire.dialect import Dialect, Failure, Fault
from pytest_llmtelemetry.wire.gemini_embed import GeminiEmbed, VertexPredict


EMBED, PREDICT = GeminiEmbed(), VertexPredict()
CONTENT: dict[str, Any] = {"parts": [{"text": "Hi"}]}
ONE = dialects.asked(EMBED, {"content": CONTENT}, path="/v1/models/m:embedContent", provider="vertex")
MANY = dialects.asked(
    EMBED, {"requests": [{"content": CONTENT}]}, path="/v1/models/m:batchEmbedContents", provider="gemini"
)
INSTANCES = dialects.asked(
    PREDICT, {"instances": [{"content": "Hi"}]}, path="/v1/publishers/google/models/embedding-1:predict"
)


# -- requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "path", "model"),
    [
        (EMBED, "/v1beta/models/gemini-embedding-001:embedContent", "gemini-embedding-001"),
        (EMBED, "/v1beta/models/gemini-embedding-001:batchEmbedContents", "gemini-embedding-001"),
        (EMBED, "/v1/projects/p/locations/l/publishers/google/models/m:embedContent", "m"),
        (EMBED, "/v1/projects/p/locations/l/endpoints/12:embedContent", "12"),
        (EMBED, "/gateway/v1beta/models/gemini/m:embedContent", "gemini/m"),
        (
            PREDICT,
            "/v1/projects/p/locations/l/publishers/google/models/text-embedding-005:predict",
            "text-embedding-005",
        ),
        (PREDICT, "/v1/publishers/google/models/textembedding-gecko@003:predict", "textembedding-gecko@003"),
        (PREDICT, "/v1/publishers/google/models/gecko@001:predict", "gecko@001"),
    ],
)
def test_the_path_of_embeddings_names_the_model(dialect: Dialect, path: str, model: str) -> None:
    """Gateways put what they like before it."""
    assert dialect.speaks("POST", path)
    assert dialects.asked(dialect, path=path).model == model


@pytest.mark.parametrize(
    ("dialect", "method", "path"),
    [
        (EMBED, "GET", "/v1beta/models/m:embedContent"),
        (EMBED, "POST", "/v1beta/models/m:generateContent"),
        (EMBED, "POST", "/v1beta/models/m:asyncBatchEmbedContent"),
        (EMBED, "POST", "/v1/models/embedding-1:predict"),
        (PREDICT, "GET", "/v1/models/embedding-1:predict"),
        (PREDICT, "POST", "/v1/models/imagen-4.0:predict"),
        (PREDICT, "POST", "/v1/models/embedding-1:predictLongRunning"),
        (PREDICT, "POST", "/v1/embedding/models/m:predict"),
        (PREDICT, "POST", "/v1/models/embedding-1:embedContent"),
    ],
)
def test_other_methods_do_not_embed(dialect: Dialect, method: str, path: str) -> None:
    """Vertex asks models of every kind to predict."""
    assert not dialect.speaks(method, path)


@pytest.mark.parametrize(("dialect", "api"), [(EMBED, "gemini.embed"), (PREDICT, "vertex.predict")])
def test_a_request_for_embeddings_says_no_more_than_its_model(dialect: Dialect, api: str) -> None:
    """There is no stream, no limit and no tool."""
    body = {"requests": "x", "instances": 5, "stream": True}
    facts = dialects.asked(dialect, body, path="/v1/models/embedding-1:predict", provider="vertex")
    assert facts == RequestFacts(api=api, provider="vertex", model="embedding-1" if dialect is PREDICT else None)
    assert (facts.body, dialect.operation) == (body, "embeddings")


@pytest.mark.parametrize(
    ("dialect", "body", "fits"),
    [
        (EMBED, {"content": CONTENT}, True),
        (EMBED, {"requests": [{"content": CONTENT}, {"content": CONTENT}]}, True),
        (EMBED, {}, False),
        (EMBED, {"content": "Hi"}, False),
        (EMBED, {"content": {"text": "Hi"}}, False),
        (EMBED, {"requests": []}, False),
        (EMBED, {"requests": [{"content": CONTENT}, {"content": 5}]}, False),
        (PREDICT, {"instances": [{"content": "Hi"}]}, True),
        (PREDICT, {"instances": []}, False),
        (PREDICT, {"instances": ["Hi"]}, False),
        (PREDICT, {"instances": [{"prompt": "Hi"}]}, False),
        (PREDICT, {"instances": [{"content": "Hi"}, {}]}, False),
    ],
)
def test_what_is_embedded_is_content(dialect: Dialect, body: dict[str, Any], fits: bool) -> None:
    """An application's own API is no provider."""
    assert dialect.fits(body) is fits


# -- answers -------------------------------------------------------------------------------

VECTORS = [{"values": [0.5, -1, 2e-3]}, {"values": [1, 0, 0]}]


@pytest.mark.parametrize(
    ("metadata", "usage"),
    [
        (None, None),
        ({}, None),
        ({"promptTokenCount": 4}, Usage(input_tokens=4, output_tokens=0, total_tokens=4)),
        ({"promptTokenCount": 4, "totalTokenCount": 4}, Usage(input_tokens=4, output_tokens=0, total_tokens=4)),
        ({"totalTokenCount": 4}, Usage(output_tokens=0, total_tokens=4)),
        (
            {"promptTokenCount": 9, "promptTokenDetails": [{"modality": "IMAGE", "tokenCount": 8}]},
            Usage(input_tokens=9, input_image_tokens=8, output_tokens=0, total_tokens=9),
        ),
        (
            {"promptTokenCount": 9, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 8}]},
            Usage(input_tokens=9, input_audio_tokens=8, output_tokens=0, total_tokens=9),
        ),
        ({"promptTokenCount": "4"}, Usage(output_tokens=0, doubts=("promptTokenCount is '4'",))),
        (5, None),
    ],
    ids=["absent", "empty", "gemini", "vertex", "total", "image", "audio", "junk-count", "junk"],
)
def test_an_embedding_has_no_output(metadata: object, usage: Usage | None) -> None:
    """Once anything is stated, that is known; older models state nothing."""
    answer = {"embeddings": VECTORS, "usageMetadata": metadata}
    assert dialects.read(EMBED, answer) == CallFacts(
        vectors=((0.5, -1.0, 0.002), (1.0, 0.0, 0.0)), usage=usage, terminated=True
    )


def test_one_embedding_stands_alone() -> None:
    """So Vertex answers."""
    answer = {"embedding": {"values": [0.5]}, "usageMetadata": {"trafficType": "ON_DEMAND"}}
    assert dialects.read(EMBED, answer) == CallFacts(vectors=((0.5,),), service_tier="ON_DEMAND", terminated=True)


@pytest.mark.parametrize(
    ("statistics", "usage"),
    [
        ([{"token_count": 4, "truncated": False}], Usage(input_tokens=4, output_tokens=0, total_tokens=4)),
        ([{"token_count": 4}, {"token_count": 3}], Usage(input_tokens=7, output_tokens=0, total_tokens=7)),
        ([{"token_count": 4}, {}], Usage(output_tokens=0)),
        ([{"token_count": 4}, {"token_count": -1}], Usage(output_tokens=0, doubts=("token_count is '-1'",))),
        ([{"token_count": "4"}], Usage(output_tokens=0, doubts=("token_count is '4'",))),
        ([{}, None], None),
        ([], None),
    ],
    ids=["one", "sum", "one-unknown", "one-junk", "all-junk", "none", "no-predictions"],
)
def test_predictions_state_their_own_tokens(statistics: list[object], usage: Usage | None) -> None:
    """What the call took is their sum, if each states its part."""
    predictions = [{"embeddings": {"values": [0.5], "statistics": each}} for each in statistics]
    assert dialects.read(PREDICT, {"predictions": predictions}) == CallFacts(
        vectors=((0.5,),) * len(statistics), usage=usage, terminated=True
    )


@pytest.mark.parametrize("values", [None, 5, "x", {}, [True], ["1"], [None], [[1]], [float("nan")]], ids=repr)
def test_a_vector_of_junk_is_empty(values: object) -> None:
    """It keeps its place among the others."""
    answer = {"embeddings": [{"values": values}, {"values": [1]}]}
    assert dialects.read(EMBED, answer).vectors == ((), (1.0,))


@pytest.mark.parametrize("junk", [None, 5, "x", {}, [5, None]], ids=repr)
@pytest.mark.parametrize("dialect", [EMBED, PREDICT], ids=["embed", "predict"])
def test_an_answer_of_junk_has_no_vectors(dialect: Dialect, junk: object) -> None:
    """And raises nothing."""
    answer = {"embedding": junk if junk != {} else None, "embeddings": junk, "predictions": junk}
    assert dialects.read(dialect, answer) == CallFacts(terminated=isinstance(junk, list))


@pytest.mark.parametrize(
    ("dialect", "answer"),
    [(EMBED, {"embeddings": VECTORS}), (PREDICT, {"predictions": [{"embeddings": VECTORS[0]}]})],
    ids=["embed", "predict"],
)
def test_a_vector_is_content(dialect: Dialect, answer: object) -> None:
    """It is what was waited for."""
    reader = BodyReader(dialect.draft())
    reader.feed(json.dumps(answer).encode() + b"\n")
    assert reader.has_content


def test_predictions_of_other_models_have_no_vectors() -> None:
    """Those of pictures and texts stand in places of their own, without tokens."""
    answer = {"predictions": [{"textEmbedding": [0.5]}, {"embeddings": 5}]}
    assert dialects.read(PREDICT, answer) == CallFacts(vectors=((), ()), terminated=True)


# -- errors --------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", [EMBED, PREDICT], ids=["embed", "predict"])
def test_a_failure_to_embed_is_written_in_googles_words(dialect: Dialect) -> None:
    """Nobody streams embeddings, so they cannot break on the way either."""
    fault = Fault(kind=Failure.RATE_LIMIT, retry_after_s=2)
    answer = dialect.write_error(fault, MANY)
    assert (answer.status, answer.content_type) == (429, "application/json")
    assert dialects.read(dialect, answer.body) == CallFacts(error_type="RESOURCE_EXHAUSTED", retry_after_s=2.0)
    assert dialect.write_broken_stream(CallFacts(), [], fault, MANY) == answer


# -- what is written -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "vectors", "written"),
    [
        (ONE, ((0.5,),), {"embedding": {"values": [0.5]}}),
        (MANY, ((0.5,),), {"embeddings": [{"values": [0.5]}]}),
        (MANY, ((0.5,), (1.0,)), {"embeddings": [{"values": [0.5]}, {"values": [1.0]}]}),
        (ONE, ((0.5,), (1.0,)), {"embeddings": [{"values": [0.5]}, {"values": [1.0]}]}),
    ],
    ids=["one", "batch-of-one", "batch", "more-than-asked"],
)
def test_embeddings_are_written_as_they_were_asked_for(
    asked: RequestFacts, vectors: tuple[tuple[float, ...], ...], written: dict[str, object]
) -> None:
    """One has a place of its own, a batch has a list."""
    usage = Usage(input_tokens=4, output_tokens=0, total_tokens=4)
    answer = EMBED.write_response(CallFacts(vectors=vectors, usage=usage), asked)
    assert json.loads(answer.body) == written | {"usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4}}
    assert EMBED.write_stream(CallFacts(vectors=vectors, usage=usage), [], asked) == answer


def test_predictions_share_the_tokens() -> None:
    """Their sum is what the call took."""
    facts = CallFacts(vectors=((0.5,), (1.0,)), usage=Usage(input_tokens=5, output_tokens=0, total_tokens=5))
    assert json.loads(PREDICT.write_response(facts, INSTANCES).body) == {
        "predictions": [
            {"embeddings": {"values": [0.5], "statistics": {"token_count": 3, "truncated": False}}},
            {"embeddings": {"values": [1.0], "statistics": {"token_count": 2, "truncated": False}}},
        ]
    }


# -- what is written is read ---------------------------------------------------------------

vectors = st.lists(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4).map(tuple), min_size=1, max_size=3
).map(tuple)


def usage(tokens: int) -> Usage:
    """What embeddings take."""
    return Usage(input_tokens=tokens, output_tokens=0, total_tokens=tokens)


answers = st.builds(
    CallFacts,
    vectors=vectors,
    usage=st.none() | st.integers(min_value=0, max_value=10**12).map(usage),
    terminated=st.just(True),
)


@pytest.mark.parametrize(
    ("dialect", "asked"), [(EMBED, ONE), (EMBED, MANY), (PREDICT, INSTANCES)], ids=["one", "batch", "predict"]
)
@given(facts=answers, place=st.integers(min_value=0, max_value=9999))
def test_embeddings_of_google_are_read_as_they_were_written(
    dialect: Dialect, asked: RequestFacts, facts: CallFacts, place: int
) -> None:
    """Every number to the last digit, wherever the bytes are cut."""
    assert dialects.read(dialect, dialect.write_response(facts, asked).body, places=[place]) == facts


@given(facts=answers, tier=st.text(min_size=1, max_size=9), media=st.none() | st.just(0))
def test_an_embedding_keeps_its_tier_and_its_media(facts: CallFacts, tier: str, media: int | None) -> None:
    """Where the API has a place for them."""
    stated = facts.usage and replace(facts.usage, input_image_tokens=media, input_audio_tokens=media)
    facts = replace(facts, service_tier=tier, usage=stated)
    assert dialects.read(EMBED, EMBED.write_response(facts, ONE).body) == facts


@pytest.mark.parametrize(("dialect", "asked"), [(EMBED, MANY), (PREDICT, INSTANCES)], ids=["batch", "predict"])
def test_no_vectors_are_written_as_none(dialect: Dialect, asked: RequestFacts) -> None:
    """A mock may answer with nothing."""
    facts = CallFacts(terminated=True)
    assert dialects.read(dialect, dialect.write_response(facts, asked).body) == facts
