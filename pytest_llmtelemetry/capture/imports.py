"""Puts the seam into HTTP libraries: now if they are imported, else when they appear.

A library that nobody imports is not imported by us.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from pytest_llmtelemetry.capture import httpx_seam


STACKS = ("httpx", "httpx2")
"""The modules that have a seam."""


class Watch:
    """Keeps the seam in every stack of this process for the length of a session."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []
        self._finder = _Finder(self._install)

    def begin(self) -> None:
        """Install the seam where it can be, and wait for the rest."""
        for name in STACKS:
            if (module := sys.modules.get(name)) is not None:
                self._install(module)
        sys.meta_path.insert(0, self._finder)

    def end(self) -> None:
        """Take everything out again."""
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        for step in reversed(self._undo):
            step()
        self._undo.clear()

    def _install(self, module: Any) -> None:
        # ``httpx2.alias_httpx()`` makes both names one module; a nested session finds ours there.
        if not httpx_seam.is_installed(module):
            self._undo.append(httpx_seam.install(module))


class _Finder(importlib.abc.MetaPathFinder):
    """Lets the real finders find, and asks the loader to tell us when it is done."""

    def __init__(self, on_import: Callable[[ModuleType], None]) -> None:
        self._on_import = on_import
        self._busy = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in STACKS or self._busy:
            return None
        self._busy = True
        try:
            for finder in sys.meta_path:
                if finder is self:
                    continue
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    break
            else:
                return None
        finally:
            self._busy = False
        if spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._on_import)
        return spec


class _Loader(importlib.abc.Loader):
    """Loads with the real loader, then leaves no trace of itself."""

    def __init__(self, real: Any, on_import: Callable[[ModuleType], None]) -> None:
        self._real = real
        self._on_import = on_import

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._real.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._real
        module.__loader__ = self._real
        self._real.exec_module(module)
        self._on_import(module)
