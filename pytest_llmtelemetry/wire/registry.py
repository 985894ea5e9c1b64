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
    body = None if request.body is None else load_object(request.body) or {}
    spoken = [one for one in DIALECTS if one.speaks(request.method, request.path)] or [OTHER]
    dialect = next((one for one in spoken if body and one.fits(body)), spoken[0])
    seat = hosts.seat(request.host, request.port)
    if not seat.known and (dialect is OTHER or not (body is None or dialect.fits(body))):
        return None  # a body that is not in memory cannot speak against a path that fits
    seat = hosts.seat(request.host, request.port, dialect.api)
    facts = dialect.read_request(body or {}, request=request, provider=seat.provider)
    return Conversation(seat=seat, dialect=dialect, request=request, facts=facts)
