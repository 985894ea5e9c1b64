"""A support bot for a small shop, on the OpenAI SDK."""

from __future__ import annotations

from support_bot.bot import Answer, SupportBot
from support_bot.desk import Desk, Order
from support_bot.streaming import astream_answer, stream_answer


__all__ = ["Answer", "Desk", "Order", "SupportBot", "astream_answer", "stream_answer"]
