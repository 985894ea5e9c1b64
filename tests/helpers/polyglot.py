"""A provider on loopback that speaks every wire API, with the bytes that the dialects write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from loopback import JSON, Reply, Seen, Server
from pytest_llmtelemetry.facts import CallFacts, FinishReason, RequestFacts, Usage
from pytest_llmtelemetry.wire.dialect import Fault, WireAnswer, WireRequest
from pytest_llmtelemetry.wire.hosts import Hosts
from pytest_llmtelemetry.wire.registry import identify


PLAIN = CallFacts(
    id="answer-1",
    model="model-1",
    text="Ça va bien.",
    usage=Usage.checked(input_tokens=11, output_tokens=7),
    finish_reason=FinishReason.STOP,
    terminated=True,
)
"""What is answered unless a test says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A stream that says the text of ``facts`` and then fails, after a status of 200."""

    fault: Fault
    facts: CallFacts = PLAIN


class Polyglot(Server):
    """Answers what it is asked in the API in which it is asked."""

    def __init__(self, provider: str) -> None:
        super().__init__()
        self.provider = provider
        self.answers: Sequence[CallFacts | Fault | Broken] = [PLAIN]
        """One for each request; the last for all that follow."""
        self.asked: list[RequestFacts] = []
        """What each request was read as."""

    def take(self, request: Seen) -> Reply:
        """Identify the request, and have its dialect write the answer."""
        self.requests.append(request)
        url = urlsplit(request.path)
        wire = WireRequest(
            method=request.method,
            host="127.0.0.1",
            port=int(self.address.rpartition(":")[2]),
            path=unquote(url.path),
            query=url.query,
            headers=request.headers,
            body=request.body,
        )
        conversation = identify(wire, Hosts({self.address: self.provider}))
        if conversation is None or conversation.facts.api == "other":
            return Reply(status=418, body=[f'{{"error": "no dialect speaks {request.path}"}}'.encode()], headers=JSON)
        dialect, asked = conversation.dialect, conversation.facts
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(asked)
        match answer:
            case Fault():
                return _reply(dialect.write_error(answer, asked))
            case Broken(facts=facts, fault=fault):
                return _reply(dialect.write_broken_stream(facts, pieces(facts.text), fault, asked))
            case facts if asked.stream:
                return _reply(dialect.write_stream(facts, pieces(facts.text), asked))
            case facts:
                return _reply(dialect.write_response(facts, asked))


def pieces(text: str) -> list[str]:
    """A text as a stream cuts it here: after each word."""
    words = text.split(" ")
    return [f"{word} " for word in words[:-1]] + words[-1:] if text else []


def _reply(answer: WireAnswer) -> Reply:
    return Reply(status=answer.status, headers=answer.headers, body=list(answer.chunks))
