"""Real traffic of real providers, recorded by others, with what they read from it.

The recordings lie beside the repository and are no part of it; without them
:func:`required` skips. Expected values come from their index, never from the code under test.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from pytest_llmtelemetry.wire.dialect import Conversation, WireRequest
from pytest_llmtelemetry.wire.hosts import Hosts
from pytest_llmtelemetry.wire.registry import identify


ROOT = Path(__file__).parents[2].parent / "shared" / "cassettes"

Row = Mapping[str, Any]


def required() -> None:
    """Skip the module if the recordings, or the library that reads them, are not here."""
    if not (ROOT / "index.jsonl").is_file():
        pytest.skip("the recordings are not beside the repository", allow_module_level=True)
    pytest.importorskip("yaml")


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """One request and its answer."""

    key: str
    """The file, and the place in it."""
    row: Row
    """What the index says of it."""
    request: WireRequest
    status: int
    headers: Mapping[str, str]
    body: bytes

    def converse(self) -> Conversation:
        """Identify the request."""
        conversation = identify(self.request, Hosts())
        assert conversation is not None
        return conversation


@functools.cache
def rows() -> Mapping[str, Sequence[Row]]:
    """The index by file, without the recordings that its authors doubt."""
    found: dict[str, list[Row]] = {}
    if not (ROOT / "index.jsonl").is_file():
        return found
    for line in (ROOT / "index.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "doubt" not in row:
            found.setdefault(row["file"], []).append(row)
    return found


@functools.cache
def interactions(file: str) -> Sequence[Interaction]:
    """What was recorded in a file."""
    recorded = list(_reader().load(str(ROOT / file)))
    return [_interaction(row, recorded[row["i"]]) for row in rows()[file]]


def every() -> Iterator[Interaction]:
    """All of them."""
    for file in sorted(rows()):
        yield from interactions(file)


def one(api: str, *, stream: bool) -> Interaction:
    """The longest answer of an API that is, or is not, a stream: it has the most to say."""
    fitting = [
        (row["n_events"] if stream and "n_events" in row else 0, row["file"], row["i"])
        for found in rows().values()
        for row in found
        if row["api"] == api and row["stream"] is stream and row["usage_raw"]
    ]
    _, file, place = max(fitting)
    return next(one for one in interactions(file) if one.row["i"] == place)


def _interaction(row: Row, recorded: Mapping[str, Any]) -> Interaction:
    url = urlsplit(recorded["url"])
    return Interaction(
        key=f"{row['file']}#{row['i']}",
        row=row,
        request=WireRequest(
            method=recorded["method"],
            host=url.hostname or "",
            port=url.port or {"http": 80, "https": 443}[url.scheme],
            path=unquote(url.path),
            query=url.query,
            body=recorded["req"],
        ),
        status=recorded["status"],
        headers={name.lower(): _first(value) for name, value in recorded["resp_headers"].items()},
        body=recorded["resp"],
    )


def _first(value: object) -> str:
    return str(value[0] if isinstance(value, list) else value)


@functools.cache
def _reader() -> Any:
    """The reader that comes with the recordings."""
    spec = importlib.util.spec_from_file_location("cassette_reader", ROOT / "read.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
