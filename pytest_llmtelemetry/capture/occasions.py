"""What an answer is the occasion of: the events beside the request's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pytest_llmtelemetry.capture.answer import Answer
from pytest_llmtelemetry.facts import CallFacts, FinishReason, RequestFacts
from pytest_llmtelemetry.telemetry.names import RATE_LIMIT, RESPONSE_TRUNCATED, TOOL, WINDOW_EXCEEDED


Occasion = tuple[str, dict[str, Any], dict[str, Any]]
"""An event, its measurements, and its own metadata."""


def occasions(facts: CallFacts, asked: RequestFacts, answer: Answer | None) -> Iterator[Occasion]:
    """A rate limit, a prompt that does not fit, tools that the model asks for, an answer that was cut."""
    if answer is not None and answer.status == _TOO_MANY_REQUESTS:
        yield RATE_LIMIT, {"retry_after_s": facts.retry_after_s or retry_after_s(answer.headers)}, {}
    if (overflow := facts.overflow) is not None:
        sizes = {"tokens": overflow.tokens, "max_tokens": overflow.max_tokens, "exceeded_by": overflow.exceeded_by}
        yield WINDOW_EXCEEDED, sizes, {}
    for call in facts.tool_calls:
        yield TOOL, {"arguments_bytes": len(call.arguments.encode("utf-8", "surrogatepass"))}, {"tool": call.name}
    if facts.finish_reason is FinishReason.LENGTH:
        output = None if facts.usage is None else facts.usage.output_tokens
        about = {"model": facts.model or asked.model, "finish_reason": facts.finish_reason}
        yield RESPONSE_TRUNCATED, {"output_tokens": output, "max_tokens": asked.max_tokens}, about


_TOO_MANY_REQUESTS = 429


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The wait that a provider asks for: in milliseconds, in seconds, or until a date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) * unit
        except ValueError:
            continue
        return seconds if 0 <= seconds < _LONGEST_WAIT_S else None
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - a large package, for a rare header

    try:
        until = parsedate_to_datetime(headers.get("retry-after", ""))
    except (TypeError, ValueError):
        return None
    return max(0.0, (until.astimezone(UTC) - datetime.now(UTC)).total_seconds())


_LONGEST_WAIT_S = 10**9
