"""Makes a prompt fit: each strategy says what it keeps, and keeps it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

from migration.shared import Message, Model, PromptTooLongError, count_tokens
from pytest_llmtelemetry.telemetry import context_window_exceeded, instrument_context_truncation


Strategy = Callable[[Sequence[Message], int], list[Message]]


def ensure_fits(messages: Sequence[Message], model: Model, strategy: str) -> list[Message]:
    """The messages, or what a strategy keeps of them.

    Raises:
        PromptTooLongError: what has to be kept does not fit.
    """
    tokens, truncate = count_tokens(messages), STRATEGIES[strategy]
    if tokens <= model.max_input_tokens:
        return list(messages)
    context_window_exceeded(tokens, model.max_input_tokens, provider=model.provider, model=model.name)
    with instrument_context_truncation(messages, strategy=strategy, count_tokens=count_tokens) as span:
        span.result = kept = truncate(messages, model.max_input_tokens)
    return kept


def fifo(messages: Sequence[Message], max_tokens: int) -> list[Message]:
    """First in, first out: keeps the newest messages, whatever they are, and the newest of all in any case."""
    return _keep(messages, max_tokens, is_kept=lambda index: False)


def sliding_window(messages: Sequence[Message], max_tokens: int) -> list[Message]:
    """Keeps what the system says, and the newest of the others, the newest of all in any case."""
    return _keep(messages, max_tokens, is_kept=lambda index: messages[index]["role"] == "system")


def keep_task(messages: Sequence[Message], max_tokens: int) -> list[Message]:
    """Like ``sliding_window``, and keeps the first message of the user too: the task."""
    task = next((index for index, message in enumerate(messages) if message["role"] == "user"), None)
    return _keep(messages, max_tokens, is_kept=lambda index: messages[index]["role"] == "system" or index == task)


STRATEGIES: Mapping[str, Strategy] = {"fifo": fifo, "sliding_window": sliding_window, "keep_task": keep_task}


def _keep(messages: Sequence[Message], max_tokens: int, *, is_kept: Callable[[int], bool]) -> list[Message]:
    """Some messages, and as many of the newest others as fit."""
    kept = {index for index in range(len(messages)) if is_kept(index)}
    others = [index for index in reversed(range(len(messages))) if index not in kept]
    room = max_tokens - count_tokens([messages[index] for index in kept])
    sizes = accumulate(count_tokens([messages[index]]) for index in others)
    window = {index for index, size in zip(others, sizes, strict=True) if size <= room}
    if room < 0 or (others and not window):
        raise PromptTooLongError(f"not even what has to be kept fits into {max_tokens} tokens")
    return [message for index, message in enumerate(messages) if index in kept | window]
