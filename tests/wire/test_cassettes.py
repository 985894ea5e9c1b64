"""Real traffic of real providers, held against facts that others read from it.

The recordings lie beside the repository and are no part of it; without them this module
is skipped. Expected values come from their index, never from the code under test.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import random
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pytest_llmtelemetry.facts import CallFacts, FinishReason, Usage
from pytest_llmtelemetry.wire.dialect import Conversation, WireRequest
from pytest_llmtelemetry.wire.hosts import PROVIDERS, Hosts
from pytest_llmtelemetry.wire.registry import identify


ROOT = Path(__file__).parents[2].parent / "shared" / "cassettes"

if not (ROOT / "index.jsonl").is_file():
    pytest.skip("the recordings are not beside the repository", allow_module_level=True)
pytest.importorskip("yaml")

# The reader of the recordings leaves its files to the collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

Row = Mapping[str, Any]

OPENAI, ANTHROPIC = "openai.chat", "anthropic.messages"


def rows() -> dict[str, list[Row]]:
    """What the index says of the interactions of our two APIs, by file."""
    found: dict[str, list[Row]] = {}
    for line in (ROOT / "index.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["api"] in {OPENAI, ANTHROPIC} and "doubt" not in row:
            found.setdefault(row["file"], []).append(row)
    return found


ROWS = rows()


@functools.cache
def reader() -> Any:
    """The reader that comes with the recordings."""
    spec = importlib.util.spec_from_file_location("cassette_reader", ROOT / "read.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def interactions(file: str) -> Sequence[tuple[Row, Mapping[str, Any]]]:
    """Each row of ``file`` with what was recorded."""
    recorded = list(reader().load(str(ROOT / file)))
    return [(row, recorded[row["i"]]) for row in ROWS[file]]


# -- what we read --------------------------------------------------------------------------


def converse(recorded: Mapping[str, Any]) -> Conversation:
    """Identify a recorded request."""
    url = urlsplit(recorded["url"])
    request = WireRequest(
        method=recorded["method"],
        host=url.hostname or "",
        port=url.port or {"http": 80, "https": 443}[url.scheme],
        path=url.path,
        body=recorded["req"],
    )
    conversation = identify(request, Hosts())
    assert conversation is not None
    return conversation


def answer(conversation: Conversation, recorded: Mapping[str, Any]) -> CallFacts:
    """Read a recorded response: as a stream in uneven chunks if it is one."""
    body = recorded["resp"]
    if not recorded["ctype"].startswith("text/event-stream"):
        return conversation.dialect.read_response(body)
    stream = conversation.dialect.stream_reader()
    sizes = random.Random(len(body))
    while body:
        size = sizes.choice([1, 2, 3, 17, 200, 1000])
        stream.feed(body[:size])
        body = body[size:]
    return stream.close()


def read(recorded: Mapping[str, Any]) -> dict[str, object]:
    """What the package makes of an interaction, under the names of the index."""
    conversation = converse(recorded)
    facts = answer(conversation, recorded)
    usage = facts.usage or Usage()
    return {
        "api": conversation.dialect.api,
        "provider": conversation.facts.provider,
        "stream": conversation.facts.stream and recorded["status"] == 200,
        "req_model": conversation.facts.model,
        "resp_model": facts.model,
        "finish": facts.raw_finish_reason,
        "truncated": facts.finish_reason is FinishReason.LENGTH,
        "filtered": facts.finish_reason is FinishReason.CONTENT_FILTER,
        "terminated": facts.terminated,
        "usage": facts.usage is not None,
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "total": usage.total_tokens,
        "cached": usage.cache_read_tokens,
        "cache_write": usage.cache_write_tokens,
        "cache_write_1h": usage.cache_write_1h_tokens,
        "reasoning": usage.reasoning_tokens,
        "cost": facts.stated_cost_usd,
        "tool_calls": len(facts.tool_calls),
        "error": facts.error_type,
        "doubts": usage.doubts,
    }


# -- what the index says -------------------------------------------------------------------


def stated(row: Row, recorded: Mapping[str, Any]) -> dict[str, object]:
    """The same, from the index."""
    groq = row.get("usage_x_groq") or {}
    raw = row["usage_raw"] or groq
    asked = row["input"] if row["usage_raw"] else groq.get("prompt_tokens")
    produced = row["output"] if row["usage_raw"] else groq.get("completion_tokens")
    if row["api"] == ANTHROPIC and asked is not None:
        asked += (row["cached"] or 0) + (row["cache_write"] or 0)  # the index has the wire's input, which excludes them
    total = row["total"] if row["usage_raw"] else groq.get("total_tokens")
    if total is None and asked is not None and produced is not None:
        total = asked + produced
    return {
        "api": row["api"],
        "provider": row["provider"] if row["provider"] in PROVIDERS else "unknown",
        "stream": row["stream"],
        "req_model": row["req_model"],
        "resp_model": row["resp_model"],
        "finish": row["finish"],
        "truncated": "truncated" in row["tags"],
        "filtered": row["finish"] == "content_filter",
        "terminated": row["finish"] is not None or "[DONE]" in (row["events"] or ()),
        "usage": bool(raw),
        "input": asked,
        "output": produced,
        "total": total,
        "cached": row["cached"] if row["cached"] is not None else raw.get("num_cached_tokens"),  # Mistral's name
        "cache_write": row["cache_write"],
        "cache_write_1h": (raw.get("cache_creation") or {}).get("ephemeral_1h_input_tokens"),
        "reasoning": row["reasoning"],
        "cost": None if row["cost"] is None else Decimal(str(row["cost"])),
        "tool_calls": row["tool_calls"] - server_tools(recorded["resp"]),
        "error": error_word(row["error"]),
        "doubts": (),
    }


def server_tools(body: bytes) -> int:
    """Tools that Anthropic runs itself: the index counts them, the client never sees a call."""
    return len(re.findall(rb'"type":\s*"server_tool_use"', body))


def error_word(error: Any) -> str | None:
    """The provider's word for an error, where it has one."""
    if error is None:
        return None
    words = [error.get("code"), error.get("type"), "error"]
    return next(word for word in words if isinstance(word, str) and word)


# Where we say something else than the index, and why. Anything that is not here is a defect.
OLLAMA_AT_HOME = {"provider": "ollama"}
ADVISED = {"doubts": ("the tokens of advisor_message iterations are not counted",)}
DEVIATIONS: dict[str, Mapping[str, object]] = {
    # An advisor's tokens stand beside the counters of the answer, at the prices of another model.
    "pydantic__pydantic-ai/anthropic/test_anthropic__test_anthropic_advisor_tool.yaml#0": ADVISED,
    "pydantic__pydantic-ai/anthropic/test_anthropic__test_anthropic_advisor_tool_message_replay.yaml#0": ADVISED,
    "pydantic__pydantic-ai/anthropic/test_anthropic__test_anthropic_advisor_tool_redacted.yaml#0": ADVISED,
    "pydantic__pydantic-ai/anthropic/test_anthropic__test_anthropic_advisor_tool_stream.yaml#0": ADVISED,
    # Gemini's compatible endpoint leaves thinking out of completion_tokens, and bills it: total - prompt_tokens.
    "pydantic__pydantic-ai/gemini/test_openai__test_compatible_api_with_tool_calls_without_id.yaml#0": {"output": 74},
    "pydantic__pydantic-ai/gemini/test_openai__test_compatible_api_with_tool_calls_without_id.yaml#1": {"output": 34},
    # The index calls it "local"; port 11434 says what it is.
    "pydantic__pydantic-ai/local/test_ollama__test_ollama_local_native_output_uses_json_schema.yaml#0": OLLAMA_AT_HOME,
    # OpenRouter counts the same 2161 tokens as read and as written, of 2168: such a split is dropped.
    "pydantic__pydantic-ai/openrouter/test_cache__test_openrouter_cache_instructions_gemini_real_api.yaml#0": {
        "cached": None,
        "cache_write": None,
        "doubts": ("4322 cached tokens of 2168 input tokens",),
    },
    # The user's own key: what the provider bills to it is the cost, beside the gateway's fee of 0.
    "pydantic__pydantic-ai/openrouter/test_openrouter__test_openrouter_google_nested_schema.yaml#0": {
        "cost": Decimal("0.0003253")
    },
    "pydantic__pydantic-ai/openrouter/test_openrouter__test_openrouter_google_nested_schema.yaml#1": {
        "cost": Decimal("0.0002265")
    },
    # More reasoning than output cannot be true, so it is dropped.
    "pydantic__pydantic-ai/openrouter/test_openrouter__test_openrouter_stream_error.yaml#0": {
        "reasoning": None,
        "doubts": ("11 reasoning tokens of 10 output tokens",),
    },
}


FILES = sorted(ROWS)


@pytest.mark.parametrize("file", FILES, ids=FILES)
def test_a_recording_is_read_as_the_index_reads_it(file: str) -> None:
    """Who was asked for what, how it ended, and what it took, for every interaction of the file."""
    for row, recorded in interactions(file):
        key = f"{file}#{row['i']}"
        assert read(recorded) == {**stated(row, recorded), **DEVIATIONS.get(key, {})}, key


@pytest.mark.parametrize("key", DEVIATIONS, ids=list(DEVIATIONS))
def test_no_deviation_is_out_of_date(key: str) -> None:
    """Each names an interaction that is there, and only what the index says otherwise."""
    file, _, place = key.partition("#")
    [(row, recorded)] = [pair for pair in interactions(file) if pair[0]["i"] == int(place)]
    said = stated(row, recorded)
    assert [name for name, value in DEVIATIONS[key].items() if said[name] == value] == []


def test_both_apis_are_recorded() -> None:
    """The module does not pass because it found nothing."""
    apis = [row["api"] for file in FILES for row in ROWS[file]]
    assert (apis.count(OPENAI) > 300, apis.count(ANTHROPIC) > 50) == (True, True)
