"""HTTP requests of the application: status, sizes, and no credential."""

from __future__ import annotations

from http import HTTPMethod, HTTPStatus
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import httpx
import pytest

from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import instrument_http
from pytest_llmtelemetry.telemetry.instrument import public_url, size_of


def stop_of(result: object, heard: list[Event], **opts: Any) -> Event:
    """How a request with this result ends."""
    with instrument_http("post", "https://api.example.com/v1", **opts) as span:
        span.result = result
    return heard[-1]


def read_response(status: int) -> httpx.Response:
    """A response whose body was read."""
    return httpx.Response(status, content=b"12345")


class Lazy:
    """A response that would have to download its body."""

    status = 200

    @property
    def content(self) -> bytes:
        return b"downloaded"

    text = read = content


@pytest.mark.parametrize(
    ("result", "status", "size"),
    [
        (read_response(200), 200, 5),
        (httpx.Response(204), 204, 0),
        (httpx.Response(200, stream=httpx.ByteStream(b"later")), 200, None),
        ({"status": 200, "body": "ü"}, 200, 2),
        ({"status_code": HTTPStatus.CREATED}, 201, None),
        (SimpleNamespace(status=200, _body=b"12"), 200, 2),
        (Lazy(), 200, None),
        ({"status": "ok"}, None, None),
        ({"status": True}, None, None),
        ({"status": 7}, None, None),
        ("text", None, None),
        (MagicMock(), None, None),
    ],
    ids=[
        *("httpx", "no content", "not read", "mapping", "enum", "aiohttp", "lazy", "a word", "a flag"),
        *("another number", "text", "mock"),
    ],
)
def test_good_results(result: object, status: int | None, size: int | None, heard: list[Event]) -> None:
    """A status is kept if there is one, and the size of a body that is in memory."""
    stop = stop_of(result, heard)
    found = (stop.metadata.get("status"), stop.measurements.get("response_bytes"), stop["success"])
    assert found == (status, size, True)


@pytest.mark.parametrize("status", [100, 199, 300, 304, 404, 429, 500, 599])
def test_bad_status(status: int, heard: list[Event]) -> None:
    """What is not 2xx is a stop without success."""
    stop = stop_of(read_response(status), heard)
    found = (stop.name, stop["success"], stop["error"], stop["status"])
    assert found == ("llm.http.request.stop", False, f"HTTP {status}", status)


def test_exception(heard: list[Event]) -> None:
    """Only an exception is an exception."""
    with pytest.raises(httpx.ConnectError), instrument_http("get", "https://api.example.com"):
        raise httpx.ConnectError("no route")
    stop = heard[-1]
    assert (stop.name, stop["error_type"]) == ("llm.http.request.exception", "httpx.ConnectError")


@pytest.mark.parametrize(
    ("opts", "size"),
    [
        ({"content": b"{}"}, 2),
        ({"data": "ü"}, 2),
        ({"body": bytearray(3)}, 3),
        ({"json": {"a": 1}}, None),
        ({"content": iter([b"x"])}, None),
        ({}, None),
    ],
    ids=["content", "data", "body", "json", "stream", "none"],
)
def test_request_size(opts: dict[str, Any], size: int | None, heard: list[Event]) -> None:
    """The size of a body in memory is kept; a stream is not consumed for it."""
    assert stop_of(None, heard, **opts).measurements.get("request_bytes") == size


def test_nothing_else_is_kept(heard: list[Event]) -> None:
    """Neither headers nor what is sent leave the process."""
    stop_of(
        {"status": 200, "headers": {"authorization": "x"}, "body": "secret"},
        heard,
        headers={"authorization": "Bearer abc"},
        content="secret",
        auth=("me", "secret"),
        timeout=30,
        provider="acme",
        stream=True,
    )
    start, stop = heard
    assert {key: value for key, value in start.metadata.items() if not key.endswith("_id")} == {
        "method": "POST",
        "url": "https://api.example.com/v1",
        "provider": "acme",
        "timeout": 30,
        "stream": True,
    }
    assert not any("secret" in str(value) for value in (*start.metadata.values(), *stop.metadata.values()))


@pytest.mark.parametrize("method", ["post", "POST", HTTPMethod.POST], ids=["lower", "upper", "enum"])
def test_methods(method: str, heard: list[Event]) -> None:
    """A method is told in capitals."""
    with instrument_http(method, "https://api.example.com"):
        pass
    assert heard[0]["method"] == "POST"


class Unprintable:
    """A URL of the application's own kind."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@api.example.com:8443/v1?key=secret#top", "https://api.example.com:8443/v1"),
        (httpx.URL("https://me:secret@api.example.com/v1?key=secret"), "https://api.example.com/v1"),
        (b"https://me:secret@api.example.com/v1", "https://api.example.com/v1"),
        ("https://api.example.com/models/claude@2024:predict", "https://api.example.com/models/claude@2024:predict"),
        ("/v1/chat?key=secret", "/v1/chat"),
        ("https://[::1]:80/v1", "https://[::1]:80/v1"),
        ("https://api.example.com/sk-abcdefghijklmnop1234/x", "https://api.example.com/[redacted]/x"),
        ("me:secret@api.example.com/v1", "unreadable URL"),
        ("https://[secret", "unreadable URL"),
        (b"\xff", "unreadable URL"),
        (Unprintable(), "unreadable URL"),
        ("", ""),
    ],
    ids=[
        *("all parts", "httpx", "bytes", "at in the path", "relative", "IPv6", "key in the path", "no scheme"),
        *("broken", "no text", "no str", "empty"),
    ],
)
def test_urls(url: object, shown: str) -> None:
    """A URL is told without user, query, fragment and credentials; one that cannot be read is not told."""
    assert public_url(url) == shown


@pytest.mark.parametrize(
    ("value", "size"),
    [("ü", 2), ("\ud800", 3), (b"12", 2), (memoryview(b"123"), 3), (None, None), (5, None), ({}, None)],
    ids=["text", "surrogate", "bytes", "view", "None", "number", "mapping"],
)
def test_sizes(value: object, size: int | None) -> None:
    """Only texts and bytes have a size."""
    assert size_of(value) == size
