"""Anthropic messages: ``POST */v1/messages``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_llmtelemetry.facts import CallFacts, FinishReason, Overflow, RequestFacts, ToolCall, Usage
from pytest_llmtelemetry.wire.dialect import EventReader, WireError
from pytest_llmtelemetry.wire.jsontext import Counts, dump, load_object, mapping, objects, text
from pytest_llmtelemetry.wire.sse import encode


_PATH = re.compile(r"(?:.*/)?v1/messages/?")

FINISH_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.REFUSAL,
}
_WORD = {
    FinishReason.CONTENT_FILTER: "refusal",
    FinishReason.ERROR: "end_turn",
    FinishReason.UNKNOWN: "end_turn",
    **{reason: word for word, reason in reversed(FINISH_REASONS.items())},
}


class AnthropicMessages:
    """The dialect of Claude."""

    api = "anthropic.messages"
    operation = "chat"
    id_prefix = "msg_"

    def speaks(self, method: str, path: str) -> bool:
        return method == "POST" and _PATH.fullmatch(path) is not None

    def read_request(self, body: Mapping[str, Any], *, path: str, provider: str) -> RequestFacts:
        limit = body.get("max_tokens")
        return RequestFacts(
            api=self.api,
            provider=provider,
            model=text(body.get("model")),
            stream=body.get("stream") is True,
            max_tokens=limit if isinstance(limit, int) and not isinstance(limit, bool) else None,
            tools=tuple(name for tool in objects(body.get("tools")) if (name := text(tool.get("name")))),
            body=body,
        )

    def read_response(self, body: bytes) -> CallFacts:
        answer = _Answer()
        if (document := load_object(body)) is not None:
            answer.take_message(document)
            for index, block in enumerate(objects(document.get("content"))):
                answer.take_block(index, block)
            answer.take_error(document)
        return answer.facts(terminated=answer.finish is not None)

    def stream_reader(self) -> _Reader:
        return _Reader()

    def write_response(self, facts: CallFacts) -> bytes:
        content: list[dict[str, object]] = []
        if facts.text:
            content.append({"type": "text", "text": facts.text})
        for index, call in enumerate(facts.tool_calls):
            arguments = load_object(call.arguments) or {}
            content.append({"type": "tool_use", "id": _tool_id(index, call), "name": call.name, "input": arguments})
        message = _envelope(facts) | {"content": content, "stop_reason": _finish_word(facts), "stop_sequence": None}
        if facts.usage is not None:
            message["usage"] = _write_usage(facts)
        return dump(message).encode()

    def write_stream(self, facts: CallFacts, pieces: Sequence[str], *, usage: bool = True) -> Iterator[bytes]:
        def event(kind: str, **fields: object) -> bytes:
            return encode(dump({"type": kind, **fields}), event=kind)

        stated = _write_usage(facts)
        opening = _envelope(facts) | {"content": [], "stop_reason": None, "stop_sequence": None}
        if facts.usage is not None:
            placeholder = {"output_tokens": min(1, facts.usage.output_tokens or 0)}
            opening["usage"] = {key: stated[key] for key in stated if key != "output_tokens_details"} | placeholder
        yield event("message_start", message=opening)
        yield event("ping")
        index = 0
        if pieces:
            yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
            for piece in pieces:
                yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
            yield event("content_block_stop", index=0)
            index = 1
        for position, call in enumerate(facts.tool_calls):
            block = {"type": "tool_use", "id": _tool_id(position, call), "name": call.name, "input": {}}
            yield event("content_block_start", index=index, content_block=block)
            delta = {"type": "input_json_delta", "partial_json": call.arguments}
            yield event("content_block_delta", index=index, delta=delta)
            yield event("content_block_stop", index=index)
            index += 1
        closing: dict[str, object] = {"delta": {"stop_reason": _finish_word(facts), "stop_sequence": None}}
        if facts.usage is not None:
            closing["usage"] = stated
        yield event("message_delta", **closing)
        yield event("message_stop")

    def write_error(self, kind: str, *, retry_after_s: float | None = None) -> WireError:
        status, type_, message = _ERRORS[kind]
        headers = {"content-type": "application/json"}
        if retry_after_s is not None:
            headers |= {"retry-after": f"{retry_after_s:g}", "retry-after-ms": f"{retry_after_s * 1000:g}"}
        document = {"type": "error", "error": {"type": type_, "message": message}}
        return WireError(status=status, headers=headers, body=dump(document).encode())


_ERRORS = {
    "rate_limit": (429, "rate_limit_error", "This request would exceed your rate limit."),
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "server_error": (500, "api_error", "Internal server error"),
    "auth": (401, "authentication_error", "invalid x-api-key"),
}


class _Answer:
    """What was said so far, in one document or in many events."""

    def __init__(self) -> None:
        self.id: str | None = None
        self.model: str | None = None
        self.pieces: list[str] = []
        self.calls: dict[int, dict[str, str]] = {}
        self.finish: str | None = None
        self.usage: dict[str, Any] | None = None
        self.error: str | None = None
        self.overflow: Overflow | None = None
        self.has_content = False

    def take_message(self, message: Mapping[str, Any]) -> None:
        self.id = text(message.get("id")) or self.id
        self.model = text(message.get("model")) or self.model
        self.take_ending(message, message)

    def take_ending(self, delta: Mapping[str, Any], holder: Mapping[str, Any]) -> None:
        self.finish = text(delta.get("stop_reason")) or self.finish
        usage = holder.get("usage")
        if isinstance(usage, dict):
            # message_delta repeats only some counters, and all of them are totals so far.
            known = self.usage or {}
            self.usage = known | {key: value for key, value in usage.items() if value is not None}

    def take_block(self, index: int, block: Mapping[str, Any]) -> None:
        kind = text(block.get("type"))
        self.has_content = self.has_content or kind in {"tool_use", "thinking"} or bool(block.get("text"))
        if kind == "text":
            self.pieces.append(text(block.get("text")) or "")
        elif kind == "tool_use":
            given = block.get("input")
            self.calls[index] = {
                "id": text(block.get("id")) or "",
                "name": text(block.get("name")) or "",
                "arguments": _arguments(given) if given else "",
            }

    def take_delta(self, index: int, delta: Mapping[str, Any]) -> None:
        self.has_content = True
        if piece := text(delta.get("text")):
            self.pieces.append(piece)
        if index in self.calls:
            self.calls[index]["arguments"] += text(delta.get("partial_json")) or ""

    def take_error(self, document: Mapping[str, Any]) -> None:
        if document.get("type") == "error":
            error = mapping(document.get("error"))
            self.error = text(error.get("type")) or "error"
            self.overflow = _read_overflow(text(error.get("message")) or "")

    def facts(self, *, terminated: bool) -> CallFacts:
        return CallFacts(
            id=self.id,
            model=self.model,
            text="".join(self.pieces),
            tool_calls=tuple(
                ToolCall(name=slot["name"], arguments=slot["arguments"] or "{}", id=slot["id"] or None)
                for _, slot in sorted(self.calls.items())
            ),
            usage=None if self.usage is None else read_usage(self.usage),
            finish_reason=None if self.finish is None else FINISH_REASONS.get(self.finish, FinishReason.UNKNOWN),
            raw_finish_reason=self.finish,
            service_tier=None if self.usage is None else text(self.usage.get("service_tier")),
            error_type=self.error,
            overflow=self.overflow,
            terminated=terminated,
        )


class _Reader(EventReader):
    """Events in, one answer out."""

    def __init__(self) -> None:
        super().__init__()
        self._answer = _Answer()
        self._stopped = False
        self._counted = False

    @property
    def has_content(self) -> bool:
        return self._answer.has_content

    def conclude(self) -> CallFacts:
        if self._answer.usage is not None and not self._counted:
            # message_start states a placeholder; without message_delta the output is unknown.
            for key in ("output_tokens", "output_tokens_details"):
                self._answer.usage.pop(key, None)
        return self._answer.facts(terminated=self._stopped or self._answer.finish is not None)

    def take(self, data: str) -> None:
        event = load_object(data)
        if event is None:
            return
        index = event.get("index")
        position = index if isinstance(index, int) else 0
        match event.get("type"):
            case "message_start":
                self._answer.take_message(mapping(event.get("message")))
            case "content_block_start":
                self._answer.take_block(position, mapping(event.get("content_block")))
            case "content_block_delta":
                self._answer.take_delta(position, mapping(event.get("delta")))
            case "message_delta":
                self._counted = self._counted or mapping(event.get("usage")).get("output_tokens") is not None
                self._answer.take_ending(mapping(event.get("delta")), event)
            case "message_stop":
                self._stopped = True
            case "error":
                self._answer.take_error(event)


def _arguments(given: object) -> str:
    try:
        return dump(given)
    except RecursionError:
        return ""  # nobody's tool is called with that; the usage beside it is real


_TOO_LONG = re.compile(r"prompt is too long(?:: (\d{1,12}) tokens > (\d{1,12}) maximum)?")


def _read_overflow(message: str) -> Overflow | None:
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
    if facts.service_tier is not None:
        document["service_tier"] = facts.service_tier
    return document


def _envelope(facts: CallFacts) -> dict[str, object]:
    return {"id": facts.id or "", "type": "message", "role": "assistant", "model": facts.model or ""}


def _finish_word(facts: CallFacts) -> str | None:
    if facts.raw_finish_reason is not None or facts.finish_reason is None:
        return facts.raw_finish_reason
    return _WORD[facts.finish_reason]


def _tool_id(index: int, call: ToolCall) -> str:
    return call.id or f"toolu_{index}"
