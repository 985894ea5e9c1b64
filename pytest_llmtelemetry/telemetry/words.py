"""The words in which SDKs, frameworks and applications state a usage and a finish reason, and who reads them.

A dialect reads the words of its provider. It is imported when they first occur: most
applications use one or two providers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from decimal import Decimal
from importlib import import_module
from typing import Any

from pytest_llmtelemetry.facts import COUNTS, FinishReason, Usage
from pytest_llmtelemetry.wire.jsontext import Counts


# Only these are looked at, so that no attribute of an application's object is called by chance.
USAGE_KEYS: Mapping[str, Any] = {
    **dict.fromkeys(COUNTS),
    # OpenAI's completions, and those who copied them
    **dict.fromkeys(("prompt_tokens", "completion_tokens", "cost", "cost_in_usd_ticks", "is_byok")),
    **dict.fromkeys(("num_cached_tokens", "prompt_cache_hit_tokens", "cached_tokens")),
    "prompt_tokens_details": {"cached_tokens": None, "cache_write_tokens": None},
    "completion_tokens_details": {"reasoning_tokens": None},
    "cost_details": {"upstream_inference_cost": None},
    # OpenAI's responses
    "input_tokens_details": {"cached_tokens": None},
    "output_tokens_details": {"reasoning_tokens": None, "thinking_tokens": None},
    # Anthropic
    **dict.fromkeys(("cache_read_input_tokens", "cache_creation_input_tokens")),
    "cache_creation": {"ephemeral_1h_input_tokens": None},
    # LangChain
    "input_token_details": {"cache_read": None, "cache_creation": None},
    "output_token_details": {"reasoning": None},
    # Google, on the wire and in its SDK
    **dict.fromkeys(("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount")),
    **dict.fromkeys(("cachedContentTokenCount", "toolUsePromptTokenCount")),
    **dict.fromkeys(("prompt_token_count", "candidates_token_count", "thoughts_token_count", "total_token_count")),
    **dict.fromkeys(("cached_content_token_count", "tool_use_prompt_token_count")),
    # Bedrock
    **dict.fromkeys(("inputTokens", "outputTokens", "totalTokens", "cacheReadInputTokens", "cacheWriteInputTokens")),
    # Cohere
    "tokens": {"input_tokens": None, "output_tokens": None, "reasoning_tokens": None},
    "billed_units": {"input_tokens": None, "output_tokens": None},
}

OLLAMA_KEYS: Mapping[str, Any] = dict.fromkeys(("prompt_eval_count", "eval_count"))
"""Those that stand in the answer itself, and not in a usage of its own."""

# The module of the wire whose words these are.
_READERS = (
    ("openai_chat", ("prompt_tokens", "completion_tokens")),
    ("anthropic_messages", ("cache_read_input_tokens", "cache_creation_input_tokens")),
    ("gemini_usage", ("promptTokenCount", "candidatesTokenCount", "totalTokenCount")),
    ("bedrock_usage", ("inputTokens", "outputTokens", "totalTokens")),
    ("cohere_words", ("tokens", "billed_units")),
    ("ollama_words", ("prompt_eval_count", "eval_count")),
)


def read_usage(source: Mapping[str, Any]) -> Usage | None:
    """Read a usage in whosever words."""
    source = {_in_camel_case(key) if key in _OF_GOOGLES_SDK else key: value for key, value in source.items()}
    for module, marks in _READERS:
        if any(mark in source for mark in marks):
            read: Callable[[Mapping[str, Any]], Usage | None] = _wire(module).read_usage
            return read(source)
    return _read_own(source)


_OF_GOOGLES_SDK = frozenset(key for key in USAGE_KEYS if key.endswith("_token_count"))


def _in_camel_case(key: str) -> str:
    first, *others = key.split("_")
    return first + "".join(map(str.title, others))


def read_cost(source: Mapping[str, Any]) -> Decimal | None:
    """The cost in USD that OpenRouter, Perplexity and xAI put into their usage."""
    if source.keys().isdisjoint(("cost", "cost_in_usd_ticks")):
        return None
    cost: Decimal | None = _wire("openai_chat").read_cost(source)
    return cost


def _read_own(source: Mapping[str, Any]) -> Usage | None:
    """Our own words, which are also those of OpenAI's responses, of frameworks and of most applications."""
    count = Counts(source)
    counts = {name: count(name) for name in COUNTS}
    for name, path in _ELSEWHERE:
        if counts[name] is None:
            counts[name] = count(*path)
    if all(value is None for value in counts.values()) and not count.doubts:
        return None
    return Usage.checked(doubts=count.doubts, **counts)


_ELSEWHERE = (
    ("cache_read_tokens", ("input_tokens_details", "cached_tokens")),
    ("cache_read_tokens", ("input_token_details", "cache_read")),
    ("cache_write_tokens", ("input_token_details", "cache_creation")),
    ("cache_write_1h_tokens", ("cache_creation", "ephemeral_1h_input_tokens")),
    ("reasoning_tokens", ("output_tokens_details", "reasoning_tokens")),
    ("reasoning_tokens", ("output_token_details", "reasoning")),
)


def finish_reason(word: str) -> FinishReason:
    """What a word means, whose ever it is."""
    return _finish_reasons().get(word, FinishReason.UNKNOWN)


@functools.cache
def _finish_reasons() -> Mapping[str, FinishReason]:
    modules = ("openai_responses", "ollama_words", "gemini_generate", "cohere_words", "bedrock_converse")
    found: dict[str, FinishReason] = {str(reason): reason for reason in FinishReason}
    for module in (*modules, "anthropic_messages", "openai_chat"):
        found |= _wire(module).FINISH_REASONS
    return found


def _wire(module: str) -> Any:
    return import_module(f"pytest_llmtelemetry.wire.{module}")
