"""The list of dialects, and the look-up: path first, body next, host last."""

from __future__ import annotations

from pytest_llmtelemetry.wire.anthropic_messages import AnthropicMessages
from pytest_llmtelemetry.wire.bedrock_converse import BedrockConverse
from pytest_llmtelemetry.wire.bedrock_invoke import BedrockEmbed, BedrockInvoke
from pytest_llmtelemetry.wire.cohere_chat import CohereChat
from pytest_llmtelemetry.wire.cohere_chat_v1 import CohereChatV1
from pytest_llmtelemetry.wire.cohere_embed import CohereEmbed
from pytest_llmtelemetry.wire.dialect import Conversation, Dialect, WireRequest
from pytest_llmtelemetry.wire.gemini_embed import GeminiEmbed, VertexPredict
from pytest_llmtelemetry.wire.gemini_generate import GeminiGenerate
from pytest_llmtelemetry.wire.hosts import Hosts
from pytest_llmtelemetry.wire.jsontext import load_object
from pytest_llmtelemetry.wire.ollama_chat import OllamaChat
from pytest_llmtelemetry.wire.ollama_embed import OllamaEmbed
from pytest_llmtelemetry.wire.ollama_generate import OllamaGenerate
from pytest_llmtelemetry.wire.openai_chat import OpenAIChat
from pytest_llmtelemetry.wire.openai_completions import OpenAICompletions
from pytest_llmtelemetry.wire.openai_embeddings import OpenAIEmbeddings
from pytest_llmtelemetry.wire.openai_responses import OpenAIResponses
from pytest_llmtelemetry.wire.other import Other


DIALECTS: tuple[Dialect, ...] = (
    OpenAIChat(),
    OpenAIResponses(),
    OpenAIEmbeddings(),
    OpenAICompletions(),
    AnthropicMessages(),
    GeminiGenerate(),
    GeminiEmbed(),
    VertexPredict(),
    CohereChat(),
    CohereChatV1(),
    CohereEmbed("v2"),
    CohereEmbed("v1"),
    OllamaChat(),
    OllamaGenerate(),
    OllamaEmbed(),
    BedrockConverse(),
    BedrockInvoke(),
    BedrockEmbed(),
)
OTHER = Other()


def identify(request: WireRequest, hosts: Hosts) -> Conversation | None:
    """Say which API a request speaks, and to whom; ``None`` if it is not for an LLM provider."""
    spoken = [one for one in DIALECTS if one.speaks(request.method, request.path)]
    known = hosts.seat(request.host, request.port).known
    if not spoken and not known:
        return None  # somebody else's request: its body is not even parsed
    body = None if request.body is None else load_object(request.body) or {}
    dialect = next((one for one in spoken if body and one.fits(body)), spoken[0] if spoken else OTHER)
    if not known and not (body is None or dialect.fits(body)):
        return None  # a body that is not in memory cannot speak against a path that fits
    seat = hosts.seat(request.host, request.port, dialect.api)
    facts = dialect.read_request(body or {}, request=request, provider=seat.provider)
    return Conversation(seat=seat, dialect=dialect, request=request, facts=facts)
