"""The event bus as one test sees it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any, Self

from pytest_llmtelemetry.telemetry import bus
from pytest_llmtelemetry.telemetry.dashboard import DEFAULT_THRESHOLDS, Thresholds
from pytest_llmtelemetry.telemetry.handlers import default_events
from pytest_llmtelemetry.telemetry.metrics import Metrics, swap_metrics
from pytest_llmtelemetry.telemetry.spans import Metadata, SpanContext, span


_NOTHING: Mapping[str, Any] = {}

_numbers = itertools.count(1)


class LLMTelemetry:
    """Handlers that undo themselves, and metrics that begin at zero; what the fixture ``llm_telemetry`` is.

    The metrics of the process are these for as long as it lasts, so that an application's
    own ``get_metrics()`` reads them too.

    >>> with LLMTelemetry() as telemetry:
    ...     telemetry.execute("llm.cache.lookup.hit", {}, {"key": "greeting"})
    ...     telemetry.get_metrics()["components"]["cache"]["hit_rate"]
    1.0
    """

    def __init__(self) -> None:
        self.metrics = Metrics()
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        name = f"llm_telemetry-{next(_numbers)}"
        self._undo.enter_context(bus.attached(default_events(), self.metrics.hear, handler_id=name))
        self._undo.callback(swap_metrics(self.metrics, is_attached=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._undo.close()

    def attach(self, handler_id: str, event: str, handler: bus.Handler, config: Any = None) -> Callable[[], None]:
        """Like :func:`~pytest_llmtelemetry.telemetry.attach`, until the end of the test."""
        return self.attach_many(handler_id, [event], handler, config)

    def attach_many(
        self, handler_id: str, events: Iterable[str], handler: bus.Handler, config: Any = None
    ) -> Callable[[], None]:
        """Like :func:`~pytest_llmtelemetry.telemetry.attach_many`, until the end of the test."""
        undo = bus.attach_many(handler_id, events, handler, config)
        self._undo.callback(undo)
        return undo

    def attached(
        self, event: str | Iterable[str], handler: bus.Handler, *, config: Any = None
    ) -> AbstractContextManager[str]:
        """Attach for the length of a ``with`` block."""
        return bus.attached(event, handler, config=config)

    def detach(self, handler_id: str) -> None:
        """Remove a handler from all its events. One that the test did not attach is back for the next test."""
        bus.detach(handler_id)

    def list_handlers(self, prefix: str = "") -> list[bus.Attachment]:
        """The attachments of events under ``prefix``."""
        return bus.list_handlers(prefix)

    def execute(
        self, event: str, measurements: Mapping[str, Any] = _NOTHING, metadata: Mapping[str, Any] = _NOTHING
    ) -> None:
        """Emit an event."""
        bus.execute(event, measurements, metadata)

    def span(self, name: str, metadata: Metadata = _NOTHING) -> SpanContext:
        """A span, as a context manager or a decorator."""
        return span(name, metadata)

    def get_metrics(self) -> dict[str, Any]:
        """What was counted since the test began."""
        return self.metrics.get_metrics()

    def dashboard_data(
        self, time_window: float | None = None, *, thresholds: Thresholds = DEFAULT_THRESHOLDS
    ) -> dict[str, Any]:
        """What was counted in the last ``time_window`` milliseconds of the test, with alerts."""
        return self.metrics.dashboard_data(time_window, thresholds=thresholds)
