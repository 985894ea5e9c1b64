"""A suite to run the plugin on, and a provider on loopback for it to call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from support import Provider, Run, serve


# How long an example takes says nothing on a machine that is busy.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


HELPERS = """
import httpx2


def ask(url="https://api.openai.com/v1/chat/completions", model="gpt-4o-mini", **body):
    messages = [{"role": "user", "content": "Hello?"}]
    with httpx2.Client(trust_env=False) as client:
        return client.post(url, json={"model": model, "messages": messages, **body}).text
"""


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider whose calls are live, because a socket carries them."""
    with serve(Provider()) as provider:
        yield provider


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """See :class:`support.Run`. The suite can ``ask()``."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.delenv("CI", raising=False)
    pytester.makepyfile(helpers=HELPERS)

    def run(source: str, *options: str, ini: str = "", plugins: tuple[str, ...] = ()) -> pytest.RunResult:
        pytester.makepyfile(test_suite="from helpers import ask\n" + source)
        pytester.makeini(f"[pytest]\npythonpath = .\n{ini}")
        loads = [argument for name in ("llmtelemetry", *plugins) for argument in ("-p", name)]
        return pytester.runpytest_subprocess(*loads, "-p", "no:cacheprovider", *options)

    return run
