"""One call, one cost: it is told by the chat, by the adapter and by the wire, and counted once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from migration import after
from migration.after.dashboard import get_metrics
from migration.shared import CLAUDE, GPT, Message, Model, Provider, Response
from pytest_llmtelemetry import EventLog, LLMMock, LLMTelemetry, faults


Build = Callable[..., Any]


def question(number: int = 0) -> list[Message]:
    """A prompt; each number is another."""
    return [{"role": "user", "content": f"What is {number}?"}]


class InAThread:
    """A provider whose requests are made elsewhere, where the context of the chat is lost."""

    def __init__(self, provider: Provider, pool: ThreadPoolExecutor) -> None:
        self.name = provider.name
        self._provider = provider
        self._pool = pool

    def call(self, model: Model, messages: Sequence[Message]) -> Response:
        """Send one request."""
        return self._pool.submit(self._provider.call, model, messages).result()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Eight threads."""
    with ThreadPoolExecutor(8) as pool:
        yield pool


def calls_of(metrics: dict[str, Any]) -> tuple[int, int, dict[str, int]]:
    """How many chat calls, how many costs, and how many requests of each provider."""
    components = metrics["components"]
    requests = {name: provider["total"] for name, provider in components["providers"].items()}
    return components["chat"]["total_calls"], components["costs"]["calls"], requests


def test_a_chat_costs_once(build: Build, llm_mock: LLMMock, llm_events: EventLog, llm_telemetry: LLMTelemetry) -> None:
    """With either provider the cost is that of the wire, and the application's own price list agrees with it."""
    llm_mock.openai.chat("Paris.", input_tokens=12, output_tokens=2)
    llm_mock.anthropic.messages("Paris.", input_tokens=12, output_tokens=2)
    assistant = build(after)
    responses = [assistant.chat(model, question()) for model in (GPT, CLAUDE)]

    assert [call.cost_usd for call in llm_events.calls] == [response.cost_usd for response in responses]
    assert calls_of(llm_telemetry.get_metrics()) == (2, 2, {"anthropic": 1, "openai": 1})


def test_an_answer_from_the_cache_costs_nothing(
    build: Build, llm_mock: LLMMock, llm_events: EventLog, llm_telemetry: LLMTelemetry
) -> None:
    """Three chats, one of them paid; what the others saved is known."""
    llm_mock.openai.chat("Paris.", input_tokens=12, output_tokens=2)
    assistant = build(after)
    for _ in range(3):
        assistant.chat(GPT, question())

    metrics = llm_telemetry.get_metrics()
    assert calls_of(metrics) == (3, 1, {"openai": 1})
    assert llm_events.cost_usd == Decimal("0.0000022")
    assert metrics["components"]["cache"]["saved_usd"] == Decimal("0.0000044")


def test_a_retry_costs_nothing(
    build: Build, llm_mock: LLMMock, llm_events: EventLog, llm_telemetry: LLMTelemetry
) -> None:
    """Two requests, of which one was answered, are one call."""
    llm_mock.openai.chat([faults.server_error(), "Paris."])
    build(after).chat(GPT, question())

    assert len(llm_events.calls) == 1
    assert calls_of(llm_telemetry.get_metrics()) == (1, 1, {"openai": 2})


def test_chats_in_threads_cost_once_each(
    build: Build, llm_mock: LLMMock, llm_events: EventLog, llm_telemetry: LLMTelemetry, pool: ThreadPoolExecutor
) -> None:
    """Forty chats in eight threads, all with the same usage, are forty calls."""
    llm_mock.openai.chat("Paris.", input_tokens=12, output_tokens=2)
    assistant = build(after)
    list(pool.map(lambda number: assistant.chat(GPT, question(number)), range(40)))

    assert len(llm_events.calls) == 40
    assert llm_events.cost_usd == 40 * Decimal("0.0000022")
    assert calls_of(llm_telemetry.get_metrics()) == (40, 40, {"openai": 40})


def test_requests_in_other_threads_than_their_chats_cost_once_each(
    http: httpx.Client,
    llm_mock: LLMMock,
    llm_events: EventLog,
    llm_telemetry: LLMTelemetry,
    pool: ThreadPoolExecutor,
) -> None:
    """The context is lost between a chat and its request, so the answer's id tells that they are the same."""
    llm_mock.openai.chat("Paris.", input_tokens=12, output_tokens=2)
    with ThreadPoolExecutor(8) as elsewhere:
        assistant = after.Assistant([InAThread(after.OpenAI(http, api_key="not-a-key"), elsewhere)])
        list(pool.map(lambda number: assistant.chat(GPT, question(number)), range(40)))

    assert {event.parent_id for event in llm_events.filter("llm.provider.request.start", max_tokens=400)} == {None}
    assert llm_events.cost_usd == 40 * Decimal("0.0000022")
    assert calls_of(llm_telemetry.get_metrics()) == (40, 40, {"openai": 40})


def test_costs_below_a_cent_survive(build: Build, llm_mock: LLMMock, llm_telemetry: LLMTelemetry) -> None:
    """Each of a hundred calls costs a few millionths of a dollar; the dashboard shows their exact sum."""
    llm_mock.openai.chat("Paris.", input_tokens=12, output_tokens=2)
    assistant = build(after)
    for number in range(100):
        assistant.chat(GPT, question(number))

    assert get_metrics()["summary"]["total_cost"] == Decimal("0.00022")
    assert llm_telemetry.get_metrics()["components"]["costs"]["total"] == Decimal("0.022")


PRODUCTION = """
import json, sys
import httpx
from migration import after
from migration.after.application import start
from migration.after.dashboard import get_metrics
from migration.after.handlers import Monitoring
from migration.after.statsd import StatsD
from migration.shared import GPT

answer = {
    "id": "chatcmpl-1",
    "model": "gpt-6-luna",
    "choices": [{"message": {"content": "Paris."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 14},
}
replies = iter([httpx.Response(429), *(httpx.Response(200, json=answer | {"id": str(n)}) for n in range(3))])
with StatsD() as statsd, httpx.Client(transport=httpx.MockTransport(lambda request: next(replies))) as http:
    stop = start(Monitoring(statsd=statsd, alert=print))
    assistant = after.Assistant([after.OpenAI(http, api_key="not-a-key")], sleep=lambda seconds: None)
    for question in ("one", "two", "three", "one"):
        assistant.chat(GPT, [{"role": "user", "content": question}])
    metrics = get_metrics()
    stop()
summary, openai = metrics["summary"], metrics["providers"]["openai"]
print(json.dumps({
    "calls": summary["total_calls"],
    "cost": str(summary["total_cost"]),
    "unpriced": summary["unpriced_calls"],
    "hit_rate": summary["cache_hit_rate"],
    "requests": [openai["total"], openai["failed"], openai["rate_limited"], openai["costs"]["calls"]],
    "alerts": [alert["rule"] for alert in metrics["alerts"]],
    "pytest": "pytest" in sys.modules,
}))
"""


def test_in_production_the_application_counts_for_itself() -> None:
    """Without pytest nobody watches the wire: chat and adapter tell of each call, it is counted once, at its price."""
    examples = str(Path(after.__file__).parents[2])
    result = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", PRODUCTION],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": examples},
    )

    assert json.loads(result.stdout) == {
        "calls": 4,
        "cost": "0.0000066",
        "unpriced": 0,
        "hit_rate": 0.25,
        "requests": [4, 1, 1, 3],
        "alerts": ["rate_limited"],
        "pytest": False,
    }
