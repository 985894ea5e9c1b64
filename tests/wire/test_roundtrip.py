"""What a dialect writes, it reads back: the promise that keeps mocks and capture together.

The strategies draw what an API can say, and no more; what it cannot say has a test of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dialects
from pytest_llmtelemetry.facts import CallFacts, FinishReason, ToolCall, Usage
from pytest_llmtelemetry.wire.anthropic_messages import AnthropicMessages
from pytest_llmtelemetry.wire.dialect import Dialect
from pytest_llmtelemetry.wire.openai_chat import OpenAIChat


OPENAI, ANTHROPIC = OpenAIChat(), AnthropicMessages()
ASKED = dialects.asked(OPENAI)

OPENAI_WORDS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}
ANTHROPIC_WORDS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.REFUSAL,
}
UNKNOWN_WORDS = ("pause_turn", "insufficient_system_resource", "Stop", " ", "ende")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer, and how a stream cuts its text."""

    facts: CallFacts
    pieces: tuple[str, ...]

    @property
    def streamed(self) -> CallFacts:
        """The facts of a stream: it says that it is over even where it does not say why."""
        return replace(self.facts, terminated=True)


# -- strategies ----------------------------------------------------------------------------

words = st.text(min_size=1, max_size=12)
"""Such as ``"msg_1"``: anything but nothing."""

counts = st.integers(min_value=0, max_value=10**12)


@st.composite
def usages(draw: st.DrawFn, *, anthropic: bool) -> Usage:
    """Such as ``Usage(input_tokens=9, cache_read_tokens=4, output_tokens=2, total_tokens=11)``."""

    def part_of(whole: int | None) -> int | None:
        return draw(st.none() | st.integers(min_value=0, max_value=10**12 if whole is None else whole))

    asked = draw(st.none() | counts)
    read = part_of(asked)
    written = part_of(None if asked is None else asked - (read or 0))
    produced = draw(st.none() | counts)
    total = None
    if not anthropic:
        total = draw(st.none() | counts) if asked is None or produced is None else part_of(asked + produced)
    usage = Usage.checked(
        input_tokens=asked,
        output_tokens=produced,
        total_tokens=total,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=part_of(written or 0) if anthropic else None,
        # Of a stream, Anthropic's is read only beside the output that it is a part of.
        reasoning_tokens=None if anthropic and produced is None else part_of(produced),
        input_audio_tokens=None if anthropic else part_of(asked),
        input_image_tokens=None if anthropic else part_of(asked),
        input_video_tokens=None if anthropic else part_of(asked),
        output_audio_tokens=None if anthropic else part_of(produced),
        output_image_tokens=None if anthropic else part_of(produced),
    )
    return usage if usage != Usage() else replace(usage, output_tokens=0)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(-1000, 1000, places=3) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(st.text(max_size=4), json_values, max_size=3)
"""Such as ``{"q": [1, Decimal("0.500")]}``."""


def as_text(value: object) -> str:
    """Compact JSON with every digit of a ``Decimal``, written without the code under test."""
    marked: dict[str, str] = {}

    def mark(number: object) -> str:
        key = f"\ue000{len(marked)}\ue000"
        marked[json.dumps(key, ensure_ascii=False)] = str(number)
        return key

    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=mark)
    for key, number in marked.items():
        text = text.replace(key, number)
    return text


@st.composite
def answers(
    draw: st.DrawFn,
    *,
    finish: Mapping[str, FinishReason],
    usage: st.SearchStrategy[Usage],
    arguments: st.SearchStrategy[str],
    costs: st.SearchStrategy[Decimal | None],
    tier_in_usage: bool,
) -> Said:
    """An answer that one API can give."""
    known = draw(st.none() | st.sampled_from([*finish, *UNKNOWN_WORDS]))
    stated = draw(st.none() | usage)
    pieces = draw(st.lists(st.text(max_size=12), max_size=4))
    finish_reason = None if known is None else finish.get(known, FinishReason.UNKNOWN)
    if "".join(pieces) and known == "stop" and draw(st.booleans()):
        finish_reason = FinishReason.REFUSAL  # the words of it stand in a place of their own
    return Said(
        facts=CallFacts(
            id=draw(st.none() | words),
            model=draw(st.none() | words),
            text="".join(pieces),
            reasoning=draw(st.text(max_size=12)),
            tool_calls=tuple(
                draw(st.lists(st.builds(ToolCall, name=st.text(max_size=6), arguments=arguments, id=words), max_size=3))
            ),
            usage=stated,
            finish_reason=finish_reason,
            raw_finish_reason=known,
            service_tier=None if tier_in_usage and stated is None else draw(st.none() | words),
            stated_cost_usd=None if stated is None else draw(costs),
            terminated=known is not None,
        ),
        pieces=tuple(pieces),
    )


openai_answers = answers(
    finish=OPENAI_WORDS,
    usage=usages(anthropic=False),
    arguments=st.text(max_size=12),
    costs=st.none() | st.decimals(0, 10**6, places=12),
    tier_in_usage=False,
)
anthropic_answers = answers(
    finish=ANTHROPIC_WORDS,
    usage=usages(anthropic=True),
    arguments=json_objects.map(as_text),
    costs=st.none(),
    tier_in_usage=True,
)
places = st.lists(st.integers(min_value=0, max_value=9999), max_size=8)


def read_stream(dialect: Dialect, body: bytes, places: Iterable[int] = ()) -> CallFacts:
    """Read ``body`` as a stream that is cut at ``places``."""
    return dialects.read(dialect, body, places=places)


def written(dialect: Dialect, said: Said, *, usage: bool = True) -> bytes:
    """The whole stream."""
    return dialect.write_stream(said.facts, said.pieces, replace(ASKED, wants_usage=usage)).body


# -- plain ---------------------------------------------------------------------------------


@given(openai_answers)
def test_an_openai_answer_is_read_as_it_was_written(said: Said) -> None:
    """Every fact that the API can state survives."""
    assert dialects.read(OPENAI, OPENAI.write_response(said.facts, ASKED).body) == said.facts


@given(anthropic_answers)
def test_an_anthropic_answer_is_read_as_it_was_written(said: Said) -> None:
    """Every fact that the API can state survives."""
    assert dialects.read(ANTHROPIC, ANTHROPIC.write_response(said.facts, ASKED).body) == said.facts


# -- streams -------------------------------------------------------------------------------


@given(openai_answers, places)
def test_an_openai_stream_is_read_as_it_was_written(said: Said, places: list[int]) -> None:
    """Wherever the bytes are cut, every fact survives."""
    assert read_stream(OPENAI, written(OPENAI, said), places) == said.streamed


@given(openai_answers, places)
def test_an_openai_stream_without_usage_states_none(said: Said, places: list[int]) -> None:
    """Where the client did not ask for usage, there is none, and no cost; all else survives."""
    body = written(OPENAI, said, usage=False)
    assert read_stream(OPENAI, body, places) == replace(said.streamed, usage=None, stated_cost_usd=None)


@given(anthropic_answers, places)
def test_an_anthropic_stream_is_read_as_it_was_written(said: Said, places: list[int]) -> None:
    """Wherever the bytes are cut, every fact survives."""
    assert read_stream(ANTHROPIC, written(ANTHROPIC, said), places) == said.streamed


@given(anthropic_answers)
def test_an_anthropic_stream_states_its_usage_asked_or_not(said: Said) -> None:
    """The API has no option for it."""
    assert written(ANTHROPIC, said, usage=False) == written(ANTHROPIC, said, usage=True)


@given(openai_answers, places)
def test_an_openai_stream_cut_before_its_finish_is_not_terminated(said: Said, places: list[int]) -> None:
    """Text and tools are there; why it stopped, and what it took, are not."""
    chunks = OPENAI.write_stream(said.facts, said.pieces, ASKED).chunks
    end = 3 if said.facts.usage is not None else 2  # the finish, the usage, [DONE]
    assert read_stream(OPENAI, b"".join(chunks[:-end]), places) == replace(
        said.facts, finish_reason=None, raw_finish_reason=None, usage=None, stated_cost_usd=None, terminated=False
    )


@given(anthropic_answers, places)
def test_an_anthropic_stream_cut_before_message_delta_has_unknown_output(said: Said, places: list[int]) -> None:
    """The input is known from the first event; its count of output is a placeholder, not a fact."""
    chunks = ANTHROPIC.write_stream(said.facts, said.pieces, ASKED).chunks
    stated = said.facts.usage
    if stated is not None:
        stated = replace(stated, output_tokens=None, reasoning_tokens=None, total_tokens=None)
    assert read_stream(ANTHROPIC, b"".join(chunks[:-2]), places) == replace(
        said.facts,
        finish_reason=None,
        raw_finish_reason=None,
        usage=None if stated == Usage() else stated,
        terminated=False,
    )


@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC], ids=lambda dialect: str(dialect.api))
def test_a_stream_cut_at_any_byte_is_read_up_to_there(dialect: Dialect) -> None:
    """A prefix of the stream states a prefix of the text, and no count that is not the final one."""
    usage = Usage.checked(input_tokens=9, cache_read_tokens=4, output_tokens=7, reasoning_tokens=2)
    facts = CallFacts(id="a", model="m", text="Café au lait", usage=usage, finish_reason=FinishReason.STOP)
    body = dialect.write_stream(facts, ["Caf", "é au", " lait"], ASKED).body
    for end in range(len(body)):
        read = read_stream(dialect, body[:end])
        assert facts.text.startswith(read.text), f"cut at {end}"
        assert read.usage is None or read.usage.output_tokens in {None, 7}, f"cut at {end}"


# -- what an API has no word for -----------------------------------------------------------

FINISHES: Sequence[tuple[Dialect, FinishReason, str, FinishReason]] = [
    (OPENAI, FinishReason.STOP, "stop", FinishReason.STOP),
    (OPENAI, FinishReason.LENGTH, "length", FinishReason.LENGTH),
    (OPENAI, FinishReason.TOOL_CALLS, "tool_calls", FinishReason.TOOL_CALLS),
    (OPENAI, FinishReason.CONTENT_FILTER, "content_filter", FinishReason.CONTENT_FILTER),
    (OPENAI, FinishReason.ERROR, "error", FinishReason.ERROR),
    (OPENAI, FinishReason.REFUSAL, "stop", FinishReason.STOP),
    (OPENAI, FinishReason.UNKNOWN, "stop", FinishReason.STOP),
    (ANTHROPIC, FinishReason.STOP, "end_turn", FinishReason.STOP),
    (ANTHROPIC, FinishReason.LENGTH, "max_tokens", FinishReason.LENGTH),
    (ANTHROPIC, FinishReason.TOOL_CALLS, "tool_use", FinishReason.TOOL_CALLS),
    (ANTHROPIC, FinishReason.REFUSAL, "refusal", FinishReason.REFUSAL),
    (ANTHROPIC, FinishReason.CONTENT_FILTER, "refusal", FinishReason.REFUSAL),
    (ANTHROPIC, FinishReason.ERROR, "end_turn", FinishReason.STOP),
    (ANTHROPIC, FinishReason.UNKNOWN, "end_turn", FinishReason.STOP),
]


@pytest.mark.parametrize(
    ("dialect", "reason", "word", "read"), FINISHES, ids=[f"{row[0].api}-{row[1]}" for row in FINISHES]
)
def test_a_finish_reason_is_written_in_the_providers_word(
    dialect: Dialect, reason: FinishReason, word: str, read: FinishReason
) -> None:
    """A reason that the API has no word for becomes the nearest that it has."""
    facts = CallFacts(finish_reason=reason)
    expected = CallFacts(finish_reason=read, raw_finish_reason=word, terminated=True)
    stream = dialect.write_stream(facts, [], ASKED).body
    assert (dialects.read(dialect, dialect.write_response(facts, ASKED).body), read_stream(dialect, stream)) == (
        expected,
        expected,
    )


@pytest.mark.parametrize(("dialect", "id_"), [(OPENAI, "call_1"), (ANTHROPIC, "toolu_1")], ids=["openai", "anthropic"])
def test_a_tool_call_without_an_id_is_given_one(dialect: Dialect, id_: str) -> None:
    """No SDK accepts a tool call that cannot be answered by its id."""
    facts = CallFacts(tool_calls=(ToolCall(name="a", id="x"), ToolCall(name="b")))
    expected = (ToolCall(name="a", id="x"), ToolCall(name="b", id=id_))
    stream = dialect.write_stream(facts, [], ASKED).body
    assert dialects.read(dialect, dialect.write_response(facts, ASKED).body).tool_calls == expected
    assert read_stream(dialect, stream).tool_calls == expected


def test_anthropic_arguments_are_an_object_in_a_plain_answer_and_text_in_a_stream() -> None:
    """Spaces and broken JSON survive only where the wire carries text."""
    facts = CallFacts(
        tool_calls=(ToolCall(name="a", arguments='{"q": 1.50}', id="x"), ToolCall(name="b", arguments="{", id="y"))
    )
    plain = dialects.read(ANTHROPIC, ANTHROPIC.write_response(facts, ASKED).body)
    stream = read_stream(ANTHROPIC, ANTHROPIC.write_stream(facts, [], ASKED).body)
    assert [call.arguments for call in plain.tool_calls] == ['{"q":1.50}', "{}"]
    assert [call.arguments for call in stream.tool_calls] == ['{"q": 1.50}', "{"]
