"""What a framing cuts a body into."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Frame:
    """One event, line or document."""

    data: str | bytes
    event: str = ""
    """Its name, where the framing gives it one."""
