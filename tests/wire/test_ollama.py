"""Ollama's own APIs: chat, generate and embed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dialects
from pytest_llmtelemetry.facts import CallFacts, FinishReason, Overflow, RequestFacts, ToolCall, Usage
from pytest_llmtelemetry.wire.dialect import Dialect, Failure, Fault
from pytest_llmtelemetry.wire.ollama_chat import OllamaChat
from pytest_llmtelemetry.wire.ollama_embed import OllamaEmbed
from pytest_llmtelemetry.wire.ollama_generate import OllamaGenerate


CHAT, GENERATE, EMBED = OllamaChat(), OllamaGenerate(), OllamaEmbed()
SPEAKING = pytest.mark.parametrize("dialect", [CHAT, GENERATE], ids=lambda dialect: str(dialect.api))
ALL = pytest.mark.parametrize("dialect", [CHAT, GENERATE, EMBED], ids=lambda dialect: str(dialect.api))

ASKED = RequestFacts(api="", provider="ollama")
USER = {"role": "user", "content": "Hi"}


def lines(*documents: Mapping[str, Any]) -> str:
    """A stream."""
    return "".join(f"{json.dumps(each)}\n" for each in documents)


# -- requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "path", "expected"),
    [
        (CHAT, "/api/chat", True),
        (CHAT, "/ollama/api/chat/", True),
        (CHAT, "/api/generate", False),
        (CHAT, "/chat", False),
        (CHAT, "/myapi/chat", False),
        (CHAT, "/api/chat/completions", False),
        (GENERATE, "/api/generate", True),
        (GENERATE, "/api/chat", False),
        (EMBED, "/api/embed", True),
        (EMBED, "/api/embeddings", True),
        (EMBED, "/v1/embeddings", False),
        (EMBED, "/api/embedded", False),
    ],
)
def test_a_path_is_recognised(dialect: Dialect, path: str, expected: bool) -> None:
    """By its end, and only if something is posted to it."""
    assert (dialect.speaks("POST", path), dialect.speaks("GET", path)) == (expected, False)


@pytest.mark.parametrize(
    ("dialect", "body", "expected"),
    [
        (CHAT, {"model": "m", "messages": [USER]}, True),
        (CHAT, {"model": "m", "messages": [USER, {"role": "assistant", "tool_calls": []}]}, True),
        (CHAT, {"messages": [USER]}, False),
        (CHAT, {"model": "m"}, False),
        (CHAT, {"model": "m", "messages": []}, False),
        (CHAT, {"model": "m", "messages": ["Hi"]}, False),
        (CHAT, {"model": "m", "messages": [{"content": "Hi"}]}, False),
        (CHAT, {"model": "m", "messages": [{"role": "user", "parts": []}]}, False),
        (CHAT, {"model": "m", "messages": [{**USER, "id": "1"}]}, False),
        (CHAT, {"model": "m", "messages": [{"role": "user", "content": [{"type": "text"}]}]}, False),
        (GENERATE, {"model": "m", "prompt": "Hi"}, True),
        (GENERATE, {"model": "m", "prompt": ""}, False),
        (GENERATE, {"prompt": "Hi"}, False),
        (GENERATE, {"model": "m", "prompt": ["Hi"]}, False),
        (EMBED, {"model": "m", "input": "a"}, True),
        (EMBED, {"model": "m", "input": ["a", "b"]}, True),
        (EMBED, {"model": "m", "prompt": "a"}, True),
        (EMBED, {"model": "m"}, False),
        (EMBED, {"model": "m", "input": []}, False),
        (EMBED, {"model": "m", "input": [1]}, False),
        (EMBED, {"input": "a"}, False),
    ],
)
def test_a_body_fits_if_it_has_a_model_and_a_prompt(dialect: Dialect, body: Mapping[str, Any], expected: bool) -> None:
    """Many web applications have an ``api/chat`` of their own."""
    assert dialect.fits(body) is expected


@SPEAKING
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"model": "m"}, {"model": "m", "stream": True}),
        ({"model": "m", "stream": None}, {"model": "m", "stream": True}),
        ({"model": "m", "stream": False}, {"model": "m"}),
        ({"stream": False, "options": {"num_predict": 5}}, {"max_tokens": 5}),
        ({"stream": False, "options": {"num_predict": -1}}, {}),
        (
            {"stream": False, "tools": [{"type": "function", "function": {"name": "find"}}, {"function": {}}, "x"]},
            {"tools": ("find",)},
        ),
        ({"stream": False, "model": 1, "options": [], "tools": "x"}, {}),
    ],
    ids=["streams-by-itself", "null-streams", "plain", "limit", "no-limit", "tools", "junk"],
)
def test_a_request_is_read(dialect: Dialect, body: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """It streams unless it says that it does not."""
    facts = dialects.asked(dialect, body, provider="ollama")
    assert (facts, facts.body) == (RequestFacts(api=dialect.api, provider="ollama", **expected), body)


def test_a_request_for_embeddings_is_read() -> None:
    """It never streams."""
    facts = dialects.asked(EMBED, {"model": "m", "input": "a"}, provider="ollama")
    assert facts == RequestFacts(api="ollama.embed", provider="ollama", model="m")


# -- answers -------------------------------------------------------------------------------

END = {"done": True, "done_reason": "stop", "total_duration": 9, "prompt_eval_count": 7, "eval_count": 3}
ENDED = CallFacts(
    model="m",
    usage=Usage(input_tokens=7, output_tokens=3, total_tokens=10),
    finish_reason=FinishReason.STOP,
    raw_finish_reason="stop",
    terminated=True,
)


def chat_line(**message: object) -> dict[str, Any]:
    """Such as ``{"model": "m", "message": {"content": "Hi"}, "done": False}``."""
    return {"model": "m", "created_at": "", "message": {"role": "assistant", **message}, "done": False}


def test_a_chat_is_read() -> None:
    """Its words, its thoughts, and what it took."""
    facts = replace(ENDED, text="Hi", reasoning="Hm.")
    assert dialects.read(CHAT, chat_line(content="Hi", thinking="Hm.") | END) == facts


def test_a_chat_is_read_from_its_lines() -> None:
    """The last says what it took."""
    body = lines(chat_line(content="", thinking="Hm."), chat_line(content="H"), chat_line(content="i"))
    assert dialects.read(CHAT, body + lines(chat_line(content="") | END)) == replace(ENDED, text="Hi", reasoning="Hm.")


def test_a_completion_is_read() -> None:
    """Its words stand beside the model; the context that it repeats is none of them."""
    document = {"model": "m", "response": "Hi", "thinking": "Hm.", "context": [1, 2], **END}
    assert dialects.read(GENERATE, document) == replace(ENDED, text="Hi", reasoning="Hm.")


def test_a_completion_is_read_from_its_lines() -> None:
    """The last says what it took."""
    pieces = [{"model": "m", "response": piece, "done": False} for piece in ("H", "i")]
    assert dialects.read(GENERATE, lines(*pieces, {"model": "m", "response": "", **END})) == replace(ENDED, text="Hi")


CALLS = [
    {"function": {"index": 0, "name": "find", "arguments": {"q": [1.5, "é"]}}},
    {"id": "call_1", "function": {"index": 0, "name": "sum", "arguments": '{"a": 1}'}},
    {"function": {"name": "now"}},
]
CALLED = (
    ToolCall(name="find", arguments='{"q":[1.5,"é"]}'),
    ToolCall(name="sum", arguments='{"a": 1}', id="call_1"),
    ToolCall(name="now", arguments="{}"),
)


@pytest.mark.parametrize(
    "body",
    [
        lines(chat_line(content="", tool_calls=CALLS) | END),
        lines(chat_line(content="", tool_calls=CALLS), chat_line(content="") | END),
        lines(*(chat_line(content="", tool_calls=[call]) for call in CALLS), chat_line(content="") | END),
    ],
    ids=["plain", "one-line", "line-each"],
)
def test_tool_calls_are_read(body: str) -> None:
    """The word for the finish says nothing of them, and their index is not to be trusted."""
    assert dialects.read(CHAT, body) == replace(ENDED, tool_calls=CALLED, finish_reason=FinishReason.TOOL_CALLS)


def test_tool_calls_that_were_cut_stay_cut() -> None:
    """A limit is more than a call."""
    facts = dialects.read(CHAT, chat_line(tool_calls=CALLS) | END | {"done_reason": "length"})
    assert (facts.tool_calls, facts.finish_reason) == (CALLED, FinishReason.LENGTH)


@SPEAKING
@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("load", FinishReason.STOP),
        ("unload", FinishReason.STOP),
        ("STOP", FinishReason.UNKNOWN),
    ],
)
def test_a_finish_reason_is_read(dialect: Dialect, word: str, reason: FinishReason) -> None:
    """Its meaning, and the word itself."""
    facts = CallFacts(finish_reason=reason, raw_finish_reason=word, terminated=True)
    assert dialects.read(dialect, {"done": True, "done_reason": word}) == facts


@SPEAKING
@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"done": True}, CallFacts(terminated=True)),
        ({"done": False, "done_reason": "stop", "eval_count": 3}, CallFacts()),
        ({"done": "true", "done_reason": "stop", "eval_count": 3}, CallFacts()),
        ({"done_reason": "stop", "prompt_eval_count": 3}, CallFacts()),
    ],
    ids=["done", "not-done", "junk", "nothing"],
)
def test_an_answer_is_over_when_it_is_done(dialect: Dialect, document: Mapping[str, Any], expected: CallFacts) -> None:
    """Until then it states nothing that counts."""
    assert dialects.read(dialect, document) == expected


USAGES: dict[str, tuple[Mapping[str, Any], Usage | None]] = {
    "both": ({"prompt_eval_count": 7, "eval_count": 3}, Usage(input_tokens=7, output_tokens=3, total_tokens=10)),
    "cached-prompt": ({"eval_count": 3}, Usage(output_tokens=3)),
    "only-input": ({"prompt_eval_count": 7}, Usage(input_tokens=7)),
    "zero": ({"prompt_eval_count": 0, "eval_count": 0}, Usage(input_tokens=0, output_tokens=0, total_tokens=0)),
    "none": ({}, None),
    "nulls": ({"prompt_eval_count": None, "eval_count": None}, None),
    "negative": (
        {"prompt_eval_count": -7, "eval_count": 3},
        Usage(output_tokens=3, doubts=("prompt_eval_count is '-7'",)),
    ),
    "text": ({"eval_count": "3"}, Usage(doubts=("eval_count is '3'",))),
}


@SPEAKING
@pytest.mark.parametrize(("counts", "expected"), USAGES.values(), ids=USAGES)
def test_usage_is_read(dialect: Dialect, counts: Mapping[str, Any], expected: Usage | None) -> None:
    """A prompt that was cached is not counted, and so unknown, as is the total."""
    assert dialects.read(dialect, {"done": True, **counts}).usage == expected


# -- embeddings ----------------------------------------------------------------------------

EMBEDDINGS: dict[str, tuple[Mapping[str, Any], CallFacts]] = {
    "new": (
        {"model": "m", "embeddings": [[0.5, -1], [2]], "prompt_eval_count": 4},
        CallFacts(
            model="m",
            vectors=((0.5, -1.0), (2.0,)),
            usage=Usage(input_tokens=4, output_tokens=0, total_tokens=4),
            terminated=True,
        ),
    ),
    "new-without-usage": (
        {"model": "m", "embeddings": [[0.5]]},
        CallFacts(model="m", vectors=((0.5,),), terminated=True),
    ),
    "new-and-empty": ({"model": "m", "embeddings": []}, CallFacts(model="m", terminated=True)),
    "old": ({"embedding": [0.5, -1]}, CallFacts(vectors=((0.5, -1.0),), terminated=True)),
    "old-and-empty": ({"embedding": []}, CallFacts(terminated=True)),
    "junk": (
        {"model": 1, "embeddings": "x", "embedding": {}, "prompt_eval_count": "4"},
        CallFacts(usage=Usage(output_tokens=0, doubts=("prompt_eval_count is '4'",))),
    ),
    "junk-inside": ({"embeddings": [["x"], [1]]}, CallFacts(vectors=((), (1.0,)), terminated=True)),
}


@pytest.mark.parametrize(("document", "expected"), EMBEDDINGS.values(), ids=EMBEDDINGS)
def test_embeddings_are_read(document: Mapping[str, Any], expected: CallFacts) -> None:
    """The older API has one, and states neither its model nor what it took."""
    assert dialects.read(EMBED, document) == expected


# -- failures ------------------------------------------------------------------------------


@ALL
@pytest.mark.parametrize(
    ("message", "overflow"),
    [
        ("model 'x' not found", None),
        ("the input length exceeds the context length", Overflow()),
        ("input length exceeds maximum context length", Overflow()),
        ("prompt too long; exceeded max context length by 20 tokens", Overflow()),
    ],
)
def test_a_failure_is_read(dialect: Dialect, message: str, overflow: Overflow | None) -> None:
    """Ollama has a sentence for it, and no word."""
    assert dialects.read(dialect, {"error": message}) == CallFacts(error_type="error", overflow=overflow)


def test_a_stream_that_fails_is_not_over() -> None:
    """What was said was said."""
    body = lines(chat_line(content="Hi"), {"error": "no"})
    assert dialects.read(CHAT, body) == CallFacts(model="m", text="Hi", error_type="error")


STATUS = {
    Failure.BAD_REQUEST: 400,
    Failure.AUTH: 401,
    Failure.NOT_FOUND: 404,
    Failure.CONTEXT_WINDOW: 400,
    Failure.RATE_LIMIT: 429,
    Failure.SERVER_ERROR: 500,
    Failure.OVERLOADED: 503,
}


@ALL
@pytest.mark.parametrize("kind", Failure)
def test_a_failure_is_written(dialect: Dialect, kind: Failure) -> None:
    """With Ollama's status, and so that it is read again."""
    answer = dialect.write_error(Fault(kind=kind, retry_after_s=0.5), ASKED)
    expected = CallFacts(error_type="error", overflow=Overflow() if kind is Failure.CONTEXT_WINDOW else None)
    assert answer.status == STATUS[kind]
    assert answer.headers["retry-after-ms"] == "500"
    assert list(json.loads(answer.body)) == ["error"]
    assert dialects.read(dialect, answer.body) == expected


@SPEAKING
def test_a_stream_that_breaks_is_written(dialect: Dialect) -> None:
    """It begins as any other, and has no end."""
    fault = Fault(kind=Failure.SERVER_ERROR)
    answer = dialect.write_broken_stream(CallFacts(model="m", text="Hi!"), ["Hi", "!"], fault, ASKED)
    assert (answer.status, answer.content_type) == (200, "application/x-ndjson")
    assert dialects.read(dialect, answer.body) == CallFacts(model="m", text="Hi!", error_type="error")


def test_embeddings_fail_at_once() -> None:
    """They have no stream that could break."""
    fault = Fault(kind=Failure.OVERLOADED)
    assert EMBED.write_broken_stream(CallFacts(), [], fault, ASKED) == EMBED.write_error(fault, ASKED)


# -- there and back ------------------------------------------------------------------------

words = st.text(min_size=1, max_size=12)
"""Such as ``"m"``: anything but nothing."""
counts = st.none() | st.integers(0, 10**12)
usages = st.builds(lambda asked, produced: Usage.checked(input_tokens=asked, output_tokens=produced), counts, counts)
"""Such as ``Usage(output_tokens=3)``."""
arguments = st.dictionaries(
    st.text(max_size=4),
    st.none() | st.integers() | st.text(max_size=4) | st.lists(st.booleans(), max_size=2),
    max_size=3,
).map(lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False))
"""Compact JSON objects, such as ``{"q":["é"]}``."""
calls = st.builds(ToolCall, name=words, arguments=arguments, id=st.none() | words)
FINISHES = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH, "Stop": FinishReason.UNKNOWN}


@st.composite
def answers(draw: st.DrawFn) -> tuple[CallFacts, list[str]]:
    """An answer, and how its text is cut."""
    pieces = draw(st.lists(st.text(max_size=12), max_size=4))
    tools = tuple(draw(st.lists(calls, max_size=3)))
    word = draw(st.none() | st.sampled_from(sorted(FINISHES)))
    finish = None if word is None else FINISHES[word]
    facts = CallFacts(
        model=draw(st.none() | words),
        text="".join(pieces),
        reasoning=draw(st.text(max_size=12)),
        tool_calls=tools,
        usage=draw(st.none() | usages.filter(lambda usage: usage != Usage())),
        finish_reason=FinishReason.TOOL_CALLS if tools and finish is FinishReason.STOP else finish,
        raw_finish_reason=word,
        terminated=True,
    )
    return facts, pieces


places = st.lists(st.integers(min_value=0, max_value=9999), max_size=8)


@SPEAKING
@given(said=answers(), places=places)
def test_an_answer_is_read_as_it_was_written(
    dialect: Dialect, said: tuple[CallFacts, list[str]], places: list[int]
) -> None:
    """Plain and streamed, wherever the bytes are cut."""
    facts, pieces = said
    plain, stream = dialect.write_response(facts, ASKED), dialect.write_stream(facts, pieces, ASKED)
    assert dialects.read(dialect, plain.body, places=places) == facts
    assert dialects.read(dialect, stream.body, places=places) == facts


@SPEAKING
def test_a_stream_cut_at_any_byte_is_read_up_to_there(dialect: Dialect) -> None:
    """A prefix of the stream states a prefix of the text, and no count before the last line."""
    usage = Usage.checked(input_tokens=9, output_tokens=7)
    body = dialect.write_stream(CallFacts(model="m", usage=usage), ["Caf", "é au", " lait"], ASKED).body
    for end in range(len(body)):
        read = dialects.read(dialect, body[:end])
        assert "Café au lait".startswith(read.text), f"cut at {end}"
        assert read.usage in {None, usage}, f"cut at {end}"
        assert read.terminated == (read.usage is not None), f"cut at {end}"


@SPEAKING
@pytest.mark.parametrize(
    ("reason", "word", "read"),
    [
        (FinishReason.STOP, "stop", FinishReason.STOP),
        (FinishReason.LENGTH, "length", FinishReason.LENGTH),
        (FinishReason.TOOL_CALLS, "stop", FinishReason.STOP),
        (FinishReason.CONTENT_FILTER, "stop", FinishReason.STOP),
        (FinishReason.REFUSAL, "stop", FinishReason.STOP),
        (FinishReason.ERROR, "stop", FinishReason.STOP),
        (FinishReason.UNKNOWN, "stop", FinishReason.STOP),
    ],
)
def test_a_finish_reason_is_written(dialect: Dialect, reason: FinishReason, word: str, read: FinishReason) -> None:
    """In the nearest word that Ollama has."""
    facts = CallFacts(finish_reason=reason)
    expected = CallFacts(finish_reason=read, raw_finish_reason=word, terminated=True)
    answers = dialect.write_response(facts, ASKED), dialect.write_stream(facts, [], ASKED)
    assert [dialects.read(dialect, answer.body) for answer in answers] == [expected, expected]


@pytest.mark.parametrize(
    ("dialect", "places"),
    [(CHAT, {"message": {"role": "assistant", "content": "Hi"}}), (GENERATE, {"response": "Hi"})],
    ids=["chat", "generate"],
)
def test_an_answer_has_all_that_its_sdk_insists_on(dialect: Dialect, places: Mapping[str, Any]) -> None:
    """The times are always the same."""
    answer = dialect.write_response(CallFacts(model="m", text="Hi", usage=ENDED.usage), ASKED)
    assert answer.headers == {"content-type": "application/json; charset=utf-8"}
    assert json.loads(answer.body) == {
        "model": "m",
        "created_at": "2023-11-14T22:13:20Z",
        **places,
        "done": True,
        "total_duration": 4,
        "load_duration": 1,
        "prompt_eval_duration": 1,
        "eval_duration": 2,
        "prompt_eval_count": 7,
        "eval_count": 3,
    }


def test_only_the_last_line_of_a_stream_is_done() -> None:
    """Thoughts come first, tool calls last."""
    facts = CallFacts(reasoning="Hm.", tool_calls=(ToolCall(name="find"),))
    answer = CHAT.write_stream(facts, ["H", "i"], ASKED)
    documents = [json.loads(chunk) for chunk in answer.chunks]
    assert answer.content_type == "application/x-ndjson"
    assert [each["done"] for each in documents] == [False, False, False, False, True]
    assert [each["message"] for each in documents] == [
        {"role": "assistant", "content": "", "thinking": "Hm."},
        {"role": "assistant", "content": "H"},
        {"role": "assistant", "content": "i"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"index": 0, "name": "find", "arguments": {}}}],
        },
        {"role": "assistant", "content": ""},
    ]


embedded = st.builds(
    CallFacts,
    model=st.none() | words,
    vectors=st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4).map(tuple), max_size=3).map(
        tuple
    ),
    usage=st.none() | st.integers(0, 10**12).map(lambda count: Usage.checked(input_tokens=count, output_tokens=0)),
    terminated=st.just(True),
)
"""Such as ``CallFacts(model="m", vectors=((0.5,), (1.0,)))``."""


@given(embedded)
def test_embeddings_are_read_as_they_were_written(facts: CallFacts) -> None:
    """Every fact that the API can state survives."""
    request = dialects.asked(EMBED, {"model": "m", "input": ["a"]})
    answer = EMBED.write_response(facts, request)
    assert dialects.read(EMBED, answer.body) == facts
    assert EMBED.write_stream(facts, [], request) == answer


@pytest.mark.parametrize(
    ("vectors", "embedding"), [(((0.5, 1.0), (2.0,)), [0.5, 1.0]), ((), [])], ids=["first", "none"]
)
def test_the_older_api_has_one_embedding(vectors: tuple[tuple[float, ...], ...], embedding: list[float]) -> None:
    """It is known by its prompt."""
    request = dialects.asked(EMBED, {"model": "m", "prompt": "a"})
    answer = EMBED.write_response(CallFacts(model="m", vectors=vectors, usage=ENDED.usage), request)
    assert json.loads(answer.body) == {"embedding": embedding}


# -- junk ----------------------------------------------------------------------------------

JUNK: list[object] = [None, True, 0, -1, 1.5, 10**400, "", "x", [], [None, 1, "x", [], {}], {}, {"a": 1}]


@SPEAKING
@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk)[:20])
def test_junk_in_any_place_says_nothing(dialect: Dialect, junk: object) -> None:
    """Nothing raises, no count comes of it, and nothing is called."""
    function = {"name": junk, "arguments": junk, "index": junk}
    documents: list[dict[str, Any]] = [
        {"model": junk, "message": junk, "response": junk, "thinking": junk, "done": junk, "tool_calls": junk},
        {"message": {"content": junk, "thinking": junk, "tool_calls": junk}, "done": True, "done_reason": junk},
        {"message": {"tool_calls": [{"id": junk, "function": junk}, {"function": function}]}, "done": True},
    ]
    for document in documents:
        facts = dialects.read(dialect, document)
        assert facts.usage is None, document
        assert all(call.name in {"", "x"} for call in facts.tool_calls), document


def test_arguments_too_deep_to_write_do_not_cost_the_answer() -> None:
    """The usage beside them is real."""
    deep = '{"a":' * 480 + "1" + "}" * 480
    call = f'{{"function":{{"name":"f","arguments":{deep}}}}}'
    facts = dialects.read(
        CHAT, f'{{"message":{{"tool_calls":[{call}]}},"done":true,"prompt_eval_count":1,"eval_count":2}}'
    )
    assert facts.usage == Usage(input_tokens=1, output_tokens=2, total_tokens=3)
    assert facts.tool_calls == (ToolCall(name="f", arguments=""),)
