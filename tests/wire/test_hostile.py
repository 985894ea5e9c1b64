"""Bodies and heads that no provider should send: they never raise, and never become numbers.

The ids are those of the list of faults, W01 to W34. Elsewhere are: what is cut or sent otherwise
(W03, W09 to W17, W19: ``test_cuts.py``), what breaks a stream (W20: ``test_every_dialect.py``), usage that comes
in parts or not at all (W21, W22: ``test_roundtrip.py`` and the tests of each dialect), packed bodies (W23 to W25:
``test_cuts.py``, ``unit/test_decoding.py``, ``sdk/test_streams.py``), broken connections and redirects (W26 to W29:
``sdk/test_unanswered.py``, ``sdk/test_streams.py``, ``sdk/test_seam.py``), retries (W30: ``sdk/test_matrix.py``), other
APIs and hosts (W31, W33: ``test_registry.py``, ``test_hosts.py``), and what a request sends (W32: ``sdk/test_seam.py``,
``test_hostile_requests.py``).
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import pytest

import bodies
import dialects
import mutants
from bodies import Body
from mutants import JUNK, spoiled
from pytest_llmtelemetry.facts import CallFacts, Usage
from pytest_llmtelemetry.wire.anthropic_messages import AnthropicMessages
from pytest_llmtelemetry.wire.body import BodyReader
from pytest_llmtelemetry.wire.dialect import Dialect
from pytest_llmtelemetry.wire.jsontext import load_object
from pytest_llmtelemetry.wire.openai_chat import OpenAIChat
from pytest_llmtelemetry.wire.other import Other
from pytest_llmtelemetry.wire.registry import DIALECTS
from soundness import is_sound


OPENAI, ANTHROPIC, OTHER = OpenAIChat(), AnthropicMessages(), Other()

every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=[f"{one.api}-{one.operation}" for one in DIALECTS])

DEEP = 100_000
HUGE_INT = "9" * 5000


# -- bodies that are no answer at all ------------------------------------------------------

BODIES = {
    "W04-empty": b"",
    "W04-spaces": b" \n",
    "W01-html": b"<html><body>502 Bad Gateway</body></html>",
    "W01-html-in-lines": b"<!DOCTYPE html>\r\n<html>\n<body>data: {}</body>\n</html>\n",
    "W01-sentence": b"upstream connect error or disconnect/reset before headers",
    "W02-null": b"null",
    "W02-true": b"true",
    "W02-number": b"5",
    "W06-nan": b"NaN",
    "W02-text": b'"hi"',
    "W02-list": b'[{"usage": {"prompt_tokens": 1, "input_tokens": 1}}]',
    "W02-list-of-lists": b"[[], [[]], null, 5, {}]",
    "W02-empty-object": b"{}",
    "W03-cut": b'{"id": "x", "usage": {"prompt_tokens": 1, "input_tokens": 1',
    "W02-two-documents": b"{} {}",
    "W15-not-utf8": b'{"\xff": 1}',
    "W05-utf16": '{"ïd": 1}'.encode("utf-16-le")[1:],
    "W08-deep-list": b"[" * DEEP + b"]" * DEEP,
    "W08-deep-object": b'{"usage":' * DEEP + b"1" + b"}" * DEEP,
    "W08-deep-and-cut": b'{"usage":' * DEEP,
    "W07-huge-int": b'{"id": "x", "usage": {"prompt_tokens": %b, "input_tokens": %b}}' % ((HUGE_INT.encode(),) * 2),
    "W06-huge-exponent": b'{"usage": 1e9999999999999999999999}',
    "W24-gzip-that-nobody-undid": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"\xab\xae\x05\x00\x43\xbf\xa6\xa3" * 9,
    "W05-nulls": b"\x00" * 99,
}


@every_dialect
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_no_answer_says_nothing(dialect: Dialect, body: bytes) -> None:
    """Nothing is known, as a plain answer, as a stream, and as an event of a stream."""
    event = b"data: " + body + b"\n\n"
    assert [dialects.read(dialect, body), dialects.read(dialect, event)] == [CallFacts()] * 2


@every_dialect
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_what_is_no_answer_does_no_harm_to_what_follows(dialect: Dialect, body: bytes) -> None:
    """An event that cannot be read is passed over."""
    events = bodies.joined("events", [("", '{"error": {"message": "m", "type": "t"}, "object": "error"}')])
    assert dialects.read(dialect, b"data: " + body.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n\n" + events) == (
        dialects.read(dialect, events)
    )


# -- answers with one wrong value in them --------------------------------------------------

# What is read and never written.
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


# Nothing is read there that is not read elsewhere, but for what is around it.
ELSEWHERE = {
    "bedrock.invoke-amazon.nova-lite-v1:0-stream",
    "bedrock.invoke-anthropic.claude-v3-stream",
    "bedrock.invoke-openai.gpt-oss-stream",
    "gemini.generate-array-stream",
}
FULL = [body for body in bodies.FULL if body.name not in ELSEWHERE]


@pytest.mark.parametrize("body", FULL, ids=[body.name for body in FULL])
def test_one_wrong_value_in_what_a_dialect_writes_does_no_harm(body: Body) -> None:
    """W02, W06, W07, W16: in every place of an answer that states all that its API can state."""
    for name, junk in JUNK.items():
        for path, other in mutants.with_one_wrong(body, junk):
            assert is_sound(other.read()[0]), f"{path} is {name}"


@pytest.mark.parametrize("body", bodies.FULL, ids=[body.name for body in bodies.FULL])
def test_a_key_that_comes_twice_does_no_harm(body: Body) -> None:
    """W06: the last one counts, as for all who read JSON in Python."""
    twice = body.sent(
        lambda data: bodies.joined(
            body.framing, [(name, _twice(said)) for name, said in bodies.parts(body.framing, data)]
        )
    )
    assert twice.read() == body.read()


def _twice(text: str) -> str:
    """Every key of a document once with junk, and once more as it should be."""
    if not text.startswith("{"):
        return text
    document = json.loads(text)
    return "{" + ",".join(f"{json.dumps(key)}: -5" for key in document) + "," + text.removeprefix("{")


def tree(depth: int) -> str:
    """An object in an object, and so on."""
    return '{"a":' * depth + "1" + "}" * depth


@every_dialect
def test_a_value_at_the_brink_of_what_can_be_read_does_no_harm(dialect: Dialect) -> None:
    """W08: as deep as the parser goes, and deeper than what comes after it could."""
    deepest = bisect_left(range(1, DEEP), True, key=lambda depth: load_object(tree(depth)) is None)
    counts = ("prompt_tokens", "input_tokens", "inputTokens", "promptTokenCount", "prompt_eval_count")
    for depth in range(deepest - 40, deepest):
        usage = ",".join(f'"{name}":{tree(depth)}' for name in counts)
        assert is_sound(dialects.read(dialect, f'{{"done":true,"usage":{{{usage}}},"usageMetadata":{{{usage}}}}}')), (
            depth
        )


@every_dialect
def test_a_line_of_many_megabytes_is_read(dialect: Dialect) -> None:
    """W18: in pieces, and whatever is in it."""
    pieces = [b'{"error":"', *[b"x" * 1000] * 3000, b'","message":"m"}\n']
    reader = BodyReader(dialect.draft())
    for piece in pieces:
        reader.feed(piece)
    assert is_sound(reader.close())


# -- heads ---------------------------------------------------------------------------------

HEADS = {
    "empty": "",
    "negative": "-1",
    "fraction": "1.5",
    "nan": "NaN",
    "other-digits": "\u0661\u0662",
    "many-digits": "9" * 5000,
    "long": "x" * 2**20,
    "not-ascii": "caf\xe9\udcff",
    "null": "\0",
    "two-values": "5, 5",
}
NAMES_OF_HEADS = (
    *(f"x-amzn-bedrock-{kind}-token-count" for kind in ("input", "output", "cache-read-input", "cache-write-input")),
    "x-amzn-bedrock-service-tier",
    "x-amzn-requestid",
    "x-amzn-errortype",
    "content-type",
    "retry-after",
)


@every_dialect
@pytest.mark.parametrize("value", HEADS.values(), ids=HEADS)
def test_a_head_of_junk_does_no_harm(dialect: Dialect, value: str) -> None:
    """W34: no count comes of it."""
    facts = dialects.read(dialect, b"{}", headers=dict.fromkeys(NAMES_OF_HEADS, value))
    assert is_sound(facts)
    assert all(count is None for count in (facts.usage or Usage()).counts().values())


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
