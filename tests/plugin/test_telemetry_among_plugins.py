"""Telemetry of tests beside other plugins, other kinds of tests, inner sessions, and handlers that misbehave."""

from __future__ import annotations

import pytest

from support import Run, report_of


HEAD = """
import pytest
from pytest_llmtelemetry import telemetry

heard = []

def hear(event, measurements, metadata, config):
    heard.append(metadata.get("tool"))

def broken(*args):
    raise LookupError

def fails(*args):
    pytest.fail("too dear", pytrace=False)

def wrong():
    telemetry.execute("llm.nonsense")

def attached(prefix=""):
    return [one.handler_id for one in telemetry.list_handlers(prefix)]

def chat():
    with telemetry.instrument_provider("openai", "gpt-4o-mini") as request:
        request.result = {"id": "x", "usage": {"prompt_tokens": 1_000_000, "completion_tokens": 0}}

class Odd:
    def __str__(self):
        raise ValueError
    __repr__ = __reduce__ = __str__
"""
STRICT = "llm_strict = true"
UNDECLARED = "llm.nonsense is not an event of the catalogue; declare() it, or name it outside of 'llm.'"
DETACHED = "the handler 'broken' raised LookupError on llm.tool.call and was detached"
OUTSIDE = "<outside of tests>:1: LLMTelemetryWarning:"

# What no run may ever print: a crash of pytest, or a place in our own hooks.
CRASHES = ("*INTERNALERROR*", "*session.py*", "*strict.py*")


def assert_is_calm(result: pytest.RunResult) -> None:
    """The run printed no crash, and nothing on standard error."""
    for line in CRASHES:
        result.stdout.no_fnmatch_line(line)
    assert result.stderr.str() == ""


def warnings_of(result: pytest.RunResult) -> list[str]:
    """What the summary of warnings says, without the lines of code."""
    return [line.strip() for line in result.outlines if "LLMTelemetryWarning: " in line]


# -- pytest-xdist ------------------------------------------------------------------------------


def test_workers_have_handlers_metrics_and_clocks_of_their_own(run: Run) -> None:
    """What a test sees of its telemetry is the same in a worker, and metadata that no worker can send harms none."""
    result = run(
        HEAD
        + """
@pytest.fixture(scope="session")
def wide():
    telemetry.attach("wide", "app.x", hear)
    yield
    telemetry.detach("wide")

@pytest.mark.parametrize("n", range(4))
def test_it(n, wide, llm_telemetry, llm_clock, llm_events):
    assert attached("app") == ["wide"]
    telemetry.attach("mine", "app.x", hear)
    with telemetry.span("app.x", {"odd": Odd()}) as work:
        llm_clock.advance(1)
    assert (work.id, work.measurements["duration_ns"]) == (1, 1_000_000_000)
    telemetry.tool_call("search", arguments="{}", odd=Odd())
    assert llm_telemetry.get_metrics()["components"]["tools"]["calls"] == 1
    assert llm_events.names == ["app.x.start", "app.x.stop", "llm.tool.call"]
""",
        "-n2",
        ini=STRICT,
        plugins=("xdist",),
    )
    result.assert_outcomes(passed=4)
    assert_is_calm(result)


def test_warnings_of_workers_are_shown_once(run: Run) -> None:
    """A handler that fails in one worker is one warning of the run, at the place of its test."""
    result = run(
        HEAD
        + """
def test_it():
    telemetry.attach("broken", "llm.tool.call", broken)
    telemetry.tool_call("search", odd=Odd())

def test_other():
    pass
""",
        "-n2",
        plugins=("xdist",),
    )
    result.assert_outcomes(passed=2, warnings=1)
    assert [line.partition(": ")[2] for line in warnings_of(result)] == [f"LLMTelemetryWarning: {DETACHED}"]
    assert_is_calm(result)


def test_strict_mode_in_workers(run: Run) -> None:
    """llm_strict holds in a worker, also of values that no worker can send."""
    result = run(
        HEAD + "\ndef test_it():\n    telemetry.execute('llm.nonsense', {'n': Odd()}, {'m': Odd()})\n",
        "-n1",
        ini=STRICT,
        plugins=("xdist",),
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"  {UNDECLARED}"])
    assert_is_calm(result)


# -- pytest-rerunfailures ----------------------------------------------------------------------


def test_each_attempt_begins_afresh(run: Run) -> None:
    """A rerun has no handler, number, id or finding of the attempt before; the finding of that one is a warning."""
    result = run(
        HEAD
        + """
attempts = []

def test_it(llm_telemetry, llm_clock, llm_events):
    attempts.append(1)
    assert (attached("app"), llm_events.names) == ([], [])
    telemetry.attach("mine", "app.x", hear)
    with telemetry.span("app.work") as work:
        llm_clock.advance(1)
    assert (work.id, work.started_ns) == (1, 0)
    telemetry.tool_call("search", arguments="{}")
    assert llm_telemetry.get_metrics()["components"]["tools"]["calls"] == 1
    if len(attempts) < 2:
        wrong()
        assert "flaky" == 0
""",
        "--reruns=2",
        ini=STRICT,
        plugins=("rerunfailures",),
    )
    result.stdout.fnmatch_lines(["*1 passed, 1 warning, 1 rerun in *"])
    assert len(warnings_of(result)) == 1
    assert_is_calm(result)


def test_wrong_telemetry_can_be_rerun(run: Run) -> None:
    """A failure for wrong telemetry is one that a rerun may cure."""
    result = run(
        HEAD + "\nattempts = []\ndef test_it():\n    attempts.append(1)\n    if len(attempts) < 2:\n        wrong()\n",
        "--reruns=2",
        ini=STRICT,
        plugins=("rerunfailures",),
    )
    result.stdout.fnmatch_lines(["*1 passed, 1 rerun in *"])


def test_wide_fixture_that_failed_is_set_up_again(run: Run) -> None:
    """What a wider fixture had attached when it failed is gone when a rerun sets it up again without a tear-down."""
    result = run(
        HEAD
        + """
lives = []

@pytest.fixture(scope="module")
def flaky():
    telemetry.attach("wide", "llm.tool.call", hear)
    lives.append(1)
    if len(lives) == 1:
        raise RuntimeError

@pytest.mark.parametrize("n", range(2))
def test_it(flaky, n):
    assert attached() == ["wide"]
""",
        "--reruns=2",
        plugins=("rerunfailures",),
    )
    result.stdout.fnmatch_lines(["*2 passed, 1 rerun in *"])


# -- pytest-asyncio ----------------------------------------------------------------------------

ASYNC = """
import asyncio
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="module")
"""


@pytest.fixture
def run_async(run: Run) -> Run:
    """The same for a suite of coroutines."""
    pytest.importorskip("pytest_asyncio")
    ini = "asyncio_default_fixture_loop_scope = function\n"

    def run_async(source: str, *options: str, ini: str = ini, plugins: tuple[str, ...] = ()) -> pytest.RunResult:
        return run(HEAD + ASYNC + source, *options, ini=f"{ini}{STRICT}", plugins=("asyncio", *plugins))

    return run_async


def test_wide_async_fixture_keeps_its_handler(run_async: Run) -> None:
    """A handler that a wider async fixture attaches, also after an await, lives as long as the fixture."""
    result = run_async("""
@pytest_asyncio.fixture(scope="class", loop_scope="module")
async def wide():
    await asyncio.sleep(0)
    telemetry.attach("wide", "llm.tool.call", hear)
    yield
    await asyncio.sleep(0)
    assert attached() == ["wide"]

class TestOne:
    async def test_first(self, wide):
        telemetry.attach("mine", "llm.tool.call", hear)
        assert attached() == ["wide", "mine"]

    async def test_second(self, wide):
        assert attached() == ["wide"]

async def test_third():
    assert attached() == []
""")
    result.assert_outcomes(passed=3)


def test_spans_across_await(run_async: Run) -> None:
    """Tasks that run at once are children of the span that began them, and one that is cancelled ends its span."""
    result = run_async("""
async def child(n):
    async with telemetry.span("app.child"):
        await asyncio.sleep(0 if n else 5)

async def test_it(llm_events, llm_clock):
    with telemetry.span("app.parent") as parent:
        tasks = [asyncio.create_task(child(n)) for n in range(3)]
        await asyncio.sleep(0.01)
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    ends = [(event.name, event.parent_id) for event in llm_events if "success" in event]
    assert ends == [
        ("app.child.stop", 1), ("app.child.stop", 1), ("app.child.exception", 1), ("app.parent.stop", None)
    ]
""")
    result.assert_outcomes(passed=1)


def test_task_that_ends_late_is_judged_with_its_test(run_async: Run) -> None:
    """What a task does when the loop of its test closes fails the tear-down of that test, and not the next one."""
    result = run_async("""
@pytest.mark.asyncio(loop_scope="function")
async def test_late():
    async def work():
        try:
            await asyncio.sleep(5)
        finally:
            wrong()
    test_late.task = asyncio.create_task(work())
    await asyncio.sleep(0)

async def test_next():
    pass
""")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_late*", "the telemetry of this test is wrong*"])
    assert_is_calm(result)


# -- unittest and xunit ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "up", "down"),
    [("unittest.TestCase", "setUpClass", "tearDownClass"), ("object", "setup_class", "teardown_class")],
    ids=["unittest", "xunit"],
)
def test_handlers_of_class_and_module(run: Run, base: str, up: str, down: str) -> None:
    """What a class or a module attaches in its set-up functions is there in its tests, and detached by them."""
    result = run(
        HEAD
        + f"""
import unittest

def setup_module():
    telemetry.attach("module", "llm.tool.call", hear)

def teardown_module():
    assert attached() == ["module"]
    telemetry.detach("module")

class TestIt({base}):
    @classmethod
    def {up}(cls):
        telemetry.attach("class", "llm.tool.call", hear)

    @classmethod
    def {down}(cls):
        telemetry.detach("class")

    def test_first(self):
        telemetry.detach("class")
        telemetry.attach("mine", "llm.tool.call", hear)

    def test_second(self):
        assert attached() == ["module", "class"]

def test_third():
    assert attached() == ["module"]
"""
    )
    result.assert_outcomes(passed=3)


def test_fixture_in_a_unittest(run: Run) -> None:
    """A TestCase gets llm_telemetry through an autouse fixture, each test its own; as an argument nobody gives it."""
    result = run(
        HEAD
        + """
import unittest

class TestIt(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _telemetry(self, llm_telemetry, llm_clock):
        self.telemetry = llm_telemetry

    def count(self):
        telemetry.tool_call("search", arguments="{}")
        assert self.telemetry.get_metrics()["components"]["tools"]["calls"] == 1

    def test_first(self):
        self.count()

    def test_second(self):
        self.count()

    def test_argument(self, llm_telemetry):
        pass
"""
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*test_argument() missing 1 required positional argument: 'llm_telemetry'"])


def test_strict_mode_in_a_unittest(run: Run) -> None:
    """A test of unittest that would have passed fails; one that fails or skips keeps its outcome, and warns."""
    result = run(
        HEAD
        + """
import unittest

class TestIt(unittest.TestCase):
    def test_passes(self):
        wrong()

    def test_fails(self):
        wrong()
        self.assertEqual(1, 2)

    def test_skips(self):
        wrong()
        self.skipTest("no")

    @unittest.expectedFailure
    def test_expected(self):
        wrong()
        self.assertEqual(1, 2)
""",
        ini=STRICT,
    )
    result.assert_outcomes(failed=2, skipped=1, xfailed=1, warnings=3)
    result.stdout.fnmatch_lines(["*AssertionError: 1 != 2", "the telemetry of this test is wrong (llm_strict):"])
    assert_is_calm(result)


# -- fixtures wider than a test ----------------------------------------------------------------


def test_parametrized_wide_fixture(run: Run) -> None:
    """A wider fixture that is torn down and set up again between tests has the handlers of its present life only."""
    result = run(
        HEAD
        + """
@pytest.fixture(scope="module")
def wide(request):
    telemetry.attach(f"wide-{request.param}", "llm.tool.call", hear)

@pytest.mark.parametrize("wide", ["a", "b"], indirect=True)
@pytest.mark.parametrize("n", range(2))
def test_it(wide, request, n):
    assert attached() == ["wide-" + request.node.callspec.params["wide"]]
"""
    )
    result.assert_outcomes(passed=4)


def test_wide_fixture_that_fails_in_set_up(run: Run) -> None:
    """What a wider fixture attached before it failed is gone with its scope, though it had no tear-down."""
    result = run(
        HEAD
        + """
@pytest.fixture(scope="class")
def wide():
    telemetry.attach("wide", "llm.tool.call", hear)
    raise RuntimeError
    yield

class TestIt:
    def test_first(self, wide):
        pass

def test_second():
    assert attached() == []
"""
    )
    result.assert_outcomes(passed=1, errors=1)


def test_wide_fixture_may_attach_again(run: Run) -> None:
    """A handler that a wider fixture took away and brought back in its tear-down stays."""
    result = run(
        HEAD
        + """
telemetry.attach("app", "llm.tool.call", hear)

@pytest.fixture(scope="class")
def quiet():
    telemetry.detach("app")
    yield
    telemetry.attach("app", "llm.tool.call", hear)

class TestIt:
    def test_first(self, quiet):
        assert attached() == []

def test_second():
    assert attached() == ["app"]

def test_third():
    assert attached() == ["app"]
"""
    )
    result.assert_outcomes(passed=3)


def test_wide_fixture_detaches_what_failed_in_the_last_test(run: Run) -> None:
    """A handler that failed in a test is back when the wider fixture that attached it is torn down."""
    result = run(
        HEAD
        + """
@pytest.fixture(scope="class")
def wide():
    telemetry.attach("broken", "llm.tool.call", broken)
    yield
    telemetry.detach("broken")

class TestIt:
    def test_it(self, wide):
        telemetry.tool_call("search")

def test_next():
    assert attached() == []
"""
    )
    result.assert_outcomes(passed=2, warnings=1)


def test_handler_that_fails_while_a_wide_fixture_is_set_up(run: Run) -> None:
    """It is back for the next test, in its place, for the fixture did not mean to detach it."""
    result = run(
        HEAD
        + """
telemetry.attach("broken", "llm.tool.call", broken)
telemetry.attach("other", "llm.tool.call", hear)

@pytest.fixture(scope="module")
def wide():
    telemetry.tool_call("search")

@pytest.mark.filterwarnings("ignore")
def test_first(wide):
    assert attached() == ["other"]

def test_second():
    assert attached() == ["broken", "other"]
"""
    )
    result.assert_outcomes(passed=2)


# -- an inner session --------------------------------------------------------------------------


def test_inner_session_leaves_the_outer_one_as_it_was(run: Run) -> None:
    """However a session inside a test ends, that test has its handlers, clock, metrics, mock, spans and events."""
    inner = (
        HEAD
        + """
@pytest.fixture(scope="session")
def wide():
    telemetry.attach("wide", "app.x", hear)

def test_it(request, llm_clock, llm_telemetry, llm_events, llm_mock):
    assert attached("app") == ["app", "mine"]
    telemetry.detach("app")
    telemetry.attach("inner", "app.x", hear)
    with telemetry.span("inner.work"):
        llm_clock.advance(2)
    assert llm_events.names == ["inner.work.start", "inner.work.stop"]
    END
"""
    )
    result = run(
        HEAD
        + f"""
pytest_plugins = ["pytester"]
telemetry.attach("app", "app.x", hear)
INNER = {inner!r}

@pytest.mark.parametrize("end", [
    "request.getfixturevalue('wide')", "assert 1 == 2", "raise KeyboardInterrupt", "pytest.exit('bye')", "wrong()"
])
def test_outer(pytester, llm_events, llm_clock, llm_telemetry, llm_mock, end):
    llm_mock.openai.chat("Hi")
    telemetry.attach("mine", "app.x", hear)
    with telemetry.span("outer.work") as work:
        llm_clock.advance(1)
        pytester.makepyfile(INNER.replace("END", end))
        try:
            pytester.runpytest_inprocess("-p", "llmtelemetry", "-p", "no:cacheprovider", "-o", "llm_strict=true")
        except KeyboardInterrupt:
            pass
        ask()
    assert attached("app") == ["app", "mine"]
    assert work.measurements["duration_ns"] == 1_000_000_000
    assert llm_events.filter("*.work.*").names == ["outer.work.start", "outer.work.stop"]
    assert len(llm_events.calls) == 1
    assert llm_telemetry.get_metrics()["components"]["chat"]["total_calls"] == 1

def test_after():
    assert attached() == ["app"]
""",
        ini=STRICT,
    )
    result.assert_outcomes(passed=6)
    assert_is_calm(result)


# -- how a run may end -------------------------------------------------------------------------


def test_interrupt(run: Run) -> None:
    """An interrupted run ends as it always does, and what was found until then is shown."""
    result = run(
        HEAD
        + """
@pytest.fixture(scope="session")
def wide():
    telemetry.attach("wide", "llm.tool.call", hear)
    yield
    telemetry.detach("wide")

def test_it(wide, llm_clock, llm_telemetry):
    wrong()
    telemetry.detach("wide")
    with telemetry.span("app.work"):
        raise KeyboardInterrupt
""",
        ini=STRICT,
    )
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert [line.partition(": ")[2] for line in warnings_of(result)] == [f"LLMTelemetryWarning: {UNDECLARED}"]
    assert_is_calm(result)


def test_stop_at_the_first_failure(run: Run) -> None:
    """With -x a test whose telemetry is wrong is the last one, and wider fixtures are torn down as ever."""
    result = run(
        HEAD
        + """
@pytest.fixture(scope="session")
def wide():
    telemetry.attach("wide", "llm.tool.call", hear)
    yield
    telemetry.detach("wide")

def test_first(wide):
    wrong()

def test_second(wide):
    pass
""",
        "-x",
        ini=STRICT,
    )
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert_is_calm(result)


def outcomes_of(result: pytest.RunResult) -> dict[str, str]:
    """What became of each test, of a run with -v."""
    lines = [line.split() for line in result.outlines if line.startswith("test_suite.py::")]
    return {words[0].partition("::")[2]: words[1] for words in lines if len(words) > 1}


def test_outcomes_of_strict_mode(run: Run) -> None:
    """Wrong telemetry is a failure like another to xfail; a test that does not pass by itself only warns."""
    result = run(
        HEAD
        + """
@pytest.mark.xfail(strict=True)
def test_expected():
    wrong()

@pytest.mark.xfail(raises=ValueError)
def test_of_another_kind():
    wrong()

@pytest.mark.xfail(raises=ValueError)
def test_by_itself():
    wrong()
    raise ValueError

@pytest.mark.filterwarnings("error")
def test_skip():
    wrong()
    pytest.skip("no")

@pytest.mark.filterwarnings("ignore")
def test_ignored():
    wrong()
    pytest.skip("no")

def test_xfail():
    wrong()
    pytest.xfail("no")
""",
        "-v",
        ini=STRICT,
    )
    assert outcomes_of(result) == {
        "test_expected": "XFAIL",
        "test_of_another_kind": "FAILED",
        "test_by_itself": "XFAIL",
        "test_skip": "SKIPPED",
        "test_ignored": "SKIPPED",
        "test_xfail": "XFAIL",
    }
    result.assert_outcomes(failed=1, skipped=2, xfailed=3, warnings=3)
    assert_is_calm(result)


def test_refused_request_and_wrong_telemetry(run: Run) -> None:
    """A refusal fails its test alone: what is wrong besides is a warning, and nothing is left for the tear-down."""
    result = run(
        HEAD
        + """
def test_it(llm_mock):
    wrong()
    try:
        ask()
    except BaseException:
        pass
""",
        ini=STRICT,
    )
    result.assert_outcomes(failed=1, warnings=1)


def test_run_without_the_plugin(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """With -p no:llmtelemetry the application's telemetry works, nobody judges it, and the fixtures are unknown."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "llmtelemetry")
    pytester.makepyfile(
        HEAD
        + """
def test_it():
    with telemetry.span("app.work"):
        wrong()

def test_fixture(llm_telemetry):
    pass
"""
    )
    result = pytester.runpytest_subprocess("-p", "no:llmtelemetry")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E *fixture 'llm_telemetry' not found"])
    assert_is_calm(result)


# -- warnings as errors ------------------------------------------------------------------------


def test_every_failing_handler_is_named_where_warnings_are_errors(run: Run) -> None:
    """With -W error a test whose handlers fail is red, with a line for each and no traceback of ours."""
    result = run(
        HEAD
        + """
def test_it():
    telemetry.attach("broken", "llm.tool.call", broken)
    telemetry.attach("other", "llm.tool.call", broken)
    telemetry.tool_call("search")

def test_next():
    pass
""",
        "-Werror",
        "--show-capture=no",
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*_ test_it _*",
            f"LLMTelemetryWarning: {DETACHED}",
            f"LLMTelemetryWarning: {DETACHED.replace('broken', 'other')}",
            "*short test summary*",
        ],
        consecutive=True,
    )
    assert_is_calm(result)


def test_warning_is_at_the_place_of_the_test(run: Run) -> None:
    """The summary of warnings shows the test, not a line of this plugin."""
    result = run(
        HEAD
        + "\ndef test_it():\n    telemetry.attach('broken', 'llm.tool.call', broken)\n    telemetry.tool_call('x')\n"
    )
    result.stdout.fnmatch_lines(
        ["test_suite.py::test_it", f"  *test_suite.py:*: LLMTelemetryWarning: {DETACHED}", "    def test_it():"],
        consecutive=True,
    )
    assert_is_calm(result)


def test_warning_of_a_test_without_a_line(run: Run, pytester: pytest.Pytester) -> None:
    """A test of another plugin's own kind, which has no line in its file, is named all the same."""
    pytester.makeconftest(
        HEAD
        + """
class Item(pytest.Item):
    def runtest(self):
        telemetry.attach("broken", "llm.tool.call", broken)
        telemetry.tool_call("search")

class File(pytest.File):
    def collect(self):
        yield Item.from_parent(self, name="one")

def pytest_collect_file(file_path, parent):
    return File.from_parent(parent, path=file_path) if file_path.suffix == ".txt" else None
"""
    )
    pytester.maketxtfile(suite="one")
    result = run("")
    result.assert_outcomes(passed=1, warnings=1)
    assert warnings_of(result) == [f"suite.txt:1: LLMTelemetryWarning: {DETACHED}"]


# -- where no test runs ------------------------------------------------------------------------

FAILS = """
import pytest
from pytest_llmtelemetry import telemetry

def broken(*args):
    raise LookupError

def {hook}():
    telemetry.attach("broken", "llm.tool.call", broken)
    telemetry.tool_call("search")
"""


@pytest.mark.parametrize(
    ("hook", "options"),
    [
        ("pytest_sessionstart", ["-Werror"]),
        ("pytest_collection", []),
        ("pytest_collection", ["-Werror", "-ollm_strict=true"]),
        ("pytest_sessionfinish", ["-Werror", "-ollm_strict=true"]),
    ],
    ids=["start", "collection", "collection, strict", "finish, strict"],
)
def test_handler_that_fails_outside_of_tests(
    run: Run, pytester: pytest.Pytester, hook: str, options: list[str]
) -> None:
    """It is one warning in the summary, whatever the settings, and no test is blamed."""
    pytester.makeconftest(FAILS.format(hook=hook))
    result = run("def test_it():\n    pass\n", *options)
    result.assert_outcomes(passed=1, warnings=1)
    assert (warnings_of(result), result.ret) == ([f"{OUTSIDE} {DETACHED}"], pytest.ExitCode.OK)
    assert_is_calm(result)


def test_handler_that_fails_between_tests(run: Run, pytester: pytest.Pytester) -> None:
    """What another plugin does after a test is not blamed on the next one."""
    pytester.makeconftest(FAILS.format(hook="pytest_runtest_logfinish"))
    result = run("import pytest\n@pytest.mark.parametrize('n', [1, 2])\ndef test_it(n):\n    pass\n", ini=STRICT)
    result.assert_outcomes(passed=2, warnings=2)
    assert_is_calm(result)


@pytest.mark.parametrize("hook", ["pytest_collection", "pytest_sessionfinish"])
def test_handler_that_fails_the_test_where_none_runs(run: Run, pytester: pytest.Pytester, hook: str) -> None:
    """pytest.fail() in a handler of a price that is told outside of tests is a warning; the money is counted."""
    pytester.makeconftest(
        HEAD + f'\ndef {hook}():\n    telemetry.attach("dear", "llm.cost.calculated", fails)\n    chat()\n'
    )
    result = run("def test_it():\n    pass\n")
    result.assert_outcomes(passed=1, warnings=1)
    assert warnings_of(result) == [f"{OUTSIDE} a handler ended a test where none was running: too dear"]
    assert report_of(result)[1].split() == ["openai", "gpt-4o-mini", "1", "1,000,000", "0", "n/a", "$0.1500", "$0.00"]
    assert_is_calm(result)


def test_handler_that_fails_at_the_very_end(run: Run, pytester: pytest.Pytester) -> None:
    """After the summary a line on standard error is all that is left, and the exit status is right."""
    pytester.makeconftest(
        HEAD
        + '\ndef pytest_terminal_summary():\n    telemetry.attach("dear", "llm.cost.calculated", fails)\n    chat()\n'
    )
    result = run("def test_it():\n    pass\n")
    assert result.ret == pytest.ExitCode.OK
    assert result.errlines == [f"{OUTSIDE} a handler ended a test where none was running: too dear"]


@pytest.mark.parametrize("ending", ["", "assert 1 == 2"], ids=["collected", "collection fails"])
def test_collection_only(run: Run, ending: str) -> None:
    """A handler that fails at import is a warning of a run that only collects, also if that fails."""
    result = run(
        HEAD
        + f"\ntelemetry.attach('broken', 'llm.tool.call', broken)\ntelemetry.tool_call('x')\n{ending}\ndef test_it(): pass\n",
        "--collect-only",
        ini=STRICT,
    )
    assert result.ret == (pytest.ExitCode.INTERRUPTED if ending else pytest.ExitCode.OK)
    assert warnings_of(result) == [f"{OUTSIDE} {DETACHED}"]
    assert_is_calm(result)


# -- handlers that misbehave -------------------------------------------------------------------


def test_what_a_handler_may_do(run: Run) -> None:
    """Outcomes of pytest pass through a handler, other exceptions detach it; the next test knows nothing of it."""
    result = run(
        HEAD
        + """
HANDLERS = {
    "fail": fails,
    "skip": lambda *args: pytest.skip("no"),
    "xfail": lambda *args: pytest.xfail("no"),
    "detach": lambda *args: telemetry.detach("mine"),
    "attach": lambda *args: telemetry.attach("new", "llm.tool.call", hear),
    "execute": lambda *args: telemetry.execute("app.x"),
    "raise": broken,
    "exit": lambda *args: pytest.exit("no"),
}

@pytest.mark.parametrize("does", HANDLERS)
def test_it(does):
    assert attached() == []
    telemetry.attach("mine", "llm.tool.call", HANDLERS[does])
    telemetry.tool_call("search", arguments="{}")
""",
        "-v",
    )
    assert outcomes_of(result) == {
        "test_it[fail]": "FAILED",
        "test_it[skip]": "SKIPPED",
        "test_it[xfail]": "XFAIL",
        "test_it[detach]": "PASSED",
        "test_it[attach]": "PASSED",
        "test_it[execute]": "PASSED",
        "test_it[raise]": "PASSED",
        "test_it[exit]": "PASSED",
    }
    result.assert_outcomes(failed=1, skipped=1, xfailed=1, passed=5, warnings=2)
    assert_is_calm(result)


def test_assertion_in_a_handler(run: Run) -> None:
    """Under llm_strict an assertion in a handler fails the test, also in a thread, and the log says which one it was."""
    result = run(
        HEAD
        + """
import threading

def asserts(event, measurements, metadata, config):
    assert metadata["tool"] == "lookup"

def test_it():
    telemetry.attach("mine", "llm.tool.call", asserts)
    thread = threading.Thread(target=telemetry.tool_call, args=("search",), kwargs={"arguments": "{}"})
    thread.start()
    thread.join()
""",
        ini=STRICT,
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "  the handler 'mine' raised AssertionError on llm.tool.call and was detached",
            "AssertionError: assert 'search' == 'lookup'",
        ]
    )
    assert_is_calm(result)


def test_handler_that_asks_a_model(run: Run) -> None:
    """A handler of a price may make a call itself: both are counted, for the same test."""
    result = run(
        HEAD
        + """
def test_it(llm_mock, llm_events):
    llm_mock.openai.chat("Hi")
    asked = []

    def again(*args):
        if not asked:
            asked.append(1)
            ask()

    telemetry.attach("again", "llm.cost.calculated", again)
    ask()
    assert len(llm_events.calls) == 2
""",
        ini=STRICT,
    )
    result.assert_outcomes(passed=1)


def test_handler_that_fails_the_test_when_prices_are_told(run: Run) -> None:
    """pytest.fail() in a handler that is called at the end of a phase fails that phase, and leaves nothing behind."""
    result = run(
        HEAD
        + """
@pytest.fixture
def around():
    yield
    wrong()
    telemetry.attach("dear", "llm.cost.calculated", fails)
    chat()

def test_it(around):
    pass

def test_next(llm_events):
    assert (attached(), llm_events.names) == ([], [])
""",
        ini=STRICT,
    )
    result.assert_outcomes(passed=2, errors=1, warnings=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_it*", "too dear"], consecutive=True)
    assert_is_calm(result)


def test_handler_that_fails_on_a_stream_that_was_left_open(run: Run) -> None:
    """A stream that its test leaves open ends with the test, and so what its handlers do there is judged there."""
    result = run(
        HEAD
        + """
import httpx2

left = []

def test_it(llm_mock):
    llm_mock.openai.chat("Hello there")
    telemetry.attach("broken", "llm.stream.stop", broken)
    client = httpx2.Client(trust_env=False)
    body = {"model": "gpt-4o-mini", "stream": True, "messages": []}
    request = client.build_request("POST", "https://api.openai.com/v1/chat/completions", json=body)
    response = client.send(request, stream=True)
    pieces = response.iter_raw()
    next(pieces)
    left.append((client, response, pieces))

def test_next():
    pass
""",
        ini=STRICT,
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_it*"])


def test_recursion_without_end(run: Run) -> None:
    """A handler that calls itself for ever costs its own test, at whatever depth it strikes, and none after it."""
    result = run(
        HEAD
        + """
def deep(n):
    return deep(n - 1) if n else telemetry.tool_call("search", arguments="{}")

@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n", range(10))
def test_recursion(n):
    telemetry.attach("again", "llm.tool.call", lambda *args: telemetry.tool_call("search", arguments="{}"))
    try:
        deep(n)
    finally:
        pytest.skip("whatever became of it")

def test_after(llm_events):
    telemetry.tool_call("search")
    assert llm_events.names == ["llm.tool.call"]

def test_wrong():
    wrong()
""",
        ini=STRICT,
    )
    result.assert_outcomes(skipped=10, passed=1, failed=1)
    result.stdout.fnmatch_lines(["*_ test_wrong _*", f"  {UNDECLARED}"])


def test_events_of_odd_objects_do_not_blind_strict_mode(run: Run) -> None:
    """An event that cannot even be compared is a finding, and the next one is looked at as ever."""
    result = run(
        HEAD
        + """
def test_it():
    telemetry.execute("telemetry.handler.failure", {}, {"handler_id": Odd(), "event": Odd()})

def test_next():
    wrong()
""",
        ini=STRICT,
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["  an event could not be compared with the catalogue: ValueError", f"  {UNDECLARED}"])


def test_hundreds_of_handlers(run: Run) -> None:
    """Many handlers of an application, of which some fail, are all there in each test, in their order."""
    result = run(
        HEAD
        + """
NAMES = [f"app-{n}" for n in range(300)]
for n, name in enumerate(NAMES):
    telemetry.attach(name, "app.x", hear if n % 30 else broken)

@pytest.fixture(scope="class", params=range(2))
def wide(request):
    telemetry.attach("wide", "app.x", hear)

@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n", range(5))
class TestIt:
    def test_it(self, wide, n):
        assert sorted(attached()) == sorted([*NAMES, "wide"])
        assert attached()[:300] == NAMES
        telemetry.execute("app.x")
        assert len(attached()) == 291
"""
    )
    result.assert_outcomes(passed=10)


# -- other tools -------------------------------------------------------------------------------


def test_default_handlers_and_captured_logs(run: Run) -> None:
    """The default handlers log to where caplog looks, print nothing, and are gone for the next test."""
    result = run(
        HEAD
        + """
def test_first(caplog, capsys, llm_telemetry):
    caplog.set_level("DEBUG")
    telemetry.attach_default_handlers()
    telemetry.attach_default_handlers(level="DEBUG")
    telemetry.execute("llm.cache.lookup.hit", {}, {"key": "greeting"})
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("DEBUG", "llm.cache.lookup.hit key=greeting")
    ]
    assert capsys.readouterr() == ("", "")
    assert telemetry.get_metrics()["components"]["cache"]["hit_rate"] == 1.0

def test_second(caplog):
    caplog.set_level("DEBUG")
    telemetry.execute("llm.cache.lookup.hit", {}, {"key": "greeting"})
    assert caplog.messages == []
"""
    )
    result.assert_outcomes(passed=2)


def test_frozen_time(run: Run) -> None:
    """A tool that freezes the module time stops neither the clock of telemetry nor the dates of prices."""
    result = run(
        HEAD
        + """
import time

def test_it(llm_events, monkeypatch):
    for name in ("time", "monotonic", "perf_counter"):
        monkeypatch.setattr(time, name, lambda: 0.0)
        monkeypatch.setattr(time, f"{name}_ns", lambda: 0)
    with telemetry.span("app.work"):
        sum(range(1000))
    assert llm_events[1]["duration_ns"] > 0
    assert llm_events[0]["system_time_ns"] > 1_700_000_000 * 10**9
    chat()
    assert llm_events.cost_usd is not None
"""
    )
    result.assert_outcomes(passed=1)


def test_stream_of_a_real_sdk_under_a_fixed_clock(run: Run) -> None:
    """The times of a stream that openai reads are those that the test let pass, frozen time or not."""
    result = run(
        HEAD
        + """
import time
import openai

def test_it(llm_mock, llm_clock, llm_events, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    llm_mock.openai.chat("Hello there", input_tokens=10, output_tokens=2)
    messages = [{"role": "user", "content": "Hello?"}]
    pieces = 0
    for _ in openai.OpenAI(api_key="x").chat.completions.create(
        model="gpt-4o-mini", messages=messages, stream=True, stream_options={"include_usage": True}
    ):
        llm_clock.advance(ms=10)
        pieces += 1
    stop, = llm_events.filter("llm.stream.stop")
    assert {event.span_id for event in llm_events} == {1}
    assert stop["max_gap_ns"] == stop["mean_gap_ns"] == 10_000_000
    assert stop["duration_ns"] == 10_000_000 * pieces
    assert str(llm_events.cost_usd) == "0.0000027"
""",
        ini=STRICT,
    )
    result.assert_outcomes(passed=1)


def test_hypothesis_under_strict_mode(run: Run) -> None:
    """A property whose examples emit what is wrong fails once for all of them; one that is refuted keeps its example."""
    result = run(
        HEAD
        + """
from hypothesis import given, settings, strategies as st

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:hypothesis")

@settings(max_examples=5, database=None)
@given(st.integers())
def test_right(n):
    telemetry.tool_call("search", arguments="{}")

@settings(max_examples=5, database=None)
@given(st.integers())
def test_wrong(n):
    wrong()

@settings(max_examples=5, database=None)
@given(st.integers(0, 9))
def test_refuted(n):
    wrong()
    assert n > 9
""",
        ini=STRICT,
        plugins=("_hypothesis_pytestplugin",),
    )
    result.assert_outcomes(passed=1, failed=2, warnings=1)
    assert result.stdout.str().count(f"  {UNDECLARED}") == 1
    result.stdout.fnmatch_lines(["*n=0,*"])
    assert_is_calm(result)


def test_doctests(run: Run) -> None:
    """A doctest has its own handlers, metrics and verdict, like any test."""
    result = run(
        HEAD
        + '''
def first():
    """
    >>> metrics = getfixture("llm_telemetry").get_metrics
    >>> telemetry.tool_call("search", arguments="{}")
    >>> metrics()["components"]["tools"]["calls"]
    1
    >>> getfixture("llm_events").names
    ['llm.tool.call']
    >>> _ = telemetry.attach("mine", "app.x", hear)
    """

def second():
    """
    >>> attached()
    []
    >>> wrong()
    """
''',
        "--doctest-modules",
        ini=STRICT,
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*_ [[]doctest[]] test_suite.second _*", "the telemetry of this test is wrong*"])
    assert_is_calm(result)


def test_declaring_twice(run: Run) -> None:
    """A test that declares an event may run twice, as a rerun or for another parameter."""
    result = run(
        HEAD
        + """
@pytest.mark.parametrize("n", range(2))
def test_it(n):
    telemetry.declare("llm.answer.graded", measurements={"score": "points"})
    telemetry.execute("llm.answer.graded", {"score": n})
""",
        ini=STRICT,
    )
    result.assert_outcomes(passed=2)
