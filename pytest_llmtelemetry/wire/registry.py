"""The list of dialects, and the look-up: path first, body next, host last."""

from __future__ import annotations

from pytest_llmtelemetry.wire.anthropic_messages import AnthropicMessages
from pytest_llmtelemetry.wire.dialect import Conversation, Dialect, WireRequest
from pytest_llmtelemetry.wire.hosts import Hosts
from pytest_llmtelemetry.wire.jsontext import load_object
from pytest_llmtelemetry.wire.openai_chat import OpenAIChat
from pytest_llmtelemetry.wire.other import Other


DIALECTS: tuple[Dialect, ...] = (OpenAIChat(), AnthropicMessages())
OTHER = Other()


def identify(request: WireRequest, hosts: Hosts) -> Conversation | None:
    """Say which API a request speaks, and to whom; ``None`` if it is not for an LLM provider."""
    seat = hosts.seat(request.host, request.port, request.path)
    dialect: Dialect = OTHER
    for candidate in DIALECTS:
        if candidate.speaks(request.method, request.path):
            dialect = candidate
            break
    body = None if request.body is None else load_object(request.body) or {}
    if not seat.known and (dialect is OTHER or not _looks_like_a_prompt(body)):
        return None
    facts = dialect.read_request(body or {}, path=request.path, provider=seat.provider)
    return Conversation(seat=seat, dialect=dialect, request=request, facts=facts)


def _looks_like_a_prompt(body: dict[str, object] | None) -> bool:
    # A body that is not in memory cannot speak against a path that fits.
    return body is None or "messages" in body
