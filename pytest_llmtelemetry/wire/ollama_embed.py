"""Ollama embeddings: ``POST */api/embed``, and the older ``*/api/embeddings`` for one prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pytest_llmtelemetry.facts import CallFacts, RequestFacts
from pytest_llmtelemetry.wire import ollama_words
from pytest_llmtelemetry.wire.dialect import Fault, Unstreamed, WireAnswer, WireRequest, answer_of
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.jsontext import dump, text
from pytest_llmtelemetry.wire.vectors import read_vector, read_vectors


_PATH = re.compile(r"(?:.*/)?api/embed(?:dings)?/?")


class OllamaEmbed(Unstreamed):
    """The dialect of Ollama's embeddings, old and new."""

    api = "ollama.embed"
    operation = "embeddings"
    id_prefix = ""

    def speaks(self, method: str, path: str) -> bool:
        return method == "POST" and _PATH.fullmatch(path) is not None

    def fits(self, body: Mapping[str, Any]) -> bool:
        sent = body.get("input") or body.get("prompt")
        texts = sent if isinstance(sent, list) else [sent]
        return text(body.get("model")) is not None and all(isinstance(each, str) for each in texts)

    def read_request(self, body: Mapping[str, Any], *, request: WireRequest, provider: str) -> RequestFacts:
        return RequestFacts(api=self.api, provider=provider, model=text(body.get("model")), body=body)

    def draft(self) -> OllamaEmbedDraft:
        return OllamaEmbedDraft()

    def write_response(self, facts: CallFacts, asked: RequestFacts) -> WireAnswer:
        document: Mapping[str, Any]
        if "prompt" in asked.body and "input" not in asked.body:  # the older one, which states nothing else
            document = {"embedding": facts.vectors[0] if facts.vectors else []}
        else:
            counted = {} if facts.usage is None else {"prompt_eval_count": facts.usage.input_tokens}
            document = {
                **ollama_words.model_of(facts),
                "embeddings": facts.vectors,
                "total_duration": 2,
                "load_duration": 1,
                **counted,
            }
        return answer_of(dump(document).encode(), media=ollama_words.DOCUMENT)

    def write_error(self, fault: Fault, asked: RequestFacts) -> WireAnswer:
        return ollama_words.write_error(fault)


class OllamaEmbedDraft(Draft):
    """The embeddings of all inputs, or that of the one prompt."""

    exact = False

    def take(self, document: Mapping[str, Any], event: str) -> None:
        ollama_words.take_error(self, document)
        self.model = text(document.get("model")) or self.model
        many, one = document.get("embeddings"), document.get("embedding")
        self.vectors = read_vectors(many) or ([read_vector(one)] if one and isinstance(one, list) else [])
        self.usage = ollama_words.read_usage(document, output=0) or self.usage
        self.terminated = self.terminated or isinstance(many, list) or isinstance(one, list)
