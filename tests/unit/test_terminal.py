"""The report at the end of a run: every line of it, in order."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_UP, Context, Decimal, Inexact, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmtelemetry.limits.ledger import Ledger, Totals
from pytest_llmtelemetry.limits.verdict import Limits
from pytest_llmtelemetry.report.summary import summarise
from pytest_llmtelemetry.report.terminal import Line, lines, shortened


ONE = Totals(
    calls=2, input_tokens=12345, output_tokens=500, cache_read_tokens=1000, cache_stated=2, spent_usd=Decimal("0.0123")
)
MOCKED = Totals(calls=1, input_tokens=10, output_tokens=5, simulated_usd=Decimal("0.5"))
UNPRICED = Totals(calls=1, unpriced_live=1, without_usage=1)

FIVE = Limits(max_cost=Decimal(5))
NONE = Limits()


def ledger(
    totals: Totals, model: str = "gpt-4o-mini", label: str = "tests/test_bot.py::test_refund", **more: Any
) -> Ledger:
    """What one test spent on one model of OpenAI."""
    return Ledger(by_model={("openai", model): totals}, by_owner={label: totals}, **more)


def report(spent: Ledger, limits: Limits = NONE, *, width: int = 80, **more: Any) -> list[Line]:
    """The lines of a report."""
    return list(lines(summarise(spent, limits, **more), width=width))


def texts(*args: Any, **more: Any) -> list[str]:
    """The texts of a report."""
    return [line.text for line in report(*args, **more)]


_TABLES = [
    "provider    model          calls      in    out    cached    spent    simulated",
    "openai      gpt-4o-mini        2  12,345    500     1,000  $0.0123        $0.00",
    "",
    "   cost    calls  most expensive",
    "$0.0123        2  tests/test_bot.py::test_refund",
    "",
]
_TOKENS = "tokens     12,845 (no limit): 12,345 in, 500 out, 1,000 cached"
_HITS = "cache hits prompt 8.1%, application n/a"
_TRUNCATED = "truncated  0 responses, 0 contexts"


# -- whole reports ----------------------------------------------------------------------


def test_nothing_to_tell() -> None:
    """Without a call and without a budget there is no report."""
    assert report(Ledger()) == []


def test_budget_without_a_call() -> None:
    """A budget that nobody drew on is reported, and that no call was seen stands out."""
    assert report(Ledger(), FIVE) == [
        Line("no LLM call was seen", yellow=True),
        Line("tokens     0 (no limit): 0 in, 0 out, 0 cached"),
        Line("cost       $0.00 (of $5.00, 0.0% used, 0 thresholds exceeded): $0.00 spent, $0.00 simulated"),
        Line("cache hits prompt n/a, application n/a"),
        Line(_TRUNCATED),
    ]


def test_one_model() -> None:
    """One model, one test, no budget: two tables and four lines."""
    assert report(ledger(ONE)) == [
        Line(_TABLES[0], bold=True),
        Line(_TABLES[1]),
        Line(""),
        Line(_TABLES[3], bold=True),
        Line(_TABLES[4]),
        Line(""),
        Line(_TOKENS),
        Line("cost       $0.0123 (no budget): $0.0123 spent, $0.00 simulated"),
        Line(_HITS),
        Line(_TRUNCATED),
    ]


def test_within_budget() -> None:
    """The share of the budget that was used is stated."""
    assert texts(ledger(ONE), FIVE) == [
        *_TABLES,
        _TOKENS,
        "cost       $0.0123 (of $5.00, 0.2% used, 0 thresholds exceeded): $0.0123 spent, $0.00 simulated",
        _HITS,
        _TRUNCATED,
    ]


def test_exactly_at_the_budget() -> None:
    """All of it is used, and nothing is red."""
    told = report(ledger(ONE), Limits(max_cost=Decimal("0.0123")))
    assert [line.text for line in told][6:] == [
        _TOKENS,
        "cost       $0.0123 (of $0.0123, 100.0% used, 0 thresholds exceeded): $0.0123 spent, $0.00 simulated",
        _HITS,
        _TRUNCATED,
    ]
    assert not any(line.red for line in told)


def test_over_budget() -> None:
    """The cost is red, and the last line is the verdict."""
    told = report(ledger(ONE), Limits(max_cost=Decimal("0.01")))
    assert [line.text for line in told] == [
        *_TABLES,
        _TOKENS,
        "cost       $0.0123 (of $0.0100, 123.0% used, 1 threshold exceeded): $0.0123 spent, $0.00 simulated",
        _HITS,
        _TRUNCATED,
        "LLM budget exceeded by $0.0023: $0.0123 of $0.0100",
    ]
    assert [line for line in told if line.red] == [
        Line(told[7].text, red=True),
        Line(told[10].text, red=True, bold=True),
    ]


def test_zero_budget() -> None:
    """Of a budget of zero no share can be stated."""
    assert texts(Ledger(), Limits(max_cost=Decimal(0)))[2] == (
        "cost       $0.00 (of $0.00, 0 thresholds exceeded): $0.00 spent, $0.00 simulated"
    )
    assert texts(ledger(ONE), Limits(max_cost=Decimal(0)))[7:] == [
        "cost       $0.0123 (of $0.00, 1 threshold exceeded): $0.0123 spent, $0.00 simulated",
        _HITS,
        _TRUNCATED,
        "LLM budget exceeded by $0.0123: $0.0123 of $0.00",
    ]


def test_several_models() -> None:
    """Models and tests come with the most expensive first; what is unpriced has a question mark, never $0."""
    spent = Ledger(
        by_model={
            ("openai", "gpt-4o-mini"): ONE,
            ("at llm.internal", "ours"): UNPRICED,
            ("anthropic", "claude-haiku-4-5"): MOCKED,
        },
        by_owner={"tests/test_bot.py::test_refund": ONE, "[fixture index, session]": MOCKED + UNPRICED},
        unpriced={"at llm.internal ours: the answer states no usage": 1},
    )
    told = report(spent)
    assert [line.text for line in told] == [
        "provider         model               calls      in    out    cached    spent    simulated",
        "anthropic        claude-haiku-4-5        1      10      5       n/a    $0.00      $0.5000",
        "openai           gpt-4o-mini             2  12,345    500     1,000  $0.0123        $0.00",
        "at llm.internal  ours                    1       0      0       n/a        ?        $0.00",
        "",
        "       cost    calls  most expensive",
        "$0.5000 + ?        2  [fixture index, session]",
        "    $0.0123        2  tests/test_bot.py::test_refund",
        "",
        "tokens     12,860 (no limit): 12,355 in, 505 out, 1,000 cached, lower bound",
        "cost       $0.5123 + ? (no budget): $0.0123 spent, $0.5000 simulated, lower bound",
        _HITS,
        _TRUNCATED,
        "unpriced   1 call, at llm.internal ours: the answer states no usage",
    ]
    assert [line for line in told if line.yellow] == [Line(told[13].text, yellow=True)]


def test_unpriced_calls_under_a_budget() -> None:
    """A budget that cannot be shown to be kept is red, though nothing was added up."""
    spent = ledger(UNPRICED, unpriced={"openai gpt-4o-mini: the answer states no usage": 1})
    told = report(spent, FIVE)
    assert [line.text for line in told] == [
        "provider    model          calls    in    out    cached    spent    simulated",
        "openai      gpt-4o-mini        1     0      0       n/a        ?        $0.00",
        "",
        "  cost    calls  most expensive",
        "     ?        1  tests/test_bot.py::test_refund",
        "",
        "tokens     0 (no limit): 0 in, 0 out, n/a cached, lower bound",
        "cost       ? (of $5.00, 0.0% used, 0 thresholds exceeded): $0.00 spent, $0.00 simulated, lower bound",
        "cache hits prompt n/a, application n/a",
        _TRUNCATED,
        "unpriced   1 call, openai gpt-4o-mini: the answer states no usage",
        "LLM budget not proven: 1 live call is unpriced; give prices with --llm-prices or llm_hosts",
    ]
    assert [line.text for line in told if line.red] == [told[7].text, told[11].text]


def test_unpriced_mocks_under_a_budget() -> None:
    """Mocked calls without a price are listed, and nothing is red: no money was spent on them."""
    totals = replace(MOCKED, simulated_usd=Decimal(0), unpriced_simulated=1)
    told = report(ledger(totals, unpriced={"openai ours: no price": 1}), FIVE)
    assert [line.text for line in told][1:5:3] == [
        "openai      gpt-4o-mini        1    10      5       n/a    $0.00            ?",
        "     ?        1  tests/test_bot.py::test_refund",
    ]
    assert [line.text for line in told][7:] == [
        "cost       ? (of $5.00, 0.0% used, 0 thresholds exceeded): $0.00 spent, $0.00 simulated",
        "cache hits prompt n/a, application n/a",
        _TRUNCATED,
        "unpriced   1 call, openai ours: no price",
    ]
    assert not any(line.red for line in told)


@pytest.mark.parametrize(
    ("more", "caveat"),
    [
        ({"notes": {"uncertain": 1}}, "uncertain  1 live request sent and never answered"),
        ({"notes": {"uncertain": 2}}, "uncertain  2 live requests sent and never answered"),
        (
            {"blind": {"api.openai.com": "openai"}},
            "not seen   api.openai.com (openai) was contacted through a stack that is not watched",
        ),
        ({"faults": 1}, "not seen   watching failed 1 time; please report it"),
        ({"faults": 2}, "not seen   watching failed 2 times; please report it"),
    ],
    ids=["one uncertain", "two uncertain", "blind", "one fault", "two faults"],
)
@pytest.mark.parametrize("calls", [True, False], ids=["with calls", "without calls"])
def test_lower_bound(more: dict[str, Any], caveat: str, calls: bool) -> None:
    """What may have been missed makes both sums lower bounds and is named, also if no call was seen at all."""
    more = dict(more)
    faults = more.pop("faults", 0)
    spent = ledger(ONE, **more) if calls else Ledger(**more)
    head = _TABLES if calls else ["no LLM call was seen"]
    tokens = _TOKENS if calls else "tokens     0 (no limit): 0 in, 0 out, 0 cached"
    amount = "$0.0123" if calls else "$0.00"
    told = report(spent, faults=faults)
    assert [line.text for line in told] == [
        *head,
        f"{tokens}, lower bound",
        f"cost       {amount} (no budget): {amount} spent, $0.00 simulated, lower bound",
        _HITS if calls else "cache hits prompt n/a, application n/a",
        _TRUNCATED,
        caveat,
    ]
    assert told[-1].yellow


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"blind": {"api.openai.com": "openai"}},
            (
                "LLM budget not proven: api.openai.com was contacted through a stack that is not watched, "
                "and the total is a lower bound"
            ),
        ),
        ({"faults": 1}, "LLM budget not proven: watching failed, and the total is a lower bound"),
    ],
    ids=["blind", "fault"],
)
def test_budget_over_what_was_not_seen(more: dict[str, Any], message: str) -> None:
    """What was not seen may have cost anything."""
    faults = more.get("faults", 0)
    spent = ledger(ONE, blind=more.get("blind", {}))
    told = report(spent, FIVE, faults=faults)
    assert (told[-1].text, told[-1].red) == (message, True)


def test_incomplete_run() -> None:
    """A run that lost a worker says so, and under a budget it has not kept it."""
    told = report(ledger(ONE), FIVE, complete=False)
    assert [line.text for line in told] == [
        *_TABLES,
        f"{_TOKENS}, lower bound",
        "cost       $0.0123 (of $5.00, 0.2% used, 0 thresholds exceeded): $0.0123 spent, $0.00 simulated, lower bound",
        _HITS,
        _TRUNCATED,
        "incomplete a worker was lost, and its calls with it",
        "LLM budget not proven: a worker was lost, and the total is a lower bound",
    ]
    assert [line.text for line in told if line.red] == [told[7].text, told[10].text, told[11].text]


def test_incomplete_run_without_a_budget() -> None:
    """Without a budget there is nothing to prove, but the loss is told."""
    assert texts(ledger(ONE), complete=False)[7:] == [
        "cost       $0.0123 (no budget): $0.0123 spent, $0.00 simulated, lower bound",
        _HITS,
        _TRUNCATED,
        "incomplete a worker was lost, and its calls with it",
    ]


def test_truncation_and_cache_look_ups() -> None:
    """Truncations stand out; the cache of the application has a rate of its own."""
    notes = {
        "llm.response.truncated": 1,
        "llm.context.truncation.stop": 2,
        "llm.context.window.exceeded": 1,
        "llm.cache.lookup.hit": 3,
        "llm.cache.lookup.miss": 1,
    }
    told = report(ledger(ONE, notes=notes))
    assert [line.text for line in told][8:] == [
        "cache hits prompt 8.1%, application 75.0%",
        "truncated  1 response, 2 contexts",
    ]
    assert [line for line in told if line.yellow] == [Line(told[9].text, yellow=True)]


@pytest.mark.parametrize("name", ["llm.response.truncated", "llm.cache.lookup.miss", "llm.context.window.exceeded"])
def test_note_without_a_call_is_told(name: str) -> None:
    """What an application says about itself is reported even if no call was seen."""
    told = report(Ledger(notes={name: 1}))
    assert told[0] == Line("no LLM call was seen")
    assert len(told) == 5


def test_thresholds_that_were_exceeded() -> None:
    """Thresholds are counted as they are announced."""
    assert texts(ledger(ONE, notes={"llm.cost.threshold.exceeded": 2}), FIVE)[7] == (
        "cost       $0.0123 (of $5.00, 0.2% used, 2 thresholds exceeded): $0.0123 spent, $0.00 simulated"
    )


def test_thresholds_of_the_application() -> None:
    """What the application announces of its own thresholds is not mistaken for the budget's: it has its own line."""
    told = texts(ledger(ONE, notes={"threshold of the application": 2}), FIVE)
    assert "0 thresholds exceeded" in told[7]
    assert told[10:] == ["thresholds 2 of the application's own exceeded"]


@pytest.mark.parametrize(
    ("notes", "contexts"),
    [
        ({"llm.context.window.exceeded": 1, "llm.context.truncation.stop": 1}, "1 context"),
        ({"llm.context.truncation.stop": 2}, "2 contexts"),
        ({"llm.context.window.exceeded": 2, "llm.context.truncation.stop": 1, "prompt refused": 1}, "3 contexts"),
    ],
    ids=["found out, then truncated", "truncated", "and refused by the provider"],
)
def test_a_context_is_counted_once(notes: dict[str, int], contexts: str) -> None:
    """A prompt that the application found too long and then truncated is one context, not two."""
    assert texts(ledger(ONE, notes=notes))[-1] == f"truncated  0 responses, {contexts}"


# -- which tests ------------------------------------------------------------------------


def test_at_most_five_tests() -> None:
    """Only the five most expensive are listed; at equal cost those with more tokens, then by name."""
    parts = {
        "a": Totals(calls=1, spent_usd=Decimal("0.01")),
        "b": Totals(calls=1, spent_usd=Decimal("0.03")),
        "c": Totals(calls=1, simulated_usd=Decimal("0.02")),
        "d": Totals(calls=1, input_tokens=5),
        "e": Totals(calls=1, output_tokens=6),
        "g": Totals(calls=1),
        "f": Totals(calls=1),
    }
    total = sum(parts.values(), Totals())
    told = texts(Ledger(by_model={("openai", "gpt-4o-mini"): total}, by_owner=parts))
    assert told[3:9] == [
        "   cost    calls  most expensive",
        "$0.0300        1  b",
        "$0.0200        1  c",
        "$0.0100        1  a",
        "  $0.00        1  e",
        "  $0.00        1  d",
    ]
    assert told[9] == ""


def test_models_of_equal_cost() -> None:
    """At equal cost the model with more calls comes first, then by name."""
    spent = Ledger(
        by_model={
            ("openai", "b"): Totals(calls=1),
            ("openai", "a"): Totals(calls=1),
            ("groq", "z"): Totals(calls=1),
            ("openai", "c"): Totals(calls=2),
        },
        by_owner={"t": Totals(calls=5)},
    )
    assert [row.split()[:3] for row in texts(spent)[1:5]] == [
        ["openai", "c", "2"],
        ["groq", "z", "1"],
        ["openai", "a", "1"],
        ["openai", "b", "1"],
    ]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (40, "tests/...seconds[90]"),
        (24, "tests/...seconds[90]"),
        (60, "tests/integra..._is_long_seconds[90]"),
        (100, "tests/integration/test_support_bot.py::test_refund_is_long_seconds[90]"),
    ],
)
def test_long_node_id_is_cut_in_the_middle(width: int, shown: str) -> None:
    """On a narrow terminal a test is known by its beginning and its end, of at least 20 characters together."""
    label = "tests/integration/test_support_bot.py::test_refund_is_long_seconds[90]"
    row = texts(ledger(ONE, label=label), width=width)[4]
    assert row == f"$0.0123        2  {shown}"


@given(text=st.text(max_size=60), width=st.integers(4, 60))
def test_shortened_text_fits(text: str, width: int) -> None:
    """A shortened text is no longer than asked for, and one that fits is left alone."""
    cut = shortened(text, width)
    assert len(cut) <= width
    assert (cut == text) is (len(text) <= width)


# -- foreign text -----------------------------------------------------------------------


_HOSTILE = "gpt\x1b[31m\nred\r\u202e\u2028 sk-abcdefghijklmnop1234"
_HARMLESS = "gpt?[31m?red??? [redacted]"


def test_hostile_names_are_harmless() -> None:
    """Escapes, line breaks and credentials in names of models, tests, hosts and reasons do not reach the terminal."""
    spent = Ledger(
        by_model={(_HOSTILE, _HOSTILE): ONE},
        by_owner={_HOSTILE: ONE},
        unpriced={_HOSTILE: 1},
        blind={_HOSTILE: _HOSTILE},
    )
    assert texts(spent, width=200) == [
        "provider                    model                         calls      in    out    cached    spent    simulated",
        f"{_HARMLESS}  {_HARMLESS}        2  12,345    500     1,000  $0.0123        $0.00",
        "",
        "   cost    calls  most expensive",
        f"$0.0123        2  {_HARMLESS}",
        "",
        f"{_TOKENS}, lower bound",
        "cost       $0.0123 (no budget): $0.0123 spent, $0.00 simulated, lower bound",
        _HITS,
        _TRUNCATED,
        f"unpriced   1 call, {_HARMLESS}",
        f"not seen   {_HARMLESS} ({_HARMLESS}) was contacted through a stack that is not watched",
    ]


@given(name=st.text(max_size=30))
def test_every_line_is_one_line(name: str) -> None:
    """Whatever something is called, a report has the same number of lines, and each is printable."""
    spent = Ledger(by_model={(name, name): ONE}, by_owner={name: ONE}, unpriced={name: 1}, blind={name: name})
    told = texts(spent, FIVE)
    assert len(told) == 13
    assert all(text.isprintable() for text in told)


@pytest.mark.parametrize("name", ["", " ", "1e5", "007", "-", "None", "|"])
def test_odd_names_stay_in_their_column(name: str) -> None:
    """A name that looks like a number, or like nothing, is printed as it is."""
    (row,) = [text for text in texts(ledger(ONE, model=name)) if text.startswith("openai")]
    assert row.split() == ["openai", *name.split(), "2", "12,345", "500", "1,000", "$0.0123", "$0.00"]


# -- the thread's own context -----------------------------------------------------------


def test_report_does_not_depend_on_the_context_of_the_thread() -> None:
    """Code under test may have set its own decimal context; the report is the same."""
    spent = ledger(ONE + MOCKED, notes={"llm.cache.lookup.hit": 1, "llm.cache.lookup.miss": 2})
    limits = Limits(max_cost=Decimal("0.3"))
    told = texts(spent, limits)
    with localcontext(Context(prec=2, rounding=ROUND_UP, traps=[Inexact])):
        assert texts(spent, limits) == told
    assert told[7:] == [
        "cost       $0.5123 (of $0.3000, 170.8% used, 1 threshold exceeded): $0.0123 spent, $0.5000 simulated",
        "cache hits prompt 8.1%, application 33.3%",
        _TRUNCATED,
        "LLM budget exceeded by $0.2123: $0.5123 of $0.3000",
    ]
