"""The framework ``litellm``, whose objects are OpenAI's, whoever answers."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from chats import ChatSuite
from kinds import items, value
from polyglot import Polyglot
from pytest_llmtelemetry import CallFacts, FinishReason, RequestFacts, Usage
from pytest_llmtelemetry.wire.dialect import Failure
from suite import ANSWER, LIMIT, MODEL, PARAMETERS, Begin, Heard


os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks for the newest one as soon as it is imported
litellm: Any = pytest.importorskip("litellm")
handlers: Any = pytest.importorskip("litellm.llms.custom_httpx.http_handler")
litellm.suppress_debug_info = True
# Of a model of Ollama that it does not know it asks the server, in a thread that outlives the test.
litellm.register_model({f"ollama_chat/{MODEL}": {"litellm_provider": "ollama_chat", "mode": "chat"}})
# Below its async clients aiohttp leaves connections open, for the garbage collector to complain of.
litellm.disable_aiohttp_transport = True

# It uses pydantic as pydantic no longer wants it, and warns of its own types and of other providers' objects.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Items? '.*' on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]

KEYS = {"aws_access_key_id": "-", "aws_secret_access_key": "-", "aws_region_name": "us-east-1"}
# Of what it cannot read it makes up, such as the tokens of thoughts that a provider does not count.
STATED = ("prompt_tokens", "completion_tokens", "total_tokens")


@asynccontextmanager
async def clients_closed(url: str) -> AsyncIterator[str]:
    """LiteLLM keeps its HTTP clients until the process ends; here they end with a test."""
    litellm.module_level_client = handlers.HTTPHandler()
    litellm.module_level_aclient = handlers.AsyncHTTPHandler()
    try:
        yield url
    finally:
        cached = litellm.in_memory_llm_clients_cache.cache_dict.values()
        for client in (litellm.module_level_client, litellm.module_level_aclient, *cached):
            await value(client.close())
        litellm.in_memory_llm_clients_cache.flush_cache()


class LiteLLM(ChatSuite):
    """What holds for every provider."""

    prefix: ClassVar[str]
    """Before the model's name."""
    path: ClassVar[str] = ""
    """After the server's URL."""
    more: ClassVar[dict[str, Any]] = {"api_key": "sk-test", "max_retries": 0}
    keeps_id: ClassVar[bool] = False
    keeps_call_id: ClassVar[bool] = True
    cached: ClassVar[int | None] = 600
    errors: ClassVar[Any] = {
        Failure.BAD_REQUEST: (litellm.BadRequestError, 400),
        Failure.RATE_LIMIT: (litellm.RateLimitError, 429),
    }
    structured: ClassVar[CallFacts] = replace(ANSWER, text='{"city": "Rome", "days": 2}')
    attempts = 1
    wish: ClassVar[Any] = {"stream": True, "stream_options": {"include_usage": True}}

    def make(self, kind: str, url: str) -> Any:
        return clients_closed(url + self.path)

    def open(self, kind: str, server: Polyglot) -> Any:
        self.kind = kind
        return self.make(kind, server.url)

    def create(self, client: Any, *, stream: bool) -> Any:
        ask = litellm.acompletion if self.kind == "async" else litellm.completion

        def create(*, model: str, **asked: Any) -> Any:
            return ask(model=self.prefix + model, api_base=client, **self.more, **asked)

        return create

    async def listen(self, client: Any, turns: Sequence[Any], **more: Any) -> AsyncIterator[Any]:
        asked = {"model": MODEL, "messages": turns, "max_tokens": LIMIT, **self.wish, **more}
        stream = await value(self.create(client, stream=True)(**asked))
        # Its streams are of both kinds, whichever they were made for.
        async for chunk in items(stream if self.kind == "async" else (chunk for chunk in stream)):
            yield chunk
        # Some it leaves before their end, and does not close them.
        async for _ in items(getattr(stream.completion_stream, "streaming_response", ())):
            pass

    def hear(self, answer: Any) -> Heard:
        return self.kept(super().hear(answer), answer.usage)

    def hear_pieces(self, pieces: Sequence[Any]) -> Heard:
        (usage,) = [usage for chunk in pieces if (usage := self.usage_of(chunk))]
        return self.kept(super().hear_pieces(pieces), usage)

    def kept(self, heard: Heard, usage: Any) -> Heard:
        """What is the provider's, not LiteLLM's own."""
        details = usage.prompt_tokens_details
        return replace(
            heard,
            id=heard.id if self.keeps_id else None,
            model=(heard.model or "").removeprefix(self.prefix),
            tools=tuple((call_id if self.keeps_call_id else None, name, given) for call_id, name, given in heard.tools),
            usage=[*(usage[name] for name in STATED), details and details.cached_tokens],
        )

    def expected(self, facts: CallFacts, *, streamed: bool) -> Heard:
        heard = super().expected(facts, streamed=streamed)
        return replace(
            heard,
            id=heard.id if self.keeps_id else None,
            tools=tuple((call_id if self.keeps_call_id else None, name, given) for call_id, name, given in heard.tools),
            usage=[1000, 200, 1200, self.cached],
        )

    @pytest.mark.parametrize("streamed", [False], ids=["plain"])
    @pytest.mark.parametrize("failure", [Failure.BAD_REQUEST, Failure.RATE_LIMIT])
    async def test_failure(self, *, kind: str, failure: Failure, streamed: bool, provider: Begin) -> None:
        """Every provider's failure is OpenAI's error."""
        await super().test_failure(kind=kind, failure=failure, streamed=streamed, provider=provider)

    # What it makes of an error in a stream is its own affair.
    test_broken_stream: ClassVar[Any] = None

    async def test_structured_output(self, kind: str, provider: Begin) -> None:
        """A schema is sent, and the words are an instance of it."""
        server = provider(self.provider_name)
        server.answers = [self.structured]
        schema = {"type": "json_schema", "json_schema": {"name": "weather", "schema": PARAMETERS}}
        async with self.open(kind, server) as client:
            heard = await self.heard(client, streamed=False, response_format=schema)
        assert json.loads("".join(heard.pieces)) == {"city": "Rome", "days": 2}


class TestOpenAI(LiteLLM):
    """OpenAI."""

    provider_name = "openai"
    prefix = "openai/"
    keeps_id = True


class TestGroq(TestOpenAI):
    """Groq, of whose plain answers it drops the thoughts."""

    provider_name = "groq"
    prefix = "groq/"

    def expected(self, facts: CallFacts, *, streamed: bool) -> Heard:
        heard = super().expected(facts, streamed=streamed)
        return heard if streamed else replace(heard, reasoning="")


class TestDeepSeek(TestOpenAI):
    """DeepSeek."""

    provider_name = "deepseek"
    prefix = "deepseek/"


class TestOpenRouter(TestOpenAI):
    """OpenRouter."""

    provider_name = "openrouter"
    prefix = "openrouter/"


class TestTogether(TestOpenAI):
    """Together."""

    provider_name = "together"
    prefix = "together_ai/"


class TestMistral(TestOpenAI):
    """Mistral."""

    provider_name = "mistral"
    prefix = "mistral/"


class TestAzure(TestOpenAI):
    """Azure."""

    provider_name = "azure"
    prefix = "azure/"
    more: ClassVar[Any] = {**LiteLLM.more, "api_version": "2024-10-21"}


class TestAnthropic(LiteLLM):
    """Anthropic."""

    provider_name = "anthropic"
    api = "anthropic.messages"
    prefix = "anthropic/"


class TestGemini(LiteLLM):
    """Gemini."""

    provider_name = "gemini"
    api = "gemini.generate"
    prefix = "gemini/"
    keeps_id = True
    keeps_call_id = False


class TestBedrock(LiteLLM):
    """Bedrock, over Converse."""

    provider_name = "bedrock"
    api = "bedrock.converse"
    prefix = "bedrock/converse/"
    taken = Usage.checked(input_tokens=1000, output_tokens=200, cache_read_tokens=600)
    # It knows no model of this name that is offered tools.
    more: ClassVar[Any] = {**KEYS, "max_retries": 0, "allowed_openai_params": ["tools", "response_format"]}


class TestOllama(LiteLLM):
    """Ollama."""

    provider_name = "ollama"
    api = "ollama.chat"
    prefix = "ollama_chat/"
    taken = Usage.checked(input_tokens=1000, output_tokens=200)
    cached = None
    keeps_call_id = False


class TestCohere(LiteLLM):
    """Cohere, of whose answers it reads neither thoughts nor why they ended, and no stream at all."""

    provider_name = "cohere"
    api = "cohere.v2.chat"
    prefix = "cohere_chat/"
    path = "/v2/chat"
    more: ClassVar[Any] = {**LiteLLM.more, "allowed_openai_params": ["response_format"]}
    cached = None
    finishes: ClassVar[Any] = dict.fromkeys(LiteLLM.finishes, "stop")

    streams = False  # it expects Cohere's events to have no names, which they have

    def expected(self, facts: CallFacts, *, streamed: bool) -> Heard:
        return replace(super().expected(facts, streamed=streamed), reasoning="")


class TestResponses(LiteLLM):
    """``responses``, over OpenAI. It wraps the id in one of its own."""

    provider_name = "openai"
    api = "openai.responses"
    prefix = "openai/"
    model = "gpt-4o-mini"  # of one that it does not know it makes up the stream
    question: ClassVar[Any] = [{"role": "user", "content": "Comment ça va ?"}]
    offer: ClassVar[Any] = {"tools": [{"type": "function", "name": "weather", "parameters": PARAMETERS}]}
    # A tool call is no reason to end.
    finishes: ClassVar[Any] = {
        FinishReason.STOP: "completed",
        FinishReason.LENGTH: "incomplete",
        FinishReason.TOOL_CALLS: "completed",
    }

    async def ask(self, client: Any, turns: Sequence[Any], **more: Any) -> Any:
        ask = litellm.aresponses if self.kind == "async" else litellm.responses
        asked = {"model": self.prefix + self.model, "input": turns, "max_output_tokens": LIMIT, **more}
        return await value(ask(api_base=client, **self.more, **asked))

    async def listen(self, client: Any, turns: Sequence[Any], **more: Any) -> AsyncIterator[Any]:
        async for event in items(await self.ask(client, turns, stream=True, **more)):
            yield event

    def hear(self, answer: Any) -> Heard:
        texts = [part.text for item in answer.output if item.type == "message" for part in item.content]
        thoughts = [part.text for item in answer.output if item.type == "reasoning" for part in item.summary]
        calls = [item for item in answer.output if item.type == "function_call"]
        usage = answer.usage
        return Heard(
            id=None,
            model=answer.model,
            pieces=tuple(texts),
            reasoning="".join(thoughts),
            tools=tuple((call.call_id, call.name, json.loads(call.arguments)) for call in calls),
            finish=answer.status,
            usage=[
                *(usage.input_tokens, usage.output_tokens, usage.total_tokens),
                usage.input_tokens_details.cached_tokens,
            ],
        )

    def hear_pieces(self, pieces: Sequence[Any]) -> Heard:
        said = tuple(event.delta for event in pieces if event.type == "response.output_text.delta")
        return replace(self.hear(pieces[-1].response), pieces=said)

    def follow_up(self, answer: Any) -> Sequence[Any]:
        calls = [item for item in answer.output if item.type == "function_call"]
        results = [{"type": "function_call_output", "call_id": call.call_id, "output": "Il pleut."} for call in calls]
        return [*(call.model_dump(exclude_none=True) for call in calls), *results]

    test_structured_output: ClassVar[Any] = None


# Bedrock's URL has a name of its own. Where LiteLLM counts the tokens by itself, nothing is expected of it.
EMBEDDINGS = {
    "openai": ("openai.embeddings", "openai/model-1", "", {}, 9),
    "azure": ("openai.embeddings", "azure/model-1", "", {"api_version": "2024-10-21"}, 9),
    "mistral": ("openai.embeddings", "mistral/model-1", "", {}, 9),
    "gemini": ("gemini.embed", "gemini/model-1", "", {}, None),
    "cohere": ("cohere.v2.embed", "cohere/model-1", "/v2/embed", {}, 9),
    "ollama": ("ollama.embed", "ollama/model-1", "", {}, 9),
    "bedrock": ("bedrock.invoke", "bedrock/amazon.titan-embed-text-v2:0", "", KEYS, 9),
}


@pytest.mark.parametrize("name", EMBEDDINGS)
async def test_embeddings(kind: str, name: str, provider: Begin) -> None:
    """One vector for each text, and what they took."""
    server = provider(name)
    api, model, path, more, tokens = EMBEDDINGS[name]
    vectors = ((0.5, -0.25), (1.0, 0.0))[: 1 if name == "bedrock" else 2]
    server.answers = [
        CallFacts(id="answer-1", model=MODEL, vectors=vectors, usage=Usage.checked(input_tokens=9, output_tokens=0))
    ]
    place = "aws_bedrock_runtime_endpoint" if name == "bedrock" else "api_base"
    async with clients_closed(server.url + path) as url:
        embed = litellm.aembedding if kind == "async" else litellm.embedding
        texts = ["Orléans", "Rome"][: len(vectors)]
        answer = await value(embed(model=model, input=texts, **{place: url}, api_key="sk-test", **more))
    assert [tuple(item["embedding"]) for item in answer.data] == list(vectors)
    assert tokens in {answer.usage.prompt_tokens, None}
    assert server.asked == [RequestFacts(api=api, provider=name, model=model.partition("/")[2])]
