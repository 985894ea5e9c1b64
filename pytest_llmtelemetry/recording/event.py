"""One recorded event, and one accounted call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from pytest_llmtelemetry.facts import FinishReason, Usage
from pytest_llmtelemetry.recording.owner import SESSION, Owner
from pytest_llmtelemetry.redaction import scrub
from pytest_llmtelemetry.telemetry.names import COST_CALCULATED


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened."""

    name: str
    """Such as ``llm.provider.request.stop``."""
    measurements: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Numbers, with their unit in the key."""
    metadata: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """All else."""
    owner: Owner = SESSION
    """The test or fixture that it belongs to."""
    span_id: int | None = None
    """The span that it begins, ends or belongs to."""
    parent_id: int | None = None
    """The span around that one."""
    place: int = 0
    """Its place in the order of events of this process."""
    late: bool = False
    """It happened after its owner had ended."""

    def __getitem__(self, key: str) -> Any:
        """A measurement, or else a metadata value."""
        return self.measurements[key] if key in self.measurements else self.metadata[key]

    def __contains__(self, key: object) -> bool:
        return key in self.measurements or key in self.metadata

    def __repr__(self) -> str:
        values = {**self.metadata, **self.measurements}
        shown = {key: value for key, value in values.items() if value is not None and key not in _TIMES}
        stated = ", ".join(f"{key}={_brief(value)}" for key, value in shown.items())
        return scrub(f"<{self.name} {stated}>" if stated else f"<{self.name}>")


def _brief(value: object) -> str:
    # Scrubbed before it is cut: what is left of a credential would not be recognised.
    text = scrub(str(value) if isinstance(value, Decimal | StrEnum) else repr(value))
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST]}…"


_WIDEST = 80
_TIMES = frozenset({"monotonic_time_ns", "system_time_ns"})
"""Said by every span; they tell a reader nothing that ``duration_ns`` does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One accounted call: answered, and counted once."""

    provider: str
    model: str | None
    usage: Usage | None
    """``None`` if the answer stated none."""
    cost_usd: Decimal | None
    """``None`` if nobody knows the price."""
    price_source: str
    """``provider``, ``override``, ``genai-prices VERSION``, ``free`` or ``unpriced``."""
    finish_reason: FinishReason | None
    served_by: str
    """``live``, ``mock`` or ``replay``."""
    estimated: bool
    """The usage was estimated by a mock, not stated on the wire."""
    event: Event = field(compare=False, repr=False)
    """Its ``llm.cost.calculated``."""

    @classmethod
    def of(cls, event: Event) -> Call:
        """Read the call out of its ``llm.cost.calculated`` event, for which :func:`is_call` is true."""
        usage = replace(
            Usage.of_counts(event.measurements),
            doubts=event.metadata.get("doubts", ()),
            partial=event.metadata.get("partial", False),
        )
        return cls(
            provider=event.metadata["provider"],
            model=event.metadata["model"],
            usage=None if usage == Usage() else usage,
            cost_usd=event.measurements["cost_usd"],
            price_source=event.metadata["price_source"],
            finish_reason=event.metadata["finish_reason"],
            served_by=event.metadata["served_by"],
            estimated=event.metadata["estimated"],
            event=event,
        )


def is_call(event: Event) -> bool:
    """True for an event of accounting. Anybody may use its name, but only accounting states who priced it."""
    return event.name == COST_CALCULATED and "price_source" in event.metadata
