"""The SDK ``openai``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from chats import ChatSuite, errors_of
from kinds import items, opened, value
from pytest_llmtelemetry import EventLog
from pytest_llmtelemetry.facts import CallFacts, FinishReason, Usage
from responses_suite import ResponsesSuite
from suite import (
    ANSWER,
    ANSWERS,
    LIMIT,
    MODEL,
    Begin,
    Caller,
    EmbeddingSuite,
    Structured,
)


openai: Any = pytest.importorskip("openai")


class OpenAI(Caller):
    """At OpenAI."""

    provider_name = "openai"

    def make(self, kind: str, url: str) -> Any:
        return (openai.AsyncOpenAI if kind == "async" else openai.OpenAI)(base_url=f"{url}/v1", api_key="sk-test")


class Azure(Caller):
    """At a deployment of Azure's, which the path names."""

    provider_name = "azure"

    def make(self, kind: str, url: str) -> Any:
        clients = {"sync": openai.AzureOpenAI, "async": openai.AsyncAzureOpenAI}
        return clients[kind](azure_endpoint=url, api_key="azure-test", api_version="2024-10-21")


class TestChat(OpenAI, ChatSuite, Structured):
    """``chat.completions``."""

    errors: ClassVar[Any] = errors_of(openai)
    broken = openai.APIError
    wish: ClassVar[Any] = MappingProxyType({"stream": True, "stream_options": {"include_usage": True}})

    def create(self, client: Any, *, stream: bool) -> Any:
        return client.chat.completions.create

    async def parse(self, client: Any, kind: type[Any]) -> Any:
        answer = await value(
            client.chat.completions.parse(model=MODEL, messages=self.question, max_tokens=LIMIT, response_format=kind)
        )
        return answer.choices[0].message.parsed

    @pytest.mark.parametrize("case", ["answer", "thoughts", "tools"])
    async def test_helper(self, kind: str, case: str, provider: Begin) -> None:
        """``stream()`` puts together the answer that ``create()`` gives."""
        server = provider(self.provider_name)
        server.answers = [ANSWERS[case]]
        asked = {"model": MODEL, "messages": self.question, "stream_options": {"include_usage": True}}
        async with (
            self.open(kind, server) as client,
            opened(client.chat.completions.stream(**asked), kind) as stream,
        ):
            deltas = [event.delta async for event in items(stream) if event.type == "content.delta"]
            answer = await value(stream.get_final_completion())
        assert "".join(deltas) == ANSWERS[case].text
        assert self.hear(answer) == self.expected(ANSWERS[case], streamed=False)

    async def test_refusal(self, kind: str, provider: Begin) -> None:
        """A refusal stands beside the text."""
        server = provider(self.provider_name)
        server.answers = [replace(ANSWER, text="Non.", finish_reason=FinishReason.REFUSAL)]
        async with self.open(kind, server) as client:
            said = (await self.ask(client, self.question)).choices[0].message
            deltas = [chunk.choices[0].delta async for chunk in self.listen(client, self.question) if chunk.choices]
        assert (said.content, said.refusal) == (None, "Non.")
        assert "".join(delta.refusal or "" for delta in deltas) == "Non."

    async def test_unwanted_usage(self, kind: str, provider: Begin) -> None:
        """A stream without the option states no usage, as its request was read."""
        server = provider(self.provider_name)
        server.answers = [ANSWER]
        async with self.open(kind, server) as client:
            chunks = [chunk async for chunk in self.listen(client, self.question, stream_options={})]
        assert self.hear_pieces(chunks) == replace(self.expected(ANSWER, streamed=True), usage=None)
        assert server.asked == [replace(self.request(stream=True, limit=LIMIT), wants_usage=False)]


class TestAzureChat(Azure, TestChat):
    """The same at Azure."""


class TestResponses(OpenAI, ResponsesSuite, Structured):
    """``responses``."""

    errors: ClassVar[Any] = errors_of(openai)
    broken = openai.APIError

    def create(self, client: Any) -> Any:
        return client.responses.create

    async def parse(self, client: Any, kind: type[Any]) -> Any:
        question: Any = self.question
        answer = await value(
            client.responses.parse(model=MODEL, input=question, max_output_tokens=LIMIT, text_format=kind)
        )
        return answer.output_parsed

    async def test_background(self, kind: str, provider: Begin, llm_events: EventLog) -> None:
        """An answer from the background is polled for, and is one call."""
        pending = CallFacts(id=ANSWER.id, model=MODEL, pending=True)
        server = provider(self.provider_name)
        server.answers = [pending, pending, ANSWER]
        async with self.open(kind, server) as client:
            begun = await self.ask(client, self.question, background=True)
            waiting = await value(client.responses.retrieve(begun.id))
            done = await value(client.responses.retrieve(begun.id))
        assert [answer.status for answer in (begun, waiting, done)] == ["queued", "queued", "completed"]
        assert [answer.output_text for answer in (begun, waiting, done)] == ["", "", "Ça va bien."]
        assert [call.usage for call in llm_events.calls] == [ANSWER.usage]

    @pytest.mark.parametrize("case", ["answer", "thoughts", "tools"])
    async def test_helper(self, kind: str, case: str, provider: Begin) -> None:
        """``stream()`` puts together the answer that ``create()`` gives."""
        server = provider(self.provider_name)
        server.answers = [ANSWERS[case]]
        async with (
            self.open(kind, server) as client,
            opened(client.responses.stream(model=MODEL, input=self.question), kind) as stream,
        ):
            answer = await value(stream.get_final_response())
        assert self.hear(answer) == self.expected(ANSWERS[case], streamed=False)


class TestAzureResponses(Azure, TestResponses):
    """The same at Azure."""


class TestEmbeddings(OpenAI, EmbeddingSuite):
    """``embeddings``, packed in base64 as the SDK asks."""

    options: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    async def embed(self, client: Any, texts: Sequence[str]) -> Any:
        return await value(client.embeddings.create(model=MODEL, input=texts, **self.options))


class TestPlainEmbeddings(TestEmbeddings):
    """The same as numbers."""

    options: ClassVar[Mapping[str, Any]] = MappingProxyType({"encoding_format": "float"})


class TestAzureEmbeddings(Azure, TestEmbeddings):
    """The same at Azure."""


class TestCompletions(OpenAI):
    """``completions``, of the models of old."""

    api = "openai.completions"

    async def test_completion(self, *, kind: str, streamed: bool, provider: Begin) -> None:
        """The text, its end and its usage are what was written."""
        facts = replace(ANSWER, usage=Usage.checked(input_tokens=11, output_tokens=7))
        server = provider(self.provider_name)
        server.answers = [facts]
        options = {"stream": True, "stream_options": {"include_usage": True}} if streamed else {}
        async with self.open(kind, server) as client:
            answer = await value(client.completions.create(model=MODEL, prompt="Ça va ?", max_tokens=LIMIT, **options))
            documents = [chunk async for chunk in items(answer)] if streamed else [answer]
        choices = [choice for document in documents for choice in document.choices]
        assert [choice.text for choice in choices if choice.text] == (
            ["Ça ", "va ", "bien."] if streamed else ["Ça va bien."]
        )
        assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]
        assert documents[-1].usage.total_tokens == 18
        assert server.asked == [self.request(stream=streamed, limit=LIMIT)]
