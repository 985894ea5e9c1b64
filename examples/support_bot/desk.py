"""What the bot can do besides talk, and where it must stop."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

from openai.types.chat import ChatCompletionFunctionToolParam


REFUND_LIMIT_USD = Decimal(50)
"""The most that is refunded without a human."""


@dataclass(slots=True, kw_only=True)
class Order:
    """One order of a customer."""

    number: str
    status: str
    paid_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a tool call."""

    text: str
    """Told to the model."""
    needs_human: bool = False
    """The bot may not decide this."""


Tool = Callable[[Order], Outcome]


class ToolError(Exception):
    """A tool call that cannot be done. The model is told why, and may ask again or apologise."""


class Desk:
    """The orders of the shop, and what may be done with them."""

    def __init__(self, orders: Iterable[Order]) -> None:
        self._orders = {order.number: order for order in orders}

    def use(self, tool: str, arguments: str) -> Outcome:
        """Run a tool with the arguments that the model wrote, in JSON."""
        try:
            run, order = self._understand(tool, arguments)
            return run(order)
        except ToolError as error:
            return Outcome(text=f"error: {error}")

    def _understand(self, tool: str, arguments: str) -> tuple[Tool, Order]:
        try:
            return _TOOLS[tool], self._orders[json.loads(arguments)["order_number"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ToolError(f"{tool}({arguments}) names no tool or no order of this shop") from error


def _look_up(order: Order) -> Outcome:
    return Outcome(text=f"Order {order.number} is {order.status}; {order.paid_usd} USD were paid.")


def _refund(order: Order) -> Outcome:
    if order.status == "refunded":
        raise ToolError(f"order {order.number} is refunded already")
    if order.paid_usd > REFUND_LIMIT_USD:
        return Outcome(text="handed to a human", needs_human=True)
    order.status = "refunded"
    return Outcome(text=f"{order.paid_usd} USD will be back in a few days.")


_TOOLS: dict[str, Tool] = {"look_up_order": _look_up, "refund": _refund}


def _describe(name: str, description: str) -> ChatCompletionFunctionToolParam:
    parameters = {
        "type": "object",
        "properties": {"order_number": {"type": "string"}},
        "required": ["order_number"],
        "additionalProperties": False,
    }
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters, "strict": True},
    }


DESCRIPTIONS = (
    _describe("look_up_order", "The status of an order, and what was paid for it."),
    _describe("refund", "Pay an order back in full."),
)
