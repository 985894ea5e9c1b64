"""The framework ``pydantic-ai``, on the SDKs of its providers. It is async by nature."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from pytest_llmtelemetry import CallFacts, FinishReason, ToolCall
from pytest_llmtelemetry.wire.dialect import Failure, Fault
from suite import ANSWER, LIMIT, PARAMETERS, Begin, Heard, Suite, arguments


pydantic_ai: Any = pytest.importorskip("pydantic_ai", minversion="2")
pydantic: Any = pytest.importorskip("pydantic")
direct: Any = pytest.importorskip("pydantic_ai.direct")
messages: Any = pytest.importorskip("pydantic_ai.messages")
models: Any = pytest.importorskip("pydantic_ai.models")
tools: Any = pytest.importorskip("pydantic_ai.tools")
exceptions: Any = pytest.importorskip("pydantic_ai.exceptions")


def of(module: str, name: str) -> Any:
    """A model's or a provider's class."""
    return getattr(pytest.importorskip(f"pydantic_ai.{module}"), name)


@pytest.fixture(params=["async"])
def kind(request: pytest.FixtureRequest) -> str:
    """An async client."""
    name: str = request.param
    return name


class PydanticAI(Suite):
    """What holds for every model."""

    names: ClassVar[tuple[str, str, str]]
    """The module, and the classes of the model and of its provider."""
    usage: ClassVar[Any] = (1000, 200, 600)
    finishes: ClassVar[Any] = {
        FinishReason.STOP: "stop",
        FinishReason.LENGTH: "length",
        FinishReason.TOOL_CALLS: "tool_call",
    }
    errors: ClassVar[Any] = {Failure.RATE_LIMIT: (exceptions.ModelRateLimitError, 429)}
    question: ClassVar[Any] = [messages.ModelRequest(parts=[messages.UserPromptPart("Comment ça va ?")])]
    offer: ClassVar[Any] = MappingProxyType(
        {
            "model_request_parameters": models.ModelRequestParameters(
                function_tools=[tools.ToolDefinition(name="weather", parameters_json_schema=PARAMETERS)]
            )
        }
    )

    def make(self, kind: str, url: str) -> Any:
        return self.model_at(self.place(url))

    @asynccontextmanager
    async def model_at(self, place: Mapping[str, Any]) -> AsyncIterator[Any]:
        """A model, closed in the end, with the SDK's client if it was given one."""
        module, model, provider = self.names
        async with AsyncExitStack() as stack:
            for given in place.values():
                if hasattr(given, "__aenter__"):
                    await stack.enter_async_context(given)
            provided = of(f"providers.{module}", provider)(**place)
            yield await stack.enter_async_context(of(f"models.{module}", model)(self.model, provider=provided))

    def place(self, url: str) -> Mapping[str, Any]:
        """How a provider is told where to call."""
        return {"base_url": url, "api_key": "sk-test"}

    async def ask(self, client: Any, turns: Sequence[Any], **more: Any) -> Any:
        return await direct.model_request(client, turns, model_settings={"max_tokens": LIMIT}, **more)

    async def listen(self, client: Any, turns: Sequence[Any], **more: Any) -> AsyncIterator[Any]:
        asked = direct.model_request_stream(client, turns, model_settings={"max_tokens": LIMIT}, **more)
        async with asked as stream:
            async for event in stream:
                yield event
            yield stream.get()

    def hear(self, answer: Any) -> Heard:
        said: dict[str, list[Any]] = {}
        for part in answer.parts:
            said.setdefault(part.part_kind, []).append(part)
        usage = answer.usage
        return Heard(
            id=answer.provider_response_id,
            model=answer.model_name,
            pieces=tuple(part.content for part in said.get("text", ())),
            reasoning="".join(part.content for part in said.get("thinking", ())),
            tools=tuple(
                (part.tool_call_id, part.tool_name, arguments(part.args)) for part in said.get("tool-call", ())
            ),
            finish=answer.finish_reason,
            usage=(usage.input_tokens, usage.output_tokens, usage.cache_read_tokens),
        )

    def hear_pieces(self, pieces: Sequence[Any]) -> Heard:
        *events, whole = pieces
        begun = [event.part.content for event in events if event.event_kind == "part_start" and is_text(event.part)]
        added = [
            event.delta.content_delta
            for event in events
            if event.event_kind == "part_delta" and event.delta.part_delta_kind == "text"
        ]
        return replace(self.hear(whole), pieces=tuple(piece for piece in [*begun, *added] if piece))

    def follow_up(self, answer: Any) -> Sequence[Any]:
        results = [
            messages.ToolReturnPart(tool_name=part.tool_name, content="Il pleut.", tool_call_id=part.tool_call_id)
            for part in answer.parts
        ]
        return [answer, messages.ModelRequest(parts=results)]

    @pytest.mark.parametrize("streamed", [False], ids=["plain"])
    @pytest.mark.parametrize("failure", [Failure.RATE_LIMIT])
    async def test_failure(self, *, kind: str, failure: Failure, streamed: bool, provider: Begin) -> None:
        """Every provider's failure is an error with its status; its class is made of two, and so not compared."""
        server = provider(self.provider_name)
        server.answers = [Fault(kind=failure, retry_after_s=0.001)]
        expected, status = self.errors[failure]
        async with self.open(kind, server) as model:
            with pytest.raises(expected) as caught:
                await self.heard(model, streamed=streamed)
            assert self.status(caught.value) == status
        assert len(server.asked) == self.attempts

    # What is raised in the middle of a stream is the SDKs' own.
    test_broken_stream: ClassVar[Any] = None

    async def test_agent(self, kind: str, provider: Begin) -> None:
        """An agent calls the tool that it is asked to, tells the result, and gives a typed output."""
        server = provider(self.provider_name)
        forecast = pydantic.create_model("Forecast", city=(str, ...), days=(int, ...))
        server.answers = [called("weather", '{"city": "Rome"}'), called("final_result", '{"city": "Rome", "days": 2}')]
        seen: list[str] = []

        def weather(city: str) -> str:
            seen.append(city)
            return "Il pleut."

        async with self.open(kind, server) as model:
            agent = pydantic_ai.Agent(model, output_type=forecast, tools=[weather])
            result = await agent.run("Quel temps fait-il ?")
        assert (result.output, seen) == (forecast(city="Rome", days=2), ["Rome"])
        assert [asked.tools for asked in server.asked] == [("weather", "final_result")] * 2

    async def test_streaming_agent(self, kind: str, provider: Begin) -> None:
        """An agent gives the words as they come."""
        server = provider(self.provider_name)
        server.answers = [ANSWER]
        async with (
            self.open(kind, server) as model,
            pydantic_ai.Agent(model).run_stream("Comment ça va ?") as result,
        ):
            words = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
        assert words == ["Ça ", "va ", "bien."]


def is_text(part: Any) -> bool:
    """Not thoughts, whose content is a text too."""
    return bool(part.part_kind == "text")


def called(tool: str, arguments: str) -> CallFacts:
    """The model calls a tool."""
    call = ToolCall(id="call-1", name=tool, arguments=arguments)
    return replace(ANSWER, text="", tool_calls=(call,), finish_reason=FinishReason.TOOL_CALLS)


# Of the APIs that have no word for it.
STOPS = {**PydanticAI.finishes, FinishReason.TOOL_CALLS: "stop"}


class TestOpenAIChat(PydanticAI):
    """OpenAI's chat completions."""

    provider_name = "openai"
    api = "openai.chat"
    names = ("openai", "OpenAIChatModel", "OpenAIProvider")


class TestOpenAIResponses(PydanticAI):
    """OpenAI's responses."""

    provider_name = "openai"
    api = "openai.responses"
    names = ("openai", "OpenAIResponsesModel", "OpenAIProvider")
    finishes: ClassVar[Any] = STOPS


class TestAnthropic(PydanticAI):
    """Anthropic."""

    provider_name = "anthropic"
    api = "anthropic.messages"
    names = ("anthropic", "AnthropicModel", "AnthropicProvider")


class TestGoogle(PydanticAI):
    """Gemini."""

    provider_name = "gemini"
    api = "gemini.generate"
    names = ("google", "GoogleModel", "GoogleProvider")
    attempts = 1
    finishes: ClassVar[Any] = STOPS


class TestMistral(PydanticAI):
    """Mistral."""

    provider_name = "mistral"
    api = "openai.chat"
    names = ("mistral", "MistralModel", "MistralProvider")
    attempts = 1


class TestGroq(PydanticAI):
    """Groq."""

    provider_name = "groq"
    api = "openai.chat"
    names = ("groq", "GroqModel", "GroqProvider")


class TestCohere(PydanticAI):
    """Cohere."""

    provider_name = "cohere"
    api = "cohere.v2.chat"
    names = ("cohere", "CohereModel", "CohereProvider")

    def place(self, url: str) -> Mapping[str, Any]:
        return {"cohere_client": pytest.importorskip("cohere").AsyncClientV2("co-test", base_url=url)}


class TestBedrock(PydanticAI):
    """Bedrock."""

    provider_name = "bedrock"
    api = "bedrock.converse"
    names = ("bedrock", "BedrockConverseModel", "BedrockProvider")
    attempts = 1

    @pytest.fixture(autouse=True)
    def one_attempt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else it waits between them as long as it likes."""
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    def place(self, url: str) -> Mapping[str, Any]:
        keys = {"aws_access_key_id": "-", "aws_secret_access_key": "-", "region_name": "us-east-1"}
        return {"base_url": url, **keys}

    # boto3 is built on urllib3, which is not seen.
    test_captured: ClassVar[Any] = None


class TestHuggingFace(PydanticAI):
    """Hugging Face's router, of whose answers it reads neither thoughts nor what was cached."""

    provider_name = "huggingface"
    api = "openai.chat"
    names = ("huggingface", "HuggingFaceModel", "HuggingFaceProvider")
    usage: ClassVar[Any] = (1000, 200, 0)
    attempts = 1

    def expected(self, facts: CallFacts, *, streamed: bool) -> Heard:
        return replace(super().expected(facts, streamed=streamed), reasoning="")


class TestOpenRouter(PydanticAI):
    """OpenRouter."""

    provider_name = "openrouter"
    api = "openai.chat"
    model = "vendor/model-1"
    names = ("openrouter", "OpenRouterModel", "OpenRouterProvider")

    def place(self, url: str) -> Mapping[str, Any]:
        return {"openai_client": pytest.importorskip("openai").AsyncOpenAI(base_url=url, api_key="sk-test")}
