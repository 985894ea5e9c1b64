"""The sums of the workers, brought to the controller.

One line of ASCII JSON for each worker, because xdist dies of anything richer. A worker
that is lost takes its line along: the run is then incomplete, and says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmtelemetry.limits.ledger import Ledger


if TYPE_CHECKING:
    from pytest_llmtelemetry.plugin.session import SessionPlugin

_KEY = "llmtelemetry"


def is_worker(config: pytest.Config) -> bool:
    """True in a process that runs tests for another."""
    return hasattr(config, "workerinput")


def is_controller(config: pytest.Config) -> bool:
    """True in a process that has others run its tests."""
    return config.getoption("dist", "no") != "no" and not is_worker(config)


def send_to_controller(config: pytest.Config, ledger: Ledger) -> None:
    """Hand over the worker's sums. xdist sends them when the session has finished."""
    config.workeroutput[_KEY] = ledger.dump()  # type: ignore[attr-defined]


class ControllerPlugin:
    """Takes the sums of each worker, once."""

    def __init__(self, session: SessionPlugin) -> None:
        self._session = session
        self._heard: set[str] = set()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker is down. xdist may say so twice."""
        worker = str(node.gateway.id)
        if worker in self._heard:
            return
        self._heard.add(worker)
        line = getattr(node, "workeroutput", {}).get(_KEY)
        if line is None:
            self._session.complete = False
        else:
            self._session.ledger.merge(Ledger.load(line))
