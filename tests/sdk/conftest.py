"""Each SDK in turn, both kinds of client, and a server on loopback in the provider's place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest

from isolation import hasty_threads
from loopback import Server
from pytest_llmtelemetry.plugin.session import SESSION
from pytest_llmtelemetry.wire.hosts import Hosts
from sdks import KINDS, SDK, SDKS


__all__ = ["hasty_threads"]


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on loopback."""
    one = Server()
    yield one
    one.close()


@pytest.fixture(params=SDKS, ids=lambda one: one.label)
def sdk(request: pytest.FixtureRequest) -> SDK:
    """Each SDK in turn."""
    one: SDK = request.param
    return one


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """A sync client, then an async one."""
    name: str = request.param
    return name


@pytest.fixture(params=[httpx, httpx2], ids=lambda module: module.__name__)
def stack(request: pytest.FixtureRequest) -> Any:
    """Each HTTP library, whichever the SDKs use."""
    return request.param


@pytest.fixture
def provider(request: pytest.FixtureRequest, server: Server, sdk: SDK) -> Iterator[Server]:
    """A server on loopback that has the SDK's provider's prices."""
    observer = request.config.stash[SESSION].observer
    before = observer.hosts
    observer.hosts = Hosts({server.address: sdk.name})
    yield server
    observer.hosts = before
