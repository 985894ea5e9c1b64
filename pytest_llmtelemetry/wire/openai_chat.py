"""OpenAI chat completions: ``POST */chat/completions``, and all who speak it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from pytest_llmtelemetry.facts import CallFacts, FinishReason, RequestFacts, ToolCall, Usage
from pytest_llmtelemetry.money import MONEY
from pytest_llmtelemetry.wire import openai_errors
from pytest_llmtelemetry.wire.dialect import SSE, Fault, WireAnswer, WireRequest, answer_of, finish_word
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.jsontext import Counts, count_of, dump, mapping, money, objects, text
from pytest_llmtelemetry.wire.openai_deployments import model_of
from pytest_llmtelemetry.wire.sse import encode


# Mistral answers to "fim" and "agents" as to a chat.
_PATH = re.compile(r"(?:.*/)?(?:chat|fim|agents)/completions/?")

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
# For what the provider has no word.
_NEAREST = {
    FinishReason.REFUSAL: "stop",
    FinishReason.UNKNOWN: "stop",
}

_TICKS_PER_USD = Decimal(10**10)  # xAI's unit

# A mock's answers must not change from run to run.
_CREATED = 1_700_000_000

# OpenAI, and who copied it exactly, state the usage of a stream only if they are asked to. These always do,
# in the chunk that says why the model stopped.
_USAGE_UNASKED = frozenset(
    {
        "cerebras",
        "deepseek",
        "fireworks",
        "groq",
        "huggingface",
        "mistral",
        "openrouter",
        "perplexity",
        "together",
        "xai",
        "zai",
    }
)
# These stream a tool call in one chunk; the SDK of Mistral insists on it.
_WHOLE_CALLS = frozenset({"groq", "mistral"})
# Where the model's thoughts stand; elsewhere it is ``reasoning_content``.
_REASONING = dict.fromkeys(("cerebras", "groq", "openrouter", "together"), "reasoning")


class OpenAIChat:
    """The dialect of most of the field."""

    api = "openai.chat"
    operation = "chat"
    id_prefix = "chatcmpl-"

    def speaks(self, method: str, path: str) -> bool:
        return method == "POST" and _PATH.fullmatch(path) is not None

    def fits(self, body: Mapping[str, Any]) -> bool:
        return "messages" in body

    def read_request(self, body: Mapping[str, Any], *, request: WireRequest, provider: str) -> RequestFacts:
        stream = body.get("stream") is True
        asked = mapping(body.get("stream_options")).get("include_usage") is True
        return RequestFacts(
            api=self.api,
            provider=provider,
            model=model_of(body, request.path),
            stream=stream,
            wants_usage=not stream or asked or provider in _USAGE_UNASKED,
            max_tokens=count_of(body.get("max_completion_tokens") or body.get("max_tokens")),
            tools=tuple(
                name for tool in objects(body.get("tools")) if (name := text(mapping(tool.get("function")).get("name")))
            ),
            body=body,
        )

    def draft(self) -> OpenAIDraft:
        return OpenAIDraft()

    def write_response(self, facts: CallFacts, asked: RequestFacts) -> WireAnswer:
        return answer_of(dump(completion_document(facts, asked)).encode())

    def write_stream(self, facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> WireAnswer:
        chunks = [encode(dump(chunk)) for chunk in completion_chunks(facts, pieces, asked)]
        return answer_of([*chunks, encode("[DONE]")], media=SSE)

    def write_error(self, fault: Fault, asked: RequestFacts) -> WireAnswer:
        return openai_errors.write_error(fault, asked)

    def write_broken_stream(
        self, facts: CallFacts, pieces: Sequence[str], fault: Fault, asked: RequestFacts
    ) -> WireAnswer:
        begun = CallFacts(id=facts.id, model=facts.model)
        chunks = [encode(dump(chunk)) for chunk in _opening(begun, pieces, asked)]
        failure: dict[str, object] = {"error": openai_errors.error_object(fault, asked)}
        if asked.provider == "openrouter":
            chunks += [encode(dump(failure | _chunk(begun, asked, {"content": ""}, finish="error"))), encode("[DONE]")]
        else:
            chunks.append(encode(dump(failure)))
        return answer_of(chunks, media=SSE)


class OpenAIDraft(Draft):
    """A completion, or the chunks of one."""

    finishes = FINISH_REASONS

    def __init__(self) -> None:
        super().__init__()
        self._refused = False
        self._done = False

    def take(self, document: Mapping[str, Any], event: str) -> None:
        if self._done:
            return
        self.id = text(document.get("id")) or self.id
        self.model = text(document.get("model")) or self.model
        for choice in objects(document.get("choices")):
            self.finish_with(text(choice.get("finish_reason")))
            message = mapping(choice.get("message")) or mapping(choice.get("delta"))
            self.has_content = self.has_content or bool(message.get("content") or message.get("tool_calls"))
            # A tuple, because what is looked for in a set must be hashable.
            if choice.get("index") in (0, None):
                self._take_message(message)
        usage = document.get("usage") or mapping(document.get("x_groq")).get("usage")
        if isinstance(usage, dict):
            self.usage, self.cost = read_usage(usage), read_cost(usage)
        tier = text(document.get("service_tier")) or text(mapping(usage).get("service_tier"))
        self.service_tier = tier or self.service_tier
        openai_errors.take_error(self, document)

    def take_text(self, text: str) -> None:
        if text == "[DONE]":
            self._done = self.terminated = True

    def conclude(self) -> None:
        if self._refused and self.word is not None and FINISH_REASONS.get(self.word) is FinishReason.STOP:
            self.finish = FinishReason.REFUSAL

    def _take_message(self, message: Mapping[str, Any]) -> None:
        self.think(text(message.get("reasoning_content")) or text(message.get("reasoning")))
        content = message.get("content")
        self.say(text(content))
        for part in objects(content):  # Mistral
            self.say(text(part.get("text")))
            for thought in objects(part.get("thinking")):
                self.think(text(thought.get("text")))
        if refusal := text(message.get("refusal")):
            self._refused = True
            self.say(refusal)
        calls = objects(message.get("tool_calls"))
        old = mapping(message.get("function_call"))  # before there were tools; Snowflake always sends an empty one
        if old.get("name") or old.get("arguments"):
            calls = [*calls, {"function": old}]
        for position, call in enumerate(calls):
            index = call.get("index")
            tool = self.tool(index if isinstance(index, int) else position)
            function = mapping(call.get("function"))
            tool.id = text(call.get("id")) or tool.id
            tool.name = text(function.get("name")) or tool.name
            tool.arguments.append(text(function.get("arguments")) or "")


# -- usage -----------------------------------------------------------------------------------


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
        "input_audio_tokens": count("prompt_tokens_details", "audio_tokens"),
        "input_image_tokens": count("prompt_tokens_details", "image_tokens"),
        "input_video_tokens": count("prompt_tokens_details", "video_tokens"),
        "output_audio_tokens": count("completion_tokens_details", "audio_tokens"),
        "output_image_tokens": count("completion_tokens_details", "image_tokens"),
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


# -- writing ---------------------------------------------------------------------------------


def completion_document(facts: CallFacts, asked: RequestFacts) -> dict[str, object]:
    """A plain answer."""
    refused = facts.finish_reason is FinishReason.REFUSAL
    message: dict[str, object] = {
        "role": "assistant",
        "content": None if refused else _content(facts.text, facts.reasoning, asked) or None,
        "refusal": facts.text if refused else None,
        "annotations": [],
    }
    if facts.reasoning and asked.provider != "mistral":
        message[_REASONING.get(asked.provider, "reasoning_content")] = facts.reasoning
    if facts.tool_calls:
        message["tool_calls"] = [_write_tool_call(i, call) for i, call in enumerate(facts.tool_calls)]
    word = finish_word(facts, FINISH_REASONS, _NEAREST)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": word}
    if asked.provider == "openrouter":
        choice["native_finish_reason"] = word
    document = _envelope(facts, "chat.completion", asked) | {"choices": [choice]}
    if facts.usage is not None:
        document["usage"] = _write_usage(facts)
    return document


def completion_chunks(facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> Iterator[dict[str, object]]:
    """The chunks of a streamed answer, without the ``[DONE]`` after it."""
    yield from _opening(facts, pieces, asked)
    for index, call in enumerate(facts.tool_calls):
        whole = {"index": index, **_write_tool_call(index, call)}
        if asked.provider in _WHOLE_CALLS:
            yield _chunk(facts, asked, {"tool_calls": [whole]})
            continue
        begun = whole | {"function": {"name": call.name, "arguments": ""}}
        yield _chunk(facts, asked, {"tool_calls": [begun]})
        yield _chunk(facts, asked, {"tool_calls": [{"index": index, "function": {"arguments": call.arguments}}]})
    last = _chunk(facts, asked, {}, finish=finish_word(facts, FINISH_REASONS, _NEAREST))
    usage = None if facts.usage is None else _write_usage(facts)
    if usage is not None and asked.provider == "groq":
        last["x_groq"] = {"id": facts.id or "", "usage": usage}
    if usage is not None and asked.provider in _USAGE_UNASKED:
        last["usage"] = usage
    yield last
    if usage is not None and asked.wants_usage and asked.provider not in _USAGE_UNASKED:
        yield _envelope(facts, "chat.completion.chunk", asked) | {"choices": [], "usage": usage}


def _opening(facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> Iterator[dict[str, object]]:
    """What comes before the tool calls."""
    yield _chunk(facts, asked, {"role": "assistant", "content": None if facts.tool_calls and not pieces else ""})
    if facts.reasoning and asked.provider == "mistral":
        yield _chunk(facts, asked, {"content": _content("", facts.reasoning, asked)})
    elif facts.reasoning:
        yield _chunk(facts, asked, {_REASONING.get(asked.provider, "reasoning_content"): facts.reasoning})
    place = "refusal" if facts.finish_reason is FinishReason.REFUSAL else "content"
    for piece in pieces:
        yield _chunk(facts, asked, {place: piece})


def _chunk(
    facts: CallFacts, asked: RequestFacts, delta: Mapping[str, object], *, finish: str | None = None
) -> dict[str, object]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    if asked.provider == "openrouter":
        choice["native_finish_reason"] = finish
    chunk = _envelope(facts, "chat.completion.chunk", asked) | {"choices": [choice]}
    if asked.wants_usage and asked.provider not in _USAGE_UNASKED:
        chunk["usage"] = None
    return chunk


def _content(said: str, reasoning: str, asked: RequestFacts) -> object:
    """A text; Mistral's thinking models say theirs in parts."""
    if asked.provider != "mistral" or not reasoning:
        return said
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": reasoning}], "closed": True}
    return [thinking, {"type": "text", "text": said}] if said else [thinking]


def _envelope(facts: CallFacts, kind: str, asked: RequestFacts) -> dict[str, object]:
    head: dict[str, object] = {"id": facts.id or "", "object": kind, "created": _CREATED, "model": facts.model or ""}
    if facts.service_tier is not None or asked.provider == "groq":  # LiteLLM looks there, whether there is one or not
        head["service_tier"] = facts.service_tier
    if asked.provider == "openrouter":
        head |= {"provider": "mock", "system_fingerprint": None}  # its SDK insists on both
    return head


def _write_tool_call(index: int, call: ToolCall) -> dict[str, object]:
    return {
        "id": call.id or f"call_{index}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _write_usage(facts: CallFacts) -> dict[str, object]:
    usage = facts.usage or Usage()
    prompt = {
        "cached_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "audio_tokens": usage.input_audio_tokens,
        "image_tokens": usage.input_image_tokens,
        "video_tokens": usage.input_video_tokens,
    }
    completion = {
        "reasoning_tokens": usage.reasoning_tokens,
        "audio_tokens": usage.output_audio_tokens,
        "image_tokens": usage.output_image_tokens,
    }
    document: dict[str, object] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {key: value for key, value in prompt.items() if value is not None},
        "completion_tokens_details": {key: value for key, value in completion.items() if value is not None},
    }
    if facts.stated_cost_usd is not None:
        document["cost"] = facts.stated_cost_usd
    return document
