"""Where ``llm_mock`` meets the network: what may pass, and what is stopped or said."""

from __future__ import annotations

import pickle

import pytest

from pytest_llmtelemetry.plugin.refusal import RefusedCall
from support import Provider, Run


OK, FAILED = pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED


def test_a_route_may_let_a_request_pass(run: Run, provider: Provider) -> None:
    """``pass_through()`` of respx: the call is live, and wanted."""
    result = run(
        f"""
def test_it(llm_mock, llm_events):
    llm_mock.router.post("{provider.url}").pass_through()
    ask("{provider.url}")
    [call] = llm_events.calls
    assert call.served_by == "live"
""",
        ini=provider.ini,
    )

    assert result.ret == OK
    assert len(provider.requests) == 1


def test_a_route_may_let_an_async_request_pass(run: Run, provider: Provider) -> None:
    """The same for an async client."""
    result = run(
        f"""
import asyncio, httpx2

async def post():
    async with httpx2.AsyncClient(trust_env=False) as client:
        await client.post("{provider.url}", json={{"messages": []}})

def test_it(llm_mock, llm_events):
    llm_mock.router.post("{provider.url}").pass_through()
    asyncio.run(post())
    assert [call.served_by for call in llm_events.calls] == ["live"]
""",
        ini=provider.ini,
    )

    assert result.ret == OK


def test_a_request_that_escapes_fails_the_test(run: Run, provider: Provider) -> None:
    """A client that chooses its transport past the seam reaches the network, and is told of loudly."""
    result = run(
        f"""
import contextlib, httpx2

class Client(httpx2.Client):
    def _transport_for_url(self, url):
        return self._transport

def test_it(llm_mock):
    with Client(trust_env=False) as client, contextlib.suppress(BaseException):
        client.post("{provider.url}", json={{"messages": []}})
""",
        ini=provider.ini,
    )

    assert result.ret == FAILED
    result.stdout.fnmatch_lines(["*reached the network while llm_mock was active: its client brings a transport*"])


def test_a_stack_that_cannot_be_answered_for_is_an_error_at_set_up(run: Run) -> None:
    """Without the private name that it needs, the mock does not pretend."""
    result = run("""
import httpx2, pytest

find = httpx2.Client._transport_for_url
del httpx2.Client._transport_for_url

@pytest.fixture(autouse=True, scope="module")
def put_back():
    yield
    httpx2.Client._transport_for_url = find

def test_it(llm_mock):
    pass
""")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*MockError: llm_mock cannot answer for this version of httpx2*"])


def test_a_client_behind_a_client_is_one_attempt(run: Run, provider: Provider) -> None:
    """google-genai sends through an inner client; the call is seen once."""
    result = run(
        f"""
import httpx2

inner = httpx2.Client(trust_env=False)

class Outer(httpx2.BaseTransport):
    def handle_request(self, request):
        request.read()
        return inner.send(inner.build_request("POST", "{provider.url}", content=request.content))

def test_it(llm_events):
    with httpx2.Client(transport=Outer()) as client:
        client.post("{provider.url}", json={{"messages": []}})
    assert len(llm_events.filter("llm.provider.request.start")) == 1
    assert len(llm_events.calls) == 1
""",
        ini=provider.ini,
    )

    assert result.ret == OK, result.stdout.str()


def test_a_request_for_another_api_is_refused(run: Run) -> None:
    """Asking OpenAI's next API while only chat is mocked names both."""
    result = run("""
import pytest
pytestmark = pytest.mark.llm_mock(assert_all_called=False)

def test_it(llm_mock):
    llm_mock.openai.chat("Hi")
    ask("https://api.openai.com/v1/responses")
""")

    assert result.ret == FAILED
    result.stdout.fnmatch_lines(
        [
            "llm_mock has no answer to POST api.openai.com/v1/responses (openai.responses at openai for model 'gpt-4o-mini').",
            "  llm_mock.openai.chat('Hi'): answers openai.chat at openai, asked was openai.responses at openai",
        ]
    )


def test_refusals_travel_between_processes() -> None:
    """xdist and multiprocessing pickle what a test raised."""
    refusal = pickle.loads(pickle.dumps(RefusedCall("no answer")))

    assert (type(refusal), str(refusal), refusal.pytrace) == (RefusedCall, "no answer", False)
