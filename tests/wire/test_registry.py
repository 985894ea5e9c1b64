"""Which API a request speaks, and to whom: path first, body next, host last."""

from __future__ import annotations

import json

import pytest

from pytest_llmtelemetry.errors import MockError
from pytest_llmtelemetry.facts import CallFacts, RequestFacts
from pytest_llmtelemetry.wire.dialect import Conversation, Dialect, WireRequest
from pytest_llmtelemetry.wire.hosts import Hosts, Seat, parse_hosts
from pytest_llmtelemetry.wire.other import Other
from pytest_llmtelemetry.wire.registry import DIALECTS, OTHER, identify


PROMPT = b'{"model": "m", "messages": []}'
HOSTS = parse_hosts(["gw.internal = openai", "free.internal = free"])


def ask(
    host: str, path: str, body: bytes | None = PROMPT, *, method: str = "POST", port: int = 443
) -> Conversation | None:
    """Identify one request."""
    return identify(WireRequest(method=method, host=host, port=port, path=path, body=body), HOSTS)


def heard(conversation: Conversation | None) -> tuple[str, str] | None:
    """The API, and who answers."""
    return None if conversation is None else (conversation.dialect.api, conversation.facts.provider)


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("api.openai.com", "/v1/chat/completions", ("openai.chat", "openai")),
        ("api.anthropic.com", "/v1/messages", ("anthropic.messages", "anthropic")),
        ("api.anthropic.com", "/v1/chat/completions", ("openai.chat", "anthropic")),
        ("api.groq.com", "/openai/v1/chat/completions", ("openai.chat", "groq")),
        ("api.deepseek.com", "/anthropic/v1/messages", ("anthropic.messages", "deepseek")),
        ("r.openai.azure.com", "/openai/deployments/d/chat/completions", ("openai.chat", "azure")),
        ("r.services.ai.azure.com", "/anthropic/v1/messages", ("anthropic.messages", "azure")),
        ("gw.internal", "/proxy/v1/messages", ("anthropic.messages", "openai")),
        ("free.internal", "/v1/chat/completions", ("openai.chat", "local")),
        ("localhost", "/v1/chat/completions", ("openai.chat", "unknown")),
        ("llm.example", "/v1/messages", ("anthropic.messages", "unknown")),
        ("api.openai.com", "/v1/responses", ("other", "openai")),
        ("api.openai.com", "/v1/models", ("other", "openai")),
        ("api.anthropic.com", "/v1/messages/count_tokens", ("other", "anthropic")),
        ("gw.internal", "/health", ("other", "openai")),
        ("llm.example", "/v1/messages/count_tokens", None),
        ("llm.example", "/v1/responses", None),
        ("llm.example", "/", None),
    ],
)
def test_the_path_says_what_is_spoken_and_the_host_who_answers(
    host: str, path: str, expected: tuple[str, str] | None
) -> None:
    """A known host with an unknown path is something else; an unknown host with one is nobody."""
    assert heard(ask(host, path)) == expected


@pytest.mark.parametrize(
    ("method", "host", "expected"),
    [("GET", "api.openai.com", ("other", "openai")), ("GET", "llm.example", None)],
)
def test_only_a_post_is_a_call(method: str, host: str, expected: tuple[str, str] | None) -> None:
    """To list stored completions generates nothing."""
    assert heard(ask(host, "/v1/chat/completions", None, method=method)) == expected


NOT_PROMPTS = {
    "other-json": b'{"to": "+1", "body": "hi"}',
    "empty-object": b"{}",
    "list": b'["messages"]',
    "null": b"null",
    "text": b'"messages"',
    "form": b"To=%2B1&Body=hi",
    "cut": b'{"messages": [',
    "binary": b"\x00\xff",
    "empty": b"",
}


@pytest.mark.parametrize("body", NOT_PROMPTS.values(), ids=NOT_PROMPTS)
def test_a_body_that_is_no_prompt_speaks_against_an_unknown_host(body: bytes) -> None:
    """Other services have messages, too; on a provider's own host the path is enough."""
    assert [heard(ask(host, "/v1/messages", body)) for host in ("sms.example", "gw.internal")] == [
        None,
        ("anthropic.messages", "openai"),
    ]


def test_a_body_that_is_not_in_memory_does_not_speak_against_the_path() -> None:
    """It is never consumed to be looked at."""
    assert heard(ask("llm.example", "/v1/messages", None)) == ("anthropic.messages", "unknown")


def test_a_conversation_knows_the_whole_request() -> None:
    """Who, what, and the facts of the body."""
    conversation = ask("127.0.0.1", "/v1/chat/completions", b'{"model": "llama", "messages": []}', port=11434)
    assert conversation is not None
    assert conversation.seat == Seat("ollama", free=True)
    assert conversation.facts == RequestFacts(api="openai.chat", provider="ollama", model="llama")
    assert conversation.facts.body == {"model": "llama", "messages": []}
    assert str(conversation.request) == "POST 127.0.0.1:11434/v1/chat/completions"


@pytest.mark.parametrize(
    ("port", "written"),
    [(443, "GET a.example/x"), (80, "GET a.example/x"), (None, "GET a.example/x"), (81, "GET a.example:81/x")],
)
def test_a_request_is_written_without_its_secrets(port: int | None, written: str) -> None:
    """Headers carry the key, and the body may carry anything; neither is ever printed."""
    request = WireRequest(
        method="GET", host="a.example", port=port, path="/x", headers={"authorization": "sk-secret"}, body=b"secret"
    )
    assert str(request) == written
    assert "secret" not in repr(request)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: str(dialect.api))
def test_no_request_speaks_two_apis(dialect: Dialect) -> None:
    """The order of the dialects does not matter."""
    paths = ["/v1/chat/completions", "/v1/messages", "/v1/messages/chat/completions", "/chat/completions/v1/messages"]
    spoken = [path for path in paths if dialect.speaks("POST", path)]
    others = [other for other in DIALECTS if other is not dialect]
    assert spoken
    assert not [path for path in spoken for other in others if other.speaks("POST", path)]


# -- other ---------------------------------------------------------------------------------

MARKS = ["usage", "usageMetadata", "billed_units", "eval_count", "inputTokens"]


def stream(*chunks: bytes) -> CallFacts:
    """Read a stream of an API that no dialect reads."""
    reader = OTHER.stream_reader()
    for chunk in chunks:
        reader.feed(chunk)
    return reader.close()


@pytest.mark.parametrize("mark", MARKS)
def test_usage_that_nobody_can_read_is_noticed(mark: str) -> None:
    """In a plain answer and in a stream, so that the call counts as unpriced."""
    body = json.dumps({"model": "m", "x": [{mark: {"n": 1}}]}).encode()
    assert OTHER.read_response(body) == CallFacts(model="m", terminated=True, unread_usage=True)
    assert stream(body) == CallFacts(terminated=True, unread_usage=True)


@pytest.mark.parametrize("mark", MARKS)
def test_usage_is_noticed_wherever_the_stream_is_cut(mark: str) -> None:
    """In two pieces and byte by byte."""
    body = b'data: {"a": 1}\n\ndata: {"%b": {}}\n\n' % mark.encode()
    assert all(stream(body[:i], body[i:]).unread_usage for i in range(len(body) + 1))
    assert stream(*(body[i : i + 1] for i in range(len(body)))).unread_usage


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b'{"data": [{"id": "usage2"}]}', b'{"text": "my \\"usage\\""}', b'{"reusage": 1}'],
    ids=["empty", "null", "list", "object", "models", "quoted", "longer"],
)
def test_an_answer_without_usage_was_not_billed(body: bytes) -> None:
    """A list of models is not a call; nor is a text that speaks of usage."""
    nothing = CallFacts(terminated=True)
    assert (OTHER.read_response(body), stream(body), stream(body[:9], body[9:])) == (nothing, nothing, nothing)


def test_a_stream_of_another_api_has_content_with_its_first_bytes() -> None:
    """Nobody knows what is a token there."""
    reader = OTHER.stream_reader()
    before = reader.has_content
    reader.feed(b":")
    assert (before, reader.has_content) == (False, True)


def test_a_request_of_another_api_is_read_as_far_as_it_is_common() -> None:
    """Model and stream have the same names everywhere."""
    assert OTHER.read_request(
        {"model": "m", "stream": True, "input": "hi"}, path="/v1/x", provider="openai"
    ) == RequestFacts(api="other", provider="openai", model="m", stream=True)


def test_another_api_cannot_be_mocked() -> None:
    """Nobody knows its bytes."""
    other = Other()
    for write in (other.write_response, lambda facts: other.write_stream(facts, [])):
        with pytest.raises(MockError, match=r"^no dialect writes this API$"):
            write(CallFacts())
    with pytest.raises(MockError, match=r"^no dialect writes this API$"):
        other.write_error("rate_limit")


def test_another_api_is_spoken_by_no_path() -> None:
    """It is what remains."""
    assert not OTHER.speaks("POST", "/v1/chat/completions")


def test_the_built_in_hosts_are_enough_without_settings() -> None:
    """The common case has no rules."""
    request = WireRequest(method="POST", host="api.openai.com", port=443, path="/v1/chat/completions", body=PROMPT)
    assert heard(identify(request, Hosts())) == ("openai.chat", "openai")
