"""Bedrock InvokeModel: the bodies of many vendors, and what AWS says around them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dialects
from pytest_llmtelemetry.errors import MockError
from pytest_llmtelemetry.facts import CallFacts, FinishReason, Overflow, RequestFacts, ToolCall, Usage
from pytest_llmtelemetry.wire.bedrock_invoke import BedrockEmbed, BedrockInvoke
from pytest_llmtelemetry.wire.body import BodyReader
from pytest_llmtelemetry.wire.dialect import Failure, Fault, WireAnswer
from pytest_llmtelemetry.wire.eventstream import EventStreamDecoder, encode_event, encode_exception


INVOKE, EMBED = BedrockInvoke(), BedrockEmbed()
COUNT = "x-amzn-bedrock-{}-token-count"
STOP, LENGTH, FILTER = FinishReason.STOP, FinishReason.LENGTH, FinishReason.CONTENT_FILTER


def asked_of(model: str, **body: object) -> RequestFacts:
    """What a request to ``model`` asks for."""
    return dialects.asked(INVOKE, body, path=f"/model/{model}/invoke", provider="bedrock")


def counted(**counts: object) -> dict[str, str]:
    """The headers in which AWS states the tokens."""
    return {COUNT.format(name.replace("_", "-")): str(count) for name, count in counts.items()}


def read(document: object, headers: Mapping[str, str] = {}) -> CallFacts:
    """Read a plain answer."""
    return dialects.read(INVOKE, document, headers=headers)


def chunk(document: object) -> bytes:
    """One message of a stream."""
    return encode_event("chunk", json.dumps({"bytes": base64.b64encode(json.dumps(document).encode()).decode()}))


def read_stream(*documents: object) -> CallFacts:
    """Read a stream of what the chunks hold."""
    return dialects.read(INVOKE, b"".join(map(chunk, documents)))


def metrics(**counts: int) -> dict[str, Any]:
    """What stands in the last chunk of a stream."""
    return {"amazon-bedrock-invocationMetrics": counts}


def chunks_of(answer: WireAnswer) -> list[Any]:
    """What the chunks of a stream hold."""
    frames = [list(EventStreamDecoder().feed(piece)) for piece in answer.chunks]
    assert {frame.event for [frame] in frames} == {"chunk"}
    return [json.loads(base64.b64decode(json.loads(frame.data)["bytes"])) for [frame] in frames]


def ended(said: str, word: str, reason: FinishReason = STOP, usage: Usage | None = None) -> CallFacts:
    """A whole answer."""
    return CallFacts(text=said, raw_finish_reason=word, finish_reason=reason, usage=usage, terminated=True)


def took(asked: int, produced: int) -> Usage:
    """A usage without parts."""
    return Usage(input_tokens=asked, output_tokens=produced, total_tokens=asked + produced)


# -- requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        pytest.param("/model/a.b-v1:0/invoke", "a.b-v1:0", False, id="a model"),
        pytest.param("/model/a.b/invoke-with-response-stream", "a.b", True, id="a stream"),
        pytest.param("/gateway/bedrock/model/a.b/invoke", "a.b", False, id="behind a gateway"),
        pytest.param("/model/arn:aws:x:1:embed/a.b/invoke", "arn:aws:x:1:embed/a.b", False, id="an ARN"),
    ],
)
def test_the_path_names_model_and_stream(path: str, model: str, stream: bool) -> None:
    """Neither stands in the body."""
    assert INVOKE.speaks("POST", path)
    assert not EMBED.speaks("POST", path)
    asked = dialects.asked(INVOKE, path=path, provider="bedrock")
    assert asked == RequestFacts(api="bedrock.invoke", provider="bedrock", model=model, stream=stream)


@pytest.mark.parametrize("model", ["amazon.titan-embed-text-v2:0", "us.cohere.embed-v4:0", "arn:aws:x/cohere.embed-v3"])
def test_an_embedding_is_another_operation(model: str) -> None:
    """The same API, but the name of the model says that it embeds."""
    path = f"/model/{model}/invoke"
    assert (EMBED.speaks("POST", path), INVOKE.speaks("POST", path)) == (True, False)
    assert (EMBED.api, EMBED.operation) == ("bedrock.invoke", "embeddings")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/model/a.b/invoke"),
        ("POST", "/model/a.b/converse"),
        ("POST", "/model/invoke"),
        ("POST", "/async-invoke"),
        ("POST", "/model/a.b/invoke-with-bidirectional-stream"),
        ("POST", "/models/embed/invoke"),
    ],
)
def test_other_paths_are_other_apis(method: str, path: str) -> None:
    """Only the two methods are spoken."""
    assert not INVOKE.speaks(method, path)
    assert not EMBED.speaks(method, path)


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 5}, 5),
        ({"max_tokens_to_sample": 5}, 5),
        ({"max_gen_len": 5}, 5),
        ({"maxTokens": 5}, 5),
        ({"inferenceConfig": {"maxTokens": 5}}, 5),
        ({"inferenceConfig": {"max_new_tokens": 5}}, 5),
        ({"textGenerationConfig": {"maxTokenCount": 5}}, 5),
        ({"max_tokens": "5", "inferenceConfig": [], "textGenerationConfig": {"maxTokenCount": True}}, None),
        ({}, None),
    ],
)
def test_every_vendors_limit(body: dict[str, Any], limit: int | None) -> None:
    """Each has a name of its own for it."""
    assert asked_of("a.b", **body).max_tokens == limit


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"tools": [{"name": "search", "input_schema": {}}, {"name": ""}]}, id="claude"),
        pytest.param({"tools": [{"type": "function", "function": {"name": "search"}}, 7]}, id="openai"),
        pytest.param({"toolConfig": {"tools": [{"toolSpec": {"name": "search"}}]}}, id="nova"),
    ],
)
def test_every_vendors_tools(body: dict[str, Any]) -> None:
    """Their names are offered in three shapes."""
    assert asked_of("a.b", **body).tools == ("search",)


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        pytest.param({"anthropic_version": "bedrock-2023-05-31", "messages": [{"role": "user", "content": "x"}]}, True),
        pytest.param({"inputText": "x"}, True, id="titan"),
        pytest.param({"prompt": "x", "max_gen_len": 5}, True, id="llama"),
        pytest.param({"prompt": "x", "max_tokens": 5}, True, id="mistral"),
        pytest.param({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, True, id="nova"),
        pytest.param({"messages": [{"text": "x"}]}, False, id="a messenger's"),
        pytest.param({"prompt": "x"}, False, id="a prompt alone"),
        pytest.param({"inputs": [1, 2]}, False, id="some model's"),
        pytest.param({}, False, id="nothing"),
    ],
)
def test_which_bodies_fit(body: dict[str, Any], fits: bool) -> None:
    """An application's own web API is not taken for Bedrock."""
    assert INVOKE.fits(body) is fits


@pytest.mark.parametrize(
    ("body", "fits"),
    [({"inputText": "x"}, True), ({"texts": ["x"], "input_type": "search_query"}, True), ({"texts": ["x"]}, False)],
)
def test_which_bodies_embed(body: dict[str, Any], fits: bool) -> None:
    """What is to be embedded has one of a few names."""
    assert EMBED.fits(body) is fits


# -- plain answers, vendor by vendor ---------------------------------------------------------

CLAUDE = {
    "id": "msg_bdrk_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 2},
}
NOVA = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5, "cacheReadInputTokenCount": 0},
}
COMPLETION = {
    "id": "c1",
    "object": "chat.completion",
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


@pytest.mark.parametrize(
    ("document", "facts"),
    [
        pytest.param(
            CLAUDE,
            replace(
                ended("Hi", "end_turn", usage=replace(took(7, 2), cache_read_tokens=4)),
                id="msg_bdrk_1",
                model="claude-x",
            ),
            id="claude",
        ),
        pytest.param(NOVA, ended("Hi", "end_turn", usage=replace(took(3, 2), cache_read_tokens=0)), id="nova"),
        pytest.param(COMPLETION, replace(ended("Hi", "stop", usage=took(3, 2)), id="c1", model="m"), id="openai"),
        pytest.param(
            {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "stop_reason": "length"}]},
            ended("Hi", "length", LENGTH),
            id="mistral, as openai but for one word",
        ),
        pytest.param(
            {"choices": [{"text": "Hi", "stop_reason": "stop"}, {"index": 1, "text": "Ho"}]},
            ended("Hi", "stop"),
            id="deepseek",
        ),
        pytest.param(
            {
                "object": "text_completion",
                "choices": [{"index": 0, "text": "Hi", "finish_reason": "length"}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
            },
            ended("Hi", "length", LENGTH, took(3, 2)),
            id="an endpoint of sagemaker",
        ),
        pytest.param(
            {
                "inputTextTokenCount": 3,
                "results": [{"tokenCount": 2, "outputText": "Hi", "completionReason": "FINISH"}],
            },
            ended("Hi", "FINISH", usage=took(3, 2)),
            id="titan",
        ),
        pytest.param(
            {
                "inputTextTokenCount": 3.0,
                "results": [{"tokenCount": 2.0, "outputText": "", "completionReason": "CONTENT_FILTERED"}],
            },
            ended("", "CONTENT_FILTERED", FILTER, took(3, 2)),
            id="titan, behind a guardrail",
        ),
        pytest.param(
            {"generation": "Hi", "prompt_token_count": 3, "generation_token_count": 2, "stop_reason": "length"},
            ended("Hi", "length", LENGTH, took(3, 2)),
            id="llama",
        ),
        pytest.param(
            {
                "id": "g0",
                "generations": [
                    {"id": "g1", "text": "Hi", "finish_reason": "MAX_TOKENS"},
                    {"text": "Ho", "finish_reason": "COMPLETE"},
                ],
                "prompt": "x",
            },
            ended("Hi", "MAX_TOKENS", LENGTH),
            id="command, the first of two",
        ),
        pytest.param(
            {
                "response_id": "r",
                "text": "Hi",
                "finish_reason": "COMPLETE",
                "tool_calls": [{"name": "search", "parameters": {"q": "x"}}],
            },
            replace(ended("Hi", "COMPLETE"), tool_calls=(ToolCall(name="search", arguments='{"q":"x"}'),)),
            id="command r",
        ),
        pytest.param({"outputs": [{"text": "Hi", "stop_reason": "stop"}]}, ended("Hi", "stop"), id="mistral"),
        pytest.param(
            {"type": "completion", "completion": "Hi", "stop_reason": "stop_sequence", "stop": "x"},
            ended("Hi", "stop_sequence"),
            id="claude 2",
        ),
        pytest.param(
            {"id": 7, "completions": [{"data": {"text": "Hi"}, "finishReason": {"reason": "endoftext"}}]},
            ended("Hi", "endoftext"),
            id="jurassic",
        ),
        pytest.param(
            {"embedding": [0.5, 1], "embeddingsByType": {"float": [0.5, 1]}, "inputTextTokenCount": 3},
            CallFacts(vectors=((0.5, 1.0),), usage=took(3, 0), terminated=True),
            id="titan embed",
        ),
        pytest.param(
            {"embeddings": [[0.5], [1.5]], "id": "e1", "response_type": "embeddings_floats"},
            CallFacts(id="e1", vectors=((0.5,), (1.5,)), terminated=True),
            id="cohere embed",
        ),
        pytest.param(
            {"embeddings": {"float": [[0.5]], "int8": [[1]]}, "id": "e1", "response_type": "embeddings_by_type"},
            CallFacts(id="e1", vectors=((0.5,),), terminated=True),
            id="cohere embed, of a type",
        ),
        pytest.param(
            {"embeddings": [{"embedding": [0.5], "embeddingType": "TEXT"}]},
            CallFacts(vectors=((0.5,),), terminated=True),
            id="nova embed",
        ),
    ],
)
def test_a_plain_answer(document: object, facts: CallFacts) -> None:
    """The body says whose it is."""
    assert read(document) == facts


@pytest.mark.parametrize(
    ("place", "word", "reason"),
    [
        ("results", "FINISH", STOP),
        ("results", "FINISHED", STOP),
        ("results", "STOP_CRITERIA_MET", STOP),
        ("results", "LENGTH", LENGTH),
        ("generations", "STOP_SEQUENCE", STOP),
        ("generations", "ERROR", FinishReason.ERROR),
        ("generations", "ERROR_LIMIT", LENGTH),
        ("generations", "ERROR_TOXIC", FILTER),
        ("outputs", "tomorrows_word", FinishReason.UNKNOWN),
    ],
)
def test_why_the_model_stopped(place: str, word: str, reason: FinishReason) -> None:
    """The vendors' words, of which a new one is kept."""
    key = "completionReason" if place == "results" else "finish_reason"
    assert read({place: [{"text": "x", key: word}]}) == ended("x", word, reason)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"images": ["x"]},
        {"results": "x", "generations": {}, "outputs": [7], "completions": [[]]},
        {"outputText": 7, "completionReason": [], "text": {}, "generation": None},
        {"completions": [{"data": "x", "finishReason": []}]},
        {"choices": [7, {"text": 7, "stop_reason": {}}, []]},
        {"output": [], "stopReason": 7, "usage": []},
        {"type": 7},
        {"message": {"text": "x"}},
    ],
)
def test_junk_says_nothing(document: object) -> None:
    """It neither raises nor becomes a fact."""
    assert read(document) == CallFacts()


@pytest.mark.parametrize(
    ("document", "vectors"),
    [
        ({"embedding": "x"}, ()),
        ({"embedding": []}, ()),
        ({"embedding": [1, "2"]}, ()),
        ({"embedding": [True]}, ()),
        ({"embedding": [10**400]}, ()),
        ({"embedding": [float("nan")]}, ()),
        ({"embeddings": 7}, ()),
        ({"embeddings": {"int8": [[1]]}}, ()),
        ({"embeddings": {"float": "x"}}, ()),
        ({"embeddings": [[1], None, [[]], {"embedding": [2]}, {}]}, ((1.0,), (2.0,))),
    ],
)
def test_junk_is_no_vector(document: object, vectors: tuple[tuple[float, ...], ...]) -> None:
    """Only numbers that are finite make one."""
    assert read(document) == CallFacts(vectors=vectors, terminated=True)


@pytest.mark.parametrize(
    ("document", "usage"),
    [
        ({"generation": "x", "stop_reason": "stop", "prompt_token_count": "3", "generation_token_count": 2},
         Usage(output_tokens=2, doubts=("input is '3'",))),
        ({"generation": "x", "stop_reason": "stop", "prompt_token_count": 3, "generation_token_count": -2},
         Usage(input_tokens=3, doubts=("output is '-2'",))),
        ({"inputTextTokenCount": 3.5, "results": []}, Usage(doubts=("input is '3.5'",))),
        ({"inputTextTokenCount": float("nan"), "results": []}, Usage(doubts=("input is 'NaN'",))),
        ({"embedding": [1], "inputTextTokenCount": []}, Usage(output_tokens=0, doubts=("inputTextTokenCount is '[]'",))),
    ],
)  # fmt: skip
def test_a_count_that_is_none_is_doubted(document: object, usage: Usage) -> None:
    """It is named, and never a number."""
    assert read(document).usage == usage


# -- what AWS says around them -------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "headers", "usage"),
    [
        pytest.param(
            {"completion": "x"}, counted(input=3, output=2), took(3, 2), id="where the body states nothing"
        ),
        pytest.param(
            {"completion": "x"},
            counted(input=3, output=2, cache_read_input=4, cache_write_input=1),
            replace(took(8, 2), cache_read_tokens=4, cache_write_tokens=1),
            id="the input excludes the cache",
        ),
        pytest.param(
            {**NOVA, "usage": {"inputTokens": 3}}, counted(input=9, output=2), took(3, 2), id="what the body leaves out"
        ),
        pytest.param(
            NOVA,
            counted(input=30, output=20, cache_write_input=0),
            replace(took(3, 2), cache_read_tokens=0, cache_write_tokens=0),
            id="the body comes first",
        ),
        pytest.param(
            {"embeddings": [[1]]}, counted(input=3), took(3, 0), id="an embedding has no output"
        ),
        pytest.param(
            {"completion": "x"},
            counted(input=3, output="many"),
            Usage(input_tokens=3, doubts=("outputTokenCount is 'many'",)),
            id="no number",
        ),
        pytest.param(
            {"completion": "x"},
            counted(input=3, cache_read_input="-1"),
            Usage(doubts=("cacheReadInputTokenCount is '-1'",)),
            id="a part that is no number leaves the whole unknown",
        ),
        pytest.param({"images": []}, counted(input=3, output=1), took(3, 1), id="whoever the vendor is"),
        pytest.param(
            {"generation": "x", "stop_reason": "stop", "prompt_token_count": "3", "generation_token_count": 2},
            counted(input=3, output=2),
            replace(took(3, 2), doubts=("input is '3'",)),
            id="the body is doubted all the same",
        ),
        pytest.param(
            {**CLAUDE, "usage": {"input_tokens": 3, "iterations": [{"type": "advisor_message"}]}},
            counted(input=3, output=2),
            replace(took(3, 2), partial=True, doubts=("the tokens of advisor_message iterations are not counted",)),
            id="and partial all the same",
        ),
        pytest.param({"completion": "x"}, {}, None, id="nowhere"),
    ],
)  # fmt: skip
def test_tokens_in_the_headers(document: object, headers: dict[str, str], usage: Usage | None) -> None:
    """AWS counts for all vendors."""
    assert read(document, headers).usage == usage


def test_id_and_tier_in_the_headers() -> None:
    """They are those of the call where the body has none of its own."""
    headers = {"x-amzn-requestid": "r1", "x-amzn-bedrock-service-tier": "priority"}
    facts = read({"completion": "x"}, headers)
    assert (facts.id, facts.service_tier) == ("r1", "priority")
    assert read(CLAUDE, headers).id == "msg_bdrk_1"


def test_a_guardrail_is_a_filter() -> None:
    """Vendors do not know what was done to their words; AWS says it beside them."""
    mark = {"amazon-bedrock-guardrailAction": "INTERVENED"}
    assert read(NOVA | mark).finish_reason is FILTER
    assert read(NOVA | mark).raw_finish_reason == "end_turn"
    assert read(NOVA | {"amazon-bedrock-guardrailAction": "NONE"}).finish_reason is STOP
    assert read({"completion": "cut"} | mark).finish_reason is None
    assert read({"images": []} | mark).finish_reason is FILTER


# -- streams -------------------------------------------------------------------------------

CLAUDE_EVENTS = (
    {"type": "message_start", "message": {**CLAUDE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop", **metrics(inputTokenCount=3, outputTokenCount=9)},
)


@pytest.mark.parametrize(
    ("documents", "facts"),
    [
        pytest.param(
            CLAUDE_EVENTS,
            replace(
                ended("Hi", "end_turn", usage=replace(took(7, 9), cache_read_tokens=4)),
                id="msg_bdrk_1",
                model="claude-x",
            ),
            id="claude",
        ),
        pytest.param(
            (
                {"messageStart": {"role": "assistant"}},
                {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "H"}}},
                {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "i"}}},
                {"contentBlockStop": {"contentBlockIndex": 0}},
                {"messageStop": {"stopReason": "max_tokens"}},
                {"metadata": {"usage": {"inputTokens": 3, "outputTokens": 2}}, **metrics(inputTokenCount=3)},
            ),
            ended("Hi", "max_tokens", LENGTH, took(3, 2)),
            id="nova",
        ),
        pytest.param(
            (
                {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {"content": "Hi"}}]},
                {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
                {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
            ),
            replace(ended("Hi", "stop", usage=took(3, 2)), id="c1", model="m"),
            id="openai",
        ),
        pytest.param(
            (
                {"outputText": "H", "index": 0, "inputTextTokenCount": 3.0},
                {"outputText": "i", "index": 0, "totalOutputTextTokenCount": 2.0, "completionReason": "FINISH"},
            ),
            ended("Hi", "FINISH", usage=took(3, 2)),
            id="titan",
        ),
        pytest.param(
            (
                {"generation": "H", "prompt_token_count": 3, "generation_token_count": 1, "stop_reason": None},
                {"generation": "i", "prompt_token_count": None, "generation_token_count": 2, "stop_reason": "stop"},
            ),
            ended("Hi", "stop", usage=took(3, 2)),
            id="llama",
        ),
        pytest.param(
            (
                {"is_finished": False, "event_type": "stream-start", "generation_id": "g"},
                {"text": "Hi", "is_finished": False, "event_type": "text-generation"},
                {"is_finished": True, "finish_reason": "COMPLETE", "response": {"text": "Hi"}},
                metrics(inputTokenCount=3, outputTokenCount=2, cacheReadInputTokenCount=1),
            ),
            ended("Hi", "COMPLETE", usage=replace(took(4, 2), cache_read_tokens=1)),
            id="command r",
        ),
        pytest.param(
            (
                {"completion": "Hi", "stop_reason": None},
                {"completion": "", "stop_reason": "max_tokens", **metrics(inputTokenCount=3, outputTokenCount=2)},
            ),
            ended("Hi", "max_tokens", LENGTH, took(3, 2)),
            id="claude 2",
        ),
        pytest.param(
            ({"outputs": [{"text": "H"}]}, {"outputs": [{"text": "i", "stop_reason": "length"}]}),
            ended("Hi", "length", LENGTH),
            id="mistral",
        ),
    ],
)
def test_a_stream(documents: tuple[object, ...], facts: CallFacts) -> None:
    """Each chunk holds what the vendor would send by itself."""
    assert read_stream(*documents) == facts


def test_an_answer_without_words_has_its_end() -> None:
    """Command says why it stopped in a chunk of its own."""
    assert read_stream({"is_finished": True, "finish_reason": "COMPLETE"}) == ended("", "COMPLETE")


def test_llama_counts_as_it_goes() -> None:
    """Until it says that it is over, its output is not known."""
    facts = read_stream({"generation": "H", "prompt_token_count": 3, "generation_token_count": 1, "stop_reason": None})
    assert facts == CallFacts(text="H", usage=Usage(input_tokens=3))


@pytest.mark.parametrize("damaged", ["%%%", "e30", "", "W10=", "é"])
def test_a_chunk_that_holds_nothing_is_passed_over(damaged: str) -> None:
    """The next one is read all the same."""
    body = encode_event("chunk", json.dumps({"bytes": damaged})) + chunk({"completion": "Hi"})
    assert dialects.read(INVOKE, body) == CallFacts(text="Hi")


def test_an_exception_ends_a_stream() -> None:
    """What was said before it is kept."""
    body = chunk({"completion": "Hi"}) + encode_exception("modelStreamErrorException", '{"message":"x"}')
    assert dialects.read(INVOKE, body) == CallFacts(text="Hi", error_type="modelStreamErrorException")


@pytest.mark.parametrize(
    ("body", "headers", "facts"),
    [
        pytest.param(
            {"message": "Input is too long for requested model."},
            {"x-amzn-errortype": "ValidationException:http://x"},
            CallFacts(error_type="ValidationException", overflow=Overflow()),
            id="of aws",
        ),
        pytest.param({"Message": "no"}, {}, CallFacts(error_type="error"), id="without its word"),
        pytest.param(
            {"type": "error", "error": {"type": "overloaded_error", "message": "x"}},
            {},
            CallFacts(error_type="overloaded_error"),
            id="of the vendor",
        ),
        pytest.param(
            {"embedding": [1], "message": "x"}, {}, CallFacts(vectors=((1.0,),), terminated=True), id="none at all"
        ),
    ],
)
def test_an_error(body: dict[str, Any], headers: dict[str, str], facts: CallFacts) -> None:
    """AWS has words for it; an answer that has a message beside it is none."""
    assert read(body, headers) == facts


# -- writing -------------------------------------------------------------------------------

FACTS = CallFacts(id="r1", text="Hi there", usage=took(30, 5), finish_reason=STOP)
CHAT = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("asked", "document"),
    [
        pytest.param(
            asked_of("amazon.titan-text-express-v1", inputText="Hi"),
            {
                "inputTextTokenCount": 30,
                "results": [{"tokenCount": 5, "outputText": "Hi there", "completionReason": "FINISH"}],
            },
            id="titan",
        ),
        pytest.param(
            asked_of("us.meta.llama3-1-8b-instruct-v1:0", prompt="Hi"),
            {
                "generation": "Hi there",
                "prompt_token_count": 30,
                "generation_token_count": 5,
                "stop_reason": "stop",
            },
            id="llama",
        ),
        pytest.param(
            asked_of("cohere.command-text-v14", prompt="Hi"),
            {"generations": [{"text": "Hi there", "finish_reason": "COMPLETE"}], "prompt": ""},
            id="command",
        ),
        pytest.param(
            asked_of("cohere.command-r-v1:0", message="Hi"),
            {"text": "Hi there", "chat_history": [], "finish_reason": "COMPLETE"},
            id="command r",
        ),
        pytest.param(
            asked_of("mistral.mistral-7b-instruct-v0:2", prompt="Hi"),
            {"outputs": [{"text": "Hi there", "stop_reason": "stop"}]},
            id="mistral",
        ),
        pytest.param(
            asked_of("anthropic.claude-v2:1", prompt="Hi", max_tokens_to_sample=9),
            {"type": "completion", "completion": "Hi there", "stop_reason": "stop_sequence", "stop": None},
            id="claude 2",
        ),
        pytest.param(
            asked_of("ai21.j2-mid-v1", prompt="Hi"),
            {"id": 1, "completions": [{"data": {"text": "Hi there"}, "finishReason": {"reason": "endoftext"}}]},
            id="jurassic",
        ),
        pytest.param(
            asked_of("us.deepseek.r1-v1:0", prompt="Hi"),
            {"choices": [{"index": 0, "text": "Hi there", "stop_reason": "stop"}]},
            id="deepseek",
        ),
        pytest.param(
            asked_of("us.amazon.nova-lite-v1:0", messages=CHAT),
            {
                "output": {"message": {"role": "assistant", "content": [{"text": "Hi there"}]}},
                "stopReason": "end_turn",
                "metrics": {"latencyMs": 100},
                "usage": {"inputTokens": 30, "outputTokens": 5, "totalTokens": 35},
            },
            id="nova",
        ),
    ],
)
def test_what_a_plain_answer_looks_like(asked: RequestFacts, document: dict[str, Any]) -> None:
    """It is the vendor's, and the tokens stand in the headers for all."""
    answer = INVOKE.write_response(FACTS, asked)
    assert json.loads(answer.body) == document
    assert answer.headers == {
        "content-type": "application/json",
        "x-amzn-requestid": "r1",
        "x-amzn-bedrock-input-token-count": "30",
        "x-amzn-bedrock-output-token-count": "5",
        "x-amzn-bedrock-invocation-latency": "100",
    }


ARN = "arn:aws:bedrock:eu-west-1:1:application-inference-profile/x1"


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        (asked_of("us.anthropic.claude-sonnet-4-5-v1:0", messages=CHAT), "stop_reason"),
        (asked_of(ARN, anthropic_version="x", messages=CHAT), "stop_reason"),
        (asked_of(ARN, max_tokens_to_sample=1, prompt="x"), "completion"),
        (asked_of(ARN, messages=CHAT, inferenceConfig={}), "stopReason"),
        (asked_of(ARN, prompt="x", max_gen_len=5), "generation"),
        (asked_of(ARN, inputText="x", textGenerationConfig={}), "results"),
        (asked_of(ARN, inputText="x"), "embedding"),
        (asked_of(ARN, texts=["x"]), "response_type"),
        (asked_of(ARN, messages=CHAT), "choices"),
        (asked_of("openai.gpt-oss-20b-1:0", messages=CHAT), "choices"),
        (asked_of("qwen.qwen3-32b-v1:0", messages=CHAT), "choices"),
        (asked_of("mistral.mistral-large-2407-v1:0", messages=CHAT), "choices"),
        (asked_of("ai21.jamba-1-5-mini-v1:0", messages=CHAT), "choices"),
        (asked_of("amazon.nova-2-multimodal-embeddings-v1:0", singleEmbeddingParams={}), "embeddings"),
    ],
)
def test_who_answers(asked: RequestFacts, key: str) -> None:
    """The name of the model says it, else the body of the request."""
    assert key in json.loads(INVOKE.write_response(FACTS, asked).body)


def test_what_a_stream_looks_like() -> None:
    """One chunk for each piece, and the last one has the count of AWS."""
    asked = asked_of("meta.llama3-1-8b-instruct-v1:0", prompt="Hi")
    answer = INVOKE.write_stream(replace(FACTS, service_tier="flex"), ["Hi", " there"], asked)
    assert answer.headers == {
        "content-type": "application/vnd.amazon.eventstream",
        "x-amzn-requestid": "r1",
        "x-amzn-bedrock-service-tier": "flex",
        "x-amzn-bedrock-content-type": "application/json",
    }
    empty = {"prompt_token_count": None, "generation_token_count": None, "stop_reason": None}
    assert chunks_of(answer) == [
        {"generation": "Hi", **empty},
        {"generation": " there", **empty},
        {
            "generation": "",
            "prompt_token_count": 30,
            "generation_token_count": 5,
            "stop_reason": "stop",
            "amazon-bedrock-invocationMetrics": {
                "inputTokenCount": 30,
                "outputTokenCount": 5,
                "invocationLatency": 100,
                "firstByteLatency": 100,
            },
        },
    ]


@pytest.mark.parametrize(
    ("asked", "document"),
    [
        pytest.param(
            asked_of("amazon.titan-embed-text-v2:0", inputText="x"),
            {"embedding": [0.5, 1.0], "embeddingsByType": {"float": [0.5, 1.0]}, "inputTextTokenCount": 3},
            id="titan",
        ),
        pytest.param(
            asked_of("cohere.embed-english-v3", texts=["x"]),
            {"id": "r1", "texts": ["x"], "embeddings": [[0.5, 1.0]], "response_type": "embeddings_floats"},
            id="cohere",
        ),
        pytest.param(
            asked_of("us.cohere.embed-v4:0", texts=["x"]),
            {"id": "r1", "texts": ["x"], "embeddings": {"float": [[0.5, 1.0]]}, "response_type": "embeddings_by_type"},
            id="cohere 4",
        ),
        pytest.param(
            asked_of("cohere.embed-english-v3", texts=["x"], embedding_types=["float"]),
            {"id": "r1", "texts": ["x"], "embeddings": {"float": [[0.5, 1.0]]}, "response_type": "embeddings_by_type"},
            id="cohere, asked for a type",
        ),
        pytest.param(
            asked_of("amazon.nova-2-multimodal-embeddings-v1:0", singleEmbeddingParams={}),
            {"embeddings": [{"embeddingType": "TEXT", "embedding": [0.5, 1.0]}]},
            id="nova",
        ),
    ],
)
def test_what_an_embedding_looks_like(asked: RequestFacts, document: dict[str, Any]) -> None:
    """It is the vendor's; AWS counts no output."""
    facts = CallFacts(id="r1", vectors=((0.5, 1.0),), usage=took(3, 0))
    answer = EMBED.write_response(facts, asked)
    assert json.loads(answer.body) == document
    assert "x-amzn-bedrock-output-token-count" not in answer.headers
    assert dialects.read(EMBED, answer.body, headers=answer.headers) == replace(facts, terminated=True)


@pytest.mark.parametrize(
    ("model", "facts"),
    [
        pytest.param("meta.llama3", CallFacts(tool_calls=(ToolCall(name="search"),)), id="a call of a text model"),
        pytest.param("amazon.titan-embed", CallFacts(vectors=((1.0,), (2.0,))), id="two vectors of one text"),
    ],
)
def test_what_a_model_cannot_say_is_an_error(model: str, facts: CallFacts) -> None:
    """A mock that would be silent about it would lie."""
    with pytest.raises(MockError):
        INVOKE.write_response(facts, asked_of(model))


@pytest.mark.parametrize(
    ("model", "reason", "word"),
    [
        ("amazon.titan-text", LENGTH, "LENGTH"),
        ("amazon.titan-text", FILTER, "CONTENT_FILTERED"),
        ("amazon.titan-text", FinishReason.ERROR, "FINISH"),
        ("cohere.command", FinishReason.ERROR, "ERROR"),
        ("cohere.command", FILTER, "ERROR_TOXIC"),
        ("meta.llama3", FILTER, "stop"),
        ("ai21.j2", LENGTH, "length"),
    ],
)
def test_the_nearest_word_is_written(model: str, reason: FinishReason, word: str) -> None:
    """Not every vendor has a word for every reason."""
    answer = INVOKE.write_response(CallFacts(text="x", finish_reason=reason), asked_of(model))
    assert read(answer.body).raw_finish_reason == word


ASKED = asked_of("anthropic.claude-x", messages=CHAT)
FAULTS = {
    Failure.BAD_REQUEST: (400, "ValidationException", "validationException"),
    Failure.AUTH: (403, "UnrecognizedClientException", "validationException"),
    Failure.NOT_FOUND: (404, "ResourceNotFoundException", "validationException"),
    Failure.CONTEXT_WINDOW: (400, "ValidationException", "validationException"),
    Failure.RATE_LIMIT: (429, "ThrottlingException", "throttlingException"),
    Failure.SERVER_ERROR: (500, "InternalServerException", "internalServerException"),
    Failure.OVERLOADED: (503, "ServiceUnavailableException", "serviceUnavailableException"),
}


@pytest.mark.parametrize("kind", Failure)
def test_a_failure_comes_back(kind: Failure) -> None:
    """It is written as AWS does, whoever the vendor is."""
    fault = Fault(kind=kind, tokens=12, max_tokens=9)
    overflow = Overflow(tokens=12, max_tokens=9) if kind is Failure.CONTEXT_WINDOW else None
    status, error, exception = FAULTS[kind]
    answer = INVOKE.write_error(fault, ASKED)
    assert answer.status == status
    assert read(answer.body, answer.headers) == CallFacts(error_type=error, overflow=overflow)
    broken = INVOKE.write_broken_stream(CallFacts(), [], fault, ASKED)
    assert (broken.status, read(broken.body)) == (200, CallFacts(error_type=exception, overflow=overflow))


# -- round trips ---------------------------------------------------------------------------

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
counts = st.integers(min_value=0, max_value=10**12)


@dataclass(frozen=True)
class Vendor:
    """Who answers, and what it can say."""

    asked: RequestFacts
    words: Mapping[str, FinishReason]
    tools: bool = False
    names_model: bool = False
    reasons: bool = False
    """It shows what the model says to itself."""


TEXT_WORDS = {"stop": STOP, "length": LENGTH, "tomorrows_word": FinishReason.UNKNOWN}
VENDORS = {
    "claude": Vendor(
        ASKED,
        {"end_turn": STOP, "max_tokens": LENGTH, "tool_use": FinishReason.TOOL_CALLS, "refusal": FinishReason.REFUSAL},
        tools=True,
        names_model=True,
        reasons=True,
    ),
    "nova": Vendor(
        asked_of("amazon.nova-lite-v1:0", messages=CHAT),
        {"end_turn": STOP, "max_tokens": LENGTH, "content_filtered": FILTER},
        tools=True,
        reasons=True,
    ),
    "openai": Vendor(
        asked_of("openai.gpt-oss-20b-1:0", messages=CHAT),
        {"stop": STOP, "length": LENGTH, "content_filter": FILTER},
        tools=True,
        names_model=True,
        reasons=True,
    ),
    "titan": Vendor(
        asked_of("amazon.titan-text-express-v1", inputText="x"),
        {"FINISH": STOP, "LENGTH": LENGTH, "CONTENT_FILTERED": FILTER},
    ),
    "llama": Vendor(asked_of("meta.llama3-8b", prompt="x"), TEXT_WORDS),
    "command": Vendor(asked_of("cohere.command-text-v14", prompt="x"), {"COMPLETE": STOP, "ERROR": FinishReason.ERROR}),
    "command r": Vendor(asked_of("cohere.command-r-v1:0", message="x"), {"COMPLETE": STOP, "MAX_TOKENS": LENGTH}),
    "mistral": Vendor(asked_of("mistral.mistral-7b", prompt="x"), TEXT_WORDS),
    "claude 2": Vendor(
        asked_of("anthropic.claude-v2", max_tokens_to_sample=1), {"stop_sequence": STOP, "max_tokens": LENGTH}
    ),
    "jurassic": Vendor(asked_of("ai21.j2-ultra-v1", prompt="x"), {"endoftext": STOP, "length": LENGTH}),
    "deepseek": Vendor(asked_of("deepseek.r1-v1:0", prompt="x"), TEXT_WORDS),
}


@st.composite
def usages(draw: st.DrawFn) -> Usage | None:
    """Such as ``Usage(input_tokens=9, cache_read_tokens=4, output_tokens=2, total_tokens=11)``."""
    fresh, produced = draw(st.none() | counts), draw(st.none() | counts)
    read, written = (None, None) if fresh is None else (draw(st.none() | counts), draw(st.none() | counts))
    asked = None if fresh is None else fresh + (read or 0) + (written or 0)
    usage = Usage(
        input_tokens=asked,
        output_tokens=produced,
        total_tokens=None if asked is None or produced is None else asked + produced,
        cache_read_tokens=read,
        cache_write_tokens=written,
    )
    return None if usage == Usage() else usage


@st.composite
def answers(draw: st.DrawFn, vendor: Vendor) -> tuple[CallFacts, list[str]]:
    """Such as ``(CallFacts(text="Hi", terminated=True, ...), ["H", "i"])``."""
    pieces = draw(st.lists(words, max_size=3))
    arguments = st.dictionaries(words, words, max_size=2).map(
        lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    )
    calls = st.lists(st.builds(ToolCall, name=words, arguments=arguments, id=words), max_size=2 if vendor.tools else 0)
    word = draw(st.sampled_from(sorted(vendor.words)))
    facts = CallFacts(
        id=draw(st.none() | words),
        model=draw(st.none() | words) if vendor.names_model else None,
        text="".join(pieces),
        reasoning=draw(st.just("") | words) if vendor.reasons else "",
        tool_calls=tuple(draw(calls)),
        usage=draw(usages()),
        finish_reason=draw(st.sampled_from([vendor.words[word], vendor.words[word], FILTER])),
        raw_finish_reason=word,
        service_tier=draw(st.none() | words),
        terminated=True,
    )
    return facts, pieces


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS.keys())
@settings(max_examples=40)  # for each of eleven vendors
@given(data=st.data(), places=st.lists(st.integers(min_value=0), max_size=4))
def test_an_answer_comes_back(vendor: Vendor, data: st.DataObject, places: list[int]) -> None:
    """What is written is read, plain and streamed, however it is cut."""
    facts, pieces = data.draw(answers(vendor))
    for answer in (
        INVOKE.write_response(facts, vendor.asked),
        INVOKE.write_stream(facts, pieces, vendor.asked),
    ):
        assert dialects.read(INVOKE, answer.body, headers=answer.headers, places=places) == facts


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS.keys())
def test_a_stream_that_breaks(vendor: Vendor) -> None:
    """It says what it said, then what went wrong, and has no end."""
    facts = CallFacts(text="Hi there", usage=took(3, 2), finish_reason=STOP)
    answer = INVOKE.write_broken_stream(facts, ["Hi", " th"], Fault(kind=Failure.OVERLOADED), vendor.asked)
    assert read(answer.body) == CallFacts(text="Hi th", error_type="serviceUnavailableException")


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS.keys())
def test_a_stream_cut_short_states_no_wrong_count(vendor: Vendor) -> None:
    """A count is the final one or none."""
    facts = CallFacts(text="Hi there", usage=took(3, 2), finish_reason=STOP)
    body = INVOKE.write_stream(facts, ["Hi", " there"], vendor.asked).body
    usages = {read(body[:end]).usage for end in range(0, len(body), 3)}
    assert usages <= {None, Usage(input_tokens=3), took(3, 2)}


def test_claude_breaks_before_its_end() -> None:
    """None of the events that close a message is sent."""
    answer = INVOKE.write_broken_stream(CallFacts(), ["Hi", "!"], Fault(kind=Failure.OVERLOADED), ASKED)
    assert [event["type"] for event in chunks_of(replace(answer, chunks=answer.chunks[:-1]))] == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
    ]


def test_the_first_token_is_seen() -> None:
    """The time to it is measured from what the vendor's chunk says."""
    reader = BodyReader(INVOKE.draft())
    seen = []
    for document in ({"messageStart": {"role": "assistant"}}, {"contentBlockDelta": {"delta": {"text": "Hi"}}}):
        reader.feed(chunk(document))
        seen.append(reader.has_content)
    assert seen == [False, True]


def test_every_cut_of_a_stream_is_the_same() -> None:
    """Two pieces, cut at any byte."""
    body = b"".join(map(chunk, CLAUDE_EVENTS))
    whole = dialects.read(INVOKE, body)
    assert whole.usage == replace(took(7, 9), cache_read_tokens=4)
    wrong = [at for at in range(len(body)) if dialects.read(INVOKE, body, places=[at]) != whole]
    assert wrong == []


# -- botocore ------------------------------------------------------------------------------


def test_boto3_reads_a_stream() -> None:
    """Its events are those that the service declares, and hold the vendor's bytes."""
    model = pytest.importorskip("botocore.model")
    loader = pytest.importorskip("botocore.loaders").Loader()
    service = model.ServiceModel(loader.load_service_model("bedrock-runtime", "service-2"), "bedrock-runtime")
    shape = service.operation_model("InvokeModelWithResponseStream").output_shape.members["body"]
    parser = pytest.importorskip("botocore.parsers").create_parser("rest-json")._event_stream_parser
    buffer = pytest.importorskip("botocore.eventstream").EventStreamBuffer()
    asked = asked_of("mistral.mistral-7b", prompt="x")
    answer = INVOKE.write_broken_stream(CallFacts(), ["Hi"], Fault(kind=Failure.RATE_LIMIT), asked)
    buffer.add_data(answer.body)
    said, broken = (parser.parse(event.to_response_dict(), shape) for event in buffer)
    assert said == {"chunk": {"bytes": b'{"outputs":[{"text":"Hi","stop_reason":null}]}'}}
    assert broken["Error"] == {
        "Code": "throttlingException",
        "Message": "Too many requests, please wait before trying again.",
    }
