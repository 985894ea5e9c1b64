"""Whose child is a span? The right parent's, or nobody's: never a wrong one's."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import Span, current_span, span


def parents(events: list[Event]) -> dict[str, str | None]:
    """The name of each span's parent, by the name of the span."""
    starts = [event for event in events if event.name.endswith(".start")]
    names = {event["span_id"]: event.name.removesuffix(".start") for event in starts}
    return {names[event["span_id"]]: names.get(event["parent_id"]) for event in starts}


@span("inner")
def inner() -> Span | None:
    """A piece of work; says what is around it."""
    here = current_span()
    return here and here.parent


@span("inner")
async def inner_later() -> Span | None:
    """The same, async."""
    await asyncio.sleep(0)
    here = current_span()
    return here and here.parent


def in_thread(work: Callable[[], object]) -> None:
    """Do it in a new thread."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


# -- threads ----------------------------------------------------------------------------


def test_thread_has_no_parent(heard: list[Event]) -> None:
    """A thread does not know who began it."""
    with span("outer"):
        in_thread(inner)
    assert parents(heard) == {"outer": None, "inner": None}


def test_thread_with_a_copy_of_the_context_is_a_child(heard: list[Event]) -> None:
    """Who hands the context over hands the parent over."""
    with span("outer"):
        context = contextvars.copy_context()
        in_thread(lambda: context.run(inner))
    assert parents(heard) == {"outer": None, "inner": "outer"}


def test_worker_of_a_pool_has_no_parent(heard: list[Event]) -> None:
    """Neither of the span in which the work was submitted, nor of the one in which the worker was born."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        with span("first"):
            pool.submit(inner).result()
        with span("second"):
            found = list(pool.map(lambda _: inner(), range(3)))
    assert found == [None] * 3
    assert parents(heard) == {"first": None, "second": None, "inner": None}


def test_worker_of_a_pool_forgets_what_it_did_before(heard: list[Event]) -> None:
    """Work that raised, or left a generator open, leaves nothing to the next piece of work in its thread."""

    def fail() -> None:
        with span("failed"):
            raise ValueError

    @span("open")
    def items() -> Iterator[int]:
        yield 1

    with ThreadPoolExecutor(max_workers=1) as pool:
        with pytest.raises(ValueError):
            pool.submit(fail).result()
        kept = items()
        pool.submit(next, kept).result()
        assert pool.submit(inner).result() is None
    assert parents(heard) == {"failed": None, "open": None, "inner": None}


def test_threads_do_not_see_one_anothers_spans(heard: list[Event]) -> None:
    """Spans that are open at the same time in two threads nest each in their own."""
    both = threading.Barrier(2, timeout=10)

    def work(name: str) -> None:
        with span(name):
            both.wait()
            with span(f"{name}.step"):
                both.wait()

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert parents(heard) == {"a": None, "b": None, "a.step": "a", "b.step": "b"}


@pytest.mark.usefixtures("hasty_threads")
def test_one_span_object_may_be_shared_by_threads(heard: list[Event]) -> None:
    """Threads that enter the same object end each their own span, and none twice."""
    shared = span("x")
    wrong: list[str] = []
    ready = threading.Barrier(40, timeout=10)

    def work() -> None:
        ready.wait()
        for _ in range(100):
            with shared as mine:
                time.sleep(0)  # let the others in, so that many are open
                if current_span() is not mine:
                    wrong.append("current")
            if not mine.ended:
                wrong.append("left open")

    threads = [threading.Thread(target=work) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len({(event.name, event["span_id"]) for event in heard}) == len(heard) == 2 * 40 * 100


# -- tasks and executors ----------------------------------------------------------------


@pytest.mark.parametrize(
    "begin",
    [
        lambda: asyncio.create_task(inner_later()),
        lambda: asyncio.gather(inner_later()),
        lambda: asyncio.wait_for(inner_later(), 5),
        lambda: asyncio.shield(inner_later()),
        lambda: asyncio.to_thread(inner),
        lambda: asyncio.get_running_loop().run_in_executor(None, contextvars.copy_context().run, inner),
    ],
    ids=["create_task", "gather", "wait_for", "shield", "to_thread", "run_in_executor with the context"],
)
async def test_what_inherits_the_context_is_a_child(
    begin: Callable[[], Coroutine[object, object, object]], heard: list[Event]
) -> None:
    """Tasks and to_thread copy the context, and with it the parent."""
    async with span("outer"):
        await begin()
    assert parents(heard) == {"outer": None, "inner": "outer"}


async def test_task_group_is_a_child(heard: list[Event]) -> None:
    """The same for TaskGroup."""
    async with span("outer"), asyncio.TaskGroup() as group:
        group.create_task(inner_later())
    assert parents(heard) == {"outer": None, "inner": "outer"}


async def test_executor_has_no_parent(heard: list[Event]) -> None:
    """run_in_executor does not hand the context over."""
    async with span("outer"):
        await asyncio.get_running_loop().run_in_executor(None, inner)
    assert parents(heard) == {"outer": None, "inner": None}


async def test_callback_is_a_child_of_who_scheduled_it(heard: list[Event]) -> None:
    """call_soon hands the context over."""
    async with span("outer"):
        asyncio.get_running_loop().call_soon(inner)
        await asyncio.sleep(0)
    assert parents(heard) == {"outer": None, "inner": "outer"}


async def test_task_that_is_handed_over_belongs_to_who_created_it(heard: list[Event]) -> None:
    """Where a task is awaited does not matter, nor does a span that was begun after it."""
    async with span("first"):
        task = asyncio.create_task(inner_later())
        async with span("second"):
            await task
    assert parents(heard) == {"first": None, "second": "first", "inner": "first"}


async def test_coroutine_belongs_to_who_awaits_it(heard: list[Event]) -> None:
    """A coroutine begins when it is awaited, not when it is made."""
    async with span("first"):
        pending = inner_later()
    async with span("second"):
        await pending
    assert parents(heard) == {"first": None, "second": None, "inner": "second"}


async def test_spans_of_a_task_stay_in_it(heard: list[Event]) -> None:
    """What a task leaves open is not current for who began it."""
    inside, leave = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with span("task"):
            inside.set()
            await leave.wait()

    async with span("outer"):
        task = asyncio.create_task(work())
        await inside.wait()
        with span("sibling"):
            leave.set()
        await task
    assert parents(heard) == {"outer": None, "task": "outer", "sibling": "outer"}


# -- parents that have ended ------------------------------------------------------------


async def test_task_that_outlives_its_parent_is_nobodys_child(heard: list[Event]) -> None:
    """A span that has ended is nobody's parent: its own parent is, if that is still open."""
    go_on = asyncio.Event()

    async def later() -> None:
        await go_on.wait()
        with span("late"):
            pass

    async with span("outer"):
        async with span("first"):
            first = asyncio.create_task(later())
        go_on.set()
        await first
        go_on.clear()
        second = asyncio.create_task(later())
    here = parents(heard)
    go_on.set()
    await second
    assert (here["late"], parents(heard)["late"]) == ("outer", None)


def test_span_that_was_stopped_by_hand_is_not_current() -> None:
    """Inside the block, but after its end, the span around it is the innermost open one."""
    with span("outer") as outer, span("inner") as work:
        before = current_span()
        work.stop()
        assert (before, current_span()) == (work, outer)


def test_span_that_is_left_elsewhere_is_not_current_where_it_was_entered(heard: list[Event]) -> None:
    """A block that ends in another context leaves no parent behind in the first."""
    block = span("x")
    block.__enter__()
    contextvars.copy_context().run(block.__exit__, None, None, None)
    with span("y"):
        pass
    assert parents(heard) == {"x": None, "y": None}


def test_plain_generators_that_end_crosswise_leave_nothing_behind(heard: list[Event]) -> None:
    """Generators that are not decorated, with a block around a yield, may end in any order."""

    def resource(name: str) -> Iterator[None]:
        with span(name):
            yield

    first, second = resource("first"), resource("second")
    for step in (first, second, first, second):
        next(step, None)
    assert current_span() is None
    with span("after"):
        pass
    assert parents(heard)["after"] is None


def test_block_ends_its_own_span_when_another_is_left_open_inside(heard: list[Event]) -> None:
    """A block of a shared object ends the span of that object that is around it, not the newest anywhere."""
    shared = span("shared")
    left_open = span("left open")
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        with shared as theirs:
            entered.set()
            leave.wait(5)
            open_in_thread.append(theirs.ended)

    open_in_thread: list[bool] = []
    with shared as mine:
        left_open.__enter__()
        thread = threading.Thread(target=work)
        thread.start()
        entered.wait(5)
    ended = mine.ended
    leave.set()
    thread.join()
    assert (ended, open_in_thread) == (True, [False])


async def test_request_of_a_stream_that_is_read_after_the_call_is_nobodys_child(heard: list[Event]) -> None:
    """A function that returns a generator has ended when that is read; its span is not the parent of what follows."""

    @span("app.answer")
    def answer() -> AsyncGenerator[str]:
        async def pieces() -> AsyncGenerator[str]:
            await inner_later()
            yield "Paris."

        return pieces()

    assert [piece async for piece in answer()] == ["Paris."]
    assert parents(heard) == {"app.answer": None, "inner": None}
