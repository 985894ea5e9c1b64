"""Messages as Anthropic and its gateways send them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

import dialects
from pytest_llmtelemetry.facts import CallFacts, FinishReason, RequestFacts, ToolCall, Usage
from pytest_llmtelemetry.wire.anthropic_messages import AnthropicMessages
from pytest_llmtelemetry.wire.body import BodyReader
from pytest_llmtelemetry.wire.dialect import Failure, Fault


MESSAGES = AnthropicMessages()
PATH = "/v1/messages"
ASKED = dialects.asked(MESSAGES)


def read(document: Mapping[str, Any]) -> CallFacts:
    """Read a plain answer."""
    return dialects.read(MESSAGES, document)


def read_stream(*events: Mapping[str, Any]) -> CallFacts:
    """Read a stream of events."""
    reader = BodyReader(MESSAGES.draft())
    for event in events:
        reader.feed(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    return reader.close()


def started(**usage: object) -> dict[str, Any]:
    """The first event, with the usage that is known by then."""
    return {
        "type": "message_start",
        "message": {"id": "msg_1", "model": "claude", "content": [], "stop_reason": None, "usage": usage},
    }


def block(index: int, **content: object) -> dict[str, Any]:
    """A block begins."""
    return {"type": "content_block_start", "index": index, "content_block": content}


def delta(index: int, **content: object) -> dict[str, Any]:
    """A block goes on."""
    return {"type": "content_block_delta", "index": index, "delta": content}


def ending(stop_reason: str | None, **usage: object) -> dict[str, Any]:
    """The last counts, and why it stopped."""
    return {"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": usage}


STOP = {"type": "message_stop"}


# -- requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/v1/messages",
        "/v1/messages/",
        "v1/messages",
        "/anthropic/v1/messages",
        "/v1/accounts/a/gw/anthropic/v1/messages",
    ],
)
def test_messages_are_spoken_at_every_path_that_ends_in_it(path: str) -> None:
    """Gateways put what they like before it."""
    assert MESSAGES.speaks("POST", path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/messages"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1/messages/batches"),
        ("POST", "/v1/threads/thread_1/messages"),
        ("POST", "/messages"),
        ("POST", "/xv1/messages"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/messages\n"),
        ("POST", ""),
    ],
)
def test_messages_are_not_spoken_elsewhere(method: str, path: str) -> None:
    """Counting tokens is free, batches are answered later, and threads are OpenAI's."""
    assert not MESSAGES.speaks(method, path)


def test_a_request_is_read_whole() -> None:
    """Every fact that events and mocks know of a request; usage comes with every stream."""
    body = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 64,
        "messages": [],
        "stream": True,
        "tools": [{"name": "search", "input_schema": {}}, {"type": "web_search_20250305", "name": "web_search"}, {}],
    }
    facts = dialects.asked(MESSAGES, body, path=PATH, provider="anthropic")
    assert facts == RequestFacts(
        api="anthropic.messages",
        provider="anthropic",
        model="claude-sonnet-4-5",
        stream=True,
        wants_usage=True,
        max_tokens=64,
        tools=("search", "web_search"),
    )
    assert facts.body is body


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model": 5, "stream": "yes", "max_tokens": "64", "tools": {"name": "a"}},
        {"model": "", "stream": 1, "max_tokens": True, "tools": [{"name": 5}, "a", None]},
        {"model": None, "stream": None, "max_tokens": 6.5, "tools": None},
    ],
    ids=["empty", "wrong-types", "more-wrong-types", "nulls"],
)
def test_a_strange_request_states_nothing(body: Mapping[str, Any]) -> None:
    """What is not of its type is not known."""
    assert dialects.asked(MESSAGES, body, path=PATH, provider="unknown") == RequestFacts(
        api="anthropic.messages", provider="unknown"
    )


# -- plain answers -------------------------------------------------------------------------


def test_a_plain_answer_is_read_whole() -> None:
    """Every fact that it states; cached tokens move into the input."""
    answer = {
        "id": "msg_1",
        "type": "message",
        "model": "claude-sonnet-4-5",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "x"},
            {"type": "text", "text": "Let me "},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"q": "x"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
            {"type": "text", "text": "see."},
            {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1.50, "b": [True, None, "é"]}},
            {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 10,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 50,
            "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 20},
            "output_tokens": 40,
            "output_tokens_details": {"thinking_tokens": 15},
            "service_tier": "standard",
            "server_tool_use": {"web_search_requests": 1},
        },
    }
    assert read(answer) == CallFacts(
        id="msg_1",
        model="claude-sonnet-4-5",
        text="Let me see.",
        reasoning="hm",
        tool_calls=(
            ToolCall(name="add", arguments='{"a":1.5,"b":[true,null,"é"]}', id="toolu_1"),
            ToolCall(name="now", arguments="{}", id="toolu_2"),
        ),
        usage=Usage(
            input_tokens=160,
            output_tokens=40,
            total_tokens=200,
            cache_read_tokens=100,
            cache_write_tokens=50,
            cache_write_1h_tokens=20,
            reasoning_tokens=15,
        ),
        finish_reason=FinishReason.TOOL_CALLS,
        raw_finish_reason="tool_use",
        service_tier="standard",
        terminated=True,
    )


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("tool_use", FinishReason.TOOL_CALLS),
        ("refusal", FinishReason.REFUSAL),
        ("pause_turn", FinishReason.UNKNOWN),
        ("length", FinishReason.UNKNOWN),
    ],
)
def test_a_finish_reason_keeps_the_providers_word(word: str, reason: FinishReason) -> None:
    """In a plain answer and in a stream; a word that nobody knows is unknown."""
    expected = CallFacts(finish_reason=reason, raw_finish_reason=word, terminated=True)
    assert (read({"stop_reason": word}), read_stream(ending(word))) == (expected, expected)


# -- usage ---------------------------------------------------------------------------------

USAGES: dict[str, tuple[Mapping[str, Any], Usage | None]] = {
    "no-cache": ({"input_tokens": 10, "output_tokens": 4}, Usage(input_tokens=10, output_tokens=4, total_tokens=14)),
    "zeros": (
        {"input_tokens": 10, "output_tokens": 4, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0},
        Usage(input_tokens=10, output_tokens=4, total_tokens=14, cache_read_tokens=0, cache_write_tokens=0),
    ),
    "read": (
        {"input_tokens": 4, "output_tokens": 256, "cache_read_input_tokens": 1167},
        Usage(input_tokens=1171, output_tokens=256, total_tokens=1427, cache_read_tokens=1167),
    ),
    "written": (
        {"input_tokens": 4, "output_tokens": 289, "cache_creation_input_tokens": 1167},
        Usage(input_tokens=1171, output_tokens=289, total_tokens=1460, cache_write_tokens=1167),
    ),
    "nulls": (
        {"input_tokens": 4, "output_tokens": 2, "cache_read_input_tokens": None, "cache_creation": None},
        Usage(input_tokens=4, output_tokens=2, total_tokens=6),
    ),
    "no-input": (
        {"output_tokens": 2, "cache_read_input_tokens": 9},
        Usage(output_tokens=2, cache_read_tokens=9),
    ),
    "strange-cache": (
        {"input_tokens": 4, "output_tokens": 2, "cache_read_input_tokens": -1},
        Usage(output_tokens=2, doubts=("cache_read_input_tokens is '-1'",)),
    ),
    "one-hour-over-written": (
        {
            "input_tokens": 4,
            "output_tokens": 2,
            "cache_creation_input_tokens": 3,
            "cache_creation": {"ephemeral_1h_input_tokens": 5},
        },
        Usage(
            input_tokens=7,
            output_tokens=2,
            total_tokens=9,
            cache_write_tokens=3,
            doubts=("5 one-hour tokens of 3 cache writes",),
        ),
    ),
    "iterations": (
        {
            "input_tokens": 4,
            "output_tokens": 2,
            "iterations": [{"type": "message", "input_tokens": 4, "output_tokens": 2}],
        },
        Usage(input_tokens=4, output_tokens=2, total_tokens=6),
    ),
    "advisor": (
        {
            "input_tokens": 4,
            "output_tokens": 2,
            "iterations": [
                {"type": "message", "input_tokens": 4, "output_tokens": 2},
                {"type": "compaction", "input_tokens": 900, "output_tokens": 30},
                {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 90, "output_tokens": 3},
            ],
        },
        Usage(
            input_tokens=4,
            output_tokens=2,
            total_tokens=6,
            partial=True,
            doubts=(
                "the tokens of advisor_message iterations are not counted",
                "the tokens of compaction iterations are not counted",
            ),
        ),
    ),
    "empty": ({}, None),
    "other-counters": ({"server_tool_use": {"web_search_requests": 1}, "service_tier": "standard"}, None),
}


@pytest.mark.parametrize(("stated", "usage"), USAGES.values(), ids=USAGES)
def test_the_input_includes_what_was_cached(stated: Mapping[str, Any], usage: Usage | None) -> None:
    """On the wire it stands beside; a part that cannot be read leaves the whole unknown."""
    assert read({"usage": stated}).usage == usage


@pytest.mark.parametrize(("stated", "usage"), USAGES.values(), ids=USAGES)
def test_a_stream_states_the_same_usage(stated: Mapping[str, Any], usage: Usage | None) -> None:
    """All of it in the last event, as newer models do."""
    assert read_stream(started(), ending("end_turn", **stated), STOP).usage == usage


@pytest.mark.parametrize("usage", [None, [], "12", 12, [{"input_tokens": 1}]], ids=repr)
def test_usage_of_another_form_is_none(usage: object) -> None:
    """Nothing is made up."""
    assert read({"usage": usage}).usage is None


# -- streams -------------------------------------------------------------------------------


def test_a_stream_is_read_whole() -> None:
    """Thinking, text and two tools that come in turns; counts of the end win over those of the start."""
    facts = read_stream(
        started(input_tokens=10, cache_read_input_tokens=5, output_tokens=1, service_tier="priority"),
        {"type": "ping"},
        block(0, type="thinking", thinking=""),
        delta(0, type="thinking_delta", thinking="hm"),
        delta(0, type="signature_delta", signature="x"),
        {"type": "content_block_stop", "index": 0},
        block(1, type="text", text="Let"),
        delta(1, type="text_delta", text=" me"),
        block(2, type="server_tool_use", id="s", name="web_search", input={}),
        delta(2, type="input_json_delta", partial_json='{"query": "x"}'),
        block(3, type="tool_use", id="a", name="add", input={}),
        block(4, type="tool_use", id="b", name="now", input={}),
        delta(3, type="input_json_delta", partial_json='{"a"'),
        delta(4, type="input_json_delta", partial_json=""),
        delta(3, type="input_json_delta", partial_json=": 1.50}"),
        delta(1, type="text_delta", text=" see."),
        {"type": "a_new_kind_of_event", "index": 3},
        ending(
            "tool_use", output_tokens=40, cache_read_input_tokens=None, output_tokens_details={"thinking_tokens": 7}
        ),
        STOP,
    )
    assert facts == CallFacts(
        id="msg_1",
        model="claude",
        text="Let me see.",
        reasoning="hm",
        tool_calls=(ToolCall(name="add", arguments='{"a": 1.50}', id="a"), ToolCall(name="now", id="b")),
        usage=Usage(input_tokens=15, output_tokens=40, total_tokens=55, cache_read_tokens=5, reasoning_tokens=7),
        finish_reason=FinishReason.TOOL_CALLS,
        raw_finish_reason="tool_use",
        service_tier="priority",
        terminated=True,
    )


@pytest.mark.parametrize(
    "events",
    [
        [started(input_tokens=10, output_tokens=1)],
        [started(input_tokens=10, output_tokens=1, output_tokens_details={"thinking_tokens": 0})],
        [started(input_tokens=10, output_tokens=1), ending(None)],
        [started(input_tokens=10, output_tokens=1), ending(None, output_tokens=None)],
    ],
    ids=["cut", "cut-with-details", "delta-without-usage", "delta-with-null"],
)
def test_the_output_of_a_cut_stream_is_unknown(events: list[Mapping[str, Any]]) -> None:
    """The first event counts one token, whatever will come; that is not a fact."""
    assert read_stream(*events) == CallFacts(id="msg_1", model="claude", usage=Usage(input_tokens=10))


def test_a_stream_whose_first_event_is_lost_states_what_the_last_one_says() -> None:
    """Output without input is a part of the usage, and no more."""
    assert read_stream(ending("end_turn", output_tokens=4), STOP).usage == Usage(output_tokens=4)


@pytest.mark.parametrize(
    ("events", "terminated"),
    [([], False), ([started()], False), ([ending("end_turn")], True), ([STOP], True), ([ending(None)], False)],
    ids=["empty", "cut", "reason-alone", "stop-alone", "no-reason"],
)
def test_a_stream_is_terminated_by_its_reason_or_its_last_event(
    events: list[Mapping[str, Any]], *, terminated: bool
) -> None:
    """Either says that the provider was done."""
    assert read_stream(*events).terminated is terminated


def test_an_unnamed_event_is_read_by_its_type() -> None:
    """Some gateways drop the ``event:`` lines; the data says the same."""
    reader = BodyReader(MESSAGES.draft())
    for event in (b"data: [1]\n\n", b"data: {\n\n", b'data: {"type": "message_stop"}\n\n'):
        reader.feed(event)
    assert reader.close() == CallFacts(terminated=True)


@pytest.mark.parametrize(
    ("event", "seen"),
    [
        (started(input_tokens=1), False),
        ({"type": "ping"}, False),
        (block(0, type="text", text=""), False),
        (block(0, type="text", text="h"), True),
        (block(0, type="thinking", thinking=""), True),
        (block(0, type="tool_use", name="a"), True),
        (delta(0, type="text_delta", text="h"), True),
        (delta(0, type="thinking_delta", thinking="h"), True),
        (ending("end_turn", output_tokens=0), False),
    ],
    ids=["start", "ping", "empty-text", "text", "thinking", "tool", "text-delta", "thinking-delta", "end"],
)
def test_the_first_token_is_the_first_that_is_said_or_thought(event: Mapping[str, Any], *, seen: bool) -> None:
    """Time to first token is taken from here."""
    reader = BodyReader(MESSAGES.draft())
    reader.feed(f"data: {json.dumps(event)}\n\n".encode())
    assert reader.has_content is seen


# -- errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, "overloaded_error"),
        ({"message": "Overloaded"}, "error"),
        ("Overloaded", "error"),
        (None, "error"),
    ],
    ids=["typed", "untyped", "text", "null"],
)
def test_an_error_is_named_in_the_providers_word(error: object, kind: str) -> None:
    """In the body of a failure, and in the middle of a stream that began well."""
    document = {"type": "error", "error": error, "request_id": "req_1"}
    assert read(document) == CallFacts(error_type=kind)
    assert read_stream(started(input_tokens=10, output_tokens=1), document) == CallFacts(
        id="msg_1", model="claude", usage=Usage(input_tokens=10), error_type=kind
    )


# -- writing -------------------------------------------------------------------------------

SAID = CallFacts(
    id="msg_1",
    model="claude",
    text="Hé",
    tool_calls=(ToolCall(name="add", arguments='{"a": 1.50}', id="toolu_a"),),
    usage=Usage.checked(
        input_tokens=160,
        output_tokens=40,
        cache_read_tokens=100,
        cache_write_tokens=50,
        cache_write_1h_tokens=20,
        reasoning_tokens=15,
    ),
    finish_reason=FinishReason.TOOL_CALLS,
    service_tier="standard",
)
USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 50,
    "cache_read_input_tokens": 100,
    "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 20},
    "service_tier": "standard",
}
OUTPUT = {"output_tokens": 40, "output_tokens_details": {"thinking_tokens": 15}}
HEAD = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_sequence": None}
TOOL = {"type": "tool_use", "id": "toolu_a", "name": "add"}


def test_a_plain_answer_is_written_in_the_providers_shape() -> None:
    """Field by field what the real service sends; cached tokens stand beside the input."""
    assert json.loads(MESSAGES.write_response(SAID, ASKED).body) == {
        **HEAD,
        "content": [{"type": "text", "text": "Hé"}, {**TOOL, "input": {"a": 1.5}}],
        "stop_reason": "tool_use",
        "usage": {**USAGE, **OUTPUT},
    }


def test_a_stream_is_written_in_the_providers_shape() -> None:
    """The events of the real service, in its order, each named by its type."""
    expected: list[Mapping[str, Any]] = [
        {
            "type": "message_start",
            "message": {**HEAD, "content": [], "stop_reason": None, "usage": {**USAGE, "output_tokens": 1}},
        },
        {"type": "ping"},
        block(0, type="text", text=""),
        delta(0, type="text_delta", text="H"),
        delta(0, type="text_delta", text="é"),
        {"type": "content_block_stop", "index": 0},
        block(1, **TOOL, input={}),
        delta(1, type="input_json_delta", partial_json='{"a": 1.50}'),
        {"type": "content_block_stop", "index": 1},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {**USAGE, **OUTPUT},
        },
        {"type": "message_stop"},
    ]
    chunks = [
        chunk.decode().removesuffix("\n\n").split("\n")
        for chunk in MESSAGES.write_stream(SAID, ["H", "é"], ASKED).chunks
    ]
    assert [json.loads(data.removeprefix("data: ")) for _, data in chunks] == expected
    assert [name for name, _ in chunks] == [f"event: {event['type']}" for event in expected]


def test_an_answer_of_tool_calls_alone_has_no_text_block() -> None:
    """The first block is the tool's."""
    call = CallFacts(tool_calls=(ToolCall(name="add", id="toolu_a"),))
    assert json.loads(MESSAGES.write_response(call, ASKED).body)["content"] == [{**TOOL, "input": {}}]
    third = MESSAGES.write_stream(call, [], ASKED).chunks[2].decode()
    assert json.loads(third.partition("data: ")[2]) == block(0, **TOOL, input={})


JSON = {"content-type": "application/json"}
ERRORS = {
    "rate_limit": (429, "rate_limit_error", "This request would exceed your rate limit."),
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "server_error": (500, "api_error", "Internal server error"),
    "auth": (401, "authentication_error", "invalid x-api-key"),
}


@pytest.mark.parametrize(("kind", "error"), ERRORS.items(), ids=ERRORS)
def test_a_failure_is_written_in_the_providers_shape(kind: str, error: tuple[int, str, str]) -> None:
    """And is read back as what it is."""
    status, type_, message = error
    failure = MESSAGES.write_error(Fault(kind=Failure(kind)), ASKED)
    assert (failure.status, failure.headers, json.loads(failure.body)) == (
        status,
        JSON,
        {"type": "error", "error": {"type": type_, "message": message}},
    )
    assert dialects.read(MESSAGES, failure.body) == CallFacts(error_type=type_)


def test_a_failure_says_when_to_come_back() -> None:
    """In both headers that the SDKs read."""
    failure = MESSAGES.write_error(Fault(kind=Failure.RATE_LIMIT, retry_after_s=2), ASKED)
    headers = JSON | {"retry-after": "2", "retry-after-ms": "2000"}
    assert (failure.status, failure.headers) == (429, headers)
