"""The real SDKs, each against a provider on loopback that speaks its API."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from kinds import KINDS
from polyglot import Polyglot
from pytest_llmtelemetry.plugin.session import SESSION
from pytest_llmtelemetry.wire.hosts import Hosts


# Where asserts are that are no tests by themselves.
pytest.register_assert_rewrite("suite")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Ask plainly and for a stream, unless the SDK cannot read one, or the test says itself what it asks for."""
    own = [marker.args[0] for marker in metafunc.definition.iter_markers("parametrize")]
    if "streamed" in metafunc.fixturenames and "streamed" not in own:
        ways = {"plain": False, "streamed": True} if getattr(metafunc.cls, "streams", True) else {"plain": False}
        metafunc.parametrize("streamed", ways.values(), ids=ways)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """A sync client, then an async one."""
    name: str = request.param
    return name


@pytest.fixture
def provider(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Polyglot]]:
    """Begin a provider of the given name; what is asked of it is captured under that name."""
    observer = request.config.stash[SESSION].observer
    before = observer.hosts
    begun: list[Polyglot] = []

    def begin(name: str) -> Polyglot:
        one = Polyglot(name)
        begun.append(one)
        observer.hosts = Hosts({**observer.hosts.rules, one.address: name})
        return one

    yield begin
    observer.hosts = before
    for one in begun:
        one.close()
