"""Responses as OpenAI and those who speak like it send them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dialects
from pytest_llmtelemetry.facts import CallFacts, FinishReason, Overflow, RequestFacts, ToolCall, Usage
from pytest_llmtelemetry.wire.body import BodyReader
from pytest_llmtelemetry.wire.dialect import Failure, Fault
from pytest_llmtelemetry.wire.openai_responses import OpenAIResponses


RESPONSES = OpenAIResponses()
PATH = "/v1/responses"
ASKED = dialects.asked(RESPONSES)


def read(document: object) -> CallFacts:
    """Read a plain answer."""
    return dialects.read(RESPONSES, document)


def read_stream(*events: Mapping[str, Any]) -> CallFacts:
    """Read a stream of named events."""
    reader = BodyReader(RESPONSES.draft())
    for event in events:
        reader.feed(f"event: {event.get('type')}\ndata: {json.dumps(event)}\n\n".encode())
    return reader.close()


def response(*items: Mapping[str, Any], status: str | None = "completed", **more: Any) -> dict[str, Any]:
    """A whole response that says ``items``."""
    return {"id": "r-1", "object": "response", "model": "m", "status": status, "output": list(items), **more}


def message(text: str) -> dict[str, Any]:
    """A message of one part."""
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def refusal(text: str) -> dict[str, Any]:
    """A message that refuses."""
    return {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": text}]}


def call(name: str = "add", arguments: str = "{}") -> dict[str, Any]:
    """A call that the client is to make."""
    return {"type": "function_call", "id": "fc-1", "call_id": "c-1", "name": name, "arguments": arguments}


def delta(text: str, *, index: int = 0) -> dict[str, Any]:
    """A piece of a text."""
    return {"type": "response.output_text.delta", "output_index": index, "delta": text}


def completed(*items: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The event that says that all is done."""
    return {"type": "response.completed", "response": response(*items, **more)}


# -- requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/responses"),
        ("POST", "/v1/responses/"),
        ("POST", "responses"),
        ("POST", "/responses"),
        ("POST", "/openai/responses"),
        ("POST", "/openai/v1/responses"),
        ("POST", "/openai/deployments/my-gpt/responses"),
        ("POST", "/api/v1/responses"),
        ("GET", "/v1/responses/resp_1"),
        ("GET", "/openai/v1/responses/resp_1/"),
    ],
)
def test_responses_are_spoken_where_they_are_made_and_fetched(method: str, path: str) -> None:
    """Gateways put what they like before the path; answers from the background are asked for by id."""
    assert RESPONSES.speaks(method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses"),
        ("post", "/v1/responses"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("POST", "/v1/responses/compact"),
        ("POST", "/v1/responses/input_tokens"),
        ("GET", "/v1/responses/resp_1/input_items"),
        ("POST", "/v1/myresponses"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/responses\n"),
        ("POST", ""),
    ],
)
def test_responses_are_not_spoken_elsewhere(method: str, path: str) -> None:
    """What only counts, lists, cancels or compacts is no answer."""
    assert not RESPONSES.speaks(method, path)


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({"model": "m", "input": "hi"}, True),
        ({"model": "m", "input": [{"role": "user", "content": "hi"}]}, True),
        ({"model": "m"}, False),
        ({"input": "hi"}, False),
        ({"model": "", "input": "hi"}, False),
        ({"model": "m", "input": None}, False),
        ({"model": "m", "input": {"age": 3}}, False),
        ({"survey": 1, "answers": []}, False),
        ({}, False),
    ],
    ids=["text", "items", "no-input", "no-model", "empty-model", "null", "object", "survey", "empty"],
)
def test_a_request_fits_if_it_names_a_model_and_an_input(body: Mapping[str, Any], fits: bool) -> None:
    """Applications have web APIs of this name, for what people respond."""
    assert RESPONSES.fits(body) is fits


def test_a_request_is_read_whole() -> None:
    """Every fact that events and mocks know of a request."""
    body = {
        "model": "gpt-5",
        "input": "hi",
        "stream": True,
        "max_output_tokens": 20,
        "tools": [
            {"type": "function", "name": "search"},
            {"type": "web_search"},
            {"type": "custom", "name": "free"},
            {},
        ],
    }
    facts = dialects.asked(RESPONSES, body, path=PATH, provider="openai")
    assert facts == RequestFacts(
        api="openai.responses",
        provider="openai",
        model="gpt-5",
        stream=True,
        wants_usage=True,
        max_tokens=20,
        tools=("search", "web_search", "free"),
    )
    assert facts.body is body


def test_an_empty_request_is_read() -> None:
    """Nothing stated is nothing known."""
    facts = dialects.asked(RESPONSES, {}, path=PATH, provider="unknown")
    assert facts == RequestFacts(api="openai.responses", provider="unknown")


@pytest.mark.parametrize(
    ("query", "stream"),
    [("stream=true", True), ("starting_after=4&stream=true", True), ("stream=false", False), ("", False)],
)
def test_a_poll_says_in_its_query_that_it_wants_a_stream(query: str, stream: bool) -> None:
    """It has no body."""
    facts = dialects.asked(RESPONSES, {}, path="/v1/responses/resp_1", query=query)
    assert facts == RequestFacts(api="openai.responses", provider="openai", stream=stream)


def test_azure_may_name_the_model_in_the_path() -> None:
    """As a deployment."""
    assert dialects.asked(RESPONSES, {}, path="/openai/deployments/my-gpt/responses").model == "my-gpt"


@pytest.mark.parametrize(
    "body",
    [
        {"model": 5, "stream": "true", "max_output_tokens": "9", "tools": "all"},
        {"model": None, "stream": 1, "max_output_tokens": True, "tools": [1, None, {"name": 3}]},
        {"model": [], "stream": None, "max_output_tokens": 1.5, "tools": {"name": "x"}},
    ],
    ids=["texts", "numbers", "containers"],
)
def test_junk_in_a_request_is_nothing_stated(body: Mapping[str, Any]) -> None:
    """The provider will say what it thinks of it."""
    assert dialects.asked(RESPONSES, body) == RequestFacts(api="openai.responses", provider="openai")


# -- plain answers -------------------------------------------------------------------------


def test_a_plain_answer_is_read_whole() -> None:
    """Every fact that a response states."""
    document = response(
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "Let me "}, {"type": "summary_text", "text": "see."}],
        },
        message("Bon"),
        {"type": "web_search_call", "status": "completed"},
        message("jour"),
        service_tier="flex",
        error=None,
        incomplete_details=None,
        usage={
            "input_tokens": 30,
            "input_tokens_details": {
                "cached_tokens": 10,
                "cache_write_tokens": 5,
                "audio_tokens": 2,
                "image_tokens": 3,
            },
            "output_tokens": 9,
            "output_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 1, "image_tokens": 0},
            "total_tokens": 39,
        },
    )
    assert read(document) == CallFacts(
        id="r-1",
        model="m",
        text="Bonjour",
        reasoning="Let me see.",
        usage=Usage(
            input_tokens=30,
            output_tokens=9,
            total_tokens=39,
            cache_read_tokens=10,
            cache_write_tokens=5,
            reasoning_tokens=4,
            input_audio_tokens=2,
            input_image_tokens=3,
            output_audio_tokens=1,
            output_image_tokens=0,
        ),
        finish_reason=FinishReason.STOP,
        raw_finish_reason="completed",
        service_tier="flex",
        terminated=True,
    )


def test_thoughts_may_be_shown_as_they_are() -> None:
    """Open models have no summaries."""
    item = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "two"}]}
    assert read(response(item)).reasoning == "two"


def test_calls_of_the_client_are_tool_calls() -> None:
    """The answer stopped for them, though its status is the same as ever."""
    facts = read(
        response(
            message("Wait."),
            call("add", '{"a":1}'),
            {"type": "custom_tool_call", "call_id": "c-2", "name": "sql", "input": "SELECT 1"},
        )
    )
    assert facts.tool_calls == (
        ToolCall(name="add", arguments='{"a":1}', id="c-1"),
        ToolCall(name="sql", arguments="SELECT 1", id="c-2"),
    )
    assert (facts.finish_reason, facts.raw_finish_reason) == (FinishReason.TOOL_CALLS, "completed")


@pytest.mark.parametrize(
    "kind", ["web_search_call", "code_interpreter_call", "mcp_call", "file_search_call", "tool_search_call"]
)
def test_calls_that_the_provider_makes_itself_are_none_of_the_client(kind: str) -> None:
    """Nothing is asked of anybody."""
    facts = read(response({"type": kind, "name": "x", "arguments": "{}"}, message("Hi")))
    assert (facts.tool_calls, facts.finish_reason) == ((), FinishReason.STOP)


def test_a_refusal_is_a_finish_reason_with_words() -> None:
    """The status does not tell."""
    facts = read(response(refusal("I won't.")))
    assert (facts.text, facts.finish_reason, facts.raw_finish_reason) == (
        "I won't.",
        FinishReason.REFUSAL,
        "completed",
    )


@pytest.mark.parametrize(
    ("status", "reason", "word", "finish"),
    [
        ("completed", None, "completed", FinishReason.STOP),
        ("incomplete", "max_output_tokens", "incomplete:max_output_tokens", FinishReason.LENGTH),
        ("incomplete", "content_filter", "incomplete:content_filter", FinishReason.CONTENT_FILTER),
        ("incomplete", "steered", "incomplete:steered", FinishReason.UNKNOWN),
        ("incomplete", None, "incomplete", FinishReason.UNKNOWN),
        ("failed", None, "failed", FinishReason.ERROR),
        ("failed", "max_output_tokens", "failed", FinishReason.ERROR),
        ("cancelled", None, "cancelled", FinishReason.UNKNOWN),
    ],
)
def test_the_status_and_its_reason_are_the_finish_reason(
    status: str, reason: str | None, word: str, finish: FinishReason
) -> None:
    """In one word, which is kept."""
    facts = read(response(message("Hi"), status=status, incomplete_details=reason and {"reason": reason}))
    assert (facts.raw_finish_reason, facts.finish_reason, facts.terminated) == (word, finish, True)


def test_an_answer_that_was_cut_is_cut_whatever_it_asked_for() -> None:
    """A call whose arguments were cut is no call to make."""
    facts = read(response(call(), status="incomplete", incomplete_details={"reason": "max_output_tokens"}))
    assert facts.finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_an_answer_in_the_background_is_pending(status: str) -> None:
    """It states its usage when it is asked for later."""
    assert read(response(status=status, background=True, usage=None)) == CallFacts(id="r-1", model="m", pending=True)


@pytest.mark.parametrize("status", ["complete", None], ids=str)
def test_a_status_that_nobody_knows_says_no_finish_reason(status: str | None) -> None:
    """The answer is whole all the same."""
    facts = read(response(message("Hi"), status=status))
    assert facts == CallFacts(id="r-1", model="m", text="Hi", terminated=True)


def test_a_failed_answer_says_what_went_wrong() -> None:
    """With a status of 200."""
    facts = read(response(status="failed", error={"code": "server_error", "message": "Oh."}))
    assert (facts.error_type, facts.finish_reason) == ("server_error", FinishReason.ERROR)


@pytest.mark.parametrize(
    ("document", "facts"),
    [
        (
            {"error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": "model_not_found"}},
            CallFacts(error_type="model_not_found"),
        ),
        (
            {
                "error": {
                    "message": "This model's maximum context length is 100 tokens. Yours resulted in 120 tokens.",
                    "type": "invalid_request_error",
                    "param": "input",
                    "code": "context_length_exceeded",
                }
            },
            CallFacts(error_type="context_length_exceeded", overflow=Overflow(tokens=120, max_tokens=100)),
        ),
    ],
    ids=["model", "window"],
)
def test_an_error_is_read_in_the_providers_words(document: Mapping[str, Any], facts: CallFacts) -> None:
    """It is no answer, and so it has no end."""
    assert read(document) == facts


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({}, None),
        (None, None),
        ("many", None),
        ({"input_tokens": 3}, Usage(input_tokens=3)),
        ({"input_tokens": 3, "output_tokens": 0}, Usage(input_tokens=3, output_tokens=0, total_tokens=3)),
        (
            {"input_tokens": 3, "input_tokens_details": {"cached_tokens": 9}},
            Usage(input_tokens=3, doubts=("9 cached tokens of 3 input tokens",)),
        ),
        (
            {"input_tokens": "3", "output_tokens": -1, "total_tokens": 4},
            Usage(total_tokens=4, doubts=("input_tokens is '3'", "output_tokens is '-1'")),
        ),
        (
            {"output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 3}},
            Usage(output_tokens=2, doubts=("3 reasoning tokens of 2 output tokens",)),
        ),
    ],
    ids=["empty", "null", "text", "half", "zero", "cached", "junk", "reasoning"],
)
def test_usage_is_what_is_stated_and_what_can_be(usage: object, expected: Usage | None) -> None:
    """Absent is unknown; what cannot be true is named."""
    assert read(response(usage=usage)).usage == expected


@pytest.mark.parametrize(
    ("stated", "cost"),
    [
        ('"cost":0.00012', Decimal("0.00012")),
        ('"cost_in_usd_ticks":123000', Decimal("0.0000123")),
        ('"cost":0,"is_byok":true,"cost_details":{"upstream_inference_cost":0.5}', Decimal("0.5")),
        ('"cost":"free"', None),
        ('"total_tokens":3', None),
    ],
    ids=["openrouter", "xai", "byok", "junk", "none"],
)
def test_a_stated_cost_is_read(stated: str, cost: Decimal | None) -> None:
    """As gateways and xAI state it, with all its digits."""
    body = json.dumps(response(usage={"input_tokens": 1})).replace('"input_tokens": 1', stated)
    assert read(body).stated_cost_usd == cost


# -- streams -------------------------------------------------------------------------------


def test_a_stream_is_read_whole() -> None:
    """The last event repeats what the pieces said, and nothing is counted twice."""
    begun: Mapping[str, Any] = {
        "id": "r-1",
        "model": "m",
        "status": "in_progress",
        "output": [],
        "service_tier": "auto",
        "usage": None,
    }
    thinking = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}
    facts = read_stream(
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "summary": []}},
        {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "Hm."},
        {"type": "response.reasoning_summary_text.done", "output_index": 0, "text": "Hm."},
        {"type": "response.output_item.done", "output_index": 0, "item": thinking},
        {"type": "response.output_item.added", "output_index": 1, "item": {"type": "message", "content": []}},
        delta("Bon", index=1),
        delta("jour", index=1),
        {"type": "response.output_text.done", "output_index": 1, "text": "Bonjour"},
        {"type": "response.output_item.done", "output_index": 1, "item": message("Bonjour")},
        {"type": "response.output_item.added", "output_index": 2, "item": call(arguments="")},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"a"'},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": ":1}"},
        {"type": "response.function_call_arguments.done", "output_index": 2, "arguments": '{"a":1}'},
        {"type": "response.output_item.done", "output_index": 2, "item": call(arguments='{"a":1}')},
        completed(
            thinking,
            message("Bonjour"),
            call(arguments='{"a":1}'),
            service_tier="default",
            usage={"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
        ),
    )
    assert facts == CallFacts(
        id="r-1",
        model="m",
        text="Bonjour",
        reasoning="Hm.",
        tool_calls=(ToolCall(name="add", arguments='{"a":1}', id="c-1"),),
        usage=Usage(input_tokens=3, output_tokens=4, total_tokens=7),
        finish_reason=FinishReason.TOOL_CALLS,
        raw_finish_reason="completed",
        service_tier="default",
        terminated=True,
    )


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([delta("Hi"), completed()], ("Hi", "", ())),
        ([completed(message("Hi"))], ("Hi", "", ())),
        ([{"type": "response.output_item.done", "item": message("Hi")}, completed()], ("Hi", "", ())),
        (
            [delta("Hi"), {"type": "response.output_item.done", "output_index": 1, "item": message("!")}, completed()],
            ("Hi!", "", ()),
        ),
        ([delta("jour"), completed(message("Bonjour"))], ("Bonjour", "", ())),
        ([{"type": "response.reasoning_text.delta", "delta": "Hm"}, completed(message("Hi"))], ("Hi", "Hm", ())),
        (
            [{"type": "response.output_item.done", "item": call(arguments="[]")}, completed()],
            ("", "", (ToolCall(name="add", arguments="[]", id="c-1"),)),
        ),
        (
            [
                {
                    "type": "response.output_item.added",
                    "item": {"type": "custom_tool_call", "name": "sql", "call_id": "s"},
                },
                {"type": "response.custom_tool_call_input.delta", "delta": "SELECT "},
                {"type": "response.custom_tool_call_input.delta", "delta": "1"},
                completed(),
            ],
            ("", "", (ToolCall(name="sql", arguments="SELECT 1", id="s"),)),
        ),
    ],
    ids=["pieces", "whole", "item", "piece-and-item", "taken-up-again", "each", "call", "custom-call"],
)
def test_what_was_said_is_read_from_where_it_stands(
    events: Sequence[Mapping[str, Any]], said: tuple[str, str, tuple[ToolCall, ...]]
) -> None:
    """In pieces, in items, at the end, or in some of these."""
    facts = read_stream(*events)
    assert (facts.text, facts.reasoning, facts.tool_calls) == said


def test_a_refusal_may_come_in_pieces() -> None:
    """The words of it are the text."""
    facts = read_stream(
        {"type": "response.refusal.delta", "delta": "I "},
        {"type": "response.refusal.delta", "delta": "won't."},
        completed(),
    )
    assert (facts.text, facts.finish_reason) == ("I won't.", FinishReason.REFUSAL)


@pytest.mark.parametrize(
    ("event", "word", "finish", "error"),
    [
        (
            {
                "type": "response.incomplete",
                "response": response(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            },
            "incomplete:max_output_tokens",
            FinishReason.LENGTH,
            None,
        ),
        (
            {"type": "response.failed", "response": response(status="failed", error={"code": "server_error"})},
            "failed",
            FinishReason.ERROR,
            "server_error",
        ),
        ({"type": "response.completed", "response": {}}, None, None, None),
    ],
    ids=["incomplete", "failed", "empty"],
)
def test_a_stream_may_end_in_other_ways(
    event: Mapping[str, Any], word: str | None, finish: FinishReason | None, error: str | None
) -> None:
    """Each is an end that the API recognises."""
    facts = read_stream(delta("Hi"), event)
    assert (facts.text, facts.raw_finish_reason, facts.finish_reason, facts.error_type, facts.terminated) == (
        "Hi",
        word,
        finish,
        error,
        True,
    )


def test_a_stream_without_its_last_event_is_not_terminated() -> None:
    """What its events stated on the way is no usage yet."""
    begun = {"id": "r-1", "model": "m", "status": "in_progress", "usage": {"input_tokens": 0, "output_tokens": 0}}
    facts = read_stream({"type": "response.created", "response": begun}, delta("Hi"))
    assert facts == CallFacts(id="r-1", model="m", text="Hi")


@pytest.mark.parametrize(
    ("events", "pending"),
    [(["created", "queued", "in_progress"], True), (["created", "completed"], False)],
    ids=["left", "done"],
)
def test_a_stream_from_the_background_goes_on_without_its_client(events: Sequence[str], pending: bool) -> None:
    """It is pending until it has ended."""
    states = {"created": "queued", "queued": "queued", "in_progress": "in_progress", "completed": "completed"}
    facts = read_stream(
        *({"type": f"response.{name}", "response": response(status=states[name], background=True)} for name in events)
    )
    assert (facts.pending, facts.terminated) == (pending, not pending)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "code": "rate_limit_exceeded", "message": "Wait.", "param": None, "sequence_number": 1},
        {"type": "error", "sequence_number": 1, "error": {"type": "tokens", "code": "rate_limit_exceeded"}},
    ],
    ids=["as-documented", "as-sent"],
)
def test_an_error_event_ends_nothing(event: Mapping[str, Any]) -> None:
    """The answer failed, without having come to an end."""
    assert read_stream(delta("Hi"), event) == CallFacts(text="Hi", error_type="rate_limit_exceeded")


def test_events_that_nobody_knows_pass() -> None:
    """OpenAI has sixty of them, and adds more."""
    facts = read_stream(
        {"type": "response.image_generation_call.partial_image", "delta": "x", "output": [message("no")]},
        {"type": "response.code_interpreter_call_code.delta", "delta": "1+1"},
        {"type": "response.mcp_call_arguments.delta", "delta": "{}"},
        {"type": "keepalive", "id": "k", "usage": {"input_tokens": 99}},
        delta("Hi"),
        completed(),
    )
    assert facts == CallFacts(
        id="r-1",
        model="m",
        text="Hi",
        finish_reason=FinishReason.STOP,
        raw_finish_reason="completed",
        terminated=True,
    )


def test_openrouter_says_done_at_the_end() -> None:
    """And comments at the beginning."""
    body = f": WAIT\n\ndata: {json.dumps(delta('Hi'))}\n\ndata: {json.dumps(completed())}\n\ndata: [DONE]\n\n"
    facts = read(body)
    assert (facts.text, facts.raw_finish_reason) == ("Hi", "completed")


def test_the_name_of_an_event_may_stand_beside_it_alone() -> None:
    """Its data need not repeat it."""
    body = 'event: response.output_text.delta\ndata: {"delta": "Hi"}\n\n'
    assert read(body) == CallFacts(text="Hi")


@pytest.mark.parametrize(
    ("event", "content"),
    [
        ({"type": "response.created", "response": {"id": "r-1"}}, False),
        ({"type": "response.output_item.added", "item": {"type": "message", "content": []}}, False),
        (delta("H"), True),
        ({"type": "response.reasoning_summary_text.delta", "delta": "H"}, True),
        ({"type": "response.output_item.added", "item": call()}, True),
    ],
    ids=["created", "message", "text", "thought", "call"],
)
def test_the_first_token_is_the_first_thing_said(event: Mapping[str, Any], content: bool) -> None:
    """Announcements say nothing."""
    reader = BodyReader(RESPONSES.draft())
    reader.feed(f"data: {json.dumps(event)}\n\n".encode())
    assert reader.has_content is content


# -- junk ----------------------------------------------------------------------------------

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    "id",
    "model",
    "status",
    "output",
    "usage",
    "error",
    "response",
    "item",
    "delta",
    "output_index",
    "type",
    "object",
    "service_tier",
    "background",
    "incomplete_details",
    "content",
    "summary",
    "arguments",
    "call_id",
    "name",
    "text",
    "refusal",
    "detail",
]
TYPES = [
    "response.created",
    "response.completed",
    "response.output_item.added",
    "response.output_item.done",
    "error",
    "message",
    "response.output_text.delta",
    "response.function_call_arguments.delta",
    "function_call",
    "reasoning",
]
odd_documents = st.recursive(
    st.dictionaries(st.sampled_from(KEYS), junk | st.sampled_from(TYPES), max_size=8),
    lambda inner: st.dictionaries(st.sampled_from(KEYS), inner | st.lists(inner, max_size=2), max_size=4),
    max_leaves=4,
)
"""Such as ``{"type": "response.completed", "response": {"output": [{"type": []}]}}``."""


@given(st.lists(odd_documents, max_size=4))
def test_junk_never_raises_and_is_never_a_number(documents: list[dict[str, Any]]) -> None:
    """Whatever stands where: no usage is made of it."""
    for document in documents:
        assert read(document).usage is None or "usage" in json.dumps(document)
    assert read_stream(*documents).stated_cost_usd is None


# -- writing -------------------------------------------------------------------------------

USAGE = Usage.checked(input_tokens=9, cache_read_tokens=4, output_tokens=7, reasoning_tokens=2)
SAID = CallFacts(
    id="resp_1",
    model="m",
    text="Hi all",
    reasoning="Hm.",
    tool_calls=(ToolCall(name="add", arguments='{"a":1}', id="c-1"),),
    usage=USAGE,
    finish_reason=FinishReason.TOOL_CALLS,
    service_tier="flex",
    terminated=True,
)


def test_a_plain_answer_has_all_that_the_sdk_knows() -> None:
    """Its model of a response requires most of these, and that of OpenRouter's SDK all."""
    answer = RESPONSES.write_response(SAID, ASKED)
    assert (answer.status, answer.headers) == (200, {"content-type": "application/json"})
    assert json.loads(answer.body) == {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "completed_at": 1_700_000_000,
        "status": "completed",
        "background": False,
        "error": None,
        "frequency_penalty": 0.0,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": "m",
        "output": [
            {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
            {
                "id": "msg_1",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Hi all", "annotations": [], "logprobs": []}],
            },
            {
                "id": "fc_1_0",
                "type": "function_call",
                "status": "completed",
                "call_id": "c-1",
                "name": "add",
                "arguments": '{"a":1}',
            },
        ],
        "parallel_tool_calls": True,
        "presence_penalty": 0.0,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "flex",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 9,
            "input_tokens_details": {"cached_tokens": 4},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 16,
        },
        "user": None,
    }


def events(body: bytes) -> list[tuple[str, dict[str, Any]]]:
    """The names of the events of a stream, and what they carry."""
    found = []
    for block in body.decode().removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_a_stream_has_the_events_of_the_api_in_their_order() -> None:
    """Each item is opened, said and closed; the last event repeats them all."""
    answer = RESPONSES.write_stream(SAID, ["Hi ", "all"], ASKED)
    written = events(answer.body)
    assert answer.content_type == "text/event-stream"
    assert [name for name, _ in written] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [document["sequence_number"] for _, document in written] == list(range(20))
    assert all(document["type"] == name for name, document in written)
    assert [document["delta"] for name, document in written if name.endswith("delta")] == [
        "Hm.",
        "Hi ",
        "all",
        '{"a":1}',
    ]
    assert [document["output_index"] for _, document in written[2:-1]] == [0] * 6 + [1] * 7 + [2] * 4
    assert written[-1][1]["response"] == json.loads(RESPONSES.write_response(SAID, ASKED).body)
    assert written[0][1]["response"]["output"] == []
    opened = [document["item"] for name, document in written if name == "response.output_item.added"]
    assert opened == [
        {"id": "rs_1", "type": "reasoning", "summary": []},
        {"id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []},
        {
            "id": "fc_1_0",
            "type": "function_call",
            "status": "in_progress",
            "call_id": "c-1",
            "name": "add",
            "arguments": "",
        },
    ]


def test_a_refusal_is_streamed_in_events_of_its_own() -> None:
    """And is a part of its own kind."""
    facts = CallFacts(text="I won't.", finish_reason=FinishReason.REFUSAL)
    written = events(RESPONSES.write_stream(facts, ["I ", "won't."], ASKED).body)
    assert [name for name, _ in written[3:-2]] == [
        "response.content_part.added",
        "response.refusal.delta",
        "response.refusal.delta",
        "response.refusal.done",
        "response.content_part.done",
    ]
    assert written[-2][1]["item"]["content"] == [{"type": "refusal", "refusal": "I won't."}]


def test_the_items_of_a_cut_answer_are_cut() -> None:
    """Each says so itself."""
    facts = CallFacts(text="Hi", finish_reason=FinishReason.LENGTH)
    assert json.loads(RESPONSES.write_response(facts, ASKED).body)["output"][0]["status"] == "incomplete"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_an_answer_that_failed_says_why(stream: bool) -> None:
    """After a status of 200."""
    facts = CallFacts(
        id="resp_1",
        model="m",
        finish_reason=FinishReason.ERROR,
        raw_finish_reason="failed",
        error_type="server_error",
        terminated=True,
    )
    write = RESPONSES.write_stream(facts, [], ASKED) if stream else RESPONSES.write_response(facts, ASKED)
    assert read(write.body) == facts


@pytest.mark.parametrize(
    ("finish", "name", "status", "details"),
    [
        (FinishReason.STOP, "response.completed", "completed", None),
        (FinishReason.TOOL_CALLS, "response.completed", "completed", None),
        (FinishReason.REFUSAL, "response.completed", "completed", None),
        (FinishReason.UNKNOWN, "response.completed", "completed", None),
        (FinishReason.LENGTH, "response.incomplete", "incomplete", {"reason": "max_output_tokens"}),
        (FinishReason.CONTENT_FILTER, "response.incomplete", "incomplete", {"reason": "content_filter"}),
        (FinishReason.ERROR, "response.failed", "failed", None),
        (None, "response.completed", None, None),
    ],
    ids=str,
)
def test_every_finish_reason_has_a_nearest_word(
    finish: FinishReason | None, name: str, status: str | None, details: object
) -> None:
    """And an event of its own, where the API has one."""
    facts = CallFacts(text="Hi", finish_reason=finish)
    last, document = events(RESPONSES.write_stream(facts, ["Hi"], ASKED).body)[-1]
    assert (last, document["response"]["status"], document["response"]["incomplete_details"]) == (name, status, details)
    assert json.loads(RESPONSES.write_response(facts, ASKED).body)["status"] == status


def test_a_call_without_an_id_gets_one() -> None:
    """Clients answer to it by its id; no two are the same."""
    facts = CallFacts(id="resp_7", tool_calls=(ToolCall(name="a"), ToolCall(name="b")))
    items = json.loads(RESPONSES.write_response(facts, ASKED).body)["output"]
    assert [(item["id"], item["call_id"]) for item in items] == [("fc_7_0", "call_7_0"), ("fc_7_1", "call_7_1")]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_an_answer_from_the_background_is_only_announced(stream: bool) -> None:
    """What it will say is said to who asks later."""
    facts = CallFacts(id="resp_1", model="m", pending=True)
    write = RESPONSES.write_stream(facts, [], ASKED) if stream else RESPONSES.write_response(facts, ASKED)
    assert read(write.body) == facts


# -- failures ------------------------------------------------------------------------------

WINDOW = Overflow(tokens=120, max_tokens=100)


@pytest.mark.parametrize(
    ("kind", "status", "word", "overflow"),
    [
        (Failure.BAD_REQUEST, 400, "invalid_value", None),
        (Failure.AUTH, 401, "invalid_api_key", None),
        (Failure.NOT_FOUND, 404, "model_not_found", None),
        (Failure.CONTEXT_WINDOW, 400, "context_length_exceeded", WINDOW),
        (Failure.RATE_LIMIT, 429, "rate_limit_exceeded", None),
        (Failure.SERVER_ERROR, 500, "server_error", None),
        (Failure.OVERLOADED, 503, "server_error", None),
    ],
    ids=str,
)
def test_a_failure_is_read_as_it_was_written(kind: Failure, status: int, word: str, overflow: Overflow | None) -> None:
    """With its own status, or inside a stream after a 200; there it leaves what was said unfinished."""
    fault = Fault(kind=kind, tokens=120, max_tokens=100)
    plain = RESPONSES.write_error(fault, ASKED)
    assert (plain.status, read(plain.body)) == (status, CallFacts(error_type=word, overflow=overflow))
    broken = RESPONSES.write_broken_stream(SAID, ["Hi ", "al"], fault, ASKED)
    assert (broken.status, broken.content_type) == (200, "text/event-stream")
    assert read(broken.body) == CallFacts(id="resp_1", model="m", text="Hi al", error_type=word, overflow=overflow)


def test_a_failure_says_how_long_to_wait() -> None:
    """In the headers that SDKs read."""
    answer = RESPONSES.write_error(Fault(kind=Failure.RATE_LIMIT, retry_after_s=0.5), ASKED)
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("0.5", "500")


MESSAGE = "The engine is currently overloaded, please try again later."


def test_a_stream_may_break_before_it_says_anything() -> None:
    """Then it has begun, and failed."""
    answer = RESPONSES.write_broken_stream(SAID, [], Fault(kind=Failure.OVERLOADED), ASKED)
    assert [name for name, _ in events(answer.body)] == ["response.created", "response.in_progress", "error"]


@pytest.mark.parametrize(
    ("provider", "failure"),
    [
        ("openai", {"error": {"message": MESSAGE, "type": "server_error", "param": None, "code": None}}),
        ("openrouter", {"message": MESSAGE, "code": "503", "param": None}),
    ],
)
def test_an_event_is_the_error_or_holds_it(provider: str, failure: Mapping[str, object]) -> None:
    """OpenAI does not what it documents; OpenRouter does."""
    asked = dialects.asked(RESPONSES, provider=provider)
    answer = RESPONSES.write_broken_stream(SAID, [], Fault(kind=Failure.OVERLOADED), asked)
    assert events(answer.body)[-1] == ("error", {"type": "error", "sequence_number": 2, **failure})


def test_what_has_not_ended_was_not_completed() -> None:
    """The time of the end is known at the end."""
    answer = RESPONSES.write_stream(SAID, ["Hi all"], ASKED)
    times = [said["response"]["completed_at"] for _, said in events(answer.body) if "response" in said]
    assert times == [None, None, 1_700_000_000]


# -- round trips ---------------------------------------------------------------------------

WORDS = {
    "incomplete:max_output_tokens": FinishReason.LENGTH,
    "incomplete:content_filter": FinishReason.CONTENT_FILTER,
    "incomplete:ünknown: x": FinishReason.UNKNOWN,
    "incomplete": FinishReason.UNKNOWN,
    "cancelled": FinishReason.UNKNOWN,
    "failed": FinishReason.ERROR,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer, and how a stream cuts its text."""

    facts: CallFacts
    pieces: tuple[str, ...]


words = st.text(min_size=1, max_size=12)
"""Such as ``"r-1"``: anything but nothing."""

counts = st.integers(min_value=0, max_value=10**12)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Such as ``Usage(input_tokens=9, cache_read_tokens=4, output_tokens=2, total_tokens=11)``."""

    def part_of(whole: int | None) -> int | None:
        return draw(st.none() | st.integers(min_value=0, max_value=10**12 if whole is None else whole))

    asked, produced = draw(st.none() | counts), draw(st.none() | counts)
    read = part_of(asked)
    stated = Usage.checked(
        input_tokens=asked,
        output_tokens=produced,
        total_tokens=draw(st.none() | counts),
        cache_read_tokens=read,
        cache_write_tokens=part_of(None if asked is None else asked - (read or 0)),
        reasoning_tokens=part_of(produced),
        input_audio_tokens=part_of(asked),
        input_image_tokens=part_of(asked),
        output_audio_tokens=part_of(produced),
        output_image_tokens=part_of(produced),
    )
    return stated if stated != Usage() else Usage(output_tokens=0)


@st.composite
def answers(draw: st.DrawFn) -> Said:
    """Such as ``Said(facts=CallFacts(text="Hi", ...), pieces=("H", "i"))``."""
    pieces = draw(st.lists(st.text(max_size=12), max_size=4))
    calls = draw(
        st.lists(st.builds(ToolCall, name=st.text(max_size=6), arguments=st.text(max_size=12), id=words), max_size=3)
    )
    word = draw(st.none() | st.just("completed") | st.sampled_from([*WORDS]))
    finish = WORDS.get(word) if word else None
    if word == "completed":
        finish = FinishReason.TOOL_CALLS if calls else FinishReason.STOP
        if any(pieces) and draw(st.booleans()):
            finish = FinishReason.REFUSAL
    return Said(
        facts=CallFacts(
            id=draw(st.none() | words),
            model=draw(st.none() | words),
            text="".join(pieces),
            reasoning=draw(st.text(max_size=12)),
            tool_calls=tuple(calls),
            usage=draw(st.none() | usages()),
            finish_reason=finish,
            raw_finish_reason=word,
            service_tier=draw(st.none() | words),
            stated_cost_usd=draw(st.none() | st.decimals(0, 10**6, places=12)),
            error_type=draw(words) if word == "failed" and draw(st.booleans()) else None,
            terminated=True,
        ),
        pieces=tuple(pieces),
    )


places = st.lists(st.integers(min_value=0, max_value=9999), max_size=6)


@given(answers())
def test_an_answer_is_read_as_it_was_written(said: Said) -> None:
    """Every fact that the API can state survives."""
    assert read(RESPONSES.write_response(said.facts, ASKED).body) == said.facts


@given(answers(), places)
def test_a_stream_is_read_as_it_was_written(said: Said, places: list[int]) -> None:
    """Wherever the bytes are cut, every fact survives."""
    body = RESPONSES.write_stream(said.facts, said.pieces, ASKED).body
    assert dialects.read(RESPONSES, body, places=places) == said.facts


@given(answers())
def test_a_stream_cut_before_its_last_event_lacks_only_its_end(said: Said) -> None:
    """All is said; why it stopped, and what it took, are not."""
    chunks = RESPONSES.write_stream(said.facts, said.pieces, ASKED).chunks
    assert read(b"".join(chunks[:-1])) == replace(
        said.facts,
        usage=None,
        stated_cost_usd=None,
        finish_reason=None,
        raw_finish_reason=None,
        error_type=None,
        terminated=False,
    )


def test_a_stream_cut_at_any_byte_is_read_up_to_there() -> None:
    """A prefix of the stream states a prefix of the text, and no count that is not the final one."""
    body = RESPONSES.write_stream(replace(SAID, text="Café au lait"), ["Caf", "é au", " lait"], ASKED).body
    for end in range(len(body)):
        facts = read(body[:end])
        assert "Café au lait".startswith(facts.text), f"cut at {end}"
        assert facts.usage in {None, USAGE}, f"cut at {end}"
        assert facts.terminated is (facts.usage is not None), f"cut at {end}"
