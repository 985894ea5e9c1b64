"""An answer while it is being written, for a chat window. No tools, one question."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Sequence

from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from support_bot.settings import CUT, INSTRUCTIONS, MAX_OUTPUT_TOKENS, MODEL, async_client, client


def stream_answer(question: str) -> Generator[str, None, None]:
    """Yield the answer piece by piece. Closing the generator closes the connection."""
    with client.chat.completions.create(
        model=MODEL,
        messages=_messages(question),
        max_completion_tokens=MAX_OUTPUT_TOKENS,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        for chunk in stream:
            yield from _pieces(chunk)


async def astream_answer(question: str) -> AsyncGenerator[str, None]:
    """The same, without blocking the event loop."""
    async with await async_client.chat.completions.create(
        model=MODEL,
        messages=_messages(question),
        max_completion_tokens=MAX_OUTPUT_TOKENS,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        async for chunk in stream:
            for piece in _pieces(chunk):
                yield piece


def _messages(question: str) -> Sequence[ChatCompletionMessageParam]:
    return ({"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": question})


def _pieces(chunk: ChatCompletionChunk) -> Iterator[str]:
    for choice in chunk.choices:
        if choice.delta.content:
            yield choice.delta.content
        if choice.finish_reason == "length":
            yield CUT
