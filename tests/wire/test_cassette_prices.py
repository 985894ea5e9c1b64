"""What the recorded answers cost: as they state it, or as the price table has it, or unknown, with the reason."""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import pytest

import cassettes
from cassettes import Interaction
from pytest_llmtelemetry.facts import CallFacts
from pytest_llmtelemetry.pricing import PriceBook
from pytest_llmtelemetry.telemetry.accounting import Billable, Price
from pytest_llmtelemetry.wire.body import read


cassettes.required()

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

# DeepSeek's prices depend on the hour.
AT = datetime(2026, 11, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Priced:
    """An answered interaction with its price."""

    one: Interaction
    provider: str
    facts: CallFacts
    price: Price

    @property
    def reason(self) -> str:
        """Why it has no price."""
        return f"{self.provider}: {self.price.reason}"


@functools.cache
def answered() -> Sequence[Priced]:
    """Every interaction that was answered."""
    book = PriceBook()
    book.load()
    return [_priced(one, book) for one in cassettes.every() if one.status < 300 and "background" not in one.key]


def _priced(one: Interaction, book: PriceBook) -> Priced:
    conversation = one.converse()
    asked, facts = conversation.facts, read(conversation.dialect.draft(), one.body, one.headers)
    if facts.stated_cost_usd is not None:
        price = Price(cost_usd=facts.stated_cost_usd, source="provider")
    else:
        price = book.price(
            Billable(
                provider=asked.provider,
                model=facts.model,
                requested_model=asked.model,
                operation=conversation.dialect.operation,
                usage=facts.usage,
                at=AT,
                service_tier=facts.service_tier,
                free=conversation.seat.free,
            )
        )
    return Priced(one=one, provider=asked.provider, facts=facts, price=price)


def test_a_stated_cost_is_used() -> None:
    """Of every body that states one, and of no other."""
    stated = {each.one.key for each in answered() if each.one.row["cost"] is not None}
    used = {each.one.key: each.price.cost_usd for each in answered() if each.price.source == "provider"}
    assert used.keys() == stated
    assert all(isinstance(cost, Decimal) and cost >= 0 for cost in used.values())


def test_the_share_that_is_priced(capsys: pytest.CaptureFixture[str]) -> None:
    """It is printed, with what is not priced and why; only a gap in the price table may grow."""
    sources = Counter(each.price.source.partition(" ")[0] for each in answered())
    reasons = Counter(each.reason for each in answered() if each.price.cost_usd is None)
    lines = [f"  {source:14}{count:5}  {count / sources.total():.1%}" for source, count in sources.most_common()]
    gaps_and_doubts = [f"  {count:4}  {reason}" for reason, count in reasons.most_common()]
    head = f"\n\nprices of {sources.total()} recorded answers"
    with capsys.disabled():
        sys.stdout.write("\n".join([head, *lines, "  not priced, and why", *gaps_and_doubts, ""]))
    gaps = sum(count for reason, count in reasons.items() if "no price is known" in reason)
    stated_too_little = {reason: count for reason, count in reasons.items() if "no price is known" not in reason}
    assert stated_too_little == {
        "unknown: the host is not a provider's own; name whose prices apply in llm_hosts": 37,
        "azure: the answer states no usage": 27,
        "unknown: the answer states no usage": 7,
        "gemini: the answer states no usage": 6,
        "openai: the answer states no usage": 6,
        "anthropic: the answer states only a part of its usage": 4,
        "groq: the answer states no usage": 2,
        "vertex: the answer states no usage": 1,
    }
    assert gaps < 0.08 * sources.total()
