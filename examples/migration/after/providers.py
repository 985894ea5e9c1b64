"""One adapter for each provider: writes its request, and reads its answer into a ``Response``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from migration.shared import Message, Model, RejectedError, Response, Usage
from pytest_llmtelemetry.telemetry import instrument_provider

from .http_client import post_json


class OpenAI:
    """Chat completions."""

    name = "openai"
    url = "https://api.openai.com/v1/chat/completions"

    def __init__(self, http: httpx.Client, *, api_key: str) -> None:
        self._http = http
        self._headers = {"authorization": f"Bearer {api_key}"}

    def call(self, model: Model, messages: Sequence[Message]) -> Response:
        """Send one request."""
        body = {"model": model.name, "messages": messages, "max_completion_tokens": model.max_output_tokens}
        with instrument_provider(self.name, model.name, {"max_tokens": model.max_output_tokens}) as span:
            answer = post_json(self._http, self.name, self.url, body, self._headers)
            span.result = response = self._format(model, answer)
        return response

    def _format(self, model: Model, answer: dict[str, Any]) -> Response:
        try:
            choice, usage = answer["choices"][0], answer["usage"]
            return _response(
                model,
                answer,
                text=choice["message"]["content"] or "",
                finish_reason=choice["finish_reason"],
                usage=Usage(input_tokens=usage["prompt_tokens"], output_tokens=usage["completion_tokens"]),
            )
        except (KeyError, IndexError, TypeError) as error:
            raise RejectedError(f"{self.name} answered in another format") from error


class Anthropic:
    """Messages. What the system says is not one of them."""

    name = "anthropic"
    url = "https://api.anthropic.com/v1/messages"

    def __init__(self, http: httpx.Client, *, api_key: str) -> None:
        self._http = http
        self._headers = {"x-api-key": api_key, "anthropic-version": "2023-06-01"}

    def call(self, model: Model, messages: Sequence[Message]) -> Response:
        """Send one request."""
        system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
        body = {
            "model": model.name,
            "messages": [message for message in messages if message["role"] != "system"],
            "max_tokens": model.max_output_tokens,
            **({"system": system} if system else {}),
        }
        with instrument_provider(self.name, model.name, {"max_tokens": model.max_output_tokens}) as span:
            answer = post_json(self._http, self.name, self.url, body, self._headers)
            span.result = response = self._format(model, answer)
        return response

    def _format(self, model: Model, answer: dict[str, Any]) -> Response:
        try:
            usage = answer["usage"]
            return _response(
                model,
                answer,
                text="".join(block["text"] for block in answer["content"] if block["type"] == "text"),
                finish_reason=answer["stop_reason"],
                usage=Usage(input_tokens=usage["input_tokens"], output_tokens=usage["output_tokens"]),
            )
        except (KeyError, TypeError) as error:
            raise RejectedError(f"{self.name} answered in another format") from error


def _response(model: Model, answer: dict[str, Any], *, text: str, finish_reason: str | None, usage: Usage) -> Response:
    return Response(
        id=answer["id"],
        model=answer["model"],
        text=text,
        finish_reason=finish_reason,
        usage=usage,
        cost_usd=model.cost_usd(usage),
    )
