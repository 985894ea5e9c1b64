"""Whose turn it is: the hooks around collection, the phases of tests, and fixtures."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmtelemetry.plugin.refusal import RefusedCall
from pytest_llmtelemetry.recording import owner as owners
from pytest_llmtelemetry.recording.owner import Owner
from pytest_llmtelemetry.recording.recorder import Key
from pytest_llmtelemetry.telemetry import accounting, bus


if TYPE_CHECKING:
    from pytest_llmtelemetry.plugin.session import SessionPlugin

Wrapper = Generator[None, Any, Any]


class Turns:
    """Tells the parts of a session who is at work, and settles at the end of each turn."""

    def __init__(self, session: SessionPlugin) -> None:
        self._session = session
        self._of_fixtures: dict[pytest.FixtureDef[Any], list[bus.Attachment]] = {}

    @pytest.hookimpl(wrapper=True)  # not first: pytest's own wrapper around it shows the warnings
    def pytest_collection(self) -> Wrapper:
        """Imports have an owner too."""
        try:
            with _at_work(Owner(phase="collection")):
                return (yield)
        finally:
            self._session.outside_of_tests(self._session.settle_between)
            self._session.inspector.mention()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Wrapper:
        """A test begins."""
        self._session.inspector.mention()  # what other plugins did since the last one is not its own
        self._session.recorder.begin(key_of(item))
        self._session.handlers.begin_test()
        return (yield from self._phase(item, "setup"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Wrapper:
        """The test runs."""
        return (yield from self._phase(item, "call"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Wrapper:
        """The test ends, and with it the streams that it left open."""
        key = key_of(item)
        try:
            return (yield from self._phase(item, "teardown"))
        finally:
            self._session.recorder.end(key)
            accounting.forget(key)
            self._session.handlers.end_test()

    def _phase(self, item: pytest.Item, phase: str) -> Wrapper:
        """Run a phase of a test. A refusal that was swallowed fails it all the same."""
        passed = False
        try:
            with _at_work(Owner(nodeid=item.nodeid, phase=phase, attempt=attempt_of(item))):
                try:
                    result = yield
                except BaseExceptionGroup as group:
                    if group.split(RefusedCall)[1] is None:  # a TaskGroup wraps even a refusal, once for each task
                        raise RefusedCall((self._session.refusals or [str(group)])[0]) from None
                    raise
                finally:
                    self._settle_phase(item, phase)
            passed = not getattr(item, "_excinfo", None)  # of unittest, which keeps it for the report
        finally:
            refusals = self._session.take_refusals()
            if refusals or not passed:
                self._session.inspector.mention(item)
        if refusals:
            raise RefusedCall(refusals[0])
        self._session.inspector.judge(item)
        return result

    def _settle_phase(self, item: pytest.Item, phase: str) -> None:
        if phase == "teardown":
            self._session.observer.flush(lambda exchange: exchange.owner.key == key_of(item))
        self._session.settle_between()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Wrapper:
        """A fixture wider than a test belongs to the session, not to the test that happened to be first."""
        name, scope = fixturedef.argname, fixturedef.scope
        if scope == "function":
            with _at_work(replace(owners.current(), fixture=name, scope=scope)):
                return (yield)
        owner = Owner(fixture=name, scope=scope)
        before: list[Owner] = []
        # pytest-rerunfailures sets up again what failed, without a tear-down.
        self._session.handlers.drop(self._of_fixtures.pop(fixturedef, ()))
        attached = self._of_fixtures[fixturedef] = []
        handlers = bus.attachments()

        def left() -> None:
            _leave(before)
            self._session.handlers.settle_fixture(handlers)
            self._session.handlers.drop(attached)
            self._of_fixtures.pop(fixturedef, None)

        def leaving() -> None:
            nonlocal handlers
            before.append(owners.swap(owner))
            # The test is over: what failed in it is back, for this fixture to detach.
            self._session.handlers.bring_back()
            handlers = bus.attachments()

        # Finalizers run last to first: the one that is added after set-up runs before the fixture's own.
        fixturedef.addfinalizer(left)
        try:
            with _at_work(owner):
                return (yield)
        finally:
            attached += self._session.handlers.settle_fixture(handlers)
            fixturedef.addfinalizer(leaving)


def attempt_of(item: pytest.Item) -> int:
    """How often a test was begun; pytest-rerunfailures counts."""
    count = getattr(item, "execution_count", 1)
    return count if isinstance(count, int) else 1


def key_of(item: pytest.Item) -> Key:
    """What the events of a test are kept under."""
    return (item.nodeid, attempt_of(item))


@contextmanager
def _at_work(owner: Owner) -> Iterator[None]:
    before = owners.swap(owner)
    try:
        yield
    finally:
        owners.swap(before)


def _leave(before: list[Owner]) -> None:
    if before:
        owners.swap(before.pop())
