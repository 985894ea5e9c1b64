"""Accounting: every answered call becomes exactly one event, at its own place, priced when prices are there."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest

from pytest_llmtelemetry.facts import FinishReason, Usage
from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import accounting, attach, execute
from pytest_llmtelemetry.telemetry.accounting import AccountedCall, Billable, Price
from pytest_llmtelemetry.telemetry.names import COST_CALCULATED


AT = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Till:
    """A pricer with one price for everything."""

    ready: bool = True
    asked: list[Billable] = field(default_factory=list)
    answer: Price = field(default_factory=lambda: Price(cost_usd=Decimal("0.02"), source="override"))

    def price(self, call: Billable) -> Price:
        self.asked.append(call)
        return self.answer


def call(model: str | None = "gpt-4o-mini", *, usage: Usage | None = None, **more: Any) -> AccountedCall:
    """A call that was answered by ``model``."""
    billable = Billable(provider="openai", model=model, requested_model="gpt-4o", operation="chat", usage=usage, at=AT)
    return AccountedCall(billable=billable, served_by="mock", **more)


def models(events: list[Event]) -> list[Any]:
    """Which calls were told."""
    return [event["model"] for event in events if event.name == COST_CALCULATED]


# -- when -------------------------------------------------------------------------------


def test_call_is_told_at_once_if_prices_are_there(heard: list[Event]) -> None:
    """With a pricer that is ready nothing waits."""
    accounting.set_pricer(Till())
    accounting.account(call("a"))
    assert models(heard) == ["a"]


def test_call_waits_until_prices_are_there(heard: list[Event]) -> None:
    """A pricer that would have to load first is not asked before somebody settles."""
    till = Till(ready=False)
    accounting.set_pricer(till)
    accounting.account(call("a"))
    accounting.account(call("b"))
    assert (heard, till.asked) == ([], [])
    accounting.settle()
    assert models(heard) == ["a", "b"]


def test_call_that_waits_is_told_before_the_next_one(heard: list[Event]) -> None:
    """Once prices are there, the first new call brings along those that wait."""
    till = Till(ready=False)
    accounting.set_pricer(till)
    accounting.account(call("a"))
    till.ready = True
    accounting.account(call("b"))
    assert models(heard) == ["a", "b"]


def test_each_call_is_told_once(heard: list[Event]) -> None:
    """Settling again tells nothing again."""
    accounting.set_pricer(Till())
    accounting.account(call("a"))
    accounting.settle()
    accounting.settle()
    assert models(heard) == ["a"]


def test_event_keeps_the_place_at_which_the_call_was_answered(heard: list[Event]) -> None:
    """An event that waited for its price comes before what happened while it waited."""
    accounting.set_pricer(Till(ready=False))
    execute("before")
    accounting.account(call("a"))
    execute("between")
    accounting.account(call("b"))
    execute("after")
    accounting.settle()
    in_order = sorted(heard, key=lambda event: event.place)
    assert [event.name for event in heard] == ["before", "between", "after", *[COST_CALCULATED] * 2]
    assert [event.metadata.get("model", event.name) for event in in_order] == ["before", "a", "between", "b", "after"]


# -- what -------------------------------------------------------------------------------


def test_event_says_everything(heard: list[Event]) -> None:
    """Cost and tokens are measurements; who, what and how priced is metadata, with what the caller adds."""
    till = Till()
    accounting.set_pricer(till)
    usage = Usage(input_tokens=10, output_tokens=5, total_tokens=15, cache_read_tokens=4)
    told = call(usage=usage, finish_reason=FinishReason.STOP, metadata=MappingProxyType({"host": "h", "span_id": 7}))
    accounting.account(told)
    (event,) = heard
    assert event.measurements == {
        "cost_usd": Decimal("0.02"),
        "input_tokens": 10,
        "output_tokens": 5,
        "total_tokens": 15,
        "cache_read_tokens": 4,
        "cache_write_tokens": None,
        "cache_write_1h_tokens": None,
        "reasoning_tokens": None,
    }
    assert event.metadata == {
        "provider": "openai",
        "model": "gpt-4o-mini",
        "requested_model": "gpt-4o",
        "operation": "chat",
        "price_source": "override",
        "served_by": "mock",
        "finish_reason": FinishReason.STOP,
        "estimated": False,
        "host": "h",
        "span_id": 7,
    }
    assert till.asked == [told.billable]


def test_usage_that_was_not_stated_is_none(heard: list[Event]) -> None:
    """Without usage every count is None, never zero."""
    accounting.set_pricer(Till())
    accounting.account(call(usage=None))
    assert heard[0].measurements == {"cost_usd": Decimal("0.02"), **dict.fromkeys(Usage().counts())}


def test_doubts_are_told(heard: list[Event]) -> None:
    """What does not add up in a usage is in the event."""
    accounting.set_pricer(Till())
    accounting.account(call(usage=Usage(doubts=("9 cached tokens of 3 input tokens",))))
    assert heard[0]["doubts"] == ("9 cached tokens of 3 input tokens",)


def test_estimated_usage_is_marked(heard: list[Event]) -> None:
    """A usage that a mock made up is said to be estimated."""
    accounting.set_pricer(Till())
    accounting.account(call(estimated=True))
    assert heard[0]["estimated"] is True


def test_requested_model_stands_in_for_one_that_was_not_named(heard: list[Event]) -> None:
    """An answer that names no model is told under the requested one."""
    accounting.set_pricer(Till())
    accounting.account(call(None))
    assert (heard[0]["model"], heard[0]["requested_model"]) == ("gpt-4o", "gpt-4o")


def test_unpriced_call_has_no_cost_and_a_reason(heard: list[Event]) -> None:
    """A price that nobody knows is None, with the pricer's reason."""
    accounting.set_pricer(Till(answer=Price(cost_usd=None, source="unpriced", reason="no usage")))
    accounting.account(call())
    event = heard[0]
    assert (event["cost_usd"], event["price_source"], event["unpriced_reason"]) == (None, "unpriced", "no usage")


def test_without_a_pricer_calls_are_unpriced(heard: list[Event]) -> None:
    """Without a pricer a call is told at once, because nobody will know more later: unpriced, not free and not lost."""
    accounting.account(call())
    (event,) = heard
    assert (event["cost_usd"], event["price_source"]) == (None, "unpriced")
    assert event["unpriced_reason"] == "no prices are loaded"


@pytest.mark.parametrize("stated", ["0.5", "0", "0.0036"], ids=["some", "nothing", "less than a cent"])
@pytest.mark.parametrize("pricer", [Till(), None], ids=["before a pricer", "without one"])
@pytest.mark.parametrize("free", [False, True], ids=["", "before free"])
def test_cost_that_is_stated_is_taken_as_it_is(
    stated: str, pricer: Till | None, free: bool, heard: list[Event]
) -> None:
    """A provider knows best what it charges, be it nothing: no pricer is asked."""
    accounting.set_pricer(pricer)
    one = call()
    accounting.account(replace(one, billable=replace(one.billable, stated_cost_usd=Decimal(stated), free=free)))
    (event,) = heard
    assert (event["cost_usd"], event["price_source"]) == (Decimal(stated), "provider")
    assert pricer is None or pricer.asked == []


def test_event_says_who_stated_the_cost(heard: list[Event]) -> None:
    """A cost in an application's own result is the application's word."""
    one = call()
    told = replace(one.billable, stated_cost_usd=Decimal(1), stated_by="application")
    accounting.account(replace(one, billable=told))
    assert heard[0]["price_source"] == "application"


def test_call_whose_cost_is_stated_waits_for_prices_all_the_same(heard: list[Event]) -> None:
    """Calls are told in the order in which they were answered."""
    accounting.set_pricer(Till(ready=False))
    one = call("b")
    accounting.account(call("a"))
    accounting.account(replace(one, billable=replace(one.billable, stated_cost_usd=Decimal(1))))
    assert heard == []
    accounting.settle()
    assert models(heard) == ["a", "b"]


# -- pricers ----------------------------------------------------------------------------


def test_set_pricer_returns_its_undo(heard: list[Event]) -> None:
    """Undoing brings the earlier pricer back, or none."""
    outer, inner = Till(), Till()
    undo_outer = accounting.set_pricer(outer)
    undo_inner = accounting.set_pricer(inner)
    accounting.account(call("a"))
    undo_inner()
    accounting.account(call("b"))
    undo_outer()
    accounting.account(call("c"))
    assert [one.model for one in inner.asked] == ["a"]
    assert [one.model for one in outer.asked] == ["b"]
    assert [(event["model"], event["price_source"]) for event in heard] == [
        ("a", "override"),
        ("b", "override"),
        ("c", "unpriced"),
    ]


# -- handlers of the event --------------------------------------------------------------


def test_handler_may_settle(heard: list[Event]) -> None:
    """A handler that reads a sum, and so settles, neither loses nor doubles the calls behind its own."""
    accounting.set_pricer(Till(ready=False))
    attach("reader", COST_CALCULATED, lambda *args: accounting.settle())
    for name in ("a", "b", "c"):
        accounting.account(call(name))
    accounting.settle()
    assert models(heard) == ["a", "b", "c"]


def test_handler_may_account(heard: list[Event]) -> None:
    """A handler that makes a call itself is counted too."""
    accounting.set_pricer(Till())
    attach(
        "caller",
        COST_CALCULATED,
        lambda event, measurements, metadata, config: (
            accounting.account(call("b")) if metadata["model"] == "a" else None
        ),
    )
    accounting.account(call("a"))
    assert models(heard) == ["a", "b"]


def test_handler_that_fails_the_test_loses_no_call(heard: list[Event]) -> None:
    """An assertion in a handler ends the settling; the calls behind it are told the next time."""
    accounting.set_pricer(Till(ready=False))
    undo = attach("judge", COST_CALCULATED, lambda *args: pytest.fail("too dear"))
    accounting.account(call("a"))
    accounting.account(call("b"))
    with pytest.raises(pytest.fail.Exception, match="too dear"):
        accounting.settle()
    undo()
    accounting.settle()
    assert models(heard) == ["a", "b"]


def test_settling_waits_for_what_another_thread_is_telling(heard: list[Event]) -> None:
    """After settling every sum is complete: a call that another thread is just pricing is told first."""
    asked, go_on = threading.Event(), threading.Event()

    class SlowTill(Till):
        def price(self, call: Billable) -> Price:
            asked.set()
            go_on.wait(5)
            return super().price(call)

    accounting.set_pricer(SlowTill())
    seen: list[Any] = []

    def read() -> None:
        accounting.settle()
        seen.extend(models(heard))

    teller = threading.Thread(target=lambda: accounting.account(call("a")))
    reader = threading.Thread(target=read)
    teller.start()
    asked.wait(5)
    reader.start()
    reader.join(0.02)
    go_on.set()
    teller.join()
    reader.join()
    assert seen == ["a"]


@pytest.mark.usefixtures("hasty_threads")
def test_threads_account_each_call_once(heard: list[Event]) -> None:
    """Eight threads that account and settle at the same time tell each call once, at places of their own."""
    accounting.set_pricer(Till())
    ready = threading.Barrier(8, timeout=10)
    failures: list[Exception] = []

    def work(thread: int) -> None:
        ready.wait()
        try:
            for n in range(50):
                accounting.account(call(f"{thread}-{n}"))
                accounting.settle()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must see it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(models(heard)) == sorted(f"{thread}-{n}" for thread in range(8) for n in range(50))
    assert len({event.place for event in heard}) == 400
