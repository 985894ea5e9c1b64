"""Bedrock InvokeModel: ``POST */model/{id}/invoke`` and ``/invoke-with-response-stream``.

The bodies are the vendors' own (``bedrock_vendors.py``). Around them AWS says the same for all:
the tokens, in headers or in the last chunk, what a guardrail did, and what went wrong.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_llmtelemetry.facts import CallFacts, FinishReason, RequestFacts, Usage
from pytest_llmtelemetry.wire import bedrock_errors
from pytest_llmtelemetry.wire.bedrock_converse import REQUEST_ID, tool_names, write_id
from pytest_llmtelemetry.wire.bedrock_usage import HEADERS, read_usage, write_counts
from pytest_llmtelemetry.wire.bedrock_vendors import draft_of, vendor_of
from pytest_llmtelemetry.wire.dialect import Fault, WireAnswer, WireRequest, answer_of
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.eventstream import MEDIA, encode_event
from pytest_llmtelemetry.wire.jsontext import count_of, dump, load_object, mapping, objects, text


# The model may be an ARN with slashes.
_PATH = re.compile(r"(?:.*/)?model/(?P<model>.+)/invoke(?P<stream>-with-response-stream)?/?")

_METRICS = "amazon-bedrock-invocationMetrics"
_GUARDRAIL = "amazon-bedrock-guardrailAction"
_TIER = "x-amzn-bedrock-service-tier"
# A key of each vendor's request that an application's own web API is not likely to have.
_MARKS = frozenset(
    {
        "anthropic_version",
        "inferenceConfig",
        "inputText",
        "max_gen_len",
        "max_tokens_to_sample",
        "singleEmbeddingParams",
        "textGenerationConfig",
    }
)

# What the vendors call the limit on output tokens.
_LIMITS = (
    "max_completion_tokens",
    "max_tokens",
    "max_tokens_to_sample",
    "max_gen_len",
    "max_new_tokens",
    "maxTokens",
    "maxTokenCount",
)

# A mock's answers must not change from run to run.
_LATENCY_MS = 100


class BedrockInvoke:
    """The dialect that hands the vendors' bodies on."""

    api = "bedrock.invoke"
    operation = "chat"
    id_prefix = "msg_bdrk_"

    def speaks(self, method: str, path: str) -> bool:
        match = _PATH.fullmatch(path)
        return method == "POST" and match is not None and not _embeds(match["model"])

    def fits(self, body: Mapping[str, Any]) -> bool:
        turns = objects(body.get("messages"))
        if turns:
            return all("role" in turn and "content" in turn for turn in turns)
        return bool(body.keys() & _MARKS) or ("prompt" in body and _limit(body) is not None)

    def read_request(self, body: Mapping[str, Any], *, request: WireRequest, provider: str) -> RequestFacts:
        path = _PATH.fullmatch(request.path)
        return RequestFacts(
            api=self.api,
            provider=provider,
            model=path["model"] if path else None,
            stream=path is not None and path["stream"] is not None,
            max_tokens=_limit(body),
            tools=_tool_names(body) or tool_names(body),
            body=body,
        )

    def draft(self) -> InvokeDraft:
        return InvokeDraft()

    def write_response(self, facts: CallFacts, asked: RequestFacts) -> WireAnswer:
        document = vendor_of(asked).document(facts, asked) | _guarded(facts)
        counts = {HEADERS[name]: str(count) for name, count in write_counts(facts).items()}
        latency = {"x-amzn-bedrock-invocation-latency": str(_LATENCY_MS)}
        return answer_of(dump(document).encode(), headers={**_head(facts), **counts, **latency})

    def write_stream(self, facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> WireAnswer:
        *events, last = vendor_of(asked).events(facts, pieces, asked)
        metrics = {**write_counts(facts), "invocationLatency": _LATENCY_MS, "firstByteLatency": _LATENCY_MS}
        chunks = [_chunk(event) for event in [*events, last | {_METRICS: metrics} | _guarded(facts)]]
        return answer_of(chunks, media=MEDIA, headers=_stream_head(facts))

    def write_error(self, fault: Fault, asked: RequestFacts) -> WireAnswer:
        return bedrock_errors.write_error(fault)

    def write_broken_stream(
        self, facts: CallFacts, pieces: Sequence[str], fault: Fault, asked: RequestFacts
    ) -> WireAnswer:
        vendor = vendor_of(asked)
        begun = CallFacts(id=facts.id, model=facts.model, reasoning=facts.reasoning)
        events = list(vendor.events(begun, pieces, asked))[: -vendor.closing]
        chunks = [*map(_chunk, events), bedrock_errors.write_exception(fault)]
        return answer_of(chunks, media=MEDIA, headers=_stream_head(facts))


class BedrockEmbed(BedrockInvoke):
    """The same where the model's name says that it embeds."""

    operation = "embeddings"
    id_prefix = "req_"

    def speaks(self, method: str, path: str) -> bool:
        match = _PATH.fullmatch(path)
        return method == "POST" and match is not None and _embeds(match["model"])

    def fits(self, body: Mapping[str, Any]) -> bool:
        return bool(body.keys() & {"inputText", "inputImage", "input_type", "singleEmbeddingParams"})

    def draft(self) -> InvokeDraft:
        return InvokeEmbedDraft()


def _embeds(model: str) -> bool:
    return "embed" in model.rpartition("/")[2]


def _limit(body: Mapping[str, Any]) -> int | None:
    """The limit on output tokens."""
    places = (body, mapping(body.get("inferenceConfig")), mapping(body.get("textGenerationConfig")))
    stated = (count_of(place.get(name)) for place in places for name in _LIMITS)
    return next((limit for limit in stated if limit is not None), None)


def _tool_names(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The tools of Claude, and of those who speak as OpenAI."""
    offered = (mapping(tool.get("function")) or tool for tool in objects(body.get("tools")))
    return tuple(name for tool in offered if (name := text(tool.get("name"))))


# -- reading ---------------------------------------------------------------------------------


class InvokeDraft(Draft):
    """What AWS says of an answer, and the draft of the vendor whose body it is."""

    def __init__(self) -> None:
        super().__init__()
        self._vendor: Draft | None = None
        self._counted: Usage | None = None
        """As AWS counts, whoever the vendor is."""

    def take_headers(self, headers: Mapping[str, str]) -> None:
        self.id = text(headers.get(REQUEST_ID))
        self.service_tier = text(headers.get(_TIER))
        self._counted = read_usage({name: _number(headers.get(header)) for name, header in HEADERS.items()})
        bedrock_errors.take_headers(self, headers)

    def take(self, document: Mapping[str, Any], event: str) -> None:
        if bedrock_errors.take_exception(self, document, event):
            return
        if isinstance(chunk := document.get("bytes"), str):
            document = _unwrap(chunk)
        if metrics := mapping(document.get(_METRICS)):
            self._counted = read_usage(metrics)
        if document.get(_GUARDRAIL) == "INTERVENED":
            self.finish = FinishReason.CONTENT_FILTER
        self._vendor = self._vendor or draft_of(document)
        if self._vendor is None:
            bedrock_errors.take_error(self, document)
            return
        self._vendor.take(document, "")
        self.has_content = self._vendor.has_content

    def facts(self) -> CallFacts:
        if self._vendor is None:
            return replace(super().facts(), usage=self._counted)
        said = self._vendor.facts()
        usage = _filled(said.usage, self._counted)
        if said.vectors and usage is not None and usage.output_tokens is None:
            usage = _filled(usage, Usage(output_tokens=0))  # an embedding has no output
        return replace(
            said,
            id=said.id or self.id,
            usage=usage,
            finish_reason=said.finish_reason and (self.finish or said.finish_reason),
            service_tier=said.service_tier or self.service_tier,
            error_type=self.error or said.error_type,
            overflow=self.overflow or said.overflow,
        )


class InvokeEmbedDraft(InvokeDraft):
    """The same for embeddings."""

    exact = False


def _unwrap(chunk: str) -> Mapping[str, Any]:
    try:
        return load_object(base64.b64decode(chunk)) or {}
    except ValueError:
        return {}


def _number(stated: str | None) -> object:
    """What a header states, as a number if it is one."""
    return int(stated) if stated is not None and re.fullmatch(r"[0-9]{1,15}", stated) else stated


def _filled(stated: Usage | None, elsewhere: Usage | None) -> Usage | None:
    """What the body states, and what it leaves out as it is stated elsewhere."""
    if stated is None or elsewhere is None:
        return stated or elsewhere
    missing = {name for name, count in stated.counts().items() if count is None}
    added = {name: count for name, count in elsewhere.counts().items() if name in missing - {"total_tokens"}}
    filled = Usage.checked(doubts=stated.doubts, **(stated.counts() | added))
    return replace(filled, partial=stated.partial)


# -- writing ---------------------------------------------------------------------------------


def _head(facts: CallFacts) -> dict[str, str]:
    return {**write_id(facts), **({} if facts.service_tier is None else {_TIER: facts.service_tier})}


def _stream_head(facts: CallFacts) -> dict[str, str]:
    return {**_head(facts), "x-amzn-bedrock-content-type": "application/json"}


def _guarded(facts: CallFacts) -> dict[str, object]:
    """Not all vendors have a word for what a guardrail did; AWS has."""
    return {_GUARDRAIL: "INTERVENED"} if facts.finish_reason is FinishReason.CONTENT_FILTER else {}


def _chunk(event: Mapping[str, object]) -> bytes:
    return encode_event("chunk", dump({"bytes": base64.b64encode(dump(event).encode()).decode()}))
