"""Cohere chat, versions 2 and 1: requests, answers, streams and failures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dialects
from pytest_llmtelemetry.facts import CallFacts, FinishReason, Overflow, RequestFacts, ToolCall, Usage
from pytest_llmtelemetry.wire.cohere_chat import CohereChat
from pytest_llmtelemetry.wire.cohere_chat_v1 import CohereChatV1
from pytest_llmtelemetry.wire.dialect import Dialect, Failure, Fault


V2, V1 = CohereChat(), CohereChatV1()
BOTH = pytest.mark.parametrize("dialect", [V2, V1], ids=lambda dialect: str(dialect.api))

ASKED = RequestFacts(api="", provider="cohere")

USER = {"role": "user", "content": "Hi"}

UNITS = {
    "tokens": {"input_tokens": 30, "output_tokens": 9},
    "billed_units": {"input_tokens": 4, "output_tokens": 8},
    "cached_tokens": 16,
}
USAGE = Usage(
    input_tokens=30,
    output_tokens=9,
    total_tokens=39,
    cache_read_tokens=16,
    billed_input_tokens=4,
    billed_output_tokens=8,
)


def events(*documents: Mapping[str, Any]) -> str:
    """A stream of version 2."""
    return "".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in documents)


def lines(*documents: Mapping[str, Any]) -> str:
    """A stream of version 1."""
    return "".join(f"{json.dumps(each)}\n" for each in documents)


# -- requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "path", "expected"),
    [
        (V2, "/v2/chat", True),
        (V2, "/cohere/v2/chat/", True),
        (V2, "/v1/chat", False),
        (V2, "/v2/chat/completions", False),
        (V2, "/xv2/chat", False),
        (V1, "/v1/chat", True),
        (V1, "/gateway/v1/chat/", True),
        (V1, "/v2/chat", False),
        (V1, "/v1/chat/completions", False),
    ],
)
def test_a_path_is_recognised(dialect: Dialect, path: str, expected: bool) -> None:
    """By its end, and only if something is posted to it."""
    assert (dialect.speaks("POST", path), dialect.speaks("GET", path)) == (expected, False)


@pytest.mark.parametrize(
    ("dialect", "body", "expected"),
    [
        (V2, {"model": "m", "messages": [USER]}, True),
        (V2, {"messages": [USER]}, False),
        (V2, {"model": "m", "messages": []}, False),
        (V2, {"model": "m", "messages": ["Hi"]}, False),
        (V2, {"model": "m", "messages": [USER, {"text": "Hi"}]}, False),
        (V2, {"model": 1, "messages": [USER]}, False),
        (V2, {"model": "m", "message": "Hi"}, False),
        (V1, {"model": "m", "message": "Hi"}, True),
        (V1, {"message": "Hi"}, False),
        (V1, {"model": "m", "message": {}}, False),
        (V1, {"model": "m", "messages": [USER]}, False),
    ],
)
def test_a_body_fits_if_it_has_a_model_and_a_prompt(dialect: Dialect, body: Mapping[str, Any], expected: bool) -> None:
    """An application's own API has other keys."""
    assert dialect.fits(body) is expected


@pytest.mark.parametrize(
    ("dialect", "body", "expected"),
    [
        (
            V2,
            {
                "model": "command-a",
                "stream": True,
                "max_tokens": 5,
                "tools": [{"type": "function", "function": {"name": "find"}}, {"function": {}}, "x"],
            },
            RequestFacts(
                api="cohere.v2.chat", provider="cohere", model="command-a", stream=True, max_tokens=5, tools=("find",)
            ),
        ),
        (
            V2,
            {"model": [], "stream": "yes", "max_tokens": "5", "tools": 1},
            RequestFacts(api="cohere.v2.chat", provider="cohere"),
        ),
        (
            V1,
            {"model": "command-r", "stream": True, "max_tokens": 5, "tools": [{"name": "find"}, {"name": 1}, None]},
            RequestFacts(
                api="cohere.v1.chat", provider="cohere", model="command-r", stream=True, max_tokens=5, tools=("find",)
            ),
        ),
        (V1, {"stream": 1, "max_tokens": True, "tools": {}}, RequestFacts(api="cohere.v1.chat", provider="cohere")),
    ],
    ids=["v2", "v2-junk", "v1", "v1-junk"],
)
def test_a_request_is_read(dialect: Dialect, body: Mapping[str, Any], expected: RequestFacts) -> None:
    """What it asks for, and its body; junk asks for nothing."""
    facts = dialects.asked(dialect, body, provider="cohere")
    assert (facts, facts.body) == (expected, body)


# -- answers of version 2 ------------------------------------------------------------------


def test_an_answer_is_read() -> None:
    """Its words, its thoughts, and what it took."""
    message = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Hm."},
            {"type": "text", "text": "Hi"},
            {"type": "text", "text": "!"},
        ],
    }
    document = {"id": "a", "message": message, "finish_reason": "COMPLETE", "usage": UNITS}
    assert dialects.read(V2, document) == CallFacts(
        id="a",
        text="Hi!",
        reasoning="Hm.",
        usage=USAGE,
        finish_reason=FinishReason.STOP,
        raw_finish_reason="COMPLETE",
        terminated=True,
    )


def test_tool_calls_are_read_with_their_plan() -> None:
    """The plan is what the model says to itself."""
    function = {"name": "find", "arguments": '{"q": 1}'}
    message = {"tool_plan": "I look.", "tool_calls": [{"id": "x", "function": function}, {"id": "y", "function": {}}]}
    assert dialects.read(V2, {"message": message, "finish_reason": "TOOL_CALL"}) == CallFacts(
        reasoning="I look.",
        tool_calls=(ToolCall(name="find", arguments='{"q": 1}', id="x"), ToolCall(name="", arguments="", id="y")),
        finish_reason=FinishReason.TOOL_CALLS,
        raw_finish_reason="TOOL_CALL",
        terminated=True,
    )


def test_a_stream_is_read() -> None:
    """Its thoughts, plan, words and tool calls come in pieces; the last event says what it took."""

    def said(kind: str, message: Mapping[str, Any], **more: int) -> dict[str, Any]:
        return {"type": kind, "delta": {"message": message}, **more}

    body = events(
        {"id": "a", **said("message-start", {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []})},
        said("content-start", {"content": {"type": "thinking", "thinking": "H"}}, index=0),
        said("content-delta", {"content": {"thinking": "m."}}, index=0),
        {"type": "content-end", "index": 0},
        said("tool-plan-delta", {"tool_plan": " I look."}),
        said("content-start", {"content": {"type": "text", "text": ""}}, index=1),
        said("content-delta", {"content": {"text": "Hi"}}, index=1),
        said("citation-start", {"citations": {"text": "Hi", "start": 0, "end": 2}}, index=0),
        said("tool-call-start", {"tool_calls": {"id": "x", "function": {"name": "find", "arguments": ""}}}, index=0),
        said("tool-call-delta", {"tool_calls": {"function": {"arguments": '{"q":'}}}, index=0),
        said("tool-call-start", {"tool_calls": {"id": "y", "function": {"name": "sum", "arguments": ""}}}, index=1),
        said("tool-call-delta", {"tool_calls": {"function": {"arguments": " 1}"}}}, index=0),
        said("tool-call-delta", {"tool_calls": {"function": {"arguments": "{}"}}}, index=1),
        {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": UNITS}},
    )
    assert dialects.read(V2, body + "data: [DONE]\n\n") == CallFacts(
        id="a",
        text="Hi",
        reasoning="Hm. I look.",
        tool_calls=(ToolCall(name="find", arguments='{"q": 1}', id="x"), ToolCall(name="sum", arguments="{}", id="y")),
        usage=USAGE,
        finish_reason=FinishReason.TOOL_CALLS,
        raw_finish_reason="TOOL_CALL",
        terminated=True,
    )


@pytest.mark.parametrize(
    ("body", "terminated"),
    [
        (events({"type": "message-start", "id": "a"}, {"type": "content-end", "index": 0}), False),
        (events({"type": "message-start", "id": "a"}, {"type": "message-end", "delta": {}}), True),
        (events({"type": "message-start", "id": "a"}) + "data: [DONE]\n\n", True),
    ],
    ids=["cut", "ended", "done"],
)
def test_a_stream_is_over_when_it_says_so(body: str, terminated: bool) -> None:
    """Even if it does not say why."""
    assert dialects.read(V2, body) == CallFacts(id="a", terminated=terminated)


@BOTH
@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("COMPLETE", FinishReason.STOP),
        ("STOP_SEQUENCE", FinishReason.STOP),
        ("MAX_TOKENS", FinishReason.LENGTH),
        ("ERROR_LIMIT", FinishReason.LENGTH),
        ("TOOL_CALL", FinishReason.TOOL_CALLS),
        ("ERROR_TOXIC", FinishReason.CONTENT_FILTER),
        ("ERROR", FinishReason.ERROR),
        ("TIMEOUT", FinishReason.ERROR),
        ("USER_CANCEL", FinishReason.ERROR),
        ("complete", FinishReason.UNKNOWN),
    ],
)
def test_a_finish_reason_is_read(dialect: Dialect, word: str, reason: FinishReason) -> None:
    """Its meaning, and the word itself."""
    facts = CallFacts(finish_reason=reason, raw_finish_reason=word, terminated=True)
    assert dialects.read(dialect, {"finish_reason": word}) == facts


# -- answers of version 1 ------------------------------------------------------------------


def test_an_older_answer_is_read() -> None:
    """The conversation that it repeats is none of its words."""
    document = {
        "response_id": "r",
        "generation_id": "g",
        "text": "Hi",
        "chat_history": [{"role": "USER", "message": "Hello"}, {"role": "CHATBOT", "message": "Hi"}],
        "finish_reason": "MAX_TOKENS",
        "meta": {"api_version": {"version": "1"}, **UNITS},
    }
    assert dialects.read(V1, document) == CallFacts(
        id="g",
        text="Hi",
        usage=USAGE,
        finish_reason=FinishReason.LENGTH,
        raw_finish_reason="MAX_TOKENS",
        terminated=True,
    )


def test_an_older_answer_without_a_generation_has_the_id_of_the_response() -> None:
    """One of both is always there."""
    assert dialects.read(V1, {"response_id": "r", "text": "Hi"}) == CallFacts(id="r", text="Hi")


CALLS = [{"name": "find", "parameters": {"q": 1.50}}, {"name": "sum"}]
CALLED = (ToolCall(name="find", arguments='{"q":1.5}'), ToolCall(name="sum", arguments="{}"))


def test_older_tool_calls_make_a_complete_answer_one_of_tools() -> None:
    """The word says nothing of them."""
    assert dialects.read(V1, {"text": "I look.", "tool_calls": CALLS, "finish_reason": "COMPLETE"}) == CallFacts(
        text="I look.",
        tool_calls=CALLED,
        finish_reason=FinishReason.TOOL_CALLS,
        raw_finish_reason="COMPLETE",
        terminated=True,
    )


def test_older_tool_calls_that_were_cut_stay_cut() -> None:
    """A limit is more than a call."""
    facts = dialects.read(V1, {"tool_calls": CALLS, "finish_reason": "MAX_TOKENS"})
    assert (facts.tool_calls, facts.finish_reason) == (CALLED, FinishReason.LENGTH)


OLD_STREAM = (
    {"event_type": "stream-start", "generation_id": "g"},
    {"event_type": "search-results", "search_results": [{"text": "no"}]},
    {"event_type": "text-generation", "text": "Hi"},
    {"event_type": "text-generation", "text": "!"},
    {"event_type": "citation-generation", "citations": [{"text": "Hi"}]},
)


def test_an_older_stream_is_read_once() -> None:
    """Its last event repeats all words, and says what they took."""
    response = {"response_id": "r", "generation_id": "g", "text": "Hi!", "finish_reason": "COMPLETE", "meta": UNITS}
    end = {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": response}
    assert dialects.read(V1, lines(*OLD_STREAM, end)) == CallFacts(
        id="g",
        text="Hi!",
        usage=USAGE,
        finish_reason=FinishReason.STOP,
        raw_finish_reason="COMPLETE",
        terminated=True,
    )


@pytest.mark.parametrize(
    ("end", "terminated"),
    [([], False), ([{"event_type": "stream-end"}], True), ([{"event_type": "stream-end", "response": {}}], True)],
    ids=["cut", "no-response", "empty-response"],
)
def test_an_older_stream_that_is_not_repeated_keeps_its_words(end: list[dict[str, Any]], terminated: bool) -> None:
    """What was said was said."""
    assert dialects.read(V1, lines(*OLD_STREAM, *end)) == CallFacts(id="g", text="Hi!", terminated=terminated)


OLD_TOOL_STREAM = (
    {"event_type": "stream-start", "generation_id": "g"},
    {"event_type": "tool-calls-chunk", "text": "I "},
    {"event_type": "tool-calls-chunk", "text": "look."},
    {"event_type": "tool-calls-chunk", "tool_call_delta": {"index": 0, "name": "find"}},
    {"event_type": "tool-calls-chunk", "tool_call_delta": {"index": 1, "name": "sum"}},
    {"event_type": "tool-calls-chunk", "tool_call_delta": {"index": 0, "parameters": '{"q": '}},
    {"event_type": "tool-calls-chunk", "tool_call_delta": {"index": 1, "parameters": "{}"}},
    {"event_type": "tool-calls-chunk", "tool_call_delta": {"index": 0, "parameters": "1.5}"}},
)
CALLED_IN_PIECES = (ToolCall(name="find", arguments='{"q": 1.5}'), CALLED[1])


@pytest.mark.parametrize(
    ("end", "calls", "finish"),
    [
        ([], CALLED_IN_PIECES, None),
        ([{"event_type": "tool-calls-generation", "tool_calls": CALLS}], CALLED, None),
        (
            [
                {"event_type": "tool-calls-generation", "tool_calls": CALLS},
                {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": {"tool_calls": CALLS}},
            ],
            CALLED,
            FinishReason.TOOL_CALLS,
        ),
    ],
    ids=["pieces", "whole", "whole-again"],
)
def test_older_tool_calls_of_a_stream_are_read_once(
    end: list[dict[str, Any]], calls: tuple[ToolCall, ...], finish: FinishReason | None
) -> None:
    """They come in pieces, then whole, then again."""
    facts = dialects.read(V1, lines(*OLD_TOOL_STREAM, *end))
    assert (facts.text, facts.tool_calls, facts.finish_reason) == ("I look.", calls, finish)


# -- usage ---------------------------------------------------------------------------------

USAGES: dict[str, tuple[object, Usage | None]] = {
    "all": (
        {**UNITS, "tokens": {"input_tokens": 30, "output_tokens": 9, "reasoning_tokens": 7, "image_tokens": 5}},
        replace(USAGE, reasoning_tokens=7, input_image_tokens=5),
    ),
    "cached-beyond-billed": (UNITS, USAGE),
    "only-billed": (
        {"billed_units": {"input_tokens": 4, "output_tokens": 8}},
        Usage(billed_input_tokens=4, billed_output_tokens=8),
    ),
    "only-output": ({"tokens": {"output_tokens": 9}}, Usage(output_tokens=9)),
    "zero": (
        {"tokens": {"input_tokens": 0, "output_tokens": 0}, "cached_tokens": 0},
        Usage(input_tokens=0, output_tokens=0, total_tokens=0, cache_read_tokens=0),
    ),
    "other-units": ({"billed_units": {"search_units": 1}}, None),
    "empty": ({}, None),
    "null": (None, None),
    "list": ([1], None),
    "nulls": ({"tokens": None, "billed_units": {"input_tokens": None}}, None),
    "too-many-cached": (
        {"tokens": {"input_tokens": 3}, "cached_tokens": 4},
        Usage(input_tokens=3, doubts=("4 cached tokens of 3 input tokens",)),
    ),
    "negative": (
        {"tokens": {"input_tokens": -1, "output_tokens": 9}},
        Usage(output_tokens=9, doubts=("tokens.input_tokens is '-1'",)),
    ),
    "text": ({"tokens": {"input_tokens": "3"}}, Usage(doubts=("tokens.input_tokens is '3'",))),
    "bool": ({"cached_tokens": True}, Usage(doubts=("cached_tokens is 'True'",))),
}


@pytest.mark.parametrize(("stated", "expected"), USAGES.values(), ids=USAGES)
def test_usage_is_read(stated: object, expected: Usage | None) -> None:
    """In the same words by both versions, plain and streamed."""
    assert [
        dialects.read(V2, {"usage": stated}).usage,
        dialects.read(V2, events({"type": "message-end", "delta": {"usage": stated}})).usage,
        dialects.read(V1, {"meta": stated}).usage,
        dialects.read(V1, lines({"event_type": "stream-end", "response": {"meta": stated}})).usage,
    ] == [expected] * 4


# -- failures ------------------------------------------------------------------------------

FAILURES: dict[str, tuple[Mapping[str, Any], str, Overflow | None]] = {
    "message": ({"id": "e", "message": "model 'x' not found"}, "error", None),
    "no-id": ({"message": "no api key supplied"}, "error", None),
    "empty-message": ({"id": "e", "message": ""}, "error", None),
    "word": ({"message": "no", "error_type": "SOME_WORD"}, "SOME_WORD", None),
    "of-a-gateway": ({"error": {"message": "no"}}, "error", None),
    "too-long": (
        {"message": "too many tokens: size limit exceeded by 20 tokens. The limit for this model is 100 tokens."},
        "error",
        Overflow(tokens=120, max_tokens=100),
    ),
    "too-long-by-word": ({"message": "no", "error_type": "TOO_MANY_TOKENS"}, "TOO_MANY_TOKENS", Overflow()),
    "too-long-without-the-limit": (
        {"message": "too many tokens: size limit exceeded by 20 tokens."},
        "error",
        Overflow(),
    ),
    "too-long-without-the-size": (
        {"message": "too many tokens: no. The limit for this model is 100 tokens."},
        "error",
        Overflow(max_tokens=100),
    ),
    "too-long-in-older-words": (
        {"message": "too many tokens: tokens in the prompt cannot exceed 100 - received 120. No."},
        "error",
        Overflow(tokens=120, max_tokens=100),
    ),
    "limit-of-the-output": (
        {
            "message": "too many tokens: max tokens must be at most 10, the maximum output - received 20.",
            "error_type": "TOO_MANY_TOKENS",
        },
        "TOO_MANY_TOKENS",
        None,
    ),
}


@BOTH
@pytest.mark.parametrize(("document", "error", "overflow"), FAILURES.values(), ids=FAILURES)
def test_a_failure_is_read(
    dialect: Dialect, document: Mapping[str, Any], error: str, overflow: Overflow | None
) -> None:
    """Cohere has a sentence for it, and seldom a word."""
    facts = dialects.read(dialect, document)
    assert facts == CallFacts(id=facts.id, error_type=error, overflow=overflow)


def test_an_answer_is_no_failure() -> None:
    """It has an id and a message too, but the message is an object."""
    assert dialects.read(V2, {"id": "a", "message": {"content": []}}) == CallFacts(id="a")


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (
            V2,
            events({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "no", "usage": UNITS}})
            + "data: [DONE]\n\n",
        ),
        (V1, lines({"event_type": "stream-end", "finish_reason": "ERROR", "error": "no", "response": {"meta": UNITS}})),
    ],
    ids=["v2", "v1"],
)
def test_a_stream_that_fails_is_not_over(dialect: Dialect, body: str) -> None:
    """What it took until then is stated, and counts."""
    assert dialects.read(dialect, body) == CallFacts(error_type="error", usage=USAGE)


STATUS = {
    Failure.BAD_REQUEST: 400,
    Failure.AUTH: 401,
    Failure.NOT_FOUND: 404,
    Failure.CONTEXT_WINDOW: 400,
    Failure.RATE_LIMIT: 429,
    Failure.SERVER_ERROR: 500,
    Failure.OVERLOADED: 503,
}


def failed(kind: Failure) -> CallFacts:
    """What is read of a failure that was written."""
    if kind is Failure.CONTEXT_WINDOW:
        return CallFacts(error_type="TOO_MANY_TOKENS", overflow=Overflow(tokens=120, max_tokens=100))
    return CallFacts(error_type="error")


@BOTH
@pytest.mark.parametrize("kind", Failure)
def test_a_failure_is_written(dialect: Dialect, kind: Failure) -> None:
    """With Cohere's status, and so that it is read again."""
    answer = dialect.write_error(Fault(kind=kind, tokens=120, max_tokens=100, retry_after_s=2), ASKED)
    assert answer.status == STATUS[kind]
    assert answer.headers == {"content-type": "application/json", "retry-after": "2", "retry-after-ms": "2000"}
    assert set(json.loads(answer.body)) - {"error_type"} == {"id", "message"}
    assert replace(dialects.read(dialect, answer.body), id=None) == failed(kind)


@BOTH
@pytest.mark.parametrize("kind", Failure)
def test_a_stream_that_breaks_is_written(dialect: Dialect, kind: Failure) -> None:
    """It begins as any other, and has no end."""
    fault = Fault(kind=kind, tokens=120, max_tokens=100)
    answer = dialect.write_broken_stream(CallFacts(id="a", text="Hi!"), ["Hi", "!"], fault, ASKED)
    assert answer.status == 200
    assert dialects.read(dialect, answer.body) == replace(failed(kind), id="a", text="Hi!")


# -- there and back ------------------------------------------------------------------------

words = st.text(min_size=1, max_size=12)
"""Such as ``"a1"``: anything but nothing."""

FINISHES = {
    "COMPLETE": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "TOOL_CALL": FinishReason.TOOL_CALLS,
    "ERROR_TOXIC": FinishReason.CONTENT_FILTER,
    "ERROR": FinishReason.ERROR,
    "Complete": FinishReason.UNKNOWN,
}


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Such as ``Usage(input_tokens=9, cache_read_tokens=4, billed_input_tokens=2)``."""

    def count(most: int | None = None) -> int | None:
        return draw(st.none() | st.integers(0, 10**12 if most is None else most))

    asked, produced = count(), count()
    usage = Usage.checked(
        input_tokens=asked,
        output_tokens=produced,
        cache_read_tokens=count(asked),
        input_image_tokens=count(asked),
        reasoning_tokens=count(produced),
        billed_input_tokens=count(),
        billed_output_tokens=count(),
    )
    return usage if usage != Usage() else Usage(output_tokens=0)


def arguments() -> st.SearchStrategy[str]:
    """Compact JSON objects, such as ``{"q":["é"]}``."""
    items = st.none() | st.integers() | st.text(max_size=4) | st.lists(st.booleans(), max_size=2)
    return st.dictionaries(st.text(max_size=4), items, max_size=3).map(
        lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    )


@st.composite
def answers(draw: st.DrawFn, *, old: bool) -> tuple[CallFacts, list[str]]:
    """An answer, and how its text is cut."""
    pieces = draw(st.lists(st.text(max_size=12), max_size=4))
    calls = (
        st.builds(ToolCall, name=words, arguments=arguments())
        if old
        else st.builds(ToolCall, name=words, arguments=st.text(max_size=12), id=words)
    )
    tools = tuple(draw(st.lists(calls, max_size=3)))
    word = draw(st.none() | st.sampled_from(sorted(FINISHES)))
    finish = None if word is None else FINISHES[word]
    if old and tools and finish is FinishReason.STOP:
        finish = FinishReason.TOOL_CALLS
    facts = CallFacts(
        id=draw(st.none() | words),
        text="".join(pieces),
        reasoning="" if old else draw(st.text(max_size=12)),
        tool_calls=tools,
        usage=draw(st.none() | usages()),
        finish_reason=finish,
        raw_finish_reason=word,
        terminated=word is not None,
    )
    return facts, pieces


places = st.lists(st.integers(min_value=0, max_value=9999), max_size=8)


def there_and_back(dialect: Dialect, facts: CallFacts, pieces: list[str], places: Iterable[int]) -> list[CallFacts]:
    """Written and read, plain and streamed."""
    plain, stream = dialect.write_response(facts, ASKED), dialect.write_stream(facts, pieces, ASKED)
    return [dialects.read(dialect, plain.body, places=places), dialects.read(dialect, stream.body, places=places)]


@given(answers(old=False), places)
def test_an_answer_is_read_as_it_was_written(said: tuple[CallFacts, list[str]], places: list[int]) -> None:
    """Plain and streamed, wherever the bytes are cut; a stream says that it is over."""
    facts, pieces = said
    assert there_and_back(V2, facts, pieces, places) == [facts, replace(facts, terminated=True)]


@given(answers(old=True), places)
def test_an_older_answer_is_read_as_it_was_written(said: tuple[CallFacts, list[str]], places: list[int]) -> None:
    """Plain and streamed, wherever the bytes are cut; a stream says that it is over."""
    facts, pieces = said
    assert there_and_back(V1, facts, pieces, places) == [facts, replace(facts, terminated=True)]


@BOTH
def test_a_stream_cut_at_any_byte_is_read_up_to_there(dialect: Dialect) -> None:
    """A prefix of the stream states a prefix of the text, and no count before the last event."""
    facts = CallFacts(id="a", text="Café au lait", usage=USAGE, finish_reason=FinishReason.STOP)
    body = dialect.write_stream(facts, ["Caf", "é au", " lait"], ASKED).body
    for end in range(len(body)):
        read = dialects.read(dialect, body[:end])
        assert facts.text.startswith(read.text), f"cut at {end}"
        assert read.usage in {None, USAGE}, f"cut at {end}"
        assert read.terminated == (read.usage is not None), f"cut at {end}"


@pytest.mark.parametrize(
    ("dialect", "reason", "word", "read"),
    [
        (V2, FinishReason.STOP, "COMPLETE", FinishReason.STOP),
        (V2, FinishReason.LENGTH, "MAX_TOKENS", FinishReason.LENGTH),
        (V2, FinishReason.TOOL_CALLS, "TOOL_CALL", FinishReason.TOOL_CALLS),
        (V2, FinishReason.CONTENT_FILTER, "ERROR_TOXIC", FinishReason.CONTENT_FILTER),
        (V2, FinishReason.REFUSAL, "COMPLETE", FinishReason.STOP),
        (V2, FinishReason.ERROR, "ERROR", FinishReason.ERROR),
        (V2, FinishReason.UNKNOWN, "COMPLETE", FinishReason.STOP),
        (V1, FinishReason.STOP, "COMPLETE", FinishReason.STOP),
        (V1, FinishReason.TOOL_CALLS, "COMPLETE", FinishReason.STOP),
        (V1, FinishReason.CONTENT_FILTER, "ERROR_TOXIC", FinishReason.CONTENT_FILTER),
    ],
)
def test_a_finish_reason_is_written(dialect: Dialect, reason: FinishReason, word: str, read: FinishReason) -> None:
    """In the nearest word that Cohere has."""
    expected = CallFacts(finish_reason=read, raw_finish_reason=word, terminated=True)
    assert there_and_back(dialect, CallFacts(finish_reason=reason), [], ()) == [expected, expected]


def test_a_tool_call_without_an_id_is_given_one() -> None:
    """It could not be answered without."""
    facts = CallFacts(tool_calls=(ToolCall(name="find"), ToolCall(name="find", id="x"), ToolCall(name="find")))
    expected = tuple(ToolCall(name="find", id=id_) for id_ in ("find_0", "x", "find_2"))
    assert [read.tool_calls for read in there_and_back(V2, facts, [], ())] == [expected, expected]


def test_older_arguments_that_are_no_object_are_none() -> None:
    """The wire has an object for them."""
    facts = CallFacts(tool_calls=(ToolCall(name="find", arguments="{"),))
    expected = (ToolCall(name="find", arguments="{}"),)
    assert [read.tool_calls for read in there_and_back(V1, facts, [], ())] == [expected, expected]


def test_an_answer_without_words_has_an_empty_text() -> None:
    """Clients take the first part without looking, unless there are tool calls."""
    answer = V2.write_response(CallFacts(), ASKED)
    assert json.loads(answer.body)["message"] == {"role": "assistant", "content": [{"type": "text", "text": ""}]}


def test_a_stream_is_of_named_events() -> None:
    """Each names itself once more, and the last word is no JSON."""
    answer = V2.write_stream(CallFacts(), ["Hi"], ASKED)
    names = ["message-start", "content-start", "content-delta", "content-end", "message-end"]
    assert answer.content_type == "text/event-stream"
    assert [chunk.partition(b"\n")[0].decode() for chunk in answer.chunks[:-1]] == [f"event: {name}" for name in names]
    assert [json.loads(chunk.partition(b"data: ")[2])["type"] for chunk in answer.chunks[:-1]] == names
    assert answer.chunks[-1] == b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("facts", "indexes"),
    [
        (CallFacts(), [("content-start", 0), ("content-delta", 0), ("content-end", 0)]),
        (
            CallFacts(reasoning="Hm."),
            [(name, index) for index in (0, 1) for name in ("content-start", "content-delta", "content-end")],
        ),
        (
            CallFacts(reasoning="Hm.", tool_calls=(ToolCall(name="a"), ToolCall(name="b"))),
            [
                *[(name, 0) for name in ("content-start", "content-delta", "content-end")],
                *[(f"tool-call-{name}", index) for index in (0, 1) for name in ("start", "delta", "end")],
            ],
        ),
    ],
    ids=["words", "thoughts", "tools"],
)
def test_the_parts_of_a_stream_are_counted(facts: CallFacts, indexes: list[tuple[str, int]]) -> None:
    """Thoughts and words together, tool calls by themselves; a plan is no part."""
    answer = V2.write_stream(facts, ["Hi"], ASKED)
    documents = [json.loads(chunk.partition(b"data: ")[2]) for chunk in answer.chunks[:-1]]
    assert [(each["type"], each["index"]) for each in documents if "index" in each] == indexes


def test_an_older_stream_is_of_lines() -> None:
    """Each says what it is, and whether it is the last."""
    answer = V1.write_stream(CallFacts(), ["Hi"], ASKED)
    assert answer.content_type == "application/stream+json"
    assert [(line["event_type"], line["is_finished"]) for line in map(json.loads, answer.chunks)] == [
        ("stream-start", False),
        ("text-generation", False),
        ("stream-end", True),
    ]


# -- junk ----------------------------------------------------------------------------------

JUNK: list[object] = [None, True, 0, -1, 1.5, 10**400, "", "x", [], [None, 1, "x", [], {}], {}, {"a": 1}]


@BOTH
@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk)[:20])
def test_junk_in_any_place_says_nothing(dialect: Dialect, junk: object) -> None:
    """Nothing raises, no count comes of it, and nothing is called."""
    functions = {"function": {"name": junk, "arguments": junk}, "id": junk, "name": junk, "parameters": junk}
    message = {"content": junk, "tool_plan": junk, "tool_calls": junk}
    inside = {"content": [{"text": junk, "thinking": junk}], "tool_calls": [functions]}
    documents: list[dict[str, Any]] = [
        {"id": junk, "finish_reason": junk, "usage": junk, "meta": junk, "tool_calls": junk},
        {"message": message, "index": junk, "type": junk, "event_type": junk},
        {"delta": junk, "type": "message-end", "event_type": "stream-end", "response": junk},
        {"delta": {"message": inside, "finish_reason": junk, "usage": junk}, "index": junk},
        {"event_type": "tool-calls-chunk", "tool_call_delta": junk, "text": None},
        {"event_type": "tool-calls-generation", "tool_calls": junk},
    ]
    for document in documents:
        facts = dialects.read(dialect, document)
        assert facts.usage is None, document
        assert all(call.name in {"", "x"} for call in facts.tool_calls), document


def test_older_arguments_too_deep_to_write_do_not_cost_the_answer() -> None:
    """The usage beside them is real."""
    deep = '{"a":' * 480 + "1" + "}" * 480
    answer = f'{{"tool_calls":[{{"name":"f","parameters":{deep}}}],"meta":{{"tokens":{{"input_tokens":1,"output_tokens":2}}}}}}'
    facts = dialects.read(V1, answer)
    assert facts.usage == Usage(input_tokens=1, output_tokens=2, total_tokens=3)
    assert facts.tool_calls == (ToolCall(name="f", arguments=""),)
