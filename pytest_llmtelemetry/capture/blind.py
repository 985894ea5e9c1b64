"""Notices when a provider is contacted through a stack that has no seam.

A name look-up of a provider's host, while no request that we see is under way to it,
means that requests, aiohttp, botocore or the like is talking to it: the report says so,
and while providers are mocked it is refused. What resolves names outside Python
(gRPC), or leaves that to a proxy, is not noticed.
"""

from __future__ import annotations

import functools
import socket
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

    def look_up(self, host: str) -> None:
        """A name is about to be resolved."""
        if is_loopback(host) or self.observer.is_contacting(host):
            return
        seat = self.observer.hosts.seat(host, None)
        if not seat.known or seat.free:
            return
        self.on_contact(host, seat.provider)


_watching: list[BlindSpots] = []
_OURS = "__llmtelemetry__"


def watch(spots: BlindSpots) -> Callable[[], None]:
    """Begin to watch name look-ups, and return a function that ends it.

    ``socket.getaddrinfo`` is wrapped, through which all stacks in Python go. Not an audit hook: it
    cannot be removed, and one in Python makes threads that begin under a tracer fail.
    """
    _watching.append(spots)
    if not hasattr(socket.getaddrinfo, _OURS):
        socket.getaddrinfo = _watched(socket.getaddrinfo)

    def undo() -> None:
        if spots in _watching:
            _watching.remove(spots)
        ours: Any = getattr(socket.getaddrinfo, _OURS, None)
        # What somebody has put around ours stays, and finds nobody to report to.
        if not _watching and socket.getaddrinfo is ours:
            socket.getaddrinfo = vars(ours)["__wrapped__"]

    return undo


def _watched(original: Any) -> Any:
    @functools.wraps(original)
    def getaddrinfo(*args: Any, **kwargs: Any) -> Any:
        _notice(args[0] if args else kwargs.get("host"))
        return original(*args, **kwargs)

    setattr(getaddrinfo, _OURS, getaddrinfo)
    return getaddrinfo


def _notice(host: object) -> None:
    if not _watching:
        return
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if isinstance(host, str):
        try:
            _watching[-1].look_up(host.lower())
        except Exception:  # noqa: BLE001 - a fault of ours must not keep a name from being resolved
            report_fault()
