"""Real traffic of real providers, held against facts that others read from it."""

from __future__ import annotations

import functools
import random
import re
import sys
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

import cassettes
from cassettes import Interaction
from pytest_llmtelemetry.facts import CallFacts, FinishReason, Usage
from pytest_llmtelemetry.wire.body import BodyReader
from pytest_llmtelemetry.wire.dialect import Conversation
from pytest_llmtelemetry.wire.hosts import OLLAMA_PORT, PROVIDERS


cassettes.required()

# The reader of the recordings leaves its files to the collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


# -- what we read --------------------------------------------------------------------------


def answer(conversation: Conversation, one: Interaction) -> tuple[CallFacts, bool]:
    """Read a recorded response in uneven chunks, and say whether it came as a stream."""
    reader = BodyReader(conversation.dialect.draft(), one.headers)
    sizes, body = random.Random(len(one.body)), one.body
    while body:
        size = sizes.choice([1, 2, 3, 17, 200, 1000])
        reader.feed(body[:size])
        body = body[size:]
    facts = reader.close()
    return facts, reader.is_stream


@functools.cache
def read(key: str) -> Mapping[str, object]:
    """What the package makes of an interaction, under the names of the index."""
    file, _, place = key.partition("#")
    one = next(one for one in cassettes.interactions(file) if one.row["i"] == int(place))
    conversation = one.converse()
    facts, streamed = answer(conversation, one)
    usage = facts.usage or Usage()
    return {
        "api": conversation.facts.api,
        "provider": conversation.facts.provider,
        "stream": streamed,
        "req_model": conversation.facts.model,
        "resp_model": facts.model,
        "finish": facts.raw_finish_reason,
        "truncated": facts.finish_reason is FinishReason.LENGTH,
        "usage": facts.usage is not None,
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "total": usage.total_tokens,
        "cached": usage.cache_read_tokens,
        "cache_write": usage.cache_write_tokens,
        "reasoning": usage.reasoning_tokens,
        "cost": facts.stated_cost_usd,
        "tool_calls": len(facts.tool_calls),
        "error": facts.error_type is not None,
        "doubts": usage.doubts,
    }


# -- what the index says -------------------------------------------------------------------

# On whose wire the cached tokens stand beside the input, and not in it.
CACHE_BESIDE = {"anthropic.messages", "bedrock.converse", "bedrock.converse_stream", "bedrock.invoke"}
EMBEDDINGS = {"openai.embeddings", "gemini.embed", "cohere.v2.embed", "ollama.embed", "vertex.predict"}


def stated(one: Interaction) -> dict[str, object]:
    """The same, from the index, with its wire counts in the package's terms."""
    row = one.row
    raw = row["usage_raw"] or row.get("usage_x_groq") or {}
    counts = {name: row[name] for name in ("input", "output", "total", "cached", "cache_write", "reasoning")}
    counts |= {name: count for name, count in beside_the_body(one).items() if counts[name] is None}
    asked, produced = counts["input"], counts["output"]
    if row["api"] in CACHE_BESIDE and asked is not None:
        asked += (counts["cached"] or 0) + (counts["cache_write"] or 0)
    if row["api"].startswith("gemini."):
        if raw.get("toolUsePromptTokenCount"):
            asked += raw["toolUsePromptTokenCount"]
        if counts["total"] is not None:
            produced = (produced or 0) + (counts["reasoning"] or 0)  # the wire's output excludes it
    if (row["api"] in EMBEDDINGS or "embed" in row["req_model"]) and (asked is not None or counts["total"] is not None):
        asked, produced = counts["total"] if asked is None else asked, 0
    total = counts["total"]
    if total is None and asked is not None and produced is not None:
        total = asked + produced
    return {
        "api": row["api"].removesuffix("_stream").replace("stream_", ""),
        "provider": provider(one),
        "stream": row["stream"],
        "req_model": row["req_model"],
        "resp_model": row["resp_model"],
        "finish": finish(one),
        "truncated": "truncated" in row["tags"],
        "usage": any(count is not None for count in (asked, produced, total)),
        "input": asked,
        "output": produced,
        "total": total,
        "cached": counts["cached"] if counts["cached"] is not None else raw.get("num_cached_tokens"),  # Mistral's name
        "cache_write": counts["cache_write"],
        "reasoning": counts["reasoning"],
        "cost": cost(row, raw),
        "tool_calls": client_tools(one),
        "error": row["error"] is not None,
        "doubts": tuple(
            f"the tokens of {kind} iterations are not counted"
            for kind in sorted({step["type"] for step in raw.get("iterations") or ()} - {"message"})
        ),
    }


def provider(one: Interaction) -> str:
    """The index calls a server at home "local"; the port says that it is Ollama."""
    if one.request.port == OLLAMA_PORT:
        return "ollama"
    named: str = one.row["provider"]
    return named if named in PROVIDERS else "unknown"


def cost(row: cassettes.Row, raw: Mapping[str, Any]) -> Decimal | None:
    """With a key of the user's own, what the provider bills to it is the cost, beside the gateway's fee."""
    if row["cost"] is None:
        return None
    upstream = raw["cost_details"]["upstream_inference_cost"] if raw.get("is_byok") else 0
    return Decimal(str(row["cost"])) + Decimal(str(upstream))


def beside_the_body(one: Interaction) -> dict[str, int | None]:
    """The counts that Groq states under a name of its own, and Bedrock in the head of the response."""
    groq = one.row.get("usage_x_groq") or {}
    if groq:
        return {
            "input": groq["prompt_tokens"],
            "output": groq["completion_tokens"],
            "total": groq["total_tokens"],
        }
    head = one.row.get("usage_headers") or {}
    names = {"input": "input", "output": "output", "cached": "cache-read-input", "cache_write": "cache-write-input"}
    found = {name: head.get(f"x-amzn-bedrock-{word}-token-count") for name, word in names.items()}
    nova = one.row["usage_raw"] or {}
    found |= {"cached": found["cached"] or nova.get("cacheReadInputTokenCount")}
    found |= {"cache_write": found["cache_write"] or nova.get("cacheWriteInputTokenCount")}
    return {name: int(value) for name, value in found.items() if value is not None}


def finish(one: Interaction) -> str | None:
    """The index leaves out the words of some vendors at Bedrock."""
    if one.row["api"] != "bedrock.invoke" or one.row["finish"] is not None:
        word: str | None = one.row["finish"]
        return word
    found = re.search(rb'"(?:reason|finish_reason|stopReason)": ?"(\w+)"', one.body)
    return None if found is None else found[1].decode()


def client_tools(one: Interaction) -> int:
    """The index counts tools that the provider runs itself, too; the client never sees a call of these."""
    if one.row["api"] == "openai.responses" and re.search(
        rb'"type": ?"[a-z_]+_search_call|mcp_call|code_inter', one.body
    ):
        return len(set(re.findall(rb'"id": ?"(fc_\w+)"', one.body)))
    served = len(re.findall(rb'"type":\s*"server_tool_use"', one.body))
    old = one.row["finish"] == "function_call"  # what there was before there were tools
    counted: int = one.row["tool_calls"]
    return counted - served + int(old)


# Where we say something else than the index, and why. Anything that is not here is a defect.
IMPORTED = {"resp_model": "/opt/ml/model", "truncated": True}
NOVA = {"finish": "end_turn"}
EXCEPTIONS: dict[str, Mapping[str, object]] = {
    # Gemini's compatible endpoint leaves thinking out of completion_tokens, and bills it: total - prompt_tokens.
    "pydantic__pydantic-ai/gemini/test_openai__test_compatible_api_with_tool_calls_without_id.yaml#0": {"output": 74},
    "pydantic__pydantic-ai/gemini/test_openai__test_compatible_api_with_tool_calls_without_id.yaml#1": {"output": 34},
    # OpenRouter counts the same 2161 tokens as read and as written, of 2168: such a split is dropped.
    "pydantic__pydantic-ai/openrouter/test_cache__test_openrouter_cache_instructions_gemini_real_api.yaml#0": {
        "cached": None,
        "cache_write": None,
        "doubts": ("4322 cached tokens of 2168 input tokens",),
    },
    # More reasoning than output cannot be true, so it is dropped.
    "pydantic__pydantic-ai/openrouter/test_openrouter__test_openrouter_stream_error.yaml#0": {
        "reasoning": None,
        "doubts": ("11 reasoning tokens of 10 output tokens",),
    },
    # The profile's name does not say that it embeds; the answer does, and an embedding has no output.
    "pydantic__pydantic-ai/bedrock/test_embeddings__TestBedrock.test_inference_profile_embed.yaml#0": {
        "output": 0,
        "total": 5,
    },
    # Stated in the body, which is of a vendor, or of a method, that the index does not read.
    "pydantic__pydantic-ai/vertex/test_embeddings__TestGoogle.test_vertex_query.yaml#0": {
        "usage": True,
        "input": 4,
        "output": 0,
        "total": 4,
    },
    "traceloop__openllmetry/bedrock/test_imported_model__test_imported_model_completion.yaml#0": IMPORTED,
    "traceloop__openllmetry/bedrock/test_imported_model__test_imported_model_completion_with_events_with_no_content"
    ".yaml#0": IMPORTED,
    "traceloop__openllmetry/bedrock/test_nova__test_nova_invoke_stream_with_events_with_content.yaml#0": NOVA,
    "traceloop__openllmetry/bedrock/test_nova__test_nova_invoke_stream_with_events_with_no_content.yaml#0": NOVA,
}


FILES = sorted(cassettes.rows())


@pytest.mark.parametrize("file", FILES, ids=FILES)
def test_a_recording_is_read_as_the_index_reads_it(file: str) -> None:
    """Who was asked for what, how it ended, and what it took, for every interaction of the file."""
    for one in cassettes.interactions(file):
        assert read(one.key) == {**stated(one), **EXCEPTIONS.get(one.key, {})}, one.key


def test_the_score(capsys: pytest.CaptureFixture[str]) -> None:
    """Every interaction of every API; the table is printed."""
    seen: Counter[str] = Counter()
    agreed: Counter[str] = Counter()
    for one in cassettes.every():
        seen[one.row["api"]] += 1
        agreed[one.row["api"]] += read(one.key) == {**stated(one), **EXCEPTIONS.get(one.key, {})}
    lines = [f"  {api:26}{agreed[api]:5} of {seen[api]:4}" for api in sorted(seen)]
    lines.append(f"  {'all':26}{agreed.total():5} of {seen.total():4}, {len(EXCEPTIONS)} with a named exception")
    with capsys.disabled():
        sys.stdout.write("\n".join(["\n\nread as the index reads it", *lines, ""]))
    assert agreed == seen
    assert seen.total() > 900


@pytest.mark.parametrize("key", EXCEPTIONS, ids=list(EXCEPTIONS))
def test_no_exception_is_out_of_date(key: str) -> None:
    """Each names an interaction that is there, and only what the index says otherwise."""
    [one] = [one for one in cassettes.interactions(key.partition("#")[0]) if one.key == key]
    said = stated(one)
    assert [name for name, value in EXCEPTIONS[key].items() if said[name] == value] == []


def test_exceptions_are_few() -> None:
    """More than ten would be a dialect that is wrong."""
    assert len(EXCEPTIONS) <= 10
