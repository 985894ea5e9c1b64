"""The head of a response, and who gave it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


LIVE, MOCK, REPLAY = "live", "mock", "replay"
"""Who answered: the network, ``llm_mock``, or any other double."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The head of a response."""

    status: int
    headers: Mapping[str, str]
    """Lower-case names. Only the few named below are read, and none is kept whole."""
    served_by: str

    @property
    def good(self) -> bool:
        """True for 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP
