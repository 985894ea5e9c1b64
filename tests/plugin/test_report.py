"""The report at the end of a run, whole and in order."""

from __future__ import annotations

import pytest

from support import Provider, Run, report_of


SUITE = """
import httpx2
from pytest_llmtelemetry import telemetry

def test_chat(llm_mock):
    llm_mock.openai.chat("Hi", input_tokens=1000, output_tokens=100, cached_tokens=400)
    ask()
    ask()

def test_summary(llm_mock):
    llm_mock.anthropic.messages("Hi", input_tokens=2000, output_tokens=300, finish_reason="length")
    httpx2.post("https://api.anthropic.com/v1/messages", json={"model": "claude-haiku-4-5", "messages": []})

def test_cache():
    telemetry.execute("llm.cache.lookup.miss", {}, {"key": "a"})
    telemetry.execute("llm.cache.lookup.hit", {}, {"key": "a"})
    telemetry.execute("llm.cache.lookup.hit", {}, {"key": "a"})
    telemetry.execute("llm.context.truncation.stop", {"messages_removed": 3}, {"truncated": True})
    telemetry.execute("llm.context.truncation.stop", {"messages_removed": 0}, {"truncated": False})
"""


def test_report_whole(run: Run) -> None:
    """Models, tests, and the four lines: tokens, cost, cache hits, truncation."""
    assert report_of(run(SUITE, "--llm-budget=1")) == [
        "provider    model               calls     in    out    cached    spent    simulated",
        "anthropic   claude-haiku-4-5        1  2,000    300       n/a    $0.00      $0.0035",
        "openai      gpt-4o-mini             2  2,000    200       800    $0.00     $0.00036",
        "",
        "    cost    calls  most expensive",
        " $0.0035        1  test_suite.py::test_summary",
        "$0.00036        2  test_suite.py::test_chat",
        "",
        "tokens     4,500 (no limit): 4,000 in, 500 out, 800 cached",
        "cost       $0.00386 (of $1.00, 0.4% used, 0 thresholds exceeded): $0.00 spent, $0.00386 simulated",
        "cache hits prompt 20.0%, application 66.7%",
        "truncated  1 response, 1 context",
    ]


def test_at_most_five_tests(run: Run) -> None:
    """The most expensive ones, first."""
    call = "def test_{i}(llm_mock):\n    llm_mock.openai.chat('Hi', input_tokens={i}000, output_tokens=0)\n    ask()\n"
    lines = report_of(run("".join(call.format(i=i) for i in range(1, 8))))

    assert [line.split("::")[1] for line in lines if "::" in line] == ["test_7", "test_6", "test_5", "test_4", "test_3"]


def test_error_answers_are_no_calls(run: Run, provider: Provider) -> None:
    """A 500 without usage is an attempt: neither a call nor unpriced."""
    provider.status, provider.usage = 500, None
    result = run(f"def test_it():\n    ask('{provider.url}')\n", "--llm-budget=1", ini=provider.ini)

    assert result.ret == pytest.ExitCode.OK
    assert report_of(result)[0] == "no LLM call was seen"


def test_unread_api_with_usage_is_an_unpriced_call(run: Run, provider: Provider) -> None:
    """An API that no dialect reads cannot slip past a budget once it reports usage."""
    url = provider.url.replace("chat/completions", "responses")
    result = run(f"def test_it():\n    ask('{url}')\n", "--llm-budget=1", ini=provider.ini)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "unpriced   1 call, openai gpt-4o-mini: the answer states no usage" in report_of(result)


def test_hostile_model_name_does_not_reach_the_terminal(run: Run) -> None:
    """Escapes, line ends and credentials from an answer are made harmless."""
    source = r"""
def test_it(llm_mock):
    llm_mock.openai.chat("Hi", model="gpt\x1b[31m\n::error::sk-abcdefghijklmnopqrstuvwx")
    ask()
"""
    text = run(source).stdout.str()

    assert "gpt?[31m?::error::[redacted]" in text
    assert "\x1b[31m\n" not in text


def test_without_a_terminal_the_verdict_stands(run: Run) -> None:
    """The exit status does not depend on the report."""
    source = "def test_it(llm_mock):\n    llm_mock.openai.chat('Hi')\n    ask()\n"

    assert run(source, "--llm-budget=0", "-p", "no:terminal").ret == pytest.ExitCode.TESTS_FAILED


def test_coverage_of_the_suite_is_whole(run: Run, pytester: pytest.Pytester) -> None:
    """A suite that measures itself misses no line because prices were loaded."""
    pytest.importorskip("coverage")
    pytester.makepyfile(
        app="""
from helpers import ask

def answer():
    text = ask()
    return text
"""
    )
    pytester.makepyfile(
        runner="""
import sys, coverage, pytest

cov = coverage.Coverage(source=["."], data_file=None, config_file=False, branch=True)
cov.start()
status = pytest.main(["-p", "llmtelemetry", "-p", "no:cacheprovider", "-q", "--llm-budget=1", "test_suite.py"])
cov.stop()
missing = {name: cov.analysis2(name + ".py")[3] for name in ("app", "test_suite")}
sys.exit(f"{status=} {missing=}" if status or any(missing.values()) else 0)
"""
    )
    run(
        "from app import answer\n"
        "def test_it(llm_mock, llm_events):\n"
        "    llm_mock.openai.chat('Hi')\n"
        "    assert 'Hi' in answer()\n"
        "    assert llm_events.cost_usd\n"
        "    assert llm_events.calls\n",
        "--collect-only",
    )
    result = pytester.runpython(pytester.path / "runner.py")

    assert result.ret == 0, result.stderr.str()
