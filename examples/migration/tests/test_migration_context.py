"""Each strategy keeps what it says, for any conversation and any window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration import after, before
from migration.shared import Message, Model, PromptTooLongError, count_tokens
from pytest_llmtelemetry import telemetry


EXCEEDED, TRUNCATION = "llm.context.window.exceeded", "llm.context.truncation"


def messages_of(role: str, characters: int) -> Message:
    """A message of some length."""
    return {"role": role, "content": "x" * characters}


conversations = st.lists(
    st.builds(messages_of, st.sampled_from(["system", "user", "assistant"]), st.integers(0, 60)), max_size=8
)
windows = st.integers(0, 80)
both = pytest.mark.parametrize("app", [before, after], ids=["before", "after"])
each = pytest.mark.parametrize("strategy", sorted(before.STRATEGIES))
# The same examples in every run: its report is shown in the README.
at_leisure = settings(deadline=None, derandomize=True, max_examples=60)


def keep(app: Any, strategy: str, messages: Sequence[Message], window: int) -> list[int] | None:
    """The places of the messages that a strategy keeps, ``None`` if it cannot."""
    numbered = [dict(message, number=number) for number, message in enumerate(messages)]
    try:
        return [kept["number"] for kept in app.STRATEGIES[strategy](numbered, window)]
    except PromptTooLongError:
        return None


def must_keep(strategy: str, messages: Sequence[Message]) -> set[int]:
    """What a strategy promises to keep, besides the newest message."""
    system = {number for number, message in enumerate(messages) if message["role"] == "system"}
    users = [number for number, message in enumerate(messages) if message["role"] == "user"]
    return {"fifo": set(), "sliding_window": system, "keep_task": system | set(users[:1])}[strategy]


@both
@each
@at_leisure
@given(messages=conversations, window=windows)
def test_what_is_kept_fits_and_is_in_order(app: Any, strategy: str, messages: list[Message], window: int) -> None:
    """Some of the messages, as they were, and no more than the window holds."""
    kept = keep(app, strategy, messages, window)

    assert kept is None or (kept == sorted(kept) and count_tokens([messages[one] for one in kept]) <= window)


@both
@each
@at_leisure
@given(messages=conversations, window=windows)
def test_a_strategy_keeps_what_it_promises(app: Any, strategy: str, messages: list[Message], window: int) -> None:
    """All that it has to, and of the others the newest, without a gap."""
    kept = keep(app, strategy, messages, window)
    promised = must_keep(strategy, messages)
    others = [number for number in range(len(messages)) if number not in promised]

    if kept is not None:
        chosen = [number for number in kept if number not in promised]
        assert promised <= set(kept)
        assert chosen == others[len(others) - len(chosen) :]
        assert bool(chosen) == bool(others)


@both
@each
@at_leisure
@given(messages=conversations, window=windows)
def test_a_strategy_leaves_out_no_more_than_it_has_to(
    app: Any, strategy: str, messages: list[Message], window: int
) -> None:
    """The newest message that was left out would not have fitted; if it is all too long, so is what has to stay."""
    kept = keep(app, strategy, messages, window)
    promised = must_keep(strategy, messages)
    others = [number for number in range(len(messages)) if number not in promised]
    if kept is None:
        too_much = promised | set(others[-1:])
    else:
        left_out = [number for number in others if number not in kept]
        too_much = {*kept, *left_out[-1:]} if left_out else set()

    assert not too_much or count_tokens([messages[one] for one in too_much]) > window


@each
@settings(at_leisure, max_examples=15)
@given(messages=conversations, window=windows)
def test_a_prompt_that_does_not_fit_is_told_once(strategy: str, messages: list[Message], window: int) -> None:
    """One exceeded window and one truncation, with one end, of a prompt that is too long; nothing of one that fits."""
    told: list[tuple[str, Any, Any]] = []

    def hear(event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: object) -> None:
        told.append((event.rpartition(".")[2], measurements.get("exceeded_by"), measurements.get("tokens_removed")))

    events = [EXCEEDED, *(f"{TRUNCATION}.{step}" for step in ("start", "stop", "exception"))]
    tokens, model = count_tokens(messages), Model(provider="openai", name="gpt-6-luna", max_input_tokens=window)
    with telemetry.attached(events, hear):
        try:
            kept = after.ensure_fits(messages, model, strategy)
        except PromptTooLongError:
            end: tuple[str, Any, Any] = ("exception", None, None)
        else:
            end = ("stop", None, tokens - count_tokens(kept))

    too_long = [("exceeded", tokens - window, None), ("start", None, None), end]
    assert told == (too_long if tokens > window else [])
