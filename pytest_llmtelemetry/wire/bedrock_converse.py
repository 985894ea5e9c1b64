"""Bedrock Converse: ``POST */model/{id}/converse`` and ``/converse-stream``, one API for all vendors' models."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmtelemetry.facts import CallFacts, FinishReason, RequestFacts, ToolCall
from pytest_llmtelemetry.wire import bedrock_errors
from pytest_llmtelemetry.wire.bedrock_usage import read_usage, write_usage
from pytest_llmtelemetry.wire.dialect import Fault, WireAnswer, WireRequest, answer_of, finish_word
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.eventstream import MEDIA, encode_event
from pytest_llmtelemetry.wire.jsontext import arguments_of, count_of, dump, load_object, mapping, objects, text


# The model may be an ARN with slashes.
_PATH = re.compile(r"(?:.*/)?model/(?P<model>.+)/converse(?P<stream>-stream)?/?")
REQUEST_ID = "x-amzn-requestid"

FINISH_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "content_filtered": FinishReason.CONTENT_FILTER,
    "guardrail_intervened": FinishReason.CONTENT_FILTER,
    "malformed_model_output": FinishReason.ERROR,
    "malformed_tool_use": FinishReason.ERROR,
}
# For what AWS has no word.
_NEAREST = {
    FinishReason.REFUSAL: "content_filtered",
    FinishReason.UNKNOWN: "end_turn",
}
# What a message of this API is made of; others write a "type" into each part.
_BLOCKS = frozenset(
    {
        "text",
        "image",
        "document",
        "video",
        "audio",
        "toolUse",
        "toolResult",
        "guardContent",
        "cachePoint",
        "reasoningContent",
        "citationsContent",
        "searchResult",
    }
)

# A mock's answers must not change from run to run.
_METRICS = {"latencyMs": 100}

Event = tuple[str, dict[str, object]]
"""An event's name, and what it says."""


class BedrockConverse:
    """The dialect that AWS made for all its models."""

    api = "bedrock.converse"
    operation = "chat"
    id_prefix = "req_"

    def speaks(self, method: str, path: str) -> bool:
        return method == "POST" and _PATH.fullmatch(path) is not None

    def fits(self, body: Mapping[str, Any]) -> bool:
        turns = objects(body.get("messages"))
        return bool(turns) and all(
            block.keys() & _BLOCKS and "type" not in block for turn in turns for block in _parts(turn)
        )

    def read_request(self, body: Mapping[str, Any], *, request: WireRequest, provider: str) -> RequestFacts:
        path = _PATH.fullmatch(request.path)
        limit = mapping(body.get("inferenceConfig")).get("maxTokens")
        return RequestFacts(
            api=self.api,
            provider=provider,
            model=path["model"] if path else None,
            stream=path is not None and path["stream"] is not None,
            max_tokens=count_of(limit),
            tools=tool_names(body),
            body=body,
        )

    def draft(self) -> ConverseDraft:
        return ConverseDraft()

    def write_response(self, facts: CallFacts, asked: RequestFacts) -> WireAnswer:
        return answer_of(dump(converse_document(facts, asked)).encode(), headers=write_id(facts))

    def write_stream(self, facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> WireAnswer:
        return answer_of(_encoded(converse_events(facts, pieces, asked)), media=MEDIA, headers=write_id(facts))

    def write_error(self, fault: Fault, asked: RequestFacts) -> WireAnswer:
        return bedrock_errors.write_error(fault)

    def write_broken_stream(
        self, facts: CallFacts, pieces: Sequence[str], fault: Fault, asked: RequestFacts
    ) -> WireAnswer:
        chunks = [*_encoded(converse_opening(facts, pieces)), bedrock_errors.write_exception(fault)]
        return answer_of(chunks, media=MEDIA, headers=write_id(facts))


def _parts(turn: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The blocks of a turn; one that is none where there are no blocks, so that the turn does not fit."""
    return objects(turn.get("content")) or [{}]


def tool_names(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The tools that a request in this shape offers."""
    offered = objects(mapping(body.get("toolConfig")).get("tools"))
    return tuple(name for tool in offered if (name := text(mapping(tool.get("toolSpec")).get("name"))))


def _encoded(events: Iterator[Event]) -> list[bytes]:
    return [encode_event(kind, dump(document)) for kind, document in events]


def write_id(facts: CallFacts) -> dict[str, str]:
    """The only id of an answer is that of its request."""
    return {} if facts.id is None else {REQUEST_ID: facts.id}


class ConverseDraft(Draft):
    """An answer, or the events of one."""

    finishes = FINISH_REASONS

    def take_headers(self, headers: Mapping[str, str]) -> None:
        self.id = text(headers.get(REQUEST_ID))
        bedrock_errors.take_headers(self, headers)

    def take(self, document: Mapping[str, Any], event: str) -> None:
        if bedrock_errors.take_exception(self, document, event):
            return
        self.take_answer(document)
        if "output" not in document and not event:
            bedrock_errors.take_error(self, document)

    def take_answer(self, document: Mapping[str, Any]) -> None:
        """Read a plain answer or one event, which share no key that they mean differently."""
        for index, block in enumerate(objects(mapping(mapping(document.get("output")).get("message")).get("content"))):
            self._take_block(index, block)
        index = count_of(document.get("contentBlockIndex")) or 0
        self._begin_tool(index, mapping(mapping(document.get("start")).get("toolUse")))
        self._take_delta(index, mapping(document.get("delta")))
        self.finish_with(text(document.get("stopReason")))
        if isinstance(usage := document.get("usage"), dict):
            self.usage = read_usage(usage)
        self.service_tier = text(mapping(document.get("serviceTier")).get("type")) or self.service_tier
        router = mapping(mapping(document.get("trace")).get("promptRouter"))
        self.model = text(router.get("invokedModelId")) or self.model

    def conclude(self) -> None:
        if self.word is None:
            return
        for tool in self.tools.values():
            if not any(tool.arguments):
                tool.arguments = ["{}"]  # Claude streams nothing for a call that has no arguments

    def _take_block(self, index: int, block: Mapping[str, Any]) -> None:
        self.say(text(block.get("text")))
        for part in objects(mapping(block.get("citationsContent")).get("content")):
            self.say(text(part.get("text")))
        self.think(text(mapping(mapping(block.get("reasoningContent")).get("reasoningText")).get("text")))
        call = mapping(block.get("toolUse"))
        self._begin_tool(index, call)
        if index in self.tools and isinstance(given := call.get("input"), dict):
            self.tools[index].arguments.append(arguments_of(given))

    def _begin_tool(self, index: int, call: Mapping[str, Any]) -> None:
        """A tool that runs on the server, such as Nova's code interpreter, asks nothing of the client."""
        if call and call.get("type") != "server_tool_use":
            tool = self.tool(index)
            tool.id, tool.name = text(call.get("toolUseId")), text(call.get("name")) or ""

    def _take_delta(self, index: int, delta: Mapping[str, Any]) -> None:
        self.say(text(delta.get("text")))
        self.think(text(mapping(delta.get("reasoningContent")).get("text")))
        if index in self.tools and (piece := text(mapping(delta.get("toolUse")).get("input"))):
            self.tools[index].arguments.append(piece)


# -- writing ---------------------------------------------------------------------------------


def converse_document(facts: CallFacts, asked: RequestFacts) -> dict[str, object]:
    """A plain answer."""
    content: list[dict[str, object]] = []
    if facts.reasoning:
        content.append({"reasoningContent": {"reasoningText": {"text": facts.reasoning}}})
    if facts.text:
        content.append({"text": facts.text})
    for index, call in enumerate(facts.tool_calls):
        content.append({"toolUse": {**_tool(index, call), "input": load_object(call.arguments) or {}}})
    message = {"role": "assistant", "content": content}
    return {"output": {"message": message}, **_stop(facts), **_metadata(facts, asked)}


def converse_opening(facts: CallFacts, pieces: Sequence[str]) -> Iterator[Event]:
    """The events that come before the tool calls."""
    yield "messageStart", {"role": "assistant"}
    if facts.reasoning:
        yield from _block(0, [{"reasoningContent": {"text": facts.reasoning}}])
    if pieces:
        yield from _block(1 if facts.reasoning else 0, [{"text": piece} for piece in pieces])


def converse_events(facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> Iterator[Event]:
    """The events of a streamed answer."""
    yield from converse_opening(facts, pieces)
    spoken = bool(facts.reasoning) + bool(pieces)
    for index, call in enumerate(facts.tool_calls):
        place = spoken + index
        yield "contentBlockStart", {"contentBlockIndex": place, "start": {"toolUse": _tool(index, call)}}
        yield from _block(place, [{"toolUse": {"input": call.arguments}}])
    yield "messageStop", _stop(facts)
    yield "metadata", _metadata(facts, asked)


def _block(place: int, deltas: Sequence[Mapping[str, object]]) -> Iterator[Event]:
    """A text begins without a word; only a tool call has a start."""
    for delta in deltas:
        yield "contentBlockDelta", {"contentBlockIndex": place, "delta": delta}
    yield "contentBlockStop", {"contentBlockIndex": place}


def _tool(index: int, call: ToolCall) -> dict[str, object]:
    return {"toolUseId": call.id or f"tooluse_{index}", "name": call.name}


def _stop(facts: CallFacts) -> dict[str, object]:
    word = finish_word(facts, FINISH_REASONS, _NEAREST)
    return {} if word is None else {"stopReason": word}


def _metadata(facts: CallFacts, asked: RequestFacts) -> dict[str, object]:
    stated: dict[str, object] = {"metrics": _METRICS}
    if facts.usage is not None:
        stated["usage"] = write_usage(facts.usage)
    if facts.service_tier is not None:
        stated["serviceTier"] = {"type": facts.service_tier}
    if facts.model not in {None, asked.model}:
        # Only a prompt router says which model it chose.
        stated["trace"] = {"promptRouter": {"invokedModelId": facts.model}}
    return stated
