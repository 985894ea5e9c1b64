"""The application's own cache, which speaks for itself: ``llm.cache.lookup.hit`` and ``.miss``."""

from __future__ import annotations

import pytest
from anthropic import AsyncAnthropic

from pytest_llmtelemetry import EventLog, LLMMock, reply
from summariser import Summariser, SummaryCache


TWO_PARTS = "The first part.\n\nThe second part."


@pytest.fixture
def cache() -> SummaryCache:
    """An empty cache."""
    return SummaryCache()


@pytest.fixture
def summariser(client: AsyncAnthropic, cache: SummaryCache) -> Summariser:
    """A summariser that makes one part of each paragraph."""
    return Summariser(client, style="Plain words.", cache=cache, chunk_chars=20)


async def test_a_second_run_makes_no_call(summariser: Summariser, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """The three replies are used up by the first run; the second is served from the application's cache."""
    llm_mock.anthropic.messages(["One.", "Two.", "Both."])
    first = await summariser.summarise(TWO_PARTS)

    assert await summariser.summarise(TWO_PARTS) == first == "Both."
    assert len(llm_events.calls) == 3


async def test_the_cache_says_what_it_had(summariser: Summariser, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """Three look-ups of the first run miss and three of the second hit: half, as the report at the end says."""
    llm_mock.anthropic.messages(["One.", "Two.", "Both."])
    await summariser.summarise(TWO_PARTS)
    await summariser.summarise(TWO_PARTS)

    assert len(llm_events.filter("llm.cache.lookup.miss")) == 3
    assert len(llm_events.filter("llm.cache.lookup.hit")) == 3


async def test_an_edit_asks_only_about_what_changed(
    summariser: Summariser, llm_mock: LLMMock, llm_events: EventLog
) -> None:
    """A new second part is two calls: its own summary, and the one that joins both."""
    llm_mock.anthropic.messages(["One.", "Two.", "Both.", "Another two.", "Both, again."])
    await summariser.summarise(TWO_PARTS)
    before = len(llm_events.calls)

    assert await summariser.summarise("The first part.\n\nAnother part.") == "Both, again."
    assert len(llm_events.calls) - before == 2


async def test_another_style_is_another_summary(client: AsyncAnthropic, cache: SummaryCache, llm_mock: LLMMock) -> None:
    """A shared cache does not hand the summary of one house to the other."""
    llm_mock.anthropic.messages(["Plain.", "Ornate."])

    plain = await Summariser(client, style="Plain words.", cache=cache).summarise(TWO_PARTS)
    ornate = await Summariser(client, style="Ornate words.", cache=cache).summarise(TWO_PARTS)

    assert (plain, ornate) == ("Plain.", "Ornate.")


async def test_a_summary_that_was_cut_short_is_not_kept(summariser: Summariser, llm_mock: LLMMock) -> None:
    """The next run asks again, and has the whole of it."""
    llm_mock.anthropic.messages([reply("The only", finish_reason="length"), "The only part, whole."])

    assert await summariser.summarise("The only part.") == "The only"
    assert await summariser.summarise("The only part.") == "The only part, whole."
