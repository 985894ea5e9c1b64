"""What Cohere's APIs have in common: usage, finish reasons and failures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pytest_llmtelemetry.facts import CallFacts, FinishReason, Overflow, Usage
from pytest_llmtelemetry.wire import dialect
from pytest_llmtelemetry.wire.dialect import Failure, Fault, WireAnswer, answer_of
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.jsontext import Counts, dump, text


FINISH_REASONS: Mapping[str, FinishReason] = {
    "COMPLETE": FinishReason.STOP,
    "STOP_SEQUENCE": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "ERROR_LIMIT": FinishReason.LENGTH,  # the context window is full
    "TOOL_CALL": FinishReason.TOOL_CALLS,
    "ERROR_TOXIC": FinishReason.CONTENT_FILTER,
    "ERROR": FinishReason.ERROR,
    "TIMEOUT": FinishReason.ERROR,
    "USER_CANCEL": FinishReason.ERROR,
}
# For what Cohere has no word.
_NEAREST = {FinishReason.REFUSAL: "COMPLETE", FinishReason.UNKNOWN: "COMPLETE"}


def finish_word(facts: CallFacts) -> str | None:
    """Why the model stopped, in Cohere's word."""
    return dialect.finish_word(facts, FINISH_REASONS, _NEAREST)


# -- usage -----------------------------------------------------------------------------------

# Where each count stands in ``usage``, or in the ``meta`` of version 1.
_PLACES: Mapping[str, tuple[str, ...]] = {
    "input_tokens": ("tokens", "input_tokens"),
    "output_tokens": ("tokens", "output_tokens"),
    "reasoning_tokens": ("tokens", "reasoning_tokens"),
    "input_image_tokens": ("tokens", "image_tokens"),
    "billed_input_tokens": ("billed_units", "input_tokens"),
    "billed_output_tokens": ("billed_units", "output_tokens"),
    "cache_read_tokens": ("cached_tokens",),
}


def read_usage(source: Mapping[str, Any]) -> Usage | None:
    """Read what a chat took, and what of it is billed: less, because Cohere's own preamble is free."""
    count = Counts(source)
    counts = {name: count(*place) for name, place in _PLACES.items()}
    if not count.doubts and all(value is None for value in counts.values()):
        return None
    return Usage.checked(doubts=count.doubts, **counts)


def usage_object(usage: Usage) -> dict[str, Any]:
    """The same, written."""
    written: dict[str, Any] = {}
    for name, (*outer, inner) in _PLACES.items():
        value = getattr(usage, name)
        if value is not None:
            (written.setdefault(outer[0], {}) if outer else written)[inner] = value
    return written


# -- failures --------------------------------------------------------------------------------

_OVER = re.compile(r"size limit exceeded by (\d{1,12}) tokens")
_WINDOW = re.compile(r"limit for this model is (\d{1,12}) tokens")
_BOTH = re.compile(r"cannot exceed (\d{1,12}) - received (\d{1,12})")
_TOO_MANY = "TOO_MANY_TOKENS"


def take_error(draft: Draft, document: Mapping[str, Any]) -> bool:
    """Read what a document says went wrong; false if it is an answer, whose ``message`` is an object."""
    message = document.get("message")
    # The last event of a stream says it under another name; gateways have an object there.
    failure = message if isinstance(message, str) else document.get("error")
    if failure is None:
        return False
    draft.fail(text(document.get("error_type")))
    draft.overflow = _read_overflow(draft.error, failure if isinstance(failure, str) else "")
    return True


def _read_overflow(error: str | None, message: str) -> Overflow | None:
    if error != _TOO_MANY and not message.startswith("too many tokens"):
        return None
    if "maximum output" in message:  # max_tokens is too large, not the prompt
        return None
    if both := _BOTH.search(message):
        return Overflow(tokens=int(both[2]), max_tokens=int(both[1]))
    over, window = _OVER.search(message), _WINDOW.search(message)
    if window is None:
        return Overflow()
    size = int(window[1])
    return Overflow(tokens=size + int(over[1]) if over else None, max_tokens=size)


# Status and message.
_FAILURES: Mapping[Failure, tuple[int, str]] = {
    Failure.BAD_REQUEST: (400, "invalid request: a parameter has a value that is not allowed."),
    Failure.AUTH: (401, "invalid api token"),
    Failure.NOT_FOUND: (404, "model not found, make sure the correct model ID was used."),
    Failure.CONTEXT_WINDOW: (
        400,
        "too many tokens: size limit exceeded by {over} tokens. The limit for this model is {max_tokens} tokens.",
    ),
    Failure.RATE_LIMIT: (429, "Please wait and try again later"),
    Failure.SERVER_ERROR: (500, "internal server error"),
    Failure.OVERLOADED: (503, "Too many users trying to access the service at the same time."),
}
_ERROR_ID = "00000000-0000-4000-8000-000000000000"


def write_error(fault: Fault) -> WireAnswer:
    """Write a failure with its status."""
    document = {"id": _ERROR_ID, "message": error_message(fault), **error_type(fault)}
    return answer_of(dump(document).encode(), status=_FAILURES[fault.kind][0], headers=fault.retry_headers())


def error_message(fault: Fault) -> str:
    """What Cohere says of it."""
    return _FAILURES[fault.kind][1].format(over=fault.tokens - fault.max_tokens, max_tokens=fault.max_tokens)


def error_type(fault: Fault) -> dict[str, str]:
    """The one failure for which Cohere has a word, as the field that carries it."""
    return {"error_type": _TOO_MANY} if fault.kind is Failure.CONTEXT_WINDOW else {}
