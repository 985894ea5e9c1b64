"""One test session: wires the parts together, and tells them whose turn it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, suppress
from typing import Any, NoReturn

import pytest

from pytest_llmtelemetry.capture import blind
from pytest_llmtelemetry.capture import observer as observers
from pytest_llmtelemetry.capture.exchange import Exchange
from pytest_llmtelemetry.capture.imports import Watch
from pytest_llmtelemetry.capture.observer import Observer
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
from pytest_llmtelemetry.recording.recorder import Recorder
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
        self.refusals: list[str] = []
        """Of the phase that is running, in case the code under test swallows them."""
        self._crossed = False
        self.handlers = HandlerScopes()
        self.inspector = Inspector(strict=settings.strict, on_failure=self.handlers.failed.add)
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
        self.outside_of_tests(self.settle)
        self.inspector.mention()
        self.handlers.end_test()  # an interrupted test has no tear-down
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
        untap.callback(bus.tap(self.inspector.hear))
        self._untap = untap.close

    def settle(self) -> None:
        """Emit what waits: dropped streams, and calls without a price."""
        self._collect()
        accounting.settle()

    def settle_between(self) -> None:
        """Settle where only pytest is at work, so that a suite that measures itself does not pay for the loading."""
        self._collect()
        if accounting.is_waiting() and not self._book.ready:
            self._load_prices()
        accounting.settle()

    def _collect(self) -> None:
        self.observer.collect()
        dropped.collect()

    def outside_of_tests(self, emit: Callable[[], None]) -> None:
        """Emit what waits where a handler that ends a test, as ``pytest.fail`` does, finds none to end."""
        while True:
            try:
                emit()
            except (pytest.fail.Exception, pytest.skip.Exception) as outcome:
                self.inspector.find(f"a handler ended a test where none was running: {outcome.msg}")
            else:
                return

    def _load_prices(self) -> None:
        with suppress(Exception), untraced():  # the first call to be priced says what is wrong
            self._book.load()

    # -- what the parts report -------------------------------------------------------------

    def refuse(self, message: str) -> NoReturn:
        """Refuse a request. It is remembered, in case the code under test swallows even this."""
        self.refusals.append(message)
        raise RefusedCall(message)

    def take_refusals(self) -> list[str]:
        """What was refused since the last time."""
        refusals, self.refusals = self.refusals, []
        return refusals

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

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self) -> None:
        """Load the prices before the first test, if they will be needed."""
        if self.config.option.collectonly or is_controller(self.config):
            return
        if self.settings.limits.max_cost is not None or not _SDKS.isdisjoint(sys.modules):
            self._load_prices()

    # -- the end of the run ----------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Wrapper:
        """Judge the run: red if it was otherwise green."""
        self.outside_of_tests(self.observer.flush)
        self.outside_of_tests(self.settle)
        if is_worker(self.config):
            if self._faults:
                self.ledger.notes[UNSEEN] = self._faults
            send_to_controller(self.config, self.ledger)
        try:
            return (yield)
        finally:
            self.outside_of_tests(self.settle)
            self.inspector.mention()
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
