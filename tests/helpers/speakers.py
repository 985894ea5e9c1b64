"""Every dialect, with a request in it: what is said of all of them is tested on all of them.

A table of what each API can state, written by hand; nothing in it is computed by the code under test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from hypothesis import strategies as st

import dialects
from pytest_llmtelemetry.facts import CallFacts, FinishReason, Overflow, RequestFacts, ToolCall, Usage
from pytest_llmtelemetry.wire.body import BodyReader
from pytest_llmtelemetry.wire.dialect import Dialect, WireAnswer
from pytest_llmtelemetry.wire.hosts import PROVIDERS, UNKNOWN
from pytest_llmtelemetry.wire.registry import DIALECTS


BY_NAME: Mapping[tuple[str, str], Dialect] = {(one.api, one.operation): one for one in DIALECTS}

BOTH_NUMBERS = Overflow(tokens=200_001, max_tokens=200_000)
"""What a :class:`Fault` states, if nothing else is said."""

JSON = "application/json"
SSE = "text/event-stream"
MESSAGES = "application/vnd.amazon.eventstream"

Words = Mapping[FinishReason, str]
Body = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """A dialect, and what a request in it can be told."""

    name: str
    dialect: Dialect
    provider: str = UNKNOWN
    path: str
    body: Body
    stream_path: str = ""
    """Where a streamed answer is asked for, if it is another place."""
    stream_body: Body = field(default_factory=lambda: MappingProxyType({}))
    """What the body of a request for a stream says beside."""
    words: Words = field(default_factory=lambda: MappingProxyType({}))
    """The provider's words for why a model stopped; an embedding has none."""
    media: str = JSON
    stream_media: str = SSE
    says_id: bool = True
    says_model: bool = True
    overflow: Overflow = BOTH_NUMBERS
    ends_when_broken: bool = False
    """A stream that fails says that it is over."""
    calls_tools: bool = True
    most_vectors: int = 3

    @property
    def embeds(self) -> bool:
        """It answers with vectors, and not with words."""
        return self.dialect.operation == "embeddings"

    @property
    def may_stream(self) -> bool:
        """A request for a stream can be made."""
        return not self.embeds or self.stream_path != ""

    def place(self, *, stream: bool) -> tuple[str, Body]:
        """Where a request goes, with its query, and its body."""
        if not stream:
            return self.path, self.body
        return self.stream_path or self.path, {**self.body, **self.stream_body}

    def asked(self, *, stream: bool) -> RequestFacts:
        """The request, read."""
        place, body = self.place(stream=stream)
        path, _, query = place.partition("?")
        return dialects.asked(self.dialect, body, path=path, query=query, provider=self.provider)


# -- the table -----------------------------------------------------------------------------

PROMPT = [{"role": "user", "content": "Hello?"}]
CHAT: Body = {"model": "m", "messages": PROMPT}
STREAMED: Body = {"stream": True}
WITH_USAGE: Body = {"stream": True, "stream_options": {"include_usage": True}}


def words(stop: str, length: str) -> Words:
    """The two reasons that every API knows."""
    return {FinishReason.STOP: stop, FinishReason.LENGTH: length}


def chat(provider: str) -> Speaker:
    """OpenAI's chat, as a provider speaks it."""
    return Speaker(
        name=f"openai.chat-{provider}",
        dialect=BY_NAME["openai.chat", "chat"],
        provider=provider,
        path="/v1/chat/completions",
        body=CHAT,
        stream_body=WITH_USAGE,
        words=words("stop", "length"),
        ends_when_broken=provider == "openrouter",
    )


def gemini(name: str, query: str, media: str) -> Speaker:
    """Gemini, with a way to stream."""
    return Speaker(
        name=name,
        dialect=BY_NAME["gemini.generate", "chat"],
        provider="gemini",
        path="/v1beta/models/m:generateContent",
        body={"contents": [{"parts": [{"text": "Hello?"}]}]},
        stream_path=f"/v1beta/models/m:streamGenerateContent{query}",
        words=words("STOP", "MAX_TOKENS"),
        stream_media=media,
    )


def bedrock(model: str, body: Body, ends: Words, *, says_model: bool = False, calls_tools: bool = True) -> Speaker:
    """A vendor's model at Bedrock."""
    return Speaker(
        name=f"bedrock.invoke-{model}",
        dialect=BY_NAME["bedrock.invoke", "chat"],
        provider="bedrock",
        path=f"/model/{model}/invoke",
        body=body,
        stream_path=f"/model/{model}/invoke-with-response-stream",
        words=ends,
        stream_media=MESSAGES,
        says_model=says_model,
        calls_tools=calls_tools,
    )


def embedding(name: str, path: str, body: Body, **said: Any) -> Speaker:
    """An API of embeddings."""
    api, _, _ = name.partition("-")
    return Speaker(name=name, dialect=BY_NAME[api, "embeddings"], path=path, body=body, **said)


def bedrock_embedding(name: str, model: str, body: Body, **said: Any) -> Speaker:
    """The same at Bedrock, where the path may ask for a stream."""
    place = f"/model/{model}/invoke"
    return embedding(
        name,
        place,
        body,
        stream_path=f"{place}-with-response-stream",
        stream_media=MESSAGES,
        provider="bedrock",
        says_model=False,
        **said,
    )


CLAUDE = words("end_turn", "max_tokens")
OLLAMA: dict[str, Any] = {
    "provider": "ollama",
    "words": words("stop", "length"),
    "media": JSON,
    "stream_media": "application/x-ndjson",
    "says_id": False,
    "overflow": Overflow(),
}
GOOGLE: dict[str, Any] = {"says_id": False, "says_model": False}

SPEAKERS: Sequence[Speaker] = (
    *(chat(provider) for provider in sorted({*PROVIDERS, UNKNOWN})),
    Speaker(
        name="openai.responses",
        dialect=BY_NAME["openai.responses", "chat"],
        path="/v1/responses",
        body={"model": "m", "input": "Hello?"},
        stream_body=STREAMED,
        words=words("completed", "incomplete:max_output_tokens"),
    ),
    Speaker(
        name="openai.completions",
        dialect=BY_NAME["openai.completions", "completion"],
        path="/v1/completions",
        body={"model": "m", "prompt": "Hello?"},
        stream_body=WITH_USAGE,
        words=words("stop", "length"),
    ),
    embedding("openai.embeddings", "/v1/embeddings", {"model": "m", "input": "Hello?"}),
    embedding(
        "openai.embeddings-packed", "/v1/embeddings", {"model": "m", "input": "Hello?", "encoding_format": "base64"}
    ),
    Speaker(
        name="anthropic.messages",
        dialect=BY_NAME["anthropic.messages", "chat"],
        provider="anthropic",
        path="/v1/messages",
        body={**CHAT, "max_tokens": 9},
        stream_body=STREAMED,
        words=CLAUDE,
    ),
    gemini("gemini.generate", "?alt=sse", SSE),
    gemini("gemini.generate-array", "", JSON),
    embedding(
        "gemini.embed",
        "/v1beta/models/m:batchEmbedContents",
        {"requests": [{"model": "models/m", "content": {"parts": [{"text": "Hello?"}]}}]},
        **GOOGLE,
    ),
    embedding(
        "gemini.embed-one",
        "/v1beta/models/m:embedContent",
        {"content": {"parts": [{"text": "Hello?"}]}},
        most_vectors=1,
        **GOOGLE,
    ),
    embedding(
        "vertex.predict",
        "/v1/projects/p/locations/l/publishers/google/models/text-embedding-005:predict",
        {"instances": [{"content": "Hello?"}]},
        provider="vertex",
        **GOOGLE,
    ),
    Speaker(
        name="cohere.v2.chat",
        dialect=BY_NAME["cohere.v2.chat", "chat"],
        provider="cohere",
        path="/v2/chat",
        body=CHAT,
        stream_body=STREAMED,
        words=words("COMPLETE", "MAX_TOKENS"),
        says_model=False,
    ),
    Speaker(
        name="cohere.v1.chat",
        dialect=BY_NAME["cohere.v1.chat", "chat"],
        provider="cohere",
        path="/v1/chat",
        body={"model": "m", "message": "Hello?"},
        stream_body=STREAMED,
        words=words("COMPLETE", "MAX_TOKENS"),
        stream_media="application/stream+json",
        says_model=False,
    ),
    *(
        embedding(
            f"cohere.{version}.embed",
            f"/{version}/embed",
            {"model": "m", "texts": ["Hello?"], "input_type": "search_query"},
            provider="cohere",
            says_model=False,
        )
        for version in ("v2", "v1")
    ),
    Speaker(
        name="ollama.chat",
        dialect=BY_NAME["ollama.chat", "chat"],
        path="/api/chat",
        body={**CHAT, "stream": False},
        stream_body=STREAMED,
        **OLLAMA,
    ),
    Speaker(
        name="ollama.generate",
        dialect=BY_NAME["ollama.generate", "completion"],
        path="/api/generate",
        body={"model": "m", "prompt": "Hello?", "stream": False},
        stream_body=STREAMED,
        **OLLAMA,
    ),
    embedding(
        "ollama.embed",
        "/api/embed",
        {"model": "m", "input": "Hello?"},
        provider="ollama",
        says_id=False,
        overflow=Overflow(),
    ),
    Speaker(
        name="bedrock.converse",
        dialect=BY_NAME["bedrock.converse", "chat"],
        provider="bedrock",
        path="/model/m/converse",
        body={"messages": [{"role": "user", "content": [{"text": "Hello?"}]}]},
        stream_path="/model/m/converse-stream",
        words=CLAUDE,
        stream_media=MESSAGES,
        says_model=False,
    ),
    bedrock("anthropic.claude-v3", {"anthropic_version": "v", "messages": PROMPT}, CLAUDE, says_model=True),
    bedrock(
        "amazon.nova-lite-v1:0",
        {"inferenceConfig": {}, "messages": [{"role": "user", "content": [{"text": "?"}]}]},
        CLAUDE,
    ),
    bedrock("amazon.titan-text-v1", {"inputText": "Hello?"}, words("FINISH", "LENGTH"), calls_tools=False),
    bedrock("meta.llama3", {"prompt": "Hello?", "max_gen_len": 9}, words("stop", "length"), calls_tools=False),
    bedrock("openai.gpt-oss", {"messages": PROMPT}, words("stop", "length"), says_model=True),
    bedrock_embedding("bedrock.invoke-titan", "amazon.titan-embed-text-v2:0", {"inputText": "Hello?"}, most_vectors=1),
    bedrock_embedding(
        "bedrock.invoke-cohere", "cohere.embed-v4:0", {"texts": ["Hello?"], "input_type": "search_query"}
    ),
)

NAMES = [speaker.name for speaker in SPEAKERS]
TALKERS = [speaker for speaker in SPEAKERS if not speaker.embeds]
EMBEDDERS = [speaker for speaker in SPEAKERS if speaker.embeds]

ONE_OF_EACH: Sequence[Speaker] = (
    chat("openai"),
    chat("groq"),
    *(speaker for speaker in SPEAKERS if not speaker.name.startswith("openai.chat-")),
)
"""Without the many providers of one API."""


# -- what they say -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer, and how a stream cuts its text."""

    facts: CallFacts
    pieces: tuple[str, ...] = ()


def usage_of(asked: int, produced: int) -> Usage:
    """The usage that every API can state."""
    return Usage(input_tokens=asked, output_tokens=produced, total_tokens=asked + produced)


LINE_ENDS_OF_OTHERS = 'Café\u2028 au\u2029 lait\x85 \x0b\x0c\r\n\U0001f40d \\" [{,'
"""All that could be taken for the end of a line, or of a text."""


def example(speaker: Speaker, text: str = LINE_ENDS_OF_OTHERS) -> Said:
    """An answer that is always the same."""
    return _said(
        speaker,
        pieces=(text[:3], text[3:], ""),
        finish=FinishReason.STOP,
        usage=usage_of(23, 0 if speaker.embeds else 7),
        vectors=((0.5, -0.25), (1.0, 2**-15)),
        id_="an-id",
        model="a-model",
    )


def full_example(speaker: Speaker) -> Said:
    """An answer that states all that there is to state; each dialect leaves out what its API has no place for."""
    said = example(speaker, "Hello.")
    call = ToolCall(name="a-tool", arguments='{"q":[1.5,"x"]}', id="a-call")
    facts = replace(
        said.facts,
        id="an-id",
        model="a-model",
        reasoning="" if speaker.embeds else "Hm.",
        tool_calls=(call, call) if speaker.calls_tools and not speaker.embeds else (),
        usage=FULL_USAGE,
        service_tier="a-tier",
        stated_cost_usd=Decimal("0.25"),
    )
    return replace(said, facts=facts)


FULL_USAGE = Usage(
    input_tokens=90,
    output_tokens=70,
    total_tokens=160,
    cache_read_tokens=30,
    cache_write_tokens=20,
    cache_write_1h_tokens=10,
    reasoning_tokens=40,
    input_audio_tokens=9,
    input_image_tokens=8,
    output_audio_tokens=7,
    output_image_tokens=6,
    cache_audio_read_tokens=5,
    cache_image_read_tokens=4,
    billed_input_tokens=80,
    billed_output_tokens=60,
)


@st.composite
def answers(draw: st.DrawFn, speaker: Speaker) -> Said:
    """An answer that a dialect can give: all that the least of its kind can state."""
    size = draw(st.integers(min_value=1, max_value=4))
    numbers = st.floats(-1000, 1000, width=32)
    vector = st.lists(numbers, min_size=size, max_size=size).map(tuple)
    counts = st.integers(min_value=0, max_value=10**12)
    return _said(
        speaker,
        pieces=tuple(draw(st.lists(st.text(max_size=12), min_size=1, max_size=4))),
        finish=draw(st.sampled_from([FinishReason.STOP, FinishReason.LENGTH])),
        usage=draw(st.none() | st.builds(usage_of, counts, st.just(0) if speaker.embeds else counts)),
        vectors=tuple(draw(st.lists(vector, min_size=1, max_size=speaker.most_vectors))),
        id_=draw(st.text(min_size=1, max_size=12)),
        model=draw(st.text(min_size=1, max_size=12)),
    )


def _said(
    speaker: Speaker,
    *,
    pieces: tuple[str, ...],
    finish: FinishReason,
    usage: Usage | None,
    vectors: tuple[tuple[float, ...], ...],
    id_: str,
    model: str,
) -> Said:
    """As much of it as the dialect can say."""
    head = CallFacts(
        id=id_ if speaker.says_id else None,
        model=model if speaker.says_model else None,
        usage=usage,
        terminated=True,
    )
    if speaker.embeds:
        return Said(facts=replace(head, vectors=vectors[: speaker.most_vectors]))
    word = speaker.words[finish]
    return Said(facts=replace(head, text="".join(pieces), finish_reason=finish, raw_finish_reason=word), pieces=pieces)


def written(speaker: Speaker, said: Said, *, stream: bool) -> WireAnswer:
    """The answer, as the provider sends it."""
    asked = speaker.asked(stream=stream)
    if stream:
        return speaker.dialect.write_stream(said.facts, said.pieces, asked)
    return speaker.dialect.write_response(said.facts, asked)


def read(speaker: Speaker, answer: WireAnswer) -> tuple[CallFacts, bool]:
    """What an answer says, and whether it came as a stream."""
    reader = BodyReader(speaker.dialect.draft(), answer.headers)
    for chunk in answer.chunks:
        reader.feed(chunk)
    facts = reader.close()
    return facts, reader.is_stream
