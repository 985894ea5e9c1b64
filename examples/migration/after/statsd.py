"""A small StatsD client: one datagram for each value, with tags."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self


class StatsD:
    """Sends values over UDP. Whether anybody listens is not this application's problem."""

    def __init__(self, host: str = "127.0.0.1", port: int = 8125) -> None:
        self._address = (host, port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def timing(self, name: str, milliseconds: float, *, tags: Mapping[str, object]) -> None:
        """How long something took."""
        self._send(name, f"{milliseconds:g}|ms", tags)

    def gauge(self, name: str, value: float, *, tags: Mapping[str, object]) -> None:
        """How much of something there is."""
        self._send(name, f"{value}|g", tags)

    def increment(self, name: str, *, tags: Mapping[str, object]) -> None:
        """One more of something."""
        self._send(name, "1|c", tags)

    def _send(self, name: str, value: str, tags: Mapping[str, object]) -> None:
        labels = ",".join(f"{key}:{_word(tag)}" for key, tag in tags.items())
        with suppress(OSError):
            self._socket.sendto(f"{name}:{value}|#{labels}".encode(), self._address)


def _word(tag: object) -> str:
    """A tag without what separates tags and lines."""
    return re.sub(r"[|,#\s]", "_", str(tag))
