"""The default handlers: a log line and a metric for every event of the catalogue."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from pytest_llmtelemetry.money import usd
from pytest_llmtelemetry.redaction import scrub
from pytest_llmtelemetry.telemetry import bus, metrics
from pytest_llmtelemetry.telemetry.catalogue import known_events
from pytest_llmtelemetry.telemetry.dashboard import money_of, whole
from pytest_llmtelemetry.telemetry.names import CHUNK, THRESHOLD


LOGGER_ID, METRICS_ID = "llmtelemetry-default-logger", "llmtelemetry-default-metrics"

_log = logging.getLogger("pytest_llmtelemetry.events")


def attach_default_handlers(level: int | str = logging.INFO) -> Callable[[], None]:
    """Log every event and count it in the metrics; returns a function that undoes it.

    To do it again is harmless: the handlers are known by their ids, and the new level counts.
    Events that are declared later are not heard. Per-chunk events are not: they are emitted
    only for those who ask for them by name.

    Args:
        level: of the log lines, as a number or a name of ``logging``. Failures are logged as
            warnings, if that is more. The logger is ``pytest_llmtelemetry.events``, and each
            record has ``llm_event``, ``llm_measurements`` and ``llm_metadata``.

    Raises:
        ValueError: ``level`` is no level of ``logging``.
    """
    number, events = _level(level), default_events()
    undo_logger = bus.replace(LOGGER_ID, events, log_event, number)
    undo_metrics = bus.replace(METRICS_ID, events, metrics.hear)

    def undo() -> None:
        undo_logger()
        undo_metrics()

    return undo


def default_events() -> list[str]:
    """What the default handlers hear."""
    return [name for name in known_events() if name != CHUNK]


def _level(level: object) -> int:
    names = logging.getLevelNamesMapping()
    number = names.get(level, names.get(level.upper())) if isinstance(level, str) else level
    if type(number) is not int:
        raise ValueError(
            f"attach_default_handlers(level={level!r}): no level of logging; valid are numbers, {', '.join(names)}"
        )
    return number


def log_event(event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], level: int) -> None:
    """Write one line, such as ``llm.chat.call.stop in 12.3 ms provider=openai model=gpt-4o``."""
    failed = metadata.get("success") is False or event.endswith(".exception") or event in _ALARMING
    at = max(level, logging.WARNING) if failed else level
    if not _log.isEnabledFor(at) or getattr(_writing, "now", False):
        return
    about = {key: value for key, value in metadata.items() if key != "owner"}
    fields = {"llm_event": event, "llm_measurements": _public(measurements), "llm_metadata": _public(about)}
    _writing.now = True
    try:
        _log.log(at, "%s", line(event, measurements, about), extra=fields)
    finally:
        _writing.now = False


_writing = threading.local()
"""A handler of logging may be instrumented itself: what it emits is not logged, or it would never end."""

_ALARMING = frozenset({THRESHOLD, bus.HANDLER_FAILURE, bus.INSTRUMENT_FAILURE})
_HIDDEN = frozenset({"duration_ns", "monotonic_time_ns", "system_time_ns", "span_id", "parent_id"})
_WIDEST = 120


def line(event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """An event in words: its name, how long it took, and what it states.

    >>> line("llm.chat.call.stop", {"duration_ns": 12_345_678}, {"model": "gpt-4o", "success": True})
    'llm.chat.call.stop in 12.3 ms model=gpt-4o success=True'
    """
    words = [event]
    took = whole(measurements.get("duration_ns"))
    if took is not None:
        words.append(f"in {took / 1e6:.1f} ms")
    words += [
        _one_line(f"{_brief(key)}={_brief(value, of=key)}")
        for key, value in {**metadata, **measurements}.items()
        if value is not None and key not in _HIDDEN
    ]
    return " ".join(words)


def _brief(value: object, of: object = None) -> str:
    cost = money_of(value) if isinstance(value, Decimal) and isinstance(of, str) and of.endswith("_usd") else None
    text = _text(value) if cost is None else usd(cost)
    # Scrubbed before it is cut, or what is left of a credential would not be known.
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST]}…"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _public(values: Mapping[str, Any]) -> dict[str, Any]:
    """For structured logs: numbers as they are, all else as text without credentials, which JSON can hold."""
    return {_text(key): value if _is_plain(value) else _text(value) for key, value in values.items()}


def _is_plain(value: object) -> bool:
    if type(value) is int:
        return abs(value) < _LARGEST  # Python refuses to write out one of thousands of digits
    return value is None or type(value) in {bool, float, Decimal}


_LARGEST = 2**63


def _text(value: object) -> str:
    try:
        return scrub(str(value))
    except Exception:  # noqa: BLE001 - metadata is the application's, and may be anything
        return f"<{type(value).__name__}>"
