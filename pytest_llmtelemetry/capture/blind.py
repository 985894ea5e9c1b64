"""Notices when a provider is contacted through a stack that has no seam.

A name look-up of a provider's host, while no request that we see is under way to it,
means that requests, aiohttp, botocore or the like is talking to it: the report says so,
and while providers are mocked it is refused. What resolves names outside Python
(gRPC), or leaves that to a proxy, is not noticed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_llmtelemetry.capture.observer import Observer, report_fault
from pytest_llmtelemetry.wire.hosts import is_loopback


@dataclass(slots=True)
class BlindSpots:
    """Looks at the names that are resolved, and tells of providers that are contacted unseen."""

    observer: Observer
    on_contact: Callable[[str, str], None] = lambda host, provider: None
    """Told of each host and its provider. May raise, and the contact is then not made."""

    def look_up(self, host: str) -> None:  # pragma: no cover - called from an audit hook alone
        """A name is about to be resolved."""
        if is_loopback(host) or self.observer.is_contacting(host):
            return
        seat = self.observer.hosts.seat(host, None)
        if not seat.known or seat.free:
            return
        self.on_contact(host, seat.provider)


_watching: list[BlindSpots] = []
_hooked = False


def watch(spots: BlindSpots) -> Callable[[], None]:
    """Begin to watch name look-ups, and return a function that ends it.

    Audit hooks cannot be removed from a process; ours is added once, and does nothing
    while nobody watches.
    """
    global _hooked  # noqa: PLW0603 - what it guards is the process's too
    _watching.append(spots)
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True

    def undo() -> None:
        if spots in _watching:
            _watching.remove(spots)

    return undo


def _hook(event: str, args: tuple[Any, ...]) -> None:  # pragma: no cover - Python does not trace audit hooks
    if event != "socket.getaddrinfo" or not _watching:
        return
    host = args[0]
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if isinstance(host, str):
        try:
            _watching[-1].look_up(host.lower())
        except Exception:  # noqa: BLE001 - a fault of ours must not keep a name from being resolved
            report_fault()
