"""Gemini's generateContent and streamGenerateContent, as Google AI and Vertex speak them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dialects
from pytest_llmtelemetry.facts import CallFacts, FinishReason, Overflow, RequestFacts, ToolCall, Usage
from pytest_llmtelemetry.wire.body import BodyReader
from pytest_llmtelemetry.wire.dialect import Failure, Fault
from pytest_llmtelemetry.wire.gemini_generate import GeminiGenerate


GEMINI = GeminiGenerate()
PLAIN = dialects.asked(GEMINI, path="/v1beta/models/m:generateContent", provider="gemini")
SSE = dialects.asked(GEMINI, path="/v1beta/models/m:streamGenerateContent", query="alt=sse", provider="gemini")
ARRAY = dialects.asked(GEMINI, path="/v1beta/models/m:streamGenerateContent", provider="gemini")
VERTEX = replace(PLAIN, provider="vertex")

UNFINISHED: dict[str, Any] = {"content": {"parts": [{"text": "Hi"}], "role": "model"}, "index": 0}
FINISHED = UNFINISHED | {"finishReason": "STOP"}


def sse(*documents: object) -> bytes:
    """A stream of events."""
    return b"".join(b"data: %b\r\n\r\n" % json.dumps(document).encode() for document in documents)


def array(*documents: object) -> bytes:
    """A stream that is one array, laid out as Google does."""
    return b"[" + b"\n,\r\n".join(json.dumps(document, indent=2).encode() for document in documents) + b"\n]"


def chunk(*parts: Mapping[str, object], finish: str | None = None, **counts: int) -> dict[str, Any]:
    """One document of a stream."""
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": counts, "modelVersion": "m-1", "responseId": "r"}


def usage_of(metadata: object) -> Usage | None:
    """What an answer that is whole has used."""
    return dialects.read(GEMINI, {"candidates": [FINISHED], "usageMetadata": metadata}).usage


# -- requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1beta/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro"),
        ("/v1/models/gemini-2.5-pro:streamGenerateContent", "gemini-2.5-pro"),
        ("models/m:generateContent", "m"),
        ("/v1beta/tunedModels/mine-1:generateContent", "mine-1"),
        ("/v1beta1/projects/p/locations/global/publishers/google/models/m@001:generateContent", "m@001"),
        ("/v1/publishers/google/models/m:streamGenerateContent", "m"),
        ("/v1/projects/p/locations/l/endpoints/123:streamGenerateContent", "123"),
        ("/gateway/vertex/v1beta1/publishers/google/models/m:generateContent", "m"),
        ("/v1beta/models/gemini/m:generateContent", "gemini/m"),
    ],
)
def test_the_path_names_the_method_and_the_model(path: str, model: str) -> None:
    """Gateways put what they like before it."""
    assert GEMINI.speaks("POST", path)
    assert dialects.asked(GEMINI, path=path).model == model


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1beta/models/m:generateContent"),
        ("POST", "/v1beta/models/m:countTokens"),
        ("POST", "/v1beta/models/m:embedContent"),
        ("POST", "/v1beta/models/m:batchGenerateContent"),
        ("POST", "/v1beta/models/m:generateContentX"),
        ("POST", "/v1beta/models/:generateContent"),
        ("POST", "/v1beta/models/m/generateContent"),
        ("POST", "/v1beta/notmodels/m:generateContent"),
        ("POST", "/v1beta/models"),
    ],
)
def test_other_methods_are_other_apis(method: str, path: str) -> None:
    """Counting tokens is free, and embedding is not generating."""
    assert not GEMINI.speaks(method, path)


@pytest.mark.parametrize(
    "body",
    [
        {
            "contents": [{"parts": [{"text": "Hi"}]}],
            "generationConfig": {"maxOutputTokens": 9},
            "tools": [{"googleSearch": {}}, {"functionDeclarations": [{"name": "add"}, {"name": "sub"}]}],
        },
        {
            "contents": [{"parts": [{"text": "Hi"}]}],
            "generation_config": {"max_output_tokens": 9},
            "tools": [{"function_declarations": [{"name": "add"}]}, {"function_declarations": [{"name": "sub"}]}],
        },
    ],
    ids=["camel", "snake"],
)
def test_a_request_is_read_in_both_spellings(body: dict[str, Any]) -> None:
    """Google takes camelCase and snake_case alike."""
    facts = dialects.asked(GEMINI, body, path="/v1/models/m:generateContent", provider="vertex")
    assert facts == RequestFacts(
        api="gemini.generate", provider="vertex", model="m", max_tokens=9, tools=("add", "sub")
    )
    assert facts.body is body


@pytest.mark.parametrize(
    ("verb", "query", "stream", "array"),
    [
        ("generateContent", "", False, False),
        ("generateContent", "alt=sse", False, False),
        ("streamGenerateContent", "", True, True),
        ("streamGenerateContent", "key=secret", True, True),
        ("streamGenerateContent", "alt=json", True, True),
        ("streamGenerateContent", "alt=sse", True, False),
        ("streamGenerateContent", "key=secret&alt=sse", True, False),
        ("streamGenerateContent", "%24alt=sse", True, False),
    ],
)
def test_the_url_says_how_the_answer_comes(verb: str, query: str, stream: bool, array: bool) -> None:
    """The method asks for a stream, the query for events; without it a stream is one array."""
    facts = dialects.asked(GEMINI, {"stream": True}, path=f"/v1/models/m:{verb}", query=query)
    assert (facts.stream, facts.array) == (stream, array)


@pytest.mark.parametrize("junk", [None, 5, "x", [], [5, None], {}, True, [{"functionDeclarations": "x"}]], ids=repr)
def test_a_request_of_junk_says_nothing(junk: object) -> None:
    """What is not what it should be is not there."""
    keys = ("contents", "generationConfig", "tools")
    assert dialects.asked(GEMINI, dict.fromkeys(keys, junk), path="/v1/models/m:generateContent") == RequestFacts(
        api="gemini.generate", provider="openai", model="m"
    )


@pytest.mark.parametrize("limit", [None, "9", True, 9.5, [9]], ids=repr)
def test_a_limit_that_is_no_whole_number_is_none(limit: object) -> None:
    """A limit is compared with a count."""
    assert dialects.asked(GEMINI, {"generationConfig": {"maxOutputTokens": limit}}).max_tokens is None


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({"contents": [{"parts": [{"text": "Hi"}]}]}, True),
        ({"contents": [{"role": "user", "parts": []}, {"parts": []}]}, True),
        ({"contents": {"role": "user", "parts": {"text": "Hi"}}}, True),
        ({}, False),
        ({"contents": []}, False),
        ({"contents": "Hi"}, False),
        ({"contents": ["Hi"]}, False),
        ({"contents": [{"text": "Hi"}]}, False),
        ({"contents": [{"parts": []}, {"text": "Hi"}]}, False),
        ({"messages": [{"role": "user", "content": "Hi"}]}, False),
    ],
    ids=repr,
)
def test_a_prompt_is_made_of_parts(body: dict[str, Any], fits: bool) -> None:
    """An application that calls its own data "contents" is no provider."""
    assert GEMINI.fits(body) is fits


# -- answers -------------------------------------------------------------------------------


def test_a_plain_answer_states_everything() -> None:
    """Thoughts, words and calls are parts of one candidate."""
    parts = [
        {"text": "Hm.", "thought": True},
        {"text": "Let me "},
        {"text": "see.", "thoughtSignature": "c2ln"},
        {"functionCall": {"id": "c1", "name": "add", "args": {"a": 1, "b": 2.50, "c": ["é"]}}},
        {"functionCall": {"name": "now"}},
    ]
    answer = {
        "candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": 10,
            "cachedContentTokenCount": 4,
            "candidatesTokenCount": 5,
            "thoughtsTokenCount": 3,
            "totalTokenCount": 18,
            "serviceTier": "flex",
        },
        "modelVersion": "m-001",
        "responseId": "r1",
    }
    assert dialects.read(GEMINI, answer) == CallFacts(
        id="r1",
        model="m-001",
        text="Let me see.",
        reasoning="Hm.",
        tool_calls=(
            ToolCall(id="c1", name="add", arguments='{"a":1,"b":2.5,"c":["é"]}'),
            ToolCall(name="now", arguments="{}"),
        ),
        usage=Usage(input_tokens=10, cache_read_tokens=4, output_tokens=8, reasoning_tokens=3, total_tokens=18),
        finish_reason=FinishReason.TOOL_CALLS,
        raw_finish_reason="STOP",
        service_tier="flex",
        terminated=True,
    )


def test_the_first_candidate_is_the_answer() -> None:
    """The others were paid for, and are in the usage; Vertex leaves out the index of the first."""
    first = {"content": {"parts": [{"text": "A"}]}, "finishReason": "STOP"}
    second = {"content": {"parts": [{"text": "B"}, {"functionCall": {"name": "f"}}]}, "finishReason": "STOP"}
    expected = CallFacts(text="A", finish_reason=FinishReason.STOP, raw_finish_reason="STOP", terminated=True)
    assert dialects.read(GEMINI, {"candidates": [first, second | {"index": 1}]}) == expected
    assert dialects.read(GEMINI, {"candidates": [second | {"index": 1}, first | {"index": 0}]}) == expected
    assert dialects.read(GEMINI, {"candidates": [first, second]}) == expected


@pytest.mark.parametrize(
    "part",
    [
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
        {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
        {"functionCall": {"name": "f"}},
        {"text": "a"},
        {"text": "a", "thought": True},
    ],
    ids=lambda part: next(iter(part)),
)
def test_every_part_is_content(part: dict[str, object]) -> None:
    """The first token of a picture is a first token too."""
    reader = BodyReader(GEMINI.draft())
    reader.feed(sse({"modelVersion": "m"}, chunk()))
    assert not reader.has_content
    reader.feed(sse(chunk(part)))
    assert reader.has_content


def test_code_that_runs_at_google_is_not_what_the_model_says() -> None:
    """Neither is it a tool call: nobody is asked to run it."""
    parts: list[dict[str, object]] = [
        {"executableCode": {"code": "1+1"}},
        {"codeExecutionResult": {"output": "2"}},
        {"text": "Two."},
    ]
    facts = dialects.read(GEMINI, chunk(*parts, finish="STOP"))
    assert (facts.text, facts.tool_calls, facts.finish_reason) == ("Two.", (), FinishReason.STOP)


FINISHES = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "CONTINUATION": FinishReason.LENGTH,
    "SAFETY": FinishReason.CONTENT_FILTER,
    "RECITATION": FinishReason.CONTENT_FILTER,
    "LANGUAGE": FinishReason.CONTENT_FILTER,
    "BLOCKLIST": FinishReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "SPII": FinishReason.CONTENT_FILTER,
    "MODEL_ARMOR": FinishReason.CONTENT_FILTER,
    "ESCALATION": FinishReason.CONTENT_FILTER,
    "PUP_LIMITED_DISABLED": FinishReason.CONTENT_FILTER,
    "IMAGE_SAFETY": FinishReason.CONTENT_FILTER,
    "IMAGE_PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "IMAGE_RECITATION": FinishReason.CONTENT_FILTER,
    "MALFORMED_FUNCTION_CALL": FinishReason.ERROR,
    "UNEXPECTED_TOOL_CALL": FinishReason.ERROR,
    "TOO_MANY_TOOL_CALLS": FinishReason.ERROR,
    "MISSING_THOUGHT_SIGNATURE": FinishReason.ERROR,
    "MALFORMED_RESPONSE": FinishReason.ERROR,
    "NO_IMAGE": FinishReason.ERROR,
    "OTHER": FinishReason.UNKNOWN,
    "IMAGE_OTHER": FinishReason.UNKNOWN,
    "SOMETHING_NEW": FinishReason.UNKNOWN,
}


@pytest.mark.parametrize(("word", "reason"), FINISHES.items(), ids=FINISHES)
def test_a_finish_reason_keeps_its_word(word: str, reason: FinishReason) -> None:
    """Every word of Google's, and one that it may invent."""
    facts = dialects.read(GEMINI, {"candidates": [{"finishReason": word}]})
    assert facts == CallFacts(finish_reason=reason, raw_finish_reason=word, terminated=True)


def test_an_unset_finish_reason_is_none() -> None:
    """Gateways that write out what protobuf leaves out put it into every chunk."""
    facts = dialects.read(GEMINI, {"candidates": [{"finishReason": "FINISH_REASON_UNSPECIFIED"}]})
    assert facts == CallFacts()


def test_a_call_that_was_not_expected_is_an_error_with_the_call() -> None:
    """Only an ordinary end with calls means that the calls are to be made."""
    facts = dialects.read(GEMINI, chunk({"functionCall": {"name": "f"}}, finish="UNEXPECTED_TOOL_CALL"))
    assert (facts.finish_reason, facts.tool_calls) == (FinishReason.ERROR, (ToolCall(name="f"),))


@pytest.mark.parametrize("reason", ["SAFETY", "OTHER", "MODEL_ARMOR", "SOMETHING_NEW"])
def test_a_blocked_prompt_has_no_candidates(reason: str) -> None:
    """Its tokens were read, and none were made."""
    answer = {
        "promptFeedback": {"blockReason": reason},
        "usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7, "trafficType": "ON_DEMAND"},
    }
    assert dialects.read(GEMINI, answer) == CallFacts(
        usage=Usage(input_tokens=7, output_tokens=0, total_tokens=7),
        finish_reason=FinishReason.CONTENT_FILTER,
        raw_finish_reason=f"BLOCK:{reason}",
        service_tier="ON_DEMAND",
        terminated=True,
    )


@pytest.mark.parametrize(
    "answer",
    [
        {"promptFeedback": {"blockReason": "BLOCKED_REASON_UNSPECIFIED"}, "candidates": []},
        {"promptFeedback": {"safetyRatings": []}},
        {"promptFeedback": {"blockReason": "OTHER"}, "candidates": [{"index": 0}]},
    ],
    ids=["unset", "ratings", "answered"],
)
def test_a_prompt_without_a_reason_is_not_blocked(answer: object) -> None:
    """The ratings of a prompt come with answers too."""
    assert dialects.read(GEMINI, answer) == CallFacts()


# -- usage ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "usage"),
    [
        ({"trafficType": "ON_DEMAND"}, None),
        ({}, None),
        (
            {"promptTokenCount": 9, "candidatesTokenCount": 5, "totalTokenCount": 14},
            Usage(input_tokens=9, output_tokens=5, total_tokens=14),
        ),
        (
            {"promptTokenCount": 9, "candidatesTokenCount": 5},
            Usage(input_tokens=9, output_tokens=5, total_tokens=14),
        ),
        (
            {"promptTokenCount": 9, "candidatesTokenCount": 5, "thoughtsTokenCount": 2, "totalTokenCount": 16},
            Usage(input_tokens=9, output_tokens=7, reasoning_tokens=2, total_tokens=16),
        ),
        (
            {"promptTokenCount": 9, "toolUsePromptTokenCount": 90, "candidatesTokenCount": 1, "totalTokenCount": 100},
            Usage(input_tokens=99, output_tokens=1, total_tokens=100),
        ),
        (
            {"promptTokenCount": 9, "totalTokenCount": 9},
            Usage(input_tokens=9, output_tokens=0, total_tokens=9),
        ),
        (
            {"promptTokenCount": 9, "thoughtsTokenCount": 2, "totalTokenCount": 11},
            Usage(input_tokens=9, output_tokens=2, reasoning_tokens=2, total_tokens=11),
        ),
        (
            {"promptTokenCount": 9, "thoughtsTokenCount": 2},
            Usage(input_tokens=9, output_tokens=2, reasoning_tokens=2, total_tokens=11),
        ),
        ({"promptTokenCount": 9, "totalTokenCount": 12}, Usage(input_tokens=9, total_tokens=12)),
        ({"promptTokenCount": 9}, Usage(input_tokens=9)),
        ({"totalTokenCount": 12}, Usage(total_tokens=12)),
        (
            {"promptTokenCount": 9, "toolUsePromptTokenCount": 1, "cachedContentTokenCount": 8},
            Usage(input_tokens=10, cache_read_tokens=8),
        ),
    ],
    ids=[
        "tier-alone",
        "empty",
        "plain",
        "no-total",
        "thoughts",
        "tool-use",
        "all-in-the-prompt",
        "all-thoughts",
        "thoughts-without-total",
        "rest-unknown",
        "prompt-alone",
        "total-alone",
        "cached",
    ],
)
def test_usage_includes_what_google_counts_apart(metadata: dict[str, object], usage: Usage | None) -> None:
    """Input has the prompt and what tools put into it, output has the thoughts; what is left out is not invented."""
    assert usage_of(metadata) == usage


def test_media_are_counted_apart_on_both_sides() -> None:
    """Sound, pictures and films have their own prices; documents do not."""
    metadata = {
        "promptTokenCount": 60,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 10},
            {"modality": "AUDIO", "tokenCount": 20},
            {"modality": "IMAGE", "tokenCount": 25},
            {"modality": "VIDEO", "tokenCount": 4},
            {"modality": "DOCUMENT", "tokenCount": 1},
        ],
        "toolUsePromptTokenCount": 7,
        "toolUsePromptTokensDetails": [{"modality": "IMAGE", "tokenCount": 7}],
        "candidatesTokenCount": 50,
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 1}, {"modality": "IMAGE", "tokenCount": 40}],
        "totalTokenCount": 117,
    }
    assert usage_of(metadata) == Usage(
        input_tokens=67,
        input_audio_tokens=20,
        input_image_tokens=32,
        input_video_tokens=4,
        output_tokens=50,
        output_audio_tokens=1,
        output_image_tokens=40,
        total_tokens=117,
    )


WHOLE = {"promptTokenCount": 9, "candidatesTokenCount": 5, "totalTokenCount": 14}


@pytest.mark.parametrize(
    ("change", "usage"),
    [
        (
            {"promptTokenCount": -1},
            Usage(output_tokens=5, total_tokens=14, doubts=("promptTokenCount is '-1'",)),
        ),
        (
            {"promptTokenCount": "9"},
            Usage(output_tokens=5, total_tokens=14, doubts=("promptTokenCount is '9'",)),
        ),
        (
            {"candidatesTokenCount": 5.5},
            Usage(input_tokens=9, total_tokens=14, doubts=("candidatesTokenCount is '5.5'",)),
        ),
        (
            {"candidatesTokenCount": True, "totalTokenCount": 9},
            Usage(input_tokens=9, total_tokens=9, doubts=("candidatesTokenCount is 'True'",)),
        ),
        (
            {"thoughtsTokenCount": []},
            Usage(input_tokens=9, total_tokens=14, doubts=("thoughtsTokenCount is '[]'",)),
        ),
        (
            {"toolUsePromptTokenCount": {}},
            Usage(output_tokens=5, total_tokens=14, doubts=("toolUsePromptTokenCount is '{}'",)),
        ),
        (
            {"totalTokenCount": "x"},
            Usage(input_tokens=9, output_tokens=5, total_tokens=14, doubts=("totalTokenCount is 'x'",)),
        ),
        (
            {"cachedContentTokenCount": 10},
            Usage(input_tokens=9, output_tokens=5, total_tokens=14, doubts=("10 cached tokens of 9 input tokens",)),
        ),
        (
            {"promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 10}]},
            Usage(input_tokens=9, output_tokens=5, total_tokens=14, doubts=("10 audio tokens of 9 input tokens",)),
        ),
        (
            {"candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": "x"}]},
            Usage(input_tokens=9, output_tokens=5, total_tokens=14, doubts=("IMAGE tokenCount is 'x'",)),
        ),
        (
            {"promptTokensDetails": [5, {"modality": []}, {"modality": "AUDIO"}]},
            Usage(input_tokens=9, output_tokens=5, total_tokens=14),
        ),
        ({"promptTokensDetails": "x"}, Usage(input_tokens=9, output_tokens=5, total_tokens=14)),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_count_that_makes_no_sense_is_a_doubt(change: dict[str, object], usage: Usage) -> None:
    """Neither it nor a sum with it is a number; the rest stays."""
    assert usage_of(WHOLE | change) == usage


def test_infinite_counts_are_doubts() -> None:
    """Python reads them as numbers."""
    body = '{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":NaN,"totalTokenCount":1e999}}'
    assert dialects.read(GEMINI, body).usage == Usage(
        doubts=("promptTokenCount is 'NaN'", "totalTokenCount is '1E+999'")
    )


@pytest.mark.parametrize("metadata", [None, 5, "x", [], [5], True], ids=repr)
def test_usage_that_is_no_object_is_none(metadata: object) -> None:
    """Absent usage is not zero."""
    assert usage_of(metadata) is None


@pytest.mark.parametrize(
    ("metadata", "tier"),
    [
        ({"serviceTier": "priority"}, "priority"),
        ({"trafficType": "ON_DEMAND_FLEX"}, "ON_DEMAND_FLEX"),
        ({"serviceTier": 5, "trafficType": None}, None),
    ],
    ids=["gemini", "vertex", "junk"],
)
def test_the_tier_keeps_the_providers_word(metadata: dict[str, object], tier: str | None) -> None:
    """Google AI and Vertex have different ones."""
    assert dialects.read(GEMINI, {"usageMetadata": metadata}).service_tier == tier


def test_the_tier_of_a_stream_may_be_stated_once() -> None:
    """Not every chunk says it."""
    first: dict[str, Any] = {"usageMetadata": {"trafficType": "ON_DEMAND"}}
    assert dialects.read(GEMINI, sse(first, chunk({"text": "A"}, finish="STOP"))).service_tier == "ON_DEMAND"


# -- streams -------------------------------------------------------------------------------

STREAM = (
    chunk({"text": "Hm.", "thought": True}, promptTokenCount=20, cachedContentTokenCount=20, totalTokenCount=20),
    chunk({"text": "One"}, promptTokenCount=9, thoughtsTokenCount=2, candidatesTokenCount=1, totalTokenCount=12),
    chunk({"text": " two"}, promptTokenCount=9, thoughtsTokenCount=2, candidatesTokenCount=3, totalTokenCount=14),
    chunk(
        {"text": ""},
        finish="MAX_TOKENS",
        promptTokenCount=9,
        toolUsePromptTokenCount=30,
        thoughtsTokenCount=2,
        candidatesTokenCount=4,
        totalTokenCount=45,
    ),
)
STREAMED = CallFacts(
    id="r",
    model="m-1",
    text="One two",
    reasoning="Hm.",
    usage=Usage(input_tokens=39, output_tokens=6, reasoning_tokens=2, total_tokens=45),
    finish_reason=FinishReason.LENGTH,
    raw_finish_reason="MAX_TOKENS",
    terminated=True,
)


@pytest.mark.parametrize("frame", [sse, array], ids=["sse", "array"])
def test_the_last_usage_of_a_stream_is_its_usage(frame: Any) -> None:
    """It is cumulative, and the count of the prompt may rise and fall on the way."""
    assert dialects.read(GEMINI, frame(*STREAM)) == STREAMED


@pytest.mark.parametrize("frame", [sse, array], ids=["sse", "array"])
def test_a_stream_says_the_same_wherever_it_is_cut_into_chunks(frame: Any) -> None:
    """At every byte."""
    body = frame(*STREAM)
    for place in range(len(body)):
        assert dialects.read(GEMINI, body, places=[place]) == STREAMED, f"cut at {place}"


@pytest.mark.parametrize("frame", [sse, array], ids=["sse", "array"])
def test_a_stream_that_ends_before_its_finish_states_no_count(frame: Any) -> None:
    """All counts so far are placeholders; the words are what they are."""
    assert dialects.read(GEMINI, frame(*STREAM[:3])) == replace(
        STREAMED, usage=None, finish_reason=None, raw_finish_reason=None, terminated=False
    )


@pytest.mark.parametrize("frame", [sse, array], ids=["sse", "array"])
def test_a_stream_that_is_cut_at_any_byte_states_nothing_wrong(frame: Any) -> None:
    """A part of the words, and all counts or none."""
    body = frame(*STREAM)
    for end in range(len(body)):
        facts = dialects.read(GEMINI, body[:end])
        assert STREAMED.text.startswith(facts.text), f"cut at {end}"
        assert facts.usage in {None, STREAMED.usage}, f"cut at {end}"


def test_a_stream_of_two_candidates_ends_when_both_have() -> None:
    """The usage is that of both."""
    first = chunk({"text": "A"}, finish="STOP", promptTokenCount=1, candidatesTokenCount=2)
    first["candidates"].append({"content": {"parts": [{"text": "B"}]}, "index": 1})
    second: dict[str, Any] = {
        "candidates": [{"finishReason": "MAX_TOKENS", "index": 1}],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 8},
    }
    assert dialects.read(GEMINI, sse(first)).usage is None
    assert dialects.read(GEMINI, sse(first, second)) == CallFacts(
        id="r",
        model="m-1",
        text="A",
        usage=Usage(input_tokens=1, output_tokens=8, total_tokens=9),
        finish_reason=FinishReason.LENGTH,
        raw_finish_reason="MAX_TOKENS",
        terminated=True,
    )


def test_what_follows_the_finish_does_not_undo_it() -> None:
    """Grounding comes after the last word."""
    more: dict[str, Any] = {"candidates": [{"groundingMetadata": {}}], "usageMetadata": {"promptTokenCount": 7}}
    facts = dialects.read(GEMINI, sse(chunk({"text": "A"}, finish="STOP"), more))
    assert (facts.raw_finish_reason, facts.usage) == ("STOP", Usage(input_tokens=7))


def test_a_stream_may_be_blocked_on_its_way() -> None:
    """The words so far are kept, and the reason ends it."""
    block = {"promptFeedback": {"blockReason": "OTHER"}, "usageMetadata": {"promptTokenCount": 7}}
    assert dialects.read(GEMINI, sse(chunk({"text": "A"}), block)) == CallFacts(
        id="r",
        model="m-1",
        text="A",
        usage=Usage(input_tokens=7),
        finish_reason=FinishReason.CONTENT_FILTER,
        raw_finish_reason="BLOCK:OTHER",
        terminated=True,
    )


# -- arguments leaf by leaf ----------------------------------------------------------------


def call(*leaves: Mapping[str, object], more: bool = True, **named: object) -> dict[str, Any]:
    """One part of a call that is streamed."""
    partial = {"partialArgs": leaves} if leaves else {}
    return chunk({"functionCall": {**named, **partial, **({"willContinue": True} if more else {})}})


def leaf(path: str, **value: object) -> dict[str, object]:
    """One leaf, or a piece of one."""
    return {"jsonPath": path, **value}


def test_arguments_may_come_leaf_by_leaf() -> None:
    """Vertex streams them so if it is asked to; an empty part ends a call."""
    stream = sse(
        call(name="plan", id="c1"),
        call(leaf("$.city", stringValue="New ", willContinue=True)),
        call(leaf("$.city", stringValue="Delhi"), leaf("$.days[0].rain", boolValue=False)),
        call(leaf("$.days[1].rain", boolValue=True), leaf("$.days[1]['high'].c", numberValue=31.5)),
        call(leaf('$["no te"]', nullValue="NULL_VALUE")),
        call(more=False),
        call(name="now", more=False),
        chunk(finish="STOP"),
    )
    assert dialects.read(GEMINI, stream).tool_calls == (
        ToolCall(
            id="c1",
            name="plan",
            arguments='{"city":"New Delhi","days":[{"rain":false},{"rain":true,"high":{"c":31.5}}],"no te":null}',
        ),
        ToolCall(name="now", arguments="{}"),
    )


@pytest.mark.parametrize(
    "junk",
    [
        leaf("", stringValue="x"),
        leaf("$", stringValue="x"),
        leaf("$.a.b", stringValue="x"),
        leaf("$.c"),
        leaf("$" + ".d" * 5000, stringValue="x"),
        {"jsonPath": 5, "stringValue": "x"},
        leaf("$.b", stringValue={}),
        leaf("$.b", stringValue=json.loads('{"c":' * 700 + "1" + "}" * 700)),
    ],
    ids=["empty", "root", "below-a-leaf", "no-value", "deep", "no-path", "no-leaf", "deep-tree"],
)
def test_a_leaf_that_has_no_place_is_dropped(junk: dict[str, object]) -> None:
    """The others stay."""
    stream = sse(call(leaf("$.a", numberValue=1), name="f"), call(junk, more=False))
    assert dialects.read(GEMINI, stream).tool_calls == (ToolCall(name="f", arguments='{"a":1}'),)


def test_a_leaf_of_another_kind_replaces_what_was_there() -> None:
    """Only texts come in pieces."""
    stream = sse(call(leaf("$.a", stringValue="x"), leaf("$.a", numberValue=2), name="f", more=False))
    assert dialects.read(GEMINI, stream).tool_calls == (ToolCall(name="f", arguments='{"a":2}'),)


# -- junk ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "candidates",
    [
        None,
        5,
        {},
        [5, None, []],
        [{"content": 5, "index": "x"}],
        [{"content": {"parts": 5}, "index": -1}],
        [{"content": {"parts": [5, None, []]}, "index": True}],
        [{"content": {"parts": [{"text": 5}, {"text": ["x"]}]}, "index": {}}],
        [{"content": {"parts": [{"functionCall": "f"}]}, "finishReason": 5}],
        [{"content": {"parts": [{"text": 5, "thought": True}]}, "finishReason": ["STOP"]}],
    ],
    ids=json.dumps,
)
def test_a_candidate_of_junk_says_nothing(candidates: object) -> None:
    """And raises nothing."""
    junk = {"candidates": candidates, "promptFeedback": candidates, "modelVersion": 5, "responseId": [], "error": None}
    assert dialects.read(GEMINI, junk) == dialects.read(GEMINI, array(junk)) == CallFacts()


@pytest.mark.parametrize("args", [None, 5, "x", []], ids=repr)
def test_arguments_that_are_no_object_are_none(args: object) -> None:
    """A call may have none."""
    facts = dialects.read(GEMINI, chunk({"functionCall": {"name": 5, "id": 5, "args": args}}))
    assert facts.tool_calls == (ToolCall(name="", arguments="{}"),)


def test_a_body_deeper_than_python_reads_says_nothing() -> None:
    """Its recursion ends somewhere."""
    args = '{"a":' * 100_000 + "1" + "}" * 100_000
    body = f'{{"candidates":[{{"content":{{"parts":[{{"functionCall":{{"name":"f","args":{args}}}}}]}}}}]}}'
    assert dialects.read(GEMINI, body) == CallFacts()


def test_arguments_that_python_cannot_write_are_unknown() -> None:
    """Reading reaches deeper than writing."""
    args: object = 1
    for _ in range(600):
        args = {"a": args}
    facts = dialects.read(GEMINI, chunk({"functionCall": {"name": "f", "args": args}}))
    assert facts.tool_calls == (ToolCall(name="f", arguments=""),)


# -- errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "word"),
    [
        ({"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED"}, "RESOURCE_EXHAUSTED"),
        ({"code": 429, "message": "Slow down."}, "429"),
        ({"message": "Slow down."}, "error"),
        ({"code": "x", "status": 5}, "error"),
        ("invalid_grant", "invalid_grant"),
        ([5], "error"),
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("frame", [json.dumps, sse, array], ids=["plain", "sse", "array"])
def test_an_error_is_read_in_every_frame(frame: Any, error: object, word: str) -> None:
    """Its status is its word; some have only a number."""
    assert dialects.read(GEMINI, frame({"error": error})) == CallFacts(error_type=word)


@pytest.mark.parametrize(
    ("message", "overflow"),
    [
        (
            "The input token count (1200) exceeds the maximum number of tokens allowed (1000).",
            Overflow(tokens=1200, max_tokens=1000),
        ),
        ("The input token count exceeds the maximum number of tokens allowed 1000.", Overflow(max_tokens=1000)),
        ("The input token count exceeds the maximum number of tokens allowed.", Overflow()),
        (
            "Unable to submit request because the input token count is 1200 but model only supports up to 1000. Cut.",
            Overflow(tokens=1200, max_tokens=1000),
        ),
        ("The token count (1200) exceeds your patience.", None),
        (5, None),
    ],
    ids=["both", "window", "neither", "vertex", "other", "junk"],
)
def test_a_prompt_that_does_not_fit_is_an_overflow(message: object, overflow: Overflow | None) -> None:
    """Google has no word for it, only sentences."""
    error = {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}
    assert dialects.read(GEMINI, {"error": error}) == CallFacts(error_type="INVALID_ARGUMENT", overflow=overflow)


ERRORS = [
    (Failure.BAD_REQUEST, 400, "INVALID_ARGUMENT"),
    (Failure.AUTH, 400, "INVALID_ARGUMENT"),
    (Failure.NOT_FOUND, 404, "NOT_FOUND"),
    (Failure.RATE_LIMIT, 429, "RESOURCE_EXHAUSTED"),
    (Failure.SERVER_ERROR, 500, "INTERNAL"),
    (Failure.OVERLOADED, 503, "UNAVAILABLE"),
]


@pytest.mark.parametrize(("kind", "status", "word"), ERRORS, ids=[row[0] for row in ERRORS])
@pytest.mark.parametrize("asked", [PLAIN, SSE, ARRAY], ids=["plain", "sse", "array"])
def test_a_failure_is_written_in_googles_words(asked: RequestFacts, kind: Failure, status: int, word: str) -> None:
    """And read back from there."""
    answer = GEMINI.write_error(Fault(kind=kind), asked)
    assert answer.status == status
    assert dialects.read(GEMINI, answer.body) == CallFacts(error_type=word)


@pytest.mark.parametrize(
    ("asked", "media", "opening"),
    [
        (PLAIN, "application/json", b'{"error"'),
        (SSE, "text/event-stream", b'{"error"'),
        (ARRAY, "application/json", b"["),
    ],
    ids=["plain", "sse", "array"],
)
def test_a_failure_is_framed_as_google_does(asked: RequestFacts, media: str, opening: bytes) -> None:
    """A stream of events is refused in plain JSON that calls itself a stream; an array in an array."""
    answer = GEMINI.write_error(Fault(kind=Failure.SERVER_ERROR), asked)
    assert answer.content_type == media
    assert answer.body.startswith(opening)


def test_a_bad_key_is_a_bad_argument_with_a_reason() -> None:
    """So says Google AI."""
    error = json.loads(GEMINI.write_error(Fault(kind=Failure.AUTH), PLAIN).body)["error"]
    assert [detail["reason"] for detail in error["details"]] == ["API_KEY_INVALID"]


def test_a_bad_token_is_unauthenticated_at_vertex() -> None:
    """Vertex has no keys."""
    answer = GEMINI.write_error(Fault(kind=Failure.AUTH), VERTEX)
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"], error["status"]) == (401, 401, "UNAUTHENTICATED")
    assert "details" not in error


def test_a_prompt_too_long_states_both_numbers() -> None:
    """In the sentence from which they are read."""
    answer = GEMINI.write_error(Fault(kind=Failure.CONTEXT_WINDOW, tokens=1200, max_tokens=1000), PLAIN)
    assert answer.status == 400
    assert dialects.read(GEMINI, answer.body) == CallFacts(
        error_type="INVALID_ARGUMENT", overflow=Overflow(tokens=1200, max_tokens=1000)
    )


@pytest.mark.parametrize(("seconds", "written"), [(17, "17s"), (0.25, "0.25s"), (0, "0s"), (0.00001, "0.00001s")])
def test_the_wait_stands_in_the_details_and_in_no_header(seconds: float, written: str) -> None:
    """Google writes it as protobuf writes durations."""
    answer = GEMINI.write_error(Fault(kind=Failure.RATE_LIMIT, retry_after_s=seconds), PLAIN)
    assert list(answer.headers) == ["content-type"]
    assert json.loads(answer.body)["error"]["details"] == [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": written}
    ]


@pytest.mark.parametrize("kind", [kind for kind in Failure if kind is not Failure.AUTH])
def test_a_failure_without_a_wait_has_no_details(kind: Failure) -> None:
    """Nothing is stated that is not known."""
    assert "details" not in json.loads(GEMINI.write_error(Fault(kind=kind), PLAIN).body)["error"]


@pytest.mark.parametrize("asked", [SSE, ARRAY], ids=["sse", "array"])
def test_a_broken_stream_says_its_pieces_and_then_the_error(asked: RequestFacts) -> None:
    """After a status of 200, and without an end."""
    facts = CallFacts(id="r", model="m", text="One two", usage=Usage(input_tokens=3), finish_reason=FinishReason.STOP)
    answer = GEMINI.write_broken_stream(facts, ["One", " "], Fault(kind=Failure.OVERLOADED), asked)
    assert (answer.status, len(answer.chunks)) == (200, 3)
    assert dialects.read(GEMINI, answer.body) == CallFacts(id="r", model="m", text="One ", error_type="UNAVAILABLE")


# -- what is written -----------------------------------------------------------------------

FACTS = CallFacts(
    id="r",
    model="m",
    text="Hello",
    reasoning="Hm.",
    tool_calls=(ToolCall(name="add", arguments='{"a":1.50}', id="c"),),
    usage=Usage(
        input_tokens=9,
        cache_read_tokens=4,
        input_audio_tokens=1,
        output_tokens=7,
        reasoning_tokens=2,
        output_image_tokens=3,
        total_tokens=16,
    ),
    finish_reason=FinishReason.TOOL_CALLS,
    service_tier="flex",
)
TAIL = (
    '"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":5,"totalTokenCount":16,"cachedContentTokenCount":4,'
    '"thoughtsTokenCount":2,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":1}],'
    '"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":3}],"serviceTier":"flex"},'
    '"modelVersion":"m","responseId":"r"}'
)
WAY = '"usageMetadata":{"serviceTier":"flex"},"modelVersion":"m","responseId":"r"}'
STREAM_WRITTEN = [
    '{"candidates":[{"content":{"parts":[{"text":"Hm.","thought":true}],"role":"model"},"index":0}],' + WAY,
    '{"candidates":[{"content":{"parts":[{"text":"Hel"}],"role":"model"},"index":0}],' + WAY,
    '{"candidates":[{"content":{"parts":[{"text":"lo"}],"role":"model"},"index":0}],' + WAY,
    '{"candidates":[{"content":{"parts":[{"functionCall":{"id":"c","name":"add","args":{"a":1.50}}}],"role":"model"},'
    '"index":0}],' + WAY,
    '{"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"index":0,"finishReason":"STOP"}],' + TAIL,
]


def test_a_plain_answer_is_written_as_google_does() -> None:
    """One document, with the parts in their order."""
    answer = GEMINI.write_response(FACTS, PLAIN)
    assert (answer.status, answer.headers) == (200, {"content-type": "application/json; charset=UTF-8"})
    assert answer.body.decode() == (
        '{"candidates":[{"content":{"parts":[{"text":"Hm.","thought":true},{"text":"Hello"},'
        '{"functionCall":{"id":"c","name":"add","args":{"a":1.50}}}],"role":"model"},"index":0,"finishReason":"STOP"}],'
        + TAIL
    )


def test_a_stream_is_written_as_events() -> None:
    """With the finish and the usage in the last."""
    answer = GEMINI.write_stream(FACTS, ["Hel", "lo"], SSE)
    assert answer.headers == {"content-type": "text/event-stream"}
    assert [piece.decode() for piece in answer.chunks] == [f"data: {text}\r\n\r\n" for text in STREAM_WRITTEN]


def test_a_stream_is_written_as_an_array_where_no_events_are_asked_for() -> None:
    """A JSON document that comes in pieces."""
    answer = GEMINI.write_stream(FACTS, ["Hel", "lo"], ARRAY)
    assert answer.headers == {"content-type": "application/json; charset=UTF-8"}
    assert len(answer.chunks) == 5
    assert json.loads(answer.body) == [json.loads(text) for text in STREAM_WRITTEN]


def test_a_blocked_prompt_is_written_without_candidates() -> None:
    """As it was read."""
    facts = CallFacts(finish_reason=FinishReason.CONTENT_FILTER, raw_finish_reason="BLOCK:SAFETY", model="m")
    assert GEMINI.write_response(facts, PLAIN).body == (
        b'{"promptFeedback":{"blockReason":"SAFETY"},"modelVersion":"m"}'
    )
    assert dialects.read(GEMINI, GEMINI.write_stream(facts, [], SSE).body) == replace(facts, terminated=True)


def test_the_tier_is_written_in_the_place_of_the_provider() -> None:
    """Vertex calls it the type of the traffic."""
    facts = CallFacts(service_tier="ON_DEMAND")
    assert json.loads(GEMINI.write_response(facts, VERTEX).body)["usageMetadata"] == {"trafficType": "ON_DEMAND"}


@pytest.mark.parametrize("arguments", ["", "{", "5", "[1]", '"x"'])
def test_arguments_that_are_no_object_are_written_as_an_empty_one(arguments: str) -> None:
    """The wire carries nothing else."""
    body = GEMINI.write_response(CallFacts(tool_calls=(ToolCall(name="f", arguments=arguments),)), PLAIN).body
    assert json.loads(body)["candidates"][0]["content"]["parts"] == [{"functionCall": {"name": "f", "args": {}}}]


@pytest.mark.parametrize(
    ("reason", "word", "read"),
    [
        (FinishReason.STOP, "STOP", FinishReason.STOP),
        (FinishReason.LENGTH, "MAX_TOKENS", FinishReason.LENGTH),
        (FinishReason.TOOL_CALLS, "STOP", FinishReason.STOP),
        (FinishReason.CONTENT_FILTER, "SAFETY", FinishReason.CONTENT_FILTER),
        (FinishReason.REFUSAL, "SAFETY", FinishReason.CONTENT_FILTER),
        (FinishReason.ERROR, "MALFORMED_FUNCTION_CALL", FinishReason.ERROR),
        (FinishReason.UNKNOWN, "OTHER", FinishReason.UNKNOWN),
    ],
    ids=str,
)
@pytest.mark.parametrize("asked", [PLAIN, SSE, ARRAY], ids=["plain", "sse", "array"])
def test_a_reason_is_written_in_googles_nearest_word(
    asked: RequestFacts, reason: FinishReason, word: str, read: FinishReason
) -> None:
    """One that the API has no word for becomes the nearest that it has."""
    assert dialects.read(GEMINI, written(CallFacts(finish_reason=reason), [], asked)) == CallFacts(
        finish_reason=read, raw_finish_reason=word, terminated=True
    )


# -- what is written is read ---------------------------------------------------------------


def written(facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> bytes:
    """The whole answer, plain or streamed as asked."""
    answer = GEMINI.write_stream(facts, pieces, asked) if asked.stream else GEMINI.write_response(facts, asked)
    return answer.body


counts = st.integers(min_value=0, max_value=10**12)
words = st.text(min_size=1, max_size=12)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Such as ``Usage(input_tokens=9, cache_read_tokens=4, output_tokens=2, total_tokens=11)``."""

    def part_of(whole: int | None) -> int | None:
        return draw(st.none() | st.integers(min_value=0, max_value=10**12 if whole is None else whole))

    asked, produced = draw(st.none() | counts), draw(st.none() | counts)
    known = asked is not None and produced is not None
    usage = Usage.checked(
        input_tokens=asked,
        output_tokens=produced,
        # The total is what tells an output of zero from none, so it is true, or above all else.
        total_tokens=None if known else draw(st.none() | st.integers(min_value=10**13, max_value=10**14)),
        cache_read_tokens=part_of(asked),
        # Of an output that is unknown, no part is known.
        reasoning_tokens=None if produced is None else part_of(produced),
        input_audio_tokens=part_of(asked),
        input_image_tokens=part_of(asked),
        output_audio_tokens=part_of(produced),
        output_image_tokens=part_of(produced),
    )
    return usage if usage != Usage() else Usage(input_tokens=5)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
calls = st.builds(
    ToolCall,
    name=st.text(max_size=6),
    id=st.none() | words,
    arguments=st.dictionaries(st.text(max_size=4), json_values, max_size=3).map(
        lambda args: json.dumps(args, ensure_ascii=False, separators=(",", ":"))
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer, and how a stream cuts its text."""

    facts: CallFacts
    pieces: tuple[str, ...]


@st.composite
def answers(draw: st.DrawFn) -> Said:
    """An answer that Gemini can give."""
    word = draw(st.none() | st.sampled_from([*FINISHES, " ", "Stop"]))
    asked = tuple(draw(st.lists(calls, max_size=3)))
    reason = None if word is None else FINISHES.get(word, FinishReason.UNKNOWN)
    pieces = tuple(draw(st.lists(st.text(max_size=12), max_size=4)))
    facts = CallFacts(
        id=draw(st.none() | words),
        model=draw(st.none() | words),
        text="".join(pieces),
        reasoning=draw(st.text(max_size=12)),
        tool_calls=asked,
        # Before the end no count is final.
        usage=None if word is None else draw(st.none() | usages()),
        finish_reason=FinishReason.TOOL_CALLS if asked and word == "STOP" else reason,
        raw_finish_reason=word,
        service_tier=draw(st.none() | words),
        terminated=word is not None,
    )
    return Said(facts=facts, pieces=pieces)


@pytest.mark.parametrize("asked", [PLAIN, VERTEX, SSE, ARRAY], ids=["plain", "vertex", "sse", "array"])
@given(said=answers(), places=st.lists(st.integers(min_value=0, max_value=9999), max_size=8))
def test_a_gemini_answer_is_read_as_it_was_written(asked: RequestFacts, said: Said, places: list[int]) -> None:
    """Wherever the bytes are cut, every fact that the API can state survives."""
    assert dialects.read(GEMINI, written(said.facts, said.pieces, asked), places=places) == said.facts


@given(said=answers(), end=st.integers(min_value=1, max_value=4))
def test_a_gemini_stream_without_its_last_chunks_states_no_usage(said: Said, end: int) -> None:
    """Nothing in it is a count before its end."""
    chunks = GEMINI.write_stream(said.facts, said.pieces, SSE).chunks
    facts = dialects.read(GEMINI, b"".join(chunks[:-end]))
    assert (facts.usage, facts.raw_finish_reason, facts.terminated) == (None, None, False)
    assert said.facts.text.startswith(facts.text)
