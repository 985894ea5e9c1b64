"""Spans around an application's own calls: what they tell, and that the code inside does not notice."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from decimal import Decimal
from typing import Any

import pytest

from pytest_llmtelemetry.facts import FinishReason
from pytest_llmtelemetry.recording import owner as owners
from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import (
    FixedClock,
    bus,
    embedding_call,
    instrument,
    instrument_cache_lookup,
    instrument_cache_store,
    instrument_context_truncation,
    instrument_http,
    instrument_provider,
)
from pytest_llmtelemetry.telemetry.clock import set_clock


ABOUT = {"provider": "acme", "model": "acme-1"}
ANSWER = {
    "id": "a-1",
    "text": "Paris.",
    "usage": {"input_tokens": 10, "output_tokens": 5},
    "cost": 0.0036,
    "finish_reason": "stop",
}

HELPERS: Mapping[str, Callable[[], Any]] = {
    "instrument": lambda: instrument("llm.chat.call", ABOUT),
    "own name": lambda: instrument("app.answer"),
    "provider": lambda: instrument_provider("acme", "acme-1"),
    "http": lambda: instrument_http("post", "https://api.example.com"),
    "embedding": lambda: embedding_call("acme", "embed-1"),
    "truncation": lambda: instrument_context_truncation(strategy="newest"),
    "lookup": lambda: instrument_cache_lookup("greeting"),
    "store": lambda: instrument_cache_store("greeting"),
}
each_helper = pytest.mark.parametrize("helper", HELPERS.values(), ids=HELPERS.keys())


def failures(heard: list[Event]) -> list[tuple[str, str]]:
    """What instrumentation says that it could not do."""
    return [(event["where"], event["error_type"]) for event in heard if event.name == bus.INSTRUMENT_FAILURE]


# -- transparency -----------------------------------------------------------------------------


class OopsError(Exception):
    """The application's own."""


def plain(value: object) -> object:
    """Return it, or raise it."""
    if isinstance(value, BaseException):
        raise value
    return value


async def coroutine(value: object) -> object:
    return plain(value)


def generator(value: object) -> Generator[object, object, object]:
    yield 1
    return plain(value)


async def async_generator(value: object) -> AsyncGenerator[object, None]:
    yield plain(value)


KINDS: tuple[Callable[[Any], Any], ...] = (plain, coroutine, generator, async_generator)


async def outcome(fn: Callable[[Any], Any], value: object) -> object:
    """What comes of a function of any kind."""
    made = fn(value)
    if inspect.isasyncgen(made):
        return await anext(made)
    if inspect.iscoroutine(made):
        return await made
    if inspect.isgenerator(made):
        try:
            next(made)
            next(made)
        except StopIteration as stop:
            return stop.value
    return made


@each_helper
@pytest.mark.parametrize("fn", KINDS)
async def test_what_is_returned_is_untouched(helper: Callable[[], Any], fn: Callable[[Any], Any]) -> None:
    """A decorated function of any kind gives the very object that it gives without."""
    value = object()
    assert await outcome(helper()(fn), value) is value


@each_helper
@pytest.mark.parametrize("fn", KINDS)
@pytest.mark.parametrize(
    "error", [OopsError("no"), KeyboardInterrupt(), asyncio.CancelledError()], ids=lambda error: type(error).__name__
)
async def test_what_is_raised_is_untouched(
    helper: Callable[[], Any], fn: Callable[[Any], Any], error: BaseException
) -> None:
    """A decorated function raises the very exception, and its traceback ends where it was raised."""
    with pytest.raises(type(error)) as caught:
        await outcome(helper()(fn), error)
    assert caught.value is error
    assert traceback.extract_tb(error.__traceback__)[-1].name == "plain"
    assert (error.__cause__, error.__context__, getattr(error, "__notes__", [])) == (None, None, [])


@each_helper
@pytest.mark.parametrize("fn", KINDS)
def test_kind_and_names_are_kept(helper: Callable[[], Any], fn: Callable[[Any], Any]) -> None:
    """Whoever inspects a decorated function sees the function."""
    wrapped = helper()(fn)
    questions = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    assert [ask(wrapped) for ask in questions] == [ask(fn) for ask in questions]
    assert (wrapped.__name__, wrapped.__doc__, wrapped.__wrapped__) == (fn.__name__, fn.__doc__, fn)
    assert inspect.signature(wrapped) == inspect.signature(fn)


@each_helper
@pytest.mark.parametrize("error", [OopsError("no"), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
async def test_blocks_pass_exceptions_on(helper: Callable[[], Any], error: BaseException) -> None:
    """A ``with`` or ``async with`` block raises what was raised in it."""
    with pytest.raises(type(error)) as caught, helper():
        raise error
    assert caught.value is error
    with pytest.raises(type(error)) as caught:
        async with helper():
            raise error
    assert caught.value is error


@each_helper
async def test_blocks_emit_the_same(helper: Callable[[], Any], heard: list[Event]) -> None:
    """``with`` and ``async with`` tell the same story."""
    with helper() as one:
        one.result = {"status": 200}
    sync_names = [event.name for event in heard]
    heard.clear()
    async with helper() as one:
        one.result = {"status": 200}
    assert [event.name for event in heard] == sync_names
    assert sync_names


@each_helper
def test_helper_may_be_used_again(helper: Callable[[], Any], heard: list[Event]) -> None:
    """One object around many calls, also recursive ones, tells of each."""
    one = helper()

    def fall(depth: int) -> int:
        return depth and falling(depth - 1)

    falling: Callable[[int], int] = one(fall)
    falling(2)
    ends = [event.name for event in heard if not event.name.endswith(".start")]
    assert len(ends) == 3


# -- what cannot be read ------------------------------------------------------------------------


class Unreadable:
    """Not even its kind can be asked for, as of a proxy that stands for nothing."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("working outside of a context")


SPANS = ("instrument", "own name", "provider", "embedding")


@pytest.mark.parametrize("name", SPANS)
def test_result_that_cannot_be_read(name: str, heard: list[Event]) -> None:
    """The result is returned all the same, the span ends, and the failure is told."""
    thing = Unreadable()
    assert HELPERS[name]()(lambda: thing)() is thing
    span = heard[0].name.removesuffix(".start")
    assert [event.name for event in heard] == [f"{span}.start", bus.INSTRUMENT_FAILURE, f"{span}.stop"]
    assert failures(heard) == [(f"the result of {span}", "RuntimeError")]


def test_metadata_of_each_call(heard: list[Event]) -> None:
    """Metadata may be made of the arguments."""

    @instrument("llm.chat.call", lambda question, model: {"provider": "acme", "model": model})
    def ask(question: str, model: str) -> None:
        pass

    ask("?", model="acme-2")
    assert [(event["provider"], event["model"]) for event in heard] == [("acme", "acme-2")] * 2


def test_metadata_that_raise(heard: list[Event]) -> None:
    """A call whose metadata cannot be made is a span without."""
    assert instrument("app.answer", lambda: 1 / 0)(lambda: 3)() == 3  # type: ignore[arg-type, return-value]
    assert failures(heard) == [("the metadata of app.answer", "ZeroDivisionError")]
    assert [event.name for event in heard] == [bus.INSTRUMENT_FAILURE, "app.answer.start", "app.answer.stop"]


# -- what is told -------------------------------------------------------------------------------


@pytest.fixture
def clock() -> Any:
    """A clock that stands still."""
    one = FixedClock()
    undo = set_clock(one)
    yield one
    undo()


def test_a_chat_call(clock: FixedClock, heard: list[Event]) -> None:
    """Usage, cost, finish reason and the id of the answer are at the end; the money is told after it."""

    @instrument("llm.chat.call", {**ABOUT, "session": True})
    def ask() -> object:
        clock.advance(ms=250)
        return ANSWER

    ask()
    start, stop, bill = heard
    assert (start.name, stop.name, bill.name) == ("llm.chat.call.start", "llm.chat.call.stop", "llm.cost.calculated")
    assert start.metadata == {**ABOUT, "session": True, "span_id": 1, "parent_id": None}
    assert stop.measurements == {
        "input_tokens": 10,
        "output_tokens": 5,
        "total_tokens": 15,
        "cost_usd": Decimal("0.0036"),
        "duration_ns": 250_000_000,
        "monotonic_time_ns": 250_000_000,
    }
    assert stop.metadata == {
        **ABOUT,
        "session": True,
        "finish_reason": FinishReason.STOP,
        "response_id": "a-1",
        "accounted_span_id": 1,
        "success": True,
        "span_id": 1,
        "parent_id": None,
    }


@pytest.mark.parametrize("name", ["llm.chat.call", "app.answer"])
def test_what_is_set_by_hand_counts(name: str, heard: list[Event]) -> None:
    """A measurement that the application sets is not overwritten by what its result states."""
    with instrument(name, ABOUT) as span:
        span.measurements["input_tokens"] = 11
        span.error = "my own"
        span.result = {**ANSWER, "error": "the result's"}
    stop = next(event for event in heard if event.name == f"{name}.stop")
    assert (stop["input_tokens"], stop["output_tokens"], stop["error"]) == (11, 5, "my own")


def test_result_that_failed(heard: list[Event]) -> None:
    """A result with an error is a stop without success, not an exception."""
    with instrument("llm.chat.call", ABOUT) as span:
        span.result = {"error": {"code": "overloaded"}}
    stop = heard[-1]
    assert (stop.name, stop["success"], stop["error"]) == ("llm.chat.call.stop", False, "overloaded")


def test_result_and_exception(heard: list[Event]) -> None:
    """A block that raises after it had its answer has still spent the money."""

    def ask() -> None:
        with instrument("llm.chat.call", ABOUT) as span:
            span.result = ANSWER
            raise OopsError

    with pytest.raises(OopsError):
        ask()
    names = ["llm.chat.call.start", "llm.chat.call.exception", "llm.cost.calculated"]
    assert [event.name for event in heard] == names
    assert (heard[1]["success"], heard[1]["total_tokens"]) == (False, 15)


def test_result_of_a_generator(heard: list[Event]) -> None:
    """What a generator returns is its result; its items are not looked at."""

    @instrument("llm.chat.call", ABOUT)
    def stream() -> Generator[object, None, object]:
        yield {"usage": {"total_tokens": 99}}
        return ANSWER

    list(stream())
    stop = next(event for event in heard if event.name == "llm.chat.call.stop")
    assert stop["total_tokens"] == 15


def test_answer_that_was_cut(heard: list[Event]) -> None:
    """An answer that nobody else has seen is announced as truncated."""
    with instrument_provider("acme", "acme-1", {"max_tokens": 5}) as span:
        span.result = {**ANSWER, "finish_reason": "length"}
    cut = next(event for event in heard if event.name == "llm.response.truncated")
    assert cut.measurements == {"output_tokens": 5, "max_tokens": 5}
    assert cut.metadata == {
        **ABOUT,
        "finish_reason": "length",
        "source": "application",
        "owner": owners.current(),
        **span.ids,
    }


def test_cut_is_told_once(heard: list[Event]) -> None:
    """Two layers around one answer announce one truncation."""
    answer = {**ANSWER, "finish_reason": "length"}
    with instrument("llm.chat.call", ABOUT) as outer:
        with instrument_provider("acme", "acme-1") as inner:
            inner.result = answer
        outer.result = answer
    assert [event.name for event in heard].count("llm.response.truncated") == 1


@pytest.mark.parametrize(
    ("opts", "kept"),
    [
        (None, {"stream": False}),
        ({"temperature": 0, "max_tokens": 5, "stream": True}, {"stream": True, "temperature": 0, "max_tokens": 5}),
        ({"temperature": "hot", "api_key": "sk-abcdefghijklmnop1234", "messages": []}, {"stream": False}),
    ],
    ids=["none", "all", "others"],
)
def test_options_of_a_request(opts: dict[str, object] | None, kept: dict[str, object], heard: list[Event]) -> None:
    """Of a request's options only three are kept."""
    with instrument_provider("acme", "acme-1", opts, operation="other"):
        pass
    expected = {**ABOUT, "requested_model": "acme-1", "operation": "other", "source": "application", **kept}
    assert {key: value for key, value in heard[0].metadata.items() if not key.endswith("_id")} == expected


@pytest.mark.parametrize("make", [instrument_provider, embedding_call], ids=["request", "embedding"])
def test_provider_and_model_of_each_call(make: Callable[..., Any], heard: list[Event]) -> None:
    """As a decorator, provider and model may be functions of the arguments."""

    def echo(model: str, text: str) -> str:
        return text

    call = make("acme", lambda model, text: model)(echo)
    assert [call("acme-1", "a"), call("acme-2", text="b")] == ["a", "b"]
    assert [(event["provider"], event["model"]) for event in heard if event.name.endswith(".start")] == [
        ("acme", "acme-1"),
        ("acme", "acme-2"),
    ]


def test_embedding(heard: list[Event]) -> None:
    """How many texts were embedded is a measurement."""
    with embedding_call("acme", "embed-1", inputs=2) as span:
        span.result = {"usage": {"prompt_tokens": 8, "total_tokens": 8}}
    stop = heard[1]
    assert (stop.name, stop["inputs"], stop["input_tokens"]) == ("llm.embedding.call.stop", 2, 8)


def test_mocked_call(heard: list[Event]) -> None:
    """A call that nobody is paid for is told as one."""
    with instrument("llm.chat.call", {**ABOUT, "served_by": "mock"}) as span:
        span.result = ANSWER
    assert heard[-1]["served_by"] == "mock"
