"""Legacy completions as OpenAI and those who still speak like it send them."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
from pytest_llmtelemetry.wire.openai_completions import OpenAICompletions


COMPLETIONS = OpenAICompletions()
ASKED = dialects.asked(COMPLETIONS)
STREAMED = dialects.asked(COMPLETIONS, {"stream": True, "stream_options": {"include_usage": True}})
SILENT = dialects.asked(COMPLETIONS, {"stream": True})


def read(document: object) -> CallFacts:
    """Read a plain answer."""
    return dialects.read(COMPLETIONS, document)


def read_stream(*chunks: Mapping[str, Any] | str) -> CallFacts:
    """Read a stream of chunks; text stands for itself."""
    reader = BodyReader(COMPLETIONS.draft())
    for chunk in chunks:
        reader.feed(f"data: {chunk if isinstance(chunk, str) else json.dumps(chunk)}\n\n".encode())
    return reader.close()


def completion(text: object, finish: str | None = None, *, index: int = 0, **more: object) -> dict[str, Any]:
    """A completion, or a chunk of one."""
    choice = {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
    return {"id": "c-1", "object": "text_completion", "model": "m", "choices": [choice], **more}


# -- requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/v1/completions",
        "/v1/completions/",
        "completions",
        "/openai/deployments/my-gpt/completions",
        "/inference/v1/completions",
        "/beta/completions",
        "/v1/engines/davinci/completions",
    ],
)
def test_completions_are_spoken_at_every_path_that_ends_in_them(path: str) -> None:
    """Gateways put what they like before it."""
    assert COMPLETIONS.speaks("POST", path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/completions"),
        ("POST", "/v1/chat/completions"),
        ("POST", "chat/completions"),
        ("POST", "/v1/fim/completions"),
        ("POST", "/v1/agents/completions"),
        ("POST", "/v1/completions/1"),
        ("POST", "/v1/autocompletions"),
        ("POST", "/v1/completions\n"),
        ("POST", ""),
    ],
)
def test_completions_are_not_spoken_elsewhere(method: str, path: str) -> None:
    """Chats are another API, by whichever name."""
    assert not COMPLETIONS.speaks(method, path)


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({"model": "m", "prompt": "Once"}, True),
        ({"model": "m", "prompt": ["Once", "Twice"]}, True),
        ({"model": "m"}, False),
        ({"prompt": "Once"}, False),
        ({"model": "m", "prompt": None}, False),
        ({"model": "m", "messages": []}, False),
    ],
    ids=["text", "list", "no-prompt", "no-model", "null", "chat"],
)
def test_a_request_fits_if_it_names_a_model_and_a_prompt(body: Mapping[str, Any], fits: bool) -> None:
    """Applications complete many things."""
    assert COMPLETIONS.fits(body) is fits


def test_a_request_is_read_whole() -> None:
    """Every fact that events and mocks know of a request."""
    body = {"model": "m", "prompt": "Once", "max_tokens": 9, "stream": True}
    facts = dialects.asked(COMPLETIONS, body, path="/v1/completions")
    assert facts == RequestFacts(
        api="openai.completions", provider="openai", model="m", stream=True, wants_usage=False, max_tokens=9
    )
    assert facts.body is body


@pytest.mark.parametrize("folder", ["deployments", "engines"])
def test_the_path_may_name_the_model(folder: str) -> None:
    """As Azure does, and OpenAI did."""
    assert dialects.asked(COMPLETIONS, {}, path=f"/v1/{folder}/my-gpt/completions").model == "my-gpt"


def test_junk_in_a_request_is_nothing_stated() -> None:
    """The provider will say what it thinks of it."""
    body = {"model": 3, "prompt": {}, "max_tokens": "9", "stream": "yes", "tools": 1, "stream_options": []}
    assert dialects.asked(COMPLETIONS, body) == RequestFacts(api="openai.completions", provider="openai")


# -- answers -------------------------------------------------------------------------------


def test_a_plain_answer_is_read_whole() -> None:
    """Every fact that a completion states."""
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12, "cost": 0}
    assert read(completion(" upon a time", "length", usage=usage)) == CallFacts(
        id="c-1",
        model="m",
        text=" upon a time",
        usage=Usage(input_tokens=5, output_tokens=7, total_tokens=12),
        finish_reason=FinishReason.LENGTH,
        raw_finish_reason="length",
        stated_cost_usd=Decimal(0),
        terminated=True,
    )


def test_the_first_of_many_completions_is_the_text() -> None:
    """One that was cut makes the whole a cut one."""
    document = completion("one", "stop")
    document["choices"] += completion("two", "length", index=1)["choices"]
    facts = read(document)
    assert (facts.text, facts.finish_reason) == ("one", FinishReason.LENGTH)


def test_a_stream_is_read_whole() -> None:
    """Its usage comes last, and after its end nothing counts."""
    facts = read_stream(
        completion(" upon"),
        completion(" a time"),
        completion("", "stop"),
        {"id": "c-1", "model": "m", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 3}},
        "[DONE]",
        completion(" more"),
    )
    assert facts == CallFacts(
        id="c-1",
        model="m",
        text=" upon a time",
        usage=Usage(input_tokens=1, output_tokens=3, total_tokens=4),
        finish_reason=FinishReason.STOP,
        raw_finish_reason="stop",
        terminated=True,
    )


def test_a_piece_that_is_said_twice_is_read_once() -> None:
    """Together says it as a completion and as a chat."""
    chunk = completion(" upon")
    chunk["choices"][0]["delta"] = {"content": " upon"}
    assert read_stream(chunk).text == " upon"


def test_a_stream_without_its_end_is_not_terminated() -> None:
    """What it has said so far is known."""
    assert read_stream(completion(" upon")) == CallFacts(id="c-1", model="m", text=" upon")


def test_an_error_is_read_in_the_providers_words() -> None:
    """Plain, or inside a stream."""
    error = {"error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": "model_not_found"}}
    assert read(error) == CallFacts(error_type="model_not_found")
    assert read_stream(completion(" upon"), error) == CallFacts(
        id="c-1", model="m", text=" upon", error_type="model_not_found"
    )


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "index", "delta", "content", "prompt_tokens"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.sampled_from(["choices", "usage", "model", "id", "error"]), junk), max_size=3))
def test_junk_never_raises_and_is_never_a_number(chunks: list[dict[str, Any]]) -> None:
    """A usage is made only of whole numbers from zero up."""
    usage = read_stream(*chunks).usage
    assert usage is None or all(count is None or count >= 0 for count in usage.counts().values())


# -- writing -------------------------------------------------------------------------------

SAID = CallFacts(
    id="cmpl-1",
    model="m",
    text=" upon a time",
    usage=Usage(input_tokens=1, output_tokens=3, total_tokens=4),
    finish_reason=FinishReason.STOP,
    raw_finish_reason="stop",
    terminated=True,
)
HEAD = {"id": "cmpl-1", "object": "text_completion", "created": 1_700_000_000, "model": "m"}
USAGE = {
    "prompt_tokens": 1,
    "completion_tokens": 3,
    "total_tokens": 4,
    "prompt_tokens_details": {},
    "completion_tokens_details": {},
}


def choice(text: str, finish: str | None = None) -> dict[str, object]:
    """What a completion says."""
    return {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}


def chunks(body: bytes) -> list[Any]:
    """What a stream carries, without its end."""
    blocks = body.decode().removesuffix("\n\n").split("\n\n")
    assert blocks.pop() == "data: [DONE]"
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def test_a_plain_answer_has_the_shape_of_the_api() -> None:
    """A text where a chat has a message."""
    answer = COMPLETIONS.write_response(SAID, ASKED)
    assert (answer.status, answer.headers) == (200, {"content-type": "application/json"})
    assert json.loads(answer.body) == {**HEAD, "choices": [choice(" upon a time", "stop")], "usage": USAGE}


def test_a_stream_has_the_shape_of_the_api() -> None:
    """Every chunk is a completion, the last one but for its text."""
    answer = COMPLETIONS.write_stream(SAID, [" upon", " a time"], STREAMED)
    assert answer.content_type == "text/event-stream"
    assert chunks(answer.body) == [
        {**HEAD, "choices": [choice("")], "usage": None},
        {**HEAD, "choices": [choice(" upon")], "usage": None},
        {**HEAD, "choices": [choice(" a time")], "usage": None},
        {**HEAD, "choices": [choice("", "stop")], "usage": None},
        {**HEAD, "choices": [], "usage": USAGE},
    ]


def test_a_stream_that_is_not_asked_for_its_usage_states_none() -> None:
    """Nor a cost; all else is the same."""
    facts = read(COMPLETIONS.write_stream(SAID, [" upon", " a time"], SILENT).body)
    assert facts == replace(SAID, usage=None)


@pytest.mark.parametrize("provider", ["openai", "mistral", "openrouter"])
def test_what_the_api_cannot_say_is_left_out(provider: str) -> None:
    """It knows neither tools nor thoughts, and a refusal is a text."""
    more = replace(
        SAID,
        finish_reason=FinishReason.REFUSAL,
        raw_finish_reason=None,
        reasoning="Hm.",
        tool_calls=(ToolCall(name="x"),),
    )
    asked, pieces = replace(STREAMED, provider=provider), [" upon", " a time"]
    assert COMPLETIONS.write_response(more, asked) == COMPLETIONS.write_response(SAID, asked)
    assert COMPLETIONS.write_stream(more, pieces, asked) == COMPLETIONS.write_stream(SAID, pieces, asked)


@pytest.mark.parametrize(
    ("kind", "status", "word", "overflow"),
    [
        (Failure.BAD_REQUEST, 400, "invalid_value", None),
        (Failure.AUTH, 401, "invalid_api_key", None),
        (Failure.NOT_FOUND, 404, "model_not_found", None),
        (Failure.CONTEXT_WINDOW, 400, "context_length_exceeded", Overflow(tokens=120, max_tokens=100)),
        (Failure.RATE_LIMIT, 429, "rate_limit_exceeded", None),
        (Failure.SERVER_ERROR, 500, "server_error", None),
        (Failure.OVERLOADED, 503, "server_error", None),
    ],
    ids=str,
)
def test_a_failure_is_read_as_it_was_written(kind: Failure, status: int, word: str, overflow: Overflow | None) -> None:
    """With its own status, or inside a stream after a 200; there it leaves what was said unfinished."""
    fault = Fault(kind=kind, tokens=120, max_tokens=100)
    plain = COMPLETIONS.write_error(fault, ASKED)
    assert (plain.status, read(plain.body)) == (status, CallFacts(error_type=word, overflow=overflow))
    broken = COMPLETIONS.write_broken_stream(SAID, [" upon", " a"], fault, STREAMED)
    assert (broken.status, broken.content_type, len(broken.chunks)) == (200, "text/event-stream", 4)
    assert read(broken.body) == CallFacts(id="cmpl-1", model="m", text=" upon a", error_type=word, overflow=overflow)


# -- round trips ---------------------------------------------------------------------------

WORDS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
    "ünknown": FinishReason.UNKNOWN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer, and how a stream cuts its text."""

    facts: CallFacts
    pieces: tuple[str, ...]


counts = st.integers(min_value=0, max_value=10**12)
words = st.text(min_size=1, max_size=12)


@st.composite
def answers(draw: st.DrawFn) -> Said:
    """Such as ``Said(facts=CallFacts(text="Hi", ...), pieces=("H", "i"))``."""
    pieces = draw(st.lists(st.text(max_size=12), max_size=4))
    word = draw(st.none() | st.sampled_from([*WORDS]))
    asked, produced = draw(counts), draw(counts)
    usage = Usage(
        input_tokens=asked,
        output_tokens=produced,
        total_tokens=asked + produced,
        cache_read_tokens=draw(st.none() | st.integers(min_value=0, max_value=asked)),
        reasoning_tokens=draw(st.none() | st.integers(min_value=0, max_value=produced)),
    )
    stated = draw(st.none() | st.just(usage))
    return Said(
        facts=CallFacts(
            id=draw(st.none() | words),
            model=draw(st.none() | words),
            text="".join(pieces),
            usage=stated,
            finish_reason=None if word is None else WORDS[word],
            raw_finish_reason=word,
            service_tier=draw(st.none() | words),
            stated_cost_usd=None if stated is None else draw(st.none() | st.decimals(0, 10**6, places=12)),
            terminated=word is not None,
        ),
        pieces=tuple(pieces),
    )


@given(answers())
def test_an_answer_is_read_as_it_was_written(said: Said) -> None:
    """Every fact that the API can state survives."""
    assert read(COMPLETIONS.write_response(said.facts, ASKED).body) == said.facts


@given(answers(), st.lists(st.integers(min_value=0, max_value=1999), max_size=6))
def test_a_stream_is_read_as_it_was_written(said: Said, places: list[int]) -> None:
    """Wherever the bytes are cut, every fact survives."""
    body = COMPLETIONS.write_stream(said.facts, said.pieces, STREAMED).body
    assert dialects.read(COMPLETIONS, body, places=places) == replace(said.facts, terminated=True)


def test_a_stream_cut_at_any_byte_is_read_up_to_there() -> None:
    """A prefix of the stream states a prefix of the text, and no count that is not the final one."""
    body = COMPLETIONS.write_stream(replace(SAID, text="Café au lait"), ["Caf", "é au", " lait"], STREAMED).body
    for end in range(len(body)):
        facts = read(body[:end])
        assert "Café au lait".startswith(facts.text), f"cut at {end}"
        assert facts.usage in {None, SAID.usage}, f"cut at {end}"
        assert facts.terminated is (facts.raw_finish_reason is not None), f"cut at {end}"
