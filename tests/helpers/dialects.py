"""Read what a dialect is sent, and ask it what to write."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from pytest_llmtelemetry.facts import CallFacts, RequestFacts
from pytest_llmtelemetry.wire.body import BodyReader
from pytest_llmtelemetry.wire.dialect import Dialect, WireRequest


NOTHING: Mapping[str, Any] = MappingProxyType({})


def request_to(path: str, *, query: str = "", method: str = "POST") -> WireRequest:
    """A request without a body."""
    return WireRequest(method=method, host="llm.example", port=443, path=path, query=query)


def asked(
    dialect: Dialect,
    body: Mapping[str, Any] = NOTHING,
    *,
    path: str = "/",
    query: str = "",
    provider: str = "openai",
) -> RequestFacts:
    """What a request with this body asks for."""
    return dialect.read_request(body, request=request_to(path, query=query), provider=provider)


def read(
    dialect: Dialect,
    body: object,
    *,
    headers: Mapping[str, str] = MappingProxyType({}),
    places: Iterable[int] = (),
) -> CallFacts:
    """Read an answer, given as bytes, as text or as a document, and cut at ``places``."""
    data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    reader = BodyReader(dialect.draft(), headers)
    for start, end in pairwise(marks):
        reader.feed(data[start:end])
    return reader.close()
