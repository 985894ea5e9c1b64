"""One test session: wires the parts together, and tells them whose turn it is."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any, NoReturn

import pytest

from pytest_llmtelemetry.capture import blind
from pytest_llmtelemetry.capture import observer as observers
from pytest_llmtelemetry.capture.exchange import Exchange
from pytest_llmtelemetry.capture.imports import Watch
from pytest_llmtelemetry.capture.observer import Observer
from pytest_llmtelemetry.errors import LLMTelemetryWarning
from pytest_llmtelemetry.limits.ledger import UNSEEN, Ledger
from pytest_llmtelemetry.limits.verdict import over_budget
from pytest_llmtelemetry.plugin.handlers import HandlerScopes
from pytest_llmtelemetry.plugin.refusal import RefusedCall
from pytest_llmtelemetry.plugin.settings import Settings
from pytest_llmtelemetry.plugin.strict import Inspector
from pytest_llmtelemetry.plugin.xdist import is_controller, is_worker, send_to_controller
from pytest_llmtelemetry.pricing import PriceBook, untraced
from pytest_llmtelemetry.recording import owner as owners
from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.recording.owner import Owner
from pytest_llmtelemetry.recording.recorder import Key, Recorder
from pytest_llmtelemetry.report.summary import Summary, summarise
from pytest_llmtelemetry.telemetry import accounting, bus, dropped
from pytest_llmtelemetry.telemetry.names import COST_CALCULATED, THRESHOLD


Wrapper = Generator[None, Any, Any]

# Whoever has one of these imported is about to need prices.
_SDKS = frozenset(
    {"anthropic", "cohere", "google.genai", "groq", "litellm", "mistralai", "openai", "openrouter", "together"}
)

_running: list[SessionPlugin] = []


class SessionPlugin:
    """The hooks of a session, and what they share."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config = config
        self.settings = settings
        self.ledger = Ledger()
        self.complete = True
        """False if a worker was lost."""
        self.observer = Observer(settings.hosts, on_escape=self._escaped)
        self.recorder = Recorder(settle=self.settle, on_event=self._hear)
        self._book = PriceBook(overrides=settings.prices)
        self._blind = blind.BlindSpots(self.observer, on_contact=self._contacted)
        self._watch = Watch()
        self._undo: list[Callable[[], None]] = []
        self._untap: Callable[[], None] = lambda: None
        self._refusals: list[str] = []
        self._crossed = False
        self._handlers = HandlerScopes()
        self._of_fixtures: dict[pytest.FixtureDef[Any], list[bus.Attachment]] = {}
        self._inspector = Inspector(strict=settings.strict, on_failure=self._handlers.failed.add)
        self._faults_before = observers.faults

    # -- beginning and end -----------------------------------------------------------------

    def start(self) -> None:
        """Begin to watch. A session inside a test of another session takes over for its length."""
        if _running:
            _running[-1].pause()
        _running.append(self)
        self._undo = [
            observers.push(self.observer),
            accounting.set_pricer(self._book),
            accounting.set_owner(owners.current),
            blind.watch(self._blind),
        ]
        self.resume()
        self._watch.begin()

    def stop(self) -> None:
        """Take everything out again. Does nothing the second time."""
        if self not in _running:
            return
        self._outside_of_tests(self.settle)
        self._mention()
        self._handlers.end_test()  # an interrupted test has no tear-down
        self._watch.end()
        self.pause()
        for step in reversed(self._undo):
            step()
        accounting.forget(owners.SESSION.key)
        _running.remove(self)
        if _running:
            _running[-1].resume()

    def pause(self) -> None:
        """Stop to listen."""
        self._untap()

    def resume(self) -> None:
        """Listen again."""
        untap = ExitStack()
        untap.callback(self.recorder.install())
        untap.callback(bus.tap(self._inspector.hear))
        self._untap = untap.close

    def settle(self) -> None:
        """Emit what waits: dropped streams, and calls without a price."""
        self.observer.collect()
        dropped.collect()
        accounting.settle()

    def _settle_between(self) -> None:
        """Settle where only pytest is at work, so that a suite that measures itself does not pay for the loading."""
        self.observer.collect()
        dropped.collect()
        if accounting.is_waiting() and not self._book.ready:
            self._load_prices()
        self.settle()

    def _outside_of_tests(self, emit: Callable[[], None]) -> None:
        """Emit what waits where a handler that ends a test, as ``pytest.fail`` does, finds none to end."""
        while True:
            try:
                emit()
            except (pytest.fail.Exception, pytest.skip.Exception) as outcome:
                self._inspector.find(f"a handler ended a test where none was running: {outcome.msg}")
            else:
                return

    def _load_prices(self) -> None:
        with suppress(Exception), untraced():  # the first call to be priced says what is wrong
            self._book.load()

    # -- what the parts report -------------------------------------------------------------

    def refuse(self, message: str) -> NoReturn:
        """Refuse a request. It is remembered, in case the code under test swallows even this."""
        self._refusals.append(message)
        raise RefusedCall(message)

    def _hear(self, event: Event) -> None:
        self.ledger.hear(event)
        limits = self.settings.limits
        if event.name != COST_CALCULATED or self._crossed or limits.max_cost is None:
            return
        totals = self.ledger.totals
        excess = over_budget(limits, totals)
        if excess is not None:
            self._crossed = True
            bus.execute(
                THRESHOLD,
                {"cost_usd": totals.cost_usd, "threshold_usd": limits.max_cost, "exceeded_by_usd": excess},
                {"scope": "session"},
            )

    def _escaped(self, exchange: Exchange) -> None:
        self.refuse(
            f"{exchange.conversation.request} reached the network while llm_mock was active: "
            "its client brings a transport that cannot be mocked"
        )

    def _contacted(self, host: str, provider: str) -> None:
        self.ledger.blind[host] = provider
        if self.observer.responders:
            self.refuse(
                f"{host} ({provider}) was contacted through a stack that llm_mock cannot answer for; "
                "only httpx and httpx2 are mocked"
            )

    # -- whose turn it is ------------------------------------------------------------------

    @contextmanager
    def _at_work(self, owner: Owner) -> Iterator[None]:
        before = owners.swap(owner)
        try:
            yield
        finally:
            owners.swap(before)

    @pytest.hookimpl(wrapper=True)  # not first: pytest's own wrapper around it shows the warnings
    def pytest_collection(self) -> Wrapper:
        """Imports have an owner too."""
        try:
            with self._at_work(Owner(phase="collection")):
                return (yield)
        finally:
            self._outside_of_tests(self._settle_between)
            self._mention()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self) -> None:
        """Load the prices before the first test, if they will be needed."""
        if self.config.option.collectonly or is_controller(self.config):
            return
        if self.settings.limits.max_cost is not None or not _SDKS.isdisjoint(sys.modules):
            self._load_prices()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Wrapper:
        """A test begins."""
        self._mention()  # what other plugins did since the last one is not its own
        self.pause()
        self.resume()  # a test whose recursion had no end may have cost us the tap
        self.recorder.begin(key_of(item))
        self._handlers.begin_test()
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
            self.recorder.end(key)
            accounting.forget(key)
            self._handlers.end_test()

    def _phase(self, item: pytest.Item, phase: str) -> Wrapper:
        """Run a phase of a test. A refusal that was swallowed fails it all the same."""
        passed = False
        try:
            with self._at_work(Owner(nodeid=item.nodeid, phase=phase, attempt=attempt_of(item))):
                try:
                    result = yield
                except BaseExceptionGroup as group:
                    if group.split(RefusedCall)[1] is None:  # a TaskGroup wraps even a refusal, once for each task
                        raise RefusedCall((self._refusals or [str(group)])[0]) from None
                    raise
                finally:
                    self._settle_phase(item, phase)
            passed = not getattr(item, "_excinfo", None)  # of unittest, which keeps it for the report
        finally:
            refusals, self._refusals = self._refusals, []
            if refusals or not passed:
                self._mention(item)
        if refusals:
            raise RefusedCall(refusals[0])
        self._judge_telemetry(item)
        return result

    def _settle_phase(self, item: pytest.Item, phase: str) -> None:
        if phase == "teardown":
            self.observer.flush(lambda exchange: exchange.owner.key == key_of(item))
        self._settle_between()

    def _judge_telemetry(self, item: pytest.Item) -> None:
        """Telemetry that is wrong is a warning, or, in strict mode, fails a test that would have passed."""
        findings = self._inspector.take()
        if findings and self.settings.strict:
            listing = "\n".join(f"  {one}" for one in findings)
            pytest.fail(f"the telemetry of this test is wrong (llm_strict):\n{listing}", pytrace=False)
        errors = [one for one in findings if not _warn(one, item)]
        if errors:
            pytest.fail("\n".join(f"LLMTelemetryWarning: {one}" for one in errors), pytrace=False)

    def _mention(self, item: pytest.Item | None = None) -> None:
        """The same where something else fails already, or where no test runs: there a warning is never an error."""
        for one in self._inspector.take():
            if not _warn(one, item):
                with warnings.catch_warnings():
                    warnings.simplefilter("always", LLMTelemetryWarning)
                    _warn(one, item)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Wrapper:
        """A fixture wider than a test belongs to the session, not to the test that happened to be first."""
        name, scope = fixturedef.argname, fixturedef.scope
        if scope == "function":
            with self._at_work(replace(owners.current(), fixture=name, scope=scope)):
                return (yield)
        owner = Owner(fixture=name, scope=scope)
        before: list[Owner] = []
        # pytest-rerunfailures sets up again what failed, without a tear-down.
        self._handlers.drop(self._of_fixtures.pop(fixturedef, ()))
        attached = self._of_fixtures[fixturedef] = []
        handlers = bus.attachments()

        def left() -> None:
            _leave(before)
            self._handlers.settle_fixture(handlers)
            self._handlers.drop(attached)
            self._of_fixtures.pop(fixturedef, None)

        def leaving() -> None:
            nonlocal handlers
            before.append(owners.swap(owner))
            # The test is over: what failed in it is back, for this fixture to detach.
            self._handlers.bring_back()
            handlers = bus.attachments()

        # Finalizers run last to first: the one that is added after set-up runs before the fixture's own.
        fixturedef.addfinalizer(left)
        try:
            with self._at_work(owner):
                return (yield)
        finally:
            attached += self._handlers.settle_fixture(handlers)
            fixturedef.addfinalizer(leaving)

    # -- the end of the run ----------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Wrapper:
        """Judge the run: red if it was otherwise green."""
        self._outside_of_tests(self.observer.flush)
        self._outside_of_tests(self.settle)
        if is_worker(self.config):
            if self._faults:
                self.ledger.notes[UNSEEN] = self._faults
            send_to_controller(self.config, self.ledger)
        try:
            return (yield)
        finally:
            self._outside_of_tests(self.settle)
            self._mention()
            if not is_worker(self.config) and not self.config.option.collectonly:
                verdicts = self.summary().verdicts
                if verdicts and session.exitstatus == pytest.ExitCode.OK:
                    session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the report."""
        summary = self.summary()
        if is_worker(self.config) or self.config.option.collectonly or summary.is_empty:
            return
        from pytest_llmtelemetry.report import terminal  # noqa: PLC0415 - imports tabulate

        terminalreporter.write_sep("=", "LLM telemetry")
        for line in terminal.lines(summary, width=self.config.get_terminal_writer().fullwidth):
            terminalreporter.write_line(line.text, bold=line.bold, red=line.red, yellow=line.yellow)

    @property
    def _faults(self) -> int:
        """How often watching failed in this process."""
        return observers.faults - self._faults_before + self.recorder.faults

    def summary(self) -> Summary:
        """The numbers as they stand."""
        return summarise(
            self.ledger,
            self.settings.limits,
            faults=self._faults,
            complete=self.complete,
        )


SESSION = pytest.StashKey[SessionPlugin]()


def attempt_of(item: pytest.Item) -> int:
    """How often a test was begun; pytest-rerunfailures counts."""
    count = getattr(item, "execution_count", 1)
    return count if isinstance(count, int) else 1


def key_of(item: pytest.Item) -> Key:
    """What the events of a test are kept under."""
    return (item.nodeid, attempt_of(item))


def _warn(what: str, item: pytest.Item | None) -> bool:
    """Warn, at the place of the test, if there is one. False if the user's filters make it an error."""
    path, line, _ = ("<outside of tests>", 0, "") if item is None else item.location
    try:
        warnings.warn_explicit(what, LLMTelemetryWarning, filename=path, lineno=(line or 0) + 1)
    except LLMTelemetryWarning:
        return False
    return True


def _leave(before: list[Owner]) -> None:
    if before:
        owners.swap(before.pop())
