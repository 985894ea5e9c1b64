"""The SDK ``boto3``, whose event streams are parsed by Amazon's own code. It has sync clients only."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from polyglot import Broken, Polyglot
from pytest_llmtelemetry import CallFacts, FinishReason, RequestFacts, Usage
from pytest_llmtelemetry.wire.dialect import Failure, Fault
from suite import ANSWER, LIMIT, MODEL, PARAMETERS, Begin, Heard, Suite


boto3: Any = pytest.importorskip("boto3")
botocore: Any = pytest.importorskip("botocore.config")
exceptions: Any = pytest.importorskip("botocore.exceptions")


@pytest.fixture(params=["sync"])
def kind(request: pytest.FixtureRequest) -> str:
    """A sync client."""
    name: str = request.param
    return name


def client_of(url: str) -> Any:
    """A client of Bedrock, to be entered; it does not try again, because it would wait as long as it likes."""
    return closing(
        boto3.client(
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url=url,
            aws_access_key_id="-",
            aws_secret_access_key="-",
            config=botocore.Config(retries={"total_max_attempts": 1}),
        )
    )


class TestConverse(Suite):
    """``converse`` and ``converse_stream``."""

    provider_name = "bedrock"
    api = "bedrock.converse"
    usage: ClassVar[Any] = {"inputTokens": 400, "cacheReadInputTokens": 600, "outputTokens": 200, "totalTokens": 1200}
    finishes: ClassVar[Any] = {
        FinishReason.STOP: "end_turn",
        FinishReason.LENGTH: "max_tokens",
        FinishReason.TOOL_CALLS: "tool_use",
    }
    errors: ClassVar[Any] = {
        Failure.BAD_REQUEST: ("ValidationException", 400),
        Failure.AUTH: ("UnrecognizedClientException", 403),
        Failure.NOT_FOUND: ("ResourceNotFoundException", 404),
        Failure.CONTEXT_WINDOW: ("ValidationException", 400),
        Failure.RATE_LIMIT: ("ThrottlingException", 429),
        Failure.SERVER_ERROR: ("InternalServerException", 500),
        Failure.OVERLOADED: ("ServiceUnavailableException", 503),
    }
    broken = exceptions.EventStreamError
    question: ClassVar[Any] = [{"role": "user", "content": [{"text": "Comment ça va ?"}]}]
    offer: ClassVar[Any] = MappingProxyType(
        {"toolConfig": {"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": PARAMETERS}}}]}}
    )

    def make(self, kind: str, url: str) -> Any:
        return client_of(url)

    def request_for(self, turns: Sequence[Any]) -> Mapping[str, Any]:
        """What is asked."""
        return {"modelId": MODEL, "messages": turns, "inferenceConfig": {"maxTokens": LIMIT}}

    async def ask(self, client: Any, turns: Sequence[Any], **more: Any) -> Any:
        return client.converse(**self.request_for(turns), **more)

    async def listen(self, client: Any, turns: Sequence[Any], **more: Any) -> AsyncIterator[Any]:
        answer = client.converse_stream(**self.request_for(turns), **more)
        yield answer
        with closing(answer["stream"]) as events:
            for event in events:
                yield event

    def hear(self, answer: Any) -> Heard:
        blocks = answer["output"]["message"]["content"]
        calls = [block["toolUse"] for block in blocks if "toolUse" in block]
        return Heard(
            id=answer["ResponseMetadata"]["RequestId"],
            model=None,
            pieces=tuple(block["text"] for block in blocks if "text" in block),
            reasoning="".join(
                block["reasoningContent"]["reasoningText"]["text"] for block in blocks if "reasoningContent" in block
            ),
            tools=tuple((call["toolUseId"], call["name"], call["input"]) for call in calls),
            finish=answer["stopReason"],
            usage=answer["usage"],
        )

    def hear_pieces(self, pieces: Sequence[Any]) -> Heard:
        head, *events = pieces
        said: dict[str, Any] = {name: event for each in events for name, event in each.items()}
        parts = [event["contentBlockDelta"] for event in events if "contentBlockDelta" in event]
        deltas = [part["delta"] for part in parts]
        given = {
            part["contentBlockIndex"]: part["delta"]["toolUse"]["input"] for part in parts if "toolUse" in part["delta"]
        }
        begun = [event["contentBlockStart"] for event in events if "contentBlockStart" in event]
        calls = [(block["start"]["toolUse"], given[block["contentBlockIndex"]]) for block in begun]
        return Heard(
            id=head["ResponseMetadata"]["RequestId"],
            model=None,
            pieces=tuple(delta["text"] for delta in deltas if "text" in delta),
            reasoning="".join(delta["reasoningContent"]["text"] for delta in deltas if "reasoningContent" in delta),
            tools=tuple((call["toolUseId"], call["name"], json.loads(text)) for call, text in calls),
            finish=said.get("messageStop", {}).get("stopReason"),
            usage=said.get("metadata", {}).get("usage"),
        )

    def follow_up(self, answer: Any) -> Sequence[Any]:
        said = answer["output"]["message"]
        results = [
            {"toolResult": {"toolUseId": block["toolUse"]["toolUseId"], "content": [{"text": "Il pleut."}]}}
            for block in said["content"]
        ]
        return [said, {"role": "user", "content": results}]

    def expected(self, facts: CallFacts, *, streamed: bool) -> Heard:
        return replace(super().expected(facts, streamed=streamed), model=None)

    @pytest.mark.parametrize("failure", Failure)
    async def test_failure(self, *, kind: str, failure: Failure, streamed: bool, provider: Begin) -> None:
        """Each is an error of the client, with AWS's own word; most have a class, which the client makes."""
        server = provider("bedrock")
        server.answers = [Fault(kind=failure)]
        async with self.open(kind, server) as client:
            with pytest.raises(exceptions.ClientError) as caught:
                await self.heard(client, streamed=streamed)
            answer = caught.value.response
        word, status = self.errors[failure]
        assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (word, status)
        assert type(caught.value).__name__ == ("ClientError" if failure is Failure.AUTH else word)

    # It is built on urllib3, which is not seen.
    test_captured: ClassVar[Any] = None


# -- the vendors' own bodies -----------------------------------------------------------------

TURN = {"role": "user", "content": "Comment ça va ?"}


@dataclass(frozen=True, kw_only=True)
class Vendor:
    """How the models of one of them are asked, and where in their answers things stand."""

    model: str
    body: Mapping[str, Any]
    text: str
    finish: tuple[str, str]
    """Its place, and the word for having said all."""
    counts: Mapping[str, int]
    piece: str
    """Where a stream has a piece of the text; the rest too stands at its end."""
    streamed_finish: str
    streamed_counts: Mapping[str, int]


METRICS = {
    "amazon-bedrock-invocationMetrics.inputTokenCount": 400,
    "amazon-bedrock-invocationMetrics.cacheReadInputTokenCount": 600,
    "amazon-bedrock-invocationMetrics.outputTokenCount": 200,
}
CLAUDE = {"usage.input_tokens": 400, "usage.cache_read_input_tokens": 600, "usage.output_tokens": 200}
NOVA = {"usage.inputTokens": 400, "usage.cacheReadInputTokens": 600, "usage.outputTokens": 200}
LLAMA = {"prompt_token_count": 1000, "generation_token_count": 200}
OPENAI = {"usage.prompt_tokens": 1000, "usage.prompt_tokens_details.cached_tokens": 600, "usage.completion_tokens": 200}
VENDORS = (
    Vendor(
        model="us.anthropic.claude-haiku-4-5-20251001-v1:0",
        body={"anthropic_version": "bedrock-2023-05-31", "max_tokens": LIMIT, "messages": [TURN]},
        text="content.0.text",
        finish=("stop_reason", "end_turn"),
        counts=CLAUDE,
        piece="delta.text",
        streamed_finish="delta.stop_reason",
        streamed_counts=CLAUDE | METRICS,
    ),
    Vendor(
        model="amazon.nova-lite-v1:0",
        body={
            "messages": [{"role": "user", "content": [{"text": "Comment ça va ?"}]}],
            "inferenceConfig": {"maxTokens": LIMIT},
        },
        text="output.message.content.0.text",
        finish=("stopReason", "end_turn"),
        counts=NOVA,
        piece="contentBlockDelta.delta.text",
        streamed_finish="messageStop.stopReason",
        streamed_counts={f"metadata.{place}": count for place, count in NOVA.items()} | METRICS,
    ),
    Vendor(
        model="meta.llama3-8b-instruct-v1:0",
        body={"prompt": "Comment ça va ?", "max_gen_len": LIMIT},
        text="generation",
        finish=("stop_reason", "stop"),
        counts=LLAMA,
        piece="generation",
        streamed_finish="stop_reason",
        streamed_counts=LLAMA | METRICS,
    ),
    Vendor(
        model="amazon.titan-text-express-v1",
        body={"inputText": "Comment ça va ?", "textGenerationConfig": {"maxTokenCount": LIMIT}},
        text="results.0.outputText",
        finish=("results.0.completionReason", "FINISH"),
        counts={"inputTextTokenCount": 1000, "results.0.tokenCount": 200},
        piece="outputText",
        streamed_finish="completionReason",
        streamed_counts={"inputTextTokenCount": 1000, "totalOutputTextTokenCount": 200} | METRICS,
    ),
    Vendor(
        model="openai.gpt-oss-20b-1:0",
        body={"messages": [TURN], "max_completion_tokens": LIMIT},
        text="choices.0.message.content",
        finish=("choices.0.finish_reason", "stop"),
        counts=OPENAI,
        piece="choices.0.delta.content",
        streamed_finish="choices.0.finish_reason",
        streamed_counts=OPENAI | METRICS,
    ),
)
EACH_VENDOR = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: str(vendor.model))


def at(document: Any, place: str) -> Any:
    """What stands at ``place``, such as ``results.0.tokenCount``; ``None`` if there is no such place."""
    for key in place.split("."):
        if isinstance(document, list):
            document = document[int(key)] if int(key) < len(document) else None
        else:
            document = (document or {}).get(key)
    return document


def request(vendor: Vendor, *, stream: bool) -> RequestFacts:
    """What a request must be read as."""
    return RequestFacts(api="bedrock.invoke", provider="bedrock", model=vendor.model, stream=stream, max_tokens=LIMIT)


@EACH_VENDOR
def test_invoke_model(vendor: Vendor, provider: Begin) -> None:
    """The body is the vendor's, and AWS counts the tokens in the headers."""
    server = provider("bedrock")
    server.answers = [ANSWER]
    with client_of(server.url) as client:
        answer = client.invoke_model(modelId=vendor.model, body=json.dumps(vendor.body))
        document = json.load(answer["body"])
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert (answer["contentType"], answer["ResponseMetadata"]["RequestId"]) == ("application/json", "answer-1")
    assert at(document, vendor.text) == "Ça va bien."
    assert at(document, vendor.finish[0]) == vendor.finish[1]
    assert {place: at(document, place) for place in vendor.counts} == vendor.counts
    assert {name: count for name, count in headers.items() if name.endswith("token-count")} == {
        "x-amzn-bedrock-input-token-count": "400",
        "x-amzn-bedrock-cache-read-input-token-count": "600",
        "x-amzn-bedrock-output-token-count": "200",
    }
    assert server.asked == [request(vendor, stream=False)]


def pieces(client: Any, vendor: Vendor, into: list[Any]) -> None:
    """The chunks of a streamed answer."""
    answer = client.invoke_model_with_response_stream(modelId=vendor.model, body=json.dumps(vendor.body))
    with closing(answer["body"]) as events:
        for event in events:
            into.append(json.loads(event["chunk"]["bytes"]))  # noqa: PERF401 - what came before an error is looked at


def said(chunks: Sequence[Any], vendor: Vendor) -> list[str]:
    """The words in the chunks."""
    return [words for chunk in chunks if (words := at(chunk, vendor.piece))]


@EACH_VENDOR
def test_invoke_model_with_response_stream(vendor: Vendor, provider: Begin) -> None:
    """Each chunk is the vendor's, and in the last one AWS counts the tokens."""
    server = provider("bedrock")
    server.answers = [ANSWER]
    chunks: list[Any] = []
    with client_of(server.url) as client:
        pieces(client, vendor, chunks)
    found = {place: [each for chunk in chunks if (each := at(chunk, place))] for place in vendor.streamed_counts}
    assert said(chunks, vendor) == ["Ça ", "va ", "bien."]
    assert [word for chunk in chunks if (word := at(chunk, vendor.streamed_finish))] == [vendor.finish[1]]
    assert {place: counts[-1] for place, counts in found.items()} == vendor.streamed_counts
    assert server.asked == [request(vendor, stream=True)]


@EACH_VENDOR
def test_a_response_stream_that_breaks(vendor: Vendor, provider: Begin) -> None:
    """What was said is given, then the SDK raises."""
    server = provider("bedrock")
    server.answers = [Broken(fault=Fault(kind=Failure.OVERLOADED), facts=ANSWER)]
    chunks: list[Any] = []
    with client_of(server.url) as client, pytest.raises(exceptions.EventStreamError) as caught:
        pieces(client, vendor, chunks)
    assert caught.value.response["Error"]["Code"] == "serviceUnavailableException"
    assert said(chunks, vendor) == ["Ça ", "va ", "bien."]


@pytest.mark.parametrize(
    ("model", "body", "expected"),
    [
        (
            "amazon.titan-embed-text-v2:0",
            {"inputText": "Paris"},
            {"embedding": [0.5, -0.25], "embeddingsByType": {"float": [0.5, -0.25]}, "inputTextTokenCount": 8},
        ),
        (
            "cohere.embed-english-v3",
            {"texts": ["Paris"], "input_type": "search_query"},
            {
                "id": "answer-1",
                "texts": ["Paris"],
                "embeddings": [[0.5, -0.25]],
                "response_type": "embeddings_floats",
            },
        ),
    ],
    ids=["titan", "cohere"],
)
def test_embeddings(model: str, body: Mapping[str, Any], expected: object, provider: Begin) -> None:
    """The body is the vendor's."""
    server: Polyglot = provider("bedrock")
    server.answers = [
        CallFacts(id="answer-1", vectors=((0.5, -0.25),), usage=Usage.checked(input_tokens=8, output_tokens=0))
    ]
    with client_of(server.url) as client:
        answer = client.invoke_model(modelId=model, body=json.dumps(body))
        assert json.load(answer["body"]) == expected
    assert server.asked == [RequestFacts(api="bedrock.invoke", provider="bedrock", model=model)]
