"""Requests that no SDK sends: the code under test may send what it likes, and a mock answers it.

W31 to W34 of the list of faults, for every dialect.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dialects
import speakers
from mutants import JUNK, spoiled
from pytest_llmtelemetry.wire.dialect import Dialect, Failure, Fault, WireRequest
from pytest_llmtelemetry.wire.hosts import Hosts
from pytest_llmtelemetry.wire.registry import DIALECTS, OTHER, identify
from soundness import is_sound, is_sound_request
from speakers import ONE_OF_EACH, Speaker


EVERY = (*DIALECTS, OTHER)
every_dialect = pytest.mark.parametrize("dialect", EVERY, ids=[f"{one.api}-{one.operation}" for one in EVERY])

TOOL: Mapping[str, Any] = {
    "type": "function",
    "name": "f",
    "function": {"name": "f"},
    "functionDeclarations": [{"name": "f"}],
    "toolSpec": {"name": "f"},
}
TURN: Mapping[str, Any] = {
    "role": "user",
    "content": [{"text": "Hello?"}],
    "parts": [{"text": "Hello?"}],
}
REQUEST: Mapping[str, Any] = {
    "model": "m",
    "stream": True,
    "stream_options": {"include_usage": True},
    "messages": [TURN],
    "contents": [TURN],
    "content": TURN,
    "requests": [{"content": TURN}],
    "instances": [{"content": "Hello?"}],
    "input": ["Hello?"],
    "inputs": ["Hello?"],
    "prompt": "Hello?",
    "message": "Hello?",
    "texts": ["Hello?"],
    "inputText": "Hello?",
    "input_type": "search_query",
    "embedding_types": ["float"],
    "encoding_format": "base64",
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "max_output_tokens": 5,
    "generationConfig": {"maxOutputTokens": 5},
    "inferenceConfig": {"maxTokens": 5},
    "textGenerationConfig": {"maxTokenCount": 5},
    "options": {"num_predict": 5},
    "tools": [TOOL],
    "toolConfig": {"tools": [TOOL]},
}
"""All that any API reads."""


def requests(names: Iterable[str]) -> list[tuple[str, Any]]:
    """The request with one wrong value, for all places, and what is wrong."""
    return [
        (f"{path} is {name}", body)
        for name in names
        for path, text in spoiled(REQUEST, JUNK[name])
        if isinstance(body := json.loads(text), dict)
    ]


SPOILED = requests(JUNK)
SPOILED_BADLY = requests(["null", "surrogate", "list", "object"])


# -- bodies --------------------------------------------------------------------------------


@every_dialect
def test_one_wrong_value_in_a_request_does_no_harm(dialect: Dialect) -> None:
    """Whatever stands in whatever place, the request is read, or is seen to be none."""
    for what, body in SPOILED:
        assert type(dialect.fits(body)) is bool, what
        assert is_sound_request(dialects.asked(dialect, body, path="/v1/x")), what


@pytest.mark.parametrize("speaker", ONE_OF_EACH, ids=[speaker.name for speaker in ONE_OF_EACH])
def test_a_mock_answers_whatever_was_asked(speaker: Speaker) -> None:
    """What cannot be read in a request is not needed to answer it, nor to refuse it."""
    facts = speakers.example(speaker).facts
    facts = replace(facts, vectors=facts.vectors[:1])
    for what, body in SPOILED_BADLY:
        asked = dialects.asked(speaker.dialect, body, path=speaker.path, provider=speaker.provider)
        for answer in (
            speaker.dialect.write_stream(facts, [facts.text], asked),
            speaker.dialect.write_response(facts, asked),
            speaker.dialect.write_error(Fault(kind=Failure.RATE_LIMIT), asked),
        ):
            assert is_sound(speakers.read(speaker, answer)[0]), what


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*REQUEST, *TURN, *TOOL]), inner),
    max_leaves=12,
)


@every_dialect
@settings(max_examples=25)
@given(body=st.dictionaries(st.sampled_from(list(REQUEST)), JSON_VALUES))
def test_a_request_of_anything_does_no_harm(dialect: Dialect, body: dict[str, Any]) -> None:
    """It is read, or is seen to be none."""
    assert type(dialect.fits(body)) is bool
    assert is_sound_request(dialects.asked(dialect, body))


# -- places --------------------------------------------------------------------------------

SEGMENTS = st.sampled_from(
    [
        *("", "/", "//", ":", "\n", "\r", "\0", "%", "é", "\udcff", "..", "x" * 9999),
        *("v1", "v2", "models", "model", "deployments", "engines", "endpoints", "publishers", "anthropic", "google"),
        *("chat", "completions", "responses", "embeddings", "embed", "messages", "api", "generate", "predict"),
        *("converse", "converse-stream", "invoke", "invoke-with-response-stream", "gecko", ":generateContent"),
        *(":embedContent", ":predict", ":streamGenerateContent", ":rawPredict", "fim", "agents", "embedding-1"),
    ]
)
PATHS = st.lists(SEGMENTS, max_size=9).map("/".join) | st.text(max_size=30)
QUERIES = st.text(max_size=20) | st.sampled_from(
    ["alt=sse", "alt", "alt=sse&alt=json", "stream=true", "%ff=%zz", "&" * 999, "=", "key=\udcff", "alt=%00"]
)
METHODS = st.sampled_from(["POST", "GET", "HEAD", "post", "", "\n"])


@every_dialect
@settings(max_examples=100)
@given(method=METHODS, path=PATHS, query=QUERIES)
def test_any_place_does_no_harm(dialect: Dialect, method: str, path: str, query: str) -> None:
    """It is one of the API's, or is not."""
    assert type(dialect.speaks(method, path)) is bool
    assert is_sound_request(dialects.asked(dialect, REQUEST, path=path, query=query))


# What is no JSON object in its bytes, and what is one.
BYTES = (
    st.none() | st.binary(max_size=40) | st.sampled_from([json.dumps(REQUEST).encode(), b"{}", b"[" * 9999, b"\xff{}"])
)
HOSTS = st.text(max_size=20) | st.sampled_from(
    [
        "api.openai.com",
        "API.OPENAI.COM.",
        "[::1]",
        "::1",
        "[",
        "1.2.3.4",
        "localhost",
        "bedrock-runtime.x.amazonaws.com",
    ]
)


@settings(max_examples=500)
@given(
    method=METHODS,
    host=HOSTS,
    port=st.none() | st.integers(-1, 70000),
    path=PATHS,
    query=QUERIES,
    body=BYTES,
)
def test_any_request_is_identified_or_is_none(
    *, method: str, host: str, port: int | None, path: str, query: str, body: bytes | None
) -> None:
    """W33: by host, path and shape, whatever these are."""
    request = WireRequest(method=method, host=host, port=port, path=path, query=query, body=body)
    conversation = identify(request, Hosts())
    assert conversation is None or is_sound_request(conversation.facts)
