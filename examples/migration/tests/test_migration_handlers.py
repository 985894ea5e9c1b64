"""The application's own handler: what reaches its monitoring, its log and whoever is on call."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from migration import after
from migration.after.application import start
from migration.after.handlers import Monitoring
from migration.after.statsd import StatsD
from migration.shared import CLAUDE, GPT, Message, RejectedError
from pytest_llmtelemetry import LLMMock, faults, telemetry
from pytest_llmtelemetry.errors import HandlerExistsError


Build = Callable[..., Any]

QUESTION: Message = {"role": "user", "content": "Capital of France?"}


class Listener:
    """A StatsD server on loopback."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(1)
        self.port: int = self._socket.getsockname()[1]

    def lines(self, count: int) -> list[str]:
        """The next lines, and none beyond them."""
        lines = [self._socket.recv(1024).decode() for _ in range(count)]
        self._socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            self._socket.recv(1024)
        return lines

    def close(self) -> None:
        """Stop to listen."""
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Somebody who listens."""
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture
def statsd(listener: Listener) -> Iterator[StatsD]:
    """A client of that listener."""
    with StatsD(port=listener.port) as statsd:
        yield statsd


@pytest.fixture
def alerts(statsd: StatsD) -> Iterator[list[tuple[Decimal, Decimal]]]:
    """The application is started; these are the alerts that it sends."""
    sent: list[tuple[Decimal, Decimal]] = []
    stop = start(Monitoring(statsd=statsd, alert=lambda cost, threshold: sent.append((cost, threshold))))
    yield sent
    stop()


@pytest.mark.usefixtures("alerts")
def test_a_chat_reaches_statsd(build: Build, llm_mock: LLMMock, listener: Listener) -> None:
    """How long it took, how many tokens it used, and whether the provider answered, in real datagrams."""
    llm_mock.openai.chat([faults.rate_limit(retry_after=2), "Paris."], when=lambda request: True)
    build(after).chat(GPT, [QUESTION])

    assert listener.lines(4) == [
        "llm.provider.failure:1|c|#provider:openai",
        "llm.provider.success:1|c|#provider:openai",
        "llm.chat.duration:2000|ms|#model:gpt-6-luna",
        "llm.tokens.used:7|g|#model:gpt-6-luna",
    ]


@pytest.mark.usefixtures("alerts")
def test_a_chat_that_fails_is_a_failure_of_the_provider(build: Build, llm_mock: LLMMock, listener: Listener) -> None:
    """The adapter raises, and that counts too."""
    llm_mock.anthropic.messages(faults.auth())
    with pytest.raises(RejectedError):
        build(after).chat(CLAUDE, [QUESTION])

    assert listener.lines(1) == ["llm.provider.failure:1|c|#provider:anthropic"]


@pytest.mark.usefixtures("alerts")
def test_a_chat_reaches_the_log(build: Build, llm_mock: LLMMock, caplog: pytest.LogCaptureFixture) -> None:
    """One line of the application's own; the default handlers have theirs under another logger."""
    llm_mock.openai.chat([faults.rate_limit(retry_after=2), "Paris."])
    with caplog.at_level(logging.INFO):
        build(after).chat(GPT, [QUESTION])

    loggers = {record.name for record in caplog.records}
    own = [record.getMessage() for record in caplog.records if record.name == "migration.after.handlers"]
    assert own == ["LLM chat completed in 2000.0 ms for model gpt-6-luna"]
    assert "pytest_llmtelemetry.events" in loggers


def test_an_expensive_answer_is_an_alert(
    build: Build, llm_mock: LLMMock, alerts: list[tuple[Decimal, Decimal]]
) -> None:
    """Whoever is on call learns the cost and the threshold, in dollars, exact."""
    llm_mock.openai.chat("Paris.", input_tokens=10_000, output_tokens=1)
    build(after).chat(GPT, [QUESTION])

    assert alerts == [(Decimal("0.0010005"), Decimal("0.001"))]


def test_an_alert_that_cannot_be_sent_harms_nothing(
    build: Build, llm_mock: LLMMock, listener: Listener, statsd: StatsD
) -> None:
    """The handler stays attached, and the chat is answered."""

    def alert(cost: Decimal, threshold: Decimal) -> None:
        raise ConnectionError("the pager is down")

    llm_mock.openai.chat("Paris.", input_tokens=10_000, output_tokens=1)
    stop = start(Monitoring(statsd=statsd, alert=alert))
    build(after).chat(GPT, [QUESTION])
    stop()

    assert [line.partition(":")[0] for line in listener.lines(3)] == [
        "llm.provider.success",
        "llm.chat.duration",
        "llm.tokens.used",
    ]


def test_a_monitoring_that_is_down_harms_nothing(build: Build, llm_mock: LLMMock, listener: Listener) -> None:
    """Nobody listens, and the chat is answered."""
    llm_mock.openai.chat("Paris.")
    listener.close()
    with StatsD(port=listener.port) as statsd:
        stop = start(Monitoring(statsd=statsd, alert=lambda cost, threshold: None))
        assistant = build(after)
        answers = [assistant.chat(GPT, [QUESTION]).text for _ in range(3)]
        stop()

    assert answers == ["Paris."] * 3


def test_a_tag_cannot_break_the_line(listener: Listener, statsd: StatsD) -> None:
    """What separates tags and lines is replaced: a model's name comes from a provider."""
    statsd.increment("llm.test", tags={"model": "a|b,c#d e\nf", "size": 1.5})

    assert listener.lines(1) == ["llm.test:1|c|#model:a_b_c_d_e_f,size:1.5"]


def test_a_value_that_cannot_be_sent_is_lost(listener: Listener, statsd: StatsD) -> None:
    """A datagram that is too long is not sent, and nobody is bothered with it; the next one is."""
    statsd.increment("llm.test", tags={"model": "x" * 70_000})
    statsd.gauge("llm.test", 2, tags={"model": "a"})

    assert listener.lines(1) == ["llm.test:2|g|#model:a"]


def test_a_stopped_application_leaves_nothing_attached(statsd: StatsD) -> None:
    """What ``start`` attached is gone."""
    stop = start(Monitoring(statsd=statsd, alert=lambda cost, threshold: None))
    attached = {one.handler_id for one in telemetry.list_handlers("llm")}
    stop()

    assert attached == {"myapp-llm-handler", "llmtelemetry-default-logger", "llmtelemetry-default-metrics"}
    assert telemetry.list_handlers("llm") == []


def test_an_application_starts_once(statsd: StatsD) -> None:
    """A second start is an error, and leaves the first as it is."""
    monitoring = Monitoring(statsd=statsd, alert=lambda cost, threshold: None)
    stop = start(monitoring)
    before = telemetry.list_handlers()
    with pytest.raises(HandlerExistsError, match="myapp-llm-handler"):
        start(monitoring)

    assert telemetry.list_handlers() == before
    stop()
