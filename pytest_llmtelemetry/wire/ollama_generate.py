"""Ollama completions: ``POST */api/generate``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmtelemetry.facts import ToolCall
from pytest_llmtelemetry.wire.jsontext import text
from pytest_llmtelemetry.wire.ollama_words import Line, OllamaDialect, tool_objects


class OllamaGenerate(OllamaDialect):
    """The dialect of prompts without a conversation."""

    api = "ollama.generate"
    operation = "completion"
    path = re.compile(r"(?:.*/)?api/generate/?")

    def fits(self, body: Mapping[str, Any]) -> bool:
        return text(body.get("model")) is not None and text(body.get("prompt")) is not None

    def said(self, words: str, *, thinking: str = "", calls: Sequence[ToolCall] = ()) -> Line:
        line: Line = {"response": words}
        if thinking:
            line["thinking"] = thinking
        if calls:
            line["tool_calls"] = tool_objects(calls)
        return line
