"""What Ollama's APIs have in common: one object for an answer, or one to a line for a stream."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from pytest_llmtelemetry.facts import CallFacts, FinishReason, Overflow, RequestFacts, ToolCall, Usage
from pytest_llmtelemetry.wire.dialect import Failure, Fault, WireAnswer, WireRequest, answer_of, finish_word
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.jsontext import Counts, arguments_of, count_of, dump, load_object, mapping, objects, text


LINES = "application/x-ndjson"
DOCUMENT = "application/json; charset=utf-8"

FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "load": FinishReason.STOP,  # an empty prompt only loads the model
    "unload": FinishReason.STOP,
}

# For all else, tool calls too.
_NEAREST = dict.fromkeys(FinishReason, "stop")

Line = dict[str, Any]

# A mock's answers must not change from run to run.
_CREATED = "2023-11-14T22:13:20Z"
_DURATIONS = {"total_duration": 4, "load_duration": 1, "prompt_eval_duration": 1, "eval_duration": 2}


class OllamaDialect:
    """What chat and generate share; each says where its words stand, in :meth:`said`."""

    api: str
    operation: str
    id_prefix = ""
    path: ClassVar[re.Pattern[str]]

    def said(self, words: str, *, thinking: str = "", calls: Sequence[ToolCall] = ()) -> Line:
        """The part of a line that carries what the model says."""
        raise NotImplementedError

    def speaks(self, method: str, path: str) -> bool:
        return method == "POST" and self.path.fullmatch(path) is not None

    def read_request(self, body: Mapping[str, Any], *, request: WireRequest, provider: str) -> RequestFacts:
        functions = [mapping(tool.get("function")) for tool in objects(body.get("tools"))]
        limit = count_of(mapping(body.get("options")).get("num_predict"))
        return RequestFacts(
            api=self.api,
            provider=provider,
            model=text(body.get("model")),
            stream=body.get("stream") is not False,
            max_tokens=limit if limit is not None and limit >= 0 else None,  # -1 is no limit
            tools=tuple(name for function in functions if (name := text(function.get("name")))),
            body=body,
        )

    def draft(self) -> OllamaDraft:
        return OllamaDraft()

    def write_response(self, facts: CallFacts, asked: RequestFacts) -> WireAnswer:
        whole = self.said(facts.text, thinking=facts.reasoning, calls=facts.tool_calls)
        return answer_of(dump({**_head(facts), **whole, **_ending(facts)}).encode(), media=DOCUMENT)

    def write_stream(self, facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> WireAnswer:
        parts = [self.said("", thinking=facts.reasoning)] if facts.reasoning else []
        parts += map(self.said, pieces)
        if facts.tool_calls:
            parts.append(self.said("", calls=facts.tool_calls))
        return _stream([*_lines(facts, parts), {**_head(facts), **self.said(""), **_ending(facts)}])

    def write_error(self, fault: Fault, asked: RequestFacts) -> WireAnswer:
        return write_error(fault)

    def write_broken_stream(
        self, facts: CallFacts, pieces: Sequence[str], fault: Fault, asked: RequestFacts
    ) -> WireAnswer:
        return _stream([*_lines(facts, map(self.said, pieces)), error_object(fault)])


# -- reading ---------------------------------------------------------------------------------


class OllamaDraft(Draft):
    """An answer, or the lines of one; the last says that it is done, and what it took."""

    finishes = FINISH_REASONS

    def take(self, document: Mapping[str, Any], event: str) -> None:
        take_error(self, document)
        self.model = text(document.get("model")) or self.model
        # In a chat the words stand in a message, elsewhere beside the model.
        message = document.get("message")
        source = message if isinstance(message, dict) else document
        self.think(text(source.get("thinking")))
        self.say(text(source.get("content")) or text(source.get("response")))
        for call in objects(source.get("tool_calls")):
            self._take_tool(call)
        if document.get("done") is True:
            self.terminated = True
            self.finish_with(text(document.get("done_reason")))
            self.usage = read_usage(document)

    def conclude(self) -> None:
        if self.tools and self.word is not None and self.finishes.get(self.word) is FinishReason.STOP:
            self.finish = FinishReason.TOOL_CALLS

    def _take_tool(self, call: Mapping[str, Any]) -> None:
        """Each call comes whole; servers disagree on its index."""
        tool = self.tool(len(self.tools))
        function = mapping(call.get("function"))
        tool.id = text(call.get("id"))
        tool.name = text(function.get("name")) or ""
        arguments = function.get("arguments")
        tool.arguments.append(arguments if isinstance(arguments, str) else arguments_of(mapping(arguments)))


def read_usage(document: Mapping[str, Any], *, output: int | None = None) -> Usage | None:
    """Read the counts of an answer. Those of a prompt that was cached are missing, and so unknown."""
    count = Counts(document)
    asked, produced = count("prompt_eval_count"), count("eval_count")
    if asked is None and produced is None and not count.doubts:
        return None
    return Usage.checked(doubts=count.doubts, input_tokens=asked, output_tokens=produced if output is None else output)


def take_error(draft: Draft, document: Mapping[str, Any]) -> None:
    """Read what a document says went wrong: a sentence, and no word for it."""
    if message := text(document.get("error")):
        draft.fail(None)
        draft.overflow = Overflow() if _OVERFLOW.search(message) else None


_OVERFLOW = re.compile(r"exceed(?:s|ed) (?:the |max |maximum )?context length")


# -- writing ---------------------------------------------------------------------------------


def _head(facts: CallFacts) -> Line:
    return {**model_of(facts), "created_at": _CREATED}


def model_of(facts: CallFacts) -> Line:
    """The model, if it is known."""
    return {} if facts.model is None else {"model": facts.model}


def _lines(facts: CallFacts, parts: Iterable[Line]) -> list[Line]:
    return [{**_head(facts), **part, "done": False} for part in parts]


def _ending(facts: CallFacts) -> Line:
    """Why it ended, and what it took."""
    word = finish_word(facts, FINISH_REASONS, _NEAREST)
    usage = facts.usage or Usage()
    stated = {"done_reason": word, "prompt_eval_count": usage.input_tokens, "eval_count": usage.output_tokens}
    return {"done": True, **_DURATIONS, **{key: value for key, value in stated.items() if value is not None}}


def tool_objects(calls: Sequence[ToolCall]) -> list[Line]:
    """Tool calls, their arguments as objects."""
    return [
        {
            **({} if call.id is None else {"id": call.id}),
            "function": {"index": index, "name": call.name, "arguments": load_object(call.arguments) or {}},
        }
        for index, call in enumerate(calls)
    ]


def _stream(lines: Iterable[Mapping[str, Any]]) -> WireAnswer:
    return answer_of([f"{dump(line)}\n".encode() for line in lines], media=LINES)


# Status and message.
_FAILURES: Mapping[Failure, tuple[int, str]] = {
    Failure.BAD_REQUEST: (400, "invalid options"),
    Failure.AUTH: (401, "unauthorized"),
    Failure.NOT_FOUND: (404, "model not found, try pulling it first"),
    Failure.CONTEXT_WINDOW: (400, "the input length exceeds the context length"),
    Failure.RATE_LIMIT: (429, "too many requests"),
    Failure.SERVER_ERROR: (500, "llama runner process has terminated"),
    Failure.OVERLOADED: (503, "server busy, please try again. maximum pending requests exceeded"),
}


def write_error(fault: Fault) -> WireAnswer:
    """Write a failure with its status."""
    body = dump(error_object(fault)).encode()
    return answer_of(body, media=DOCUMENT, status=_FAILURES[fault.kind][0], headers=fault.retry_headers())


def error_object(fault: Fault) -> dict[str, str]:
    """The failure itself, as it also stands inside a stream."""
    return {"error": _FAILURES[fault.kind][1]}
