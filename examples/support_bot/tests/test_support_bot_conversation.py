"""The conversation, with the model's part played by llm_mock. Read this one first."""

from __future__ import annotations

from decimal import Decimal

import openai
import pytest

from pytest_llmtelemetry import EventLog, LLMMock, RequestFacts, ToolCall, faults, reply, tool_call
from support_bot import Answer, Desk, Order, SupportBot
from support_bot.bot import HANDED_OVER, MAX_ROUNDS


@pytest.fixture
def lamp() -> Order:
    """An order that the bot may refund."""
    return Order(number="A-1", status="shipped", paid_usd=Decimal("20.00"))


@pytest.fixture
def sofa() -> Order:
    """An order that is too dear for the bot."""
    return Order(number="B-2", status="delivered", paid_usd=Decimal("900.00"))


@pytest.fixture
def bot(lamp: Order, sofa: Order) -> SupportBot:
    """A new conversation, on the client that was built when the bot was imported."""
    return SupportBot(Desk([lamp, sofa]))


def last_text(call: RequestFacts) -> str:
    """The newest message of a request, for ``when=``."""
    return str(call.body["messages"][-1]["content"])


def test_a_plain_answer(bot: SupportBot, llm_mock: LLMMock) -> None:
    """What the model says is what the customer reads."""
    llm_mock.openai.chat("We are open until six.")

    assert bot.ask("When do you close?") == Answer(text="We are open until six.")


def test_a_plain_answer_costs_less_than_a_cent(bot: SupportBot, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """A mocked call is priced like a real one, so a prompt that grows too long is noticed here."""
    llm_mock.openai.chat("We are open until six.", input_tokens=800, output_tokens=60)

    bot.ask("When do you close?")

    cost = llm_events.cost_usd
    assert cost is not None
    assert Decimal(0) < cost < Decimal("0.01")


def test_a_tool_call_makes_the_round_trip(bot: SupportBot, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """The model asks for an order, and words its answer once it has seen it: a list answers request by request."""
    llm_mock.openai.chat([tool_call("look_up_order", {"order_number": "A-1"}), "It is on its way."])

    assert bot.ask("Where is A-1?") == Answer(text="It is on its way.")
    assert [call.finish_reason for call in llm_events.calls] == ["tool_calls", "stop"]


def test_the_model_sees_what_the_tool_found(bot: SupportBot, llm_mock: LLMMock) -> None:
    """The tool's result is the last message of the second request: ``when=`` answers only that one."""
    found = "Order A-1 is shipped; 20.00 USD were paid."
    llm_mock.openai.chat("On its way.", when=lambda call: last_text(call) == found)
    llm_mock.openai.chat(tool_call("look_up_order", {"order_number": "A-1"}))

    assert bot.ask("Where is A-1?").text == "On its way."


def test_a_small_refund_is_paid(bot: SupportBot, lamp: Order, llm_mock: LLMMock) -> None:
    """Up to the limit the bot refunds without asking anybody."""
    llm_mock.openai.chat([tool_call("refund", {"order_number": "A-1"}), "Done."])

    assert bot.ask("I want my money back for A-1") == Answer(text="Done.")
    assert lamp.status == "refunded"


def test_a_large_refund_is_handed_to_a_human(
    bot: SupportBot, sofa: Order, llm_mock: LLMMock, llm_events: EventLog
) -> None:
    """Above the limit nothing is paid, and the model is not asked again."""
    llm_mock.openai.chat(tool_call("refund", {"order_number": "B-2"}))

    assert bot.ask("I want my money back for B-2") == Answer(text=HANDED_OVER, handed_over=True)
    assert sofa.status == "delivered"
    assert len(llm_events.calls) == 1


def test_the_conversation_goes_on_after_a_hand_over(bot: SupportBot, llm_mock: LLMMock) -> None:
    """The model has seen the result of every tool call and what the customer was told, as its API demands."""

    def is_complete(call: RequestFacts) -> bool:
        roles = [message["role"] for message in call.body["messages"]]
        return roles == ["system", "user", "assistant", "tool", "assistant", "user"]

    llm_mock.openai.chat("Today.", when=is_complete)
    llm_mock.openai.chat(tool_call("refund", {"order_number": "B-2"}))
    bot.ask("I want my money back for B-2")

    assert bot.ask("When will they write?").text == "Today."


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(tool_call("refund", {"order_number": "Z-9"}), id="unknown-order"),
        pytest.param(tool_call("refund", {"order": "A-1"}), id="wrong-argument"),
        pytest.param(tool_call("refund", '{"order_nu'), id="broken-json"),
        pytest.param(tool_call("delete_order", {"order_number": "A-1"}), id="unknown-tool"),
    ],
)
def test_a_tool_that_raises_is_told_to_the_model(bot: SupportBot, llm_mock: LLMMock, asked: ToolCall) -> None:
    """The model learns that its tool call made no sense, and can apologise."""
    error = f"error: {asked.name}({asked.arguments}) names no tool or no order of this shop"
    llm_mock.openai.chat("Sorry.", when=lambda call: last_text(call) == error)
    llm_mock.openai.chat(asked)

    assert bot.ask("Refund me") == Answer(text="Sorry.")


def test_nothing_is_refunded_twice(bot: SupportBot, llm_mock: LLMMock) -> None:
    """The second tool call of one reply fails, and the model hears of both."""
    refund = tool_call("refund", {"order_number": "A-1"})
    twice = "error: order A-1 is refunded already"
    llm_mock.openai.chat("Once is enough.", when=lambda call: last_text(call) == twice)
    llm_mock.openai.chat(reply("", refund, refund))

    assert bot.ask("Refund A-1, and again") == Answer(text="Once is enough.")


def test_a_model_that_never_answers_is_stopped(bot: SupportBot, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """After some rounds of tools a human takes over: a single reply answers every request alike."""
    llm_mock.openai.chat(tool_call("look_up_order", {"order_number": "A-1"}))

    assert bot.ask("Where is A-1?").handed_over
    assert len(llm_events.calls) == MAX_ROUNDS


def test_a_rate_limit_is_retried(bot: SupportBot, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """The SDK's own retry runs: two attempts go out, and the one that was answered is paid for."""
    llm_mock.openai.chat([faults.rate_limit(), "Hello!"])

    assert bot.ask("Hi").text == "Hello!"
    attempts = llm_events.filter("llm.provider.request.stop")
    assert [(attempt["attempt"], attempt["status"]) for attempt in attempts] == [(1, 429), (2, 200)]
    assert len(llm_events.calls) == 1


def test_a_provider_that_is_down_is_an_error(bot: SupportBot, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """When the retries are used up the SDK's error comes through, and nothing was paid."""
    llm_mock.openai.chat(faults.server_error())

    with pytest.raises(openai.InternalServerError):
        bot.ask("Hi")
    assert llm_events.calls == ()


def test_a_truncated_answer_is_marked(bot: SupportBot, llm_mock: LLMMock, llm_events: EventLog) -> None:
    """The bot shows that the model ran into its limit, and the events of the test say so, too."""
    llm_mock.openai.chat("Our terms are as follows: first", finish_reason="length", output_tokens=300)

    assert bot.ask("What are your terms?") == Answer(text="Our terms are as follows: first […]", truncated=True)
    (truncated,) = llm_events.filter("llm.response.truncated")
    assert truncated.measurements == {"output_tokens": 300, "max_tokens": 300}
