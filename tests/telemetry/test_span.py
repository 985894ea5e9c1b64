"""Spans: a beginning, exactly one end, and whose child it is."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import itertools
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ClassVar

import pytest

from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import FixedClock, Span, attach, current_span, instrument, span
from pytest_llmtelemetry.telemetry.clock import set_clock


class Ticker(FixedClock):
    """A clock that advances by 5 ns each time that it is read."""

    def __init__(self) -> None:
        super().__init__(wall_ns=WALL)
        self._ticks = itertools.count(0, 5)

    def now_ns(self) -> int:
        return next(self._ticks)


WALL = 1_000_000
BEGAN = {"monotonic_time_ns": 0, "system_time_ns": WALL}
"""What the first span says of its start."""
ENDED = {"duration_ns": 5, "monotonic_time_ns": 10}
"""What it says of its end, if nobody else looks at the clock."""


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    undo = set_clock(Ticker())
    yield
    undo()


def told(events: list[Event]) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Events as plain values."""
    return [(event.name, dict(event.measurements), dict(event.metadata)) for event in events]


def lineage(events: list[Event]) -> list[tuple[str, int, int | None]]:
    """Which event belongs to which span, and whose child that is; spans are numbered from 1 in order of birth."""
    numbers: dict[int | None, int] = {}
    for event in events:
        numbers.setdefault(event["span_id"], len(numbers) + 1)
    return [(event.name, numbers[event["span_id"]], numbers.get(event["parent_id"])) for event in events]


# -- one start, one end -----------------------------------------------------------------


def test_span_emits_start_and_stop(heard: list[Event]) -> None:
    """A block that ends well emits .start and .stop, with what was said about it."""
    with span("app.answer", {"model": "gpt-4o"}) as work:
        work.measurements["documents"] = 3
        work.metadata["topic"] = "refunds"
    ids = {"span_id": work.id, "parent_id": None}
    assert told(heard) == [
        ("app.answer.start", BEGAN, {"model": "gpt-4o", **ids}),
        (
            "app.answer.stop",
            {"documents": 3, **ENDED},
            {"model": "gpt-4o", "topic": "refunds", "success": True, **ids},
        ),
    ]


def test_span_emits_start_and_exception(heard: list[Event]) -> None:
    """A block that raises emits .start and .exception, with the type of the error."""
    with pytest.raises(ZeroDivisionError), span("app.answer", {"model": "gpt-4o"}) as work:
        raise ZeroDivisionError
    ids = {"span_id": work.id, "parent_id": None}
    assert told(heard) == [
        ("app.answer.start", BEGAN, {"model": "gpt-4o", **ids}),
        (
            "app.answer.exception",
            ENDED,
            {"model": "gpt-4o", "error_type": "ZeroDivisionError", "success": False, **ids},
        ),
    ]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        KeyboardInterrupt(),
        SystemExit(2),
        asyncio.CancelledError(),
        GeneratorExit(),
        pytest.fail.Exception("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_span_raises_the_same_exception_again(error: BaseException, heard: list[Event]) -> None:
    """Whatever is raised inside leaves the block as the same object, and ends the span."""
    with pytest.raises(type(error)) as caught, span("x"):
        raise error
    assert caught.value is error
    assert error.__context__ is None
    assert [event.name for event in heard] == ["x.start", "x.exception"]


def test_exception_of_a_library_is_named_with_its_module(heard: list[Event]) -> None:
    """An error that is not a builtin is named in full."""

    class OddError(Exception):
        pass

    with pytest.raises(OddError), span("x"):
        raise OddError
    assert heard[1]["error_type"] == f"{__name__}.{OddError.__qualname__}"


def test_error_type_that_was_stated_is_kept(heard: list[Event]) -> None:
    """The provider's own word for the error wins over the name of the exception."""
    with pytest.raises(ZeroDivisionError), span("x", {"error_type": "overloaded_error"}):
        raise ZeroDivisionError
    assert heard[1]["error_type"] == "overloaded_error"


@pytest.mark.parametrize("error", ["rate_limit", 0, False, ValueError("x")], ids=repr)
def test_result_that_says_it_failed_is_a_stop_without_success(error: object, heard: list[Event]) -> None:
    """An error that is stated, not raised, makes .stop with success=False."""
    with span("x") as work:
        work.error = error
    assert told(heard)[1] == (
        "x.stop",
        ENDED,
        {"success": False, "error": error, "span_id": work.id, "parent_id": None},
    )


def test_what_only_the_span_knows_cannot_be_overwritten(heard: list[Event]) -> None:
    """Its times, success and the ids are the span's own."""
    with span("x", {"span_id": "mine", "parent_id": "mine"}) as work:
        work.measurements |= {"duration_ns": -1, "monotonic_time_ns": -1}
        work.metadata["success"] = "mine"
    ids = {"span_id": work.id, "parent_id": None}
    assert told(heard) == [
        ("x.start", BEGAN, ids),
        ("x.stop", ENDED, {"success": True, **ids}),
    ]


@pytest.mark.parametrize("first", ["stop", "fail"])
@pytest.mark.parametrize("second", ["stop", "fail"])
def test_only_the_first_end_counts(first: str, second: str, heard: list[Event]) -> None:
    """A span that has ended emits nothing more, and keeps its duration."""
    work = Span("x")
    ends: dict[str, Callable[[], None]] = {"stop": work.stop, "fail": lambda: work.fail(ValueError())}
    states = [work.ended]
    ends[first]()
    ends[second]()
    states.append(work.ended)
    assert states == [False, True]
    assert [event.name for event in heard] == ["x.start", {"stop": "x.stop", "fail": "x.exception"}[first]]
    assert work.measurements == ENDED


def test_span_may_be_stopped_inside_its_block(heard: list[Event]) -> None:
    """What is added after the end is not told."""
    with span("x") as work:
        work.stop()
        work.metadata["late"] = True
    assert [event.name for event in heard] == ["x.start", "x.stop"]
    assert "late" not in heard[1]


def test_metadata_of_the_caller_is_left_alone() -> None:
    """What is added to a span does not reach the mapping that it was begun with."""
    metadata = {"model": "gpt-4o"}
    with span("x", metadata) as work:
        work.metadata["topic"] = "refunds"
    assert metadata == {"model": "gpt-4o"}


def test_failing_handler_does_not_reach_the_block(heard: list[Event], caplog: pytest.LogCaptureFixture) -> None:
    """A handler that raises on .start or .stop leaves the block and its span alone."""
    for name in ("x.start", "x.stop"):
        attach(name, name, lambda event, measurements, metadata, config: metadata["no such key"])
    with span("x"):
        pass
    failure = "telemetry.handler.failure"
    assert [event.name for event in heard] == ["x.start", failure, "x.stop", failure]
    assert len(caplog.records) == 2


@pytest.mark.parametrize("end", ["start", "stop", "exception"])
@pytest.mark.parametrize("error", [pytest.fail.Exception("judged"), KeyboardInterrupt()], ids=["fail", "interrupt"])
def test_verdict_of_a_handler_reaches_the_caller(end: str, error: BaseException, heard: list[Event]) -> None:
    """What a handler says by failing the test, or an interrupt, comes out; the span has one end all the same."""

    def judge(*args: object) -> None:
        raise error

    @span("x")
    def work() -> None:
        if end == "exception":
            raise ValueError

    attach("judge", f"x.{end}", judge)
    with pytest.raises(type(error)) as caught:
        work()
    assert caught.value is error
    assert [event.name for event in heard] == ["x.start", "x.stop" if end == "stop" else "x.exception"]
    assert current_span() is None


@pytest.mark.parametrize("decorate", [span, instrument], ids=["span", "instrument"])
def test_verdict_of_a_handler_is_no_failure_of_the_work(
    decorate: Callable[[str], Callable[[Callable[[], int]], Callable[[], int]]], heard: list[Event]
) -> None:
    """Work that ended well before a handler failed the test is not told again as failed."""
    attach("judge", "x.stop", lambda *args: pytest.fail("judged"))

    @decorate("x")
    def work() -> int:
        return 1

    with pytest.raises(pytest.fail.Exception, match="judged"):
        work()
    assert [event.name for event in heard] == ["x.start", "x.stop"]


# -- parents ----------------------------------------------------------------------------


def test_spans_nest(heard: list[Event]) -> None:
    """A span inside another is its child; afterwards the outer one is current again."""
    assert current_span() is None
    with span("outer") as outer:
        with span("inner") as inner:
            assert current_span() is inner
        assert current_span() is outer
        with span("inner"):
            pass
    assert current_span() is None
    assert lineage(heard) == [
        ("outer.start", 1, None),
        ("inner.start", 2, 1),
        ("inner.stop", 2, 1),
        ("inner.start", 3, 1),
        ("inner.stop", 3, 1),
        ("outer.stop", 1, None),
    ]


def test_span_that_failed_is_no_longer_current() -> None:
    """An exception leaves no span open."""
    with span("outer") as outer:
        with pytest.raises(ValueError, match="x"), span("inner"):
            raise ValueError("x")
        assert current_span() is outer


async def test_tasks_are_children_of_the_span_that_began_them(heard: list[Event]) -> None:
    """Concurrent tasks see the span around them, and not one another's."""

    async def work(name: str) -> None:
        with span(name):
            await asyncio.sleep(0)
            with span(f"{name}.step"):
                await asyncio.sleep(0)

    with span("outer") as outer:
        await asyncio.gather(work("a"), work("b"))
        assert current_span() is outer
    assert [row for row in lineage(heard) if row[0].endswith(".start")] == [
        ("outer.start", 1, None),
        ("a.start", 2, 1),
        ("b.start", 3, 1),
        ("a.step.start", 4, 2),
        ("b.step.start", 5, 3),
    ]


def test_thread_begins_without_a_span() -> None:
    """A new thread has a context of its own; with a copy of the context it is a child."""
    seen: list[Span | None] = []
    with span("outer") as outer:
        context = contextvars.copy_context()
        for run in (lambda: seen.append(current_span()), lambda: context.run(lambda: seen.append(current_span()))):
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
    assert seen == [None, outer]


# -- async blocks -----------------------------------------------------------------------


async def test_span_is_an_async_context_manager_too(heard: list[Event]) -> None:
    """`async with` does what `with` does."""
    async with span("x", {"n": 1}) as work:
        assert current_span() is work
    with pytest.raises(ValueError, match="odd"):
        async with span("x"):
            raise ValueError("odd")
    assert [event.name for event in heard] == ["x.start", "x.stop", "x.start", "x.exception"]


async def test_cancelled_task_ends_its_span(heard: list[Event]) -> None:
    """A task that is cancelled inside a span emits .exception, and stays cancelled."""

    async def work() -> None:
        async with span("x"):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert [event.name for event in heard] == ["x.start", "x.exception"]
    assert heard[1]["error_type"] == "asyncio.exceptions.CancelledError"


def test_span_may_be_left_in_another_context(heard: list[Event]) -> None:
    """A generator that is finished elsewhere, as frameworks do with dependencies, ends its span without an error."""

    def dependency() -> Iterator[None]:
        with span("x"):
            yield

    generator = dependency()
    contextvars.copy_context().run(next, generator)
    contextvars.copy_context().run(lambda: next(generator, None))
    assert [event.name for event in heard] == ["x.start", "x.stop"]


async def test_async_generator_may_be_closed_in_another_task(heard: list[Event]) -> None:
    """The same for async generators: begun in one task, closed in another."""

    async def dependency() -> AsyncIterator[int]:
        async with span("x"):
            yield 1

    generator = dependency()
    await asyncio.create_task(anext(generator))  # type: ignore[arg-type]
    assert await asyncio.create_task(anext(generator, 2)) == 2
    assert [event.name for event in heard] == ["x.start", "x.stop"]


async def test_one_span_object_may_be_entered_by_several_tasks(heard: list[Event]) -> None:
    """Tasks that enter the same object have a span each, and each ends its own."""
    shared = span("x")
    both_inside = asyncio.Barrier(2)

    async def work(name: str) -> None:
        async with shared as mine:
            await both_inside.wait()
            assert current_span() is mine
            mine.metadata["task"] = name
            if name == "b":
                await asyncio.sleep(0)
        assert current_span() is None

    await asyncio.gather(work("a"), work("b"))
    assert lineage(heard) == [("x.start", 1, None), ("x.start", 2, None), ("x.stop", 1, None), ("x.stop", 2, None)]
    assert [event["task"] for event in heard[2:]] == ["a", "b"]


def test_one_span_object_may_be_entered_again(heard: list[Event]) -> None:
    """Inside itself, and after itself, the same object begins a new span."""
    shared = span("x")
    with shared, shared:
        pass
    with shared:
        pass
    assert lineage(heard) == [
        ("x.start", 1, None),
        ("x.start", 2, 1),
        ("x.stop", 2, 1),
        ("x.stop", 1, None),
        ("x.start", 3, None),
        ("x.stop", 3, None),
    ]


# -- the decorator ----------------------------------------------------------------------


@span("app.add", {"unit": "apples"})
def add(first: int, *, second: int = 2) -> int:
    """Add two numbers."""
    return first + second


@span("app.add")
async def add_later(first: int, *, second: int = 2) -> int:
    """Add two numbers, later."""
    await asyncio.sleep(0)
    return first + second


@pytest.mark.parametrize(
    ("fn", "name", "doc"),
    [(add, "add", "Add two numbers."), (add_later, "add_later", "Add two numbers, later.")],
)
def test_decorated_function_keeps_its_face(fn: Callable[..., object], name: str, doc: str) -> None:
    """Name, docstring and signature are those of the function."""
    assert (fn.__name__, fn.__doc__) == (name, doc)
    assert [*inspect.signature(fn).parameters] == ["first", "second"]
    assert inspect.iscoroutinefunction(fn) is (fn is add_later)


def test_decorated_function_returns_its_result_in_a_span(heard: list[Event]) -> None:
    """Arguments and result pass through, and the call is a span."""
    assert add(1, second=4) == 5
    ids = {"span_id": heard[0]["span_id"], "parent_id": None}
    assert told(heard) == [
        ("app.add.start", BEGAN, {"unit": "apples", **ids}),
        ("app.add.stop", ENDED, {"unit": "apples", "success": True, **ids}),
    ]


async def test_decorated_coroutine_returns_its_result_in_a_span(heard: list[Event]) -> None:
    """The span of a coroutine function lasts until the result is there."""
    pending = add_later(1, second=4)
    assert heard == []
    assert await pending == 5
    assert [event.name for event in heard] == ["app.add.start", "app.add.stop"]


@span("x")
async def _fails_later() -> None:
    raise LookupError("odd")


@span("x")
def _fails() -> None:
    raise LookupError("odd")


@pytest.mark.parametrize("run", [_fails, lambda: asyncio.run(_fails_later())], ids=["function", "coroutine function"])
def test_decorated_function_that_raises(run: Callable[[], None], heard: list[Event]) -> None:
    """The exception of the function passes through, and the span ends with it."""
    with pytest.raises(LookupError, match="odd"):
        run()
    assert [(event.name, event.metadata.get("error_type")) for event in heard] == [
        ("x.start", None),
        ("x.exception", "LookupError"),
    ]


def test_recursion_makes_a_span_for_each_call(heard: list[Event]) -> None:
    """A decorated function that calls itself is its own child."""

    @span("x")
    def count(n: int) -> int:
        return 0 if n == 0 else 1 + count(n - 1)

    assert count(2) == 2
    assert lineage(heard) == [
        ("x.start", 1, None),
        ("x.start", 2, 1),
        ("x.start", 3, 2),
        ("x.stop", 3, 2),
        ("x.stop", 2, 1),
        ("x.stop", 1, None),
    ]


async def test_concurrent_calls_make_a_span_each(heard: list[Event]) -> None:
    """Calls that overlap in asyncio.gather have separate spans, with the same parent."""
    with span("outer"):
        assert await asyncio.gather(add_later(1), add_later(2), add_later(3)) == [3, 4, 5]  # type: ignore[comparison-overlap]
    assert sorted(lineage(heard), key=lambda row: row[1]) == [
        ("outer.start", 1, None),
        ("outer.stop", 1, None),
        ("app.add.start", 2, 1),
        ("app.add.stop", 2, 1),
        ("app.add.start", 3, 1),
        ("app.add.stop", 3, 1),
        ("app.add.start", 4, 1),
        ("app.add.stop", 4, 1),
    ]


def test_threads_make_a_span_each(heard: list[Event]) -> None:
    """Calls that overlap in threads have separate spans, and every one ends."""
    both_inside = threading.Barrier(4, timeout=10)

    @span("x")
    def work() -> None:
        both_inside.wait()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = lineage(heard)
    assert sorted(rows) == sorted((f"x.{end}", n, None) for end in ("start", "stop") for n in range(1, 5))


def test_decorated_method_keeps_its_self(heard: list[Event]) -> None:
    """Methods can be decorated."""

    class Bot:
        def __init__(self) -> None:
            self.name = "bot"

        @span("bot.answer")
        def answer(self) -> str:
            return self.name

    assert Bot().answer() == "bot"
    assert [event.name for event in heard] == ["bot.answer.start", "bot.answer.stop"]


class Answer:
    """What a model says."""

    usage: ClassVar[dict[str, int]] = {"total_tokens": 12}


def test_result_of_a_call_is_not_kept(heard: list[Event]) -> None:
    """An answer that was counted is freed when its user lets go of it."""

    @instrument("llm.chat.call", {"provider": "acme", "model": "acme-1"})
    def chat() -> Answer:
        return Answer()

    kept = weakref.ref(chat())
    assert [event.name for event in heard] == ["llm.chat.call.start", "llm.chat.call.stop", "llm.cost.calculated"]
    assert kept() is None


# -- metadata that depends on the call ----------------------------------------------------


def about(question: str, *, model: str = "gpt-4o") -> dict[str, Any]:
    """What a span says of a call with these arguments."""
    return {"length": len(question), "model": model}


@span("x", about)
def ask(question: str, *, model: str = "gpt-4o") -> str:
    """Ask."""
    return question


@span("x", about)
async def ask_later(question: str, *, model: str = "gpt-4o") -> str:
    """Ask, later."""
    return question


@span("x", about)
def ask_in_pieces(question: str, *, model: str = "gpt-4o") -> Iterator[str]:
    """Ask, and be answered in pieces."""
    yield question


@span("x", about)
async def ask_in_pieces_later(question: str, *, model: str = "gpt-4o") -> AsyncIterator[str]:
    """The same, later."""
    yield question


async def _read(pieces: AsyncIterator[str]) -> list[str]:
    return [piece async for piece in pieces]


@pytest.mark.parametrize(
    "call",
    [
        ask,
        lambda *args, **kwargs: asyncio.run(ask_later(*args, **kwargs)),
        lambda *args, **kwargs: list(ask_in_pieces(*args, **kwargs)),
        lambda *args, **kwargs: asyncio.run(_read(ask_in_pieces_later(*args, **kwargs))),
    ],
    ids=["function", "coroutine function", "generator", "async generator"],
)
def test_metadata_may_be_a_function_of_the_arguments(call: Callable[..., object], heard: list[Event]) -> None:
    """Each call says what its own arguments say, at its start and at its end."""
    call("Hi?")
    call("Hello?", model="gpt-5")
    said = [(event.name, event["length"], event["model"]) for event in heard]
    assert said == [("x.start", 3, "gpt-4o"), ("x.stop", 3, "gpt-4o"), ("x.start", 6, "gpt-5"), ("x.stop", 6, "gpt-5")]


def test_metadata_of_a_method_gets_its_self(heard: list[Event]) -> None:
    """The function is called as the method is."""

    class Bot:
        model = "gpt-4o"

        @span("x", lambda self, question: {"model": self.model})
        def ask(self, question: str) -> str:
            return question

    assert Bot().ask("Hi?") == "Hi?"
    assert heard[0]["model"] == "gpt-4o"


def test_metadata_function_of_a_block_gets_no_arguments(heard: list[Event]) -> None:
    """A block has no arguments; the function is called when the block begins."""
    models = iter(["a", "b"])
    block = span("x", lambda: {"model": next(models)})
    for _ in range(2):
        with block:
            pass
    assert [event["model"] for event in heard] == ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    "metadata",
    [lambda *args: args[7], lambda: {"n": 1}, lambda *args: None, lambda *args: 3],
    ids=["raises", "takes no arguments", "returns nothing", "returns a number"],
)
def test_metadata_function_that_fails_harms_nobody(
    metadata: Callable[..., Any], heard: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    """The call goes on in a span without metadata, and the failure is announced and logged."""

    @span("x", metadata)
    def work(n: int) -> int:
        return n

    assert work(3) == 3
    assert [event.name for event in heard] == ["telemetry.instrument.failure", "x.start", "x.stop"]
    assert heard[0]["where"] == "the metadata of x"
    assert len(caplog.records) == 1


def test_interrupt_in_a_metadata_function_is_no_failure_of_it(heard: list[Event]) -> None:
    """What is not an Exception passes through; the work has not begun."""

    def interrupted(*args: object) -> dict[str, Any]:
        raise KeyboardInterrupt

    @span("x", interrupted)
    def work() -> None:
        raise AssertionError("never begun")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert heard == []
