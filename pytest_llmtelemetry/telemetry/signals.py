"""Things that happen at one moment: retries, rate limits, circuit breakers, tool calls, costs above a threshold.

Provider and model need not be repeated inside a span that states them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast

from pytest_llmtelemetry.money import MONEY
from pytest_llmtelemetry.redaction import scrub
from pytest_llmtelemetry.telemetry import bus
from pytest_llmtelemetry.telemetry.instrument import size_of
from pytest_llmtelemetry.telemetry.names import APPLICATION, RATE_LIMIT, RETRY, THRESHOLD, TOOL
from pytest_llmtelemetry.telemetry.results import amount
from pytest_llmtelemetry.telemetry.spans import current_span


CIRCUIT = "llm.circuit_breaker.state.changed"

Money = Decimal | int | float | str


def retry_attempt(attempt: int, *, delay_s: float | None = None, reason: object = None, **metadata: Any) -> None:
    """A request is tried again: ``llm.retry.attempt``.

    Args:
        attempt: 2 for the first retry.
        delay_s: the wait before it.
        reason: a word, or the exception that made it necessary, of which the type is kept.

    >>> retry_attempt(2, delay_s=0.5, reason=TimeoutError(), provider="openai")
    """
    waited = {} if delay_s is None else {"delay_s": delay_s}
    bus.execute(RETRY, {"attempt": attempt, **waited}, here({**metadata, "reason": _word(reason)}))


def rate_limit_hit(provider: str | None = None, *, retry_after_s: float | None = None, **metadata: Any) -> None:
    """A provider says that it is asked too often: ``llm.rate_limit.hit``.

    Args:
        retry_after_s: the wait that it asks for, in seconds.
    """
    bus.execute(RATE_LIMIT, {"retry_after_s": retry_after_s}, here({**metadata, "provider": provider}))


def circuit_breaker_state_changed(
    circuit: str, old_state: str, new_state: str, *, reason: object = None, **metadata: Any
) -> None:
    """A circuit breaker opens, half-opens or closes: ``llm.circuit_breaker.state.changed``.

    Args:
        old_state, new_state: ``closed``, ``open`` or ``half_open``.

    >>> circuit_breaker_state_changed("openai", "closed", "open", reason="5 failures")
    """
    states = {"circuit": circuit, "old_state": old_state, "new_state": new_state}
    bus.execute(CIRCUIT, {}, _stated({**metadata, **states, "reason": _word(reason)}))


def tool_call(tool: str, arguments: object = None, **metadata: Any) -> None:
    """A model asks for a tool: ``llm.tool.call``. The arguments are measured, not kept.

    To time the tool itself, put a span of your own around it: ``with span("app.tool.search"):``.

    Args:
        arguments: JSON text as the model wrote it, or a mapping.

    >>> tool_call("search", '{"q": "x"}')
    """
    try:
        if isinstance(arguments, Mapping):
            arguments = json.dumps(dict(arguments), default=str, ensure_ascii=False)
    except Exception:  # noqa: BLE001 - values of the application's own, of which only the size is wanted
        arguments = None
    bus.execute(TOOL, {"arguments_bytes": size_of(arguments)}, here({**metadata, "tool": tool}))


def check_cost_threshold(cost: Money | None, threshold: Money, *, scope: str = "call") -> bool | None:
    """Emit ``llm.cost.threshold.exceeded`` if a cost is above its threshold.

    Args:
        cost: in USD; ``None`` if nobody knows it.
        threshold: in USD; exactly equal is within.
        scope: what the cost is of, such as ``call`` or ``session``.

    Returns:
        True if it is above, ``None`` if that cannot be said.

    >>> check_cost_threshold(0.0036, "0.01"), check_cost_threshold("0.02", "0.01"), check_cost_threshold(None, 1)
    (False, True, None)
    """
    spent, allowed = amount(cost), amount(threshold)
    if spent is None or allowed is None:
        return None
    if spent <= allowed:
        return False
    bus.execute(
        THRESHOLD,
        {"cost_usd": spent, "threshold_usd": allowed, "exceeded_by_usd": MONEY.subtract(spent, allowed)},
        {"scope": scope},
    )
    return True


def _word(reason: object) -> object:
    kind = type(reason)  # not what it says: an object of the application's may raise when it is asked
    if issubclass(kind, BaseException):
        return bus.qualified_name(cast("BaseException", reason))
    return scrub(str(reason)) if issubclass(kind, str) else reason


def here(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What is stated; of provider and model, if they are not, what the spans around say; and which span that is."""
    stated = _stated(metadata) | {"source": APPLICATION}
    around = current_span()
    if around is None:
        return stated
    for span in (around, *around.ancestors):
        for key in ("provider", "model"):
            if key not in stated and span.metadata.get(key) is not None:
                stated[key] = span.metadata[key]
    return stated | around.ids


def _stated(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if value is not None}
