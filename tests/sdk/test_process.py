"""What needs a process of its own: imports, contacts past the seam, and the end of the interpreter."""

from __future__ import annotations

from collections.abc import Callable

import pytest


pytestmark = pytest.mark.matrix


SUITE = """
import sys

import pytest


QUESTION = {"model": "gpt-4o-mini", "messages": []}
ANSWER = {"choices": [{"finish_reason": "stop"}], "usage": {"prompt_tokens": 1000, "completion_tokens": 200}}


def ask(stack):
    transport = stack.MockTransport(lambda request: stack.Response(200, json=ANSWER))
    with stack.Client(transport=transport) as client:
        assert client.post("https://api.openai.com/v1/chat/completions", json=QUESTION).json() == ANSWER


def requests(log):
    return log.names.count("llm.provider.request.start")
"""

Suite = Callable[[str], pytest.RunResult]


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """Runs a suite with this plugin alone, warnings being errors."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def run(source: str) -> pytest.RunResult:
        pytester.makepyfile(SUITE + source)
        return pytester.runpytest_subprocess("-p", "pytest_llmtelemetry.plugin", "-W", "error")

    return run


def test_imports(suite: Suite) -> None:
    """A library is watched from the moment of its import, and again after a reload, under either of its names."""
    result = suite(
        """
import importlib
import importlib.util


def test_not_imported_by_us():
    assert "httpx2" not in sys.modules
    assert "httpx" not in sys.modules


def test_only_looked_for(llm_events):
    assert importlib.util.find_spec("httpx2").origin.endswith("__init__.py")
    assert "httpx2" not in sys.modules


def test_imported_late(llm_events):
    import httpx2
    ask(httpx2)
    assert requests(llm_events) == 1
    assert type(httpx2.__loader__).__name__ == type(httpx2.__spec__.loader).__name__ == "SourceFileLoader"


def test_reloaded(llm_events):
    import httpx2
    importlib.reload(httpx2)
    ask(httpx2)
    assert requests(llm_events) == 1


def test_alias(llm_events):
    import httpx2
    httpx2.alias_httpx()
    import httpx
    assert httpx is httpx2
    ask(httpx)
    assert requests(llm_events) == 1
"""
    )
    result.assert_outcomes(passed=5)


BLOCK = """
import http.client


def block(event, args):
    if event == "socket.getaddrinfo":
        raise OSError("tests do not look up names")


def contact(host):
    with pytest.raises(OSError, match="tests do not"):
        http.client.HTTPSConnection(host).connect()


@pytest.fixture(autouse=True, scope="session")
def alone():
    sys.addaudithook(block)
"""


def test_blind_spot(suite: Suite) -> None:
    """A provider that is contacted past the seam is named in the report, and nobody else is."""
    result = suite(
        BLOCK
        + """
def test_contact():
    contact("api.openai.com")
    contact("API.Anthropic.com")
    contact("example.com")
    contact("localhost")


def test_seen():
    import httpx2
    with httpx2.Client(trust_env=False) as client, pytest.raises(httpx2.ConnectError, match="tests do not"):
        client.post("https://api.groq.com/openai/v1/chat/completions", json=QUESTION)
"""
    )
    result.assert_outcomes(passed=2)
    report = result.outlines[result.outlines.index(next(line for line in result.outlines if "LLM telemetry" in line)) :]
    hosts = ("api.openai.com", "api.anthropic.com", "api.groq.com", "example.com", "localhost")
    assert [host for host in hosts if any(host in line for line in report)] == ["api.openai.com", "api.anthropic.com"]


def test_blind_spot_under_llm_mock(suite: Suite) -> None:
    """A provider that is contacted past the seam while providers are mocked fails the test, whatever it catches."""
    result = suite(
        BLOCK
        + """
def test_contact(llm_mock):
    try:
        http.client.HTTPSConnection("api.openai.com").connect()
    except BaseException:
        pass


def test_other(llm_mock):
    contact("example.com")
"""
    )
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*api.openai.com (openai) was contacted through a stack that llm_mock cannot answer*"])


def test_look_ups_are_let_go(suite: Suite) -> None:
    """After the session the function that resolves names is the one that it was, and so it is within a nested one."""
    result = suite(
        """
pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True, scope="session")
def at_the_end(request):
    import socket
    during = socket.getaddrinfo
    yield
    assert socket.getaddrinfo is during


def test_nested(pytester):
    import socket
    before = socket.getaddrinfo
    pytester.makepyfile("def test_it(): pass")
    pytester.runpytest_inprocess("-p", "llmtelemetry").assert_outcomes(passed=1)
    assert socket.getaddrinfo is before
    assert before.__name__ == "getaddrinfo"
    assert before.__wrapped__.__code__.co_filename.endswith("socket.py")
"""
    )
    result.assert_outcomes(passed=1)


def test_threads_begin_under_a_tracer(suite: Suite) -> None:
    """Coverage tools and debuggers install a tracer in each thread as it begins; watching must not make that fail."""
    result = suite(
        """
import threading


def test_threads():
    faults = []

    def begin():
        for _ in range(3000):
            try:
                sys.settrace(lambda frame, event, arg: None)
                sys.settrace(None)
            except RuntimeError as error:
                faults.append(error)

    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
"""
    )
    result.assert_outcomes(passed=1)


def test_escape(suite: Suite) -> None:
    """A client that brings its own transport past llm_mock fails the test, whatever it catches."""
    result = suite(
        """
def test_escape(llm_mock):
    import httpx2

    class Elsewhere(httpx2.BaseTransport):
        def handle_request(self, request):
            return httpx2.Response(200, json=ANSWER)

    class Own(httpx2.Client):
        def _transport_for_url(self, url):
            return Elsewhere()

    with Own() as client:
        try:
            client.post("https://api.openai.com/v1/chat/completions", json=QUESTION)
        except BaseException:
            pass
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*POST api.openai.com/v1/chat/completions reached the network while llm_mock*"])


def test_open_at_exit(suite: Suite) -> None:
    """A stream that is still open when the interpreter ends is dropped in silence."""
    result = suite(
        """
def test_open(llm_events):
    import builtins
    import httpx2
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, stream=httpx2.ByteStream(b"{}")))
    client = httpx2.Client(transport=transport)
    request = client.build_request("POST", "https://api.openai.com/v1/chat/completions", json=QUESTION)
    builtins.kept = client, client.send(request, stream=True)
    assert requests(llm_events) == 1
"""
    )
    result.assert_outcomes(passed=1)
    assert result.errlines == []
