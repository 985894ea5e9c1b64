"""What the tests of the summariser share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from anthropic import AsyncAnthropic, DefaultAsyncHttpxClient


@pytest.fixture
async def client() -> AsyncIterator[AsyncAnthropic]:
    """A real client; its key opens nothing, and its requests let other tasks run, as on a real network."""
    http_client = DefaultAsyncHttpxClient(event_hooks={"request": [_let_others_run]})
    async with AsyncAnthropic(api_key="not-a-key", http_client=http_client) as client:
        yield client


async def _let_others_run(_request: object) -> None:
    await asyncio.sleep(0)
