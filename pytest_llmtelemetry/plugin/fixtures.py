"""The fixtures. What they need is imported when a test asks for them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from pytest_llmtelemetry.capture import httpx_seam
from pytest_llmtelemetry.capture.imports import STACKS
from pytest_llmtelemetry.errors import MockError, SettingError
from pytest_llmtelemetry.recording.log import EventLog
from pytest_llmtelemetry.telemetry.clock import FixedClock, set_clock


if TYPE_CHECKING:
    from pytest_llmtelemetry.mocking.mock import LLMMock
    from pytest_llmtelemetry.telemetry.testing import LLMTelemetry


@pytest.fixture
def llm_events(request: pytest.FixtureRequest) -> EventLog:
    """The events of this test: a live view, from before the fixture was asked for until the test's end."""
    from pytest_llmtelemetry.plugin.session import SESSION  # noqa: PLC0415 - the session names the fixtures
    from pytest_llmtelemetry.plugin.turns import key_of  # noqa: PLC0415

    return request.config.stash[SESSION].recorder.log(key_of(request.node))


@pytest.fixture
def llm_telemetry() -> Iterator[LLMTelemetry]:
    """The event bus for this test: handlers that undo themselves, and metrics that begin at zero."""
    from pytest_llmtelemetry.telemetry.testing import LLMTelemetry  # noqa: PLC0415 - imports metrics and catalogue

    with LLMTelemetry() as telemetry:
        yield telemetry


@pytest.fixture
def llm_clock() -> Iterator[FixedClock]:
    """A clock that stands still until ``llm_clock.advance(seconds)``, and span ids 1, 2, 3."""
    clock = FixedClock()
    undo = set_clock(clock)
    yield clock
    undo()


@pytest.fixture
def llm_mock(request: pytest.FixtureRequest) -> Iterator[LLMMock]:
    """Answers for the providers: ``llm_mock.openai.chat("Hi")``. No request leaves for a provider."""
    from pytest_llmtelemetry.mocking.mock import LLMMock  # noqa: PLC0415 - imports httpx and respx
    from pytest_llmtelemetry.plugin.session import SESSION  # noqa: PLC0415

    strict = _assert_all_called(request.node)
    session = request.config.stash[SESSION]
    for name in STACKS:
        if name in sys.modules and not httpx_seam.can_answer(sys.modules[name]):
            raise MockError(f"llm_mock cannot answer for this version of {name}: requests would reach the network")
    mock = LLMMock(session.refuse)
    responders = session.observer.responders
    responders.insert(0, mock.responder)
    failed_before = request.session.testsfailed
    yield mock
    responders.remove(mock.responder)
    unused = mock.unused()
    if unused and strict and request.session.testsfailed == failed_before:
        listing = "\n".join(f"  {line}" for line in unused)
        pytest.fail(
            f"llm_mock has answers that nobody asked for (@pytest.mark.llm_mock(assert_all_called=False) allows it):\n{listing}",
            pytrace=False,
        )


def _assert_all_called(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("llm_mock")
    if marker is None:
        return True
    unknown = sorted(marker.kwargs.keys() - {"assert_all_called"})
    if marker.args or unknown:
        given = repr(marker.args[0]) if marker.args else repr(unknown[0])
        raise SettingError(
            f"@pytest.mark.llm_mock of {item.nodeid}: {given} is not valid; give assert_all_called=True or False"
        )
    return bool(marker.kwargs.get("assert_all_called", True))
