"""Gemini embeddings: ``:embedContent`` and ``:batchEmbedContents``, and Vertex's older ``:predict``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pytest_llmtelemetry.facts import CallFacts, RequestFacts, Usage
from pytest_llmtelemetry.wire import gemini_errors
from pytest_llmtelemetry.wire.dialect import Fault, Unstreamed, WireAnswer, WireRequest, answer_of
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.gemini_usage import read_embedding_usage, read_tier, write_usage
from pytest_llmtelemetry.wire.jsontext import Counts, dump, mapping, objects, text
from pytest_llmtelemetry.wire.vectors import read_vector


class GeminiEmbed(Unstreamed):
    """The dialect of Google's embedding models."""

    api = "gemini.embed"
    operation = "embeddings"
    id_prefix = ""
    path: ClassVar = re.compile(
        r"(?:.*/)?(?:models|tunedModels|endpoints)/(?P<model>.+):(?:embedContent|batchEmbedContents)"
    )

    def speaks(self, method: str, path: str) -> bool:
        return method == "POST" and self.path.fullmatch(path) is not None

    def fits(self, body: Mapping[str, Any]) -> bool:
        asked = objects(body.get("requests")) or [body]
        return all("parts" in mapping(item.get("content")) for item in asked)

    def read_request(self, body: Mapping[str, Any], *, request: WireRequest, provider: str) -> RequestFacts:
        path = self.path.fullmatch(request.path)
        return RequestFacts(api=self.api, provider=provider, model=path["model"] if path else None, body=body)

    def draft(self) -> Draft:
        return EmbedDraft()

    def write_response(self, facts: CallFacts, asked: RequestFacts) -> WireAnswer:
        vectors = [{"values": vector} for vector in facts.vectors]
        # Only a request for one embedding says its content beside the model.
        one = "content" in asked.body and len(vectors) == 1
        document: dict[str, object] = {"embedding": vectors[0]} if one else {"embeddings": vectors}
        if stated := write_usage(_input_of(facts.usage), facts.service_tier, asked.provider):
            document["usageMetadata"] = stated
        return answer_of(dump(document).encode(), media=gemini_errors.JSON_MEDIA)

    def write_error(self, fault: Fault, asked: RequestFacts) -> WireAnswer:
        return gemini_errors.write_error(fault, asked)


class EmbedDraft(Draft):
    """One vector, or as many as were asked for."""

    exact = False

    def take(self, document: Mapping[str, Any], event: str) -> None:
        gemini_errors.take_error(self, document)
        one = document.get("embedding")
        self._take_vectors([one] if isinstance(one, dict) else document.get("embeddings"))
        metadata = mapping(document.get("usageMetadata"))
        self.usage, self.service_tier = read_embedding_usage(metadata), read_tier(metadata)

    def _take_vectors(self, embeddings: object) -> None:
        self.vectors = [read_vector(embedding.get("values")) for embedding in objects(embeddings)]
        self.has_content = bool(self.vectors)
        self.terminated = isinstance(embeddings, list)


class VertexPredict(GeminiEmbed):
    """The dialect of Vertex's own embedding models."""

    api = "vertex.predict"
    # Other models of Vertex are asked to predict too: pictures, films, tables.
    path = re.compile(r"(?:.*/)?models/(?P<model>[^/]*(?:embedding|gecko)[^/]*):predict")

    def fits(self, body: Mapping[str, Any]) -> bool:
        instances = objects(body.get("instances"))
        return bool(instances) and all(text(instance.get("content")) for instance in instances)

    def draft(self) -> Draft:
        return PredictDraft()

    def write_response(self, facts: CallFacts, asked: RequestFacts) -> WireAnswer:
        shares = _shares(None if facts.usage is None else facts.usage.input_tokens, len(facts.vectors))
        predictions = [
            {"embeddings": {"values": vector, "statistics": share | {"truncated": False}}}
            for vector, share in zip(facts.vectors, shares, strict=True)
        ]
        return answer_of(dump({"predictions": predictions}).encode(), media=gemini_errors.JSON_MEDIA)


class PredictDraft(EmbedDraft):
    """Vectors that each state their own tokens."""

    def take(self, document: Mapping[str, Any], event: str) -> None:
        gemini_errors.take_error(self, document)
        predictions = document.get("predictions")
        embeddings = [mapping(item.get("embeddings")) for item in objects(predictions)]
        self._take_vectors(embeddings if isinstance(predictions, list) else None)
        self.usage = _sum_of([mapping(embedding.get("statistics")) for embedding in embeddings])


def _input_of(usage: Usage | None) -> Usage | None:
    """What Google states of an embedding: nothing about an output."""
    if usage is None:
        return None
    return Usage(
        input_tokens=usage.input_tokens,
        total_tokens=usage.total_tokens,
        input_audio_tokens=usage.input_audio_tokens,
        input_image_tokens=usage.input_image_tokens,
        input_video_tokens=usage.input_video_tokens,
    )


def _sum_of(statistics: Sequence[Mapping[str, Any]]) -> Usage | None:
    """The tokens of all; unknown unless each states its own."""
    counts = [Counts(item) for item in statistics]
    stated = [count("token_count") for count in counts]
    doubts = [doubt for count in counts for doubt in count.doubts]
    known = [tokens for tokens in stated if tokens is not None]
    if not known and not doubts:
        return None
    whole = sum(known) if len(known) == len(stated) else None
    return Usage.checked(doubts=doubts, input_tokens=whole, output_tokens=0)


def _shares(tokens: int | None, texts: int) -> list[dict[str, object]]:
    """The same sum, spread over the texts."""
    if tokens is None or not texts:
        return [{} for _ in range(texts)]
    each, rest = divmod(tokens, texts)
    return [{"token_count": each + (rest if index == 0 else 0)} for index in range(texts)]
