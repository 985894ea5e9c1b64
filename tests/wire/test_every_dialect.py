"""What holds for every dialect: what it writes is what its provider sends, and is read back as it was meant.

The dialects come from the registry, so that a new one cannot be forgotten. What only some APIs can
say is in the tests of each; here is what all of their kind can.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import speakers
from pytest_llmtelemetry.facts import CallFacts
from pytest_llmtelemetry.wire.dialect import Failure, Fault
from pytest_llmtelemetry.wire.registry import DIALECTS
from speakers import EMBEDDERS, NAMES, SPEAKERS, TALKERS, Speaker


# They are many, and each has a round trip of its own, of more facts.
few = settings(max_examples=25)

every = pytest.mark.parametrize("speaker", SPEAKERS, ids=NAMES)
every_talker = pytest.mark.parametrize("speaker", TALKERS, ids=[one.name for one in TALKERS])


def test_none_is_forgotten() -> None:
    """Each dialect of the registry is in the table of the speakers."""
    assert {id(one) for one in DIALECTS} == {id(speaker.dialect) for speaker in SPEAKERS}


@every
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_the_request_is_one(speaker: Speaker, stream: bool) -> None:
    """Its path is spoken, its body fits, and it says whether a stream is asked for."""
    path, body = speaker.place(stream=stream)
    asked = speaker.asked(stream=stream)
    assert speaker.dialect.speaks("POST", path.partition("?")[0])
    assert speaker.dialect.fits(body)
    assert (asked.api, asked.provider) == (speaker.dialect.api, speaker.provider)
    assert asked.stream is (stream and speaker.may_stream)
    assert asked.wants_usage


# -- answers -------------------------------------------------------------------------------


@every
@few
@given(data=st.data())
def test_a_plain_answer_is_read_as_it_was_written(speaker: Speaker, data: st.DataObject) -> None:
    """Every fact survives, under the provider's media type, and it is no stream."""
    said = data.draw(speakers.answers(speaker))
    answer = speakers.written(speaker, said, stream=False)
    assert speakers.read(speaker, answer) == (said.facts, False)
    assert (answer.status, answer.content_type) == (200, speaker.media)


@every_talker
@few
@given(data=st.data())
def test_a_stream_is_read_as_it_was_written(speaker: Speaker, data: st.DataObject) -> None:
    """Every fact survives, under the provider's media type; all but an array are seen to be streams."""
    said = data.draw(speakers.answers(speaker))
    answer = speakers.written(speaker, said, stream=True)
    assert speakers.read(speaker, answer) == (said.facts, not speaker.asked(stream=True).array)
    assert (answer.status, answer.content_type) == (200, speaker.stream_media)


@every_talker
@few
@given(data=st.data())
def test_a_finish_reason_without_its_word_is_written_in_the_providers(speaker: Speaker, data: st.DataObject) -> None:
    """A mock need not know it."""
    said = data.draw(speakers.answers(speaker))
    meant = replace(said, facts=replace(said.facts, raw_finish_reason=None))
    for stream in (False, True):
        assert speakers.read(speaker, speakers.written(speaker, meant, stream=stream))[0] == said.facts


@pytest.mark.parametrize("speaker", EMBEDDERS, ids=[one.name for one in EMBEDDERS])
def test_an_embedding_comes_whole(speaker: Speaker) -> None:
    """Whatever is asked for, the answer is the same; Bedrock sends it as the one event of a stream."""
    said = speakers.example(speaker)
    answer = speakers.written(speaker, said, stream=True)
    assert speakers.read(speaker, answer)[0] == said.facts
    assert (answer.content_type == speaker.stream_media) is (speaker.dialect.api == "bedrock.invoke")


@every
def test_an_answer_does_not_vary(speaker: Speaker) -> None:
    """No clock and no chance: two runs of a suite see the same bytes."""
    said = speakers.example(speaker)
    for stream in (False, True):
        assert speakers.written(speaker, said, stream=stream) == speakers.written(speaker, said, stream=stream)


# -- failures ------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("kind", Failure)
def test_a_failure_is_read_as_it_was_written(speaker: Speaker, kind: Failure, stream: bool) -> None:
    """It has a status, a word of the provider's, and nothing that a model said; only one is an overflow."""
    answer = speaker.dialect.write_error(Fault(kind=kind), speaker.asked(stream=stream))
    facts, is_stream = speakers.read(speaker, answer)
    assert answer.status in STATUSES[kind]
    assert answer.content_type in {speaker.media, speaker.stream_media}
    assert facts.error_type
    overflow = speaker.overflow if kind is Failure.CONTEXT_WINDOW else None
    assert facts == CallFacts(id=facts.id, error_type=facts.error_type, overflow=overflow)
    assert not is_stream


STATUSES = {
    Failure.BAD_REQUEST: {400},
    Failure.AUTH: {400, 401, 403},  # Gemini takes a bad key for a bad argument
    Failure.NOT_FOUND: {404},
    Failure.CONTEXT_WINDOW: {400},
    Failure.RATE_LIMIT: {429},
    Failure.SERVER_ERROR: {500},
    Failure.OVERLOADED: {503, 529},
}


@every
def test_a_wait_is_stated_where_the_client_looks_for_it(speaker: Speaker) -> None:
    """In a header, or in the body as Google does."""
    answer = speaker.dialect.write_error(Fault(kind=Failure.RATE_LIMIT, retry_after_s=1.5), speaker.asked(stream=False))
    facts, _ = speakers.read(speaker, answer)
    assert (answer.headers.get("retry-after"), facts.retry_after_s) in [("1.5", None), (None, 1.5)]


@every_talker
@pytest.mark.parametrize("kind", Failure)
def test_a_stream_that_breaks_is_read_as_it_was_written(speaker: Speaker, kind: Failure) -> None:
    """What was said is there, and so is the failure; only OpenRouter says that such a stream is over."""
    said = speakers.example(speaker)
    asked = speaker.asked(stream=True)
    answer = speaker.dialect.write_broken_stream(said.facts, said.pieces, Fault(kind=kind), asked)
    facts, is_stream = speakers.read(speaker, answer)
    assert (answer.status, answer.content_type) == (200, speaker.stream_media)
    assert is_stream is not asked.array
    assert (facts.id, facts.model, facts.text) == (said.facts.id, said.facts.model, said.facts.text)
    assert facts.error_type
    assert facts.terminated is speaker.ends_when_broken
    assert facts.usage is None or facts.usage.output_tokens is None
