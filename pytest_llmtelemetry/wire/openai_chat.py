"""OpenAI chat completions: ``POST */chat/completions``, and all who speak it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from pytest_llmtelemetry.facts import CallFacts, FinishReason, Overflow, RequestFacts, ToolCall, Usage
from pytest_llmtelemetry.money import MONEY
from pytest_llmtelemetry.wire.dialect import EventReader, WireError
from pytest_llmtelemetry.wire.jsontext import Counts, dump, load_object, mapping, money, objects, text
from pytest_llmtelemetry.wire.sse import encode


_PATH = re.compile(r"(?:.*/)?chat/completions/?")
_DEPLOYMENT = re.compile(r".*/deployments/(?P<model>[^/]+)/chat/completions/?")

FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "eos": FinishReason.STOP,  # Together
    "length": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,  # Mistral
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
    "error": FinishReason.ERROR,
}
_WORD = {
    FinishReason.REFUSAL: "stop",
    FinishReason.UNKNOWN: "stop",
    **{reason: word for word, reason in reversed(FINISH_REASONS.items())},
}

_TICKS_PER_USD = Decimal(10**10)  # xAI's unit

# A mock's answers must not change from run to run.
_CREATED = 1_700_000_000


class OpenAIChat:
    """The dialect of most of the field."""

    api = "openai.chat"
    operation = "chat"
    id_prefix = "chatcmpl-"

    def speaks(self, method: str, path: str) -> bool:
        return method == "POST" and _PATH.fullmatch(path) is not None

    def read_request(self, body: Mapping[str, Any], *, path: str, provider: str) -> RequestFacts:
        deployment = _DEPLOYMENT.fullmatch(path)
        stream = body.get("stream") is True
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        return RequestFacts(
            api=self.api,
            provider=provider,
            model=text(body.get("model")) or (deployment["model"] if deployment else None),
            stream=stream,
            wants_usage=not stream or mapping(body.get("stream_options")).get("include_usage") is True,
            max_tokens=limit if isinstance(limit, int) and not isinstance(limit, bool) else None,
            tools=tuple(
                name for tool in objects(body.get("tools")) if (name := text(mapping(tool.get("function")).get("name")))
            ),
            body=body,
        )

    def read_response(self, body: bytes) -> CallFacts:
        answer = _Answer()
        if (document := load_object(body)) is not None:
            answer.take(document, "message")
        return answer.facts(terminated=answer.finish is not None)

    def stream_reader(self) -> _Reader:
        return _Reader()

    def write_response(self, facts: CallFacts) -> bytes:
        message: dict[str, object] = {
            "role": "assistant",
            "content": facts.text or None,
            "refusal": None,
            "annotations": [],
        }
        if facts.tool_calls:
            message["tool_calls"] = [_write_tool_call(i, call) for i, call in enumerate(facts.tool_calls)]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_word(facts)}
        document = _envelope(facts, "chat.completion") | {"choices": [choice]}
        if facts.usage is not None:
            document["usage"] = _write_usage(facts)
        return dump(document).encode()

    def write_stream(self, facts: CallFacts, pieces: Sequence[str], *, usage: bool = True) -> Iterator[bytes]:
        tail = {"usage": None} if usage else {}

        def chunk(delta: Mapping[str, object], finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return encode(dump(_envelope(facts, "chat.completion.chunk") | {"choices": [choice]} | tail))

        yield chunk({"role": "assistant", "content": None if facts.tool_calls and not facts.text else ""})
        for piece in pieces:
            yield chunk({"content": piece})
        for index, call in enumerate(facts.tool_calls):
            whole = _write_tool_call(index, call)
            yield chunk({"tool_calls": [{"index": index, **whole, "function": {"name": call.name, "arguments": ""}}]})
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": call.arguments}}]})
        yield chunk({}, _finish_word(facts))
        if usage and facts.usage is not None:
            last = _envelope(facts, "chat.completion.chunk") | {"choices": [], "usage": _write_usage(facts)}
            yield encode(dump(last))
        yield encode("[DONE]")

    def write_error(self, kind: str, *, retry_after_s: float | None = None) -> WireError:
        status, type_, code, message = _ERRORS[kind]
        headers = {"content-type": "application/json"}
        if retry_after_s is not None:
            headers |= {"retry-after": f"{retry_after_s:g}", "retry-after-ms": f"{retry_after_s * 1000:g}"}
        error = {"message": message, "type": type_, "param": None, "code": code}
        return WireError(status=status, headers=headers, body=dump({"error": error}).encode())


_ERRORS = {
    "rate_limit": (429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    "overloaded": (503, "server_error", None, "The engine is currently overloaded, please try again later."),
    "server_error": (500, "server_error", None, "The server had an error while processing your request."),
    "auth": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
}


class _Answer:
    """What was said so far, in one document or in many chunks."""

    def __init__(self) -> None:
        self.head: dict[str, str | None] = {"id": None, "model": None, "service_tier": None}
        self.pieces: list[str] = []
        self.calls: dict[int, dict[str, str]] = {}
        self.finish: str | None = None
        self.usage: Mapping[str, Any] | None = None
        self.error: str | None = None
        self.overflow: Overflow | None = None
        self.has_content = False

    def take(self, document: Mapping[str, Any], part: str) -> None:
        for key in self.head:
            self.head[key] = text(document.get(key)) or self.head[key]
        for choice in objects(document.get("choices")):
            # Any choice that was cut makes the answer a cut one.
            word = text(choice.get("finish_reason"))
            if word is not None and (self.finish is None or FINISH_REASONS.get(word) is FinishReason.LENGTH):
                self.finish = word
            # A tuple, because what is looked for in a set must be hashable.
            self._take_message(mapping(choice.get(part)), first=choice.get("index") in (0, None))
        usage = document.get("usage") or mapping(document.get("x_groq")).get("usage")
        if isinstance(usage, dict):
            self.usage = usage
        if failure := document.get("error"):
            error = mapping(failure)
            self.error = text(error.get("code")) or text(error.get("type")) or "error"
            self.overflow = _read_overflow(self.error, text(error.get("message")) or "")

    def _take_message(self, message: Mapping[str, Any], *, first: bool) -> None:
        content = message.get("content")
        piece = text(content) or "".join(text(part.get("text")) or "" for part in objects(content))
        calls = objects(message.get("tool_calls"))
        self.has_content = self.has_content or bool(
            content or calls or message.get("reasoning_content") or message.get("reasoning")
        )
        if not first:
            return
        if piece:
            self.pieces.append(piece)
        for position, call in enumerate(calls):
            index = call.get("index")
            slot = self.calls.setdefault(index if isinstance(index, int) else position, {})
            function = mapping(call.get("function"))
            for key, value in (("id", call.get("id")), ("name", function.get("name"))):
                if named := text(value):
                    slot[key] = named
            slot["arguments"] = slot.get("arguments", "") + (text(function.get("arguments")) or "")

    def facts(self, *, terminated: bool) -> CallFacts:
        usage = None if self.usage is None else read_usage(self.usage)
        return CallFacts(
            id=self.head["id"],
            model=self.head["model"],
            service_tier=self.head["service_tier"],
            text="".join(self.pieces),
            tool_calls=tuple(
                ToolCall(name=slot.get("name", ""), arguments=slot["arguments"], id=slot.get("id"))
                for _, slot in sorted(self.calls.items())
            ),
            usage=usage,
            finish_reason=None if self.finish is None else FINISH_REASONS.get(self.finish, FinishReason.UNKNOWN),
            raw_finish_reason=self.finish,
            stated_cost_usd=None if self.usage is None else read_cost(self.usage),
            error_type=self.error,
            overflow=self.overflow,
            terminated=terminated,
        )


class _Reader(EventReader):
    """Chunks in, one answer out."""

    def __init__(self) -> None:
        super().__init__()
        self._answer = _Answer()
        self._done = False

    @property
    def has_content(self) -> bool:
        return self._answer.has_content

    def conclude(self) -> CallFacts:
        return self._answer.facts(terminated=self._done or self._answer.finish is not None)

    def take(self, data: str) -> None:
        if self._done:
            return
        if data.strip() == "[DONE]":
            self._done = True
        elif (document := load_object(data)) is not None:
            self._answer.take(document, "delta")


_WINDOW = re.compile(r"maximum context length (?:is|of) (\d{1,12})")
_PROMPT = re.compile(r"(?:resulted in|requested(?: about)?) (\d{1,12}) tokens")


def _read_overflow(error: str, message: str) -> Overflow | None:
    """The code says so, or, of those who speak this API without OpenAI's codes, the sentence that all have copied."""
    window, prompt = _WINDOW.search(message), _PROMPT.search(message)
    if error != "context_length_exceeded" and window is None:
        return None
    return Overflow(tokens=int(prompt[1]) if prompt else None, max_tokens=int(window[1]) if window else None)


def read_usage(source: Mapping[str, Any]) -> Usage | None:
    """Read a usage in OpenAI's words, and in those of its many dialects."""
    count = Counts(source)
    cached = count("prompt_tokens_details", "cached_tokens")
    for elsewhere in ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens"):
        cached = count(elsewhere) if cached is None else cached
    asked, produced, total = count("prompt_tokens"), count("completion_tokens"), count("total_tokens")
    if asked is not None and produced is not None and total is not None:
        # xAI and Gemini leave reasoning out of completion_tokens, not out of the total, nor of the bill.
        produced = max(produced, total - asked)
    counts = {
        "input_tokens": asked,
        "output_tokens": produced,
        "total_tokens": total,
        "cache_read_tokens": cached,
        "cache_write_tokens": count("prompt_tokens_details", "cache_write_tokens"),
        "reasoning_tokens": count("completion_tokens_details", "reasoning_tokens"),
    }
    if all(value is None for value in counts.values()) and not count.doubts:
        return None
    return Usage.checked(doubts=count.doubts, **counts)


def read_cost(usage: Mapping[str, Any]) -> Decimal | None:
    """The cost that OpenRouter, Perplexity and xAI state, in USD."""
    if (ticks := money(usage.get("cost_in_usd_ticks"))) is not None:
        return MONEY.divide(ticks, _TICKS_PER_USD)
    stated = usage.get("cost")
    if isinstance(stated, dict):
        return money(stated.get("total_cost"))
    cost = money(stated)
    if cost is not None and usage.get("is_byok") is True:
        # The gateway's fee alone; the provider bills the rest to the user's own key.
        upstream = money(mapping(usage.get("cost_details")).get("upstream_inference_cost"))
        return None if upstream is None else MONEY.add(cost, upstream)
    return cost


def _envelope(facts: CallFacts, kind: str) -> dict[str, object]:
    head: dict[str, object] = {"id": facts.id or "", "object": kind, "created": _CREATED, "model": facts.model or ""}
    if facts.service_tier is not None:
        head["service_tier"] = facts.service_tier
    return head


def _finish_word(facts: CallFacts) -> str | None:
    if facts.raw_finish_reason is not None or facts.finish_reason is None:
        return facts.raw_finish_reason
    return _WORD[facts.finish_reason]


def _write_tool_call(index: int, call: ToolCall) -> dict[str, object]:
    return {
        "id": call.id or f"call_{index}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _write_usage(facts: CallFacts) -> dict[str, object]:
    usage = facts.usage or Usage()
    prompt = {"cached_tokens": usage.cache_read_tokens, "cache_write_tokens": usage.cache_write_tokens}
    document: dict[str, object] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {key: value for key, value in prompt.items() if value is not None},
        "completion_tokens_details": (
            {} if usage.reasoning_tokens is None else {"reasoning_tokens": usage.reasoning_tokens}
        ),
    }
    if facts.stated_cost_usd is not None:
        document["cost"] = facts.stated_cost_usd
    return document
