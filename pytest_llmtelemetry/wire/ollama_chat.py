"""Ollama chat: ``POST */api/chat``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmtelemetry.facts import ToolCall
from pytest_llmtelemetry.wire.jsontext import text
from pytest_llmtelemetry.wire.ollama_words import Line, OllamaDialect, tool_objects


class OllamaChat(OllamaDialect):
    """The dialect of Ollama's own chat; it also speaks OpenAI's."""

    api = "ollama.chat"
    operation = "chat"
    path = re.compile(r"(?:.*/)?api/chat/?")

    def fits(self, body: Mapping[str, Any]) -> bool:
        messages = body.get("messages")
        if text(body.get("model")) is None or not isinstance(messages, list) or not messages:
            return False
        return all(map(_is_message, messages))

    def said(self, words: str, *, thinking: str = "", calls: Sequence[ToolCall] = ()) -> Line:
        message: Line = {"role": "assistant", "content": words}
        if thinking:
            message["thinking"] = thinking
        if calls:
            message["tool_calls"] = tool_objects(calls)
        return {"message": message}


def _is_message(message: object) -> bool:
    """Web applications have an ``api/chat`` of their own, with messages of ``parts``, or with ids."""
    if not isinstance(message, dict) or "parts" in message or "id" in message:
        return False
    return isinstance(message.get("role"), str) and isinstance(message.get("content", ""), str)
