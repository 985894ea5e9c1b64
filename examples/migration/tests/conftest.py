"""The application in both variants, and what it needs to run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import httpx
import pytest

from migration import after, before
from pytest_llmtelemetry import FixedClock


@pytest.fixture(params=[before, after], ids=["before", "after"])
def app(request: pytest.FixtureRequest) -> ModuleType:
    """Both variants, one after the other."""
    variant: ModuleType = request.param
    return variant


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    """A real client, as long-lived as in the application."""
    with httpx.Client() as client:
        yield client


@pytest.fixture
def build(http: httpx.Client, llm_clock: FixedClock) -> Callable[..., Any]:
    """Makes an assistant of a variant. Its waits take no time: the clock of the test advances instead."""

    def build(app: ModuleType, *, http: httpx.Client = http, **options: Any) -> Any:
        return app.Assistant(
            [app.OpenAI(http, api_key="not-a-key"), app.Anthropic(http, api_key="not-a-key")],
            clock=lambda: llm_clock.now_ns() / 1e9,
            sleep=llm_clock.advance,
            **options,
        )

    return build
