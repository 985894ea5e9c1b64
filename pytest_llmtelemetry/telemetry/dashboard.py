"""From samples to a dashboard: pure functions of one view.

A rate of nothing is ``None``, never zero. Money is exact: ``total`` in cents, as the
original has it, and ``total_usd``, both ``Decimal``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from typing import Any, Self

from pytest_llmtelemetry.money import MONEY, usd
from pytest_llmtelemetry.telemetry.names import (
    CACHE_HIT,
    CACHE_MISS,
    CAPTURE,
    CHAT,
    CONTEXT_TRUNCATION,
    COST_CALCULATED,
    EMBEDDING,
    HTTP,
    RATE_LIMIT,
    REQUEST,
    RESPONSE_TRUNCATED,
    RETRY,
    STREAM,
    THRESHOLD,
    TOOL,
    WINDOW_EXCEEDED,
)
from pytest_llmtelemetry.telemetry.results import amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What is kept of an event."""

    event: str
    at_ns: int
    provider: str | None = None
    operation: str | None = None
    ended: str | None = None
    """How a stream ended."""
    success: bool = True
    duration_ns: int | None = None
    first_token_ns: int | None = None
    cost_usd: Decimal | None = None
    """Of a cost; of a hit, what it saved."""
    tokens: tuple[int, ...] = (0, 0, 0, 0)
    """Input, output, total, read from the prompt cache."""
    removed: tuple[int, ...] = (0, 0)
    """Messages and tokens that a truncation removed."""
    truncated: bool = True
    captured: bool = False
    """It was seen on the wire."""
    under_call: bool = False
    """A request that is made for a call of the application's: it is not a call of its own."""
    covered: bool = False
    """A request of the application's, inside of which requests were seen on the wire: those are counted."""

    @classmethod
    def of(
        cls,
        event: str,
        measurements: Mapping[str, Any],
        metadata: Mapping[str, Any],
        *,
        at_ns: int,
        under_call: bool = False,
        covered: bool = False,
    ) -> Self:
        """Take what is needed; anybody may emit anything, so nothing is trusted."""
        return cls(
            event=event,
            at_ns=at_ns,
            provider=name_of(metadata.get("provider")),
            operation=name_of(metadata.get("operation")),
            ended=name_of(metadata.get("ended")),
            success=not event.endswith(".exception") and metadata.get("success") is not False,
            duration_ns=whole(measurements.get("duration_ns")),
            first_token_ns=whole(measurements.get("time_to_first_token_ns")),
            cost_usd=money_of(measurements.get("cost_usd", measurements.get("saved_cost_usd"))),
            tokens=tuple(whole(measurements.get(key)) or 0 for key in _TOKENS),
            removed=tuple(whole(measurements.get(key)) or 0 for key in ("messages_removed", "tokens_removed")),
            truncated=metadata.get("truncated") is not False,
            captured=name_of(metadata.get("source")) == CAPTURE,
            under_call=under_call,
            covered=covered,
        )

    def under(self) -> Self:
        """The same, of a request that was made for a call of the application's."""
        return replace(self, under_call=True)


_TOKENS = ("input_tokens", "output_tokens", "total_tokens", "cache_read_tokens")


def whole(value: object) -> int | None:
    """A count, or nanoseconds, if it makes sense."""
    stated = None if isinstance(value, str) else money_of(value)
    return None if stated is None else int(stated)


def money_of(value: object) -> Decimal | None:
    """An amount, if it makes sense."""
    try:
        return amount(value)
    except Exception:  # noqa: BLE001 - it is no number, whatever its class says
        return None


def name_of(value: object) -> str | None:
    """A short text to count under; of what is no text, its type."""
    if value is None:
        return None
    try:
        return str(value)[:_LONGEST_NAME] if isinstance(value, str) else type(value).__name__
    except Exception:  # noqa: BLE001 - a text of the application's own kind
        return type(value).__name__


_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """When an alert is raised: beyond these values, not at them.

    Raises:
        ValueError: a value makes no sense.
    """

    error_rate: float = 0.1
    """Of chat calls, from 0 to 1."""
    p95_latency_ms: float = 10_000
    """Of chat calls."""
    cost_usd: Decimal | float | str | None = None
    """In the window; ``None`` for no limit. An ``llm.cost.threshold.exceeded`` event is an alert all the same."""
    hit_rate: float = 0.1
    """Of the application's cache, from 0 to 1. Below it is an alert."""
    open_span_ms: float = 300_000
    """A span that is open for longer counts as never closed."""
    availability: float = 0.99
    """The target of the SLA: the part of chat calls that succeed, from 0 to 1. It raises no alert."""
    min_samples: int = 10
    """Fewer calls, or look-ups, make no rate: one failure of one call says little."""

    def __post_init__(self) -> None:
        for name in ("error_rate", "hit_rate", "availability"):
            self._check(name, is_number(getattr(self, name), most=1), "a rate from 0 to 1")
        for name in ("p95_latency_ms", "open_span_ms"):
            self._check(name, is_number(getattr(self, name)), "milliseconds, from 0 up")
        whole = type(self.min_samples) is int and self.min_samples >= 0
        self._check("min_samples", whole, "a whole number, from 0 up")
        self._check("cost_usd", self.cost_usd is None or amount(self.cost_usd) is not None, "an amount in USD, or None")

    def _check(self, name: str, valid: bool, wanted: str) -> None:
        if not valid:
            raise ValueError(f"Thresholds({name}={getattr(self, name)!r}): give {wanted}")


def is_number(value: object, most: float = 10**15) -> bool:
    """True for a number from 0 to ``most``: no NaN, no infinity, and ``True`` is no number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most


DEFAULT_THRESHOLDS = Thresholds()


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What there is to show."""

    samples: Sequence[Sample]
    circuits: Mapping[str, str]
    """The state of each circuit breaker now, whatever the window."""
    open_ages_ns: Sequence[int]
    """Of the spans that are open now."""
    window_ms: float | None
    complete: bool
    """False if samples of the window were dropped for want of space."""
    dropped: int


def dashboard(view: View, thresholds: Thresholds) -> dict[str, Any]:
    """The whole dashboard, as plain mappings."""
    by_event: dict[str, list[Sample]] = {}
    for sample in view.samples:
        by_event.setdefault(sample.event, []).append(sample)
    events = _Events(by_event)
    components = {
        "chat": _chat(events),
        "providers": _providers(events),
        "http": _timed(events.ends(HTTP)),
        "embeddings": _timed(events.calls(EMBEDDING, "embeddings")),
        "streams": _streams(events),
        "cache": _cache(events),
        "context": _context(events),
        "sessions": {name: len(events.named(f"llm.session.{event}")) for name, event in _SESSIONS.items()},
        "tools": {"calls": len(events.named(TOOL))},
        "tokens": _tokens(events),
        "costs": _costs(events),
        "circuits": dict(view.circuits),
    }
    sla = _sla(components["chat"], thresholds)
    return {
        "time_window_ms": view.window_ms,
        "complete": view.complete,
        "dropped": view.dropped,
        "components": components,
        "sla": sla,
        "alerts": list(_alerts(view, events, components, thresholds)),
        "events": dict(Counter(sample.event for sample in view.samples)),
    }


class _Events:
    """Samples by event."""

    def __init__(self, by_event: Mapping[str, list[Sample]]) -> None:
        self._by_event = by_event

    def named(self, event: str) -> list[Sample]:
        return self._by_event.get(event, [])

    def once(self, event: str) -> list[Sample]:
        """As they were seen on the wire; as an application tells them, of providers of which nothing was seen."""
        told = self.named(event)
        seen = {one.provider for one in told if one.captured}
        return [one for one in told if one.captured or one.provider not in seen]

    def ends(self, span: str) -> list[Sample]:
        """The ends of a span, good and bad."""
        return [*self.named(f"{span}.stop"), *self.named(f"{span}.exception")]

    @property
    def requests(self) -> list[Sample]:
        """Each request to a provider once, as near to the wire as it was seen."""
        return [one for one in self.ends(REQUEST) if not one.covered]

    def calls(self, span: str, operation: str) -> list[Sample]:
        """The application's own calls, and each request that was seen without one."""
        alone = [one for one in self.requests if one.operation == operation and not one.under_call]
        return [*self.ends(span), *alone]


# -- components ------------------------------------------------------------------------------


def _chat(events: _Events) -> dict[str, Any]:
    timed = _timed(events.calls(CHAT, "chat"))
    return {
        "total_calls": timed.pop("total"),
        "failed_calls": timed.pop("failed"),
        **timed,
        "truncated": len(events.named(RESPONSE_TRUNCATED)),
        "retries": len(events.named(RETRY)),
    }


def _providers(events: _Events) -> dict[str, Any]:
    requests, costs = _by_provider(events.requests), _by_provider(events.named(COST_CALCULATED))
    limited = _by_provider(events.once(RATE_LIMIT))
    return {
        name: {
            **_timed(requests.get(name, [])),
            "rate_limited": len(limited.get(name, [])),
            "costs": _money(costs.get(name, [])),
        }
        for name in sorted({*requests, *costs, *limited})
    }


def _streams(events: _Events) -> dict[str, Any]:
    """Those on the wire, and those of the application, which may be the same once more."""
    ends = events.ends(STREAM)
    on_wire, own = [one for one in ends if one.captured], [one for one in ends if not one.captured]
    return {
        "captured": _streamed(on_wire, events.requests),
        "application": _streamed(own, own),
    }


def _streamed(ends: Sequence[Sample], began: Iterable[Sample]) -> dict[str, Any]:
    first = [one.first_token_ns for one in began if one.first_token_ns is not None]
    return {
        "total": len(ends),
        "ended": dict(Counter(one.ended or "unknown" for one in ends)),
        "time_to_first_token_ms": _spread(first),
    }


def _cache(events: _Events) -> dict[str, Any]:
    hits, misses = events.named(CACHE_HIT), events.named(CACHE_MISS)
    with localcontext(MONEY):
        saved = sum((one.cost_usd for one in hits if one.cost_usd is not None), Decimal(0))
        return {
            "lookups": len(hits) + len(misses),
            "hits": len(hits),
            "misses": len(misses),
            "hit_rate": _rate(len(hits), len(hits) + len(misses)),
            "stores": len(events.named("llm.cache.store.success")),
            "expired": len(events.named("llm.cache.ttl.expired")),
            "evicted": len(events.named("llm.cache.evicted")),
            "saved": saved * 100,
            "saved_usd": saved,
            "saved_unknown": sum(one.cost_usd is None for one in hits),
        }


def _context(events: _Events) -> dict[str, Any]:
    truncations = [one for one in events.named(f"{CONTEXT_TRUNCATION}.stop") if one.truncated]
    return {
        "window_exceeded": len(events.named(WINDOW_EXCEEDED)),
        "truncations": len(truncations),
        "messages_removed": sum(one.removed[0] for one in truncations),
        "tokens_removed": sum(one.removed[1] for one in truncations),
    }


_SESSIONS = {
    "created": "created",
    "messages_added": "message.added",
    "cleared": "cleared",
    "truncated": "truncated",
}


def _tokens(events: _Events) -> dict[str, int]:
    """From accounting alone: every other event repeats them."""
    sums = [sum(column) for column in zip(*(one.tokens for one in events.named(COST_CALCULATED)), strict=True)]
    return dict(zip(("input", "output", "total", "cache_read"), sums or (0, 0, 0, 0), strict=True))


def _costs(events: _Events) -> dict[str, Any]:
    calls = events.named(COST_CALCULATED)
    return {
        **_money(calls),
        "by_provider": {name: _money(part) for name, part in _by_provider(calls).items()},
        "thresholds_exceeded": len(events.named(THRESHOLD)),
    }


def _money(calls: Sequence[Sample]) -> dict[str, Any]:
    """The known part in cents and dollars, and how many calls are not in it."""
    with localcontext(MONEY):
        total = sum((one.cost_usd for one in calls if one.cost_usd is not None), Decimal(0))
        return {
            "calls": len(calls),
            "total": total * 100,
            "total_usd": total,
            "unpriced_calls": sum(one.cost_usd is None for one in calls),
        }


def _sla(chat: Mapping[str, Any], thresholds: Thresholds) -> dict[str, Any]:
    available, p95 = chat["success_rate"], chat["p95_duration_ms"]
    return {
        "availability": available,
        "availability_target": thresholds.availability,
        "availability_met": None if available is None else available >= thresholds.availability,
        "p95_duration_ms": p95,
        "p95_duration_ms_target": thresholds.p95_latency_ms,
        "p95_duration_ms_met": None if p95 is None else p95 <= thresholds.p95_latency_ms,
    }


# -- alerts ----------------------------------------------------------------------------------


def _alerts(
    view: View, events: _Events, components: Mapping[str, Any], thresholds: Thresholds
) -> Iterator[dict[str, Any]]:
    chat, cache, costs = components["chat"], components["cache"], components["costs"]
    if chat["total_calls"] >= max(1, thresholds.min_samples):
        # Not 1 - success_rate, which is not exact: the alert would be raised at its threshold.
        rate, p95 = chat["failed_calls"] / chat["total_calls"], chat["p95_duration_ms"]
        if rate > thresholds.error_rate:
            yield _alert("error_rate", "critical", rate, thresholds.error_rate, f"{rate:.1%} of the chat calls failed")
        if p95 is not None and p95 > thresholds.p95_latency_ms:
            message = f"the slowest 5% of the chat calls took {p95:.0f} ms or more"
            yield _alert("p95_latency", "warning", p95, thresholds.p95_latency_ms, message)
    spent, allowed = costs["total_usd"], None if thresholds.cost_usd is None else amount(thresholds.cost_usd)
    if allowed is not None and spent > allowed:
        message = f"{usd(spent)} spent, and {usd(allowed)} allowed"
        yield _alert("cost_threshold", "critical", spent, allowed, message)
    if cache["lookups"] >= max(1, thresholds.min_samples) and (rate := cache["hit_rate"]) < thresholds.hit_rate:
        message = f"{rate:.1%} of the cache look-ups hit"
        yield _alert("low_hit_rate", "warning", rate, thresholds.hit_rate, message)
    for rule, event, severity, what in _COUNTED:
        if count := len(events.once(event) if event == RATE_LIMIT else events.named(event)):
            yield _alert(rule, severity, count, 0, f"{what}: {count}")
    for circuit, state in view.circuits.items():
        if state == "open":
            yield _alert("circuit_open", "critical", 1, 0, f"circuit breaker that is open: {circuit}")
    limit_ns = thresholds.open_span_ms * 1_000_000
    if stuck := sum(age > limit_ns for age in view.open_ages_ns):
        yield _alert("span_never_closed", "warning", stuck, 0, f"spans that began and did not end: {stuck}")


_COUNTED = (
    ("cost_threshold", THRESHOLD, "critical", "cost thresholds that were exceeded"),
    ("window_exceeded", WINDOW_EXCEEDED, "warning", "prompts that did not fit the context window"),
    ("rate_limited", RATE_LIMIT, "warning", "requests that were rate limited"),
    ("handler_detached", "telemetry.handler.failure", "critical", "handlers that failed and were detached"),
)


def _alert(rule: str, severity: str, value: object, threshold: object, message: str) -> dict[str, Any]:
    return {"rule": rule, "severity": severity, "value": value, "threshold": threshold, "message": message}


# -- arithmetic ------------------------------------------------------------------------------


def _timed(ends: Sequence[Sample]) -> dict[str, Any]:
    failed = sum(not one.success for one in ends)
    durations = [one.duration_ns for one in ends if one.duration_ns is not None]
    spread = _spread(durations)
    return {
        "total": len(ends),
        "failed": failed,
        "success_rate": _rate(len(ends) - failed, len(ends)),
        "avg_duration_ms": sum(durations) / len(durations) / 1e6 if durations else None,
        **{f"{name}_duration_ms": value for name, value in spread.items()},
    }


def _spread(values_ns: Iterable[int]) -> dict[str, float | None]:
    """Percentiles in milliseconds, by nearest rank: each is a value that occurred."""
    ordered = sorted(values_ns)
    return {
        # The rank is rounded up, in whole numbers: a float may be a little above the rank that is meant.
        f"p{percent}": ordered[-(-percent * len(ordered) // 100) - 1] / 1e6 if ordered else None
        for percent in (50, 95, 99)
    }


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _by_provider(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    groups: dict[str, list[Sample]] = {}
    for one in samples:
        groups.setdefault(one.provider or "unknown", []).append(one)
    return groups
