"""How steadily the pieces of a stream come."""

from __future__ import annotations

from pytest_llmtelemetry.telemetry import clock


class Pace:
    """Counts pieces, and the gaps between them."""

    __slots__ = ("_clock", "_gaps_ns", "_last_ns", "_longest_ns", "pieces")

    def __init__(self) -> None:
        self.pieces = 0
        self._clock = clock.current()
        self._last_ns = self._clock.now_ns()
        self._gaps_ns = self._longest_ns = 0

    def tick(self) -> int:
        """A piece came: the nanoseconds since the one before, or since the start."""
        now = self._clock.now_ns()
        gap, self._last_ns = now - self._last_ns, now
        if self.pieces:
            self._gaps_ns += gap
            self._longest_ns = max(self._longest_ns, gap)
        self.pieces += 1
        return gap

    def measurements(self) -> dict[str, int]:
        """For the end of the stream. Between fewer than two pieces there is no gap."""
        if self.pieces < 2:  # noqa: PLR2004
            return {"chunks": self.pieces}
        return {
            "chunks": self.pieces,
            "mean_gap_ns": self._gaps_ns // (self.pieces - 1),
            "max_gap_ns": self._longest_ns,
        }
