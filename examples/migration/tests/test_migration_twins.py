"""The two variants, side by side: the same bytes out, the same results and errors back."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from migration import after, before
from migration.shared import CLAUDE, GPT, ChatError, Message, Model, TransientError


Build = Callable[..., Any]

HELLO: Message = {"role": "user", "content": "Hello?"}
LONG: Message = {"role": "user", "content": "long " * 50}
SMALL = Model(provider="openai", name="gpt-6-luna", max_input_tokens=20)

OK = {
    "openai": {
        "id": "chatcmpl-7",
        "model": "gpt-6-luna",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi!"}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
    },
    "anthropic": {
        "id": "msg_7",
        "model": "claude-haiku-5-5",
        "content": [{"type": "text", "text": "Hi!"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 10, "output_tokens": 2},
    },
}


class Scripted:
    """Answers with one status after the other, and keeps what it was sent."""

    def __init__(self, statuses: Sequence[int]) -> None:
        self._statuses = iter(statuses)
        self.sent: list[tuple[str, dict[str, str], bytes]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer the next request; below 100 is a network that fails."""
        self.sent.append((str(request.url), dict(request.headers), request.content))
        status = next(self._statuses)
        if status < 100:
            raise httpx.ReadError("cut off")
        answer = OK[request.url.host.split(".")[1]] if status == 200 else {"error": {"message": "no"}}
        return httpx.Response(status, headers={"retry-after": "2"}, content=json.dumps(answer).encode())


def outcome(fn: Callable[..., object], *args: object, **options: object) -> object:
    """What came of it, as a value."""
    try:
        return fn(*args, **options)
    except ChatError as error:
        wait = error.retry_after_s if isinstance(error, TransientError) else None
        return type(error), str(error), wait, type(error.__cause__)


@pytest.mark.parametrize(
    ("statuses", "chats"),
    [
        pytest.param([200], [(GPT, [HELLO])], id="openai"),
        pytest.param([200], [(CLAUDE, [{"role": "system", "content": "Be brief."}, HELLO])], id="anthropic"),
        pytest.param([200, 200], [(GPT, [HELLO]), (GPT, [HELLO])], id="twice"),
        pytest.param([429, 500, 200], [(GPT, [HELLO])], id="third-attempt"),
        pytest.param([429, 429, 429], [(GPT, [HELLO])], id="rate-limited"),
        pytest.param([0, 0, 0], [(GPT, [HELLO]), (GPT, [HELLO])], id="cut-off-then-circuit-open"),
        pytest.param([400], [(GPT, [HELLO])], id="rejected"),
        pytest.param([301], [(GPT, [HELLO])], id="moved"),
        pytest.param([200], [(SMALL, [LONG, HELLO])], id="truncated"),
        pytest.param([], [(SMALL, [HELLO, LONG])], id="too-long"),
    ],
)
@pytest.mark.parametrize("in_session", [False, True], ids=["alone", "in-session"])
def test_both_variants_do_the_same(
    build: Build, statuses: list[int], chats: list[tuple[Model, list[Message]]], in_session: bool
) -> None:
    """The same requests, byte for byte, the same answers, errors and conversations."""

    def run(app: ModuleType) -> object:
        provider = Scripted(statuses)
        with httpx.Client(transport=httpx.MockTransport(provider)) as http:
            assistant = build(app, http=http)
            session = app.Session("s1") if in_session else None
            outcomes = [outcome(assistant.chat, *chat, session=session) for chat in chats]
        return outcomes, session.messages if session else None, provider.sent

    assert run(after) == run(before)


@pytest.mark.parametrize("name", before.__all__)
def test_both_variants_have_the_same_face(name: str) -> None:
    """The same names, and the same signatures below them."""
    ours, theirs = getattr(after, name), getattr(before, name)

    assert after.__all__ == before.__all__
    if callable(ours):
        assert inspect.signature(ours) == inspect.signature(theirs)
    for method, fn in inspect.getmembers(theirs, inspect.isfunction):
        assert inspect.signature(getattr(ours, method)) == inspect.signature(fn)


def test_the_first_variant_knows_nothing_of_telemetry() -> None:
    """Or the comparison would prove nothing."""
    sources = [path.read_text() for path in Path(before.__file__).parent.glob("*.py")]

    assert len(sources) == 9
    assert not [source for source in sources if "telemetry" in source]
