"""Bodies that no provider should send: they never raise, and never become numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

import dialects
from pytest_llmtelemetry.facts import CallFacts, FinishReason, Usage
from pytest_llmtelemetry.wire.anthropic_messages import AnthropicMessages
from pytest_llmtelemetry.wire.dialect import Dialect
from pytest_llmtelemetry.wire.openai_chat import OpenAIChat
from pytest_llmtelemetry.wire.other import Other


OPENAI, ANTHROPIC, OTHER = OpenAIChat(), AnthropicMessages(), Other()

DEEP = 100_000
HUGE_INT = "9" * 5000


def api(dialect: Dialect) -> str:
    """An id for a row of a table."""
    return dialect.api


# -- bodies that are no answer at all ------------------------------------------------------

BODIES = {
    "empty": b"",
    "spaces": b" \n",
    "html": b"<html><body>502 Bad Gateway</body></html>",
    "null": b"null",
    "true": b"true",
    "number": b"5",
    "nan": b"NaN",
    "text": b'"hi"',
    "list": b'[{"usage": {"prompt_tokens": 1, "input_tokens": 1}}]',
    "empty-object": b"{}",
    "cut": b'{"id": "x", "usage": {"prompt_tokens": 1, "input_tokens": 1',
    "two-documents": b"{} {}",
    "not-utf8": b'{"\xff": 1}',
    "utf16": '{"ïd": 1}'.encode("utf-16-le")[1:],
    "deep-list": b"[" * DEEP + b"]" * DEEP,
    "deep-object": b'{"usage":' * DEEP + b"1" + b"}" * DEEP,
    "deep-and-cut": b'{"usage":' * DEEP,
    "huge-int": b'{"id": "x", "usage": {"prompt_tokens": %b, "input_tokens": %b}}' % ((HUGE_INT.encode(),) * 2),
    "huge-exponent": b'{"id": "x", "usage": 1e9999999999999999999999}',
}


@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC], ids=api)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_no_answer_says_nothing(dialect: Dialect, body: bytes) -> None:
    """Nothing is known, as a plain answer, as a stream, and as an event of a stream."""
    event = b"data: " + body + b"\n\n"
    assert [dialects.read(dialect, body), dialects.read(dialect, event)] == [CallFacts()] * 2


# -- answers with one wrong value in them --------------------------------------------------

JUNK: dict[str, str] = {
    "null": "null",
    "true": "true",
    "false": "false",
    "zero": "0",
    "negative": "-1",
    "fraction": "1.5",
    "exponent": "1e400",
    "huge": "1e999999",
    "nan": "NaN",
    "infinity": "-Infinity",
    "int": "9" * 400,
    "empty-text": '""',
    "text": '"text"',
    "surrogate": '"\\ud83d"',
    "empty-list": "[]",
    "list": "[[], {}, 1, null]",
    "empty-object": "{}",
    "object": '{"type": [], "text": {}, "usage": 5}',
    "deep": "[" * 300 + "]" * 300,
}

CHAT_ANSWER = {
    "id": "c",
    "object": "chat.completion",
    "model": "m",
    "service_tier": "default",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {
                "content": [{"type": "text", "text": "hi"}],
                "reasoning": "hm",
                "tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": "{}"}}],
            },
        },
    ],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "total_tokens": 13,
        "cached_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 1},
        "cost": 0.5,
        "is_byok": True,
        "cost_details": {"upstream_inference_cost": 0.25},
    },
    "x_groq": {"usage": {"prompt_tokens": 9}},
    "error": {"code": "c", "type": "t"},
}
CHAT_CHUNK = CHAT_ANSWER | {
    "choices": [{"index": 0, "finish_reason": "stop", "delta": {"content": "hi", "tool_calls": [{"index": 0}]}}]
}
MESSAGE = {
    "id": "m",
    "type": "message",
    "model": "m",
    "content": [
        {"type": "text", "text": "hi"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1.5}},
    ],
    "stop_reason": "end_turn",
    "usage": {
        "input_tokens": 9,
        "output_tokens": 4,
        "cache_read_input_tokens": 2,
        "cache_creation_input_tokens": 3,
        "cache_creation": {"ephemeral_1h_input_tokens": 1},
        "output_tokens_details": {"thinking_tokens": 1},
        "service_tier": "standard",
        "iterations": [{"type": "message"}],
    },
    "error": {"type": "e"},
}
EVENTS = [
    {"type": "message_start", "message": MESSAGE},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "f"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "hi"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": MESSAGE["usage"]},
    {"type": "error", "error": {"type": "e"}},
]
CHAT_REQUEST = {
    "model": "m",
    "messages": [],
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "tools": [{"type": "function", "function": {"name": "f"}, "name": "f"}],
}


def spoiled(document: object, junk: str) -> Iterator[tuple[str, str]]:
    """Every path of ``document``, and the JSON of ``document`` with ``junk`` in that place."""
    yield "", junk
    if isinstance(document, dict):
        for key, value in document.items():
            for path, text in spoiled(value, junk):
                rest = {name: json.dumps(other) for name, other in document.items()} | {key: text}
                yield f".{key}{path}", "{" + ",".join(f'"{name}":{value}' for name, value in rest.items()) + "}"
    elif isinstance(document, list):
        for index, value in enumerate(document):
            for path, text in spoiled(value, junk):
                items = [json.dumps(other) for other in document]
                items[index] = text
                yield f"[{index}]{path}", "[" + ",".join(items) + "]"


def is_count(value: object) -> bool:
    """A number of tokens, or not stated."""
    return value is None or (type(value) is int and 0 <= value < 10**16)


def is_word(value: object) -> bool:
    """A word, or not stated."""
    return value is None or (isinstance(value, str) and value != "")


def is_sound(facts: Any) -> bool:
    """True if every fact is of its type and could be true."""
    usage, cost = facts.usage or Usage(), facts.stated_cost_usd
    words = (facts.id, facts.model, facts.raw_finish_reason, facts.service_tier, facts.error_type)
    return (
        all(map(is_word, words))
        and isinstance(facts.text, str)
        and isinstance(facts.reasoning, str)
        and all(is_tool_call(call) for call in facts.tool_calls)
        and all(map(is_count, usage.counts().values()))
        and (cost is None or (isinstance(cost, Decimal) and 0 <= cost < 10**16))
        and (facts.finish_reason is None or isinstance(facts.finish_reason, FinishReason))
        and type(facts.terminated) is bool
    )


def is_tool_call(call: Any) -> bool:
    """True if it has a name and arguments, empty or not."""
    return isinstance(call.name, str) and isinstance(call.arguments, str) and is_word(call.id)


def as_event(text: str) -> bytes:
    """One event of a stream."""
    return f"data: {text}\n\n".encode("utf-8", "surrogatepass")


Read = Callable[[str], CallFacts]
READERS: dict[str, tuple[list[Any], Read]] = {
    "chat-plain": ([CHAT_ANSWER], lambda text: dialects.read(OPENAI, text.encode())),
    "chat-stream": ([CHAT_CHUNK], lambda text: dialects.read(OPENAI, as_event(text))),
    "messages-plain": ([MESSAGE], lambda text: dialects.read(ANTHROPIC, text.encode())),
    "messages-stream": (EVENTS, lambda text: dialects.read(ANTHROPIC, as_event(text))),
    "messages-stream-later": (
        EVENTS,
        lambda text: dialects.read(
            ANTHROPIC, b"".join(as_event(json.dumps(event)) for event in EVENTS) + as_event(text)
        ),
    ),
    "other-plain": ([CHAT_ANSWER], lambda text: dialects.read(OTHER, text.encode())),
    "other-stream": ([CHAT_ANSWER], lambda text: dialects.read(OTHER, as_event(text))),
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
@pytest.mark.parametrize(("documents", "read"), READERS.values(), ids=READERS)
def test_one_wrong_value_anywhere_does_no_harm(documents: list[Any], read: Read, junk: str) -> None:
    """Whatever stands in whatever place, the answer is read, and what is read could be true."""
    for document in documents:
        for path, text in spoiled(document, junk):
            assert is_sound(read(text)), f"{path} is {junk[:20]}"


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC, OTHER], ids=api)
def test_one_wrong_value_in_a_request_does_no_harm(dialect: Dialect, junk: str) -> None:
    """The code under test may send what it likes."""
    for path, text in spoiled(CHAT_REQUEST, junk):
        body = json.loads(text)
        if isinstance(body, dict):
            facts = dialects.asked(dialect, body, path="/v1/chat/completions", provider="p")
            assert is_word(facts.model), path
            assert facts.max_tokens is None or type(facts.max_tokens) is int, path
            assert all(isinstance(name, str) for name in facts.tools), path
            assert type(facts.stream) is type(facts.wants_usage) is bool, path


# -- counts that make no sense -------------------------------------------------------------

COUNTS: dict[str, tuple[str, str]] = {
    "negative": ("-1", "-1"),
    "true": ("true", "True"),
    "fraction": ("1.5", "1.5"),
    "whole-fraction": ("1.0", "1.0"),
    "exponent": ("1e400", "1E+400"),
    "nan": ("NaN", "NaN"),
    "infinity": ("Infinity", "Infinity"),
    "text": ('"12"', "12"),
    "list": ("[1]", "[1]"),
    "object": ("{}", "{}"),
    "absurd": (str(10**15), "1000000000000000"),
    "long": ("9" * 4000, "9" * 20),
    "long-text": ('"' + "a" * 99 + '"', "a" * 20),
}


@pytest.mark.parametrize(("wrong", "shown"), COUNTS.values(), ids=COUNTS)
def test_a_count_that_makes_no_sense_is_unknown_and_doubted(wrong: str, shown: str) -> None:
    """The other counts stand, and what was doubted is named."""
    chat = f'{{"usage": {{"prompt_tokens": {wrong}, "completion_tokens": 2}}}}'
    message = f'{{"usage": {{"input_tokens": {wrong}, "output_tokens": 2}}}}'
    assert (dialects.read(OPENAI, chat.encode()), dialects.read(ANTHROPIC, message.encode())) == (
        CallFacts(usage=Usage(output_tokens=2, doubts=(f"prompt_tokens is {shown!r}",))),
        CallFacts(usage=Usage(output_tokens=2, doubts=(f"input_tokens is {shown!r}",))),
    )


def test_usage_of_nothing_but_nonsense_is_a_usage_with_doubts() -> None:
    """It was stated, so it is not none; it cannot be read, so no count is known."""
    facts = dialects.read(
        OPENAI, b'{"usage": {"prompt_tokens": -1, "completion_tokens_details": {"reasoning_tokens": "a"}}}'
    )
    assert facts.usage == Usage(doubts=("prompt_tokens is '-1'", "completion_tokens_details.reasoning_tokens is 'a'"))


def test_a_number_that_is_not_json_does_not_cost_the_answer() -> None:
    """Some servers write ``-Infinity`` among their log probabilities, and the SDKs read on."""
    answer = b'{"choices": [{"logprobs": -Infinity}], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}'
    assert dialects.read(OPENAI, answer) == CallFacts(usage=Usage(input_tokens=1, output_tokens=2, total_tokens=3))


def test_arguments_too_deep_to_write_do_not_cost_the_answer() -> None:
    """The usage beside them is real."""
    deep = '{"a":' * 480 + "1" + "}" * 480
    tool = f'{{"type": "tool_use", "id": "t", "name": "f", "input": {deep}}}'
    answer = f'{{"content": [{tool}], "usage": {{"input_tokens": 1, "output_tokens": 2}}}}'
    facts = dialects.read(ANTHROPIC, answer.encode())
    assert facts.usage == Usage(input_tokens=1, output_tokens=2, total_tokens=3)
    assert [(call.name, call.id) for call in facts.tool_calls] == [("f", "t")]
