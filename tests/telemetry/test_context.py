"""The context window: one truncation is one span, and nothing removed is nothing truncated."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import bus, context_window_exceeded, instrument_context_truncation


MESSAGES = ["one", "two words", "three more words"]


def words(messages: list[str]) -> int:
    """Counts tokens."""
    return sum(len(message.split()) for message in messages)


def sizes_of(event: Event) -> dict[str, Any]:
    """Its measurements but the times."""
    return {key: value for key, value in event.measurements.items() if not key.endswith("_ns")}


def names(heard: list[Event]) -> list[str]:
    return [event.name.removeprefix("llm.context.truncation") for event in heard]


def test_truncation(heard: list[Event]) -> None:
    """What there was, what is left and what was removed, at the one and only stop."""
    with instrument_context_truncation(MESSAGES, strategy="newest", count_tokens=words, model="acme-1") as span:
        span.result = MESSAGES[-1:]
    assert names(heard) == [".start", ".stop"]
    assert sizes_of(heard[1]) == {
        "messages_before": 3,
        "messages_after": 1,
        "messages_removed": 2,
        "tokens_before": 6,
        "tokens_after": 3,
        "tokens_removed": 3,
    }
    about = {key: heard[1].metadata[key] for key in ("strategy", "truncated", "model", "success")}
    assert about == {"strategy": "newest", "truncated": True, "model": "acme-1", "success": True}


@pytest.mark.parametrize(
    ("left", "truncated"),
    [
        (MESSAGES, False),
        (["one", "two words", "three"], True),
        (["a summary of some", "very many words indeed", "now"], False),
        ([], True),
    ],
    ids=["all", "shorter", "longer", "none"],
)
def test_truncated_or_not(left: list[str], truncated: bool, heard: list[Event]) -> None:
    """Messages or tokens that are fewer were removed."""
    with instrument_context_truncation(MESSAGES, strategy="newest", count_tokens=words) as span:
        span.result = left
    assert heard[1]["truncated"] is truncated


class Manager:
    """An application's own."""

    def __len__(self) -> int:
        return 99

    @instrument_context_truncation(strategy="newest")
    def fit(self, messages: list[str], limit: int) -> list[str]:
        del messages[:-limit]
        return messages


@pytest.mark.parametrize(
    "fit",
    [lambda messages: Manager().fit(messages, 2), lambda messages: Manager().fit(limit=2, messages=messages)],
    ids=["by position", "by name"],
)
def test_method(fit: Callable[[list[str]], list[str]], heard: list[Event]) -> None:
    """The first list among the arguments is what there was, also if it is cut in place."""
    messages = list(MESSAGES)
    assert fit(messages) is messages
    assert sizes_of(heard[1]) == {"messages_before": 3, "messages_after": 2, "messages_removed": 1}


async def test_coroutine_with_messages_of_its_own(heard: list[Event]) -> None:
    """A function of the arguments finds what there was."""

    @instrument_context_truncation(lambda session: session["messages"], strategy="newest")
    async def fit(session: dict[str, list[str]]) -> deque[str]:
        return deque(session["messages"], maxlen=1)

    assert await fit({"messages": MESSAGES}) == deque(MESSAGES[-1:])
    assert sizes_of(heard[1]) == {"messages_before": 3, "messages_after": 1, "messages_removed": 2}


def test_exception(heard: list[Event]) -> None:
    """A strategy that raises ends the span once, with an exception."""
    with pytest.raises(ZeroDivisionError), instrument_context_truncation(MESSAGES, strategy="newest"):
        raise ZeroDivisionError
    assert names(heard) == [".start", ".exception"]


@pytest.mark.parametrize(
    ("result", "sizes"),
    [
        (None, {"messages_before": 3}),
        ("a text", {"messages_before": 3}),
        ({"messages": []}, {"messages_before": 3}),
        (7, {"messages_before": 3}),
    ],
    ids=["None", "text", "mapping", "number"],
)
def test_result_that_is_no_messages(result: object, sizes: dict[str, int], heard: list[Event]) -> None:
    """What is not a collection of messages is not measured, and nothing is claimed to be truncated."""
    with instrument_context_truncation(MESSAGES, strategy="newest") as span:
        span.result = result
    assert (sizes_of(heard[1]), "truncated" in heard[1]) == (sizes, False)


def test_what_is_set_by_hand_counts(heard: list[Event]) -> None:
    """The application may know better."""
    with instrument_context_truncation(MESSAGES, strategy="summary") as span:
        span.result = ["summary", *MESSAGES[-1:]]
        span.measurements["messages_removed"] = 2
    assert (heard[1]["messages_removed"], heard[1]["messages_after"], heard[1]["truncated"]) == (2, 2, True)


def broken(messages: object) -> int:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("counter", "error"),
    [(broken, "ZeroDivisionError"), (lambda messages: "many", "TypeError"), (lambda messages: 1.5, "TypeError")],
    ids=["raises", "text", "fraction"],
)
def test_counter_that_fails(counter: Any, error: str, heard: list[Event]) -> None:
    """Messages are still counted, the strategy's result is untouched, and the failure is told each time."""

    @instrument_context_truncation(strategy="newest", count_tokens=counter)
    def fit(messages: list[str]) -> list[str]:
        return messages[-1:]

    assert fit(MESSAGES) == MESSAGES[-1:]
    failures = [(event["where"], event["error_type"]) for event in heard if event.name == bus.INSTRUMENT_FAILURE]
    assert failures == [(f"the tokens {when} llm.context.truncation", error) for when in ("before", "after")]
    assert sizes_of(heard[-1]) == {"messages_before": 3, "messages_after": 1, "messages_removed": 2}
    assert heard[-1]["truncated"] is True


def test_messages_that_cannot_be_found(heard: list[Event]) -> None:
    """A function of the arguments that raises harms nothing."""
    fit = instrument_context_truncation(lambda *args: args[7], strategy="newest")(lambda messages: messages)
    assert fit(MESSAGES) is MESSAGES
    assert [event.name for event in heard] == [
        "llm.context.truncation.start",
        bus.INSTRUMENT_FAILURE,
        "llm.context.truncation.stop",
    ]


@pytest.mark.parametrize(
    ("tokens", "limit", "excess"),
    [(130_000, 128_000, 2_000), (None, 128_000, None), (130_000, None, None), (None, None, None)],
    ids=["both", "limit", "tokens", "neither"],
)
def test_window_exceeded(tokens: int | None, limit: int | None, excess: int | None, heard: list[Event]) -> None:
    """All three numbers are measurements; what nobody knows is None."""
    context_window_exceeded(tokens, limit, model="acme-1")
    (event,) = heard
    assert event.name == "llm.context.window.exceeded"
    assert event.measurements == {"tokens": tokens, "max_tokens": limit, "exceeded_by": excess}
    assert event.metadata == {"model": "acme-1", "source": "application"}
