"""Failures in the words of AWS: as an answer of their own, and inside a stream."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pytest_llmtelemetry.facts import Overflow
from pytest_llmtelemetry.wire import anthropic_messages
from pytest_llmtelemetry.wire.dialect import Failure, Fault, WireAnswer, answer_of
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.eventstream import EXCEPTION, encode_exception
from pytest_llmtelemetry.wire.jsontext import dump, text


_TYPE_HEADER = "x-amzn-errortype"

# What the models say of a prompt that is too long; AWS hands their words on.
_TITAN = re.compile(r"Max input tokens: (?P<max_tokens>\d{1,12}), request input token count: (?P<tokens>\d{1,12})")
_LLAMA = re.compile(r"maximum context length is (?P<max_tokens>\d{1,12}) tokens")
_UNCOUNTED = re.compile(r"[Ii]nput is too long|Input Tokens Exceeded|Too many input tokens")


def take_headers(draft: Draft, headers: Mapping[str, str]) -> None:
    """Read the word for what went wrong, which stands before a colon and an address."""
    if word := text(headers.get(_TYPE_HEADER, "").partition(":")[0]):
        draft.fail(word)


def take_error(draft: Draft, document: Mapping[str, Any]) -> None:
    """Read a body that holds a message and nothing that a model said, if this is one."""
    stated = text(document.get("__type"))
    message = text(document.get("message")) or text(document.get("Message"))
    if message is None and stated is None:
        return
    word = stated.rpartition("#")[2] if stated else None
    draft.fail(draft.error or word)
    draft.overflow = _read_overflow(message or "")


def take_exception(draft: Draft, document: Mapping[str, Any], event: str) -> bool:
    """Read an event of a stream that says what went wrong; false if it is none."""
    if not event.startswith(EXCEPTION):
        return False
    draft.fail(event.removeprefix(EXCEPTION))
    draft.overflow = _read_overflow(text(document.get("message")) or "")
    return True


def _read_overflow(message: str) -> Overflow | None:
    for pattern in (_TITAN, _LLAMA):
        if match := pattern.search(message):
            return Overflow(**{name: int(number) for name, number in match.groupdict().items()})
    return Overflow() if _UNCOUNTED.search(message) else anthropic_messages.read_overflow(message)


# Status, type, type inside a stream, message. A stream knows no failure of the request's own but the validation.
_FAILURES: Mapping[Failure, tuple[int, str, str, str]] = {
    Failure.BAD_REQUEST: (400, "ValidationException", "validationException", "The request is not valid."),
    Failure.AUTH: (
        403,
        "UnrecognizedClientException",
        "validationException",
        "The security token included in the request is invalid.",
    ),
    Failure.NOT_FOUND: (404, "ResourceNotFoundException", "validationException", "The model does not exist."),
    Failure.CONTEXT_WINDOW: (
        400,
        "ValidationException",
        "validationException",
        "The model returned the following errors: prompt is too long: {tokens} tokens > {max_tokens} maximum",
    ),
    Failure.RATE_LIMIT: (
        429,
        "ThrottlingException",
        "throttlingException",
        "Too many requests, please wait before trying again.",
    ),
    Failure.SERVER_ERROR: (
        500,
        "InternalServerException",
        "internalServerException",
        "The system encountered an unexpected error during processing.",
    ),
    Failure.OVERLOADED: (
        503,
        "ServiceUnavailableException",
        "serviceUnavailableException",
        "The service is unable to process the request.",
    ),
}


def write_error(fault: Fault) -> WireAnswer:
    """Write a failure with its status; its type stands in the headers."""
    status, word, _, _ = _FAILURES[fault.kind]
    headers = {_TYPE_HEADER: f"{word}:http://internal.amazon.com/coral/com.amazon.bedrock/", **fault.retry_headers()}
    return answer_of(_body(fault).encode(), status=status, headers=headers)


def write_exception(fault: Fault) -> bytes:
    """Write a failure as the last message of a stream."""
    return encode_exception(_FAILURES[fault.kind][2], _body(fault))


def _body(fault: Fault) -> str:
    message = _FAILURES[fault.kind][3]
    return dump({"message": message.format(tokens=fault.tokens, max_tokens=fault.max_tokens)})
