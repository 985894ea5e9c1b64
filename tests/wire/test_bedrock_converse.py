"""Bedrock Converse, plain and as an AWS event stream."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dialects
from pytest_llmtelemetry.facts import CallFacts, FinishReason, Overflow, RequestFacts, ToolCall, Usage
from pytest_llmtelemetry.wire.bedrock_converse import BedrockConverse
from pytest_llmtelemetry.wire.dialect import Failure, Fault, WireAnswer
from pytest_llmtelemetry.wire.eventstream import EventStreamDecoder, encode_event, encode_exception


CONVERSE = BedrockConverse()
MODEL = "us.example.model-v1:0"
PATH = f"/model/{MODEL}/converse"
ASKED = dialects.asked(CONVERSE, path=PATH, provider="bedrock")


def read(document: object, headers: Mapping[str, str] = {}) -> CallFacts:
    """Read a plain answer."""
    return dialects.read(CONVERSE, document, headers=headers)


def plain(*blocks: Mapping[str, Any], **more: object) -> dict[str, Any]:
    """A plain answer that says ``blocks``."""
    return {"output": {"message": {"role": "assistant", "content": list(blocks)}}, **more}


def read_stream(*events: tuple[str, Mapping[str, Any]]) -> CallFacts:
    """Read a stream of events, each with its name."""
    return dialects.read(CONVERSE, b"".join(encode_event(name, json.dumps(event)) for name, event in events))


def delta(place: int, **said: object) -> tuple[str, dict[str, Any]]:
    """A piece of the block at ``place``."""
    return "contentBlockDelta", {"contentBlockIndex": place, "delta": said}


def start(place: int, **call: object) -> tuple[str, dict[str, Any]]:
    """The begin of a tool call at ``place``."""
    return "contentBlockStart", {"contentBlockIndex": place, "start": {"toolUse": call}}


def stop(word: str) -> tuple[str, dict[str, Any]]:
    """The end of the message."""
    return "messageStop", {"stopReason": word}


def events_of(answer: WireAnswer) -> list[tuple[str, Any]]:
    """What a stream says, one event to a chunk."""
    frames = [list(EventStreamDecoder().feed(chunk)) for chunk in answer.chunks]
    return [(frame.event, json.loads(frame.data)) for [frame] in frames]


# -- requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        pytest.param("/model/a.b-v1:0/converse", "a.b-v1:0", False, id="a model"),
        pytest.param("/model/a.b-v1:0/converse-stream", "a.b-v1:0", True, id="a stream"),
        pytest.param("/bedrock/model/a.b/converse/", "a.b", False, id="behind a gateway"),
        pytest.param(
            "/model/arn:aws:bedrock:eu-west-1:1:inference-profile/eu.a.b/converse",
            "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.a.b",
            False,
            id="an ARN",
        ),
    ],
)
def test_the_path_names_model_and_stream(path: str, model: str, stream: bool) -> None:
    """Neither stands in the body."""
    asked = dialects.asked(CONVERSE, path=path, provider="bedrock")
    assert CONVERSE.speaks("POST", path)
    assert asked == RequestFacts(api="bedrock.converse", provider="bedrock", model=model, stream=stream)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/model/a.b/converse"),
        ("POST", "/model/a.b/invoke"),
        ("POST", "/model/a.b/count-tokens"),
        ("POST", "/model/converse"),
        ("POST", "/model//converse"),
        ("POST", "/models/a.b/converse"),
        ("POST", "/model/a.b/converse-stream/more"),
        ("POST", "/v1/converse"),
    ],
)
def test_other_paths_are_other_apis(method: str, path: str) -> None:
    """Only the two methods of Converse are spoken."""
    assert not CONVERSE.speaks(method, path)


def test_a_request_states_its_limit_and_its_tools() -> None:
    """Tools that run on the server have no specification."""
    body = {
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "inferenceConfig": {"maxTokens": 5},
        "toolConfig": {"tools": [{"toolSpec": {"name": "search"}}, {"systemTool": {"name": "x"}}, {"cachePoint": {}}]},
    }
    asked = dialects.asked(CONVERSE, body, path=PATH, provider="bedrock")
    assert asked == RequestFacts(
        api="bedrock.converse", provider="bedrock", model=MODEL, max_tokens=5, tools=("search",)
    )
    assert asked.body == body


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inferenceConfig": [], "toolConfig": "x"},
        {"inferenceConfig": {"maxTokens": "5"}, "toolConfig": {"tools": [{"toolSpec": []}, 7]}},
        {"inferenceConfig": {"maxTokens": True}, "toolConfig": {"tools": {"toolSpec": {"name": "x"}}}},
    ],
)
def test_junk_in_a_request_states_nothing(body: dict[str, Any]) -> None:
    """What is not as the API says is as if it were not there."""
    assert dialects.asked(CONVERSE, body, path=PATH, provider="bedrock") == ASKED


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        pytest.param({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}, True, id="a text"),
        pytest.param(
            {"messages": [{"role": "user", "content": [{"toolResult": {}}, {"text": "x"}]}]}, True, id="tools"
        ),
        pytest.param({"messages": [{"role": "user", "content": "Hi"}]}, False, id="a text without a block"),
        pytest.param({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}, False, id="typed"),
        pytest.param({"messages": ["Hi"]}, False, id="no messages"),
        pytest.param({"messages": []}, False, id="no message"),
        pytest.param({"text": "Hi"}, False, id="a translator's"),
        pytest.param({}, False, id="nothing"),
    ],
)
def test_which_bodies_fit(body: dict[str, Any], fits: bool) -> None:
    """An application's own web API is not taken for Bedrock."""
    assert CONVERSE.fits(body) is fits


# -- plain answers -------------------------------------------------------------------------


def test_a_plain_answer() -> None:
    """All that it says is read; its model stands in the request alone."""
    document = plain(
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
        {"text": "Hi"},
        {"text": " there"},
        {"toolUse": {"toolUseId": "t1", "name": "search", "input": {"q": "x", "n": 1.5}}},
        stopReason="tool_use",
        usage={"inputTokens": 7, "outputTokens": 3, "totalTokens": 10},
        metrics={"latencyMs": 5},
        serviceTier={"type": "flex"},
    )
    assert read(document, {"x-amzn-requestid": "r1"}) == CallFacts(
        id="r1",
        text="Hi there",
        reasoning="hm",
        tool_calls=(ToolCall(id="t1", name="search", arguments='{"q":"x","n":1.5}'),),
        usage=Usage(input_tokens=7, output_tokens=3, total_tokens=10),
        finish_reason=FinishReason.TOOL_CALLS,
        raw_finish_reason="tool_use",
        service_tier="flex",
        terminated=True,
    )


def test_an_answer_without_words_is_empty() -> None:
    """What nobody states stays unknown."""
    assert read(plain()) == CallFacts()


@pytest.mark.parametrize(
    ("block", "facts"),
    [
        pytest.param(
            {"citationsContent": {"content": [{"text": "So"}, {"text": " it is"}], "citations": [{"title": "x"}]}},
            CallFacts(text="So it is"),
            id="a text with its sources",
        ),
        pytest.param({"reasoningContent": {"redactedContent": "eA=="}}, CallFacts(), id="hidden thoughts"),
        pytest.param(
            {"toolUse": {"toolUseId": "t", "name": "interpreter", "input": {"x": 1}, "type": "server_tool_use"}},
            CallFacts(),
            id="a tool that runs on the server",
        ),
        pytest.param(
            {"toolUse": {"toolUseId": "t", "name": "now", "input": {}, "type": "tool_use"}},
            CallFacts(tool_calls=(ToolCall(id="t", name="now", arguments="{}"),)),
            id="a tool without arguments",
        ),
        pytest.param({"toolResult": {"toolUseId": "t", "content": [{"text": "x"}]}}, CallFacts(), id="a tool's result"),
        pytest.param({"text": 7, "toolUse": [], "reasoningContent": {"reasoningText": "x"}}, CallFacts(), id="junk"),
    ],
)
def test_what_a_block_says(block: dict[str, Any], facts: CallFacts) -> None:
    """A block is a text, a thought, a call, or nothing for the client to act on."""
    assert read(plain(block)) == facts


def test_a_prompt_router_names_the_model() -> None:
    """Only a router says in its answer which model it chose."""
    document = plain({"text": "x"}, trace={"promptRouter": {"invokedModelId": "arn:aws:bedrock:::a.b"}})
    assert read(document) == CallFacts(text="x", model="arn:aws:bedrock:::a.b")


def test_a_gateways_estimate_is_no_cost() -> None:
    """The provider states none."""
    usage = {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10, "gateway": {"cost_estimate": 0.1}}
    assert read(plain(usage=usage)).stated_cost_usd is None


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("tool_use", FinishReason.TOOL_CALLS),
        ("content_filtered", FinishReason.CONTENT_FILTER),
        ("guardrail_intervened", FinishReason.CONTENT_FILTER),
        ("malformed_model_output", FinishReason.ERROR),
        ("malformed_tool_use", FinishReason.ERROR),
        ("tomorrows_word", FinishReason.UNKNOWN),
    ],
)
def test_why_the_model_stopped(word: str, reason: FinishReason) -> None:
    """Every word of the API has its meaning, and a new one is kept."""
    facts = CallFacts(finish_reason=reason, raw_finish_reason=word, terminated=True)
    assert read(plain(stopReason=word)) == facts
    assert read_stream(stop(word)) == facts


@pytest.mark.parametrize(
    ("stated", "usage"),
    [
        pytest.param({}, None, id="nothing"),
        pytest.param({"serverToolUsage": {}}, None, id="no token"),
        pytest.param(
            {"inputTokens": 2, "outputTokens": 5, "totalTokens": 27, "cacheReadInputTokens": 20},
            Usage(input_tokens=22, output_tokens=5, total_tokens=27, cache_read_tokens=20),
            id="input excludes what the cache served",
        ),
        pytest.param(
            {"inputTokens": 2, "outputTokens": 5, "totalTokens": 37, "cacheWriteInputTokens": 30},
            Usage(input_tokens=32, output_tokens=5, total_tokens=37, cache_write_tokens=30),
            id="and what it took",
        ),
        pytest.param(
            {
                "inputTokens": 2,
                "outputTokens": 5,
                "cacheReadInputTokens": 20,
                "cacheReadInputTokenCount": 20,
                "cacheWriteInputTokens": 0,
                "cacheWriteInputTokenCount": 0,
            },
            Usage(input_tokens=22, output_tokens=5, total_tokens=27, cache_read_tokens=20, cache_write_tokens=0),
            id="stated twice, counted once",
        ),
        pytest.param(
            {"inputTokens": 1, "outputTokens": 1, "cacheReadInputTokenCount": 4, "cacheWriteInputTokenCount": 3},
            Usage(input_tokens=8, output_tokens=1, total_tokens=9, cache_read_tokens=4, cache_write_tokens=3),
            id="in Nova's words",
        ),
        pytest.param(
            {
                "inputTokens": 1,
                "outputTokens": 1,
                "cacheWriteInputTokens": 9,
                "cacheDetails": [{"ttl": "1h", "inputTokens": 4}, {"ttl": "5m", "inputTokens": 5}],
            },
            Usage(input_tokens=10, output_tokens=1, total_tokens=11, cache_write_tokens=9, cache_write_1h_tokens=4),
            id="kept for an hour",
        ),
        pytest.param(
            {"inputTokens": 1, "cacheWriteInputTokens": 9, "cacheDetails": [{"ttl": "5m", "inputTokens": 9}]},
            Usage(input_tokens=10, cache_write_tokens=9),
            id="kept for five minutes",
        ),
        pytest.param({"outputTokens": 5}, Usage(output_tokens=5), id="the output alone"),
        pytest.param(
            {"inputTokens": 2, "outputTokens": 5, "cacheReadInputTokens": "20"},
            Usage(output_tokens=5, doubts=("cacheReadInputTokens is '20'",)),
            id="a part that is no number",
        ),
        pytest.param(
            {"inputTokens": -2, "outputTokens": 1.5, "totalTokens": True},
            Usage(doubts=("inputTokens is '-2'", "outputTokens is '1.5'", "totalTokens is 'True'")),
            id="no counts at all",
        ),
        pytest.param(
            {
                "inputTokens": 1,
                "cacheWriteInputTokens": 9,
                "cacheDetails": [{"ttl": "1h", "inputTokens": None}, {"ttl": "1h", "inputTokens": []}, 7],
            },
            Usage(input_tokens=10, cache_write_tokens=9, doubts=("inputTokens is '[]'",)),
            id="details that say nothing",
        ),
        pytest.param(
            {"inputTokens": 1, "cacheWriteInputTokens": 2, "cacheDetails": [{"ttl": "1h", "inputTokens": 3}]},
            Usage(input_tokens=3, cache_write_tokens=2, doubts=("3 one-hour tokens of 2 cache writes",)),
            id="more of an hour than was written",
        ),
        pytest.param([1], None, id="no usage"),
    ],
)
def test_usage(stated: object, usage: Usage | None) -> None:
    """The input includes the cache, and what makes no sense is named."""
    assert read(plain(usage=stated)).usage == usage


# -- streams -------------------------------------------------------------------------------


def test_a_stream() -> None:
    """The same facts, in pieces; a text has no start."""
    facts = read_stream(
        ("messageStart", {"role": "assistant", "p": "abc"}),
        delta(0, reasoningContent={"text": "h"}),
        delta(0, reasoningContent={"text": "m"}),
        delta(0, reasoningContent={"signature": "s"}),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        delta(1, text="Hi"),
        delta(1, text=""),
        delta(1, text=" there"),
        ("contentBlockStop", {"contentBlockIndex": 1}),
        start(2, toolUseId="t1", name="search"),
        delta(2, toolUse={"input": ""}),
        delta(2, toolUse={"input": '{"q":'}),
        delta(2, toolUse={"input": '"x"}'}),
        ("contentBlockStop", {"contentBlockIndex": 2}),
        start(3, toolUseId="t2", name="now"),
        delta(3, toolUse={"input": ""}),
        ("contentBlockStop", {"contentBlockIndex": 3}),
        stop("tool_use"),
        (
            "metadata",
            {
                "usage": {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10},
                "metrics": {"latencyMs": 5},
                "serviceTier": {"type": "priority"},
            },
        ),
    )
    assert facts == CallFacts(
        text="Hi there",
        reasoning="hm",
        tool_calls=(
            ToolCall(id="t1", name="search", arguments='{"q":"x"}'),
            ToolCall(id="t2", name="now", arguments="{}"),
        ),
        usage=Usage(input_tokens=7, output_tokens=3, total_tokens=10),
        finish_reason=FinishReason.TOOL_CALLS,
        raw_finish_reason="tool_use",
        service_tier="priority",
        terminated=True,
    )


def test_a_tool_of_the_server_is_no_call() -> None:
    """Nova's code interpreter asks nothing of the client, nor does its result."""
    facts = read_stream(
        start(0, toolUseId="t1", name="interpreter", type="server_tool_use"),
        delta(0, toolUse={"input": '{"snippet":"1"}'}),
        ("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolResult": {"toolUseId": "t1"}}}),
        delta(1, toolResult=[{"json": {"x": 1}}]),
        start(2, toolUseId="t2", name="answer", type="tool_use"),
        delta(2, toolUse={"input": '{"x":1}'}),
        stop("tool_use"),
    )
    assert facts.tool_calls == (ToolCall(id="t2", name="answer", arguments='{"x":1}'),)


def test_a_stream_that_is_cut_has_no_end() -> None:
    """What came until then is kept, the usage is unknown."""
    facts = read_stream(("messageStart", {"role": "assistant"}), delta(0, text="Hi"), start(1, toolUseId="t", name="n"))
    assert facts == CallFacts(text="Hi", tool_calls=(ToolCall(id="t", name="n", arguments=""),))


def test_unknown_events_pass() -> None:
    """What the API will say tomorrow is no error."""
    assert read_stream(("notice", {"message": "soon"}), ("contentBlockDelta", {"delta": {"image": {}}})) == CallFacts()


@pytest.mark.parametrize(
    "event",
    [
        {"contentBlockIndex": "0", "delta": "x"},
        {"contentBlockIndex": None, "start": {"toolUse": []}},
        {"contentBlockIndex": [], "delta": {"toolUse": {"input": "x"}}},
        {"contentBlockIndex": True, "delta": {"text": ["x"], "reasoningContent": 7}},
        {"stopReason": {}, "usage": "x", "serviceTier": [], "trace": {"promptRouter": 7}},
    ],
)
def test_junk_in_an_event_says_nothing(event: dict[str, Any]) -> None:
    """It neither raises nor becomes a fact."""
    assert read_stream(("contentBlockDelta", event)) == CallFacts()


# -- errors --------------------------------------------------------------------------------

THROTTLED = "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/"


@pytest.mark.parametrize(
    ("body", "headers", "error"),
    [
        pytest.param({"message": "slow"}, {"x-amzn-errortype": THROTTLED}, "ThrottlingException", id="in the headers"),
        pytest.param(
            {}, {"x-amzn-errortype": "AccessDeniedException"}, "AccessDeniedException", id="without a message"
        ),
        pytest.param({"message": "The model is not there."}, {}, "error", id="a message alone"),
        pytest.param({"Message": "No."}, {}, "error", id="a capital letter"),
        pytest.param({"__type": "a.b#AccessDeniedException"}, {}, "AccessDeniedException", id="in the body"),
        pytest.param({"__type": "ValidationException", "message": "x"}, {}, "ValidationException", id="unqualified"),
        pytest.param({"message": "x"}, {"x-amzn-errortype": ":http://x"}, "error", id="an empty header"),
    ],
)
def test_an_error(body: dict[str, Any], headers: dict[str, str], error: str) -> None:
    """AWS has a word for it, mostly in the headers."""
    assert read(body, headers) == CallFacts(error_type=error)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(plain({"text": "x"}, message="fine"), id="beside an answer"),
        pytest.param({"message": {"role": "assistant"}}, id="an object"),
        pytest.param({"message": ""}, id="an empty one"),
        pytest.param({"message": None, "__type": 7}, id="none"),
    ],
)
def test_not_every_message_is_an_error(document: dict[str, Any]) -> None:
    """An answer is not taken for a failure because a key has that name."""
    assert read(document).error_type is None


@pytest.mark.parametrize(
    ("message", "overflow"),
    [
        ("prompt is too long: 210000 tokens > 200000 maximum", Overflow(tokens=210_000, max_tokens=200_000)),
        ("Too many input tokens. Max input tokens: 8192, request input token count: 9000", Overflow(tokens=9000, max_tokens=8192)),
        ("This model's maximum context length is 8192 tokens. Please reduce the prompt", Overflow(max_tokens=8192)),
        ("Input is too long for requested model.", Overflow()),
        ("Input Tokens Exceeded: Number of input tokens exceeds maximum length.", Overflow()),
        ("Too many tokens, please wait before trying again.", None),
        ("The provided model identifier is invalid.", None),
    ],
)  # fmt: skip
def test_a_prompt_that_is_too_long(message: str, overflow: Overflow | None) -> None:
    """Each vendor has a sentence for it; a quota of tokens is another matter."""
    assert read({"message": message}) == CallFacts(error_type="error", overflow=overflow)
    stream = encode_exception("validationException", json.dumps({"message": message}))
    assert dialects.read(CONVERSE, stream) == CallFacts(error_type="validationException", overflow=overflow)


def test_an_exception_ends_a_stream() -> None:
    """What was said before it is kept."""
    body = encode_event(*_dumped(delta(0, text="Hi"))) + encode_exception(
        "modelStreamErrorException", '{"message":"x"}'
    )
    assert dialects.read(CONVERSE, body) == CallFacts(text="Hi", error_type="modelStreamErrorException")


def _dumped(event: tuple[str, Mapping[str, Any]]) -> tuple[str, str]:
    return event[0], json.dumps(event[1])


# -- writing -------------------------------------------------------------------------------

FACTS = CallFacts(
    id="r1",
    text="Hi there",
    reasoning="hm",
    tool_calls=(ToolCall(id="t1", name="search", arguments='{"q":"x"}'), ToolCall(name="now")),
    usage=Usage(
        input_tokens=50,
        output_tokens=3,
        total_tokens=53,
        cache_read_tokens=20,
        cache_write_tokens=10,
        cache_write_1h_tokens=4,
    ),
    finish_reason=FinishReason.TOOL_CALLS,
    service_tier="flex",
)
METADATA = {
    "metrics": {"latencyMs": 100},
    "usage": {
        "inputTokens": 20,
        "outputTokens": 3,
        "totalTokens": 53,
        "cacheReadInputTokens": 20,
        "cacheWriteInputTokens": 10,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 4}, {"ttl": "5m", "inputTokens": 6}],
    },
    "serviceTier": {"type": "flex"},
}


def test_what_a_plain_answer_looks_like() -> None:
    """It is what the service sends, the id in its header."""
    answer = CONVERSE.write_response(FACTS, ASKED)
    assert (answer.status, answer.headers) == (200, {"content-type": "application/json", "x-amzn-requestid": "r1"})
    assert json.loads(answer.body) == METADATA | {
        "output": {
            "message": {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "hm"}}},
                    {"text": "Hi there"},
                    {"toolUse": {"toolUseId": "t1", "name": "search", "input": {"q": "x"}}},
                    {"toolUse": {"toolUseId": "tooluse_1", "name": "now", "input": {}}},
                ],
            }
        },
        "stopReason": "tool_use",
    }


@pytest.mark.parametrize(
    ("model", "trace"),
    [
        pytest.param(None, None, id="none"),
        pytest.param(MODEL, None, id="the one that was asked"),
        pytest.param("a.b", {"promptRouter": {"invokedModelId": "a.b"}}, id="another"),
    ],
)
def test_only_another_model_is_named(model: str | None, trace: object) -> None:
    """As by a prompt router, for nobody else names one."""
    answer = CONVERSE.write_response(CallFacts(model=model, text="x"), ASKED)
    assert json.loads(answer.body).get("trace") == trace


def test_what_a_stream_looks_like() -> None:
    """One chunk is one event, and the usage comes last."""
    answer = CONVERSE.write_stream(FACTS, ["Hi", " there"], ASKED)
    assert answer.headers == {"content-type": "application/vnd.amazon.eventstream", "x-amzn-requestid": "r1"}
    assert events_of(answer) == [
        ("messageStart", {"role": "assistant"}),
        delta(0, reasoningContent={"text": "hm"}),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        delta(1, text="Hi"),
        delta(1, text=" there"),
        ("contentBlockStop", {"contentBlockIndex": 1}),
        start(2, toolUseId="t1", name="search"),
        delta(2, toolUse={"input": '{"q":"x"}'}),
        ("contentBlockStop", {"contentBlockIndex": 2}),
        start(3, toolUseId="tooluse_1", name="now"),
        delta(3, toolUse={"input": "{}"}),
        ("contentBlockStop", {"contentBlockIndex": 3}),
        stop("tool_use"),
        ("metadata", METADATA),
    ]


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (FinishReason.STOP, "end_turn"),
        (FinishReason.LENGTH, "max_tokens"),
        (FinishReason.TOOL_CALLS, "tool_use"),
        (FinishReason.CONTENT_FILTER, "content_filtered"),
        (FinishReason.REFUSAL, "content_filtered"),
        (FinishReason.ERROR, "malformed_model_output"),
        (FinishReason.UNKNOWN, "end_turn"),
    ],
)
def test_the_nearest_word_is_written(reason: FinishReason, word: str) -> None:
    """Each meaning has a word, also those that the API does not tell apart."""
    assert json.loads(CONVERSE.write_response(CallFacts(finish_reason=reason), ASKED).body)["stopReason"] == word


FAULTS = {
    Failure.BAD_REQUEST: (400, "ValidationException", "validationException"),
    Failure.AUTH: (403, "UnrecognizedClientException", "validationException"),
    Failure.NOT_FOUND: (404, "ResourceNotFoundException", "validationException"),
    Failure.CONTEXT_WINDOW: (400, "ValidationException", "validationException"),
    Failure.RATE_LIMIT: (429, "ThrottlingException", "throttlingException"),
    Failure.SERVER_ERROR: (500, "InternalServerException", "internalServerException"),
    Failure.OVERLOADED: (503, "ServiceUnavailableException", "serviceUnavailableException"),
}


def overflow_of(kind: Failure) -> Overflow | None:
    """What is read of a prompt that does not fit."""
    return Overflow(tokens=12, max_tokens=9) if kind is Failure.CONTEXT_WINDOW else None


@pytest.mark.parametrize("kind", Failure)
def test_a_failure_is_written_as_aws_does(kind: Failure) -> None:
    """Its status and its word are those of the service, and they are read back."""
    status, error, _ = FAULTS[kind]
    answer = CONVERSE.write_error(Fault(kind=kind, retry_after_s=0.5, tokens=12, max_tokens=9), ASKED)
    assert answer.status == status
    assert answer.headers == {
        "content-type": "application/json",
        "x-amzn-errortype": f"{error}:http://internal.amazon.com/coral/com.amazon.bedrock/",
        "retry-after": "0.5",
        "retry-after-ms": "500",
    }
    assert list(json.loads(answer.body)) == ["message"]
    facts = dialects.read(CONVERSE, answer.body, headers=answer.headers)
    assert facts == CallFacts(error_type=error, overflow=overflow_of(kind))


@pytest.mark.parametrize("kind", Failure)
def test_a_stream_that_breaks(kind: Failure) -> None:
    """It answers, says a little, and then what went wrong."""
    fault = Fault(kind=kind, tokens=12, max_tokens=9)
    answer = CONVERSE.write_broken_stream(FACTS, ["Hi", " th"], fault, ASKED)
    assert answer.status == 200
    assert dialects.read(CONVERSE, answer.body) == CallFacts(
        text="Hi th", reasoning="hm", error_type=FAULTS[kind][2], overflow=overflow_of(kind)
    )


# -- round trips ---------------------------------------------------------------------------

WORDS = {
    "end_turn": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "content_filtered": FinishReason.CONTENT_FILTER,
    "malformed_model_output": FinishReason.ERROR,
    "tomorrows_word": FinishReason.UNKNOWN,
}
words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
counts = st.integers(min_value=0, max_value=10**12)


@st.composite
def usages(draw: st.DrawFn) -> Usage | None:
    """Such as ``Usage(input_tokens=9, cache_read_tokens=4, output_tokens=2, total_tokens=11)``."""
    fresh, produced, total = draw(st.none() | counts), draw(st.none() | counts), draw(st.none() | counts)
    read, written = draw(st.none() | counts), draw(st.none() | counts)
    hour = None if written is None else draw(st.none() | st.integers(min_value=0, max_value=written))
    asked = None if fresh is None else fresh + (read or 0) + (written or 0)
    if asked is not None and produced is not None and total is None:
        total = asked + produced
    usage = Usage(
        input_tokens=asked,
        output_tokens=produced,
        total_tokens=total,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=hour,
    )
    return None if usage == Usage() else usage


@dataclass(frozen=True)
class Said:
    """An answer, and how a stream cuts its text."""

    facts: CallFacts
    pieces: list[str]


@st.composite
def answers(draw: st.DrawFn) -> Said:
    """Such as ``Said(CallFacts(text="Hi", terminated=True, ...), ["H", "i"])``."""
    pieces = draw(st.lists(words, max_size=3))
    objects = st.dictionaries(words, st.integers() | words | st.none(), max_size=2)
    arguments = objects.map(lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    word = draw(st.none() | st.sampled_from(sorted(WORDS)))
    facts = CallFacts(
        id=draw(st.none() | st.from_regex(r"[a-z0-9-]+", fullmatch=True)),
        model=draw(st.none() | words),
        text="".join(pieces),
        reasoning=draw(st.just("") | words),
        tool_calls=tuple(draw(st.lists(st.builds(ToolCall, name=words, arguments=arguments, id=words), max_size=2))),
        usage=draw(usages()),
        finish_reason=None if word is None else WORDS[word],
        raw_finish_reason=word,
        service_tier=draw(st.none() | words),
        terminated=word is not None,
    )
    return Said(facts, pieces)


@given(answers())
def test_a_plain_answer_comes_back(said: Said) -> None:
    """What is written is read."""
    answer = CONVERSE.write_response(said.facts, ASKED)
    assert dialects.read(CONVERSE, answer.body, headers=answer.headers) == said.facts


@given(answers(), st.lists(st.integers(min_value=0), max_size=5))
def test_a_streamed_answer_comes_back(said: Said, places: list[int]) -> None:
    """What is written is read, however it is cut."""
    answer = CONVERSE.write_stream(said.facts, said.pieces, ASKED)
    assert dialects.read(CONVERSE, answer.body, headers=answer.headers, places=places) == said.facts


def test_every_cut_of_a_stream_is_the_same() -> None:
    """Two pieces, cut at any byte."""
    answer = CONVERSE.write_stream(FACTS, ["Hi", " there"], ASKED)
    whole = dialects.read(CONVERSE, answer.body)
    assert whole.text == "Hi there"
    wrong = [at for at in range(len(answer.body)) if dialects.read(CONVERSE, answer.body, places=[at]) != whole]
    assert wrong == []


def test_a_stream_cut_short_states_no_wrong_count() -> None:
    """Its usage is whole or unknown."""
    body = CONVERSE.write_stream(FACTS, ["Hi", " there"], ASKED).body
    assert {dialects.read(CONVERSE, body[:end]).usage for end in range(len(body))} == {None}


def test_deep_arguments_do_no_harm() -> None:
    """Arguments that cannot be written again are left out; the usage beside them is real."""
    deep = "[" * 900 + "]" * 900
    block = '{"toolUse":{"toolUseId":"t","name":"n","input":{"x":' + deep + "}}}"
    usage = '"usage":{"inputTokens":1,"outputTokens":2}'
    facts = read('{"output":{"message":{"content":[' + block + "]}}," + usage + "}")
    assert facts.usage == Usage(input_tokens=1, output_tokens=2, total_tokens=3)


# -- botocore ------------------------------------------------------------------------------


def parsed(operation: str, answer: WireAnswer) -> dict[str, Any]:
    """What boto3 makes of an answer."""
    model = pytest.importorskip("botocore.model")
    loader = pytest.importorskip("botocore.loaders").Loader()
    service = model.ServiceModel(loader.load_service_model("bedrock-runtime", "service-2"), "bedrock-runtime")
    parser = pytest.importorskip("botocore.parsers").create_parser("rest-json")
    shape = service.operation_model(operation).output_shape
    response = {"headers": dict(answer.headers), "status_code": answer.status, "body": answer.body}
    if "stream" not in answer.content_type:
        result: dict[str, Any] = parser.parse(response, shape)
        return result
    buffer = pytest.importorskip("botocore.eventstream").EventStreamBuffer()
    buffer.add_data(answer.body)
    events = [parser._event_stream_parser.parse(event.to_response_dict(), shape.members["stream"]) for event in buffer]
    return {"stream": events}


def test_boto3_reads_a_plain_answer() -> None:
    """All members that it requires are there."""
    result = parsed("Converse", CONVERSE.write_response(FACTS, ASKED))
    del result["ResponseMetadata"]
    assert result == json.loads(CONVERSE.write_response(FACTS, ASKED).body)


def test_boto3_reads_a_stream() -> None:
    """Every event is known to it."""
    answer = CONVERSE.write_stream(replace(FACTS, reasoning=""), ["Hi", " there"], ASKED)
    assert parsed("ConverseStream", answer)["stream"] == [{name: event} for name, event in events_of(answer)]


def test_boto3_reads_an_error() -> None:
    """Its code is the word before the colon."""
    result = parsed("Converse", CONVERSE.write_error(Fault(kind=Failure.RATE_LIMIT), ASKED))
    assert result["Error"] == {
        "Code": "ThrottlingException",
        "Message": "Too many requests, please wait before trying again.",
    }


def test_boto3_reads_what_breaks_a_stream() -> None:
    """The exception is one of those that the service declares."""
    answer = CONVERSE.write_broken_stream(CallFacts(), [], Fault(kind=Failure.OVERLOADED), ASKED)
    exception = parsed("ConverseStream", answer)["stream"][-1]["Error"]
    assert exception == {
        "Code": "serviceUnavailableException",
        "Message": "The service is unable to process the request.",
    }
