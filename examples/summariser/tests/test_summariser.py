"""Map and reduce, counted: which calls are made, and what the prompt cache saves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from anthropic import AsyncAnthropic

from pytest_llmtelemetry import EventLog, LLMMock, RequestFacts, faults, reply
from summariser import Summariser


STYLE = "Plain words, short sentences, no opinions."
THREE_PARTS = "The first part.\n\nThe second part.\n\nThe third part."


@pytest.fixture
def summariser(client: AsyncAnthropic) -> Summariser:
    """A summariser that makes one part of each paragraph, and has no summaries yet."""
    return Summariser(client, style=STYLE, chunk_chars=20)


def asks_for(text: str) -> Callable[[RequestFacts], bool]:
    """Make a ``when=`` that answers only requests with ``text`` in their last message."""
    return lambda call: text in call.body["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("document", "calls"),
    [
        pytest.param("The only part.", 1, id="one-part-needs-no-reduce"),
        pytest.param("The first part.\n\nThe second part.", 3, id="two-parts"),
        pytest.param(THREE_PARTS, 4, id="three-parts"),
    ],
)
async def test_one_call_for_each_part_and_one_to_join_them(
    summariser: Summariser, llm_mock: LLMMock, llm_events: EventLog, document: str, calls: int
) -> None:
    """A document of n parts takes n calls and one more."""
    llm_mock.anthropic.messages("A summary.")

    await summariser.summarise(document)

    assert len(llm_events.calls) == calls


@pytest.mark.parametrize("document", ["", "\n\n  \n\n"], ids=["empty", "blank"])
async def test_an_empty_document_makes_no_call(
    summariser: Summariser, llm_mock: LLMMock, llm_events: EventLog, document: str
) -> None:
    """The summary of nothing is nothing. No reply is registered: any request at all would be refused."""
    assert await summariser.summarise(document) == ""
    assert llm_events.names == []


async def test_the_reduce_step_sees_the_partial_summaries_in_order(summariser: Summariser, llm_mock: LLMMock) -> None:
    """Each part has its own answer, and the last request carries all of them."""
    llm_mock.anthropic.messages("The whole.", when=asks_for("One.\n\nTwo.\n\nThree."))
    llm_mock.anthropic.messages("One.", when=asks_for("The first part."))
    llm_mock.anthropic.messages("Two.", when=asks_for("The second part."))
    llm_mock.anthropic.messages("Three.", when=asks_for("The third part."))

    assert await summariser.summarise(THREE_PARTS) == "The whole."


async def test_the_prompt_cache_is_written_once_and_read_by_the_rest(
    summariser: Summariser, llm_mock: LLMMock, llm_events: EventLog
) -> None:
    """Every request asks the provider to cache the style; the hit rate is in the usage of the test."""
    cached_style = [{"type": "text", "text": STYLE, "cache_control": {"type": "ephemeral"}}]
    writes = reply("A summary.", input_tokens=2_000, output_tokens=50, cache_write_tokens=1_600)
    reads = reply("A summary.", input_tokens=2_000, output_tokens=50, cached_tokens=1_600)
    llm_mock.anthropic.messages([writes, reads, reads, reads], when=lambda call: call.body["system"] == cached_style)

    await summariser.summarise(THREE_PARTS)

    usage = llm_events.usage
    assert usage.cache_write_tokens == 1_600
    assert usage.cache_read_tokens == 4_800
    assert usage.input_tokens == 8_000
    assert usage.cache_read_tokens / usage.input_tokens == 0.6


async def test_the_first_part_goes_alone_and_the_others_together(
    summariser: Summariser, llm_mock: LLMMock, llm_events: EventLog
) -> None:
    """The first answer leaves the prompt cache that the others read at the same time; the last call joins all."""
    llm_mock.anthropic.messages("A summary.")

    await summariser.summarise(THREE_PARTS)

    order = [name.rpartition(".")[2] for name in llm_events.filter("llm.provider.request.*").names]
    assert order == ["start", "stop", "start", "start", "stop", "stop", "start", "stop"]


async def test_an_overloaded_part_is_retried(summariser: Summariser, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """The provider is too busy for one part; the SDK asks again, and only the answer is paid for."""
    llm_mock.anthropic.messages([faults.overloaded(), "Two."], when=asks_for("The second part."))
    llm_mock.anthropic.messages("A summary.")

    assert await summariser.summarise(THREE_PARTS) == "A summary."
    assert len(llm_events.filter("llm.provider.request.stop", status=529)) == 1
    assert len(llm_events.calls) == 4


@pytest.fixture(scope="module")
def reference() -> str:
    """A summary to compare with, made once for all tests of this module: its cost is nobody's in particular."""

    async def make() -> str:
        async with AsyncAnthropic(api_key="not-a-key") as client:
            return await Summariser(client, style=STYLE).summarise("The only part.")

    return asyncio.run(make())


def test_a_wide_fixture_pays_for_itself(
    llm_mock: LLMMock, llm_events: EventLog, request: pytest.FixtureRequest
) -> None:
    """The call of a module's fixture is not charged to the test that came first; ``session`` shows it."""
    llm_mock.anthropic.messages("The reference.")

    assert request.getfixturevalue("reference") == "The reference."

    assert llm_events.calls == ()
    made = [call for call in llm_events.session.calls if call.event.owner.fixture == "reference"]
    assert [call.provider for call in made] == ["anthropic"]
