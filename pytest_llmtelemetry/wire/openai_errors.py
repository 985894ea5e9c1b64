"""Failures in OpenAI's words, and in those of all who speak its APIs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pytest_llmtelemetry.facts import Overflow, RequestFacts
from pytest_llmtelemetry.wire.dialect import Failure, Fault, WireAnswer, answer_of
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.jsontext import dump, mapping, text


_WINDOW = re.compile(r"maximum context length (?:is|of) (\d{1,12})")
_PROMPT = re.compile(r"(?:resulted in|requested(?: about)?) (\d{1,12}) tokens")


def take_error(draft: Draft, document: Mapping[str, Any]) -> None:
    """Read what a document says went wrong, if it says so."""
    failure = document.get("error")
    if not failure and document.get("object") == "error":
        failure = document  # Mistral, vLLM
    if not failure and "detail" in document and "choices" not in document:
        draft.fail("error")  # Mistral's and Voyage's gateways, in FastAPI's words
        return
    if not failure:
        return
    error = mapping(failure) or document  # xAI: the message under "error", the code beside it
    draft.fail(text(error.get("code")) or text(error.get("type")))
    message = text(error.get("message")) or text(failure) or ""
    draft.overflow = _read_overflow(draft.error or "", message)


def _read_overflow(error: str, message: str) -> Overflow | None:
    """The code says so, or, of those who speak this API without OpenAI's codes, the sentence that all have copied."""
    window, prompt = _WINDOW.search(message), _PROMPT.search(message)
    if error != "context_length_exceeded" and window is None:
        return None
    return Overflow(tokens=int(prompt[1]) if prompt else None, max_tokens=int(window[1]) if window else None)


# Status, type, code, message.
_FAILURES: Mapping[Failure, tuple[int, str, str | None, str]] = {
    Failure.BAD_REQUEST: (400, "invalid_request_error", "invalid_value", "Invalid value in the request."),
    Failure.AUTH: (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    Failure.NOT_FOUND: (404, "invalid_request_error", "model_not_found", "The model does not exist."),
    Failure.CONTEXT_WINDOW: (
        400,
        "invalid_request_error",
        "context_length_exceeded",
        "This model's maximum context length is {max_tokens} tokens. However, your messages resulted in {tokens} tokens.",
    ),
    Failure.RATE_LIMIT: (429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    Failure.SERVER_ERROR: (500, "server_error", None, "The server had an error while processing your request."),
    Failure.OVERLOADED: (503, "server_error", None, "The engine is currently overloaded, please try again later."),
}


def write_error(fault: Fault, asked: RequestFacts) -> WireAnswer:
    """Write a failure with its status."""
    status, error = _FAILURES[fault.kind][0], error_object(fault, asked)
    return answer_of(dump({"error": error}).encode(), status=status, headers=fault.retry_headers())


def error_object(fault: Fault, asked: RequestFacts) -> dict[str, object]:
    """The failure itself, as it also stands inside a stream."""
    status, type_, code, message = _FAILURES[fault.kind]
    said = message.format(tokens=fault.tokens, max_tokens=fault.max_tokens)
    if asked.provider == "openrouter":  # its SDK reads no other
        return {"message": said, "code": status}
    return {"message": said, "type": type_, "param": None, "code": code}
