"""``llm_mock``: what it answers, and that nothing slips past it."""

from __future__ import annotations

import pytest

from support import Run


OK, FAILED = pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED


def passes(run: Run, source: str) -> None:
    """Run a suite that states its own assertions."""
    result = run(source)
    assert result.ret == OK, result.stdout.str()


def test_single_reply_answers_any_number(run: Run) -> None:
    """Plain and streamed requests alike."""
    passes(
        run,
        """
import json

def test_it(llm_mock):
    llm_mock.openai.chat("Paris is nice.")
    assert json.loads(ask())["choices"][0]["message"]["content"] == "Paris is nice."
    chunks = [json.loads(line[6:]) for line in ask(stream=True).splitlines() if line.startswith("data: {")]
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks] == ["", "Paris ", "is ", "nice.", None]
""",
    )


def test_list_answers_one_attempt_each(run: Run) -> None:
    """The next attempt takes the next reply; then it is used up."""
    result = run("""
def test_it(llm_mock):
    llm_mock.openai.chat(["one", "two"])
    assert "one" in ask() and "two" in ask()
    ask()
""")

    result.stdout.fnmatch_lines(
        [
            "llm_mock has no answer to POST api.openai.com/v1/chat/completions (openai.chat at openai for *",
            "Registered, and why each does not answer:",
            "  llm_mock.openai.chat(['one', 'two']): all 2 replies are used up",
        ]
    )
    assert result.ret == FAILED


def test_conditions_are_tried_first(run: Run) -> None:
    """A reply with ``when=`` goes before one without, whatever came first."""
    passes(
        run,
        """
def test_it(llm_mock):
    llm_mock.openai.chat("general")
    llm_mock.openai.chat("with tools", when=lambda request: request.tools)
    tools = [{"type": "function", "function": {"name": "search"}}]
    assert "with tools" in ask(tools=tools)
    assert "general" in ask()
""",
    )


def test_refusal_cannot_be_swallowed(run: Run) -> None:
    """Code that catches everything still does not make the test pass."""
    result = run("""
def test_it(llm_mock):
    try:
        ask()
    except BaseException:
        pass
""")

    assert result.ret == FAILED
    result.stdout.fnmatch_lines(["llm_mock has no answer to POST *", "Nothing is registered."])


def test_broken_condition_is_shown(run: Run) -> None:
    """An SDK would have called it a connection error."""
    result = run("""
def test_it(llm_mock):
    llm_mock.openai.chat("Hi", when=lambda request: request.nonsense)
    ask()
""")

    result.stdout.fnmatch_lines(["*llm_mock: when= raised AttributeError(*nonsense*"])


def test_unused_reply_is_an_error(run: Run) -> None:
    """A reply that nobody asked for is a test that does not test what it says."""
    result = run("""
def test_it(llm_mock):
    llm_mock.openai.chat(["one", "two"])
    llm_mock.anthropic.messages("never")
    ask()
""")

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "  llm_mock.openai.chat(['one', 'two']): the last 1 of 2 not asked for",
            "  llm_mock.anthropic.messages('never'): never asked",
        ]
    )


def test_unused_reply_can_be_allowed(run: Run) -> None:
    """By the marker, on a test, a class or a module."""
    passes(
        run,
        """
import pytest
pytestmark = pytest.mark.llm_mock(assert_all_called=False)

def test_it(llm_mock):
    llm_mock.openai.chat("never")
""",
    )


def test_failed_test_does_not_also_complain(run: Run) -> None:
    """What was not asked for after a failure is no news."""
    result = run("""
def test_it(llm_mock):
    llm_mock.openai.chat("never")
    assert False
""")

    result.assert_outcomes(failed=1)


def test_faults_are_the_providers_own(run: Run) -> None:
    """Status, headers and body, in the words of the API that was asked."""
    passes(
        run,
        """
import httpx2
from pytest_llmtelemetry import faults

def test_it(llm_mock, llm_events):
    llm_mock.anthropic.messages([faults.overloaded(retry_after=0.5), faults.auth()])
    def post():
        return httpx2.post("https://api.anthropic.com/v1/messages", json={"messages": []})
    first, second = post(), post()
    assert (first.status_code, first.headers["retry-after-ms"]) == (529, "500")
    assert first.json()["error"]["type"] == "overloaded_error"
    assert (second.status_code, second.json()["error"]["type"]) == (401, "authentication_error")
    assert llm_events.calls == ()
    assert [event["error_type"] for event in llm_events.filter("*.stop")] == ["overloaded_error", "authentication_error"]
""",
    )


def test_router_is_respx(run: Run) -> None:
    """For everything that the namespaces do not cover, also with responses and exceptions of httpx."""
    passes(
        run,
        """
import httpx, httpx2, pytest

def test_it(llm_mock, llm_events):
    llm_mock.router.get("https://api.openai.com/v1/models").respond(json={"data": []})
    llm_mock.router.post("https://api.openai.com/v1/audio/speech").mock(side_effect=httpx.ReadTimeout)
    assert httpx2.get("https://api.openai.com/v1/models").json() == {"data": []}
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post("https://api.openai.com/v1/audio/speech", json={})
    assert llm_mock.router.calls.call_count == 2
    assert {event["operation"] for event in llm_events} == {"other"}
""",
    )


def test_exception_while_a_stream_is_read_is_of_the_asking_stack(run: Run) -> None:
    """A broken stream looks to httpx2 like a broken stream of httpx2."""
    passes(
        run,
        """
import httpx, httpx2, pytest

class Broken(httpx.SyncByteStream):
    def __iter__(self):
        yield b"data: {}"
        raise httpx.RemoteProtocolError("peer closed connection")

def test_it(llm_mock, llm_events):
    llm_mock.router.post("https://api.openai.com/v1/x").mock(return_value=httpx.Response(200, stream=Broken()))
    with pytest.raises(httpx2.RemoteProtocolError, match="peer closed"):
        httpx2.post("https://api.openai.com/v1/x", json={})
""",
    )


def test_other_hosts_pass(run: Run) -> None:
    """Only requests to providers are answered."""
    passes(
        run,
        """
import httpx2

def test_it(llm_mock, llm_events):
    transport = httpx2.MockTransport(lambda request: httpx2.Response(204))
    with httpx2.Client(transport=transport) as client:
        assert client.get("https://example.org/").status_code == 204
    assert llm_events.names == []
""",
    )


def test_mock_wins_over_a_transport_double(run: Run) -> None:
    """For provider requests ``llm_mock`` answers, whatever transport the client has."""
    passes(
        run,
        """
import httpx2

def test_it(llm_mock):
    llm_mock.openai.chat("from llm_mock")
    transport = httpx2.MockTransport(lambda request: httpx2.Response(500))
    with httpx2.Client(transport=transport) as client:
        body = {"messages": []}
        assert client.post("https://api.openai.com/v1/chat/completions", json=body).status_code == 200
""",
    )


def test_contact_through_another_stack_is_refused(run: Run) -> None:
    """A stack without a seam would reach the network, so the look-up of the name is refused."""
    result = run("""
import socket

def test_it(llm_mock):
    socket.getaddrinfo("api.openai.com", 443)
""")

    assert result.ret == FAILED
    result.stdout.fnmatch_lines(
        ["*api.openai.com (openai) was contacted through a stack that llm_mock cannot answer for*"]
    )


def test_contact_through_another_stack_is_reported(run: Run) -> None:
    """Without a mock it is let through, and the report says that it was not seen."""
    result = run("""
import contextlib, socket

def test_it():
    with contextlib.suppress(OSError):
        socket.getaddrinfo("api.openai.com", 443)
""")

    result.stdout.fnmatch_lines(
        ["not seen   api.openai.com (openai) was contacted through a stack that is not watched"]
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(
            'chat("Hi", tokens=3)', "unknown option 'tokens'; valid are when, cache_write_tokens,", id="option"
        ),
        pytest.param("chat([])", "the list of replies is empty; give at least one", id="empty"),
        pytest.param("chat(42)", "42 is not a reply; give a text, tool_call(...)", id="type"),
        pytest.param(
            'chat("Hi", finish_reason="lenght")', "'lenght' is not a finish reason; valid are stop,", id="reason"
        ),
        pytest.param("chat(len)", "<built-in function len> is not a reply; call it", id="not called"),
        pytest.param('chat("Hi", chunks=["Ho"])', "chunks=['Ho'] do not join to the text 'Hi'", id="chunks"),
        pytest.param(
            'chat("Hi", cached_tokens=9, input_tokens=3)',
            "input_tokens=3 includes cached tokens, but 9 are cached",
            id="cached",
        ),
        pytest.param('chat("Hi", input_tokens=-1)', "input_tokens=-1 is not a number of tokens", id="tokens"),
    ],
)
def test_bad_reply_is_named_where_it_is_written(run: Run, call: str, message: str) -> None:
    """One line, at the line of the test that is wrong."""
    result = run(f"def test_it(llm_mock):\n    llm_mock.openai.{call}\n")

    assert result.ret == FAILED
    assert message in result.stdout.str()
    assert "test_suite.py:3: MockError" in result.outlines


def test_refusal_swallowed_in_a_fixture_fails_the_test(run: Run) -> None:
    """Also in tear-down, when the test itself is long over."""
    result = run("""
import contextlib, pytest

@pytest.fixture
def swallows(llm_mock):
    yield
    with contextlib.suppress(BaseException):
        ask()

def test_it(swallows):
    pass
""")

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["llm_mock has no answer to POST *"])


def test_refusal_in_a_task_group_is_one_clear_line(run: Run) -> None:
    """Not a group of tracebacks, one for each task."""
    result = run("""
import asyncio, httpx2

async def post():
    async with httpx2.AsyncClient() as client:
        await client.post("https://api.openai.com/v1/chat/completions", json={"messages": []})

async def both():
    async with asyncio.TaskGroup() as group:
        group.create_task(post())
        group.create_task(post())

def test_it(llm_mock):
    asyncio.run(both())
""")

    assert result.ret == FAILED
    result.stdout.fnmatch_lines(["llm_mock has no answer to POST *", "Nothing is registered."])
    assert "ExceptionGroup" not in result.stdout.str()
    assert "RESPX" not in result.stdout.str()


def test_async_answers_let_other_tasks_run(run: Run) -> None:
    """Two requests of one group are under way at the same time, as on a network."""
    passes(
        run,
        """
import asyncio, httpx2

async def post():
    async with httpx2.AsyncClient() as client:
        await client.post("https://api.openai.com/v1/chat/completions", json={"messages": []})

async def both():
    await asyncio.gather(post(), post())

def test_it(llm_mock, llm_events):
    llm_mock.openai.chat("Hi")
    asyncio.run(both())
    assert [name.rpartition(".")[2] for name in llm_events.filter("llm.provider.*").names] == ["start", "start", "stop", "stop"]
""",
    )


def test_options_apply_to_the_texts_of_a_list(run: Run) -> None:
    """A fault beside them takes none."""
    passes(
        run,
        """
from pytest_llmtelemetry import faults

def test_it(llm_mock, llm_events):
    llm_mock.openai.chat([faults.server_error(), "Hi"], input_tokens=10, output_tokens=2)
    ask()
    ask()
    [call] = llm_events.calls
    assert (call.usage.input_tokens, call.usage.output_tokens, call.estimated) == (10, 2, False)
""",
    )
