"""Map and reduce: summarise the parts of a document, then summarise the summaries."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

from anthropic import AsyncAnthropic
from anthropic.types import Message, TextBlockParam

from summariser.cache import SummaryCache
from summariser.chunks import split


MODEL = "claude-haiku-5-5"
MAX_OUTPUT_TOKENS = 400
CHUNK_CHARS = 8_000

MAP = "Summarise this part of a document:"
REDUCE = "Join these summaries of the parts of a document, in order, into one:"


class Summariser:
    """Summarises documents in one house style.

    Args:
        client: who is asked. Its own retries apply.
        style: how a summary should read. Every request begins with it, so the provider is
            asked to keep it in its prompt cache.
        cache: summaries that were made before; a new one if not given.
        chunk_chars: how much text goes into one request.
    """

    def __init__(
        self,
        client: AsyncAnthropic,
        *,
        style: str,
        cache: SummaryCache | None = None,
        chunk_chars: int = CHUNK_CHARS,
    ) -> None:
        self._client = client
        self._system: TextBlockParam = {"type": "text", "text": style, "cache_control": {"type": "ephemeral"}}
        self._cache = SummaryCache() if cache is None else cache
        self._chunk_chars = chunk_chars

    async def summarise(self, document: str) -> str:
        """Summarise ``document``; the summary of nothing is nothing."""
        chunks = split(document, self._chunk_chars)
        if not chunks:
            return ""
        parts = await self._map(chunks)
        return parts[0] if len(parts) == 1 else await self._ask(REDUCE, "\n\n".join(parts))

    async def _map(self, chunks: Sequence[str]) -> list[str]:
        first, *rest = chunks
        # Alone, ahead of the others: only an answered request leaves a prompt cache to read from.
        opening = await self._ask(MAP, first)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._ask(MAP, chunk)) for chunk in rest]
        return [opening, *(task.result() for task in tasks)]

    async def _ask(self, task: str, text: str) -> str:
        key = _key(MODEL, self._system["text"], task, text)
        if (known := self._cache.look_up(key)) is not None:
            return known
        message = await self._client.messages.create(
            model=MODEL,
            max_tokens=MAX_OUTPUT_TOKENS,
            system=[self._system],
            messages=[{"role": "user", "content": f"{task}\n\n{text}"}],
        )
        summary = _text(message)
        if message.stop_reason == "end_turn":  # one that was cut short may do for now, but not for ever
            self._cache.keep(key, summary)
        return summary


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _text(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")
