"""What the application itself wants to hear: for its log, its monitoring, and whoever is on call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from .statsd import StatsD


_log = logging.getLogger(__name__)

Alert = Callable[[Decimal, Decimal], object]
"""Called with a cost and its threshold, in dollars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitoring:
    """Where the handler sends what it hears; its ``config``."""

    statsd: StatsD
    alert: Alert


def handle_llm_event(
    event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], monitoring: Monitoring
) -> None:
    """Handle one event. What it raised would cost it all further events, so it raises nothing."""
    if event == "llm.chat.call.stop":
        _chat_ended(measurements, metadata, monitoring.statsd)
    elif event == "llm.cost.threshold.exceeded":
        _cost_exceeded(measurements, monitoring.alert)
    else:
        _request_ended(metadata, monitoring.statsd)


def _chat_ended(measurements: Mapping[str, Any], metadata: Mapping[str, Any], statsd: StatsD) -> None:
    duration_ms, tags = measurements["duration_ns"] / 1e6, {"model": metadata["model"]}
    _log.info("LLM chat completed in %.1f ms for model %s", duration_ms, metadata["model"])
    statsd.timing("llm.chat.duration", duration_ms, tags=tags)
    if (tokens := measurements.get("total_tokens")) is not None:
        statsd.gauge("llm.tokens.used", tokens, tags=tags)


def _cost_exceeded(measurements: Mapping[str, Any], alert: Alert) -> None:
    cost, threshold = measurements["cost_usd"], measurements["threshold_usd"]
    _log.warning("LLM cost threshold exceeded! Cost: $%s", cost)
    try:
        alert(cost, threshold)
    except Exception:  # noqa: BLE001 - whatever it is
        _log.exception("the alert could not be sent")


def _request_ended(metadata: Mapping[str, Any], statsd: StatsD) -> None:
    if metadata.get("source") == "capture":  # as a test run sees it on the wire; our adapter tells of it, too
        return
    outcome = "success" if metadata["success"] else "failure"
    statsd.increment(f"llm.provider.{outcome}", tags={"provider": metadata["provider"]})
