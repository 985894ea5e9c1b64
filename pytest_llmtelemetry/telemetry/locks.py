"""Locks for code that runs anywhere: in finalisers, in signal handlers, in processes that were forked."""

from __future__ import annotations

import os
import threading
from typing import Any
from weakref import WeakSet


_made: WeakSet[Any] = WeakSet()


def lock() -> threading.RLock:
    """A lock that a finaliser or a signal handler may take again, and that is open in a forked process."""
    made = threading.RLock()
    _made.add(made)
    return made


def _open_all() -> None:
    # Another thread may have held one when this process was forked off, and does not exist here.
    for one in list(_made):
        one._at_fork_reinit()  # noqa: SLF001 - as logging and threading do with their own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_open_all)
