"""The bodies of Bedrock's embedding models: Titan, Cohere and Nova."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmtelemetry.errors import MockError
from pytest_llmtelemetry.facts import CallFacts, RequestFacts, Usage
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.jsontext import Counts, mapping, text
from pytest_llmtelemetry.wire.vectors import read_vector


KEYS = frozenset({"embedding", "embeddings", "embeddingsByType"})
"""One of them stands in every answer."""


class EmbedDraft(Draft):
    """An embedding of any of them."""

    def take(self, document: Mapping[str, Any], event: str) -> None:
        self.id = text(document.get("id"))
        several = document.get("embeddings")
        if isinstance(several, dict):  # Cohere, if the request says which types it wants
            several = several.get("float")
        candidates = [document.get("embedding"), *(several if isinstance(several, list) else [])]
        # Nova wraps its vectors.
        vectors = (read_vector(mapping(each).get("embedding", each)) for each in candidates)
        self.vectors = [vector for vector in vectors if vector]
        self.has_content = self.terminated = True
        count = Counts(document)
        tokens = count("inputTextTokenCount")
        if tokens is not None or count.doubts:
            self.usage = Usage.checked(doubts=count.doubts, input_tokens=tokens)


# -- writing ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedVendor:
    """How one of them writes an answer."""

    plain: Callable[[CallFacts, RequestFacts], dict[str, object]]
    closing = 1

    def document(self, facts: CallFacts, asked: RequestFacts) -> dict[str, object]:
        """A plain answer."""
        return self.plain(facts, asked)

    def events(self, facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> Iterator[dict[str, object]]:
        """An embedding comes whole, also to who asks for a stream."""
        yield self.plain(facts, asked)


def _titan(facts: CallFacts, asked: RequestFacts) -> dict[str, object]:
    if len(facts.vectors) > 1:
        raise MockError("an embedding model of Titan answers with one vector")
    vector = facts.vectors[0] if facts.vectors else ()
    document: dict[str, object] = {"embedding": vector, "embeddingsByType": {"float": vector}}
    if facts.usage is not None:
        document["inputTextTokenCount"] = facts.usage.input_tokens
    return document


def _cohere(facts: CallFacts, asked: RequestFacts) -> dict[str, object]:
    head = {"id": facts.id or "", "texts": mapping(asked.body).get("texts") or []}
    if "embedding_types" in asked.body or "embed-v4" in (asked.model or ""):
        return {**head, "embeddings": {"float": facts.vectors}, "response_type": "embeddings_by_type"}
    return {**head, "embeddings": facts.vectors, "response_type": "embeddings_floats"}


def _nova(facts: CallFacts, asked: RequestFacts) -> dict[str, object]:
    return {"embeddings": [{"embeddingType": "TEXT", "embedding": vector} for vector in facts.vectors]}


TITAN_EMBED = EmbedVendor(plain=_titan)
COHERE_EMBED = EmbedVendor(plain=_cohere)
NOVA_EMBED = EmbedVendor(plain=_nova)
