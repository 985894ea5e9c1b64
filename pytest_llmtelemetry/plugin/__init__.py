"""The pytest shell: the only place that imports pytest at run time.

Loaded at every start of pytest, so it stays light: an idle run imports no HTTP library,
no respx and no price table.
"""

from __future__ import annotations

import pytest

from pytest_llmtelemetry.errors import SettingError
from pytest_llmtelemetry.plugin import settings
from pytest_llmtelemetry.plugin.fixtures import llm_clock, llm_events, llm_mock, llm_telemetry
from pytest_llmtelemetry.plugin.session import SESSION, SessionPlugin
from pytest_llmtelemetry.plugin.turns import Turns
from pytest_llmtelemetry.plugin.xdist import ControllerPlugin, is_controller


__all__ = ["llm_clock", "llm_events", "llm_mock", "llm_telemetry"]


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the options and the ini values."""
    settings.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Check every setting before the first test, then begin to watch."""
    config.addinivalue_line(
        "markers", "llm_mock(assert_all_called=True): configure the fixture llm_mock; False allows unused replies."
    )
    try:
        chosen = settings.read(config)
    except SettingError as error:
        raise pytest.UsageError(str(error)) from None
    session = SessionPlugin(config, chosen)
    config.stash[SESSION] = session
    config.pluginmanager.register(session, "llmtelemetry-session")
    config.pluginmanager.register(Turns(session), "llmtelemetry-turns")
    if is_controller(config):
        config.pluginmanager.register(ControllerPlugin(session), "llmtelemetry-xdist")
    session.start()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take everything out again."""
    session = config.stash.get(SESSION, None)
    if session is not None:
        session.stop()


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what the run may cost, if that is limited."""
    return settings.header(config.stash[SESSION].settings)
