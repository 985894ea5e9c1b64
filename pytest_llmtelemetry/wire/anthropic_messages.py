"""Anthropic messages: ``POST */v1/messages``, and the same on Vertex; Bedrock wraps it (``bedrock_invoke.py``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_llmtelemetry.facts import CallFacts, FinishReason, Overflow, RequestFacts, ToolCall, Usage
from pytest_llmtelemetry.wire.dialect import SSE, Failure, Fault, WireAnswer, WireRequest, answer_of, finish_word
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.jsontext import Counts, arguments_of, count_of, dump, load_object, mapping, objects, text
from pytest_llmtelemetry.wire.sse import encode


_PATH = re.compile(r"(?:.*/)?v1/messages/?")
_VERTEX = re.compile(r".*/publishers/anthropic/models/(?P<model>[^/:]+):(?P<method>rawPredict|streamRawPredict)")

FINISH_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.REFUSAL,
}
# For what the provider has no word.
_NEAREST = {
    FinishReason.CONTENT_FILTER: "refusal",
    FinishReason.ERROR: "end_turn",
    FinishReason.UNKNOWN: "end_turn",
}


class AnthropicMessages:
    """The dialect of Claude."""

    api = "anthropic.messages"
    operation = "chat"
    id_prefix = "msg_"

    def speaks(self, method: str, path: str) -> bool:
        return method == "POST" and (_PATH.fullmatch(path) or _VERTEX.fullmatch(path)) is not None

    def fits(self, body: Mapping[str, Any]) -> bool:
        return "messages" in body

    def read_request(self, body: Mapping[str, Any], *, request: WireRequest, provider: str) -> RequestFacts:
        vertex = _VERTEX.fullmatch(request.path)
        return RequestFacts(
            api=self.api,
            provider=provider,
            model=text(body.get("model")) or (vertex["model"] if vertex else None),
            stream=body.get("stream") is True,
            max_tokens=count_of(body.get("max_tokens")),
            tools=tuple(name for tool in objects(body.get("tools")) if (name := text(tool.get("name")))),
            body=body,
        )

    def draft(self) -> AnthropicDraft:
        return AnthropicDraft()

    def write_response(self, facts: CallFacts, asked: RequestFacts) -> WireAnswer:
        return answer_of(dump(message_document(facts)).encode())

    def write_stream(self, facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> WireAnswer:
        return answer_of(_encode(stream_events(facts, pieces)), media=SSE)

    def write_error(self, fault: Fault, asked: RequestFacts) -> WireAnswer:
        status, *_ = _FAILURES[fault.kind]
        return answer_of(dump(_error_document(fault)).encode(), status=status, headers=fault.retry_headers())

    def write_broken_stream(
        self, facts: CallFacts, pieces: Sequence[str], fault: Fault, asked: RequestFacts
    ) -> WireAnswer:
        begun = CallFacts(id=facts.id, model=facts.model, usage=facts.usage)
        return answer_of(_encode([*_opening(begun, pieces), _error_document(fault)]), media=SSE)


def _encode(events: Iterable[Mapping[str, object]]) -> Iterator[bytes]:
    for event in events:
        yield encode(dump(event), event=str(event["type"]))


_FAILURES: Mapping[Failure, tuple[int, str, str]] = {
    Failure.BAD_REQUEST: (400, "invalid_request_error", "messages: Invalid value."),
    Failure.AUTH: (401, "authentication_error", "invalid x-api-key"),
    Failure.NOT_FOUND: (404, "not_found_error", "model: not found"),
    Failure.CONTEXT_WINDOW: (
        400,
        "invalid_request_error",
        "prompt is too long: {tokens} tokens > {max_tokens} maximum",
    ),
    Failure.RATE_LIMIT: (429, "rate_limit_error", "This request would exceed your rate limit."),
    Failure.SERVER_ERROR: (500, "api_error", "Internal server error"),
    Failure.OVERLOADED: (529, "overloaded_error", "Overloaded"),
}


def _error_document(fault: Fault) -> dict[str, object]:
    _, type_, message = _FAILURES[fault.kind]
    said = message.format(tokens=fault.tokens, max_tokens=fault.max_tokens)
    return {"type": "error", "error": {"type": type_, "message": said}}


# -- reading ---------------------------------------------------------------------------------


class AnthropicDraft(Draft):
    """A message, or the events of one."""

    finishes = FINISH_REASONS

    def __init__(self) -> None:
        super().__init__()
        self._usage: dict[str, Any] = {}
        self._counted = True
        """The output that is stated is the final one."""

    def take(self, document: Mapping[str, Any], event: str) -> None:
        index = document.get("index")
        place = index if isinstance(index, int) else 0
        match document.get("type"):
            case "message_start":
                self._counted = False
                self._take_message(mapping(document.get("message")))
            case "content_block_start":
                self._take_block(place, mapping(document.get("content_block")))
            case "content_block_delta":
                self._take_delta(place, mapping(document.get("delta")))
            case "message_delta":
                self._counted = self._counted or mapping(document.get("usage")).get("output_tokens") is not None
                self._take_ending(mapping(document.get("delta")), document)
            case "message_stop":
                self.terminated = True
            case "content_block_stop" | "ping":
                pass
            case _:
                self._take_message(document)
                self._take_error(document)

    def conclude(self) -> None:
        usage = self._usage
        if not self._counted:
            # message_start states a placeholder; without message_delta the output is unknown.
            usage = {key: usage[key] for key in usage.keys() - {"output_tokens", "output_tokens_details"}}
        self.usage = read_usage(usage)
        # The fast mode has prices of its own, whatever the tier.
        self.service_tier = "fast" if usage.get("speed") == "fast" else text(usage.get("service_tier"))
        for tool in self.tools.values():
            tool.arguments = ["".join(tool.arguments) or "{}"]

    def _take_message(self, message: Mapping[str, Any]) -> None:
        self.id = text(message.get("id")) or self.id
        self.model = text(message.get("model")) or self.model
        for place, block in enumerate(objects(message.get("content"))):
            self._take_block(place, block)
        self._take_ending(message, message)

    def _take_ending(self, delta: Mapping[str, Any], holder: Mapping[str, Any]) -> None:
        self.word = text(delta.get("stop_reason")) or self.word
        # message_delta repeats only some counters, and all of them are totals so far.
        self._usage |= {key: value for key, value in mapping(holder.get("usage")).items() if value is not None}

    def _take_block(self, place: int, block: Mapping[str, Any]) -> None:
        match block.get("type"):
            case "text":
                self.say(text(block.get("text")))
            case "thinking":
                self.think(text(block.get("thinking")))
                self.has_content = True
            case "tool_use":
                tool = self.tool(place)
                tool.id, tool.name = text(block.get("id")), text(block.get("name")) or ""
                given = block.get("input")
                tool.arguments = [arguments_of(given)] if given else []

    def _take_delta(self, place: int, delta: Mapping[str, Any]) -> None:
        self.has_content = True
        self.say(text(delta.get("text")))
        self.think(text(delta.get("thinking")))
        if place in self.tools:
            self.tools[place].arguments.append(text(delta.get("partial_json")) or "")

    def _take_error(self, document: Mapping[str, Any]) -> None:
        error = mapping(document.get("error"))
        if error or document.get("type") == "error":
            # The clouds that host Claude have words of their own: a status at Vertex, a code at Azure.
            self.fail(text(error.get("type")) or text(error.get("status")) or text(error.get("code")))
            self.overflow = read_overflow(text(error.get("message")) or "")


_TOO_LONG = re.compile(r"prompt is too long(?:: (\d{1,12}) tokens > (\d{1,12}) maximum)?")


def read_overflow(message: str) -> Overflow | None:
    """There is no code for it, only a sentence."""
    match = _TOO_LONG.search(message)
    if match is None:
        return None
    return Overflow() if match[1] is None else Overflow(tokens=int(match[1]), max_tokens=int(match[2]))


def read_usage(source: Mapping[str, Any]) -> Usage | None:
    """Anthropic counts cached tokens beside ``input_tokens``; here they are inside."""
    count = Counts(source)
    fresh = count("input_tokens")
    read = count("cache_read_input_tokens")
    written = count("cache_creation_input_tokens")
    # A part that cannot be read leaves the whole unknown.
    whole = None if fresh is None or count.doubts else fresh + (read or 0) + (written or 0)
    counts = {
        "input_tokens": whole,
        "output_tokens": count("output_tokens"),
        "cache_read_tokens": read,
        "cache_write_tokens": written,
        "cache_write_1h_tokens": count("cache_creation", "ephemeral_1h_input_tokens"),
        "reasoning_tokens": count("output_tokens_details", "thinking_tokens"),
    }
    # What an advisor or a compaction takes stands beside the counters, and may have prices of its own.
    beside = {text(step.get("type")) or "unknown" for step in objects(source.get("iterations"))} - {"message"}
    count.doubts += [f"the tokens of {kind} iterations are not counted" for kind in sorted(beside)]
    if all(value is None for value in counts.values()) and not count.doubts:
        return None
    return replace(Usage.checked(doubts=count.doubts, **counts), partial=bool(beside))


# -- writing ---------------------------------------------------------------------------------


def message_document(facts: CallFacts) -> dict[str, object]:
    """A plain answer."""
    content: list[dict[str, object]] = []
    if facts.reasoning:
        content.append({"type": "thinking", "thinking": facts.reasoning, "signature": "mock"})
    if facts.text:
        content.append({"type": "text", "text": facts.text})
    for index, call in enumerate(facts.tool_calls):
        arguments = load_object(call.arguments) or {}
        content.append({"type": "tool_use", "id": _tool_id(index, call), "name": call.name, "input": arguments})
    message = _envelope(facts) | {
        "content": content,
        "stop_reason": finish_word(facts, FINISH_REASONS, _NEAREST),
        "stop_sequence": None,
    }
    if facts.usage is not None:
        message["usage"] = _write_usage(facts)
    return message


def stream_events(facts: CallFacts, pieces: Sequence[str]) -> Iterator[dict[str, object]]:
    """The events of a streamed answer; each says its ``type``."""
    yield from _opening(facts, pieces)
    index = bool(facts.reasoning) + bool(pieces)
    for position, call in enumerate(facts.tool_calls):
        block = {"type": "tool_use", "id": _tool_id(position, call), "name": call.name, "input": {}}
        yield from _block(index + position, block, [{"type": "input_json_delta", "partial_json": call.arguments}])
    closing: dict[str, object] = {
        "type": "message_delta",
        "delta": {"stop_reason": finish_word(facts, FINISH_REASONS, _NEAREST), "stop_sequence": None},
    }
    if facts.usage is not None:
        closing["usage"] = _write_usage(facts)
    yield closing
    yield {"type": "message_stop"}


def _opening(facts: CallFacts, pieces: Sequence[str]) -> Iterator[dict[str, object]]:
    """What comes before the tool calls."""
    message = _envelope(facts) | {"content": [], "stop_reason": None, "stop_sequence": None}
    if facts.usage is not None:
        placeholder = {"output_tokens": min(1, facts.usage.output_tokens or 0)}
        stated = _write_usage(facts)
        message["usage"] = {key: stated[key] for key in stated if key != "output_tokens_details"} | placeholder
    yield {"type": "message_start", "message": message}
    yield {"type": "ping"}
    if facts.reasoning:
        thought = {"type": "thinking_delta", "thinking": facts.reasoning}
        signature = {"type": "signature_delta", "signature": "mock"}
        yield from _block(0, {"type": "thinking", "thinking": "", "signature": ""}, [thought, signature])
    if pieces:
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
        yield from _block(int(bool(facts.reasoning)), {"type": "text", "text": ""}, deltas)


def _block(
    index: int, block: Mapping[str, object], deltas: Iterable[Mapping[str, object]]
) -> Iterator[dict[str, object]]:
    yield {"type": "content_block_start", "index": index, "content_block": block}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def _write_usage(facts: CallFacts) -> dict[str, object]:
    usage = facts.usage or Usage()
    read, written = usage.cache_read_tokens, usage.cache_write_tokens
    whole = usage.input_tokens
    document: dict[str, object] = {
        "input_tokens": None if whole is None else whole - (read or 0) - (written or 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage.output_tokens,
    }
    if usage.cache_write_1h_tokens is not None:
        one_hour = usage.cache_write_1h_tokens
        document["cache_creation"] = {
            "ephemeral_5m_input_tokens": (written or 0) - one_hour,
            "ephemeral_1h_input_tokens": one_hour,
        }
    if usage.reasoning_tokens is not None:
        document["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    if facts.service_tier == "fast":
        document["speed"] = "fast"
    elif facts.service_tier is not None:
        document["service_tier"] = facts.service_tier
    return document


def _envelope(facts: CallFacts) -> dict[str, object]:
    return {"id": facts.id or "", "type": "message", "role": "assistant", "model": facts.model or ""}


def _tool_id(index: int, call: ToolCall) -> str:
    return call.id or f"toolu_{index}"
