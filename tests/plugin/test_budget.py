"""``--llm-budget``: what passes, what fails, and with which exit status."""

from __future__ import annotations

import pytest

from support import Provider, Run, report_of


OK, FAILED = pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED

# gpt-4o-mini: $0.15 in, $0.60 out, $0.075 cached, per million tokens.
MOCKED = """
def test_call(llm_mock):
    llm_mock.openai.chat("Hi", {options})
    ask({body})
"""
ONE_CALL = MOCKED.format(options="input_tokens=1000, output_tokens=100", body="")  # $0.00021

LIVE = """
def test_call():
    ask("{url}", {body})
"""


@pytest.mark.parametrize(
    ("budget", "status"),
    [
        pytest.param("0.00022", OK, id="under"),
        pytest.param("0.00021", OK, id="exactly at"),
        pytest.param("0.00020999", FAILED, id="over"),
        pytest.param("0", FAILED, id="nothing allowed"),
    ],
)
def test_cost_is_compared_with_the_budget(run: Run, budget: str, status: pytest.ExitCode) -> None:
    """Exactly equal passes, more fails, and the tests themselves stay green."""
    result = run(ONE_CALL, f"--llm-budget={budget}")

    assert result.ret == status
    result.assert_outcomes(passed=1)


def test_breach_says_by_how_much(run: Run) -> None:
    """A breach is the last line, and counts as one threshold exceeded."""
    lines = report_of(run(ONE_CALL, "--llm-budget=0.0001"))

    assert lines[-1] == "LLM budget exceeded by $0.00011: $0.00021 of $0.0001"
    assert "210.0% used, 1 threshold exceeded" in lines[-4]


def test_cached_tokens_cost_less(run: Run) -> None:
    """1000 input tokens of which 800 are cached cost $0.00015 with the output, not $0.00021."""
    suite = MOCKED.format(options="input_tokens=1000, output_tokens=100, cached_tokens=800", body="")

    assert run(suite, "--llm-budget=0.00015").ret == OK
    assert run(suite, "--llm-budget=0.000149").ret == FAILED


def test_live_call_is_spent_money(run: Run, provider: Provider) -> None:
    """A call over a socket is spent, not simulated."""
    result = run(LIVE.format(url=provider.url, body=""), "--llm-budget=5", ini=provider.ini)

    assert result.ret == OK
    assert "$0.00021 spent, $0.00 simulated" in "\n".join(report_of(result))


def test_live_call_can_break_the_budget(run: Run, provider: Provider) -> None:
    """What was spent counts like what was simulated."""
    result = run(LIVE.format(url=provider.url, body=""), "--llm-budget=0.0002", ini=provider.ini)

    assert result.ret == FAILED


def test_unpriced_live_call_fails_the_budget(run: Run, provider: Provider) -> None:
    """A budget that cannot be shown to be kept is not kept."""
    provider.model = "gpt-99"
    result = run(LIVE.format(url=provider.url, body="model='gpt-99'"), "--llm-budget=5", ini=provider.ini)

    assert result.ret == FAILED
    assert report_of(result)[-2:] == [
        "unpriced   1 call, openai gpt-99: no price is known for 'gpt-99' at openai",
        "LLM budget not proven: 1 live call is unpriced; give prices with --llm-prices or llm_hosts",
    ]


def test_unpriced_live_call_without_a_budget_passes(run: Run, provider: Provider) -> None:
    """Without a limit there is nothing to prove."""
    assert run(LIVE.format(url=provider.url, body="model='gpt-99'"), ini=provider.ini).ret == OK


def test_unpriced_mocked_call_does_not_fail_the_budget(run: Run) -> None:
    """No money can have been spent; the call is listed."""
    result = run(MOCKED.format(options="", body="model='gpt-99'"), "--llm-budget=5")

    assert result.ret == OK
    assert "unpriced   1 call, openai gpt-99: no price is known for 'gpt-99' at openai" in report_of(result)


def test_unknown_host_is_unpriced(run: Run, provider: Provider) -> None:
    """A host that nobody named has no prices, even for a model that is known elsewhere."""
    result = run(LIVE.format(url=provider.url, body=""), "--llm-budget=5")

    assert result.ret == FAILED
    assert "the host is not a provider's own; name whose prices apply in llm_hosts" in "\n".join(report_of(result))


def test_free_host_costs_nothing(run: Run, provider: Provider) -> None:
    """A local server that is said to be free is free, and proven so."""
    result = run(
        LIVE.format(url=provider.url, body=""), "--llm-budget=0", ini=f"llm_hosts = 127.0.0.1:{provider.port} = free\n"
    )

    assert result.ret == OK
    assert "$0.00 (of $0.00, 0 thresholds exceeded): $0.00 spent" in "\n".join(report_of(result))


def test_live_stream_without_usage_fails_the_budget(run: Run, provider: Provider) -> None:
    """A stream that was not asked for its usage has an unknown cost, not none."""
    result = run(LIVE.format(url=provider.url, body="stream=True"), "--llm-budget=5", ini=provider.ini)

    assert result.ret == FAILED
    assert "the answer states no usage" in "\n".join(report_of(result))


def test_mocked_stream_without_usage_is_counted_from_the_reply(run: Run) -> None:
    """The mock knows what it said, though its bytes do not say it."""
    suite = MOCKED.format(options="input_tokens=1000, output_tokens=100", body="stream=True")

    assert run(suite, "--llm-budget=0.00021").ret == OK
    assert run(suite, "--llm-budget=0.00020").ret == FAILED


def test_prices_of_the_user_win(run: Run, pytester: pytest.Pytester) -> None:
    """``--llm-prices`` overrides the price of a model."""
    pytester.makefile(".toml", prices='["gpt-4o-mini"]\ninput = 1000\noutput = 0\n')

    assert run(ONE_CALL, "--llm-budget=0.99", "--llm-prices=prices.toml").ret == FAILED
    assert run(ONE_CALL, "--llm-budget=1.00", "--llm-prices=prices.toml").ret == OK


def test_no_call_keeps_the_budget_and_says_so(run: Run) -> None:
    """A budget over no call passes, visibly on nothing."""
    result = run("def test_nothing():\n    pass\n", "--llm-budget=5")

    assert result.ret == OK
    assert report_of(result) == [
        "no LLM call was seen",
        "tokens     0 (no limit): 0 in, 0 out, 0 cached",
        "cost       $0.00 (of $5.00, 0.0% used, 0 thresholds exceeded): $0.00 spent, $0.00 simulated",
        "cache hits prompt n/a, application n/a",
        "truncated  0 responses, 0 contexts",
    ]


@pytest.mark.parametrize(
    ("source", "options", "status"),
    [
        pytest.param("def test_red(llm_mock):\n    assert False\n", [], FAILED, id="failed tests"),
        pytest.param("", [], pytest.ExitCode.NO_TESTS_COLLECTED, id="no tests"),
        pytest.param(
            "def test_stop(llm_mock):\n    llm_mock.openai.chat('Hi')\n    ask()\n    raise KeyboardInterrupt\n",
            [],
            pytest.ExitCode.INTERRUPTED,
            id="interrupted",
        ),
        pytest.param(ONE_CALL, ["--collect-only"], OK, id="only collected"),
    ],
)
def test_other_exit_statuses_are_kept(run: Run, source: str, options: list[str], status: pytest.ExitCode) -> None:
    """A breach turns green into red, and nothing else."""
    assert run(source, "--llm-budget=0", *options).ret == status


def test_calls_outside_of_tests_count(run: Run) -> None:
    """A call made while a module is imported is charged to the session."""
    suite = "import httpx2\nclient = httpx2.Client(transport=httpx2.MockTransport(lambda request: httpx2.Response(200, json=BODY)))\n"
    body = (
        'BODY = {"model": "gpt-4o-mini", "choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 100}}\n'
    )
    call = "client.post('https://api.openai.com/v1/chat/completions', json={'messages': []})\n"
    result = run(body + suite + call + "def test_nothing():\n    pass\n", "--llm-budget=0.0002")

    assert result.ret == FAILED
    assert "$0.00021        1  [collection]" in report_of(result)


def test_workers_are_added_up(run: Run) -> None:
    """Under xdist, the budget is that of the whole run."""
    calls = "".join(ONE_CALL.replace("test_call", f"test_call_{i}") for i in range(4))

    assert run(calls, "--llm-budget=0.00084", "-n2", plugins=("xdist",)).ret == OK
    over = run(calls, "--llm-budget=0.00083", "-n2", plugins=("xdist",))
    assert over.ret == FAILED
    assert "$0.00084" in report_of(over)[-1]


@pytest.mark.parametrize("options", [(), ("-n1",)], ids=["here", "in a worker"])
def test_watching_that_failed_leaves_a_budget_unproven(run: Run, options: tuple[str, ...]) -> None:
    """What could not be seen may have cost something; a worker says so to the controller."""
    result = run(
        """
from pytest_llmtelemetry import telemetry

class Odd:
    def __hash__(self):
        return 1

    def __eq__(self, other):
        raise RuntimeError

def test_it():
    telemetry.execute(Odd())
""",
        "--llm-budget=5",
        *options,
        plugins=("xdist",),
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["not seen   watching failed 1 time; please report it"])


def test_lost_worker_leaves_the_budget_unproven(run: Run) -> None:
    """What a crashed worker spent is not known, so the total is a lower bound."""
    source = "import os\n" + ONE_CALL + "\ndef test_crash():\n    os._exit(1)\n"
    result = run(source, "--llm-budget=5", "-n2", "--max-worker-restart=0", plugins=("xdist",))

    assert result.ret == FAILED
    assert "LLM budget not proven: a worker was lost, and the total is a lower bound" in report_of(result)


def test_ollama_on_loopback_is_free(run: Run, provider: Provider) -> None:
    """Its own API is recognised by its path, whatever the port."""
    url = provider.url.replace("/v1/chat/completions", "/api/chat")
    result = run(LIVE.format(url=url, body=""), "--llm-budget=0")

    assert result.ret == OK
    assert report_of(result)[1].split()[:3] == ["ollama", "gpt-4o-mini", "1"]
