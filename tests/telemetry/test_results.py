"""What a result says: of any shape, looked at and never called, and unknown where nothing is stated."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from enum import Enum
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple, TypedDict
from unittest.mock import MagicMock, NonCallableMagicMock

import pytest
from anthropic.types import Message, RawMessageDeltaEvent
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response
from pydantic import BaseModel, ConfigDict

from pytest_llmtelemetry.facts import FinishReason, Usage
from pytest_llmtelemetry.telemetry.results import ResultFacts, amount, cents, finish_reason, read_result


NOTHING = ResultFacts()
USAGE = Usage(input_tokens=10, output_tokens=5, total_tokens=15)
STATED = ResultFacts(id="a-1", model="acme-1", usage=USAGE, cost_usd=Decimal("0.0036"), finish_reason=FinishReason.STOP)


# -- shapes ---------------------------------------------------------------------------------


@dataclass
class TokensData:
    input_tokens: int = 10
    output_tokens: int = 5


@dataclass
class AnswerData:
    id: str = "a-1"
    model: str = "acme-1"
    usage: TokensData = field(default_factory=TokensData)
    cost: float = 0.0036
    finish_reason: str = "stop"


@dataclass(frozen=True, slots=True)
class AnswerSlots:
    id: str = "a-1"
    model: str = "acme-1"
    usage: TokensData = field(default_factory=TokensData)
    cost: float = 0.0036
    finish_reason: str = "stop"


class TokensTuple(NamedTuple):
    input_tokens: int = 10
    output_tokens: int = 5


class AnswerTuple(NamedTuple):
    id: str = "a-1"
    model: str = "acme-1"
    usage: TokensTuple = TokensTuple()
    cost: Decimal = Decimal("0.0036")
    finish_reason: str = "stop"


class AnswerDict(TypedDict):
    id: str
    model: str
    usage: dict[str, int]
    cost: str
    finish_reason: FinishReason


class TokensModel(BaseModel):
    input_tokens: int = 10
    output_tokens: int = 5


class AnswerModel(BaseModel):
    id: str = "a-1"
    model: str = "acme-1"
    usage: TokensModel = TokensModel()
    cost_usd: Decimal = Decimal("0.0036")
    finish_reason: str = "stop"


class OpenModel(BaseModel):
    model_config = ConfigDict(extra="allow")


class AnswerProperties:
    """Its values are made when they are asked for."""

    id, model, finish_reason = "a-1", "acme-1", "stop"

    @property
    def usage(self) -> dict[str, int]:
        return {"input_tokens": 10, "output_tokens": 5}

    @property
    def cost(self) -> float:
        return 0.0036


TOKENS = {"input_tokens": 10, "output_tokens": 5}
EXTRA: dict[str, Any] = {"id": "a-1", "model": "acme-1", "usage": TOKENS, "cost": 0.0036, "finish_reason": "stop"}


@pytest.mark.parametrize(
    "result",
    [
        EXTRA,
        AnswerDict(id="a-1", model="acme-1", usage=TOKENS, cost="0.0036", finish_reason=FinishReason.STOP),
        SimpleNamespace(**EXTRA),
        AnswerData(),
        AnswerSlots(),
        AnswerTuple(),
        namedtuple("Answer", EXTRA)(**EXTRA),  # noqa: PYI024 - as applications write it
        AnswerModel(),
        OpenModel(**EXTRA),
        AnswerProperties(),
        {**EXTRA, "usage": USAGE},
    ],
    ids=[
        *("dict", "TypedDict", "object", "dataclass", "slots", "NamedTuple", "namedtuple", "pydantic", "extra fields"),
        *("properties", "our own Usage"),
    ],
)
def test_shapes(result: object) -> None:
    """A result of any shape says the same."""
    assert read_result(result) == STATED


# -- the SDKs' own --------------------------------------------------------------------------

COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "service_tier": "default",
    "choices": [{"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "Par"}}],
    "usage": {
        "prompt_tokens": 1000,
        "completion_tokens": 200,
        "total_tokens": 1200,
        "prompt_tokens_details": {"cached_tokens": 600},
        "completion_tokens_details": {"reasoning_tokens": 50},
    },
}
COMPLETION_FACTS = ResultFacts(
    id="chatcmpl-1",
    model="gpt-4o-mini",
    usage=Usage(input_tokens=1000, output_tokens=200, total_tokens=1200, cache_read_tokens=600, reasoning_tokens=50),
    finish_reason=FinishReason.LENGTH,
    service_tier="default",
)
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt-4o",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "status": "incomplete",
    "incomplete_details": {"reason": "max_output_tokens"},
    "usage": {
        "input_tokens": 100,
        "output_tokens": 50,
        "total_tokens": 150,
        "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 20},
    },
}
RESPONSE_FACTS = ResultFacts(
    id="resp_1",
    model="gpt-4o",
    usage=Usage(input_tokens=100, output_tokens=50, total_tokens=150, cache_read_tokens=40, reasoning_tokens=20),
    finish_reason=FinishReason.LENGTH,
)
EMBEDDINGS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}],
    "model": "text-embedding-3-small",
    "usage": {"prompt_tokens": 8, "total_tokens": 8},
}
EMBEDDINGS_FACTS = ResultFacts(model="text-embedding-3-small", usage=Usage(input_tokens=8, total_tokens=8))
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5",
    "content": [{"type": "text", "text": "Paris."}],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 100,
        "cache_creation_input_tokens": 200,
        "cache_read_input_tokens": 700,
        "cache_creation": {"ephemeral_1h_input_tokens": 150, "ephemeral_5m_input_tokens": 50},
        "output_tokens": 50,
    },
}
MESSAGE_FACTS = ResultFacts(
    id="msg_1",
    model="claude-haiku-4-5",
    usage=Usage(
        input_tokens=1000,
        output_tokens=50,
        total_tokens=1050,
        cache_read_tokens=700,
        cache_write_tokens=200,
        cache_write_1h_tokens=150,
    ),
    finish_reason=FinishReason.TOOL_CALLS,
)


@pytest.mark.parametrize(
    ("kind", "document", "facts"),
    [
        (ChatCompletion, COMPLETION, COMPLETION_FACTS),
        (Response, RESPONSE, RESPONSE_FACTS),
        (CreateEmbeddingResponse, EMBEDDINGS, EMBEDDINGS_FACTS),
        (Message, MESSAGE, MESSAGE_FACTS),
    ],
    ids=["chat completion", "response", "embeddings", "message"],
)
def test_sdk_objects(kind: Any, document: dict[str, Any], facts: ResultFacts) -> None:
    """An SDK's object, however it was built, says what its document says."""
    made = (kind.model_validate(document), kind.construct(**document), document)
    assert [read_result(one) for one in made] == [facts] * 3


GOOGLE = SimpleNamespace(
    response_id="r-1",
    model_version="gemini-2.5-flash",
    candidates=[SimpleNamespace(finish_reason="MAX_TOKENS")],
    usage_metadata=SimpleNamespace(
        prompt_token_count=10,
        tool_use_prompt_token_count=5,
        candidates_token_count=3,
        thoughts_token_count=2,
        cached_content_token_count=4,
        total_token_count=20,
    ),
)
GOOGLE_WIRE = {
    "responseId": "r-1",
    "modelVersion": "gemini-2.5-flash",
    "candidates": [{"finishReason": "MAX_TOKENS"}],
    "usageMetadata": {
        "promptTokenCount": 10,
        "toolUsePromptTokenCount": 5,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 2,
        "cachedContentTokenCount": 4,
        "totalTokenCount": 20,
    },
}
GOOGLE_FACTS = ResultFacts(
    id="r-1",
    model="gemini-2.5-flash",
    usage=Usage(input_tokens=15, output_tokens=5, total_tokens=20, cache_read_tokens=4, reasoning_tokens=2),
    finish_reason=FinishReason.LENGTH,
)
CONVERSE = {
    "stopReason": "guardrail_intervened",
    "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 17, "cacheReadInputTokens": 10},
}
CONVERSE_FACTS = ResultFacts(
    usage=Usage(input_tokens=13, output_tokens=4, total_tokens=17, cache_read_tokens=10),
    finish_reason=FinishReason.CONTENT_FILTER,
)
COHERE = SimpleNamespace(
    id="c-1",
    finish_reason="TOOL_CALL",
    usage=SimpleNamespace(
        tokens=SimpleNamespace(input_tokens=10.0, output_tokens=3.0),
        billed_units=SimpleNamespace(input_tokens=4.0, output_tokens=3.0),
        cached_tokens=None,
    ),
)
COHERE_FACTS = ResultFacts(
    id="c-1",
    usage=Usage(input_tokens=10, output_tokens=3, total_tokens=13, billed_input_tokens=4, billed_output_tokens=3),
    finish_reason=FinishReason.TOOL_CALLS,
)
OLLAMA = SimpleNamespace(model="llama3.2", prompt_eval_count=5, eval_count=6, done_reason="length")
OLLAMA_FACTS = ResultFacts(
    model="llama3.2",
    usage=Usage(input_tokens=5, output_tokens=6, total_tokens=11),
    finish_reason=FinishReason.LENGTH,
)


@pytest.mark.parametrize(
    ("result", "facts"),
    [
        (GOOGLE, GOOGLE_FACTS),
        (GOOGLE_WIRE, GOOGLE_FACTS),
        (CONVERSE, CONVERSE_FACTS),
        (COHERE, COHERE_FACTS),
        (OLLAMA, OLLAMA_FACTS),
        (vars(OLLAMA), OLLAMA_FACTS),
    ],
    ids=["google", "google document", "bedrock", "cohere", "ollama", "ollama document"],
)
def test_every_provider_is_understood(result: object, facts: ResultFacts) -> None:
    """Each states its usage and its finish reason in words of its own."""
    assert read_result(result) == facts


@pytest.mark.parametrize("result", [{"input_tokens": 10}, {"tokens": 5}, {"inputTokens": 5}, {"prompt_tokens": 5}])
def test_counts_outside_of_a_usage_are_not_a_usage(result: object) -> None:
    """To count tokens is free; only Ollama states what it used beside the answer."""
    assert read_result(result) == ResultFacts()


def test_langchain_message() -> None:
    """LangChain's words for usage and finish reason are read."""
    message = SimpleNamespace(
        content="Paris.",
        usage_metadata={
            "input_tokens": 100,
            "output_tokens": 20,
            "total_tokens": 120,
            "input_token_details": {"cache_read": 30, "cache_creation": 10},
            "output_token_details": {"reasoning": 5},
        },
        response_metadata={"finish_reason": "stop", "model_name": "gpt-4o"},
    )
    usage = Usage(
        input_tokens=100,
        output_tokens=20,
        total_tokens=120,
        cache_read_tokens=30,
        cache_write_tokens=10,
        reasoning_tokens=5,
    )
    assert read_result(message) == ResultFacts(usage=usage, finish_reason=FinishReason.STOP)


# -- costs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "cost"),
    [
        ({"cost": 0.0036}, "0.0036"),
        ({"cost": "0.0036"}, "0.0036"),
        ({"cost": {"total_cost": 0.00000421}}, "0.00000421"),
        ({"cost": {"total_usd": "0.01"}}, "0.01"),
        ({"cost": {"total_cents": 0.36}}, "0.0036"),
        ({"cost_usd": Decimal("1E-12"), "cost": 5}, "1E-12"),
        ({"usage": {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.00012}}, "0.00012"),
        ({"usage": {"cost": 1, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.5}}}, "1.5"),
        ({"usage": {"cost_in_usd_ticks": 36_000_000}}, "0.0036"),
        ({"_hidden_params": {"response_cost": 0.0036}}, "0.0036"),
        (SimpleNamespace(_hidden_params=SimpleNamespace(response_cost=1e-7)), "1E-7"),
        ({"cost": 0}, "0"),
    ],
    ids=[
        *("float", "text", "total_cost", "total_usd", "cents", "cost_usd goes first", "OpenRouter", "OpenRouter BYOK"),
        *("xAI", "LiteLLM", "LiteLLM object", "free"),
    ],
)
def test_costs(result: object, cost: str) -> None:
    """A cost is exact, in whatever words it is stated."""
    stated = read_result(result).cost_usd
    assert (stated, type(stated)) == (Decimal(cost), Decimal)


def test_cost_of_an_sdk_object() -> None:
    """A gateway's field that the SDK's model does not know is read too."""
    document = {**COMPLETION, "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "cost": 0.00012}}
    assert read_result(ChatCompletion.model_validate(document)).cost_usd == Decimal("0.00012")


class Float(float):
    """Like numpy's: its repr is more than the number."""

    def __repr__(self) -> str:
        return f"Float({float(self)})"


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (0.1, Decimal("0.1")),
        (Float(0.1), Decimal("0.1")),
        (Decimal("0.0036"), Decimal("0.0036")),
        (3, Decimal(3)),
        (" 0.5 ", Decimal("0.5")),
        ("", None),
        ("much", None),
        ("sNaN", None),
        (float("nan"), None),
        (float("inf"), None),
        (Decimal("-Infinity"), None),
        (-0.01, None),
        (True, None),
        (10**16, None),
        (10**5000, None),
        (Decimal("1e-999999"), None),
        (None, None),
        ([1], None),
        (MagicMock(), None),
    ],
    ids=lambda value: f"{value:.20}" if isinstance(value, str) else type(value).__name__,
)
def test_amounts(value: object, read: Decimal | None) -> None:
    """What is no amount of money is unknown; what is one is exact."""
    assert amount(value) == read


@pytest.mark.parametrize(("value", "read"), [(0.36, Decimal("0.0036")), ("7", Decimal("0.07")), ("x", None)])
def test_cents(value: object, read: Decimal | None) -> None:
    """Cents become dollars, to the last digit."""
    assert cents(value) == read


def test_the_context_of_the_thread_changes_no_amount() -> None:
    """The application may have set a precision of its own."""
    with localcontext() as context:
        context.prec = 2
        assert (amount(0.123456), cents(12.3456)) == (Decimal("0.123456"), Decimal("0.123456"))


@given(st.decimals(min_value=0, max_value=1000, allow_nan=False, places=9))
def test_every_amount_survives(value: Decimal) -> None:
    """However small, nothing is rounded away."""
    assert read_result({"cost": value}).cost_usd == value
    assert read_result({"cost": str(value)}).cost_usd == value


# -- counts that make no sense ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (float("nan"), "NaN"),
        (12.5, "12.5"),
        (-1, "-1"),
        (10**15, "1000000000000000"),
        (10**5000, "1" + "0" * 19),
        ("12", "12"),
        (True, "True"),
        (Decimal("Infinity"), "Infinity"),
    ],
    ids=["NaN", "fraction", "negative", "absurd", "endless", "text", "bool", "infinite"],
)
def test_absurd_count_is_a_doubt(count: object, shown: str) -> None:
    """A count that is none is unknown, and it is said why."""
    usage = read_result({"usage": {"input_tokens": count, "output_tokens": 5}}).usage
    assert usage == Usage(output_tokens=5, doubts=(f"input_tokens is {shown!r}",))


@pytest.mark.parametrize(
    "usage",
    [None, {}, [], "12", 12, {"tokens": 12}, {"input_tokens": None}, {"input_tokens": [1]}, dict, object()],
    ids=["None", "empty", "list", "text", "number", "other words", "null", "list within", "function", "object"],
)
def test_usage_that_says_nothing(usage: object) -> None:
    """What is not stated is None, never zero."""
    assert read_result({"usage": usage}) == NOTHING


# -- things that are no results -----------------------------------------------------------------


class Hostile:
    """Every attribute raises."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__"):  # of pytest's, to show it
            return object.__getattribute__(self, name)
        raise RuntimeError(name)


class Unfaithful(dict[str, Any]):
    """A mapping that cannot be read."""

    def get(self, key: str, default: Any = None) -> Any:
        raise KeyError(key)


class Endless:
    """Whatever it is asked for, it is itself."""

    def __getattr__(self, name: str) -> Endless:
        return self


def recursive() -> dict[str, Any]:
    """A mapping that contains itself everywhere."""
    thing: dict[str, Any] = {}
    for key in ("usage", "choices", "delta", "cost", "prompt_tokens_details", "error_", "_hidden_params"):
        thing[key] = thing
    return thing


@pytest.mark.parametrize(
    "thing",
    [
        *(
            None,
            "text",
            b"bytes",
            3,
            0.5,
            True,
            [],
            ["usage"],
            (),
            {},
            {"usage": None},
            object(),
            dict,
            ValueError("x"),
        ),
        *(MagicMock(), NonCallableMagicMock(), MagicMock(spec=ChatCompletion), MagicMock(spec=dict)),
        *(Hostile(), Unfaithful(usage={}), recursive(), {"choices": [None, 3, "x", []]}, {"choices": "stop"}),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_what_says_nothing(thing: object) -> None:
    """Unknown stays unknown, and nothing raises."""
    assert read_result(thing) == NOTHING


def test_object_that_is_always_there() -> None:
    """An object without end is read to an end."""
    assert read_result(Endless()) == ResultFacts(error="Endless")


def test_nothing_is_called() -> None:
    """A mock that is read was not called, nor was any of its parts."""
    mock = MagicMock()
    read_result(mock)
    assert mock.mock_calls == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*EXTRA, *TOKENS, "error", "choices", "delta", "total_cents"]), inner)
        ),
        max_leaves=12,
    )
)
def test_no_document_can_break_it(document: object) -> None:
    """Whatever is stated under the keys that are read, reading goes well."""
    assert isinstance(read_result(document), ResultFacts)


# -- finish reasons ---------------------------------------------------------------------------


def chunk(finish: str | None) -> ChatCompletionChunk:
    """A piece of OpenAI's stream."""
    choices = [{"index": 0, "delta": {"content": ""}, "finish_reason": finish}]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}
    return ChatCompletionChunk.model_validate({**head, "choices": choices})


def message_delta(stop: str) -> RawMessageDeltaEvent:
    """The piece of Anthropic's stream that says how it ended."""
    delta = {"stop_reason": stop, "stop_sequence": None}
    return RawMessageDeltaEvent.model_validate({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5}})


@pytest.mark.parametrize(
    ("piece", "reason"),
    [
        (chunk("stop"), FinishReason.STOP),
        (chunk("content_filter"), FinishReason.CONTENT_FILTER),
        (chunk(None), None),
        (message_delta("max_tokens"), FinishReason.LENGTH),
        (message_delta("end_turn"), FinishReason.STOP),
        ({"stop_reason": "refusal"}, FinishReason.REFUSAL),
        ({"finish_reason": "bored"}, FinishReason.UNKNOWN),
        ({"finish_reason": ""}, None),
        ({"choices": [{"finish_reason": "stop"}, {"finish_reason": "length"}]}, FinishReason.LENGTH),
        ({"choices": [{"finish_reason": None}, {"finish_reason": "stop"}]}, FinishReason.STOP),
        ({"finish_reason": FinishReason.ERROR}, FinishReason.ERROR),
    ],
    ids=[
        *("chunk", "filtered", "not yet", "Anthropic", "Anthropic's stop", "a word", "a new word", "empty"),
        *("one was cut", "the second", "our own"),
    ],
)
def test_finish_reasons(piece: object, reason: FinishReason | None) -> None:
    """Why the model stopped, in one word for all providers."""
    assert finish_reason(piece) == reason


# -- errors -----------------------------------------------------------------------------------


class Failure(Enum):
    """An application's own errors."""

    TIMEOUT = "timeout"


class BadGatewayError(Exception):
    """An application's own exception."""

    code: ClassVar[int] = 502


@pytest.mark.parametrize(
    ("error", "read"),
    [
        ("rate limited", "rate limited"),
        (True, "error"),
        (503, "503"),
        ({"code": "context_length_exceeded", "message": "too long"}, "context_length_exceeded"),
        ({"code": 429, "message": "slow down"}, "429"),
        ({"code": None, "type": "server_error"}, "server_error"),
        ({"message": "Incorrect API key: sk-abcdefghijklmnop1234"}, "Incorrect API key: [redacted]"),
        (["timeout"], "list"),
        (ValueError("secret prompt"), "ValueError"),
        (BadGatewayError(), "502"),
        (Failure.TIMEOUT, "Failure"),
        ("x" * 500, "x" * 200),
        (None, None),
        (False, None),
        ("", None),
        (0, None),
        ({}, None),
        ([], None),
        (lambda: "no error", None),
        (MagicMock(), None),
    ],
    ids=[
        *("text", "true", "status", "code", "numeric code", "type", "credential", "list", "exception"),
        *("exception with a code", "enum", "long", "None", "false", "empty", "zero", "no keys", "no items"),
        *("method", "mock"),
    ],
)
def test_errors(error: object, read: str | None) -> None:
    """A result that says that it failed is named; what a mock or a method says is nothing."""
    assert read_result({"error": error}).error == read


@pytest.mark.parametrize(
    ("make", "says"),
    [(lambda: {"usage": {"total_tokens": 1}}, True), (lambda: {"cost": 0}, True), (lambda: {"id": "a"}, False)],
    ids=["usage", "cost", "neither"],
)
def test_says_something(make: Callable[[], object], says: bool) -> None:
    """Usage or cost is what a call can be counted by."""
    assert read_result(make()).says_something is says
