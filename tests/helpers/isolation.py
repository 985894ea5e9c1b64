"""Fixtures for tests of the core, alone: the session around them does not listen, and nothing that they leave stays."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from pytest_llmtelemetry.plugin.session import SESSION
from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import accounting, bus


@pytest.fixture(autouse=True)
def alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Pause the session that runs these tests: the calls that they make up must not be in its report."""
    session = request.config.stash[SESSION]
    session.settle()
    session.pause()
    undo_pricer = accounting.set_pricer(None)
    attachments, taps = bus._attachments, bus._taps
    try:
        yield
    finally:
        accounting.settle()
        undo_pricer()
        bus._set_attachments(attachments)
        bus._taps = taps
        session.resume()


@pytest.fixture
def heard() -> Iterator[list[Event]]:
    """Every event of the test, as the bus told it."""
    events: list[Event] = []

    def hear(name: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], place: int) -> None:
        events.append(Event(name=name, measurements=dict(measurements), metadata=dict(metadata), place=place))

    untap = bus.tap(hear)
    try:
        yield events
    finally:
        untap()


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads take turns often, so that races are met."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
