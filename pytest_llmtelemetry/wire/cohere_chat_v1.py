"""Cohere chat, version 1: ``POST */v1/chat``. Its streams are JSON lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_llmtelemetry.facts import CallFacts, FinishReason, RequestFacts, ToolCall
from pytest_llmtelemetry.wire import cohere_words
from pytest_llmtelemetry.wire.dialect import Fault, WireAnswer, WireRequest, answer_of
from pytest_llmtelemetry.wire.draft import Draft, ToolDraft
from pytest_llmtelemetry.wire.jsontext import arguments_of, count_of, dump, load_object, mapping, objects, text


_PATH = re.compile(r"(?:.*/)?v1/chat/?")

LINES = "application/stream+json"

Event = dict[str, Any]


class CohereChatV1:
    """The dialect of Cohere's older chat."""

    api = "cohere.v1.chat"
    operation = "chat"
    id_prefix = ""

    def speaks(self, method: str, path: str) -> bool:
        return method == "POST" and _PATH.fullmatch(path) is not None

    def fits(self, body: Mapping[str, Any]) -> bool:
        return text(body.get("model")) is not None and text(body.get("message")) is not None

    def read_request(self, body: Mapping[str, Any], *, request: WireRequest, provider: str) -> RequestFacts:
        return RequestFacts(
            api=self.api,
            provider=provider,
            model=text(body.get("model")),
            stream=body.get("stream") is True,
            max_tokens=count_of(body.get("max_tokens")),
            tools=tuple(name for tool in objects(body.get("tools")) if (name := text(tool.get("name")))),
            body=body,
        )

    def draft(self) -> CohereDraftV1:
        return CohereDraftV1()

    def write_response(self, facts: CallFacts, asked: RequestFacts) -> WireAnswer:
        return answer_of(dump(_document(facts)).encode())

    def write_stream(self, facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> WireAnswer:
        end: Event = {"is_finished": True, "event_type": "stream-end", "response": _document(facts)}
        if (word := _finish_word(facts)) is not None:
            end["finish_reason"] = word
        return _lines([*_opening(facts, pieces), *_tool_events(facts), end])

    def write_error(self, fault: Fault, asked: RequestFacts) -> WireAnswer:
        return cohere_words.write_error(fault)

    def write_broken_stream(
        self, facts: CallFacts, pieces: Sequence[str], fault: Fault, asked: RequestFacts
    ) -> WireAnswer:
        failure = {"finish_reason": "ERROR", "error": cohere_words.error_message(fault)}
        end = {"is_finished": True, "event_type": "stream-end", **failure, **cohere_words.error_type(fault)}
        return _lines([*_opening(facts, pieces), end])


# -- reading ---------------------------------------------------------------------------------


class CohereDraftV1(Draft):
    """An answer, or the events of one, the last of which repeats the whole of it."""

    finishes = cohere_words.FINISH_REASONS

    def take(self, document: Mapping[str, Any], event: str) -> None:
        if cohere_words.take_error(self, document):
            self._take_usage(mapping(document.get("response")))
            return
        match document.get("event_type"):
            case None:
                self._take_answer(document)
            case "stream-start":
                self.id = text(document.get("generation_id"))
            case "text-generation":
                self.say(text(document.get("text")))
            case "tool-calls-chunk":
                self.say(text(document.get("text")))
                if isinstance(delta := document.get("tool_call_delta"), dict):
                    self._take_tool(delta)
            case "tool-calls-generation":
                self._replace_tools(document)
            case "stream-end":
                self._take_answer(mapping(document.get("response")))
                self.finish_with(text(document.get("finish_reason")))
                self.terminated = True

    def conclude(self) -> None:
        if self.tools and self.word is not None and self.finishes.get(self.word) is FinishReason.STOP:
            self.finish = FinishReason.TOOL_CALLS

    def _take_answer(self, answer: Mapping[str, Any]) -> None:
        self.id = text(answer.get("generation_id")) or text(answer.get("response_id")) or self.id
        if said := text(answer.get("text")):
            self.text.clear()
            self.say(said)
        self._replace_tools(answer)
        self.finish_with(text(answer.get("finish_reason")))
        self._take_usage(answer)

    def _take_usage(self, answer: Mapping[str, Any]) -> None:
        self.usage = cohere_words.read_usage(mapping(answer.get("meta"))) or self.usage

    def _replace_tools(self, answer: Mapping[str, Any]) -> None:
        calls = objects(answer.get("tool_calls"))
        if calls:
            self.tools.clear()
        for index, call in enumerate(calls):
            self.tool(index).name = text(call.get("name")) or ""
            self.tool(index).arguments.append(arguments_of(mapping(call.get("parameters"))))

    def _take_tool(self, delta: Mapping[str, Any]) -> None:
        tool: ToolDraft = self.tool(count_of(delta.get("index")) or 0)
        tool.name = text(delta.get("name")) or tool.name
        tool.arguments.append(text(delta.get("parameters")) or "")


# -- writing ---------------------------------------------------------------------------------


def _document(facts: CallFacts) -> Event:
    ids = {} if facts.id is None else {"response_id": facts.id, "generation_id": facts.id}
    document: Event = {**ids, "text": facts.text}
    if facts.tool_calls:
        document["tool_calls"] = list(map(_tool, facts.tool_calls))
    if (word := _finish_word(facts)) is not None:
        document["finish_reason"] = word
    stated = {} if facts.usage is None else cohere_words.usage_object(facts.usage)
    return {**document, "meta": {"api_version": {"version": "1"}, **stated}}


def _opening(facts: CallFacts, pieces: Sequence[str]) -> Iterator[Event]:
    """The events until the last word of the text."""
    start: Event = {"is_finished": False, "event_type": "stream-start"}
    yield start if facts.id is None else {**start, "generation_id": facts.id}
    for piece in pieces:
        yield {"is_finished": False, "event_type": "text-generation", "text": piece}


def _tool_events(facts: CallFacts) -> Iterator[Event]:
    for index, call in enumerate(facts.tool_calls):
        for piece in ({"name": call.name}, {"parameters": call.arguments}):
            delta = {"index": index, **piece}
            yield {"is_finished": False, "event_type": "tool-calls-chunk", "tool_call_delta": delta}
    if facts.tool_calls:
        calls = list(map(_tool, facts.tool_calls))
        yield {"is_finished": False, "event_type": "tool-calls-generation", "tool_calls": calls}


def _tool(call: ToolCall) -> Event:
    return {"name": call.name, "parameters": load_object(call.arguments) or {}}


def _finish_word(facts: CallFacts) -> str | None:
    """Tool calls are a complete answer here."""
    if facts.raw_finish_reason is None and facts.finish_reason is FinishReason.TOOL_CALLS:
        return "COMPLETE"
    return cohere_words.finish_word(facts)


def _lines(events: Iterable[Event]) -> WireAnswer:
    return answer_of([f"{dump(event)}\n".encode() for event in events], media=LINES)
