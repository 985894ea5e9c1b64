"""Gemini: ``POST */models/{model}:generateContent`` and ``:streamGenerateContent``, at Google AI and at Vertex."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from pytest_llmtelemetry.facts import CallFacts, FinishReason, RequestFacts, ToolCall
from pytest_llmtelemetry.wire import gemini_errors
from pytest_llmtelemetry.wire.dialect import Fault, WireAnswer, WireRequest, answer_of, finish_word
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.gemini_arguments import Arguments
from pytest_llmtelemetry.wire.gemini_usage import read_tier, read_usage, write_usage
from pytest_llmtelemetry.wire.jsontext import count_of, dump, load_object, mapping, objects, text


# Gateways put their own prefix before the model's name, with slashes.
_PATH = re.compile(
    r"(?:.*/)?(?:models|tunedModels|endpoints)/(?P<model>.+):(?P<verb>generateContent|streamGenerateContent)"
)

FINISH_REASONS = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "CONTINUATION": FinishReason.LENGTH,
    "SAFETY": FinishReason.CONTENT_FILTER,
    "RECITATION": FinishReason.CONTENT_FILTER,
    "LANGUAGE": FinishReason.CONTENT_FILTER,
    "BLOCKLIST": FinishReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "SPII": FinishReason.CONTENT_FILTER,
    "MODEL_ARMOR": FinishReason.CONTENT_FILTER,
    "ESCALATION": FinishReason.CONTENT_FILTER,
    "PUP_LIMITED_DISABLED": FinishReason.CONTENT_FILTER,
    "IMAGE_SAFETY": FinishReason.CONTENT_FILTER,
    "IMAGE_PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "IMAGE_RECITATION": FinishReason.CONTENT_FILTER,
    "MALFORMED_FUNCTION_CALL": FinishReason.ERROR,
    "UNEXPECTED_TOOL_CALL": FinishReason.ERROR,
    "TOO_MANY_TOOL_CALLS": FinishReason.ERROR,
    "MISSING_THOUGHT_SIGNATURE": FinishReason.ERROR,
    "MALFORMED_RESPONSE": FinishReason.ERROR,
    "NO_IMAGE": FinishReason.ERROR,
    "OTHER": FinishReason.UNKNOWN,
    "IMAGE_OTHER": FinishReason.UNKNOWN,
}
# For what the provider has no word.
_NEAREST = {
    FinishReason.TOOL_CALLS: "STOP",
    FinishReason.REFUSAL: "SAFETY",
}
# What protobuf calls a value that is not set.
_UNSET = frozenset({"FINISH_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED"})
# A prompt that was blocked has no answer to finish; its reason stands elsewhere.
_BLOCKED = "BLOCK:"

Part = dict[str, object]


class GeminiGenerate:
    """The dialect of Google's models."""

    api = "gemini.generate"
    operation = "chat"
    id_prefix = "resp-"

    def speaks(self, method: str, path: str) -> bool:
        return method == "POST" and _PATH.fullmatch(path) is not None

    def fits(self, body: Mapping[str, Any]) -> bool:
        contents = body.get("contents")
        turns = [contents] if isinstance(contents, dict) else objects(contents)
        return bool(turns) and all("parts" in turn for turn in turns)

    def read_request(self, body: Mapping[str, Any], *, request: WireRequest, provider: str) -> RequestFacts:
        path = _PATH.fullmatch(request.path)
        stream = path is not None and path["verb"] == "streamGenerateContent"
        query = parse_qs(request.query)
        config = mapping(_either(body, "generationConfig", "generation_config"))
        return RequestFacts(
            api=self.api,
            provider=provider,
            model=path["model"] if path else None,
            stream=stream,
            max_tokens=count_of(_either(config, "maxOutputTokens", "max_output_tokens")),
            tools=tuple(_tool_names(body)),
            array=stream and "sse" not in [*query.get("alt", []), *query.get("$alt", [])],
            body=body,
        )

    def draft(self) -> GeminiDraft:
        return GeminiDraft()

    def write_response(self, facts: CallFacts, asked: RequestFacts) -> WireAnswer:
        parts = [*_thoughts(facts), *_texts([facts.text] if facts.text else []), *map(_write_call, facts.tool_calls)]
        return answer_of(dump(_last(facts, parts, asked)).encode(), media=gemini_errors.JSON_MEDIA)

    def write_stream(self, facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> WireAnswer:
        calls = [_write_call(call) for call in facts.tool_calls]
        begun = [*_opening(facts, pieces, asked), *([_chunk(facts, calls, asked)] if calls else [])]
        return _framed([*begun, _last(facts, [], asked)], asked)

    def write_error(self, fault: Fault, asked: RequestFacts) -> WireAnswer:
        return gemini_errors.write_error(fault, asked)

    def write_broken_stream(
        self, facts: CallFacts, pieces: Sequence[str], fault: Fault, asked: RequestFacts
    ) -> WireAnswer:
        return _framed([*_opening(facts, pieces, asked), gemini_errors.error_document(fault, asked)], asked)


def _either(source: Mapping[str, Any], name: str, other: str) -> object:
    """Google reads both spellings of a key."""
    return source.get(name, source.get(other))


def _tool_names(body: Mapping[str, Any]) -> Iterator[str]:
    for tool in objects(body.get("tools")):
        for function in objects(_either(tool, "functionDeclarations", "function_declarations")):
            if name := text(function.get("name")):
                yield name


class GeminiDraft(Draft):
    """An answer, or the chunks of one, which are answers themselves."""

    finishes = FINISH_REASONS
    reads_arrays = True

    def __init__(self) -> None:
        super().__init__()
        self._metadata: Mapping[str, Any] = {}
        self._over: dict[int, bool] = {}
        """Which candidates have finished."""
        self._arguments: list[Arguments] = []
        self._continues = False
        """More of the last call is to come."""

    def take(self, document: Mapping[str, Any], event: str) -> None:
        gemini_errors.take_error(self, document)
        self.id = text(document.get("responseId")) or self.id
        self.model = text(document.get("modelVersion")) or self.model
        if isinstance(metadata := document.get("usageMetadata"), dict):
            self._metadata = metadata
            self.service_tier = read_tier(metadata) or self.service_tier
        candidates = objects(document.get("candidates"))
        for position, candidate in enumerate(candidates):
            index = count_of(candidate.get("index"))
            self._take_candidate(position if index is None else index, candidate)
        if not candidates:
            self._take_block(_word(mapping(document.get("promptFeedback")).get("blockReason")))

    def conclude(self) -> None:
        for index, arguments in enumerate(self._arguments):
            self.tools[index].arguments = [str(arguments)]
        word = FINISH_REASONS.get(self.word or "")
        if word is FinishReason.STOP and self.tools:
            self.finish = FinishReason.TOOL_CALLS
        # Until the end all counts of a stream may change, those of the prompt too.
        if self.whole or (self.word is not None and all(self._over.values())):
            self.usage = read_usage(self._metadata)

    def _take_candidate(self, index: int, candidate: Mapping[str, Any]) -> None:
        word = _word(candidate.get("finishReason"))
        self.finish_with(word)
        self._over[index] = word is not None or self._over.get(index, False)
        for part in objects(mapping(candidate.get("content")).get("parts")):
            if index == 0:
                self._take_part(part)
            # Pictures, and code that runs at Google, are content too.
            self.has_content = self.has_content or any(part.values())

    def _take_part(self, part: Mapping[str, Any]) -> None:
        if part.get("thought") is True:
            self.think(text(part.get("text")))
        else:
            self.say(text(part.get("text")))
        if isinstance(call := part.get("functionCall"), dict):
            self._take_call(call)

    def _take_call(self, call: Mapping[str, Any]) -> None:
        if not self._continues:
            self._arguments.append(Arguments())
        tool = self.tool(len(self._arguments) - 1)
        tool.name, tool.id = text(call.get("name")) or tool.name, text(call.get("id")) or tool.id
        self._arguments[-1].take(call)
        self._continues = call.get("willContinue") is True

    def _take_block(self, reason: str | None) -> None:
        if reason is not None:
            self.finish_with(_BLOCKED + reason)
            self.finish = FinishReason.CONTENT_FILTER
            self._over.clear()


def _word(value: object) -> str | None:
    word = text(value)
    return None if word in _UNSET else word


# -- writing ---------------------------------------------------------------------------------


def _opening(facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> list[dict[str, object]]:
    """The chunks before the tool calls."""
    return [_chunk(facts, [part], asked) for part in [*_thoughts(facts), *_texts(pieces)]]


def _thoughts(facts: CallFacts) -> list[Part]:
    return [{"text": facts.reasoning, "thought": True}] if facts.reasoning else []


def _texts(pieces: Sequence[str]) -> list[Part]:
    return [{"text": piece} for piece in pieces]


def _write_call(call: ToolCall) -> Part:
    named = {"name": call.name} if call.id is None else {"id": call.id, "name": call.name}
    return {"functionCall": {**named, "args": load_object(call.arguments) or {}}}


def _chunk(facts: CallFacts, parts: Sequence[Part], asked: RequestFacts) -> dict[str, object]:
    """A part of a stream; what it took is not known before the end."""
    candidate = {"content": {"parts": parts, "role": "model"}, "index": 0}
    return {"candidates": [candidate]} | _tail(facts, write_usage(None, facts.service_tier, asked.provider))


def _last(facts: CallFacts, parts: Sequence[Part], asked: RequestFacts) -> dict[str, object]:
    """A whole answer, or the end of a streamed one."""
    tail = _tail(facts, write_usage(facts.usage, facts.service_tier, asked.provider))
    word = finish_word(facts, FINISH_REASONS, _NEAREST)
    if word is not None and word.startswith(_BLOCKED):
        return {"promptFeedback": {"blockReason": word.removeprefix(_BLOCKED)}} | tail
    candidate: dict[str, object] = {"content": {"parts": parts or [{"text": ""}], "role": "model"}, "index": 0}
    if word is not None:
        candidate["finishReason"] = word
    return {"candidates": [candidate]} | tail


def _tail(facts: CallFacts, usage: Mapping[str, object]) -> dict[str, object]:
    tail = {"usageMetadata": usage, "modelVersion": facts.model, "responseId": facts.id}
    return {key: value for key, value in tail.items() if value}


def _framed(documents: Sequence[Mapping[str, object]], asked: RequestFacts) -> WireAnswer:
    """Events, or the items of one array."""
    texts = [dump(document) for document in documents]
    if not asked.array:
        return answer_of([f"data: {item}\r\n\r\n".encode() for item in texts], media=gemini_errors.SSE_MEDIA)
    heads, ends = ["[", *[",\r\n"] * (len(texts) - 1)], [*["\n"] * (len(texts) - 1), "\n]"]
    chunks = [f"{head}{item}{end}".encode() for head, item, end in zip(heads, texts, ends, strict=True)]
    return answer_of(chunks, media=gemini_errors.JSON_MEDIA)
