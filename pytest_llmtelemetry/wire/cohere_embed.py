"""Cohere embeddings: ``POST */v2/embed`` and ``*/v1/embed``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmtelemetry.facts import CallFacts, RequestFacts, Usage
from pytest_llmtelemetry.wire import cohere_words
from pytest_llmtelemetry.wire.dialect import Fault, Unstreamed, WireAnswer, WireRequest, answer_of
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.jsontext import Counts, dump, mapping, text
from pytest_llmtelemetry.wire.vectors import read_vectors


_INPUTS = ("texts", "images", "inputs")


class CohereEmbed(Unstreamed):
    """The dialect of Cohere's embeddings, in one of its two versions."""

    operation = "embeddings"
    id_prefix = ""

    def __init__(self, version: str) -> None:
        self.api = f"cohere.{version}.embed"
        self._version = version
        self._path = f"/{version}/embed"

    def speaks(self, method: str, path: str) -> bool:
        return method == "POST" and path.removesuffix("/").endswith(self._path)

    def fits(self, body: Mapping[str, Any]) -> bool:
        sent = any(isinstance(body.get(key), list) and body[key] for key in _INPUTS)
        return sent and text(body.get("model")) is not None and text(body.get("input_type")) is not None

    def read_request(self, body: Mapping[str, Any], *, request: WireRequest, provider: str) -> RequestFacts:
        return RequestFacts(api=self.api, provider=provider, model=text(body.get("model")), body=body)

    def draft(self) -> CohereEmbedDraft:
        return CohereEmbedDraft()

    def write_response(self, facts: CallFacts, asked: RequestFacts) -> WireAnswer:
        by_type = self._version != "v1" or bool(asked.body.get("embedding_types"))
        sent = asked.body.get("texts")
        stated = {} if facts.usage is None else {"billed_units": _billed_units(facts.usage)}
        document = {
            "id": facts.id or "",  # the SDK insists on one
            "texts": [each for each in sent if isinstance(each, str)] if isinstance(sent, list) else [],
            "embeddings": {"float": facts.vectors} if by_type else facts.vectors,
            "meta": {"api_version": {"version": self._version.removeprefix("v")}, **stated},
            "response_type": "embeddings_by_type" if by_type else "embeddings_floats",
        }
        return answer_of(dump(document).encode())

    def write_error(self, fault: Fault, asked: RequestFacts) -> WireAnswer:
        return cohere_words.write_error(fault)


class CohereEmbedDraft(Draft):
    """Embeddings by type, of which floats are read, or, in version 1, as a list."""

    exact = False

    def take(self, document: Mapping[str, Any], event: str) -> None:
        self.id = text(document.get("id")) or self.id
        if cohere_words.take_error(self, document):
            return
        embeddings = document.get("embeddings")
        self.vectors = read_vectors(mapping(embeddings).get("float", embeddings))
        self.usage = _read_usage(mapping(document.get("meta"))) or self.usage
        self.terminated = self.terminated or isinstance(embeddings, list | dict)


def _read_usage(meta: Mapping[str, Any]) -> Usage | None:
    """Only the units of the bill are stated, those of pictures beside those of words."""
    count = Counts(meta)
    words, pictures = count("billed_units", "input_tokens"), count("billed_units", "image_tokens")
    if words is None and pictures is None and not count.doubts:
        return None
    whole = None if count.doubts else (words or 0) + (pictures or 0)
    return Usage.checked(doubts=count.doubts, input_tokens=whole, input_image_tokens=pictures, output_tokens=0)


def _billed_units(usage: Usage) -> dict[str, int]:
    units = {}
    if usage.input_tokens is not None:
        units["input_tokens"] = usage.input_tokens - (usage.input_image_tokens or 0)
    if usage.input_image_tokens is not None:
        units["image_tokens"] = usage.input_image_tokens
    return units
