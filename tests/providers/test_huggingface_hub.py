"""The SDK ``huggingface_hub``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from chats import ChatSuite
from pytest_llmtelemetry.wire.dialect import Failure


huggingface_hub: Any = pytest.importorskip("huggingface_hub")
failures: Any = pytest.importorskip("huggingface_hub.errors")


class TestChat(ChatSuite):
    """``chat.completions`` of the inference clients."""

    provider_name = "huggingface"
    usage: ClassVar[Any] = MappingProxyType({"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200})
    """Its types know no more."""
    errors: ClassVar[Any] = MappingProxyType(
        {
            Failure.BAD_REQUEST: (failures.BadRequestError, 400),
            Failure.AUTH: (failures.HfHubHTTPError, 401),
            Failure.NOT_FOUND: (failures.HfHubHTTPError, 404),
            Failure.CONTEXT_WINDOW: (failures.BadRequestError, 400),
            Failure.RATE_LIMIT: (failures.HfHubHTTPError, 429),
            Failure.SERVER_ERROR: (failures.HfHubHTTPError, 500),
            Failure.OVERLOADED: (failures.HfHubHTTPError, 503),
        }
    )
    broken = failures.UnknownError
    attempts = 1
    wish: ClassVar[Mapping[str, Any]] = MappingProxyType({"stream": True, "stream_options": {"include_usage": True}})

    def make(self, kind: str, url: str) -> Any:
        clients = {"sync": huggingface_hub.InferenceClient, "async": huggingface_hub.AsyncInferenceClient}
        return clients[kind](base_url=url, api_key="hf-test")

    def create(self, client: Any, *, stream: bool) -> Any:
        return client.chat.completions.create

    def status(self, error: Any) -> int:
        return int(error.response.status_code)
