"""Whose event is it?

The owner is process-level state that the hooks of pytest set, read when a request
starts. A ``ContextVar`` would be empty in threads and stale in the runners of async
plugins.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The test, fixture or stage that an event belongs to."""

    nodeid: str | None = None
    """The test; ``None`` for what belongs to the session."""
    phase: str | None = None
    """``setup``, ``call`` or ``teardown`` of a test; ``collection`` outside of one."""
    fixture: str | None = None
    """The fixture that was being set up or torn down."""
    scope: str | None = None
    """That fixture's scope."""
    attempt: int = 1
    """Counts the reruns of a test, from 1."""

    @property
    def label(self) -> str:
        """How reports name it: a node id, or ``[fixture NAME, scope]``.

        >>> Owner(fixture="index", scope="session").label
        '[fixture index, session]'
        """
        if self.nodeid is not None:
            return self.nodeid
        if self.fixture is not None:
            return f"[fixture {self.fixture}, {self.scope}]"
        return f"[{self.phase or 'session'}]"

    @property
    def key(self) -> tuple[str | None, int]:
        """What a test's own events have in common."""
        return (self.nodeid, self.attempt)


SESSION = Owner()

_current = SESSION


def current() -> Owner:
    """Who is at work now."""
    return _current


def swap(owner: Owner) -> Owner:
    """Put ``owner`` to work, and return who was before."""
    global _current
    previous, _current = _current, owner
    return previous
