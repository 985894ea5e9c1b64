"""The report at the end of a run, as lines. tabulate aligns the tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, localcontext

from tabulate import tabulate

from pytest_llmtelemetry.limits.ledger import Totals
from pytest_llmtelemetry.money import MONEY, usd
from pytest_llmtelemetry.redaction import scrub
from pytest_llmtelemetry.report.summary import ModelRow, OwnerRow, Summary


TOP_TESTS = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One line, and how it looks."""

    text: str
    bold: bool = False
    red: bool = False
    yellow: bool = False


def lines(summary: Summary, *, width: int = 80) -> Iterator[Line]:
    """The whole report; nothing if there is nothing to tell."""
    if summary.is_empty:
        return
    if summary.models:
        yield from _table(_MODEL_HEAD, [_model_cells(row) for row in summary.models], numbers_from=2)
        yield Line("")
        rows = [row for row in summary.owners[:TOP_TESTS] if row.totals.calls]
        yield from _table(_OWNER_HEAD, [_owner_cells(row, width) for row in rows], numbers_from=0)
        yield Line("")
    else:
        yield Line("no LLM call was seen", yellow=summary.limits.max_cost is not None)
    yield from _four_lines(summary)
    yield from _caveats(summary)
    for verdict in summary.verdicts:
        yield Line(printable(verdict.message), red=True, bold=True)


_MODEL_HEAD = ("provider", "model", "calls", "in", "out", "cached", "spent", "simulated")


def _model_cells(row: ModelRow) -> tuple[str, ...]:
    totals = row.totals
    return (
        printable(row.provider),
        printable(row.model),
        f"{totals.calls:,}",
        f"{totals.input_tokens:,}",
        f"{totals.output_tokens:,}",
        _cached(totals),
        _cost(totals.spent_usd, totals.unpriced_live),
        _cost(totals.simulated_usd, totals.unpriced_simulated),
    )


_OWNER_HEAD = ("cost", "calls", "most expensive")


def _owner_cells(row: OwnerRow, width: int) -> tuple[str, ...]:
    totals = row.totals
    return (
        _cost(totals.cost_usd, totals.unpriced),
        f"{totals.calls:,}",
        shortened(printable(row.label), max(20, width - 24)),
    )


def _cost(amount: Decimal, unpriced: int) -> str:
    if not unpriced:
        return usd(amount)
    return f"{usd(amount)} + ?" if amount else "?"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]], *, numbers_from: int) -> Iterator[Line]:
    align = ["right"] * len(head)
    if numbers_from:
        align[:numbers_from] = ["left"] * numbers_from
    else:
        align[-1] = "left"
    text = tabulate(rows, headers=head, tablefmt="plain", colalign=align, disable_numparse=True)
    first, *rest = text.splitlines()
    yield Line(first.rstrip(), bold=True)
    for line in rest:
        yield Line(line.rstrip())


def _four_lines(summary: Summary) -> Iterator[Line]:
    totals = summary.totals
    lower = ", lower bound" if totals.without_usage or summary.misses_calls else ""
    yield Line(
        f"tokens     {totals.tokens:,} (no limit): {totals.input_tokens:,} in, {totals.output_tokens:,} out, "
        f"{_cached(totals)} cached{lower}"
    )
    over = any(verdict.limit == "max_cost" for verdict in summary.verdicts)
    yield Line(f"cost       {_cost_line(summary)}", red=over)
    yield Line(
        f"cache hits prompt {_percent(summary.prompt_cache_hit_rate)}, "
        f"application {_percent(summary.application_cache_hit_rate)}"
    )
    yield Line(
        f"truncated  {_many(summary.truncated_responses, 'response')}, {_many(summary.truncated_contexts, 'context')}",
        yellow=bool(summary.truncated_responses or summary.truncated_contexts),
    )


def _cost_line(summary: Summary) -> str:
    totals, budget = summary.totals, summary.limits.max_cost
    if budget is None:
        of = "no budget"
    else:
        used = "" if summary.budget_used is None else f", {_percent(summary.budget_used)} used"
        of = f"of {usd(budget)}{used}, {_many(summary.thresholds_exceeded, 'threshold')} exceeded"
    parts = f"{usd(totals.spent_usd)} spent, {usd(totals.simulated_usd)} simulated"
    lower = ", lower bound" if summary.is_lower_bound else ""
    return f"{_cost(totals.cost_usd, totals.unpriced)} ({of}): {parts}{lower}"


def _caveats(summary: Summary) -> Iterator[Line]:
    if summary.own_thresholds_exceeded:
        yield Line(f"thresholds {summary.own_thresholds_exceeded:,} of the application's own exceeded", yellow=True)
    for why, count in summary.unpriced:
        yield Line(printable(f"unpriced   {_many(count, 'call')}, {why}"), yellow=True)
    if summary.uncertain:
        yield Line(f"uncertain  {_many(summary.uncertain, 'live request')} sent and never answered", yellow=True)
    for host, provider in summary.blind:
        yield Line(
            printable(f"not seen   {host} ({provider}) was contacted through a stack that is not watched"), yellow=True
        )
    if summary.faults:
        yield Line(f"not seen   watching failed {_many(summary.faults, 'time')}; please report it", yellow=True)
    if not summary.complete:
        yield Line("incomplete a worker was lost, and its calls with it", red=True)


def _cached(totals: Totals) -> str:
    return f"{totals.cache_read_tokens:,}" if totals.cache_stated or not totals.calls else "n/a"


def _percent(rate: Decimal | None) -> str:
    with localcontext(MONEY):
        return "n/a" if rate is None else f"{rate * 100:.1f}%"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def printable(text: str) -> str:
    """Foreign text on one line, without terminal escapes or credentials."""
    return scrub("".join(c if c.isprintable() else "?" for c in text))


def shortened(text: str, width: int) -> str:
    """Cut the middle out of a text that is too long.

    >>> shortened("tests/test_bot.py::test_refund", 16)
    'tests...t_refund'
    """
    if len(text) <= width:
        return text
    head = (width - 3) * 2 // 5
    return f"{text[:head]}...{text[len(text) - (width - 3 - head) :]}"
