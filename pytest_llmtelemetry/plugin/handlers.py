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
        """The test is over."""
        self.bring_back()
        self._in_test = False

    def bring_back(self) -> None:
        """Attach what outlasts the test, and nothing else."""
        if self._in_test and not _same(bus.attachments(), self._lasting):
            bus.restore(self._lasting)
        self.failed.clear()

    def settle_fixture(self, before: tuple[Attachment, ...]) -> tuple[Attachment, ...]:
        """A wider fixture was set up, or torn down: keep what it changed, and return what it attached.

        Args:
            before: what was attached when it began.
        """
        after = bus.attachments()
        was, now = _ids(before), _ids(after)
        kept = {
            id(one) for one in self._lasting if id(one) not in was or id(one) in now or one.handler_id in self.failed
        }
        known, seen = was | kept, was | now
        added = tuple(one for one in after if id(one) not in known)
        lasting = kept | _ids(added)
        # Each in its place, also if it is away at the moment.
        away = (one for one in self._lasting if id(one) not in seen)
        everything = {id(one): one for one in (*away, *before, *after)}
        self._lasting = [one for one in everything.values() if id(one) in lasting]
        return added

    def drop(self, attached: Iterable[Attachment]) -> None:
        """The fixture that attached these is gone."""
        gone = _ids(attached)
        if not gone:
            return
        self._lasting = [one for one in self._lasting if id(one) not in gone]
        bus.restore(one for one in bus.attachments() if id(one) not in gone)


def _same(now: Sequence[Attachment], then: Sequence[Attachment]) -> bool:
    return len(now) == len(then) and all(one is other for one, other in zip(now, then, strict=True))


def _ids(attachments: Iterable[Attachment]) -> set[int]:
    # By identity: an equal one may have been detached and attached again.
    return {id(one) for one in attachments}
