"""Answers that are shown while they are written. One reply serves plain and streaming requests."""

from __future__ import annotations

from contextlib import aclosing, closing

from pytest_llmtelemetry import EventLog, LLMMock, faults
from support_bot import astream_answer, stream_answer


PIECES = ["It is ", "on its ", "way."]


def test_the_answer_comes_piece_by_piece(llm_mock: LLMMock, llm_events: EventLog) -> None:
    """The customer sees each piece as the model writes it, and the stream is read to its end."""
    llm_mock.openai.chat("It is on its way.", chunks=PIECES)

    assert list(stream_answer("Where is A-1?")) == PIECES
    assert [event["ended"] for event in llm_events.filter("llm.stream.stop")] == ["complete"]


async def test_the_answer_comes_piece_by_piece_without_blocking(llm_mock: LLMMock, llm_events: EventLog) -> None:
    """The async variant shows the same pieces, on the async client."""
    llm_mock.openai.chat("It is on its way.", chunks=PIECES)

    assert [piece async for piece in astream_answer("Where is A-1?")] == PIECES
    assert [event["ended"] for event in llm_events.filter("llm.stream.stop")] == ["complete"]


def test_a_customer_who_leaves_closes_the_stream(llm_mock: LLMMock, llm_events: EventLog) -> None:
    """A chat window that is closed early closes the connection: the rest is never read."""
    llm_mock.openai.chat("It is on its way.", chunks=PIECES)

    with closing(stream_answer("Where is A-1?")) as pieces:
        assert next(pieces) == "It is "

    assert [event["ended"] for event in llm_events.filter("llm.stream.stop")] == ["closed"]


async def test_a_customer_who_leaves_closes_the_async_stream(llm_mock: LLMMock, llm_events: EventLog) -> None:
    """The async variant closes the connection, too."""
    llm_mock.openai.chat("It is on its way.", chunks=PIECES)

    async with aclosing(astream_answer("Where is A-1?")) as pieces:
        assert await anext(pieces) == "It is "

    assert [event["ended"] for event in llm_events.filter("llm.stream.stop")] == ["closed"]


def test_a_streamed_answer_states_its_usage(llm_mock: LLMMock, llm_events: EventLog) -> None:
    """The bot asks a stream for its tokens; otherwise nobody could say what it costs."""
    llm_mock.openai.chat("It is on its way.", input_tokens=40, output_tokens=6)

    list(stream_answer("Where is A-1?"))

    (call,) = llm_events.calls
    assert call.usage is not None
    assert (call.usage.input_tokens, call.usage.output_tokens, call.estimated) == (40, 6, False)


def test_a_rate_limit_is_retried_before_the_stream_begins(llm_mock: LLMMock, llm_events: EventLog) -> None:
    """The customer sees nothing of a first attempt that was refused."""
    llm_mock.openai.chat([faults.rate_limit(), "It is on its way."])

    assert "".join(stream_answer("Where is A-1?")) == "It is on its way."
    assert [attempt["status"] for attempt in llm_events.filter("llm.provider.request.stop")] == [429, 200]


def test_a_truncated_stream_is_marked(llm_mock: LLMMock, llm_events: EventLog) -> None:
    """The last piece shows that the model ran into its limit."""
    llm_mock.openai.chat("First of", finish_reason="length")

    assert list(stream_answer("What are your terms?")) == ["First ", "of", " […]"]
    assert "llm.response.truncated" in llm_events.names
