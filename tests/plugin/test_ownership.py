"""Whose events are they? What ``llm_events`` shows, and to whom the report charges a call."""

from __future__ import annotations

import pytest

from support import Run, report_of


OK = pytest.ExitCode.OK


def test_events_of_the_own_test_only(run: Run) -> None:
    """A test does not see the calls of the one before."""
    result = run("""
def test_one(llm_mock, llm_events):
    llm_mock.openai.chat("Hi")
    ask()
    ask()
    assert len(llm_events.calls) == 2

def test_two(llm_mock, llm_events):
    llm_mock.openai.chat("Hi")
    assert llm_events.names == []
    ask()
    assert llm_events.names == ["llm.provider.request.start", "llm.provider.request.stop", "llm.cost.calculated"]
""")

    assert result.ret == OK


def test_function_fixtures_belong_to_the_test(run: Run) -> None:
    """Also a call made before ``llm_events`` was asked for."""
    result = run("""
import pytest

@pytest.fixture
def greeting(llm_mock):
    llm_mock.openai.chat("Hi")
    return ask()

def test_it(greeting, request):
    llm_events = request.getfixturevalue("llm_events")
    [call] = llm_events.calls
    assert (call.event.owner.phase, call.event.owner.fixture, call.event.owner.scope) == ("setup", "greeting", "function")
""")

    assert result.ret == OK


WIDE = """
import pytest, httpx2

def answer(request):
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    return httpx2.Response(200, json={"model": "gpt-4o-mini", "choices": [], "usage": usage})

def call():
    with httpx2.Client(transport=httpx2.MockTransport(answer)) as client:
        client.post("https://api.openai.com/v1/chat/completions", json={"messages": []})

@pytest.fixture(scope="module")
def index():
    call()
    yield "index"
    call()

def test_first(index, llm_events):
    assert llm_events.calls == ()
    assert len(llm_events.session.calls) == 1
    assert llm_events.session.calls[0].event.owner.label == "[fixture index, module]"

def test_second(index, llm_events):
    call()
    assert len(llm_events.calls) == 1
"""


def test_wider_fixtures_belong_to_the_session(run: Run) -> None:
    """Their calls are charged to the fixture, set-up and tear-down, not to the test that came first."""
    result = run(WIDE)

    assert result.ret == OK
    rows = [line.split(maxsplit=2) for line in report_of(result) if "test_suite.py" in line or "[fixture" in line]
    assert rows == [
        ["$0.00042", "2", "[fixture index, module]"],
        ["$0.00021", "1", "test_suite.py::test_second"],
    ]


def test_each_attempt_of_a_rerun_has_its_own_events(run: Run) -> None:
    """A rerun starts with an empty log, and both attempts are paid."""
    result = run(
        """
attempts = []

def test_flaky(llm_mock, llm_events):
    attempts.append(1)
    llm_mock.openai.chat("Hi", input_tokens=1000, output_tokens=100)
    ask()
    [call] = llm_events.calls
    assert call.event.owner.attempt == len(attempts)
    assert len(attempts) == 2
""",
        "--reruns=1",
        plugins=("rerunfailures",),
    )

    assert result.ret == OK
    assert "$0.00042        2  test_suite.py::test_flaky" in report_of(result)


def test_threads_belong_to_the_running_test(run: Run) -> None:
    """A context variable would be empty there."""
    result = run("""
from concurrent.futures import ThreadPoolExecutor

def test_threads(llm_mock, llm_events):
    llm_mock.openai.chat("Hi")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: ask(), range(8)))
    assert len(llm_events.calls) == 8
""")

    assert result.ret == OK


def test_unittest_and_doctest_items_are_covered(run: Run) -> None:
    """They have no fixtures; hooks see them all the same."""
    result = run(
        '''
import unittest
from test_wide import call

def documented():
    """
    >>> call()
    """

class TestCase(unittest.TestCase):
    def test_method(self):
        call()
'''.replace("from test_wide import call", WIDE.split("@pytest.fixture", maxsplit=1)[0]),
        "--doctest-modules",
    )

    assert result.ret == OK
    labels = {line.split()[-1] for line in report_of(result) if "test_suite" in line}
    assert labels == {"test_suite.py::test_suite.documented", "test_suite.py::TestCase::test_method"}


def test_dropped_stream_is_closed_at_the_end_of_its_test(run: Run) -> None:
    """What a test leaves open is flushed, and counted, before the next begins."""
    result = run("""
import httpx2
from pytest_llmtelemetry import telemetry

client = httpx2.Client()
kept, ended = [], []
telemetry.attach("ended", "llm.stream.stop", lambda name, measurements, metadata, config: ended.append(metadata["ended"]))

def test_leaves_it_open(llm_mock):
    llm_mock.openai.chat("Hi there", input_tokens=1000, output_tokens=100)
    body = {"model": "gpt-4o-mini", "messages": [], "stream": True}
    request = client.build_request("POST", "https://api.openai.com/v1/chat/completions", json=body)
    kept.append(client.send(request, stream=True))

def test_next(llm_events):
    assert ended == ["abandoned"]
    assert llm_events.names == []
""")

    assert result.ret == OK
    assert "$0.00021        1  test_suite.py::test_leaves_it_open" in report_of(result)


def test_session_inside_a_test_is_separate(pytester: pytest.Pytester) -> None:
    """A suite that runs pytest in its own process counts each call once, where it was made."""
    pytester.makeconftest("pytest_plugins = ['pytester']")
    pytester.makepyfile('''
import httpx2

SUITE = """
import httpx2

def answer(request):
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    return httpx2.Response(200, json={"model": "gpt-4o-mini", "choices": [], "usage": usage})

def call():
    with httpx2.Client(transport=httpx2.MockTransport(answer)) as client:
        client.post("https://api.openai.com/v1/chat/completions", json={"messages": []})

def test_inner(llm_events):
    call()
    assert len(llm_events.calls) == 1
"""
exec(SUITE.split("def test_inner")[0])

def test_outer(pytester, llm_events):
    call()
    pytester.makepyfile(SUITE)
    inner = pytester.runpytest_inprocess("--llm-budget=0.0001")
    assert inner.ret == 1
    inner.stdout.fnmatch_lines(["LLM budget exceeded by $0.00011: $0.00021 of $0.0001"])
    assert len(llm_events.calls) == 1
    call()
    assert len(llm_events.calls) == 2
''')
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--llm-budget=1")

    assert result.ret == OK
    assert "$0.00042 (of $1.00, 0.0% used" in "\n".join(report_of(result))
