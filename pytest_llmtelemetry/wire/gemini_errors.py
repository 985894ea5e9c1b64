"""Failures in Google's words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pytest_llmtelemetry.facts import Overflow, RequestFacts
from pytest_llmtelemetry.wire.dialect import Failure, Fault, WireAnswer, answer_of
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.jsontext import count_of, dump, mapping, objects, text


JSON_MEDIA = "application/json; charset=UTF-8"
SSE_MEDIA = "text/event-stream"

# The Gemini API's sentence, which may leave out either number, and Vertex's.
_OVERFLOWS = (
    re.compile(
        r"input token count (?:\((?P<tokens>[0-9]{1,12})\) )?exceeds the maximum number of tokens allowed"
        r"(?: \(?(?P<window>[0-9]{1,12}))?"
    ),
    re.compile(r"input token count is (?P<tokens>[0-9]{1,12}) but .{0,40}only supports up to (?P<window>[0-9]{1,12})"),
)


def take_error(draft: Draft, document: Mapping[str, Any]) -> None:
    """Read what a document says went wrong, if it says so."""
    failure = document.get("error")
    if not failure:
        return
    error = mapping(failure)
    code = count_of(error.get("code"))
    draft.fail(text(error.get("status")) or (None if code is None else dump(code)) or text(failure))
    for detail in objects(error.get("details")):
        if (wait := _WAIT.fullmatch(text(detail.get("retryDelay")) or "")) is not None:
            draft.retry_after_s = float(wait[1])
    message = text(error.get("message")) or ""
    for sentence in _OVERFLOWS:
        if found := sentence.search(message):
            draft.overflow = Overflow(tokens=_number(found["tokens"]), max_tokens=_number(found["window"]))


_WAIT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s")


def _number(digits: str | None) -> int | None:
    return None if digits is None else int(digits)


# Code, status, message.
_FAILURES: Mapping[Failure, tuple[int, str, str]] = {
    Failure.BAD_REQUEST: (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    Failure.AUTH: (401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
    Failure.NOT_FOUND: (404, "NOT_FOUND", "The model is not found."),
    Failure.CONTEXT_WINDOW: (
        400,
        "INVALID_ARGUMENT",
        "The input token count ({tokens}) exceeds the maximum number of tokens allowed ({max_tokens}).",
    ),
    Failure.RATE_LIMIT: (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    Failure.SERVER_ERROR: (500, "INTERNAL", "An internal error has occurred."),
    Failure.OVERLOADED: (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
}
# The Gemini API takes a bad key for a bad argument; Vertex has no keys.
_BAD_KEY = (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")
_BAD_KEY_DETAIL = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "API_KEY_INVALID",
    "domain": "googleapis.com",
}


def write_error(fault: Fault, asked: RequestFacts) -> WireAnswer:
    """Write a failure with its status, framed as the request asked its answer to be."""
    document = error_document(fault, asked)
    status = _failure(fault, asked)[0]
    if asked.array:
        return answer_of(dump([document]).encode(), media=JSON_MEDIA, status=status)
    # A request for a stream is refused in plain JSON under the media type of the stream.
    media = SSE_MEDIA if asked.stream else JSON_MEDIA
    return answer_of(dump(document).encode(), media=media, status=status)


def error_document(fault: Fault, asked: RequestFacts) -> dict[str, object]:
    """The failure itself, as it also stands inside a stream."""
    code, status, message = _failure(fault, asked)
    said = message.format(tokens=fault.tokens, max_tokens=fault.max_tokens)
    error: dict[str, object] = {"code": code, "message": said, "status": status}
    details: list[dict[str, str]] = []
    if status == _BAD_KEY[1] and message == _BAD_KEY[2]:
        details.append(_BAD_KEY_DETAIL)
    if fault.retry_after_s is not None:
        # Google states the wait here, and in no header.
        wait = f"{fault.retry_after_s:.9f}".rstrip("0").rstrip(".")
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait}s"})
    return {"error": error | {"details": details} if details else error}


def _failure(fault: Fault, asked: RequestFacts) -> tuple[int, str, str]:
    if fault.kind is Failure.AUTH and asked.provider != "vertex":
        return _BAD_KEY
    return _FAILURES[fault.kind]
