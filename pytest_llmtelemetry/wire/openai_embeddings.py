"""Embeddings in OpenAI's shape: ``POST */embeddings``, and those of Voyage and Perplexity beside it."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmtelemetry.facts import CallFacts, RequestFacts, Usage
from pytest_llmtelemetry.wire import openai_errors
from pytest_llmtelemetry.wire.dialect import Fault, Unstreamed, WireAnswer, WireRequest, answer_of
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.jsontext import Counts, dump, mapping, objects, text
from pytest_llmtelemetry.wire.openai_chat import read_cost
from pytest_llmtelemetry.wire.openai_deployments import model_of
from pytest_llmtelemetry.wire.vectors import read_vector


_PATH = re.compile(r"(?:.*/)?(?:embeddings|multimodalembeddings|contextualizedembeddings)/?")


class OpenAIEmbeddings(Unstreamed):
    """The dialect of OpenAI, Azure, Mistral, Voyage, OpenRouter, Perplexity and many servers."""

    api = "openai.embeddings"
    operation = "embeddings"
    id_prefix = "embd-"

    def speaks(self, method: str, path: str) -> bool:
        return method == "POST" and _PATH.fullmatch(path) is not None

    def fits(self, body: Mapping[str, Any]) -> bool:
        return text(body.get("model")) is not None and isinstance(body.get("input", body.get("inputs")), str | list)

    def read_request(self, body: Mapping[str, Any], *, request: WireRequest, provider: str) -> RequestFacts:
        return RequestFacts(api=self.api, provider=provider, model=model_of(body, request.path), body=body)

    def draft(self) -> EmbeddingsDraft:
        return EmbeddingsDraft()

    def write_response(self, facts: CallFacts, asked: RequestFacts) -> WireAnswer:
        packed = asked.body.get("encoding_format") == "base64"
        document: dict[str, object] = {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": _pack(vector) if packed else vector}
                for index, vector in enumerate(facts.vectors)
            ],
            "model": facts.model or "",
        }
        if facts.id is not None or asked.provider == "mistral":  # its SDK insists on one
            document["id"] = facts.id or ""
        usage = _write_usage(facts)
        if usage:
            document["usage"] = usage
        return answer_of(dump(document).encode())

    def write_error(self, fault: Fault, asked: RequestFacts) -> WireAnswer:
        return openai_errors.write_error(fault, asked)


class EmbeddingsDraft(Draft):
    """The one document of an answer."""

    exact = False  # so small a cost has few digits, and a float keeps fifteen

    def take(self, document: Mapping[str, Any], event: str) -> None:
        self.id = text(document.get("id")) or self.id
        self.model = text(document.get("model")) or self.model
        data = document.get("data")
        if isinstance(data, list):
            self.terminated = True
            self.vectors = _read_vectors(data)
            self.has_content = bool(self.vectors)
        usage = mapping(document.get("usage"))
        self.usage, self.cost = read_usage(usage), read_cost(usage)
        openai_errors.take_error(self, document)


def read_usage(source: Mapping[str, Any]) -> Usage | None:
    """Read a usage. An embedding has no output, which not all of them say."""
    count = Counts(source)
    asked, produced, total = count("prompt_tokens"), count("completion_tokens"), count("total_tokens")
    if asked is None and not count.doubts:
        asked = total  # Voyage states nothing else
    if asked is None and not count.doubts:
        return None
    if asked is not None and produced is None:
        produced = 0
    return Usage.checked(doubts=count.doubts, input_tokens=asked, output_tokens=produced, total_tokens=total)


def _write_usage(facts: CallFacts) -> dict[str, object]:
    usage = facts.usage or Usage()
    stated = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens or None,
        "total_tokens": usage.total_tokens,
        "cost": facts.stated_cost_usd,
    }
    return {key: value for key, value in stated.items() if value is not None}


# -- vectors ---------------------------------------------------------------------------------


def _read_vectors(data: Sequence[object]) -> list[tuple[float, ...]]:
    """All of them, or none: a vector says which input it belongs to by its place."""
    vectors: list[tuple[float, ...]] = []
    for item in data:
        parts = mapping(item).get("data")  # the chunks of a document, if they are embedded in its context
        for part in objects(parts) or [mapping(item)]:
            vector = _read_vector(part.get("embedding"))
            if not vector:
                return []
            vectors.append(vector)
    return vectors


def _read_vector(stated: object) -> tuple[float, ...]:
    return _unpack(stated) if isinstance(stated, str) else read_vector(stated)


def _unpack(packed: str) -> tuple[float, ...]:
    """Base64 of 32-bit floats. Perplexity and Voyage pack 8-bit numbers too, and the answer does not say so."""
    try:
        data = base64.b64decode(packed, validate=True)
        vector = struct.unpack(f"<{len(data) // _WIDTH}f", data)
    except (binascii.Error, ValueError, struct.error):
        return ()
    # Eight-bit numbers, taken for floats, are absurd as soon as one of them is a small negative one.
    return vector if all(abs(number) < _ABSURD for number in vector) else ()


def _pack(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


_WIDTH = 4
_ABSURD = 1e9
