"""Cohere chat, version 2: ``POST */v2/chat``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmtelemetry.facts import CallFacts, RequestFacts, ToolCall
from pytest_llmtelemetry.wire import cohere_words
from pytest_llmtelemetry.wire.dialect import SSE, Fault, WireAnswer, WireRequest, answer_of
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.jsontext import count_of, dump, mapping, objects, text
from pytest_llmtelemetry.wire.sse import encode


_PATH = re.compile(r"(?:.*/)?v2/chat/?")

Event = dict[str, Any]


class CohereChat:
    """The dialect of Cohere's chat models."""

    api = "cohere.v2.chat"
    operation = "chat"
    id_prefix = ""

    def speaks(self, method: str, path: str) -> bool:
        return method == "POST" and _PATH.fullmatch(path) is not None

    def fits(self, body: Mapping[str, Any]) -> bool:
        messages = objects(body.get("messages"))
        return text(body.get("model")) is not None and bool(messages) and all("role" in each for each in messages)

    def read_request(self, body: Mapping[str, Any], *, request: WireRequest, provider: str) -> RequestFacts:
        functions = [mapping(tool.get("function")) for tool in objects(body.get("tools"))]
        return RequestFacts(
            api=self.api,
            provider=provider,
            model=text(body.get("model")),
            stream=body.get("stream") is True,
            max_tokens=count_of(body.get("max_tokens")),
            tools=tuple(name for function in functions if (name := text(function.get("name")))),
            body=body,
        )

    def draft(self) -> CohereDraft:
        return CohereDraft()

    def write_response(self, facts: CallFacts, asked: RequestFacts) -> WireAnswer:
        return answer_of(dump(_document(facts)).encode())

    def write_stream(self, facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> WireAnswer:
        events = [*_opening(facts, pieces), *_tool_events(facts), _message_end(_ending(facts))]
        return answer_of([*map(_encode, events), encode("[DONE]")], media=SSE)

    def write_error(self, fault: Fault, asked: RequestFacts) -> WireAnswer:
        return cohere_words.write_error(fault)

    def write_broken_stream(
        self, facts: CallFacts, pieces: Sequence[str], fault: Fault, asked: RequestFacts
    ) -> WireAnswer:
        failure = {"finish_reason": "ERROR", "error": cohere_words.error_message(fault)}
        end = _message_end(failure | cohere_words.error_type(fault))
        return answer_of([*map(_encode, _opening(CallFacts(id=facts.id), pieces)), _encode(end)], media=SSE)


# -- reading ---------------------------------------------------------------------------------


class CohereDraft(Draft):
    """An answer, or the events of one. Events carry the pieces of an answer, where it has lists, singly."""

    finishes = cohere_words.FINISH_REASONS

    def take(self, document: Mapping[str, Any], event: str) -> None:
        self.id = text(document.get("id")) or self.id
        answer = mapping(document.get("delta")) or document
        usage = mapping(answer.get("usage"))
        if usage:
            self.usage = cohere_words.read_usage(usage)
        if cohere_words.take_error(self, answer):
            return
        self.finish_with(text(answer.get("finish_reason")))
        self._take_message(mapping(answer.get("message")), index=count_of(document.get("index")))
        if document.get("type") == "message-end":
            self.terminated = True

    def take_text(self, text: str) -> None:
        if text == "[DONE]":
            self.terminated = self.terminated or self.error is None

    def _take_message(self, message: Mapping[str, Any], *, index: int | None) -> None:
        for part in _all(message.get("content")):
            self.think(text(part.get("thinking")))
            self.say(text(part.get("text")))
        self.think(text(message.get("tool_plan")))
        for position, call in enumerate(_all(message.get("tool_calls"))):
            tool = self.tool(position if index is None else index)
            function = mapping(call.get("function"))
            tool.id = text(call.get("id")) or tool.id
            tool.name = text(function.get("name")) or tool.name
            tool.arguments.append(text(function.get("arguments")) or "")


def _all(value: object) -> list[Mapping[str, Any]]:
    return objects([value] if isinstance(value, dict) else value)


# -- writing ---------------------------------------------------------------------------------


def _document(facts: CallFacts) -> Event:
    message: Event = {"role": "assistant"}
    if facts.tool_calls:
        if facts.reasoning:
            message["tool_plan"] = facts.reasoning
        message["tool_calls"] = [_tool(call, position) for position, call in enumerate(facts.tool_calls)]
    content = []
    if facts.reasoning and not facts.tool_calls:
        content.append({"type": "thinking", "thinking": facts.reasoning})
    if facts.text or not facts.tool_calls:
        content.append({"type": "text", "text": facts.text})
    if content:
        message["content"] = content
    return {**_id(facts), "message": message, **_ending(facts)}


def _opening(facts: CallFacts, pieces: Sequence[str]) -> Iterator[Event]:
    """The events until the last word of the text."""
    empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    yield {**_id(facts), "type": "message-start", "delta": {"message": empty}}
    if facts.reasoning and facts.tool_calls:
        yield {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": facts.reasoning}}}
    elif facts.reasoning:
        yield from _content(0, "thinking", [facts.reasoning])
    if pieces:
        yield from _content(1 if facts.reasoning and not facts.tool_calls else 0, "text", pieces)


def _content(index: int, kind: str, pieces: Sequence[str]) -> Iterator[Event]:
    def event(name: str, content: Mapping[str, str]) -> Event:
        return {"type": name, "index": index, "delta": {"message": {"content": content}}}

    yield event("content-start", {"type": kind, kind: ""})
    for piece in pieces:
        yield event("content-delta", {kind: piece})
    yield {"type": "content-end", "index": index}


def _tool_events(facts: CallFacts) -> Iterator[Event]:
    for index, call in enumerate(facts.tool_calls):
        begun = _tool(ToolCall(name=call.name, arguments="", id=call.id), index)
        said = {"function": {"arguments": call.arguments}}
        for name, piece in (("tool-call-start", begun), ("tool-call-delta", said)):
            yield {"type": name, "index": index, "delta": {"message": {"tool_calls": piece}}}
        yield {"type": "tool-call-end", "index": index}


def _tool(call: ToolCall, position: int) -> Event:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id or f"{call.name}_{position}", "type": "function", "function": function}


def _message_end(delta: Mapping[str, Any]) -> Event:
    return {"type": "message-end", "delta": delta}


def _ending(facts: CallFacts) -> Event:
    """Why it ended, and what it took."""
    ending: Event = {}
    if (word := cohere_words.finish_word(facts)) is not None:
        ending["finish_reason"] = word
    if facts.usage is not None:
        ending["usage"] = cohere_words.usage_object(facts.usage)
    return ending


def _id(facts: CallFacts) -> Event:
    return {} if facts.id is None else {"id": facts.id}


def _encode(event: Mapping[str, Any]) -> bytes:
    return encode(dump(event), event=event["type"])
