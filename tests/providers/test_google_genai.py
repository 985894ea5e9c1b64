"""The SDK ``google-genai``: the Gemini API, and Vertex."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from kinds import items, opened, value
from polyglot import Polyglot
from pytest_llmtelemetry.facts import FinishReason
from pytest_llmtelemetry.wire.dialect import Failure
from suite import (
    LIMIT,
    MODEL,
    PARAMETERS,
    VECTORS,
    Caller,
    Embedded,
    EmbeddingSuite,
    Heard,
    Structured,
    Suite,
    stated,
)


genai: Any = pytest.importorskip("google.genai")
failures: Any = pytest.importorskip("google.genai.errors")


class Gemini(Caller):
    """With a key of the Gemini API."""

    provider_name = "gemini"

    def make(self, kind: str, url: str) -> Any:
        return genai.Client(api_key="test", http_options={"base_url": url})

    @asynccontextmanager
    async def open(self, kind: str, server: Polyglot) -> AsyncIterator[Any]:
        self.kind = kind
        async with opened(self.make("sync", server.url), "sync") as client:
            if kind == "sync":
                yield client
            else:
                async with opened(client.aio, kind) as inner:
                    yield inner


class Vertex(Gemini):
    """With a project of Google's cloud."""

    provider_name = "vertex"

    def make(self, kind: str, url: str) -> Any:
        credentials = pytest.importorskip("google.oauth2.credentials").Credentials(token="test")
        return genai.Client(
            vertexai=True,
            project="p",
            location="europe-west1",
            credentials=credentials,
            http_options={"base_url": url},
        )


ERRORS = {
    Failure.BAD_REQUEST: (failures.ClientError, 400),
    Failure.AUTH: (failures.ClientError, 400),
    Failure.NOT_FOUND: (failures.ClientError, 404),
    Failure.CONTEXT_WINDOW: (failures.ClientError, 400),
    Failure.RATE_LIMIT: (failures.ClientError, 429),
    Failure.SERVER_ERROR: (failures.ServerError, 500),
    Failure.OVERLOADED: (failures.ServerError, 503),
}


class TestGenerate(Gemini, Suite, Structured):
    """``models.generate_content``."""

    api = "gemini.generate"
    finishes: ClassVar[Mapping[FinishReason, str]] = MappingProxyType(
        {FinishReason.STOP: "STOP", FinishReason.LENGTH: "MAX_TOKENS", FinishReason.TOOL_CALLS: "STOP"}
    )
    # Google counts the thoughts beside the candidates.
    usage: ClassVar[object] = MappingProxyType(
        {
            "prompt_token_count": 1000,
            "cached_content_token_count": 600,
            "candidates_token_count": 150,
            "thoughts_token_count": 50,
            "total_token_count": 1200,
        }
    )
    errors: ClassVar[Any] = ERRORS
    broken = failures.ServerError
    attempts = 1
    question: ClassVar[Sequence[Any]] = [{"role": "user", "parts": [{"text": "Comment ça va ?"}]}]
    offer: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"tools": [{"function_declarations": [{"name": "weather", "parameters_json_schema": PARAMETERS}]}]}
    )

    async def ask(self, client: Any, turns: Sequence[Any], **more: Any) -> Any:
        config = {"max_output_tokens": LIMIT, **more}
        return await value(client.models.generate_content(model=MODEL, contents=turns, config=config))

    async def listen(self, client: Any, turns: Sequence[Any], **more: Any) -> AsyncIterator[Any]:
        config = {"max_output_tokens": LIMIT, **more}
        stream = client.models.generate_content_stream(model=MODEL, contents=turns, config=config)
        async for chunk in items(await value(stream)):
            yield chunk

    def hear(self, answer: Any) -> Heard:
        return self.hear_pieces([answer])

    def hear_pieces(self, pieces: Sequence[Any]) -> Heard:
        parts = [part for chunk in pieces for part in chunk.candidates[0].content.parts]
        calls = [part.function_call for part in parts if part.function_call]
        words = [chunk.candidates[0].finish_reason for chunk in pieces]
        return Heard(
            id=pieces[0].response_id,
            model=pieces[0].model_version,
            pieces=tuple(part.text for part in parts if part.text and not part.thought),
            reasoning="".join(part.text for part in parts if part.text and part.thought),
            tools=tuple((call.id, call.name, call.args) for call in calls),
            finish=words[-1] and words[-1].value,
            usage=stated(pieces[-1].usage_metadata),
        )

    def follow_up(self, answer: Any) -> Sequence[Any]:
        results = [
            {"function_response": {"id": call.id, "name": call.name, "response": {"output": "Il pleut."}}}
            for call in answer.function_calls
        ]
        return [answer.candidates[0].content, {"role": "user", "parts": results}]

    async def parse(self, client: Any, kind: type[Any]) -> Any:
        more = {"response_mime_type": "application/json", "response_schema": kind}
        return (await self.ask(client, self.question, **more)).parsed

    def status(self, error: Any) -> int:
        return int(error.code)


class TestVertexGenerate(Vertex, TestGenerate):
    """The same at Vertex."""

    errors: ClassVar[Any] = ERRORS | {Failure.AUTH: (failures.ClientError, 401)}


class EmbedSuite(EmbeddingSuite):
    """``models.embed_content``, whose objects name no model."""

    async def embed(self, client: Any, texts: Sequence[str]) -> Any:
        return await value(client.models.embed_content(model=self.model, contents=texts))

    def expected(self) -> Embedded:
        return replace(super().expected(), model=None)

    def hear(self, answer: Any) -> Embedded:
        vectors = tuple(tuple(embedding.values) for embedding in answer.embeddings)
        return Embedded(vectors=vectors, model=None, usage=self.hear_usage(answer))

    def hear_usage(self, answer: Any) -> Any:
        """The usage, as the SDK has it."""
        return stated(answer.usage_metadata)


class TestEmbed(Gemini, EmbedSuite):
    """All texts at once, as the Gemini API is always asked."""

    api = "gemini.embed"
    usage: ClassVar[object] = MappingProxyType({"prompt_token_count": 9, "total_token_count": 9})


class TestVertexEmbed(Vertex, EmbedSuite):
    """One text, of a model that is named after Gemini."""

    api = "gemini.embed"
    model = "gemini-embedding-001"
    written = replace(VECTORS, model=None, vectors=VECTORS.vectors[:1])
    usage: ClassVar[object] = MappingProxyType({"prompt_token_count": 9, "total_token_count": 9})


class TestVertexEmbedMany(TestVertexEmbed):
    """Many texts, of the same model."""

    written = replace(VECTORS, model=None)


class TestVertexPredict(Vertex, EmbedSuite):
    """Many texts, of an older model."""

    api = "vertex.predict"
    model = "text-embedding-005"
    written = replace(VECTORS, model=None)
    usage: ClassVar[object] = [5, 4]

    def hear_usage(self, answer: Any) -> Any:
        return [embedding.statistics.token_count for embedding in answer.embeddings]
