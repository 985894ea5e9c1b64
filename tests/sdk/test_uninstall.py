"""How the seam comes off, and who else may hold on to the same functions."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from loopback import Server
from pytest_llmtelemetry import EventLog
from pytest_llmtelemetry.capture.imports import Watch
from pytest_llmtelemetry.plugin.session import SESSION
from sdks import SDK, OpenAI, asked, expected_call


pytestmark = pytest.mark.matrix


@pytest.fixture
def sdk() -> SDK:
    """Everybody here asks OpenAI's question, without its SDK."""
    return OpenAI()


@pytest.fixture
def watch(request: pytest.FixtureRequest) -> Iterator[Watch]:
    """The session's watch over the HTTP libraries, in force again after the test."""
    one = request.config.stash[SESSION]._watch
    yield one
    one.end()
    one.begin()


PLACES = [(name, attribute) for name in ("Client", "AsyncClient") for attribute in ("send", "_transport_for_url")]


def functions(stack: Any) -> list[Any]:
    """The functions that the seam replaces."""
    return [vars(getattr(stack, name))[attribute] for name, attribute in PLACES]


def test_uninstall(stack: Any, watch: Watch) -> None:
    """What was there before is there again: the very same functions."""
    originals = [function.__wrapped__ for function in functions(stack)]
    watch.end()
    assert functions(stack) == originals
    watch.end()
    assert functions(stack) == originals
    watch.begin()
    assert [function.__wrapped__ for function in functions(stack)] == originals


def test_meta_path(watch: Watch) -> None:
    """The watch for imports leaves nothing behind."""
    before = list(sys.meta_path)
    watch.end()
    assert [finder for finder in before if finder not in sys.meta_path] == [watch._finder]


def test_one_watch_inside_another(stack: Any, sdk: SDK, provider: Server, llm_events: EventLog) -> None:
    """A second watch finds the seam of the first, and leaves it."""
    before = functions(stack)
    inner = Watch()
    inner.begin()
    assert functions(stack) == before
    provider.answer(sdk.plain)
    with stack.Client() as client:
        client.post(**asked(sdk, provider))
    inner.end()

    assert functions(stack) == before
    assert llm_events.calls == (expected_call(sdk, llm_events),)


def wrapped(send: Callable[..., Any], seen: list[str]) -> Callable[..., Any]:
    """A wrapper such as another tracer installs."""

    def theirs(self: Any, request: Any, **options: Any) -> Any:
        seen.append(str(request.url))
        return send(self, request, **options)

    return theirs


@pytest.mark.parametrize("politely", [False, True], ids=["plainly", "with functools.wraps"])
def test_wrapped_after_us(
    *,
    stack: Any,
    politely: bool,
    sdk: SDK,
    provider: Server,
    watch: Watch,
    llm_events: EventLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wrapper that somebody put around ours stays when we go, and works."""
    ours = stack.Client.send
    seen: list[str] = []
    theirs = functools.wraps(ours)(wrapped(ours, seen)) if politely else wrapped(ours, seen)
    provider.answer(sdk.plain, sdk.plain)
    with monkeypatch.context() as patch, stack.Client() as client:
        patch.setattr(stack.Client, "send", theirs)
        client.post(**asked(sdk, provider))
        watch.end()
        assert stack.Client.send is theirs
        assert client.post(**asked(sdk, provider)).json() == sdk.answer
    stack.Client.send = ours.__wrapped__

    assert len(seen) == 2
    assert llm_events.calls[0] == expected_call(sdk, llm_events)


def test_wrapped_before_us(
    *,
    stack: Any,
    sdk: SDK,
    provider: Server,
    watch: Watch,
    llm_events: EventLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wrapper that was there before us is called by ours, and is what we leave behind."""
    seen: list[str] = []
    watch.end()
    theirs = wrapped(stack.Client.send, seen)
    monkeypatch.setattr(stack.Client, "send", theirs)
    watch.begin()
    provider.answer(sdk.plain)
    with stack.Client() as client:
        client.post(**asked(sdk, provider))
    watch.end()

    assert stack.Client.send is theirs
    assert seen == [provider.url + sdk.path]
    assert llm_events.calls == (expected_call(sdk, llm_events),)
