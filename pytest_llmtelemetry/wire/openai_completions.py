"""OpenAI's legacy completions: ``POST */completions``, in the envelope of chat completions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_llmtelemetry.facts import CallFacts, FinishReason, RequestFacts
from pytest_llmtelemetry.wire import openai_errors
from pytest_llmtelemetry.wire.dialect import SSE, Fault, WireAnswer, WireRequest, answer_of
from pytest_llmtelemetry.wire.jsontext import dump, mapping, objects, text
from pytest_llmtelemetry.wire.openai_chat import OpenAIChat, OpenAIDraft, completion_chunks, completion_document
from pytest_llmtelemetry.wire.sse import encode


# The others answer as to a chat.
_PATH = re.compile(r"(?:.*/)?(?<!chat/)(?<!fim/)(?<!agents/)completions/?")

_CHAT = OpenAIChat()


class OpenAICompletions:
    """The dialect of models that continue a text."""

    api = "openai.completions"
    operation = "completion"
    id_prefix = "cmpl-"

    def speaks(self, method: str, path: str) -> bool:
        return method == "POST" and _PATH.fullmatch(path) is not None

    def fits(self, body: Mapping[str, Any]) -> bool:
        return text(body.get("model")) is not None and isinstance(body.get("prompt"), str | list)

    def read_request(self, body: Mapping[str, Any], *, request: WireRequest, provider: str) -> RequestFacts:
        return replace(_CHAT.read_request(body, request=request, provider=provider), api=self.api)

    def draft(self) -> CompletionDraft:
        return CompletionDraft()

    def write_response(self, facts: CallFacts, asked: RequestFacts) -> WireAnswer:
        return answer_of(dump(_as_text(completion_document(_sayable(facts), asked))).encode())

    def write_stream(self, facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> WireAnswer:
        chunks = [_write(chunk) for chunk in completion_chunks(_sayable(facts), pieces, asked)]
        return answer_of([*chunks, encode("[DONE]")], media=SSE)

    def write_error(self, fault: Fault, asked: RequestFacts) -> WireAnswer:
        return openai_errors.write_error(fault, asked)

    def write_broken_stream(
        self, facts: CallFacts, pieces: Sequence[str], fault: Fault, asked: RequestFacts
    ) -> WireAnswer:
        begun = CallFacts(id=facts.id, model=facts.model)
        *chunks, _ = (_write(chunk) for chunk in completion_chunks(begun, pieces, asked))
        return answer_of([*chunks, encode(dump({"error": openai_errors.error_object(fault, asked)}))], media=SSE)


class CompletionDraft(OpenAIDraft):
    """A completion, or the chunks of one: as a chat's, but for where the text stands."""

    def take(self, document: Mapping[str, Any], event: str) -> None:
        for choice in objects(document.get("choices")):
            # Together says each piece twice, once as a chat would.
            twice = text(mapping(choice.get("delta")).get("content")) is not None
            if choice.get("index") in (0, None) and not twice and not self.terminated:
                self.say(text(choice.get("text")))
        super().take(document, event)


def _sayable(facts: CallFacts) -> CallFacts:
    """What can be said without messages: no tool calls, no thoughts, and a refusal is a text like any other."""
    refused = facts.finish_reason is FinishReason.REFUSAL
    finish = FinishReason.STOP if refused else facts.finish_reason
    return replace(facts, tool_calls=(), reasoning="", finish_reason=finish)


def _as_text(document: Mapping[str, object]) -> dict[str, object]:
    """A document of a chat, or a chunk of one, with plain text in place of a message."""
    choices = []
    for choice in objects(document["choices"]):
        message = mapping(choice.get("message")) or mapping(choice.get("delta"))
        rest = {key: value for key, value in choice.items() if key not in {"message", "delta"}}
        choices.append({"text": message.get("content") or "", **rest})
    return {**document, "object": "text_completion", "choices": choices}


def _write(chunk: Mapping[str, object]) -> bytes:
    return encode(dump(_as_text(chunk)))
