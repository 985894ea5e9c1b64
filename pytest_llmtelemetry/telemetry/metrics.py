"""Numbers for a dashboard: every event leaves a small sample, and sums are made when somebody looks."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pytest_llmtelemetry.telemetry import accounting, clock, dropped
from pytest_llmtelemetry.telemetry.catalogue import find
from pytest_llmtelemetry.telemetry.dashboard import (
    DEFAULT_THRESHOLDS,
    Sample,
    Thresholds,
    View,
    dashboard,
    is_number,
    name_of,
)
from pytest_llmtelemetry.telemetry.locks import lock
from pytest_llmtelemetry.telemetry.names import CHAT, EMBEDDING, REQUEST
from pytest_llmtelemetry.telemetry.spans import current_span


_CALLS = {"chat": CHAT, "embeddings": EMBEDDING}
"""The application's calls, by the operation of a request that is made for them."""

_ENDS = ("stop", "exception")
# What never ends, and names that never repeat, must not fill the memory.
_MOST_OPEN, _MOST_CIRCUITS, _MOST_REQUESTS = 10_000, 1000, 1000


@dataclass(slots=True)
class _Open:
    """A span that has not ended yet."""

    # Its own clock: a test's may be set or taken away before its end.
    timer: clock.Clock = field(default_factory=clock.current)
    began_ns: int = field(default_factory=clock.now_ns)
    began_at: int = 0
    """The number of samples seen before; 0 if its beginning was not."""
    under_call: bool = False
    covered: bool = False


class Metrics:
    """Samples of the last events. Safe in threads.

    Args:
        capacity: how many samples are kept; beyond, the oldest go, and ``dropped`` says how many.

    Raises:
        ValueError: ``capacity`` is not above zero.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        if type(capacity) is not int or capacity < 1:
            raise ValueError(f"Metrics(capacity={capacity!r}): give a whole number above zero")
        self._lock = lock()
        self._samples: deque[Sample] = deque(maxlen=capacity)
        self._seen = 0
        self._open: OrderedDict[tuple[str, int], _Open] = OrderedDict()
        self._requests: OrderedDict[int, int] = (
            OrderedDict()
        )  # the last that ended: span id -> its number among the samples seen
        self._circuits: OrderedDict[str, str] = OrderedDict()

    def hear(
        self, event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: Any = None
    ) -> None:
        """Take an event into account. This is the handler."""
        span, _, edge = event.rpartition(".")
        with self._lock:
            if edge == "start" and _is_span(span):
                self._begin(span, metadata)
                return
            opened = self._end(span, metadata) if edge in _ENDS else _Open()
            if event == "llm.circuit_breaker.state.changed":
                circuit, state = name_of(metadata.get("circuit")), name_of(metadata.get("new_state"))
                _remember(self._circuits, circuit or "unknown", state or "unknown", _MOST_CIRCUITS)
            sample = Sample.of(
                event,
                measurements,
                metadata,
                at_ns=clock.now_ns(),
                under_call=opened.under_call,
                covered=opened.covered,
            )
            span_id = _id_in(metadata)
            if span == REQUEST and span_id is not None:
                _remember(self._requests, span_id, self._seen, _MOST_REQUESTS)
            self._seen += 1
            self._samples.append(sample)

    def get_metrics(self) -> dict[str, Any]:
        """All that is kept, as plain mappings; the shape is that of :meth:`dashboard_data`."""
        return self._look(None, DEFAULT_THRESHOLDS)

    def dashboard_data(
        self, time_window: float | None = None, *, thresholds: Thresholds = DEFAULT_THRESHOLDS
    ) -> dict[str, Any]:
        """The last ``time_window`` milliseconds, as plain mappings.

        Raises:
            ValueError: the window is no number, or not above zero.
        """
        if time_window is not None and not (is_number(time_window) and time_window > 0):
            raise ValueError(
                f"dashboard_data(time_window={time_window!r}): give milliseconds above zero, or None for all"
            )
        return self._look(time_window, thresholds)

    def _look(self, window_ms: float | None, thresholds: Thresholds) -> dict[str, Any]:
        dropped.collect()
        accounting.settle()
        with self._lock:
            now = clock.now_ns()
            samples = self._samples.copy()  # not list(): a finaliser may emit in between
            lost = self._seen - len(samples)
            opened, circuits = self._open.copy().values(), self._circuits.copy()
        kept, complete = list(samples), lost == 0
        if window_ms is not None:
            since = now - round(window_ms * 1_000_000)
            # Later than now is on another clock: a test's own was set or taken away.
            kept = [one for one in samples if since <= one.at_ns <= now]
            complete = complete or samples[0].at_ns < since
        return dashboard(
            View(
                samples=kept,
                circuits=circuits,
                open_ages_ns=[one.timer.now_ns() - one.began_ns for one in opened],
                window_ms=window_ms,
                complete=complete,
                dropped=lost,
            ),
            thresholds,
        )

    # -- which requests are calls of their own -------------------------------------------------

    def _begin(self, name: str, metadata: Mapping[str, Any]) -> None:
        span_id = _id_in(metadata)
        if span_id is not None:
            opened = self._found(name, metadata)
            opened.began_at = self._seen
            _remember(self._open, (name, span_id), opened, _MOST_OPEN)

    def _found(self, name: str, metadata: Mapping[str, Any]) -> _Open:
        """What the context says of a span. Whoever begins one is still in the context around it."""
        opened, around = _Open(), current_span()
        if name == REQUEST and around is not None:
            call = _CALLS.get(name_of(metadata.get("operation")) or "")
            for one in (around, *around.ancestors):
                opened.under_call = opened.under_call or one.name == call
                outer = self._open.get((REQUEST, one.id)) if one.name == REQUEST else None
                if outer is not None:
                    outer.covered = True
        return opened

    def _end(self, name: str, metadata: Mapping[str, Any]) -> _Open:
        span_id = _id_in(metadata)
        opened = None if span_id is None else self._open.pop((name, span_id), None)
        if opened is None:  # we were attached since
            opened = self._found(name, metadata)
        # A thread has lost its context, but what was accounted knows its request. One from before is
        # not inside: an answer may come from a cache.
        counted = _id_in(metadata, "accounted_span_id")
        number = None if counted is None or counted == span_id else self._requests.get(counted)
        if number is not None and number >= opened.began_at:
            if name == REQUEST:
                opened.covered = True
            elif name in _CALLS.values():
                self._put_under(number)
        return opened

    def _put_under(self, number: int) -> None:
        """A request that has ended was made for a call of the application's."""
        place = number - (self._seen - len(self._samples))
        if place >= 0:
            self._samples[place] = self._samples[place].under()


def _is_span(name: str) -> bool:
    """True if its ends are heard too: an event of an application may just be called ``.start``."""
    return all(find(f"{name}.{end}") is not None for end in _ENDS)


def _id_in(metadata: Mapping[str, Any], key: str = "span_id") -> int | None:
    value = metadata.get(key)
    return value if type(value) is int else None


K = TypeVar("K")
V = TypeVar("V")


def _remember(known: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    """Add to what is known, and forget the oldest if that is too much."""
    known.pop(key, None)
    known[key] = value
    if len(known) > most:
        known.popitem(last=False)  # in one step: a signal handler may emit at any time, in this very thread


_metrics = Metrics()
_is_attached = False


def hear(event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: Any = None) -> None:
    """Count an event in the metrics of the process. This is the default handler."""
    if not _is_attached:
        _metrics.hear(event, measurements, metadata, config)


def get_metrics() -> dict[str, Any]:
    """What was counted while the default handlers were attached.

    >>> get_metrics()["components"]["cache"]["hit_rate"] is None
    True
    """
    return _metrics.get_metrics()


def dashboard_data(time_window: float | None = None, *, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> dict[str, Any]:
    """What was counted in the last ``time_window`` milliseconds, with alerts.

    Args:
        time_window: in milliseconds; ``None`` for all that is kept.
        thresholds: when to raise an alert.

    Raises:
        ValueError: the window is no number, or not above zero.
    """
    return _metrics.dashboard_data(time_window, thresholds=thresholds)


def swap_metrics(metrics: Metrics, *, is_attached: bool = False) -> Callable[[], None]:
    """Let ``metrics`` be those of the process, and return a function that undoes it.

    Args:
        is_attached: they hear events by themselves, so that the default handler must not count twice.
    """
    global _metrics, _is_attached
    previous = _metrics, _is_attached
    _metrics, _is_attached = metrics, is_attached

    def undo() -> None:
        global _metrics, _is_attached
        _metrics, _is_attached = previous

    return undo
