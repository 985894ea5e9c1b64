"""The context window: a prompt that does not fit, and what is left out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from operator import index
from types import MappingProxyType
from typing import Any

from pytest_llmtelemetry.facts import Overflow
from pytest_llmtelemetry.telemetry import bus
from pytest_llmtelemetry.telemetry.instrument import Reading
from pytest_llmtelemetry.telemetry.names import CONTEXT_TRUNCATION, WINDOW_EXCEEDED
from pytest_llmtelemetry.telemetry.signals import here
from pytest_llmtelemetry.telemetry.spans import Span, SpanContext


Count = Callable[[Any], int]
"""Counts the tokens of messages."""


def instrument_context_truncation(
    messages: object = None, *, strategy: str, count_tokens: Count | None = None, **metadata: Any
) -> SpanContext:
    """A ``llm.context.truncation`` span, and no second ``.stop`` inside of it.

    Its result is the messages that are left: the return value as a decorator, or
    ``span.result`` in a ``with`` block. ``truncated`` in the ``.stop`` says whether anything
    was removed.

    Args:
        messages: what there was before; for a decorator also a function of the arguments of each
            call. If not given, it is the first argument of the call that is a list or a tuple.
        strategy: such as ``sliding_window``.
        count_tokens: counts the tokens of messages; without it, only messages are counted.

    >>> messages = ["one", "two", "three"]
    >>> with instrument_context_truncation(messages, strategy="sliding_window") as span:
    ...     span.result = messages[-2:]
    >>> span.measurements["messages_removed"], span.metadata["truncated"]
    (1, True)
    """
    return _Truncation(messages, count_tokens, {"strategy": strategy, **metadata})


def context_window_exceeded(
    tokens: int | None, max_tokens: int | None, *, provider: str | None = None, model: str | None = None
) -> None:
    """A prompt does not fit: ``llm.context.window.exceeded``. Emit it once, where it is found out.

    Args:
        tokens: of the prompt; ``None`` if nobody knows.
        max_tokens: of the window; ``None`` if nobody knows.

    >>> context_window_exceeded(130_000, 128_000, model="gpt-4o")
    """
    bus.execute(
        WINDOW_EXCEEDED,
        {
            "tokens": tokens,
            "max_tokens": max_tokens,
            "exceeded_by": Overflow(tokens=tokens, max_tokens=max_tokens).exceeded_by,
        },
        here({"provider": provider, "model": model}),
    )


class _Truncation(Reading):
    def __init__(self, messages: object, count_tokens: Count | None, metadata: Mapping[str, Any]) -> None:
        super().__init__(CONTEXT_TRUNCATION, metadata)
        self._messages = messages
        self._count = count_tokens

    def _begin(self, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] = MappingProxyType({})) -> Span:
        span = super()._begin(args, kwargs)
        messages = self._messages
        try:
            if callable(messages):
                messages = messages(*args, **kwargs)
            elif messages is None:
                messages = next((one for one in (*args, *kwargs.values()) if isinstance(one, list | tuple)), None)
            span.measurements |= self._sizes(messages, "before")
        except Exception as error:  # noqa: BLE001 - the messages are the application's
            bus.report_failure(f"the size before {CONTEXT_TRUNCATION}", error)
        return span

    def _read(self, span: Span) -> None:
        sizes = span.measurements
        # Set by hand is as good as counted here.
        span.measurements = sizes = self._sizes(span.result, "after") | sizes
        for what in ("messages", "tokens"):
            before, after = sizes.get(f"{what}_before"), sizes.get(f"{what}_after")
            if before is not None and after is not None:
                sizes.setdefault(f"{what}_removed", before - after)
        removed = [sizes[key] for key in ("messages_removed", "tokens_removed") if key in sizes]
        if removed:
            span.metadata.setdefault("truncated", any(count > 0 for count in removed))

    def _sizes(self, messages: object, when: str) -> dict[str, int]:
        if not isinstance(messages, Sized) or isinstance(messages, str | bytes | Mapping):
            return {}
        sizes = {f"messages_{when}": len(messages)}
        if self._count is not None:
            try:
                sizes[f"tokens_{when}"] = index(self._count(messages))
            except Exception as error:  # noqa: BLE001 - the counter is the application's
                bus.report_failure(f"the tokens {when} {CONTEXT_TRUNCATION}", error)
        return sizes
