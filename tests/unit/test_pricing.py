"""Prices: who says what a call costs, and what is said when nobody can."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import (
    ROUND_UP,
    Context,
    Decimal,
    FloatOperation,
    Inexact,
    InvalidOperation,
    Rounded,
    getcontext,
    setcontext,
)
from pathlib import Path
from typing import Any

import genai_prices
import pytest
from genai_prices import data_snapshot
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmtelemetry.errors import SettingError
from pytest_llmtelemetry.facts import Usage
from pytest_llmtelemetry.money import parse_usd, usd
from pytest_llmtelemetry.pricing import PriceBook, Rates, read_overrides
from pytest_llmtelemetry.telemetry.accounting import Billable, Price


AT = datetime(2026, 11, 1, tzinfo=UTC)
GENAI = f"genai-prices {genai_prices.__version__}"


def billable(model: str | None = "gpt-4o-mini", usage: Usage | None = None, **more: Any) -> Billable:
    """A call to OpenAI, unless said otherwise."""
    known: dict[str, Any] = {"provider": "openai", "requested_model": model, "operation": "chat", "at": AT}
    return Billable(model=model, usage=usage, **(known | more))


def listed(provider: str, model: str, key: str) -> Decimal:
    """A price per million tokens out of the table that genai-prices ships."""
    _, info = data_snapshot.get_snapshot().find_provider_model(model, None, provider, None)
    prices: Any = info.prices
    rate = getattr(prices, key)
    assert isinstance(rate, Decimal)
    return rate


def unpriced(reason: str) -> Price:
    """The price that nobody knows."""
    return Price(cost_usd=None, source="unpriced", reason=reason)


PLAIN = Usage(input_tokens=1000, output_tokens=500)
CACHED = Usage(input_tokens=1000, output_tokens=500, cache_read_tokens=400)
WRITTEN = Usage(
    input_tokens=1000, output_tokens=500, cache_read_tokens=400, cache_write_tokens=300, cache_write_1h_tokens=100
)
RATES = Rates(input=Decimal(3), output=Decimal(7))


# -- genai-prices -----------------------------------------------------------------------


def test_cached_input_of_openai_is_cheaper() -> None:
    """Input that was read from the cache is priced at its own rate, and is not counted twice."""
    price = PriceBook().price(billable(usage=CACHED))
    fresh, cached, output = (
        listed("openai", "gpt-4o-mini", key) for key in ("input_mtok", "cache_read_mtok", "output_mtok")
    )
    assert price.cost_usd == (600 * fresh + 400 * cached + 500 * output) / 1_000_000
    assert price == Price(cost_usd=Decimal("0.00042"), source=GENAI)


def test_cache_of_anthropic_has_three_rates() -> None:
    """What is read, written, and written for an hour, each has its own rate."""
    price = PriceBook().price(billable("claude-haiku-4-5", WRITTEN, provider="anthropic"))
    fresh, read, written, written_1h, output = (
        listed("anthropic", "claude-haiku-4-5", key)
        for key in ("input_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok", "output_mtok")
    )
    by_hand = 300 * fresh + 400 * read + 200 * written + 100 * written_1h + 500 * output
    assert price.cost_usd == by_hand / 1_000_000
    assert price == Price(cost_usd=Decimal("0.00329"), source=GENAI)


def test_cache_write_without_the_hour() -> None:
    """Writes that are not said to last an hour have the ordinary rate."""
    usage = Usage(input_tokens=1000, output_tokens=500, cache_read_tokens=400, cache_write_tokens=300)
    price = PriceBook().price(billable("claude-haiku-4-5", usage, provider="anthropic"))
    assert price == Price(cost_usd=Decimal("0.003215"), source=GENAI)


def test_no_tokens_cost_nothing() -> None:
    """A call that states zero tokens is priced: zero is known."""
    price = PriceBook().price(billable(usage=Usage(input_tokens=0, output_tokens=0)))
    assert price == Price(cost_usd=Decimal(0), source=GENAI)


def test_model_that_answered_is_priced() -> None:
    """The response's model is priced, not the one that was asked for."""
    price = PriceBook().price(billable("gpt-4o-mini", PLAIN, requested_model="gpt-4o"))
    assert price == PriceBook().price(billable("gpt-4o-mini", PLAIN, requested_model=None))
    assert price != PriceBook().price(billable("gpt-4o", PLAIN))


@pytest.mark.parametrize("answered", [None, "", "no-such-model"])
def test_requested_model_is_the_fallback(answered: str | None) -> None:
    """Where the response's model is absent or unknown, the requested one is priced."""
    price = PriceBook().price(billable(answered, PLAIN, requested_model="gpt-4o-mini"))
    assert price == Price(cost_usd=Decimal("0.00045"), source=GENAI)


def test_service_tier_has_its_own_price() -> None:
    """Flex is cheaper and priority dearer than the default; an unknown tier has the standard price."""
    flex, default, none, odd, priority = (
        PriceBook().price(billable("gpt-5", PLAIN, service_tier=tier)).cost_usd
        for tier in ("flex", "default", None, "odd", "priority")
    )
    assert flex is not None
    assert default is not None
    assert priority is not None
    assert flex < default < priority
    assert default == none == odd


def test_how_it_was_served_is_one_word_here_and_one_of_three_keys_there() -> None:
    """Batches, Anthropic's fast mode, and Vertex's longer words."""
    tiers = {
        "batch": billable("o3", PLAIN, service_tier="batch"),
        "fast": billable("claude-opus-4-8", PLAIN, provider="anthropic", service_tier="fast"),
        "flex at Vertex": billable("gemini-3.8-flash-tts", PLAIN, provider="vertex", service_tier="ON_DEMAND_FLEX"),
    }
    ratios = {name: ratio(call) for name, call in tiers.items()}
    assert ratios == {"batch": Decimal("0.5"), "fast": Decimal(2), "flex at Vertex": Decimal("0.5")}


def ratio(call: Billable) -> Decimal:
    """How much dearer it is than the same call with no tier."""
    cost = PriceBook().price(call).cost_usd
    standard = PriceBook().price(replace(call, service_tier=None)).cost_usd
    assert cost is not None
    assert standard is not None
    return cost / standard


def test_what_is_billed_is_priced() -> None:
    """Cohere counts more tokens than it bills."""
    usage = replace(PLAIN, billed_input_tokens=100, billed_output_tokens=50, cache_read_tokens=900)
    price = PriceBook().price(billable("command-r-08-2024", usage, provider="cohere"))
    assert price == PriceBook().price(
        billable("command-r-08-2024", Usage(input_tokens=100, output_tokens=50), provider="cohere")
    )


def test_the_bill_alone_is_enough() -> None:
    """Cohere's older answers state nothing else."""
    price = PriceBook().price(
        billable("command-r-08-2024", Usage(billed_input_tokens=100, billed_output_tokens=50), provider="cohere")
    )
    assert (price.cost_usd, price.source) == (Decimal("0.000045"), GENAI)


def test_an_override_prices_what_is_billed() -> None:
    """As the table does."""
    usage = replace(PLAIN, billed_input_tokens=100, billed_output_tokens=50)
    price = PriceBook(overrides={"m": RATES}).price(billable("m", usage))
    assert price.cost_usd == (100 * RATES.input + 50 * RATES.output) / 1_000_000


def test_a_medium_has_its_own_price() -> None:
    """Sound is dearer than text, from the cache too."""
    usage = Usage(
        input_tokens=1000,
        output_tokens=0,
        cache_read_tokens=400,
        input_audio_tokens=300,
        cache_audio_read_tokens=200,
    )
    price = PriceBook().price(billable("gemini-2.5-flash", usage, provider="gemini"))
    text, cached, sound, cached_sound = (
        listed("google", "gemini-2.5-flash", key)
        for key in ("input_mtok", "cache_read_mtok", "input_audio_mtok", "cache_audio_read_mtok")
    )
    assert price.cost_usd == (500 * text + 200 * cached + 100 * sound + 200 * cached_sound) / 1_000_000


@pytest.mark.parametrize("cached", ["cache_read_tokens", "cache_write_tokens"])
def test_a_split_that_is_not_known_is_not_priced(cached: str) -> None:
    """Sound and cache overlap, nobody knows how far: the cache is priced, and sound as text is."""
    usage = Usage.of_counts({"input_tokens": 1000, "output_tokens": 0, cached: 400})
    plain = PriceBook().price(billable("gemini-2.5-flash", usage, provider="gemini"))
    mixed = PriceBook().price(billable("gemini-2.5-flash", replace(usage, input_audio_tokens=300), provider="gemini"))
    assert (mixed, mixed.source) == (plain, GENAI)


def test_an_embedding_has_no_output() -> None:
    """An SDK's embedding states its input alone, and is priced."""
    usage = Usage(input_tokens=1_000_000)
    price = PriceBook().price(billable("text-embedding-3-small", usage, operation="embeddings"))
    assert price == Price(cost_usd=Decimal("0.02"), source=GENAI)


def test_price_is_that_of_the_day() -> None:
    """A call is priced as of its request: DeepSeek has prices by the time of day."""
    peak, quiet = (
        PriceBook().price(
            billable("deepseek-flash", PLAIN, provider="deepseek", at=datetime(2026, 11, 1, hour, 30, tzinfo=UTC))
        )
        for hour in (9, 13)
    )
    assert peak.cost_usd is not None
    assert quiet.cost_usd is not None
    assert peak.cost_usd > quiet.cost_usd > 0


@pytest.mark.parametrize(
    ("ours", "model"),
    [
        ("gemini", "gemini-2.5-flash"),
        ("vertex", "gemini-2.5-flash"),
        ("xai", "grok-4"),
        ("voyage", "voyage-3.5"),
        ("bedrock", "anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("azure", "gpt-4o-mini"),
        ("groq", "llama-3.3-70b-versatile"),
    ],
)
def test_providers_are_found_under_our_names(ours: str, model: str) -> None:
    """Providers that genai-prices names otherwise are found all the same."""
    price = PriceBook().price(billable(model, PLAIN, provider=ours))
    assert (price.source, price.reason) == (GENAI, None)
    assert price.cost_usd is not None
    assert price.cost_usd > 0


def test_table_is_loaded_late() -> None:
    """A book that was not asked is not ready, and is once it has been."""
    book = PriceBook()
    assert not book.ready
    book.price(billable(free=True))
    book.price(billable(usage=None))
    ready_before = book.ready
    book.price(billable(usage=PLAIN))
    assert (ready_before, book.ready) == (False, True)


def test_load_makes_the_book_ready() -> None:
    """Loading can be done ahead, and again."""
    book = PriceBook()
    book.load()
    book.load()
    assert book.ready


_OFFLINE = """
import json, sys
looked_up = []
sys.addaudithook(lambda event, args: looked_up.append(event) if event.startswith(("socket.", "urllib.", "http.")) else None)
from datetime import datetime, UTC
from pytest_llmtelemetry.facts import Usage
from pytest_llmtelemetry.pricing import PriceBook
from pytest_llmtelemetry.telemetry.accounting import Billable
before = "genai_prices" in sys.modules
book = PriceBook()
book.load()
usage = Usage(input_tokens=1000, output_tokens=500)
call = Billable(provider="openai", model="gpt-4o-mini", requested_model=None, operation="chat", usage=usage,
                at=datetime(2026, 11, 1, tzinfo=UTC))
cost = str(book.price(call).cost_usd)
heard = list(looked_up)
import socket
socket.socket().close()
print(json.dumps([before, cost, heard, "socket.__new__" in looked_up]))
"""


def test_prices_need_no_network() -> None:
    """Loading the table and pricing a call open no socket; the guard that says so would notice one."""
    done = subprocess.run([sys.executable, "-c", _OFFLINE], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [False, "0.00045", [], True]


# -- who comes first --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "cost"),
    [
        (billable("gpt-4o-mini", PLAIN), "0.0065"),
        (billable("gpt-4o-mini", PLAIN, provider="unknown"), "0.0065"),
        (billable("gpt-4o-mini", PLAIN, free=True), "0.0065"),
        (billable("gpt-4o", PLAIN, requested_model="gpt-4o-mini"), "0.0065"),
        (billable("gpt-4o-mini", PLAIN, requested_model="dear"), "0.0065"),
        (billable("dear", PLAIN, requested_model="gpt-4o-mini"), "0.15"),
    ],
    ids=[
        "before the table",
        "at an unknown host",
        "before free",
        "of the requested model",
        "response before requested",
        "response before requested, turned",
    ],
)
def test_override_has_the_first_word(call: Billable, cost: str) -> None:
    """Rates of the user win over the table, over unknown hosts and over free ones."""
    overrides = {"gpt-4o-mini": RATES, "dear": Rates(input=Decimal(100), output=Decimal(100))}
    assert PriceBook(overrides=overrides).price(call) == Price(cost_usd=Decimal(cost), source="override")


@pytest.mark.parametrize("name", ["gpt-4o-min", "GPT-4o-mini", "gpt-4o-mini-2024-07-18", "gpt"])
def test_override_is_of_an_exact_id(name: str) -> None:
    """An override of another id, however similar, is not used."""
    price = PriceBook(overrides={name: RATES}).price(billable("gpt-4o-mini", PLAIN))
    assert price == Price(cost_usd=Decimal("0.00045"), source=GENAI)


@pytest.mark.parametrize(
    ("rates", "cost"),
    [
        (Rates(input=Decimal(3), output=Decimal(7)), "0.0065"),
        (Rates(input=Decimal(3), output=Decimal(7), cache_read=Decimal(1)), "0.0057"),
        (Rates(input=Decimal(3), output=Decimal(7), cache_write=Decimal(5)), "0.0071"),
        (Rates(input=Decimal(3), output=Decimal(7), cache_read=Decimal(0), cache_write=Decimal(5)), "0.0059"),
        (Rates(input=Decimal(0), output=Decimal(0)), "0"),
    ],
    ids=["no cache rates", "read", "write", "both, free reads", "nothing costs"],
)
def test_override_prices_the_cache(rates: Rates, cost: str) -> None:
    """Without a rate for the cache, cached input costs what other input costs."""
    price = PriceBook(overrides={"gpt-4o-mini": rates}).price(billable(usage=WRITTEN))
    assert price == Price(cost_usd=Decimal(cost), source="override")


@pytest.mark.parametrize("usage", [PLAIN, None, Usage(input_tokens=3)], ids=["with usage", "without", "with a part"])
def test_free_host_costs_zero(usage: Usage | None) -> None:
    """What runs on a free host costs zero, and says why; it needs no usage and no known model."""
    price = PriceBook().price(billable("llama3.2", usage, provider="ollama", free=True))
    assert price == Price(cost_usd=Decimal(0), source="free")


# -- unpriced ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (billable(), "the answer states no usage"),
        (billable(usage=Usage()), "the answer states only a part of its usage"),
        (billable(usage=Usage(input_tokens=3)), "the answer states only a part of its usage"),
        (billable(usage=Usage(output_tokens=3)), "the answer states only a part of its usage"),
        (billable(usage=Usage(total_tokens=3)), "the answer states only a part of its usage"),
        (billable(None, PLAIN), "neither request nor answer names a model"),
        (billable("", PLAIN), "neither request nor answer names a model"),
        (
            billable(usage=PLAIN, provider="unknown"),
            "the host is not a provider's own; name whose prices apply in llm_hosts",
        ),
        (billable("no-such-model", PLAIN), "no price is known for 'no-such-model' at openai"),
        (
            billable("no-such-model", PLAIN, requested_model="nor-this"),
            "no price is known for 'no-such-model' at openai",
        ),
        (billable("gpt-4o-mini", PLAIN, provider="nobody"), "no price is known for 'gpt-4o-mini' at nobody"),
        (
            billable(usage=Usage(input_tokens=3, output_tokens=3, cache_read_tokens=2, cache_write_tokens=2)),
            "the answer states more cached tokens than input tokens",
        ),
        (billable(usage=Usage(input_tokens=3, output_tokens=-1)), "the answer states a negative number of tokens"),
    ],
    ids=[
        "no usage",
        "empty usage",
        "only input",
        "only output",
        "only total",
        "no model",
        "empty model",
        "unknown host",
        "unknown model",
        "two unknown models",
        "unknown provider",
        "doubtful usage",
        "negative usage",
    ],
)
def test_what_cannot_be_priced_is_none_with_the_reason(call: Billable, reason: str) -> None:
    """An unknown price is None, never zero, and the reason tells the user what to do."""
    assert PriceBook().price(call) == unpriced(reason)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        Usage(input_tokens=3),
        Usage(input_tokens=1, output_tokens=1, cache_read_tokens=2),
        Usage(input_tokens=0, output_tokens=-1),
    ],
    ids=["none", "a part", "more cached than input", "negative"],
)
def test_override_needs_a_whole_usage_too(usage: Usage | None) -> None:
    """Rates do not make up tokens that nobody stated, nor a negative amount."""
    price = PriceBook(overrides={"gpt-4o-mini": RATES}).price(billable(usage=usage))
    assert (price.cost_usd, price.source) == (None, "unpriced")


def test_price_of_an_overridden_free_model_needs_usage() -> None:
    """An override takes a model out of what is free, so its tokens must be known."""
    price = PriceBook(overrides={"llama3.2": RATES}).price(billable("llama3.2", provider="ollama", free=True))
    assert price == unpriced("the answer states no usage")


_tokens = st.none() | st.integers(-5, 2000)


@given(counts=st.fixed_dictionaries(dict.fromkeys(Usage().counts(), _tokens)))
def test_no_usage_makes_pricing_raise(counts: dict[str, int | None]) -> None:
    """However doubtful a usage is, the price is an amount that is not negative, or None with a reason."""
    for book in (PriceBook(), PriceBook(overrides={"claude-haiku-4-5": RATES})):
        price = book.price(billable("claude-haiku-4-5", Usage.of_counts(counts), provider="anthropic"))
        if price.cost_usd is None:
            assert price.source == "unpriced"
            assert price.reason
        else:
            assert price.cost_usd >= 0
            assert price.reason is None


# -- the thread's own context -----------------------------------------------------------


@pytest.fixture
def _hostile_context() -> Iterator[None]:
    """Two digits, rounded up, and an exception for everything."""
    before = getcontext()
    setcontext(Context(prec=2, rounding=ROUND_UP, traps=[Inexact, Rounded, FloatOperation, InvalidOperation]))
    try:
        yield
    finally:
        setcontext(before)


@pytest.mark.usefixtures("_hostile_context")
def test_prices_do_not_depend_on_the_context_of_the_thread() -> None:
    """Code under test may have set its own decimal context; money is exact all the same."""
    overrides = {"mine": Rates(input=Decimal("0.123456789"), output=Decimal("9.87654321"))}
    book = PriceBook(overrides=overrides)
    costs = [
        book.price(billable(usage=CACHED)).cost_usd,
        book.price(billable("claude-haiku-4-5", WRITTEN, provider="anthropic")).cost_usd,
        book.price(billable("mine", PLAIN)).cost_usd,
    ]
    amount = parse_usd("5.004999", source="x")
    texts = [usd(amount), usd(Decimal("0.0123456789")), usd(Decimal(1234567))]
    assert [str(cost) for cost in costs] == ["0.00042", "0.00329", "0.005061728394"]
    assert (str(amount), texts) == ("5.004999", ["$5.00", "$0.01235", "$1,234,567.00"])


# -- amounts for people -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0.00"),
        ("0.000", "$0.00"),
        ("5", "$5.00"),
        ("1", "$1.00"),
        ("1.005", "$1.00"),
        ("1.015", "$1.02"),
        ("1234567.891", "$1,234,567.89"),
        ("0.5", "$0.5000"),
        ("0.05", "$0.0500"),
        ("0.0123", "$0.0123"),
        ("0.01234", "$0.01234"),
        ("0.012345", "$0.01234"),
        ("0.00123", "$0.00123"),
        ("0.00123456", "$0.001235"),
        ("0.00000421", "$0.00000421"),
        ("0.000000000001", "$0.000000000001"),
        ("0.99999", "$1.0000"),
        ("4.2E-7", "$0.00000042"),
        ("1E+3", "$1,000.00"),
        ("1E+40", "$" + "10," + ",".join(["000"] * 13) + ".00"),
    ],
)
def test_usd(amount: str, text: str) -> None:
    """From one dollar on cents are enough; below, four significant digits and at least four decimals."""
    assert usd(Decimal(amount)) == text


@given(amount=st.decimals(min_value="0.000000000001", max_value="999999", places=12))
def test_usd_is_never_zero_for_something(amount: Decimal) -> None:
    """A text of zero means zero, and every text is close to its amount."""
    text = usd(amount)
    read = Decimal(text.removeprefix("$").replace(",", ""))
    assert read > 0
    assert abs(read - amount) <= max(Decimal("0.005") if amount >= 1 else Decimal(0), amount / 1000)


# -- amounts that users write -----------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        ("5", "5"),
        ("5.00", "5.00"),
        ("$5.00", "5.00"),
        ("0", "0"),
        (".5", "0.5"),
        ("$.5", "0.5"),
        (" 5 ", "5"),
        ("0.000000000001", "1E-12"),
        ("999999999999.999999999999", "999999999999.999999999999"),
        (5, "5"),
        (0.05, "0.05"),
        (Decimal("5.0"), "5.0"),
    ],
    ids=repr,
)
def test_amounts_that_are_valid(value: object, amount: str) -> None:
    """A number of dollars, with or without cents and the sign, is read exactly."""
    read = parse_usd(value, source="--llm-budget")
    assert (read, str(read)) == (Decimal(amount), str(Decimal(amount)))


@pytest.mark.parametrize(
    "value",
    [
        "abc",
        "",
        " ",
        "$",
        ".",
        "5.",
        "-1",
        "+1",
        "nan",
        "inf",
        "-inf",
        "Infinity",
        "5,00",
        "1,000",
        "1e3",
        "1_000",
        "5€",
        "€5",
        "$$5",
        "$ 5",
        "5$",
        "5 USD",
        "\N{ARABIC-INDIC DIGIT FIVE}",
        "\N{FULLWIDTH DIGIT FIVE}",
        "5\n6",
        "0x10",
        "1/2",
        "1234567890123",
        "0.0000000000001",
        True,
        None,
        [],
        float("nan"),
        float("inf"),
        1e-7,
    ],
    ids=repr,
)
def test_amounts_that_are_not_valid(value: object) -> None:
    """Anything else is one line that shows the value, says where it came from and what is valid."""
    with pytest.raises(SettingError) as caught:
        parse_usd(value, source="--llm-budget")
    shown = str(value)
    assert str(caught.value) == (f"--llm-budget: {shown!r} is not an amount in USD; write it as 5, 5.00 or $5.00")


# -- prices that users write ------------------------------------------------------------


def read(tmp_path: Path, text: str) -> Mapping[str, Rates]:
    """Read a file of prices with this text."""
    path = tmp_path / "prices.toml"
    path.write_text(text, encoding="utf-8")
    return read_overrides(path, source="--llm-prices")


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        ("", {}),
        (
            '["gpt-4.1-mini"]\ninput = 0.4\noutput = 1.6\n',
            {"gpt-4.1-mini": Rates(input=Decimal("0.4"), output=Decimal("1.6"))},
        ),
        (
            "[local]\ninput = 0\noutput = 0\n[big]\ninput = 1\noutput = 2\ncache_read = 0.1\ncache_write = 1.25",
            {
                "local": Rates(input=Decimal(0), output=Decimal(0)),
                "big": Rates(
                    input=Decimal(1), output=Decimal(2), cache_read=Decimal("0.1"), cache_write=Decimal("1.25")
                ),
            },
        ),
        ("[m]\ninput = 1e-3\noutput = 1_0.5", {"m": Rates(input=Decimal("0.001"), output=Decimal("10.5"))}),
        ('["modèle"]\ninput = 1\noutput = 1', {"modèle": Rates(input=Decimal(1), output=Decimal(1))}),
    ],
    ids=["empty", "one model", "two models", "other ways to write numbers", "not ASCII"],
)
def test_prices_that_are_valid(tmp_path: Path, text: str, overrides: dict[str, Rates]) -> None:
    """A table for each model; numbers are read as they are written, without a detour over floats."""
    assert read(tmp_path, text) == overrides


def test_prices_are_read_exactly(tmp_path: Path) -> None:
    """0.1 is a tenth."""
    assert str(read(tmp_path, "[m]\ninput = 0.1\noutput = 0.3")["m"].output) == "0.3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "m = 3",
            "--llm-prices: ['m'] is not a table; write [\"MODEL\"], then input = 0.15 and output = 0.60",
        ),
        (
            "[[m]]\ninput = 1\noutput = 1",
            "--llm-prices: ['m'] is not a table; write [\"MODEL\"], then input = 0.15 and output = 0.60",
        ),
        (
            "[m]\ninput = 1\noutput = 1\nprompt = 1",
            "--llm-prices: ['m']: unknown key 'prompt'; valid are input, output, cache_read, cache_write",
        ),
        (
            "[gpt-4.1]\ninput = 1\noutput = 1",
            "--llm-prices: ['gpt-4']: '1' is a table; quote a model id that has a dot, as in [\"gpt-4.1\"]",
        ),
        ("[m]\noutput = 1", "--llm-prices: ['m']: 'input' is missing; give it in USD per million tokens"),
        ("[m]\ninput = 1", "--llm-prices: ['m']: 'output' is missing; give it in USD per million tokens"),
        (
            "[m]\ninput = -1\noutput = 1",
            "--llm-prices: ['m']: input = '-1' is not a price in USD per million tokens",
        ),
        (
            "[m]\ninput = 1\noutput = nan",
            "--llm-prices: ['m']: output = 'NaN' is not a price in USD per million tokens",
        ),
        (
            "[m]\ninput = 1\noutput = inf",
            "--llm-prices: ['m']: output = 'Infinity' is not a price in USD per million tokens",
        ),
        (
            "[m]\ninput = 1\noutput = '1'\n",
            "--llm-prices: ['m']: output = '1' is not a price in USD per million tokens",
        ),
        (
            "[m]\ninput = 1\noutput = 1\ncache_read = true",
            "--llm-prices: ['m']: cache_read = 'True' is not a price in USD per million tokens",
        ),
    ],
    ids=[
        "not a table",
        "array of tables",
        "unknown key",
        "dot without quotes",
        "no input",
        "no output",
        "negative",
        "nan",
        "inf",
        "text",
        "boolean",
    ],
)
def test_prices_that_are_not_valid(tmp_path: Path, text: str, message: str) -> None:
    """The error names the model, the key and the value."""
    with pytest.raises(SettingError) as caught:
        read(tmp_path, text)
    assert str(caught.value) == message


def test_file_that_is_not_there(tmp_path: Path) -> None:
    """A file that cannot be read is named, with the reason of the operating system."""
    path = tmp_path / "none.toml"
    with pytest.raises(SettingError) as caught:
        read_overrides(path, source="ini llm_prices")
    assert str(caught.value) == f"ini llm_prices: cannot read {str(path)!r}: {os.strerror(errno.ENOENT)}"


@pytest.mark.parametrize("content", [b"[m\n", b"\xff\xfe", b"input: 1"], ids=["broken", "not UTF-8", "YAML"])
def test_file_that_is_not_toml(tmp_path: Path, content: bytes) -> None:
    """A file of another format is named, with what the parser says."""
    path = tmp_path / "prices.toml"
    path.write_bytes(content)
    with pytest.raises(SettingError) as caught:
        read_overrides(path, source="ini llm_prices")
    start = f"ini llm_prices: {str(path)!r} is not TOML: "
    assert str(caught.value) == f"{start}{caught.value.__cause__}"
