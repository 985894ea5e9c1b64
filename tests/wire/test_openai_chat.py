"""Chat completions as OpenAI and those who speak like it send them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, localcontext
from typing import Any

import pytest

import dialects
from pytest_llmtelemetry.facts import CallFacts, FinishReason, RequestFacts, ToolCall, Usage
from pytest_llmtelemetry.wire.body import BodyReader
from pytest_llmtelemetry.wire.dialect import Failure, Fault
from pytest_llmtelemetry.wire.openai_chat import OpenAIChat


CHAT = OpenAIChat()
PATH = "/v1/chat/completions"
ASKED = dialects.asked(CHAT)


def read(document: Mapping[str, Any] | str) -> CallFacts:
    """Read a plain answer; text is taken as it is, for numbers that Python would write otherwise."""
    return dialects.read(CHAT, document)


def read_stream(*chunks: Mapping[str, Any] | str) -> CallFacts:
    """Read a stream of chunks; text stands for itself."""
    reader = BodyReader(CHAT.draft())
    for chunk in chunks:
        reader.feed(f"data: {chunk if isinstance(chunk, str) else json.dumps(chunk)}\n\n".encode())
    return reader.close()


def delta(content: str | None = None, finish: str | None = None, **more: object) -> dict[str, Any]:
    """One chunk of the first choice."""
    said = more if content is None else {"content": content, **more}
    return {"id": "c-1", "model": "m", "choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


# -- requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/v1/chat/completions/",
        "/chat/completions",
        "chat/completions",
        "/openai/v1/chat/completions",
        "/openai/deployments/gpt-4o/chat/completions",
        "/api/v1/chat/completions",
        "/v1/accounts/a/gateways/b/openai/chat/completions",
        "/v1beta/openai/chat/completions",
        "/hf-inference/models/org/name/v1/chat/completions",
    ],
)
def test_chat_is_spoken_at_every_path_that_ends_in_it(path: str) -> None:
    """Gateways put what they like before it."""
    assert CHAT.speaks("POST", path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/chat/completions"),
        ("DELETE", "/v1/chat/completions"),
        ("post", "/v1/chat/completions"),
        ("POST", "/v1/chat/completions/chatcmpl-1"),
        ("POST", "/v1/chat/completions/chatcmpl-1/messages"),
        ("POST", "/v1/xchat/completions"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1/messages"),
        ("POST", "/v1/responses"),
        ("POST", "/v1/chat/completions\n"),
        ("POST", "/"),
        ("POST", ""),
    ],
)
def test_chat_is_not_spoken_elsewhere(method: str, path: str) -> None:
    """Stored completions, other methods and other APIs are not chats."""
    assert not CHAT.speaks(method, path)


def test_a_request_is_read_whole() -> None:
    """Every fact that events and mocks know of a request."""
    body = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 20,
        "tools": [
            {"type": "function", "function": {"name": "search"}},
            {"type": "custom", "custom": {"name": "free"}},
            {"type": "function", "function": {"name": "add"}},
        ],
    }
    facts = dialects.asked(CHAT, body, path=PATH, provider="openai")
    assert facts == RequestFacts(
        api="openai.chat",
        provider="openai",
        model="gpt-4o",
        stream=True,
        wants_usage=True,
        max_tokens=20,
        tools=("search", "add"),
    )
    assert facts.body is body


def test_an_empty_request_is_read() -> None:
    """Nothing stated is nothing known; a plain answer states its usage unasked."""
    assert dialects.asked(CHAT, {}, path=PATH, provider="unknown") == RequestFacts(
        api="openai.chat", provider="unknown"
    )


DEPLOYMENT = "/openai/deployments/my-gpt/chat/completions"


@pytest.mark.parametrize(
    ("body", "path", "model"),
    [
        ({}, DEPLOYMENT, "my-gpt"),
        ({"model": ""}, DEPLOYMENT, "my-gpt"),
        ({"model": "gpt-4o"}, DEPLOYMENT, "gpt-4o"),
        ({"model": 5}, PATH, None),
        ({}, PATH, None),
    ],
    ids=["deployment", "empty-model", "model-wins", "not-text", "none"],
)
def test_the_model_is_the_bodys_or_the_deployments(body: Mapping[str, Any], path: str, model: str | None) -> None:
    """Azure names it in the path."""
    assert dialects.asked(CHAT, body, path=path, provider="azure").model == model


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({}, True),
        ({"stream": False}, True),
        ({"stream": "yes"}, True),
        ({"stream": True}, False),
        ({"stream": True, "stream_options": None}, False),
        ({"stream": True, "stream_options": {"include_usage": False}}, False),
        ({"stream": True, "stream_options": {"include_usage": True}}, True),
    ],
    ids=json.dumps,
)
def test_a_stream_has_usage_only_if_the_request_asks(body: Mapping[str, Any], *, wanted: bool) -> None:
    """The option counts for streams alone."""
    assert dialects.asked(CHAT, body, path=PATH, provider="openai").wants_usage is wanted


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        ({"max_tokens": 7}, 7),
        ({"max_tokens": 7, "max_completion_tokens": 9}, 9),
        ({"max_tokens": "7"}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": 7.5}, None),
        ({}, None),
    ],
    ids=json.dumps,
)
def test_the_limit_on_output_is_read(body: Mapping[str, Any], limit: int | None) -> None:
    """The newer name wins, and what is no count is no limit."""
    assert dialects.asked(CHAT, body, path=PATH, provider="openai").max_tokens == limit


# -- plain answers -------------------------------------------------------------------------

PLAIN = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-2024-08-06",
    "service_tier": "default",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": "Let me see.",
                "tool_calls": [
                    {"id": "call_a", "type": "function", "function": {"name": "search", "arguments": '{"q": 1}'}},
                    {"id": "call_b", "type": "function", "function": {"name": "add", "arguments": ""}},
                ],
            },
        }
    ],
    "usage": {
        "prompt_tokens": 100,
        "completion_tokens": 30,
        "total_tokens": 130,
        "prompt_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 8, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 12},
    },
}


def test_a_plain_answer_is_read_whole() -> None:
    """Every fact that it states."""
    assert read(PLAIN) == CallFacts(
        id="chatcmpl-1",
        model="gpt-4o-2024-08-06",
        text="Let me see.",
        tool_calls=(
            ToolCall(name="search", arguments='{"q": 1}', id="call_a"),
            ToolCall(name="add", arguments="", id="call_b"),
        ),
        usage=Usage(
            input_tokens=100,
            output_tokens=30,
            total_tokens=130,
            cache_read_tokens=64,
            cache_write_tokens=8,
            reasoning_tokens=12,
            input_audio_tokens=0,
        ),
        finish_reason=FinishReason.TOOL_CALLS,
        raw_finish_reason="tool_calls",
        service_tier="default",
        terminated=True,
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ("", ""),
        ("hi", "hi"),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "hi"}], "hi"),
        ([{"type": "text", "text": "h"}, {"type": "text", "text": "i"}], "hi"),
        ([{"type": "text"}, "hi", None], ""),
        ({"text": "hi"}, ""),
    ],
    ids=["null", "empty", "text", "mistral-thinking", "parts", "strange-parts", "object"],
)
def test_content_is_text_or_parts_of_text(content: object, text: str) -> None:
    """Mistral's thinking is not what the user sees."""
    assert read({"choices": [{"index": 0, "message": {"content": content}}]}).text == text


def test_only_the_first_choice_is_quoted() -> None:
    """The text of an answer with ``n`` choices is that of choice 0, in whatever order they come."""
    choices = [{"index": i, "message": {"content": str(i)}, "finish_reason": "stop"} for i in (1, 0, 2)]
    assert read({"choices": choices}).text == "0"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["stop", "length"], ("length", FinishReason.LENGTH)),
        (["length", "stop"], ("length", FinishReason.LENGTH)),
        (["stop", "content_filter", "length"], ("length", FinishReason.LENGTH)),
        (["stop", "content_filter"], ("stop", FinishReason.STOP)),
        ([None, "stop"], ("stop", FinishReason.STOP)),
        ([None, None], (None, None)),
    ],
    ids=str,
)
def test_one_cut_choice_makes_a_cut_answer(words: list[str | None], expected: tuple[object, object]) -> None:
    """Else the first choice that says why it stopped speaks for all."""
    facts = read({"choices": [{"index": i, "finish_reason": word} for i, word in enumerate(words)]})
    assert (facts.raw_finish_reason, facts.finish_reason) == expected


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("eos", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("model_length", FinishReason.LENGTH),
        ("tool_calls", FinishReason.TOOL_CALLS),
        ("function_call", FinishReason.TOOL_CALLS),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("error", FinishReason.ERROR),
        ("insufficient_system_resource", FinishReason.UNKNOWN),
        ("STOP", FinishReason.UNKNOWN),
    ],
)
def test_a_finish_reason_keeps_the_providers_word(word: str, reason: FinishReason) -> None:
    """A word that nobody knows is unknown, never taken for success."""
    facts = read({"choices": [{"index": 0, "finish_reason": word}]})
    assert facts == CallFacts(finish_reason=reason, raw_finish_reason=word, terminated=True)


@pytest.mark.parametrize("word", [None, "", 5, ["stop"]], ids=repr)
def test_an_answer_without_a_finish_reason_is_not_terminated(word: object) -> None:
    """What is no word is no reason."""
    assert read({"choices": [{"index": 0, "finish_reason": word, "message": {"content": "hi"}}]}) == CallFacts(
        text="hi"
    )


# -- usage ---------------------------------------------------------------------------------

USAGES: dict[str, tuple[Mapping[str, Any], Usage | None]] = {
    "openai": (
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "accepted_prediction_tokens": 0},
        },
        Usage(
            input_tokens=2006,
            output_tokens=300,
            total_tokens=2306,
            cache_read_tokens=1920,
            reasoning_tokens=0,
            input_audio_tokens=0,
        ),
    ),
    "cache-write": (
        {
            "prompt_tokens": 20,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 12},
        },
        Usage(input_tokens=20, output_tokens=5, total_tokens=25, cache_read_tokens=0, cache_write_tokens=12),
    ),
    "deepseek": (
        {"prompt_tokens": 20, "completion_tokens": 5, "prompt_cache_hit_tokens": 12, "prompt_cache_miss_tokens": 8},
        Usage(input_tokens=20, output_tokens=5, total_tokens=25, cache_read_tokens=12),
    ),
    "together": (
        {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25, "cached_tokens": 7},
        Usage(input_tokens=20, output_tokens=5, total_tokens=25, cache_read_tokens=7),
    ),
    "mistral": (
        {"prompt_tokens": 70, "completion_tokens": 12, "total_tokens": 82, "num_cached_tokens": 69},
        Usage(input_tokens=70, output_tokens=12, total_tokens=82, cache_read_tokens=69),
    ),
    "huggingface": (
        {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "prompt_tokens_details": None},
        Usage(input_tokens=3, output_tokens=4, total_tokens=7),
    ),
    "details-win": (
        {
            "prompt_tokens": 20,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 0},
            "cached_tokens": 7,
        },
        Usage(input_tokens=20, output_tokens=5, total_tokens=25, cache_read_tokens=0),
    ),
    "xai-adds-reasoning": (
        {
            "prompt_tokens": 37,
            "completion_tokens": 530,
            "total_tokens": 800,
            "completion_tokens_details": {"reasoning_tokens": 233},
        },
        Usage(input_tokens=37, output_tokens=763, total_tokens=800, reasoning_tokens=233),
    ),
    "gemini-hides-thinking": (
        {"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109},
        Usage(input_tokens=35, output_tokens=74, total_tokens=109),
    ),
    "total-too-small": (
        {"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 0},
        Usage(input_tokens=35, output_tokens=12, total_tokens=0),
    ),
    "total-alone": ({"total_tokens": 9}, Usage(total_tokens=9)),
    "input-alone": ({"prompt_tokens": 9}, Usage(input_tokens=9)),
    "zeros": (
        {"prompt_tokens": 0, "completion_tokens": 0},
        Usage(input_tokens=0, output_tokens=0, total_tokens=0),
    ),
    "nulls": ({"prompt_tokens": None, "completion_tokens": None}, None),
    "other-counters": ({"queue_time": 0.1, "queries": 1}, None),
    "cached-over-input": (
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 3},
        },
        Usage(input_tokens=10, output_tokens=5, total_tokens=15, doubts=("11 cached tokens of 10 input tokens",)),
    ),
    "reasoning-over-output": (
        {"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 6}},
        Usage(input_tokens=10, output_tokens=5, total_tokens=15, doubts=("6 reasoning tokens of 5 output tokens",)),
    ),
}


@pytest.mark.parametrize(("stated", "usage"), USAGES.values(), ids=USAGES)
def test_usage_is_read_in_every_providers_spelling(stated: Mapping[str, Any], usage: Usage | None) -> None:
    """Cached tokens are inside the input, reasoning inside the output; what cannot be true is dropped."""
    assert read({"usage": stated}).usage == usage


@pytest.mark.parametrize("usage", [None, {}, [], "12", 12, [{"prompt_tokens": 1}]], ids=repr)
def test_usage_of_another_form_is_none(usage: object) -> None:
    """Nothing is made up."""
    assert read({"usage": usage}).usage is None


def test_groq_states_the_usage_of_a_stream_under_its_own_name() -> None:
    """``x_groq.usage`` in the last chunk."""
    usage = {"prompt_tokens": 18, "completion_tokens": 73, "total_tokens": 91, "queue_time": 0.1}
    facts = read_stream(delta("hi") | {"x_groq": {"id": "r"}}, delta(finish="stop") | {"x_groq": {"usage": usage}})
    assert facts.usage == Usage(input_tokens=18, output_tokens=73, total_tokens=91)


# -- costs ---------------------------------------------------------------------------------

COSTS: dict[str, tuple[str, Decimal | None]] = {
    "openrouter": ('{"cost": 0.0004970133333333333, "is_byok": false}', Decimal("0.0004970133333333333")),
    "more-digits-than-a-float": ('{"cost": 0.12345678901234567890123}', Decimal("0.12345678901234567890123")),
    "exponent": ('{"cost": 4e-05}', Decimal("0.00004")),
    "whole": ('{"cost": 2}', Decimal(2)),
    "zero": ('{"cost": 0}', Decimal(0)),
    "byok": (
        '{"cost": 0.0001, "is_byok": true, "cost_details": {"upstream_inference_cost": 0.0003253}}',
        Decimal("0.0004253"),
    ),
    "byok-without-upstream": ('{"cost": 0, "is_byok": true, "cost_details": {"upstream_inference_cost": null}}', None),
    "not-byok": ('{"cost": 0.1, "is_byok": false, "cost_details": {"upstream_inference_cost": 0.2}}', Decimal("0.1")),
    "perplexity": (
        '{"cost": {"input_tokens_cost": 0.001, "request_cost": 0.005, "total_cost": 0.006}}',
        Decimal("0.006"),
    ),
    "perplexity-without-total": ('{"cost": {"request_cost": 0.005}}', None),
    "xai": ('{"cost_in_usd_ticks": 37756000}', Decimal("0.0037756")),
    "xai-one-tick": ('{"cost_in_usd_ticks": 1}', Decimal("1e-10")),
    "xai-wins": ('{"cost_in_usd_ticks": 10000000000, "cost": 5}', Decimal(1)),
    "absent": ("{}", None),
    "null": ('{"cost": null}', None),
    "text": ('{"cost": "0.1"}', None),
    "negative": ('{"cost": -0.1}', None),
    "bool": ('{"cost": true}', None),
    "nan": ('{"cost": NaN}', None),
    "infinite": ('{"cost": Infinity}', None),
    "absurd": ('{"cost": 1e400}', None),
    "absurdly-small": ('{"cost": 1e-999999}', None),
    "list": ('{"cost": [0.1]}', None),
}


@pytest.mark.parametrize(("stated", "cost"), COSTS.values(), ids=COSTS)
def test_a_cost_that_the_provider_states_is_exact(stated: str, cost: Decimal | None) -> None:
    """Digit by digit, and none is better than a wrong one."""
    assert read('{"usage": ' + stated + "}").stated_cost_usd == cost


@pytest.mark.parametrize("name", ["byok", "xai"])
def test_a_cost_does_not_depend_on_the_users_arithmetic(name: str) -> None:
    """The code under test may have asked for two digits in its own sums."""
    stated, cost = COSTS[name]
    with localcontext() as context:
        context.prec = 2
        assert read('{"usage": ' + stated + "}").stated_cost_usd == cost


def test_a_stream_states_its_cost_too() -> None:
    """OpenRouter puts it in the last chunk, beside a choice."""
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "cost": 0.25}
    facts = read_stream(delta("hi"), delta("", "stop") | {"usage": usage}, "[DONE]")
    assert (facts.stated_cost_usd, facts.usage) == (
        Decimal("0.25"),
        Usage(input_tokens=2, output_tokens=3, total_tokens=5),
    )


# -- streams -------------------------------------------------------------------------------


def test_a_stream_is_read_whole() -> None:
    """Text and tool calls in pieces, usage in a chunk of its own."""
    facts = read_stream(
        {"choices": [], "prompt_filter_results": []},
        delta("", role="assistant"),
        delta("Let "),
        delta("me see.", tool_calls=[{"index": 0, "id": "a", "function": {"name": "search", "arguments": ""}}]),
        delta(tool_calls=[{"index": 1, "id": "b", "function": {"name": "add"}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": '{"q"'}}]),
        delta(tool_calls=[{"index": 0, "id": "", "function": {"name": None, "arguments": ": 1}"}}]),
        delta(finish="tool_calls") | {"service_tier": "flex"},
        {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9}},
        "[DONE]",
    )
    assert facts == CallFacts(
        id="c-1",
        model="m",
        text="Let me see.",
        tool_calls=(
            ToolCall(name="search", arguments='{"q": 1}', id="a"),
            ToolCall(name="add", arguments="", id="b"),
        ),
        usage=Usage(input_tokens=4, output_tokens=5, total_tokens=9),
        finish_reason=FinishReason.TOOL_CALLS,
        raw_finish_reason="tool_calls",
        service_tier="flex",
        terminated=True,
    )


@pytest.mark.parametrize(
    ("chunks", "terminated"),
    [
        ([], False),
        ([delta("hi")], False),
        ([delta("hi"), delta(finish="stop")], True),
        ([delta("hi"), "[DONE]"], True),
        ([delta("hi"), " [DONE] "], True),
        ([delta("[DONE]")], False),
    ],
    ids=["empty", "cut", "finish-alone", "done-alone", "done-with-spaces", "done-as-text"],
)
def test_a_stream_is_terminated_by_its_finish_or_its_mark(chunks: list[Any], *, terminated: bool) -> None:
    """Whatever else is missing, one of the two says that the provider was done."""
    assert read_stream(*chunks).terminated is terminated


def test_nothing_counts_after_the_end() -> None:
    """What follows ``[DONE]`` belongs to nobody."""
    assert read_stream(delta("hi", "stop"), "[DONE]", delta(" there", "length")).text == "hi"


def test_usage_that_grows_is_read_at_its_last_value() -> None:
    """Some servers repeat it in every chunk."""
    usages = [{"prompt_tokens": 4, "completion_tokens": n} for n in (1, 2, 3)]
    facts = read_stream(*(delta("x") | {"usage": usage} for usage in usages), delta(finish="stop") | {"usage": None})
    assert facts.usage == Usage(input_tokens=4, output_tokens=3, total_tokens=7)


def test_comments_and_chunks_that_are_not_json_are_passed_over() -> None:
    """Gateways keep a connection alive in their own ways."""
    reader = BodyReader(CHAT.draft())
    for chunk in (b": OPENROUTER PROCESSING\n\n", b"\n\n", b"data: {\n\n", b"data: null\n\n", b'data: "hi"\n\n'):
        reader.feed(chunk)
    reader.feed(b"data: " + json.dumps(delta("hi", "stop")).encode() + b"\r\n\r\n")
    facts = reader.close()
    assert (facts.text, facts.terminated) == ("hi", True)


@pytest.mark.parametrize(
    ("chunk", "seen"),
    [
        (delta("", role="assistant"), False),
        (delta(finish="stop"), False),
        ({"choices": [], "usage": {"prompt_tokens": 1}}, False),
        (delta("h"), True),
        (delta(content=[{"type": "thinking", "thinking": []}]), True),  # type: ignore[arg-type]
        (delta(reasoning_content="hm"), True),
        (delta(reasoning="hm"), True),
        (delta(tool_calls=[{"index": 0, "function": {"name": "a"}}]), True),
        ({"choices": [{"index": 1, "delta": {"content": "h"}}]}, True),
    ],
    ids=["role", "finish", "usage", "text", "thinking", "reasoning-content", "reasoning", "tool", "other-choice"],
)
def test_the_first_token_is_the_first_that_is_said_or_thought(chunk: Mapping[str, Any], *, seen: bool) -> None:
    """Time to first token is taken from here."""
    reader = BodyReader(CHAT.draft())
    reader.feed(f"data: {json.dumps(chunk)}\n\n".encode())
    assert reader.has_content is seen


# -- errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "m", "type": "requests", "param": None, "code": "rate_limit_exceeded"}, "rate_limit_exceeded"),
        ({"message": "m", "type": "invalid_request_error", "code": None}, "invalid_request_error"),
        ({"message": "Provider returned error", "code": 429}, "error"),
        ("model not found", "error"),
        ([{"message": "m"}], "error"),
        (None, None),
        ("", None),
    ],
    ids=["code", "type", "openrouter", "text", "list", "null", "empty"],
)
def test_an_error_is_named_in_the_providers_word(error: object, kind: str | None) -> None:
    """The code says more than the type; where neither is a word, it is an error all the same."""
    assert read({"error": error}) == CallFacts(error_type=kind)


def test_an_error_in_the_middle_of_a_stream_is_seen() -> None:
    """The text before it stands, the answer has no end."""
    facts = read_stream(delta("hi"), {"error": {"message": "failed", "code": "tool_use_failed", "status_code": 400}})
    assert facts == CallFacts(id="c-1", model="m", text="hi", error_type="tool_use_failed")


def test_an_error_before_the_end_of_a_stream_is_kept() -> None:
    """OpenRouter says that it failed, and then that it is done."""
    facts = read_stream(delta("hi"), {"error": {"code": 400, "message": "Token limit reached"}}, "[DONE]")
    assert (facts.error_type, facts.terminated) == ("error", True)


# -- writing -------------------------------------------------------------------------------

SAID = CallFacts(
    id="chatcmpl-1",
    model="gpt-4o",
    text="Hé",
    tool_calls=(ToolCall(name="add", arguments='{"a": 1}', id="call_a"),),
    usage=Usage.checked(input_tokens=9, output_tokens=4, cache_read_tokens=3, reasoning_tokens=1),
    finish_reason=FinishReason.TOOL_CALLS,
    service_tier="default",
    stated_cost_usd=Decimal("0.0000001"),
)
USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 4,
    "total_tokens": 13,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 1},
    "cost": 0.0000001,
}
HEAD = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": "gpt-4o", "service_tier": "default"}
TOOL = {"id": "call_a", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


def test_a_plain_answer_is_written_in_the_providers_shape() -> None:
    """Field by field what the real service sends."""
    message = {"role": "assistant", "content": "Hé", "refusal": None, "annotations": [], "tool_calls": [TOOL]}
    assert json.loads(CHAT.write_response(SAID, ASKED).body) == {
        **HEAD,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}],
        "usage": USAGE,
    }


@pytest.mark.parametrize("usage", [True, False], ids=["usage", "no-usage"])
def test_a_stream_is_written_in_the_providers_shape(*, usage: bool) -> None:
    """The order of the real service; without ``include_usage`` no chunk has the key."""
    tail: dict[str, object] = {"usage": None} if usage else {}
    head = {**HEAD, "object": "chat.completion.chunk"}
    deltas: list[tuple[dict[str, object], str | None]] = [
        ({"role": "assistant", "content": ""}, None),
        ({"content": "H"}, None),
        ({"content": "é"}, None),
        ({"tool_calls": [{"index": 0, **TOOL, "function": {"name": "add", "arguments": ""}}]}, None),
        ({"tool_calls": [{"index": 0, "function": {"arguments": '{"a": 1}'}}]}, None),
        ({}, "tool_calls"),
    ]
    expected: list[dict[str, object]] = [
        {**head, "choices": [{"index": 0, "delta": said, "logprobs": None, "finish_reason": finish}], **tail}
        for said, finish in deltas
    ]
    if usage:
        expected.append({**head, "choices": [], "usage": USAGE})
    *chunks, last = CHAT.write_stream(SAID, ["H", "é"], replace(ASKED, wants_usage=usage)).chunks
    assert [json.loads(chunk.removeprefix(b"data: ").removesuffix(b"\n\n")) for chunk in chunks] == expected
    assert last == b"data: [DONE]\n\n"


def test_a_cost_is_written_digit_by_digit() -> None:
    """A mock's price is as exact as a provider's."""
    cost = Decimal("0.12345678901234567890123")
    facts = CallFacts(usage=Usage(total_tokens=1), stated_cost_usd=cost)
    assert dialects.read(CHAT, CHAT.write_response(facts, ASKED).body) == facts


def test_an_answer_of_tool_calls_alone_has_null_content() -> None:
    """As the real service says it."""
    call = CallFacts(tool_calls=(ToolCall(name="add", id="a"),))
    first = CHAT.write_stream(call, [], ASKED).chunks[0]
    assert json.loads(CHAT.write_response(call, ASKED).body)["choices"][0]["message"]["content"] is None
    assert json.loads(first.removeprefix(b"data: "))["choices"][0]["delta"] == {"role": "assistant", "content": None}


JSON = {"content-type": "application/json"}
ERRORS = {
    "rate_limit": (429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    "overloaded": (503, "server_error", None, "The engine is currently overloaded, please try again later."),
    "server_error": (500, "server_error", None, "The server had an error while processing your request."),
    "auth": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
}


@pytest.mark.parametrize(("kind", "error"), ERRORS.items(), ids=ERRORS)
def test_a_failure_is_written_in_the_providers_shape(kind: str, error: tuple[int, str, str | None, str]) -> None:
    """And is read back as what it is."""
    status, type_, code, message = error
    failure = CHAT.write_error(Fault(kind=Failure(kind)), ASKED)
    assert (failure.status, failure.headers, json.loads(failure.body)) == (
        status,
        JSON,
        {"error": {"message": message, "type": type_, "param": None, "code": code}},
    )
    assert dialects.read(CHAT, failure.body) == CallFacts(error_type=code or type_)


def test_a_failure_says_when_to_come_back() -> None:
    """In both headers that the SDKs read."""
    failure = CHAT.write_error(Fault(kind=Failure.RATE_LIMIT, retry_after_s=0.05), ASKED)
    headers = JSON | {"retry-after": "0.05", "retry-after-ms": "50"}
    assert (failure.status, failure.headers) == (429, headers)


# -- what the SDKs of others insist on -----------------------------------------------------


def documents(chunks: Sequence[bytes]) -> list[dict[str, Any]]:
    """What the events of a stream say."""
    return [json.loads(chunk.removeprefix(b"data: ")) for chunk in chunks]


def test_openrouter_names_its_fingerprint() -> None:
    """In every document, though it is null."""
    asked = dialects.asked(CHAT, provider="openrouter")
    *chunks, _ = CHAT.write_stream(SAID, ["H", "é"], asked).chunks
    written = [json.loads(CHAT.write_response(SAID, asked).body), *documents(chunks)]
    assert [document["system_fingerprint"] for document in written] == [None] * 7


def test_openrouter_fails_in_numbers() -> None:
    """The code is the status; inside a stream it stands in a chunk, which is not the end of the stream."""
    asked = dialects.asked(CHAT, provider="openrouter")
    fault, error = Fault(kind=Failure.AUTH), {"message": "Incorrect API key provided.", "code": 401}
    plain = CHAT.write_error(fault, asked)
    assert (plain.status, json.loads(plain.body)) == (401, {"error": error})

    broken = CHAT.write_broken_stream(SAID, ["H"], fault, asked)
    *chunks, done = broken.chunks
    last = documents(chunks)[-1]
    assert (last["error"], last["choices"][0]["finish_reason"], done) == (error, "error", b"data: [DONE]\n\n")
    assert dialects.read(CHAT, broken.body) == CallFacts(
        id="chatcmpl-1",
        model="gpt-4o",
        text="H",
        error_type="error",
        finish_reason=FinishReason.ERROR,
        raw_finish_reason="error",
        terminated=True,
    )


@pytest.mark.parametrize("provider", ["deepseek", "groq", "huggingface", "mistral", "openrouter", "together"])
def test_some_state_the_usage_of_a_stream_unasked(provider: str) -> None:
    """In the chunk that says why the model stopped."""
    asked = dialects.asked(CHAT, {"stream": True}, provider=provider)
    *chunks, _ = CHAT.write_stream(SAID, ["H"], asked).chunks
    *_, last = documents(chunks)
    usage = json.loads(CHAT.write_response(SAID, asked).body)["usage"]
    assert asked.wants_usage
    assert (last["choices"][0]["finish_reason"], last["usage"]) == ("tool_calls", usage)


def test_groq_states_the_usage_of_a_stream_twice() -> None:
    """Clients look for it in either place; LiteLLM also looks for a service tier, and fails where there is none."""
    asked = dialects.asked(CHAT, {"stream": True}, provider="groq")
    *chunks, _ = CHAT.write_stream(CallFacts(id="a", usage=SAID.usage), ["H"], asked).chunks
    *_, last = documents(chunks)
    assert last["x_groq"] == {"id": "a", "usage": last["usage"]}
    assert [document["service_tier"] for document in documents(chunks)] == [None] * 3


@pytest.mark.parametrize("provider", ["groq", "mistral"])
def test_some_stream_a_tool_call_whole(provider: str) -> None:
    """Mistral's SDK refuses a part of a call that has no name."""
    *chunks, _ = CHAT.write_stream(SAID, [], dialects.asked(CHAT, provider=provider)).chunks
    deltas = [document["choices"][0]["delta"] for document in documents(chunks)]
    assert deltas == [{"role": "assistant", "content": None}, {"tool_calls": [{"index": 0, **TOOL}]}, {}]
