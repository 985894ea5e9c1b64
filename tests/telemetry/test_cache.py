"""The application's own cache: hits, misses and what they saved, without a word of what is in it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from decimal import Decimal
from typing import Any

import pytest

from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import (
    FixedClock,
    bus,
    cache_evicted,
    cache_expired,
    instrument_cache_lookup,
    instrument_cache_store,
)
from pytest_llmtelemetry.telemetry.cache import public_key
from pytest_llmtelemetry.telemetry.clock import set_clock


HIT, MISS, STORED = "llm.cache.lookup.hit", "llm.cache.lookup.miss", "llm.cache.store.success"


@pytest.fixture
def clock() -> Iterator[FixedClock]:
    """A clock that stands still."""
    one = FixedClock()
    undo = set_clock(one)
    yield one
    undo()


def told(heard: list[Event]) -> list[tuple[str, Any]]:
    """Names and keys, in order."""
    return [(event.name, event.metadata.get("key")) for event in heard]


# -- look-ups -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "name"),
    [("Hello", HIT), ("", HIT), (0, HIT), ([], HIT), (False, HIT), (None, MISS)],
    ids=["text", "empty", "zero", "no items", "false", "None"],
)
def test_none_alone_is_a_miss(found: object, name: str, heard: list[Event]) -> None:
    """What is found may be false; what fn returns is returned."""
    assert instrument_cache_lookup("greeting", lambda: found) is found
    assert told(heard) == [(name, "greeting")]


@pytest.mark.parametrize(("found", "name"), [(("ok", "Hello"), HIT), (("error", None), MISS)], ids=["hit", "miss"])
def test_the_application_tells_hits(found: tuple[str, object], name: str, heard: list[Event]) -> None:
    """``is_hit`` knows the cache's own way to say that there is nothing."""
    assert instrument_cache_lookup("greeting", lambda: found, is_hit=lambda pair: pair[0] == "ok") is found
    assert told(heard) == [(name, "greeting")]


def test_measurements_of_a_hit(clock: FixedClock, heard: list[Event]) -> None:
    """A hit has a duration and the size of its text."""

    def look() -> str:
        clock.advance(ms=5)
        return "Grüße"

    instrument_cache_lookup("greeting", look)
    assert heard[0].measurements == {"duration_ns": 5_000_000, "saved_cost_usd": None, "size_bytes": 7}
    assert heard[0].metadata == {"key": "greeting"}


def test_measurements_of_a_miss(clock: FixedClock, heard: list[Event]) -> None:
    """A miss has a duration."""
    instrument_cache_lookup("greeting", lambda: clock.advance(ms=5))
    assert heard[0].measurements == {"duration_ns": 5_000_000}


@pytest.mark.parametrize(
    ("found", "saved"),
    [
        ({"cost": 0.0000042}, Decimal("0.0000042")),
        ({"cost_usd": "0.0036"}, Decimal("0.0036")),
        ({"id": "never seen"}, None),
        ("text", None),
    ],
    ids=["cost", "cost_usd", "unknown id", "text"],
)
def test_saved_cost(found: object, saved: Decimal | None, heard: list[Event]) -> None:
    """A hit saves what the answer cost when it was made, to the last digit."""
    instrument_cache_lookup("question", lambda: found)
    assert heard[0]["saved_cost_usd"] == saved


def test_lookup_that_raises(heard: list[Event]) -> None:
    """A look-up that failed is neither a hit nor a miss, and its exception is passed on."""
    error = KeyError("greeting")

    def look() -> object:
        raise error

    with pytest.raises(KeyError) as caught:
        instrument_cache_lookup("greeting", look)
    assert (caught.value, heard) == (error, [])
    with pytest.raises(KeyError), instrument_cache_lookup("greeting"):
        raise error
    assert heard == []


def test_block(clock: FixedClock, heard: list[Event]) -> None:
    """In a block, what was found is set; a block that is entered again begins anew."""
    lookup = instrument_cache_lookup("greeting")
    with lookup as found:
        clock.advance(ms=2)
        found.result = "Hello"
    with lookup:
        pass
    assert [(event.name, event["duration_ns"]) for event in heard] == [(HIT, 2_000_000), (MISS, 0)]


async def test_async_block(heard: list[Event]) -> None:
    """``async with`` is the same."""
    async with instrument_cache_lookup("greeting") as found:
        await asyncio.sleep(0)
        found.result = "Hello"
    assert told(heard) == [(HIT, "greeting")]


@pytest.mark.parametrize(
    "key",
    [lambda self, name, *, lang="en": f"{lang}:{name}", "en:greeting"],
    ids=["function of the arguments", "fixed"],
)
def test_decorated_method(key: Any, heard: list[Event]) -> None:
    """As a decorator the key may be made of the arguments."""

    class Cache:
        @instrument_cache_lookup(key)
        def get(self, name: str, *, lang: str = "en") -> str | None:
            return None

    assert Cache().get("greeting", lang="en") is None
    assert told(heard) == [(MISS, "en:greeting")]


def test_decorated_function_without_arguments(heard: list[Event]) -> None:
    """A function of no arguments makes the key of a call without any."""

    @instrument_cache_lookup(lambda: "all")
    def get() -> str:
        return "Hello"

    assert (get(), told(heard)) == ("Hello", [(HIT, "all")])


async def test_decorated_coroutine(clock: FixedClock, heard: list[Event]) -> None:
    """The event follows when the look-up is over."""

    @instrument_cache_lookup(lambda name: name)
    async def get(name: str) -> str:
        clock.advance(ms=3)
        await asyncio.sleep(0)
        return "Hello"

    assert await get("greeting") == "Hello"
    assert [(event.name, event["duration_ns"]) for event in heard] == [(HIT, 3_000_000)]


def test_decorated_generator(heard: list[Event]) -> None:
    """What a generator returns is what was found."""

    @instrument_cache_lookup(lambda name: name)
    def get(name: str) -> Generator[int, None, str]:
        yield 1
        return "Hello"

    assert list(get("greeting")) == [1]
    assert told(heard) == [(HIT, "greeting")]


async def test_decorated_async_generator(heard: list[Event]) -> None:
    """An async generator that stores something has stored it when it ends."""

    @instrument_cache_store(lambda name: name)
    async def put(name: str) -> AsyncGenerator[int, None]:
        yield 1

    assert [item async for item in put("greeting")] == [1]
    assert told(heard) == [(STORED, "greeting")]


class Later:
    """Something of the application's own that can be awaited."""

    def __await__(self) -> Generator[Any, None, str]:
        yield from asyncio.sleep(0).__await__()
        return "Hello"


async def found_later() -> str:
    await asyncio.sleep(0)
    return "Hello"


@pytest.mark.parametrize(
    "make",
    [found_later, Later, lambda: asyncio.ensure_future(found_later())],
    ids=["coroutine", "own", "task"],
)
@pytest.mark.parametrize("decorated", [True, False], ids=["decorated", "given"])
async def test_awaitables(make: Callable[[], Awaitable[str]], decorated: bool, heard: list[Event]) -> None:
    """What fn returns may be awaited; the event follows its end."""

    def look() -> Awaitable[str]:
        return make()

    pending = instrument_cache_lookup("greeting")(look)() if decorated else instrument_cache_lookup("greeting", look)
    assert heard == []
    assert inspect.isawaitable(pending)
    assert await pending == "Hello"
    assert told(heard) == [(HIT, "greeting")]


async def test_task_is_returned_as_it_is(heard: list[Event]) -> None:
    """A task can be cancelled by who looked up, and tells nothing then."""
    task = asyncio.ensure_future(found_later())
    assert instrument_cache_lookup("greeting", lambda: task) is task
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert heard == []


async def test_awaitables_that_raise(heard: list[Event]) -> None:
    """A look-up that fails later tells nothing either."""

    async def fail() -> None:
        raise KeyError("greeting")

    for make in (fail, lambda: asyncio.ensure_future(fail())):
        with pytest.raises(KeyError):
            await instrument_cache_lookup("greeting", make)
    assert heard == []


# -- keys ---------------------------------------------------------------------------------------


class Unprintable:
    """A key of the application's own kind."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("greeting", "greeting"),
        (("en", 3), "('en', 3)"),
        ("x" * 128, "x" * 128),
        ("x" * 129, "sha256:0ec9eb33e74510bc"),
        ("user:sk-abcdefghijklmnop1234", "user:[redacted]"),
        ("\ud800" * 129, "sha256:cf5bf4d27338a46e"),
        (None, "None"),
        (Unprintable(), "Unprintable"),
    ],
    ids=["text", "tuple", "longest", "long", "credential", "surrogates", "None", "no str"],
)
def test_keys(key: object, shown: str) -> None:
    """A key is scrubbed, and its digest stands in for one that may be a prompt."""
    assert public_key(key) == shown


@pytest.mark.parametrize(
    ("lookup", "error"),
    [
        (lambda: instrument_cache_lookup(lambda name: 1 / 0)(lambda name: "Hello")("greeting"), "ZeroDivisionError"),
        (lambda: instrument_cache_lookup("k", lambda: "Hello", is_hit=lambda found: found.nonsense), "AttributeError"),
    ],
    ids=["key", "is_hit"],
)
def test_what_cannot_be_told(lookup: Callable[[], object], error: str, heard: list[Event]) -> None:
    """A key function or a judgement that raises harms nothing, and is told."""
    assert lookup() == "Hello"
    (failure,) = heard
    found = (failure.name, failure["where"], failure["error_type"])
    assert found == (bus.INSTRUMENT_FAILURE, "a cache look-up", error)


# -- stores -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "size"), [("Grüße", {"size_bytes": 7}), (b"12", {"size_bytes": 2}), ({"a": 1}, {}), (None, {})]
)
@pytest.mark.parametrize("ttl", [60, 0.5, None])
def test_store(value: object, size: dict[str, int], ttl: float | None, clock: FixedClock, heard: list[Event]) -> None:
    """Something stored has a size, if it is text or bytes, and a time to live."""
    assert instrument_cache_store("greeting", value, ttl, lambda: "stored") == "stored"
    (event,) = heard
    assert (event.name, event.metadata) == (STORED, {"key": "greeting"})
    assert event.measurements == {"duration_ns": 0, "ttl_s": ttl, **size}


def test_store_in_a_block(heard: list[Event]) -> None:
    """A block that stores is the same."""
    with instrument_cache_store("greeting", "Hello", ttl=60):
        pass
    assert (told(heard), heard[0]["size_bytes"]) == ([(STORED, "greeting")], 5)


def test_store_as_a_decorator(heard: list[Event]) -> None:
    """Key, value and time to live may be made of the arguments."""

    @instrument_cache_store(lambda key, *_: key, lambda key, value, ttl: value, lambda key, value, ttl: ttl)
    def put(key: str, value: str, ttl: float) -> bool:
        return True

    assert put("greeting", "Hello", 60) is True
    assert (told(heard), heard[0]["size_bytes"], heard[0]["ttl_s"]) == ([(STORED, "greeting")], 5, 60)


def test_store_that_raises(heard: list[Event]) -> None:
    """What was not stored is not told."""
    with pytest.raises(OSError, match="full"), instrument_cache_store("greeting", "Hello", ttl=60):
        raise OSError("full")
    assert heard == []


# -- what leaves the cache ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "event"),
    [
        (
            lambda: cache_expired("k"),
            Event(name="llm.cache.ttl.expired", metadata={"key": "k"}),
        ),
        (
            lambda: cache_expired("k", age_s=61.5),
            Event(name="llm.cache.ttl.expired", measurements={"age_s": 61.5}, metadata={"key": "k"}),
        ),
        (
            lambda: cache_evicted("k"),
            Event(name="llm.cache.evicted", metadata={"key": "k"}),
        ),
        (
            lambda: cache_evicted("k", reason="size", size_bytes=5),
            Event(name="llm.cache.evicted", measurements={"size_bytes": 5}, metadata={"key": "k", "reason": "size"}),
        ),
    ],
    ids=["expired", "expired at an age", "evicted", "evicted for a reason"],
)
def test_expired_and_evicted(act: Callable[[], None], event: Event, heard: list[Event]) -> None:
    """What is not known is not there."""
    act()
    (told,) = heard
    assert (told.name, dict(told.measurements), dict(told.metadata)) == (
        event.name,
        dict(event.measurements),
        dict(event.metadata),
    )
