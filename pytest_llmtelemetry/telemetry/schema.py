"""What an event consists of: its measurements, its metadata, and when it is emitted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One key of an event."""

    key: str
    about: str
    unit: str | None = None
    """Of a measurement, such as ``ns``, ``USD`` or ``tokens``."""
    required: bool = False
    """The key is there in every such event, be its value ``None``."""
    varies: bool = False
    """The value differs from run to run, so that snapshots leave it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSpec:
    """One event."""

    name: str
    when: str
    """When it is emitted."""
    emitters: tuple[str, ...]
    """Who emits it: ``capture``, ``application``, ``accounting``, ``limits`` or ``bus``."""
    measurements: tuple[Field, ...] = ()
    metadata: tuple[Field, ...] = ()

    @property
    def varying(self) -> frozenset[str]:
        """The keys whose values differ from run to run."""
        return frozenset(field.key for field in (*self.measurements, *self.metadata) if field.varies)

    def problems(self, measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> Iterator[str]:
        """What is wrong with an event of this name, one line each."""
        for kind, fields, given in (
            ("measurement", self.measurements, measurements),
            ("metadata", self.metadata, metadata),
        ):
            for field in fields:
                if field.required and field.key not in given:
                    yield f"{self.name} lacks the {kind} {field.key!r}: {field.about}"
        for key, value in measurements.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float | Decimal)):
                yield f"{self.name}: the measurement {_shown(key)} is {_shown(value)}, not a number"


def _shown(value: object) -> str:
    try:
        return f"{value!r:.60}"
    except Exception:  # noqa: BLE001 - what somebody emits may be anything
        return f"<{type(value).__name__}>"
