"""Handlers live as long as what attached them; metrics, clock and ids are a test's own."""

from __future__ import annotations

import pytest

from support import Run


HEAD = """
import pytest
from pytest_llmtelemetry import telemetry

heard = []

def hear(event, measurements, metadata, config):
    heard.append((config, metadata.get("tool")))

def attached():
    return [one.handler_id for one in telemetry.list_handlers()]
"""


def test_handler_of_a_test_ends_with_it(run: Run) -> None:
    """What a test attaches in any of its phases, itself or in its fixtures, is gone for the next one."""
    result = run(
        HEAD
        + """
@pytest.fixture
def listening(request):
    telemetry.attach("setup", "llm.tool.call", hear)
    request.addfinalizer(lambda: telemetry.attach("teardown", "llm.tool.call", hear))

def test_first(listening):
    telemetry.attach("call", "llm.tool.call", hear)
    assert attached() == ["setup", "call"]

def test_second():
    assert attached() == []
"""
    )
    result.assert_outcomes(passed=2)


def test_handler_of_the_session_stays(run: Run) -> None:
    """What was attached before the first test, as by an application at import, is there in every test."""
    result = run(
        HEAD
        + """
telemetry.attach("app", "llm.tool.call", hear, "app")

@pytest.mark.parametrize("n", range(2))
def test_it(n):
    assert attached() == ["app"]
"""
    )
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("away", ["telemetry.detach('app')", "telemetry.tool_call('boom')"], ids=["detached", "failed"])
def test_handler_that_went_in_a_test_returns(run: Run, away: str) -> None:
    """A handler that was detached in a test, by hand or because it failed, is back for the next one, in its place."""
    result = run(
        HEAD
        + f"""
def fragile(event, measurements, metadata, config):
    if metadata["tool"] == "boom":
        raise LookupError

telemetry.attach("app", "llm.tool.call", fragile)
telemetry.attach("other", "llm.tool.call", hear)

@pytest.mark.filterwarnings("ignore")
def test_first():
    {away}
    assert attached() == ["other"]

def test_second():
    assert attached() == ["app", "other"]
"""
    )
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("scope", ["class", "module", "package", "session"])
def test_handler_of_a_wider_fixture_lives_as_long_as_it(run: Run, scope: str) -> None:
    """A handler that a wider fixture attaches outlives the test that asked for it first, and not the fixture."""
    result = run(
        HEAD
        + f"""
@pytest.fixture(scope={scope!r})
def app():
    telemetry.attach("wide", "llm.tool.call", hear)
    yield
    assert attached() == ["wide"]

class TestOne:
    def test_first(self, app):
        telemetry.attach("mine", "llm.tool.call", hear)
        assert attached() == ["wide", "mine"]

    def test_second(self, app):
        assert attached() == ["wide"]

class TestTwo:
    def test_third(self):
        assert attached() == ([] if {scope!r} == "class" else ["wide"])
"""
    )
    result.assert_outcomes(passed=3)


def test_wider_fixture_may_detach(run: Run) -> None:
    """What a wider fixture detaches stays away, for it is not the test that changed it."""
    result = run(
        HEAD
        + """
telemetry.attach("app", "llm.tool.call", hear)

@pytest.fixture(scope="module")
def quiet():
    telemetry.detach("app")

def test_first(quiet):
    assert attached() == []

def test_second():
    assert attached() == []
"""
    )
    result.assert_outcomes(passed=2)


def test_wider_fixture_inside_another(run: Run) -> None:
    """Each fixture keeps its own handlers, also if one asks for the other while it is set up."""
    result = run(
        HEAD
        + """
@pytest.fixture(scope="module")
def outermost(request):
    telemetry.attach("outermost", "llm.tool.call", hear)
    request.getfixturevalue("session_wide")

@pytest.fixture(scope="session")
def session_wide():
    telemetry.attach("session", "llm.tool.call", hear)

def test_first(outermost):
    assert attached() == ["outermost", "session"]

def test_second():
    assert attached() == ["outermost", "session"]
"""
    )
    result.assert_outcomes(passed=2)


def test_failing_handler_is_a_warning(run: Run) -> None:
    """A handler that raised is named in the summary of warnings, and the test passes."""
    result = run(
        HEAD
        + """
def test_it():
    telemetry.attach("broken", "llm.tool.call", lambda *args: 1 / 0)
    telemetry.tool_call("search")
"""
    )
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(
        ["*LLMTelemetryWarning: the handler 'broken' raised ZeroDivisionError on llm.tool.call and was detached"]
    )


def test_failing_handler_fails_a_strict_test(run: Run) -> None:
    """Under llm_strict the same is a failure, without a traceback of ours."""
    result = run(
        HEAD
        + """
def test_it():
    telemetry.attach("broken", "llm.tool.call", lambda *args: 1 / 0)
    telemetry.tool_call("search")

def test_next():
    telemetry.tool_call("search")
""",
        ini="llm_strict = true",
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "the telemetry of this test is wrong (llm_strict):",
            "  the handler 'broken' raised ZeroDivisionError on llm.tool.call and was detached",
        ]
    )
    result.stdout.no_fnmatch_line("*session.py*")


@pytest.mark.parametrize(
    ("code", "finding"),
    [
        (
            "telemetry.execute('llm.tool.cal')",
            "llm.tool.cal is not an event of the catalogue; declare() it, or name it outside of 'llm.'",
        ),
        (
            "telemetry.execute('llm.tool.call', {'arguments_bytes': 2})",
            "llm.tool.call lacks the metadata 'tool': its name",
        ),
        (
            "telemetry.execute('llm.tool.call', {'arguments_bytes': '2'}, {'tool': 'x'})",
            "llm.tool.call: the measurement 'arguments_bytes' is '2', not a number",
        ),
        (
            "telemetry.instrument('app.x', lambda: 1 / 0)(print)()",
            "the metadata of app.x could not be read: *",
        ),
    ],
    ids=["undeclared", "missing key", "no number", "unreadable"],
)
def test_strict_mode_compares_with_the_catalogue(run: Run, code: str, finding: str) -> None:
    """An event that is not as the catalogue says fails the test under llm_strict, and only there."""
    source = HEAD + f"\n@pytest.mark.filterwarnings('ignore')\ndef test_it():\n    {code}\n"
    run(source).assert_outcomes(passed=1)
    result = run(source, ini="llm_strict = true")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"  {finding}"])


def test_declared_events_are_fine_in_strict_mode(run: Run) -> None:
    """A user's own event is held to what was declared of it; others outside of llm. are free."""
    result = run(
        HEAD
        + """
telemetry.declare("llm.answer.graded", measurements={"score": "points"})

def test_good():
    telemetry.execute("llm.answer.graded", {"score": 4})
    telemetry.execute("app.anything", {}, {"x": object()})

def test_bad():
    telemetry.execute("llm.answer.graded")
""",
        ini="llm_strict = true",
    )
    result.assert_outcomes(passed=1, failed=1)


@pytest.mark.parametrize(
    ("phase", "outcome"),
    [("setup", {"errors": 1}), ("call", {"failed": 1}), ("teardown", {"passed": 1, "errors": 1})],
    ids=["setup", "call", "teardown"],
)
def test_strict_mode_fails_the_phase(run: Run, phase: str, outcome: dict[str, int]) -> None:
    """What is wrong fails the phase in which it happened."""
    result = run(
        HEAD
        + f"""
def bad(where):
    if where == {phase!r}:
        telemetry.execute("llm.nonsense")

@pytest.fixture
def around():
    bad("setup")
    yield
    bad("teardown")

def test_it(around):
    bad("call")
""",
        ini="llm_strict = true",
    )
    result.assert_outcomes(**outcome)


def test_strict_mode_does_not_hide_a_failure(run: Run) -> None:
    """A test that fails by itself keeps its own failure; what is wrong besides is a warning."""
    result = run(
        HEAD
        + """
def test_it():
    telemetry.execute("llm.nonsense")
    assert 1 == 2
""",
        ini="llm_strict = true",
    )
    result.assert_outcomes(failed=1, warnings=1)
    result.stdout.fnmatch_lines(["*assert 1 == 2"])


def test_strict_mode_that_is_neither_true_nor_false(run: Run) -> None:
    """A value that cannot be used is one line and exit status 4."""
    result = run("", ini="llm_strict = perhaps")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: ini llm_strict is neither true nor false (*perhaps*)"])


def test_metrics_begin_at_zero_in_each_test(run: Run) -> None:
    """llm_telemetry counts what happens in its test, and an application that reads the metrics reads these."""
    result = run(
        HEAD
        + """
@pytest.mark.parametrize("n", [1, 2])
def test_it(llm_telemetry, n):
    for _ in range(n):
        telemetry.tool_call("search")
    assert llm_telemetry.get_metrics()["components"]["tools"]["calls"] == n
    assert telemetry.get_metrics()["components"]["tools"]["calls"] == n
"""
    )
    result.assert_outcomes(passed=2)


def test_attach_of_the_fixture_undoes_itself(run: Run) -> None:
    """A handler that is attached through llm_telemetry hears until the end of the test, also in tear-down."""
    result = run(
        HEAD
        + """
@pytest.fixture(autouse=True)
def around():
    yield
    assert attached() == []

def test_first(llm_telemetry):
    llm_telemetry.attach("mine", "llm.tool.call", hear, "mine")
    telemetry.tool_call("search")
    assert heard == [("mine", "search")]

def test_second():
    telemetry.tool_call("search")
    assert len(heard) == 1
"""
    )
    result.assert_outcomes(passed=2)


def test_clock_stands_still_and_ids_are_small(run: Run) -> None:
    """Under llm_clock durations are what the test lets pass, and span ids are 1, 2, 3 in every test."""
    result = run(
        HEAD
        + """
@pytest.mark.parametrize("n", range(2))
def test_it(llm_clock, llm_events, n):
    with telemetry.span("app.outer"):
        with telemetry.span("app.inner"):
            llm_clock.advance(1.5)
    ids = [(event.name, event.span_id, event.parent_id) for event in llm_events]
    assert ids == [
        ("app.outer.start", 1, None),
        ("app.inner.start", 2, 1),
        ("app.inner.stop", 2, 1),
        ("app.outer.stop", 1, None),
    ]
    assert [event["duration_ns"] for event in llm_events if "duration_ns" in event] == [1_500_000_000] * 2

def test_real_again(llm_events):
    with telemetry.span("app.outer"):
        pass
    assert llm_events[1]["duration_ns"] > 0
"""
    )
    result.assert_outcomes(passed=3)


def test_clock_does_not_touch_spans_that_began_before_it(run: Run) -> None:
    """A span of a wider fixture that ends under a fixed clock, or after one, keeps its own time and owner."""
    result = run(
        HEAD
        + """
@pytest.fixture(scope="module")
def wide():
    with telemetry.span("app.wide") as work:
        yield work

def test_first(wide, llm_clock, llm_events):
    with telemetry.span("app.mine"):
        pass
    assert llm_events.names == ["app.mine.start", "app.mine.stop"]

def test_second(wide, llm_clock, llm_events):
    wide.stop()
    assert wide.measurements["duration_ns"] > 0
    assert llm_events.names == []
    assert llm_events.session.names == ["app.wide.start", "app.wide.stop"]
"""
    )
    result.assert_outcomes(passed=2)


def test_mocked_calls_under_a_fixed_clock(run: Run) -> None:
    """The events of a real SDK's call are the same in every run, down to ids and durations."""
    result = run(
        HEAD
        + """
from helpers import ask

def test_it(llm_mock, llm_clock, llm_events, llm_telemetry):
    llm_mock.openai.chat("Hi", input_tokens=10, output_tokens=2)
    ask()
    stop, = llm_events.filter("llm.provider.request.stop")
    assert (stop["duration_ns"], stop.span_id, stop["monotonic_time_ns"]) == (0, 1, 0)
    assert llm_telemetry.dashboard_data(time_window=1)["components"]["chat"]["total_calls"] == 1
    llm_clock.advance(ms=2)
    assert llm_telemetry.dashboard_data(time_window=1)["components"]["chat"]["total_calls"] == 0
"""
    )
    result.assert_outcomes(passed=1)


def test_application_spans_and_capture_count_once(run: Run) -> None:
    """A chat call around a provider request around a real request is one call in the report."""
    result = run(
        HEAD
        + """
from helpers import ask

def test_it(llm_mock, llm_events):
    llm_mock.openai.chat("Hi", input_tokens=10, output_tokens=2)
    with telemetry.instrument("llm.chat.call", {"provider": "openai", "model": "gpt-4o-mini"}) as chat:
        with telemetry.instrument_provider("openai", "gpt-4o-mini") as request:
            import json
            request.result = json.loads(ask())
        chat.result = request.result
    assert len(llm_events.calls) == 1
    stops = [event for event in llm_events if event.name.endswith(".stop")]
    assert {event["accounted_span_id"] for event in stops[1:]} == {stops[0].span_id}
""",
        "--llm-budget=1",
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["openai *gpt-4o-mini * 1 * 10 * 2 *"])


def test_calls_of_an_application_belong_to_its_test(run: Run) -> None:
    """What only the application reports is priced, charged to the test that began it, and held against the budget."""
    result = run(
        HEAD
        + """
@pytest.mark.parametrize("n", range(2))
def test_it(llm_events, n):
    with telemetry.instrument_provider("openai", "gpt-4o-mini") as request:
        request.result = {"id": "same", "usage": {"prompt_tokens": 1_000_000, "completion_tokens": 0}}
    assert str(llm_events.cost_usd) in {"0.15", "0.150"}
    assert llm_events.calls[0].event.owner.nodeid.endswith(f"test_it[{n}]")
""",
        "--llm-budget=0.20",
    )
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["LLM budget exceeded by $0.1000: $0.3000 of $0.2000"])


def test_open_streams_whose_ids_are_the_same(run: Run) -> None:
    """Streams that began under different clocks, and so under one id, are each ended and counted."""
    result = run(
        HEAD
        + """
import httpx2
from pytest_llmtelemetry.telemetry.clock import FixedClock, set_clock

BODY = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}

def test_it(llm_mock):
    llm_mock.openai.chat("Hi", input_tokens=10, output_tokens=2)
    kept = []
    for _ in range(2):
        undo = set_clock(FixedClock())
        client = httpx2.Client(trust_env=False)
        request = client.build_request("POST", "https://api.openai.com/v1/chat/completions", json=BODY)
        kept.append(client.send(request, stream=True))
        undo()
"""
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["openai *gpt-4o-mini * 2 *"])
