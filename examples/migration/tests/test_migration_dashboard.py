"""The numbers of the dashboard, after a day of which everything is known."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from migration import after
from migration.after.dashboard import HOUR_MS, get_metrics
from migration.shared import CACHE_TTL_S, CLAUDE, GPT, Message, Model, RejectedError
from pytest_llmtelemetry import FixedClock, LLMMock, LLMTelemetry, faults


Build = Callable[..., Any]

QUESTION: Message = {"role": "user", "content": "Capital of France?"}
LONG: Message = {"role": "user", "content": "long " * 20}
SMALL = Model(provider="openai", name="gpt-6-luna", max_input_tokens=20)


@pytest.mark.usefixtures("llm_telemetry")
def test_nothing_happened_yet() -> None:
    """What nobody knows is none, and what was not spent is zero."""
    assert get_metrics() == {
        "summary": {
            "total_calls": 0,
            "avg_response_time": None,
            "cache_hit_rate": None,
            "total_cost": Decimal(0),
            "unpriced_calls": 0,
            "total_cost_since_start": Decimal(0),
        },
        "providers": {},
        "alerts": [],
    }


@pytest.mark.usefixtures("llm_telemetry")
def test_the_summary(build: Build, llm_mock: LLMMock) -> None:
    """Four chats: one after two seconds of waiting, one from the cache, one of the other provider, one that failed."""
    llm_mock.openai.chat(
        [faults.server_error(retry_after=2), "Paris.", faults.auth()], input_tokens=12, output_tokens=2
    )
    llm_mock.anthropic.messages("Paris.", input_tokens=20, output_tokens=2)
    assistant = build(after)
    assistant.chat(GPT, [QUESTION])
    assistant.chat(GPT, [QUESTION])
    assistant.chat(CLAUDE, [QUESTION])
    with pytest.raises(RejectedError):
        assistant.chat(GPT, [LONG])

    assert get_metrics()["summary"] == {
        "total_calls": 4,
        "avg_response_time": 500.0,
        "cache_hit_rate": 0.25,
        "total_cost": Decimal("0.0000052"),
        "unpriced_calls": 0,
        "total_cost_since_start": Decimal("0.0000052"),
    }


@pytest.mark.usefixtures("llm_telemetry")
def test_the_providers(build: Build, llm_mock: LLMMock) -> None:
    """Each with its requests, failures and money."""
    llm_mock.openai.chat([faults.server_error(), "Paris."], input_tokens=12, output_tokens=2)
    llm_mock.anthropic.messages("Paris.", input_tokens=20, output_tokens=2)
    assistant = build(after)
    assistant.chat(GPT, [QUESTION])
    assistant.chat(CLAUDE, [QUESTION])

    shown = {
        name: (one["total"], one["failed"], one["success_rate"], one["costs"]["total_usd"])
        for name, one in get_metrics()["providers"].items()
    }
    assert shown == {
        "openai": (2, 1, 0.5, Decimal("0.0000022")),
        "anthropic": (1, 0, 1.0, Decimal("0.000003")),
    }


@pytest.mark.usefixtures("llm_telemetry")
def test_the_alerts(build: Build, llm_mock: LLMMock) -> None:
    """By name: an answer that was too expensive, a prompt that was too long, a provider that is down."""
    dear: dict[str, Any] = {"input_tokens": 10_000, "output_tokens": 1}
    llm_mock.openai.chat(["Paris.", *[faults.server_error()] * 3], **dear)
    assistant = build(after)
    assistant.chat(SMALL, [LONG, QUESTION])
    with pytest.raises(Exception, match="openai"):
        assistant.chat(GPT, [LONG])

    assert {alert["rule"]: alert["severity"] for alert in get_metrics()["alerts"]} == {
        "cost_threshold": "critical",
        "window_exceeded": "warning",
        "circuit_open": "critical",
    }


@pytest.mark.usefixtures("llm_telemetry")
def test_the_dashboard_shows_the_last_hour(build: Build, llm_mock: LLMMock, llm_clock: FixedClock) -> None:
    """What is older is in the cost since the start alone."""
    llm_mock.openai.chat("Paris.", input_tokens=12, output_tokens=2)
    assistant = build(after)
    assistant.chat(GPT, [QUESTION])
    llm_clock.advance(ms=HOUR_MS + 1)
    assistant.chat(GPT, [QUESTION])

    summary = get_metrics()["summary"]
    assert (summary["total_calls"], summary["total_cost"]) == (1, Decimal("0.0000022"))
    assert summary["total_cost_since_start"] == Decimal("0.0000044")


def test_what_the_dashboard_is_made_of(
    build: Build, llm_mock: LLMMock, llm_telemetry: LLMTelemetry, llm_clock: FixedClock
) -> None:
    """A session, a cache that forgets, and a prompt that was cut until it was one that is in the cache."""
    llm_mock.openai.chat("Paris.", input_tokens=12, output_tokens=2)
    assistant, session = build(after), after.Session("s1")
    assistant.chat(GPT, [QUESTION], session=session)
    assistant.chat(GPT, [QUESTION])
    llm_clock.advance(CACHE_TTL_S)
    assistant.chat(GPT, [QUESTION])
    assistant.chat(SMALL, [LONG, QUESTION])
    session.truncate(keep=1)
    session.clear()

    components = llm_telemetry.dashboard_data(time_window=HOUR_MS)["components"]
    assert components["cache"] == {
        "lookups": 4,
        "hits": 2,
        "misses": 2,
        "hit_rate": 0.5,
        "stores": 2,
        "expired": 1,
        "evicted": 0,
        "saved": Decimal("0.00044"),
        "saved_usd": Decimal("0.0000044"),
        "saved_unknown": 0,
    }
    assert components["context"] == {
        "window_exceeded": 1,
        "truncations": 1,
        "messages_removed": 1,
        "tokens_removed": 29,
    }
    assert components["sessions"] == {"created": 1, "messages_added": 2, "cleared": 1, "truncated": 1}
    assert components["tokens"] == {"input": 24, "output": 4, "total": 28, "cache_read": 0}
