"""Answers that OpenAI works on in the background: asked for later, as often as the client likes, and paid once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from loopback import Reply, Server
from pytest_llmtelemetry import EventLog, Usage
from pytest_llmtelemetry.limits.ledger import Ledger
from pytest_llmtelemetry.plugin.session import SESSION
from pytest_llmtelemetry.wire.hosts import Hosts


@pytest.fixture
def openai_server(request: pytest.FixtureRequest, server: Server) -> Iterator[Server]:
    """A server on loopback at which OpenAI's prices apply."""
    observer = request.config.stash[SESSION].observer
    before = observer.hosts
    observer.hosts = Hosts({server.address: "openai"})
    yield server
    observer.hosts = before


def answer(status: str, usage: dict[str, int] | None = None) -> Reply:
    """The response as it stands."""
    document: dict[str, Any] = {"id": "resp_1", "object": "response", "status": status, "model": "gpt-4o"}
    return Reply(body=[json.dumps({**document, "output": [], "usage": usage}).encode()])


DONE = answer("completed", {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15})


def test_what_is_polled_for_is_counted_once(openai_server: Server, llm_events: EventLog) -> None:
    """However often it is asked for, before it is there and after."""
    openai_server.answer(answer("queued"), answer("in_progress"), DONE, DONE)
    with openai.OpenAI(base_url=f"{openai_server.url}/v1", api_key="sk-test") as client:
        begun = client.responses.create(model="gpt-4o", input="hi", background=True)
        polled = [client.responses.retrieve(begun.id).status for _ in range(3)]

    requests = llm_events.filter("llm.provider.request.stop")
    assert polled == ["in_progress", "completed", "completed"]
    assert [event.metadata.get("pending", False) for event in requests] == [True, True, False, False]
    [call] = llm_events.calls
    assert (call.usage, call.event["response_id"]) == (
        Usage(input_tokens=10, output_tokens=5, total_tokens=15),
        "resp_1",
    )


def test_what_is_never_asked_for_is_uncertain(openai_server: Server, llm_events: EventLog) -> None:
    """It is being paid for, and nobody knows how much; its answer settles that."""
    openai_server.answer(answer("queued"), DONE)
    ledger = Ledger()
    with httpx2.Client(base_url=openai_server.url) as client:
        client.post("/v1/responses", json={"model": "gpt-4o", "input": "hi", "background": True})
        heard = list(llm_events)
        for event in heard:
            ledger.hear(event)
        before = Ledger.load(ledger.dump()).uncertain
        client.get("/v1/responses/resp_1")
    for event in list(llm_events)[len(heard) :]:
        ledger.hear(event)

    assert (before, ledger.uncertain, ledger.totals.calls) == (1, 0, 1)
