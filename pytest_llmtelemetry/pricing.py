"""What does a call cost whose answer does not say? An override, else genai-prices, else unknown.

genai-prices is loaded at the first call that needs it: its table is large, and most test
runs begin without a single call.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal, localcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pytest_llmtelemetry.errors import SettingError
from pytest_llmtelemetry.facts import MEDIA, Usage
from pytest_llmtelemetry.money import MONEY
from pytest_llmtelemetry.telemetry.accounting import Billable, Price


_MILLION = Decimal(1_000_000)

# Where genai-prices has another name for a provider than we have.
_GENAI_IDS = {"bedrock": "aws", "gemini": "google", "vertex": "google", "voyage": "voyageai", "xai": "x-ai"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Prices of one model in USD per million tokens."""

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    """``None``: cached input costs what other input costs."""
    cache_write: Decimal | None = None
    """``None``: what is written to the cache costs what other input costs."""

    def cost(self, usage: Usage) -> Decimal:
        """The cost in USD of a usage whose input and output are known."""
        read, written = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
        fresh = (usage.input_tokens or 0) - read - written
        with localcontext(MONEY):
            return (
                fresh * self.input
                + read * (self.input if self.cache_read is None else self.cache_read)
                + written * (self.input if self.cache_write is None else self.cache_write)
                + (usage.output_tokens or 0) * self.output
            ) / _MILLION


class _Unpriced(Exception):  # noqa: N818 - a way out, not an error
    """Raised inside this module with the reason."""


@dataclass(slots=True)
class PriceBook:
    """The prices of a session."""

    overrides: Mapping[str, Rates] = field(default_factory=lambda: MappingProxyType({}))
    """Rates by exact model id; they win over genai-prices."""
    _table: Any = None

    @property
    def ready(self) -> bool:
        """True once genai-prices is loaded."""
        return self._table is not None

    def load(self) -> None:
        """Load genai-prices. It reads the table that it ships, never the network."""
        if self._table is None:
            import genai_prices  # noqa: PLC0415 - 0.2 s and 12 MB that an idle run must not pay
            from genai_prices import data_snapshot  # noqa: PLC0415

            data_snapshot.get_snapshot()
            self._table = genai_prices

    def price(self, call: Billable) -> Price:
        """Price one call. Never raises; what cannot be priced is ``None``, with the reason."""
        try:
            cost, source = self._price(call)
        except _Unpriced as why:
            return Price(cost_usd=None, source="unpriced", reason=str(why))
        except Exception as error:  # noqa: BLE001 - the table is not ours, and pricing must not break a test
            return Price(cost_usd=None, source="unpriced", reason=f"{type(error).__name__}: {error}"[:200])
        return Price(cost_usd=cost, source=source)

    def _price(self, call: Billable) -> tuple[Decimal, str]:
        models = [model for model in (call.model, call.requested_model) if model]
        if call.free and not any(model in self.overrides for model in models):
            return Decimal(0), "free"
        usage = call.usage
        if usage is None:
            raise _Unpriced("the answer states no usage")
        usage = _as_billed(usage)
        if usage.output_tokens is None and call.operation == "embeddings":
            usage = replace(usage, output_tokens=0)  # there is none, and SDKs do not say so
        if usage.input_tokens is None or usage.output_tokens is None or usage.partial:
            raise _Unpriced("the answer states only a part of its usage")
        if any((count or 0) < 0 for count in usage.counts().values()):
            raise _Unpriced("the answer states a negative number of tokens")
        if (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0) > usage.input_tokens:
            raise _Unpriced("the answer states more cached tokens than input tokens")
        if not models:
            raise _Unpriced("neither request nor answer names a model")
        for model in models:
            if (rates := self.overrides.get(model)) is not None:
                return rates.cost(usage), "override"
        return self._look_up(call, models, usage)

    def _look_up(self, call: Billable, models: list[str], usage: Usage) -> tuple[Decimal, str]:
        if call.provider == "unknown":
            raise _Unpriced("the host is not a provider's own; name whose prices apply in llm_hosts")
        self.load()
        counts = usage.counts()
        stated = {name: count for name in _PRICED if (count := counts.get(name)) is not None}
        if not _is_split_by_medium(usage):
            stated = {name: count for name, count in stated.items() if name not in _BY_MEDIUM}
        for model in models:
            try:
                with localcontext(MONEY):
                    found = self._table.calc_price(
                        self._table.Usage(**stated),
                        model,
                        provider_id=_GENAI_IDS.get(call.provider, call.provider),
                        genai_request_timestamp=call.at,
                        price_context=_context(call.service_tier),
                    )
            except LookupError:
                continue
            return found.total_price, f"genai-prices {self._table.__version__}"
        raise _Unpriced(f"no price is known for {models[0]!r} at {call.provider}")


# The counts that genai-prices knows, by the names that both have.
_BY_MEDIUM = tuple(
    name.format(medium) for name in ("input_{}_tokens", "output_{}_tokens", "cache_{}_read_tokens") for medium in MEDIA
)
_PRICED = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    *_BY_MEDIUM,
)


def _is_split_by_medium(usage: Usage) -> bool:
    """False where nobody knows how much of a medium went through the cache: it is then priced as text is."""
    sent = [medium for medium in MEDIA if getattr(usage, f"input_{medium}_tokens")]
    if not sent or not (usage.cache_read_tokens or usage.cache_write_tokens):
        return True
    read = all(getattr(usage, f"cache_{medium}_read_tokens") is not None for medium in sent)
    return read and not usage.cache_write_tokens


def _as_billed(usage: Usage) -> Usage:
    """What is paid for: the counts themselves, unless the provider states others for the bill."""
    asked, produced = usage.billed_input_tokens, usage.billed_output_tokens
    if asked is None and produced is None:
        return usage
    return Usage(
        input_tokens=usage.input_tokens if asked is None else asked,
        output_tokens=usage.output_tokens if produced is None else produced,
        partial=usage.partial,
    )


def _context(tier: str | None) -> dict[str, str] | None:
    """How a call was served: one word here, one of three keys there. A word that no price depends on does no harm."""
    if tier is None:
        return None
    word = tier.lower().removeprefix("on_demand_")  # Vertex
    return dict.fromkeys(("service_tier", "processing", "speed"), word)


@contextmanager
def untraced() -> Iterator[None]:
    """Pause a coverage tool while prices are loaded: under one, Python 3.12 takes 12 s for it instead of 0.2 s.

    The functions that are running now are not traced on, so these must be pytest's alone.
    """
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


# -- the file of prices that users write ------------------------------------------------

_RATE_KEYS = ("input", "output", "cache_read", "cache_write")


def read_overrides(path: Path, *, source: str) -> Mapping[str, Rates]:
    """Read a TOML file of prices in USD per million tokens, one table per exact model id.

    Raises:
        SettingError: the file cannot be read, or a table is not what it should be.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except OSError as error:
        raise SettingError(f"{source}: cannot read {str(path)!r}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{source}: {str(path)!r} is not TOML: {error}") from error
    return MappingProxyType({model: _read_rates(f"{source}: [{model!r}]", rates) for model, rates in document.items()})


def _read_rates(where: str, table: object) -> Rates:
    if not isinstance(table, dict):
        raise SettingError(f'{where} is not a table; write ["MODEL"], then input = 0.15 and output = 0.60')
    if unknown := sorted(table.keys() - set(_RATE_KEYS)):
        if isinstance(table[unknown[0]], dict):
            raise SettingError(
                f'{where}: {unknown[0]!r} is a table; quote a model id that has a dot, as in ["gpt-4.1"]'
            )
        raise SettingError(f"{where}: unknown key {unknown[0]!r}; valid are {', '.join(_RATE_KEYS)}")
    rates: dict[str, Decimal] = {}
    for key in _RATE_KEYS:
        if key not in table:
            if key in {"input", "output"}:
                raise SettingError(f"{where}: {key!r} is missing; give it in USD per million tokens")
            continue
        value = table[key]
        amount = None if isinstance(value, bool) or not isinstance(value, int | Decimal) else Decimal(value)
        if amount is None or not amount.is_finite() or amount < 0:
            raise SettingError(f"{where}: {key} = {str(value)!r} is not a price in USD per million tokens")
        rates[key] = amount
    return Rates(**rates)
