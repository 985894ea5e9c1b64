"""Handlers live as long as what attached them: a test, a wider fixture, or the session."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_llmtelemetry.telemetry import bus
from pytest_llmtelemetry.telemetry.bus import Attachment


class HandlerScopes:
    """Remembers what is attached between tests, and brings it back after each.

    What a test attaches is removed at its end, and what failed or was detached in it
    returns. What a wider fixture attaches or detaches stays, until that fixture ends.
    """

    def __init__(self) -> None:
        self._lasting: list[Attachment] = []
        self._in_test = False
        self.failed: set[str] = set()
        """Ids of handlers that raised in the current test: those come back."""

    def begin_test(self) -> None:
        """What is attached now outlasts the test."""
        self._lasting = list(bus.attachments())
        self._in_test = True
        self.failed.clear()

    def end_test(self) -> None:
        """Bring back what outlasts the test, and nothing else."""
        if self._in_test and not _same(bus.attachments(), self._lasting):
            bus.restore(self._lasting)
        self._in_test = False

    def settle_fixture(self, before: tuple[Attachment, ...]) -> tuple[Attachment, ...]:
        """A wider fixture was set up, or torn down: keep what it changed, and return what it attached.

        Args:
            before: what was attached when it began.
        """
        after = bus.attachments()
        kept = [
            one for one in self._lasting if not _has(before, one) or _has(after, one) or one.handler_id in self.failed
        ]
        added = tuple(one for one in after if not _has(before, one) and not _has(kept, one))
        gone = [one for one in kept if not _has(after, one)]
        self._lasting = [*gone, *(one for one in after if _has(kept, one) or _has(added, one))]
        return added

    def drop(self, attached: Iterable[Attachment]) -> None:
        """The fixture that attached these is gone."""
        gone = tuple(attached)
        if not gone:
            return
        self._lasting = [one for one in self._lasting if not _has(gone, one)]
        bus.restore(one for one in bus.attachments() if not _has(gone, one))


def _same(now: Sequence[Attachment], then: Sequence[Attachment]) -> bool:
    return len(now) == len(then) and all(one is other for one, other in zip(now, then, strict=True))


def _has(attachments: Iterable[Attachment], wanted: Attachment) -> bool:
    # By identity: an equal one may have been detached and attached again.
    return any(one is wanted for one in attachments)
