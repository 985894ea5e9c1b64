"""Token counts in Google's words: ``usageMetadata``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmtelemetry.facts import MEDIA, Usage
from pytest_llmtelemetry.wire.jsontext import Counts, objects, text


# Where the tokens of each medium stand; "promptTokenDetails" is the word for embeddings.
_DETAILS = {
    "input_{}_tokens": ("promptTokensDetails", "promptTokenDetails", "toolUsePromptTokensDetails"),
    "cache_{}_read_tokens": ("cacheTokensDetails",),
    "output_{}_tokens": ("candidatesTokensDetails",),
}


def read_usage(source: Mapping[str, Any]) -> Usage | None:
    """Read the usage of an answer that is whole."""
    count = Counts(source)
    prompt, tools = count("promptTokenCount"), count("toolUsePromptTokenCount")
    thoughts, total = count("thoughtsTokenCount"), count("totalTokenCount")
    produced = count("candidatesTokenCount")
    asked = _plus(prompt, _zero_if_left_out(source, "toolUsePromptTokenCount", tools))
    thought = _zero_if_left_out(source, "thoughtsTokenCount", thoughts)
    if source.get("candidatesTokenCount") is None and _is_all(total, _plus(asked, thought), thoughts):
        produced = 0
    return _usage(
        source,
        count.doubts,
        input_tokens=asked,
        output_tokens=_plus(produced, thought),
        total_tokens=total,
        cache_read_tokens=count("cachedContentTokenCount"),
        reasoning_tokens=thoughts,
    )


def read_embedding_usage(source: Mapping[str, Any]) -> Usage | None:
    """Read the usage of embeddings, which have no output."""
    count = Counts(source)
    asked, total = count("promptTokenCount"), count("totalTokenCount")
    if asked is None and total is None and not count.doubts:
        return None
    return _usage(source, count.doubts, input_tokens=asked, output_tokens=0, total_tokens=total)


def _usage(source: Mapping[str, Any], doubts: list[str], **counts: int | None) -> Usage | None:
    """A usage with its parts by medium; ``None`` if it states nothing."""
    for medium in MEDIA:
        for name, keys in _DETAILS.items():
            counts[name.format(medium)] = _media_tokens(source, keys, medium.upper(), doubts)
    if all(value is None for value in counts.values()) and not doubts:
        return None
    return Usage.checked(doubts=doubts, **counts)


def _media_tokens(source: Mapping[str, Any], keys: tuple[str, ...], modality: str, doubts: list[str]) -> int | None:
    """The tokens of one medium, in all lists that state them."""
    whole: int | None = None
    for entry in (entry for key in keys for entry in objects(source.get(key)) if entry.get("modality") == modality):
        count = Counts(entry)
        if (stated := count("tokenCount")) is not None:
            whole = (whole or 0) + stated
        doubts.extend(f"{modality} {doubt}" for doubt in count.doubts)
    return whole


def _zero_if_left_out(source: Mapping[str, Any], name: str, count: int | None) -> int | None:
    """Google leaves out what is zero; what is there and makes no sense stays unknown."""
    return 0 if source.get(name) is None else count


def _plus(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _is_all(total: int | None, known: int | None, thoughts: int | None) -> bool:
    """True if nothing but ``known`` was used: the total says so or, without one, that thoughts are counted."""
    return thoughts is not None if total is None else total == known


def read_tier(source: Mapping[str, Any]) -> str | None:
    """How it was served: the Gemini API and Vertex have a word each."""
    return text(source.get("serviceTier")) or text(source.get("trafficType"))


def write_usage(usage: Usage | None, tier: str | None, provider: str) -> dict[str, object]:
    """The counts and the tier that are known."""
    stated = {} if usage is None else _counts(usage) | _details(usage)
    if tier is not None:
        stated["trafficType" if provider == "vertex" else "serviceTier"] = tier
    return stated


def _counts(usage: Usage) -> dict[str, object]:
    candidates = usage.output_tokens
    if candidates is not None and usage.reasoning_tokens is not None:
        candidates = max(0, candidates - usage.reasoning_tokens)
    counts = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": candidates,
        "totalTokenCount": usage.total_tokens,
        "cachedContentTokenCount": usage.cache_read_tokens,
        "thoughtsTokenCount": usage.reasoning_tokens,
    }
    return {name: count for name, count in counts.items() if count is not None}


def _details(usage: Usage) -> dict[str, object]:
    details = {
        places[0]: {medium.upper(): getattr(usage, name.format(medium)) for medium in MEDIA}
        for name, places in _DETAILS.items()
    }
    return {
        name: entries
        for name, media in details.items()
        if (entries := [{"modality": word, "tokenCount": n} for word, n in media.items() if n is not None])
    }
