"""JSON over HTTP; what goes wrong becomes an error of the application, by status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx

from migration.shared import RateLimitedError, RejectedError, UnavailableError
from pytest_llmtelemetry.telemetry import instrument_http, rate_limit_hit


def post_json(
    http: httpx.Client, provider: str, url: str, body: Mapping[str, Any], headers: Mapping[str, str]
) -> dict[str, Any]:
    """Send ``body``, and return the answer.

    Raises:
        RateLimitedError: the status is 429.
        UnavailableError: the status is above, or there is no answer, or it is not JSON.
        RejectedError: any other status that is not a success.
    """
    content = json.dumps(body).encode()
    headers = {"content-type": "application/json", "accept": "application/json", **headers}
    try:
        with instrument_http("post", url, provider=provider, content=content) as span:
            span.result = response = http.post(url, content=content, headers=headers)
    except httpx.TransportError as error:
        raise UnavailableError(f"{provider} cannot be reached: {error}") from error
    return _read(provider, response)


def _read(provider: str, response: httpx.Response) -> dict[str, Any]:
    retry_after_s = _seconds(response.headers.get("retry-after", ""))
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        rate_limit_hit(provider, retry_after_s=retry_after_s)
        raise RateLimitedError(f"{provider} is asked too often", retry_after_s=retry_after_s)
    if response.is_server_error:
        raise UnavailableError(f"{provider} failed with {response.status_code}", retry_after_s=retry_after_s)
    if not response.is_success:
        raise RejectedError(f"{provider} says {response.status_code}")
    try:
        answer: dict[str, Any] = response.json()
    except ValueError as error:
        raise UnavailableError(f"{provider} did not answer in JSON") from error
    return answer


def _seconds(header: str) -> float | None:
    try:
        return max(0.0, float(header))
    except ValueError:
        return None
