"""What is wrong with the telemetry of a test: a handler that failed, and in strict mode an event that is not declared.

It is a warning at the place of the test, and in strict mode the end of a test that would
have passed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pytest_llmtelemetry.errors import LLMTelemetryWarning
from pytest_llmtelemetry.telemetry import bus


class Inspector:
    """Hears every event, and keeps what should not be.

    Args:
        strict: compare every event with the catalogue.
        on_failure: told of the id of a handler that was detached.
    """

    def __init__(self, *, strict: bool, on_failure: Callable[[str], None] = lambda handler_id: None) -> None:
        self.strict = strict
        self._on_failure = on_failure
        self._findings: dict[str, None] = {}

    def hear(self, event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], place: int) -> None:
        """Look at one event. This is the tap; one that raised would be removed, and nothing be found any more."""
        try:
            self._look(event, measurements, metadata)
        except Exception as error:  # noqa: BLE001 - what somebody emits may be anything
            self.find(f"an event could not be compared with the catalogue: {bus.qualified_name(error)}")

    def _look(self, event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        if event == bus.HANDLER_FAILURE:
            handler = str(metadata.get("handler_id"))
            self._on_failure(handler)
            self.find(
                f"the handler {handler!r} raised {metadata.get('error_type')} on {metadata.get('event')} and was detached"
            )
        elif event == bus.INSTRUMENT_FAILURE:
            self.find(f"{metadata.get('where')} could not be read: {metadata.get('error_type')}")
        if self.strict:
            from pytest_llmtelemetry.telemetry.catalogue import problems  # noqa: PLC0415 - a large table

            for problem in problems(event, measurements, metadata):
                self.find(problem)

    def judge(self, item: pytest.Item) -> None:
        """Tell what was found in a phase of a test that has passed so far."""
        findings = self._take()
        if findings and self.strict:
            listing = "\n".join(f"  {one}" for one in findings)
            pytest.fail(f"the telemetry of this test is wrong (llm_strict):\n{listing}", pytrace=False)
        errors = [one for one in findings if not _warn(one, item)]
        if errors:
            pytest.fail("\n".join(f"LLMTelemetryWarning: {one}" for one in errors), pytrace=False)

    def mention(self, item: pytest.Item | None = None) -> None:
        """The same where something else fails already, or where no test runs: there a warning is never an error."""
        for one in self._take():
            if not _warn(one, item):
                with warnings.catch_warnings():
                    warnings.simplefilter("always", LLMTelemetryWarning)
                    _warn(one, item)

    def _take(self) -> tuple[str, ...]:
        """What was found since the last time, each once."""
        found, self._findings = self._findings, {}  # first of all, for another thread may just find something
        return tuple(found)

    def find(self, what: str) -> None:
        """Keep this."""
        self._findings.setdefault(what)


def _warn(what: str, item: pytest.Item | None) -> bool:
    """Warn, at the place of the test, if there is one. False if the user's filters make it an error."""
    path, line, _ = ("<outside of tests>", 0, "") if item is None else item.location
    try:
        warnings.warn_explicit(what, LLMTelemetryWarning, filename=path, lineno=(line or 0) + 1)
    except LLMTelemetryWarning:
        return False
    return True
