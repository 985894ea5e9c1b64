"""Embeddings as OpenAI, Azure, Mistral, Voyage, OpenRouter and Perplexity send them."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dialects
from pytest_llmtelemetry.facts import CallFacts, Overflow, RequestFacts, Usage
from pytest_llmtelemetry.wire.body import BodyReader
from pytest_llmtelemetry.wire.dialect import Failure, Fault
from pytest_llmtelemetry.wire.openai_embeddings import OpenAIEmbeddings


EMBEDDINGS = OpenAIEmbeddings()
ASKED = dialects.asked(EMBEDDINGS)
ASKED_PACKED = dialects.asked(EMBEDDINGS, {"encoding_format": "base64"})

HALF_AND_QUARTER = "AAAAPwAAgL4="
"""``[0.5, -0.25]`` as 32-bit floats."""


def read(document: object) -> CallFacts:
    """Read an answer."""
    return dialects.read(EMBEDDINGS, document)


def embeddings(*vectors: object, **more: object) -> dict[str, Any]:
    """An answer with these vectors."""
    data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
    return {"object": "list", "data": data, "model": "m", **more}


# -- requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/v1/embeddings",
        "/v1/embeddings/",
        "embeddings",
        "/embeddings",
        "/openai/deployments/my-embedder/embeddings",
        "/api/v1/embeddings",
        "/v1beta/openai/embeddings",
        "/v1/multimodalembeddings",
        "/v1/contextualizedembeddings",
    ],
)
def test_embeddings_are_spoken_at_every_path_that_ends_in_them(path: str) -> None:
    """Gateways put what they like before it; Voyage has two more of them."""
    assert EMBEDDINGS.speaks("POST", path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/embeddings"),
        ("POST", "/v1/embeddings/1"),
        ("POST", "/v1/myembeddings"),
        ("POST", "/v1/embed"),
        ("POST", "/v1/embeddings\n"),
        ("POST", ""),
    ],
)
def test_embeddings_are_not_spoken_elsewhere(method: str, path: str) -> None:
    """Ollama has an API of its own that ends in the same word."""
    assert not EMBEDDINGS.speaks(method, path)


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({"model": "m", "input": "hi"}, True),
        ({"model": "m", "input": ["hi", "ho"]}, True),
        ({"model": "m", "inputs": [{"content": []}]}, True),
        ({"model": "m"}, False),
        ({"model": "m", "prompt": "hi"}, False),
        ({"input": "hi"}, False),
        ({"model": 3, "input": "hi"}, False),
        ({"model": "m", "input": 3}, False),
    ],
    ids=["text", "list", "voyage", "no-input", "ollama", "no-model", "odd-model", "odd-input"],
)
def test_a_request_fits_if_it_names_a_model_and_an_input(body: Mapping[str, Any], fits: bool) -> None:
    """Applications have web APIs of this name too."""
    assert EMBEDDINGS.fits(body) is fits


@pytest.mark.parametrize(
    ("body", "path", "model"),
    [
        ({"model": "m", "input": "hi"}, "/v1/embeddings", "m"),
        ({"input": "hi"}, "/openai/deployments/my-embedder/embeddings", "my-embedder"),
        ({"model": "m"}, "/openai/deployments/my-embedder/embeddings", "m"),
        ({"model": ["m"], "stream": True, "max_tokens": 3, "tools": [{"name": "x"}]}, "/v1/embeddings", None),
    ],
    ids=["body", "deployment", "both", "junk"],
)
def test_a_request_says_its_model_and_nothing_else(body: Mapping[str, Any], path: str, model: str | None) -> None:
    """Azure may name it in the path; there is no output to stream or to limit."""
    facts = dialects.asked(EMBEDDINGS, body, path=path, provider="azure")
    assert facts == RequestFacts(api="openai.embeddings", provider="azure", model=model)
    assert facts.body is body


# -- answers -------------------------------------------------------------------------------

EIGHT = Usage(input_tokens=8, output_tokens=0, total_tokens=8)


def test_an_answer_is_read_whole() -> None:
    """Every fact that an embedding states; it has no output, and no finish reason."""
    document = embeddings([0.5, -0.25], [1, 0], id="e-1", usage={"prompt_tokens": 8, "total_tokens": 8})
    assert read(document) == CallFacts(
        id="e-1",
        model="m",
        vectors=((0.5, -0.25), (1.0, 0.0)),
        usage=EIGHT,
        terminated=True,
    )


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 8, "total_tokens": 8, "completion_tokens": 0}, EIGHT),
        ({"total_tokens": 8}, EIGHT),
        ({"text_tokens": 5, "image_pixels": 1680, "total_tokens": 8}, EIGHT),
        ({"prompt_tokens": 8}, EIGHT),
        ({"prompt_tokens": 0, "total_tokens": 0}, Usage(input_tokens=0, output_tokens=0, total_tokens=0)),
        ({"prompt_tokens": -8, "total_tokens": 8}, Usage(total_tokens=8, doubts=("prompt_tokens is '-8'",))),
        ({"total_tokens": "8"}, Usage(doubts=("total_tokens is '8'",))),
        ({}, None),
        (None, None),
        ([8], None),
    ],
    ids=["mistral", "voyage", "voyage-images", "prompt", "zero", "negative", "text", "empty", "null", "list"],
)
def test_usage_is_input_alone(usage: object, expected: Usage | None) -> None:
    """In whichever count it is stated; what makes no sense is named, and is no number."""
    assert read(embeddings([0.5], usage=usage)).usage == expected


@pytest.mark.parametrize(
    ("stated", "cost"),
    [
        ('"cost":0.00000016', Decimal("0.00000016")),
        ('"cost":{"input_cost":0.1,"total_cost":0.25,"currency":"USD"}', Decimal("0.25")),
        ('"cost":-1', None),
    ],
    ids=["openrouter", "perplexity", "junk"],
)
def test_a_stated_cost_is_read(stated: str, cost: Decimal | None) -> None:
    """With all its digits."""
    body = json.dumps(embeddings(usage={"total_tokens": 1})).replace('"total_tokens": 1', stated)
    assert read(body).stated_cost_usd == cost


@pytest.mark.parametrize(
    ("document", "content"), [(embeddings([0.5]), True), (embeddings(), False)], ids=["some", "none"]
)
def test_vectors_are_what_an_answer_is_waited_for(document: Mapping[str, Any], content: bool) -> None:
    """They come all at once."""
    reader = BodyReader(EMBEDDINGS.draft())
    reader.feed(json.dumps(document).encode() + b"\n")
    assert reader.has_content is content


def test_packed_vectors_are_read() -> None:
    """The SDK asks for them unless told otherwise."""
    assert read(embeddings(HALF_AND_QUARTER)).vectors == ((0.5, -0.25),)


def test_vectors_of_the_chunks_of_documents_are_read() -> None:
    """Voyage and Perplexity embed the chunks of each document in its context."""
    document = {
        "data": [{"index": 0, "data": embeddings([1], [2])["data"]}, {"index": 1, "data": embeddings([3])["data"]}]
    }
    assert read(document).vectors == ((1.0,), (2.0,), (3.0,))


@pytest.mark.parametrize(
    "vector",
    [
        None,
        5,
        {"float": [1]},
        ["1"],
        [None],
        [True],
        [[1]],
        [float("nan")],
        [float("inf")],
        [10**400],
        "AAAA",
        "AAAAPw=",
        "AAAA!PwAAgL4=",
        "é",
        base64.b64encode(struct.pack("<2f", 0.5, float("nan"))).decode(),
        base64.b64encode(struct.pack("<2f", 0.5, float("-inf"))).decode(),
        base64.b64encode(struct.pack("8b", 3, -2, 7, -5, 11, 4, -9, 6)).decode(),
    ],
    ids=lambda vector: str(vector)[:12],
)
def test_an_answer_with_a_vector_that_cannot_be_read_has_none(vector: object) -> None:
    """The others would stand in the wrong places; what it took is known all the same."""
    facts = read(embeddings([0.5], vector, usage={"total_tokens": 3}))
    assert facts == CallFacts(model="m", usage=Usage(input_tokens=3, output_tokens=0, total_tokens=3), terminated=True)


@pytest.mark.parametrize("data", [[5], [None], [{}], [{"data": 3}], [{"data": [{}]}], [[[]]]], ids=str)
def test_an_answer_without_vectors_where_they_should_be_has_none(data: object) -> None:
    """Whatever stands there."""
    assert read({"data": data}) == CallFacts(terminated=True)


@pytest.mark.parametrize("document", [{}, {"data": None}, {"data": "x"}, {"data": {}}], ids=str)
def test_an_answer_without_data_is_no_answer(document: Mapping[str, Any]) -> None:
    """It has no end that the API recognises."""
    assert read(document) == CallFacts()


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({"error": {"type": "invalid_request_error", "code": "model_not_found", "message": "No."}}, "model_not_found"),
        ({"error": {"code": "401", "message": "No."}}, "401"),
        ({"detail": "No."}, "error"),
    ],
    ids=["openai", "azure", "voyage"],
)
def test_an_error_is_read_in_the_providers_words(document: Mapping[str, Any], error: str) -> None:
    """It is no answer, and so it has no end."""
    assert read(document) == CallFacts(error_type=error)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "embedding", "usage", "total_tokens", "cost", "id"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["data", "usage", "model", "id", "error", "detail"]), junk))
def test_junk_never_raises_and_is_never_a_number(document: dict[str, Any]) -> None:
    """A usage is made only of whole numbers from zero up."""
    usage = read(document).usage
    assert usage is None or all(count is None or count >= 0 for count in usage.counts().values())


# -- writing -------------------------------------------------------------------------------

SAID = CallFacts(
    id="embd-1",
    model="m",
    vectors=((0.5, -0.25), (1.0, 0.0)),
    usage=Usage(input_tokens=8, output_tokens=0, total_tokens=8),
    terminated=True,
)


def test_vectors_are_written_as_numbers() -> None:
    """Unless something else is asked for."""
    answer = EMBEDDINGS.write_response(SAID, ASKED)
    assert (answer.status, answer.headers) == (200, {"content-type": "application/json"})
    assert json.loads(answer.body) == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, -0.25]},
            {"object": "embedding", "index": 1, "embedding": [1.0, 0.0]},
        ],
        "model": "m",
        "id": "embd-1",
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }


def test_vectors_are_packed_if_they_are_asked_for_so() -> None:
    """As 32-bit floats, little-endian, in base64."""
    document = json.loads(EMBEDDINGS.write_response(SAID, ASKED_PACKED).body)
    assert [item["embedding"] for item in document["data"]] == [HALF_AND_QUARTER, "AACAPwAAAAA="]


@pytest.mark.parametrize(("provider", "has_id"), [("openai", False), ("mistral", True)])
def test_mistral_gets_an_id_in_any_case(provider: str, has_id: bool) -> None:
    """Its SDK insists on one; the others have none."""
    asked = dialects.asked(EMBEDDINGS, provider=provider)
    assert ("id" in json.loads(EMBEDDINGS.write_response(CallFacts(), asked).body)) is has_id


def test_nobody_streams_embeddings() -> None:
    """What is asked for as a stream is answered plainly, and what would break in one fails at once."""
    fault = Fault(kind=Failure.RATE_LIMIT)
    assert EMBEDDINGS.write_stream(SAID, [], ASKED) == EMBEDDINGS.write_response(SAID, ASKED)
    assert EMBEDDINGS.write_broken_stream(SAID, [], fault, ASKED) == EMBEDDINGS.write_error(fault, ASKED)


@pytest.mark.parametrize(
    ("kind", "status", "word", "overflow"),
    [
        (Failure.BAD_REQUEST, 400, "invalid_value", None),
        (Failure.AUTH, 401, "invalid_api_key", None),
        (Failure.NOT_FOUND, 404, "model_not_found", None),
        (Failure.CONTEXT_WINDOW, 400, "context_length_exceeded", Overflow(tokens=120, max_tokens=100)),
        (Failure.RATE_LIMIT, 429, "rate_limit_exceeded", None),
        (Failure.SERVER_ERROR, 500, "server_error", None),
        (Failure.OVERLOADED, 503, "server_error", None),
    ],
    ids=str,
)
def test_a_failure_is_read_as_it_was_written(kind: Failure, status: int, word: str, overflow: Overflow | None) -> None:
    """With its own status, and the provider's word."""
    answer = EMBEDDINGS.write_error(Fault(kind=kind, tokens=120, max_tokens=100), ASKED)
    assert (answer.status, read(answer.body)) == (status, CallFacts(error_type=word, overflow=overflow))


# -- round trips ---------------------------------------------------------------------------

counts = st.integers(min_value=0, max_value=10**12)
words = st.text(min_size=1, max_size=12)
floats = st.floats(min_value=-(10**6), max_value=10**6, width=32)
"""Such as ``0.25``: of the precision that is packed, and no larger than embeddings ever are."""


@st.composite
def answers(draw: st.DrawFn) -> CallFacts:
    """Such as ``CallFacts(model="m", vectors=((0.5, 0.25),), usage=Usage(input_tokens=3, ...))``."""
    size = draw(st.integers(min_value=1, max_value=5))
    vectors = draw(st.lists(st.lists(floats, min_size=size, max_size=size).map(tuple), max_size=3))
    usage = None
    if draw(st.booleans()):
        asked = draw(counts)
        produced = draw(st.just(0) | counts)
        total = draw(st.just(asked) | counts)
        usage = Usage(input_tokens=asked, output_tokens=produced, total_tokens=total)
    return CallFacts(
        id=draw(st.none() | words),
        model=draw(st.none() | words),
        vectors=tuple(vectors),
        usage=usage,
        stated_cost_usd=draw(st.none() | st.decimals(0, 100, places=12)),
        terminated=True,
    )


@given(answers(), st.sampled_from([ASKED, ASKED_PACKED, replace(ASKED, provider="mistral")]))
def test_an_answer_is_read_as_it_was_written(facts: CallFacts, asked: RequestFacts) -> None:
    """Every fact that the API can state survives, however the vectors are packed."""
    assert read(EMBEDDINGS.write_response(facts, asked).body) == facts


@given(answers(), st.lists(st.integers(min_value=0, max_value=999), max_size=6))
def test_an_answer_that_comes_in_pieces_is_the_same(facts: CallFacts, places: list[int]) -> None:
    """Wherever it is cut."""
    body = EMBEDDINGS.write_response(facts, ASKED_PACKED).body
    assert dialects.read(EMBEDDINGS, body, places=places) == facts


def test_an_answer_cut_at_any_byte_is_none() -> None:
    """Half a document states nothing."""
    body = EMBEDDINGS.write_response(SAID, ASKED).body
    assert {read(body[:end]) for end in range(len(body))} == {CallFacts()}
