"""Options and ini values: what is accepted, and one clear line for what is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support import Run, report_of


NOTHING = "def test_nothing():\n    pass\n"
USAGE_ERROR = pytest.ExitCode.USAGE_ERROR

VALID = [("5", "$5.00"), ("5.00", "$5.00"), ("$5.00", "$5.00"), (".5", "$0.5000"), ("0", "$0.00")]
INVALID = ["abc", "", "-1", "nan", "inf", "5,00", "1e3", "1_000", "5€", "$", "\u0665"]


def error_lines(result: pytest.RunResult) -> list[str]:
    """What was written to stderr."""
    return [line for line in result.errlines if line]


@pytest.mark.parametrize(("given", "shown"), VALID)
def test_budget_accepts_amounts(run: Run, given: str, shown: str) -> None:
    """Plain amounts, with or without a dollar sign."""
    result = run(NOTHING, f"--llm-budget={given}")

    assert result.ret == pytest.ExitCode.OK
    assert f"llm budget: {shown}" in result.outlines


@pytest.mark.parametrize("given", INVALID)
def test_bad_budget_is_one_line_before_collection(run: Run, given: str) -> None:
    """The run does not begin, and the line says what is valid."""
    result = run("raise SystemError('collected')", f"--llm-budget={given}")

    assert result.ret == USAGE_ERROR
    assert error_lines(result) == [
        f"ERROR: --llm-budget: {given!r} is not an amount in USD; write it as 5, 5.00 or $5.00"
    ]


@pytest.mark.parametrize("given", ["abc", "-1", "5,00"])
def test_bad_budget_in_ini_is_one_line(run: Run, given: str) -> None:
    """The same, with the place where it stands."""
    result = run(NOTHING, ini=f"llm_budget = {given}\n")

    assert result.ret == USAGE_ERROR
    assert error_lines(result) == [
        f"ERROR: ini llm_budget: {given!r} is not an amount in USD; write it as 5, 5.00 or $5.00"
    ]


def test_option_wins_over_ini(run: Run) -> None:
    """What is typed is meant."""
    result = run(NOTHING, "--llm-budget=2", ini="llm_budget = 1.50\n")

    assert "llm budget: $2.00" in result.outlines


def test_ini_alone_sets_the_budget(run: Run) -> None:
    """A project can keep its budget in its configuration."""
    assert "llm budget: $1.50" in run(NOTHING, ini="llm_budget = 1.50\n").outlines


@pytest.mark.parametrize("written", ['"1.50"', "1.50", "2"])
@pytest.mark.skipif(pytest.version_tuple < (9, 2), reason="native TOML numbers are clean from pytest 9.2 on")
def test_native_toml_sets_the_budget(run: Run, pytester: pytest.Pytester, written: str) -> None:
    """Numbers and strings of native TOML are both read."""
    pytester.makefile(".toml", pytest=f"[pytest]\npythonpath = ['.']\nllm_budget = {written}\n")
    result = run(NOTHING, "-c", "pytest.toml")

    assert f"llm budget: ${float(written.strip(chr(34))):.2f}" in result.outlines


def test_long_name_always_works(run: Run) -> None:
    """``--llmtelemetry-budget`` is the same option."""
    assert "llm budget: $3.00" in run(NOTHING, "--llmtelemetry-budget=3").outlines


RIVAL = """
def pytest_addoption(parser):
    parser.addoption("--llm-budget", type=float, help="somebody else's")
"""


def test_short_name_is_left_to_another_plugin(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two plugins with one option would end pytest; ours steps back and says so."""
    site = pytester.mkdir("site")
    (site / "rival.py").write_text(RIVAL)
    info = site / "pytest_llm_cost-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pytest-llm-cost\nVersion: 1.0\n")
    monkeypatch.setenv("PYTHONPATH", str(site))
    result = run(NOTHING, "--llm-budget=0.5", "--llmtelemetry-budget=4", plugins=("rival",))

    assert result.ret == pytest.ExitCode.OK
    assert [line for line in result.outlines if line.startswith("llm budget")] == [
        "llm budget: $4.00",
        "llm budget: --llm-budget belongs to pytest-llm-cost; use --llmtelemetry-budget for pytest-llmtelemetry",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param(
            "localhost:8080",
            "ini llm_hosts: 'localhost:8080' is not 'HOST[:PORT] = PROVIDER', such as 'localhost:8080 = openai'",
            id="no provider",
        ),
        pytest.param("http://localhost = openai", "is not 'HOST[:PORT] = PROVIDER'", id="a URL"),
        pytest.param(
            "localhost = opnai", "ini llm_hosts: 'opnai' (for localhost) is not a provider; valid are ", id="typo"
        ),
    ],
)
def test_bad_host_rule_is_one_line(run: Run, line: str, message: str) -> None:
    """Before the first test, with the line that is wrong."""
    result = run(NOTHING, ini=f"llm_hosts = {line}\n")

    assert result.ret == USAGE_ERROR
    [error] = error_lines(result)
    assert message in error


def test_any_provider_of_the_price_table_can_be_named(run: Run) -> None:
    """``novita`` is not in our own table of hosts, but genai-prices knows its prices."""
    assert run(NOTHING, ini="llm_hosts = gateway.example = novita\n").ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "cannot read", id="missing"),
        pytest.param("gpt = ", "is not TOML", id="not TOML"),
        pytest.param('["m"]\ninput = 1\n', "'output' is missing", id="incomplete"),
        pytest.param('["m"]\ninput = 1\noutput = -1\n', "output = '-1' is not a price", id="negative"),
        pytest.param('["m"]\ninput = 1\noutput = 1\ncached = 1\n', "unknown key 'cached'", id="unknown key"),
    ],
)
def test_bad_price_file_is_one_line(run: Run, pytester: pytest.Pytester, content: str | None, message: str) -> None:
    """Before the first test, with the file and what is wrong in it."""
    if content is not None:
        pytester.makefile(".toml", prices=content)
    result = run(NOTHING, "--llm-prices=prices.toml")

    assert result.ret == USAGE_ERROR
    [error] = error_lines(result)
    assert error.startswith("ERROR: --llm-prices: ")
    assert message in error


def test_price_file_in_ini_is_relative_to_the_rootdir(run: Run, pytester: pytest.Pytester) -> None:
    """So that it is found from any folder."""
    pytester.makefile(".toml", prices='["m"]\ninput = 1\noutput = 2\n')
    folder = pytester.mkdir("deeper")
    result = run(NOTHING, "--rootdir", str(folder.parent), ini="llm_prices = prices.toml\n")

    assert result.ret == pytest.ExitCode.OK


def test_bad_marker_of_the_mock_is_named(run: Run) -> None:
    """A misspelt keyword is an error, not a silent default."""
    source = "import pytest\n@pytest.mark.llm_mock(assert_all=False)\ndef test_it(llm_mock):\n    pass\n"
    result = run(source, "--strict-markers")

    assert "'assert_all' is not valid; give assert_all_called=True or False" in result.stdout.str()
    result.assert_outcomes(errors=1)


def test_help_names_every_option(run: Run) -> None:
    """``--help`` knows them all."""
    text = run(NOTHING, "--help").stdout.str()

    for name in ("--llm-budget", "--llmtelemetry-budget", "--llm-prices", "llm_budget", "llm_prices", "llm_hosts"):
        assert name in text


IDLE = """
import sys

def test_imports():
    heavy = {"httpx", "httpx2", "respx", "genai_prices", "hypothesis", "syrupy", "pydantic", "tabulate"}
    assert not heavy & set(sys.modules)
"""


def test_idle_run_imports_nothing_heavy(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading the plugin imports no HTTP library, no respx, no price table."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(IDLE)

    assert pytester.runpytest_subprocess("-p", "llmtelemetry").ret == pytest.ExitCode.OK


ABSENT = """
import sys

def test_absent(pytestconfig):
    import httpx2
    assert not [name for name in sys.modules if name.startswith("pytest_llmtelemetry")]
    assert not hasattr(httpx2.Client.send, "__wrapped__")
    assert not [finder for finder in sys.meta_path if type(finder).__module__.startswith("pytest_llmtelemetry")]
"""


def test_blocked_plugin_leaves_no_trace(pytester: pytest.Pytester) -> None:
    """``-p no:llmtelemetry``: no module, no seam, no option, no fixture."""
    pytester.makepyfile(ABSENT)

    assert pytester.runpytest_subprocess("-p", "no:llmtelemetry").ret == pytest.ExitCode.OK
    refused = pytester.runpytest_subprocess("-p", "no:llmtelemetry", "--llm-budget=5")
    assert refused.ret == USAGE_ERROR
    fixtures = pytester.runpytest_subprocess("-p", "no:llmtelemetry", "--fixtures").stdout.str()
    assert "llm_events" not in fixtures


def test_no_call_and_no_budget_prints_nothing(run: Run) -> None:
    """Who does not use it does not see it."""
    result = run(NOTHING)

    assert report_of(result) == []
    assert "llm" not in result.stdout.str().replace(str(Path(sys.prefix)), "").replace("llmtelemetry-0.1.0", "")
