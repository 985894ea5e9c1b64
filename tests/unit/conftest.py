"""The core, alone: see :mod:`isolation`."""

from __future__ import annotations

from isolation import alone, hasty_threads, heard


__all__ = ["alone", "hasty_threads", "heard"]
