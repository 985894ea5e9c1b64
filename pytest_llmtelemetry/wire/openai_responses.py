"""OpenAI responses: ``POST */responses``, the polls of ``GET */responses/{id}``, and all who speak it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from pytest_llmtelemetry.facts import CallFacts, FinishReason, RequestFacts, Usage
from pytest_llmtelemetry.wire import openai_errors
from pytest_llmtelemetry.wire.dialect import SSE, Fault, WireAnswer, WireRequest, answer_of
from pytest_llmtelemetry.wire.draft import Draft, ToolDraft
from pytest_llmtelemetry.wire.jsontext import Counts, count_of, dump, mapping, objects, text
from pytest_llmtelemetry.wire.openai_chat import read_cost
from pytest_llmtelemetry.wire.openai_deployments import model_of
from pytest_llmtelemetry.wire.openai_response_events import broken_events, events_of, response_of


_PATHS = {
    "POST": re.compile(r"(?:.*/)?responses/?"),
    "GET": re.compile(r"(?:.*/)?responses/[^/]+/?"),  # asks for an answer from the background
}

FINISH_REASONS = {
    "completed": FinishReason.STOP,
    "incomplete:max_output_tokens": FinishReason.LENGTH,
    "incomplete:content_filter": FinishReason.CONTENT_FILTER,
    "failed": FinishReason.ERROR,
}

_WORKING = frozenset({"queued", "in_progress"})
_OVER = frozenset({"completed", "incomplete", "failed", "cancelled"})


class OpenAIResponses:
    """The dialect of answers that are lists of items."""

    api = "openai.responses"
    operation = "chat"
    id_prefix = "resp_"

    def speaks(self, method: str, path: str) -> bool:
        return method in _PATHS and _PATHS[method].fullmatch(path) is not None

    def fits(self, body: Mapping[str, Any]) -> bool:
        return text(body.get("model")) is not None and isinstance(body.get("input"), str | list)

    def read_request(self, body: Mapping[str, Any], *, request: WireRequest, provider: str) -> RequestFacts:
        offered = (text(tool.get("name")) or text(tool.get("type")) for tool in objects(body.get("tools")))
        return RequestFacts(
            api=self.api,
            provider=provider,
            model=model_of(body, request.path),
            stream=body.get("stream") is True or parse_qs(request.query).get("stream") == ["true"],
            max_tokens=count_of(body.get("max_output_tokens")),
            tools=tuple(name for name in offered if name is not None),
            poll=request.method == "GET",
            body=body,
        )

    def draft(self) -> ResponseDraft:
        return ResponseDraft()

    def write_response(self, facts: CallFacts, asked: RequestFacts) -> WireAnswer:
        return answer_of(dump(response_of(facts)).encode())

    def write_stream(self, facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> WireAnswer:
        return answer_of(events_of(facts, pieces), media=SSE)

    def write_error(self, fault: Fault, asked: RequestFacts) -> WireAnswer:
        return openai_errors.write_error(fault, asked)

    def write_broken_stream(
        self, facts: CallFacts, pieces: Sequence[str], fault: Fault, asked: RequestFacts
    ) -> WireAnswer:
        error = openai_errors.error_object(fault, asked)
        said: dict[str, object] = {"error": error}
        if asked.provider == "openrouter":  # as OpenAI documents it
            said = {"code": str(error["code"]), "message": error["message"], "param": None}
        return answer_of(broken_events(facts, pieces, said), media=SSE)


class ResponseDraft(Draft):
    """A response, or the events that lead to one."""

    finishes = FINISH_REASONS

    def __init__(self) -> None:
        super().__init__()
        self._refused = False
        self._heard: set[int] = set()
        """Items that came in pieces."""

    def take(self, document: Mapping[str, Any], event: str) -> None:
        kind = text(document.get("type")) or event
        response = mapping(document.get("response"))
        index = count_of(document.get("output_index")) or 0
        match kind:
            case "response.completed" | "response.incomplete" | "response.failed":
                self._take_response(response)
                self.terminated, self.pending = True, False
            case "response.output_text.delta":
                self._heard.add(index)
                self.say(text(document.get("delta")))
            case "response.refusal.delta":
                self._heard.add(index)
                self._refuse(document.get("delta"))
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                self._heard.add(index)
                self.think(text(document.get("delta")))
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                self.tool(index).arguments.append(text(document.get("delta")) or "")
            case "response.output_item.added":
                self._take_call(index, mapping(document.get("item")))
            case "response.output_item.done":
                self._take_item(index, mapping(document.get("item")), heard=index in self._heard)
            case "error":
                # OpenAI documents that the event is the error, and sends the error inside the event.
                openai_errors.take_error(self, document if "error" in document else {"error": document})
            case _ if response:
                self._take_head(response)
                self.pending = response.get("background") is True
            case _ if not kind or document.get("object") == "response":
                self._take_response(document)

    def conclude(self) -> None:
        if self.word == "completed" and self._refused:
            self.finish = FinishReason.REFUSAL
        elif self.word == "completed" and self.tools:
            self.finish = FinishReason.TOOL_CALLS

    def _take_head(self, response: Mapping[str, Any]) -> None:
        self.id = text(response.get("id")) or self.id
        self.model = text(response.get("model")) or self.model
        self.service_tier = text(response.get("service_tier")) or self.service_tier

    def _take_response(self, response: Mapping[str, Any]) -> None:
        """Read a whole response, whether nothing came before it or all of it in pieces."""
        self._take_head(response)
        status = text(response.get("status"))
        if status in _OVER:
            reason = text(mapping(response.get("incomplete_details")).get("reason"))
            self.finish_with(f"{status}:{reason}" if reason and status == "incomplete" else status)
        usage = mapping(response.get("usage"))
        self.usage, self.cost = read_usage(usage), read_cost(usage)
        self.pending = status in _WORKING and self.usage is None
        output = response.get("output")
        if isinstance(output, list):
            self.terminated = status not in _WORKING
            self._take_output(objects(output))
        openai_errors.take_error(self, response)

    def _take_output(self, items: Sequence[Mapping[str, Any]]) -> None:
        """The items, all of them. What came in pieces may be their end only, if a stream was taken up again."""
        said, thought, called = self.text, self.reasoning, self.tools
        self.text, self.reasoning, self.tools = [], [], {}
        for index, item in enumerate(items):
            self._take_item(index, item)
        # Some gateways leave out here what they have sent before.
        self.text, self.reasoning, self.tools = self.text or said, self.reasoning or thought, self.tools or called

    def _take_item(self, index: int, item: Mapping[str, Any], *, heard: bool = False) -> None:
        tool = self._take_call(index, item)
        if tool is not None and (arguments := text(item.get("arguments")) or text(item.get("input"))):
            tool.arguments = [arguments]
        kind = item.get("type")
        if heard or kind not in ("message", "reasoning"):
            return
        for part in (*objects(item.get("summary")), *objects(item.get("content"))):
            if kind == "reasoning":
                self.think(text(part.get("text")))
            else:
                self.say(text(part.get("text")))
                self._refuse(part.get("refusal"))

    def _take_call(self, index: int, item: Mapping[str, Any]) -> ToolDraft | None:
        """Begin a call, if the item is one that the client is to make; the provider makes others itself."""
        if item.get("type") not in ("function_call", "custom_tool_call"):
            return None
        tool = self.tool(index)
        tool.id = text(item.get("call_id")) or tool.id
        tool.name = text(item.get("name")) or tool.name
        return tool

    def _refuse(self, said: object) -> None:
        words = text(said)
        self._refused = self._refused or words is not None
        self.say(words)


def read_usage(source: Mapping[str, Any]) -> Usage | None:
    """Read a usage in the words of this API."""
    count = Counts(source)
    counts = {
        "input_tokens": count("input_tokens"),
        "output_tokens": count("output_tokens"),
        "total_tokens": count("total_tokens"),
        "cache_read_tokens": count("input_tokens_details", "cached_tokens"),
        "cache_write_tokens": count("input_tokens_details", "cache_write_tokens"),
        "reasoning_tokens": count("output_tokens_details", "reasoning_tokens"),
        "input_audio_tokens": count("input_tokens_details", "audio_tokens"),
        "input_image_tokens": count("input_tokens_details", "image_tokens"),
        "output_audio_tokens": count("output_tokens_details", "audio_tokens"),
        "output_image_tokens": count("output_tokens_details", "image_tokens"),
    }
    if all(value is None for value in counts.values()) and not count.doubts:
        return None
    return Usage.checked(doubts=count.doubts, **counts)
