"""Whose body is it? Every vendor's models on Bedrock answer in a shape of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from pytest_llmtelemetry.facts import CallFacts, RequestFacts
from pytest_llmtelemetry.wire import bedrock_embed, bedrock_text, openai_chat
from pytest_llmtelemetry.wire.anthropic_messages import AnthropicDraft, message_document, stream_events
from pytest_llmtelemetry.wire.bedrock_converse import ConverseDraft, converse_document, converse_events
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.jsontext import mapping, objects, text


class Vendor(Protocol):
    """How a vendor writes an answer."""

    @property
    def closing(self) -> int:
        """How many events follow the text, if nothing more is said than the text."""

    def document(self, facts: CallFacts, asked: RequestFacts) -> dict[str, object]:
        """A plain answer."""

    def events(self, facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> Iterator[dict[str, object]]:
        """What the chunks of a streamed answer hold."""


class _Anthropic:
    closing = 2

    def document(self, facts: CallFacts, asked: RequestFacts) -> dict[str, object]:
        return message_document(facts)

    def events(self, facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> Iterator[dict[str, object]]:
        return stream_events(facts, pieces)


class _OpenAI:
    closing = 1

    def document(self, facts: CallFacts, asked: RequestFacts) -> dict[str, object]:
        return openai_chat.completion_document(facts, asked)

    def events(self, facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> Iterator[dict[str, object]]:
        return openai_chat.completion_chunks(facts, pieces, asked)


class _Nova:
    closing = 2

    def document(self, facts: CallFacts, asked: RequestFacts) -> dict[str, object]:
        return converse_document(facts, asked)

    def events(self, facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> Iterator[dict[str, object]]:
        for name, event in converse_events(facts, pieces, asked):
            yield {name: event}


_ANTHROPIC, _OPENAI, _NOVA = _Anthropic(), _OpenAI(), _Nova()

# A part of the model's name, and a key of the request's body, for those whose older models speak otherwise.
# An application's own inference profile has a name that says nothing: there, the body must.
_VENDORS: tuple[tuple[str, str, Vendor], ...] = (
    ("cohere.embed", "", bedrock_embed.COHERE_EMBED),
    ("amazon.titan-embed", "", bedrock_embed.TITAN_EMBED),
    ("", "singleEmbeddingParams", bedrock_embed.NOVA_EMBED),
    ("anthropic.", "max_tokens_to_sample", bedrock_text.OLD_CLAUDE),
    ("anthropic.", "", _ANTHROPIC),
    ("amazon.titan", "", bedrock_text.TITAN),
    ("amazon.nova", "", _NOVA),
    ("meta.", "", bedrock_text.LLAMA),
    ("cohere.", "message", bedrock_text.COMMAND_R),
    ("cohere.", "", bedrock_text.COMMAND),
    ("mistral.", "prompt", bedrock_text.MISTRAL),
    ("ai21.j2", "", bedrock_text.JURASSIC),
    ("", "anthropic_version", _ANTHROPIC),
    ("", "max_tokens_to_sample", bedrock_text.OLD_CLAUDE),
    ("", "inferenceConfig", _NOVA),
    ("", "max_gen_len", bedrock_text.LLAMA),
    ("", "textGenerationConfig", bedrock_text.TITAN),
    ("", "inputText", bedrock_embed.TITAN_EMBED),
    ("", "texts", bedrock_embed.COHERE_EMBED),
    ("", "prompt", bedrock_text.DEEPSEEK),
)


def vendor_of(asked: RequestFacts) -> Vendor:
    """Who answers such a request; all that came to Bedrock since 2025 speaks as OpenAI does."""
    model = asked.model or ""
    for part, key, vendor in _VENDORS:
        if part in model and (not key or key in asked.body):
            return vendor
    return _OPENAI


# -- reading ---------------------------------------------------------------------------------

_EVENTS = ("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata")
_TEXT_KEYS = frozenset({*bedrock_text.LISTS, *bedrock_text.TEXTS})


def draft_of(document: Mapping[str, Any]) -> Draft | None:
    """Begin to read an answer as the vendor means it whose shape this is; ``None`` if it is nobody's."""
    if "choices" in document:
        return _ChoicesDraft()
    if "output" in document or any(event in document for event in _EVENTS):
        return _NovaDraft()
    if document.keys() & bedrock_embed.KEYS:
        return bedrock_embed.EmbedDraft()
    if document.keys() & _TEXT_KEYS or "is_finished" in document:
        return bedrock_text.TextDraft()
    kind = text(document.get("type")) or ""
    if kind in {"message", "ping", "error"} or kind.startswith(("message_", "content_block_")):
        return AnthropicDraft()
    return None


class _NovaDraft(ConverseDraft):
    """As Converse, but each event is wrapped in its name."""

    def take(self, document: Mapping[str, Any], event: str) -> None:
        self.take_answer(document)
        for name in _EVENTS:
            self.take_answer(mapping(document.get(name)))


class _ChoicesDraft(openai_chat.OpenAIDraft):
    """As OpenAI; DeepSeek and SageMaker's endpoints complete a text, and Mistral has a word of its own."""

    def take(self, document: Mapping[str, Any], event: str) -> None:
        super().take(document, event)
        for choice in objects(document.get("choices")):
            self.finish_with(text(choice.get("stop_reason")))
            if choice.get("index") in (0, None):
                self.say(text(choice.get("text")))
