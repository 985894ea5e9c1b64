"""Options and ini values, read once into one frozen value."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from pytest_llmtelemetry.errors import SettingError
from pytest_llmtelemetry.limits.verdict import Limits
from pytest_llmtelemetry.money import parse_usd, usd
from pytest_llmtelemetry.pricing import Rates, read_overrides, untraced
from pytest_llmtelemetry.wire.hosts import PROVIDERS, Hosts, parse_hosts


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user asked for."""

    limits: Limits = field(default_factory=Limits)
    hosts: Hosts = field(default_factory=Hosts)
    prices: Mapping[str, Rates] = field(default_factory=lambda: MappingProxyType({}))
    strict: bool = False
    """A handler that fails, or an event that is not declared, fails the test."""


# Another plugin that registers the same option would end pytest before it began.
_OWNERS_OF_THE_SHORT_NAME = ("pytest-llm-cost",)
_SHORT, _LONG = "--llm-budget", "--llmtelemetry-budget"


def add_options(parser: pytest.Parser) -> None:
    """Register everything under explicit names."""
    group = parser.getgroup("llmtelemetry", "LLM telemetry")
    names = (_LONG,) if _owner_of_the_short_name() else (_SHORT, _LONG)
    group.addoption(
        *names,
        dest="llmtelemetry_budget",
        metavar="USD",
        default=None,
        help="fail the run if its LLM calls, spent and simulated, cost more than this, such as 5.00",
    )
    group.addoption(
        "--llm-prices",
        dest="llm_prices",
        metavar="FILE",
        default=None,
        help="TOML file of prices in USD per million tokens, by exact model id",
    )
    _add_budget_ini(parser)
    parser.addini("llm_prices", "the same as --llm-prices, relative to the rootdir", type="string", default=None)
    parser.addini(
        "llm_hosts",
        "lines HOST[:PORT] = PROVIDER, or = free: whose prices apply at gateways and local servers",
        type="linelist",
        default=[],
    )
    parser.addini(
        "llm_strict",
        "fail a test whose telemetry is wrong: a handler that raised, an llm.* event that is not declared, a key that is missing",
        type="bool",
        default=False,
    )


def _add_budget_ini(parser: pytest.Parser) -> None:
    # Native TOML gives a number where ini files give text; only pytest 9.2 lets both through.
    kind: Any = int | float | str if pytest.version_tuple >= (9, 2) else "string"
    parser.addini("llm_budget", 'the same as --llm-budget; write it in quotes, as "5.00"', type=kind, default=None)


def read(config: pytest.Config) -> Settings:
    """Read and check everything.

    Raises:
        SettingError: one line about the first value that cannot be used.
    """
    return Settings(
        limits=Limits(max_cost=_read_budget(config)),
        hosts=_read_hosts(config),
        prices=_read_prices(config),
        strict=_read_strict(config),
    )


def header(settings: Settings) -> list[str]:
    """Lines for the head of the run."""
    lines = []
    if settings.limits.max_cost is not None:
        lines.append(f"llm budget: {usd(settings.limits.max_cost)}")
    if other := _owner_of_the_short_name():
        lines.append(f"llm budget: {_SHORT} belongs to {other}; use {_LONG} for pytest-llmtelemetry")
    return lines


def _read_budget(config: pytest.Config) -> Decimal | None:
    if (given := config.getoption("llmtelemetry_budget")) is not None:
        return parse_usd(given, source=_LONG if _owner_of_the_short_name() else _SHORT)
    try:
        given = config.getini("llm_budget")
    except (TypeError, ValueError, pytest.UsageError) as error:
        raise SettingError(f'ini llm_budget is not an amount in USD; write llm_budget = "5.00" ({error})') from error
    return None if given is None else parse_usd(given, source="ini llm_budget")


def _read_strict(config: pytest.Config) -> bool:
    try:
        return bool(config.getini("llm_strict"))
    except (TypeError, ValueError, pytest.UsageError) as error:
        raise SettingError(f"ini llm_strict is neither true nor false ({error})") from error


def _read_hosts(config: pytest.Config) -> Hosts:
    lines = config.getini("llm_hosts")
    try:
        return parse_hosts(lines, source="ini llm_hosts")
    except SettingError:
        # A provider of genai-prices that our own table does not name is as good; loading it is slow.
        with untraced():
            from genai_prices import data_snapshot  # noqa: PLC0415

            names = {provider.id for provider in data_snapshot.get_snapshot().providers}
        return parse_hosts(lines, known=PROVIDERS | names, source="ini llm_hosts")


def _read_prices(config: pytest.Config) -> Mapping[str, Rates]:
    if (given := config.getoption("llm_prices")) is not None:
        return read_overrides(config.invocation_params.dir / given, source="--llm-prices")
    if given := config.getini("llm_prices"):
        return read_overrides(Path(config.rootpath) / given, source="ini llm_prices")
    return MappingProxyType({})


def _owner_of_the_short_name() -> str | None:
    for name in _OWNERS_OF_THE_SHORT_NAME:
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return name
    return None
