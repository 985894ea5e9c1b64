"""Which API a request speaks, and to whom: path first, body next, host last."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import dialects
from pytest_llmtelemetry.errors import MockError
from pytest_llmtelemetry.facts import CallFacts, RequestFacts
from pytest_llmtelemetry.wire.body import BodyReader
from pytest_llmtelemetry.wire.dialect import Conversation, Failure, Fault, WireRequest
from pytest_llmtelemetry.wire.hosts import Hosts, Seat, parse_hosts
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
        ("api.openai.com", "/v1/files", ("other", "openai")),
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


HELLO = [{"role": "user", "content": "hi"}]
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai.chat": ("/v1/chat/completions", {"model": "m", "messages": HELLO}),
    "openai.chat fim": ("/v1/fim/completions", {"model": "m", "messages": HELLO}),
    "openai.responses": ("/v1/responses", {"model": "m", "input": "hi"}),
    "openai.embeddings": ("/v1/embeddings", {"model": "m", "input": ["hi"]}),
    "openai.embeddings gateway": ("/api/embeddings", {"model": "m", "input": ["hi"]}),
    "openai.completions": ("/v1/completions", {"model": "m", "prompt": "hi"}),
    "anthropic.messages": ("/v1/messages", {"model": "m", "max_tokens": 1, "messages": HELLO}),
    "anthropic.messages vertex": (
        "/v1/projects/p/locations/l/publishers/anthropic/models/m:streamRawPredict",
        {"anthropic_version": "v", "messages": HELLO},
    ),
    "gemini.generate": ("/v1/models/m:generateContent", {"contents": [{"parts": [{"text": "hi"}]}]}),
    "gemini.generate stream": ("/v1/models/m:streamGenerateContent", {"contents": [{"parts": [{"text": "hi"}]}]}),
    "gemini.embed": ("/v1/models/m:embedContent", {"content": {"parts": [{"text": "hi"}]}}),
    "vertex.predict": ("/v1/publishers/google/models/text-embedding-005:predict", {"instances": [{"content": "hi"}]}),
    "cohere.v2.chat": ("/v2/chat", {"model": "m", "messages": HELLO}),
    "cohere.v1.chat": ("/v1/chat", {"model": "m", "message": "hi"}),
    "cohere.v2.embed": ("/v2/embed", {"model": "m", "texts": ["hi"], "input_type": "search_query"}),
    "cohere.v1.embed": ("/v1/embed", {"model": "m", "texts": ["hi"], "input_type": "search_query"}),
    "ollama.chat": ("/api/chat", {"model": "m", "messages": HELLO}),
    "ollama.generate": ("/api/generate", {"model": "m", "prompt": "hi"}),
    "ollama.embed": ("/api/embed", {"model": "m", "input": "hi"}),
    "ollama.embed old": ("/api/embeddings", {"model": "m", "prompt": "hi"}),
    "bedrock.converse": ("/model/m/converse", {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}),
    "bedrock.converse stream": (
        "/model/m/converse-stream",
        {"messages": [{"role": "user", "content": [{"text": "hi"}]}]},
    ),
    "bedrock.invoke": ("/model/m/invoke", {"anthropic_version": "v", "max_tokens": 1, "messages": HELLO}),
    "bedrock.invoke stream": ("/model/m/invoke-with-response-stream", {"inputText": "hi"}),
    "bedrock.invoke embed": ("/model/amazon.titan-embed-text-v2:0/invoke", {"inputText": "hi"}),
}


def test_every_dialect_is_asked_for() -> None:
    """The table below leaves none out."""
    assert {name.partition(" ")[0] for name in REQUESTS} == {dialect.api for dialect in DIALECTS}


@pytest.mark.parametrize(("name", "request_"), REQUESTS.items(), ids=REQUESTS)
def test_every_api_is_recognised_at_a_host_that_nobody_knows(name: str, request_: tuple[str, dict[str, Any]]) -> None:
    """A gateway may put what it likes before the path; body and path together say what it is."""
    path, body = request_
    sent = [json.dumps(body).encode(), None]
    told = [heard(ask("gw.example", prefix + path, each)) for prefix in ("", "/team/a") for each in sent[:1]]
    assert told == [(name.partition(" ")[0], "unknown")] * 2


@pytest.mark.parametrize(("name", "request_"), REQUESTS.items(), ids=REQUESTS)
def test_a_web_application_of_the_users_own_is_not_a_provider(name: str, request_: tuple[str, dict[str, Any]]) -> None:
    """Its paths may be the same, its bodies are not."""
    path, _ = request_
    bodies = ({"question": "hi"}, {"id": "1", "trigger": "submit"}, {"text": "hi", "user": 5}, {"message": 5})
    assert [heard(ask("testserver", path, json.dumps(body).encode())) for body in bodies] == [None] * 4


@pytest.mark.parametrize(("name", "request_"), REQUESTS.items(), ids=REQUESTS)
def test_no_request_fits_two_apis(name: str, request_: tuple[str, dict[str, Any]]) -> None:
    """The order of the dialects matters only where a body is not in memory."""
    path, body = request_
    fitting = [dialect.api for dialect in DIALECTS if dialect.speaks("POST", path) and dialect.fits(body)]
    also = ["ollama.embed"] if name == "openai.embeddings gateway" else []  # Ollama's older path, with a newer body
    assert fitting == [name.partition(" ")[0], *also]


@pytest.mark.parametrize(
    ("port", "path", "expected"),
    [
        (8000, "/api/chat", ("ollama.chat", "ollama")),
        (8000, "/api/embed", None),
        (8000, "/v1/chat/completions", ("openai.chat", "unknown")),
        (11434, "/api/tags", ("other", "ollama")),
    ],
)
def test_ollama_at_home_is_known_by_its_port_or_by_what_is_asked(
    port: int, path: str, expected: tuple[str, str] | None
) -> None:
    """An application under test may listen on loopback, too."""
    body = json.dumps({"model": "m", "messages": HELLO}).encode()
    assert heard(ask("localhost", path, body, port=port)) == expected


# -- other ---------------------------------------------------------------------------------

MARKS = ["usage", "usageMetadata", "billed_units", "eval_count", "inputTokens"]


def stream(*chunks: bytes) -> CallFacts:
    """Read a stream of an API that no dialect reads."""
    reader = BodyReader(OTHER.draft())
    for chunk in chunks:
        reader.feed(chunk)
    return reader.close()


@pytest.mark.parametrize("mark", MARKS)
def test_usage_that_nobody_can_read_is_noticed(mark: str) -> None:
    """In a plain answer and in a stream, so that the call counts as unpriced."""
    body = json.dumps({"model": "m", "x": [{mark: {"n": 1}}]}).encode()
    assert stream(body) == CallFacts(model="m", terminated=True, unread_usage=True)
    assert stream(b"data: " + body) == CallFacts(model="m", terminated=True, unread_usage=True)


@pytest.mark.parametrize("mark", MARKS)
def test_usage_is_noticed_wherever_the_stream_is_cut(mark: str) -> None:
    """In two pieces and byte by byte."""
    body = b'data: {"a": 1}\n\ndata: {"%b": {"n": 1}}\n\n' % mark.encode()
    assert all(stream(body[:i], body[i:]).unread_usage for i in range(len(body) + 1))
    assert stream(*(body[i : i + 1] for i in range(len(body)))).unread_usage


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"data": [{"id": "usage2"}]}',
        b'{"text": "my \\"usage\\""}',
        b'{"reusage": 1}',
        b'{"usage": null}',
    ],
    ids=["empty", "null", "list", "object", "models", "quoted", "longer", "null-usage"],
)
def test_an_answer_without_usage_was_not_billed(body: bytes) -> None:
    """A list of models is not a call; nor is a text that speaks of usage."""
    nothing = CallFacts(terminated=True)
    assert (stream(body), stream(body[:9], body[9:]), stream(b"data: " + body)) == (nothing, nothing, nothing)


def test_a_stream_of_another_api_has_content_with_its_first_bytes() -> None:
    """Nobody knows what is a token there."""
    reader = BodyReader(OTHER.draft())
    before = reader.has_content
    reader.feed(b"data: {}\n\n")
    assert (before, reader.has_content) == (False, True)


def test_a_request_of_another_api_is_read_as_far_as_it_is_common() -> None:
    """Model and stream have the same names everywhere."""
    assert dialects.asked(OTHER, {"model": "m", "stream": True, "input": "hi"}, path="/v1/x") == RequestFacts(
        api="other", provider="openai", model="m", stream=True
    )


def test_another_api_cannot_be_mocked() -> None:
    """Nobody knows its bytes."""
    facts, asked, fault = CallFacts(), dialects.asked(OTHER), Fault(kind=Failure.AUTH)
    writes: list[Callable[[], object]] = [
        lambda: OTHER.write_response(facts, asked),
        lambda: OTHER.write_stream(facts, [], asked),
        lambda: OTHER.write_error(fault, asked),
        lambda: OTHER.write_broken_stream(facts, [], fault, asked),
    ]
    for write in writes:
        with pytest.raises(MockError, match=r"^no dialect writes this API$"):
            write()


def test_another_api_is_spoken_by_no_path() -> None:
    """It is what remains."""
    assert not OTHER.speaks("POST", "/v1/chat/completions")


def test_the_built_in_hosts_are_enough_without_settings() -> None:
    """The common case has no rules."""
    request = WireRequest(method="POST", host="api.openai.com", port=443, path="/v1/chat/completions", body=PROMPT)
    assert heard(identify(request, Hosts())) == ("openai.chat", "openai")
