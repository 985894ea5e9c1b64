"""Decorated generators: one span from the first item to the end, current only while the generator's own code runs."""

from __future__ import annotations

import asyncio
import gc
import inspect
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import contextmanager

import pytest

from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import FixedClock, Span, current_span, instrument, span
from pytest_llmtelemetry.telemetry.clock import set_clock


class OddError(Exception):
    """An error of a generator, or of its user."""


def ends(events: list[Event]) -> list[tuple[str, object]]:
    """The names of events, and what type of error they tell."""
    return [(event.name, event.metadata.get("error_type")) for event in events]


WELL = [("x.start", None), ("x.stop", None)]
BADLY = [("x.start", None), ("x.exception", f"{__name__}.OddError")]


@span("x")
def count(upto: int) -> Generator[int, None, str]:
    """Count from zero."""
    yield from range(upto)
    return "done"


@span("x")
async def count_later(upto: int) -> AsyncGenerator[int]:
    """Count from zero, later."""
    for n in range(upto):
        await asyncio.sleep(0)
        yield n


# -- what users see ---------------------------------------------------------------------


def test_generator_yields_what_it_yielded(heard: list[Event]) -> None:
    """All items come through, in one span."""
    assert list(count(3)) == [0, 1, 2]
    assert ends(heard) == WELL


async def test_async_generator_yields_what_it_yielded(heard: list[Event]) -> None:
    """The same for async generators."""
    assert [n async for n in count_later(3)] == [0, 1, 2]
    assert ends(heard) == WELL


@pytest.mark.parametrize(
    ("fn", "name", "doc", "is_such"),
    [
        (count, "count", "Count from zero.", inspect.isgeneratorfunction),
        (count_later, "count_later", "Count from zero, later.", inspect.isasyncgenfunction),
    ],
    ids=["sync", "async"],
)
def test_decorated_generator_function_keeps_its_face(
    fn: Callable[..., object], name: str, doc: str, is_such: Callable[[object], bool]
) -> None:
    """It is still a generator function, which frameworks ask for, with its name, docstring and signature."""
    face = (fn.__name__, fn.__doc__, [*inspect.signature(fn).parameters], is_such(fn))
    assert face == (name, doc, ["upto"], True)


def test_generator_is_lazy(heard: list[Event]) -> None:
    """Nothing happens before the first item is asked for, and one that is never begun has no span."""
    items = count(1)
    seen = [*heard]
    next(items)
    assert (seen, ends(heard)) == ([], WELL[:1])
    items.close()
    del heard[:]
    count(1).close()
    assert heard == []


async def test_async_generator_is_lazy(heard: list[Event]) -> None:
    """The same for async generators."""
    items = count_later(1)
    seen = [*heard]
    await anext(items)
    assert (seen, ends(heard)) == ([], WELL[:1])
    await items.aclose()
    del heard[:]
    await count_later(1).aclose()
    assert heard == []


def test_return_value_of_a_generator_reaches_its_user() -> None:
    """What `yield from` evaluates to is what the generator returned."""

    def user() -> Generator[int, None, str]:
        return (yield from count(1))

    items = user()
    next(items)
    with pytest.raises(StopIteration) as stopped:
        next(items)
    assert stopped.value.value == "done"


def test_return_value_of_a_generator_is_its_result(heard: list[Event]) -> None:
    """Instrumentation reads what a generator returns."""

    @instrument("app.stream")
    def stream() -> Generator[str, None, dict[str, object]]:
        yield "Paris."
        return {"usage": {"output_tokens": 2}}

    assert list(stream()) == ["Paris."]
    assert heard[-1]["output_tokens"] == 2


@span("x")
def echo() -> Generator[object, object, None]:
    """Yield what is sent, or the error that is thrown in, and end on None."""
    got: object = "ready"
    while got is not None:
        try:
            got = yield got
        except OddError as error:
            got = error


@span("x")
async def echo_later() -> AsyncGenerator[object, object]:
    """The same, async."""
    got: object = "ready"
    while got is not None:
        await asyncio.sleep(0)
        try:
            got = yield got
        except OddError as error:
            got = error


def test_what_is_sent_reaches_the_generator(heard: list[Event]) -> None:
    """send() and throw() pass through, and what the generator makes of them comes back."""
    error = OddError()
    talk = echo()
    assert [next(talk), talk.send(1), talk.throw(error), talk.send(2)] == ["ready", 1, error, 2]
    with pytest.raises(StopIteration):
        talk.send(None)
    assert ends(heard) == WELL


async def test_what_is_sent_reaches_the_async_generator(heard: list[Event]) -> None:
    """The same for asend() and athrow()."""
    error = OddError()
    talk = echo_later()
    got = [await anext(talk), await talk.asend(1), await talk.athrow(error), await talk.asend(2)]
    assert got == ["ready", 1, error, 2]
    with pytest.raises(StopAsyncIteration):
        await talk.asend(None)
    assert ends(heard) == WELL


# -- exceptions -------------------------------------------------------------------------


@span("x")
def fail_after(items: int, error: BaseException) -> Iterator[int]:
    """Raise after so many items."""
    yield from range(items)
    raise error


@span("x")
async def fail_later_after(items: int, error: BaseException) -> AsyncGenerator[int]:
    """The same, async."""
    for n in range(items):
        yield n
    raise error


@pytest.mark.parametrize("items", [0, 2], ids=["before the first item", "after two items"])
@pytest.mark.parametrize(
    "error",
    [OddError(), KeyboardInterrupt(), SystemExit(2), asyncio.CancelledError(), pytest.fail.Exception("odd")],
    ids=lambda error: type(error).__name__,
)
def test_what_a_generator_raises_reaches_its_user(items: int, error: BaseException, heard: list[Event]) -> None:
    """The same exception comes out, after .exception."""
    with pytest.raises(type(error)) as caught:
        list(fail_after(items, error))
    assert caught.value is error
    assert [event.name for event in heard] == ["x.start", "x.exception"]


@pytest.mark.parametrize("items", [0, 2], ids=["before the first item", "after two items"])
@pytest.mark.parametrize(
    "error",
    [OddError(), asyncio.CancelledError(), pytest.fail.Exception("odd")],
    ids=lambda error: type(error).__name__,
)
async def test_what_an_async_generator_raises_reaches_its_user(
    items: int, error: BaseException, heard: list[Event]
) -> None:
    """The same for async generators."""
    with pytest.raises(type(error)) as caught:
        async for _ in fail_later_after(items, error):
            pass
    assert caught.value is error
    assert [event.name for event in heard] == ["x.start", "x.exception"]


def test_what_is_thrown_in_and_not_caught_ends_the_span(heard: list[Event]) -> None:
    """An error of the user that passes through the generator is its end, as in a context manager."""

    @contextmanager
    @span("x")
    def resource() -> Iterator[str]:
        yield "open"

    error = OddError()
    with pytest.raises(OddError) as caught, resource():
        raise error
    assert caught.value is error
    assert ends(heard) == BADLY


async def test_what_is_thrown_in_and_not_caught_ends_the_async_span(heard: list[Event]) -> None:
    """The same for async generators."""
    items = count_later(2)
    await anext(items)
    error = OddError()
    with pytest.raises(OddError) as caught:
        await items.athrow(error)
    assert caught.value is error
    assert ends(heard) == BADLY


def test_error_that_was_thrown_in_is_not_kept_alive() -> None:
    """An exception and the generator that it went through are freed at once, without the garbage collector."""

    def error_that_went_through() -> weakref.ref[OddError] | None:
        items = count(1)
        next(items)
        try:
            items.throw(OddError())
        except OddError as error:
            return weakref.ref(error)
        return None

    gc.collect()
    gc.disable()
    try:
        kept = error_that_went_through()
        assert kept is not None
        assert kept() is None
    finally:
        gc.enable()


async def test_task_that_is_cancelled_in_an_async_generator(heard: list[Event]) -> None:
    """Cancellation reaches the generator's code, ends the span, and cancels the task."""
    cleaned = []

    @span("x")
    async def wait() -> AsyncGenerator[int]:
        try:
            await asyncio.Event().wait()
            yield 1
        finally:
            cleaned.append(current_span() is not None)

    async def use() -> None:
        async for _ in wait():
            pass

    task = asyncio.ensure_future(use())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (task.cancelled(), cleaned) == (True, [True])
    assert ends(heard) == [("x.start", None), ("x.exception", "asyncio.exceptions.CancelledError")]


# -- ends that are no exhaustion --------------------------------------------------------


def test_closed_generator_ends_well(heard: list[Event]) -> None:
    """To be closed is an end like any other: the generator cleans up, inside its span, and .stop follows."""
    seen: list[Span | None] = []

    @span("x")
    def items() -> Iterator[int]:
        try:
            yield 1
        finally:
            seen.append(current_span())

    running = items()
    next(running)
    running.close()  # type: ignore[attr-defined]
    running.close()  # type: ignore[attr-defined]
    assert ends(heard) == WELL
    assert [one is not None and one.name for one in seen] == ["x"]


async def test_closed_async_generator_ends_well(heard: list[Event]) -> None:
    """The same for aclose()."""
    seen: list[Span | None] = []

    @span("x")
    async def items() -> AsyncGenerator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            seen.append(current_span())

    running = items()
    await anext(running)
    await running.aclose()
    await running.aclose()
    assert ends(heard) == WELL
    assert [one is not None and one.name for one in seen] == ["x"]


def test_generator_that_fails_to_clean_up_fails(heard: list[Event]) -> None:
    """An error during close() comes out of it, after .exception."""

    @span("x")
    def items() -> Generator[int, None, None]:
        try:
            yield 1
        finally:
            raise OddError

    running = items()
    next(running)
    with pytest.raises(OddError):
        running.close()
    assert ends(heard) == BADLY


def test_generator_that_will_not_end_is_told_so(heard: list[Event]) -> None:
    """A generator that ignores close() is Python's usual RuntimeError, and its span ends with that."""

    @span("x")
    def items() -> Generator[int, None, None]:
        try:
            yield 1
        except GeneratorExit:
            yield 2

    running = items()
    next(running)
    with pytest.raises(RuntimeError, match="generator ignored GeneratorExit"):
        running.close()
    assert ends(heard) == [("x.start", None), ("x.exception", "RuntimeError")]


def test_abandoned_generator_ends(heard: list[Event]) -> None:
    """A loop that is left early drops the generator: its clean-up runs, and the span ends."""
    for n in count(5):
        if n == 1:
            break
    gc.collect()
    assert ends(heard) == WELL


async def test_abandoned_async_generator_ends(heard: list[Event]) -> None:
    """The same for async generators, which the event loop closes soon after."""
    async for n in count_later(5):
        if n == 1:
            break
    gc.collect()
    for _ in range(3):
        await asyncio.sleep(0)
    assert ends(heard) == WELL


# -- what is current --------------------------------------------------------------------


def test_span_of_a_generator_is_current_only_inside(heard: list[Event]) -> None:
    """Its own code runs inside the span; who looks at an item is outside of it."""
    inside: list[Span | None] = []

    @span("x")
    def items() -> Iterator[int]:
        for n in range(2):
            inside.append(current_span())
            yield n

    with span("user") as user:
        outside = [current_span() for _ in items()]
    assert outside == [user, user]
    assert [one is not None and (one.name, one.parent is user) for one in inside] == [("x", True)] * 2
    assert len({id(one) for one in inside}) == 1
    assert [event.name for event in heard] == ["user.start", "x.start", "x.stop", "user.stop"]


async def test_span_of_an_async_generator_is_current_only_inside() -> None:
    """The same for async generators, also while they wait."""
    inside: list[Span | None] = []

    @span("x")
    async def items() -> AsyncGenerator[int]:
        for n in range(2):
            await asyncio.sleep(0)
            inside.append(current_span())
            yield n

    async with span("user") as user:
        outside = [current_span() async for _ in items()]
    assert outside == [user, user]
    assert [one is not None and (one.name, one.parent is user) for one in inside] == [("x", True)] * 2


def test_generators_that_take_turns_do_not_nest(heard: list[Event]) -> None:
    """Two generators that are read side by side are siblings."""
    with span("user") as user:
        pairs = list(zip(count(2), count(2), strict=True))
    assert pairs == [(0, 0), (1, 1)]
    starts = [event for event in heard if event.name == "x.start"]
    assert [event["parent_id"] for event in starts] == [user.id, user.id]


def test_generator_in_a_generator_is_its_child(heard: list[Event]) -> None:
    """A generator that reads another is its parent."""

    @span("outer")
    def outer() -> Iterator[int]:
        yield from count(2)

    assert list(outer()) == [0, 1]
    parents = {event.name: event["parent_id"] for event in heard}
    assert parents == {
        "outer.start": None,
        "x.start": heard[0]["span_id"],
        "x.stop": heard[0]["span_id"],
        "outer.stop": None,
    }


def test_block_inside_a_generator_stays_current_over_a_yield() -> None:
    """After a yield inside of a `with` block, that block's span is current again, and its user never saw it."""
    seen: list[str | None] = []

    def note() -> None:
        here = current_span()
        seen.append(None if here is None else here.name)

    @span("x")
    def items() -> Iterator[int]:
        with span("step"):
            yield 1
            note()
        note()
        yield 2

    for _ in items():
        note()
    note()
    assert seen == [None, "step", "x", None, None]


async def test_block_inside_an_async_generator_stays_current_over_a_yield() -> None:
    """The same for async generators, each item in a task of its own."""
    seen: list[str | None] = []

    def note() -> None:
        here = current_span()
        seen.append(None if here is None else here.name)

    @span("x")
    async def items() -> AsyncGenerator[int]:
        async with span("step"):
            yield 1
            note()
        note()
        yield 2

    running = items()
    for _ in range(2):
        await asyncio.ensure_future(anext(running))
        note()
    await running.aclose()
    assert seen == [None, "step", "x", None]


def test_generator_may_be_finished_in_another_context(heard: list[Event]) -> None:
    """A generator that is begun in one thread and finished in another has one span, and leaves none behind."""
    items = count(2)
    next(items)

    async def finish() -> list[int]:
        return list(items)

    rest = asyncio.run(finish())
    assert (rest, current_span(), ends(heard)) == ([1], None, WELL)


def test_duration_of_a_generator_lasts_from_first_item_to_end(heard: list[Event]) -> None:
    """The time before it is begun does not count; the time that its user takes does."""
    clock = FixedClock()
    undo = set_clock(clock)
    try:
        items = count(1)
        clock.advance(ms=1)
        next(items)
        clock.advance(ms=2)
        assert list(items) == []
    finally:
        undo()
    assert heard[-1]["duration_ns"] == 2_000_000


def test_each_call_of_a_generator_function_is_a_span(heard: list[Event]) -> None:
    """Two calls are two spans, also if they take turns."""
    first, second = count(1), count(1)
    for items in (first, second, first, second):
        next(items, None)
    assert [event.name for event in heard] == ["x.start", "x.start", "x.stop", "x.stop"]
    assert [event["span_id"] for event in heard[:2]] == [event["span_id"] for event in heard[2:]]
