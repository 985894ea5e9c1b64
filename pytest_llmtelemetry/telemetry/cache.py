"""An application's own cache: looked up, stored, expired, evicted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar, overload

from pytest_llmtelemetry.redaction import scrub
from pytest_llmtelemetry.telemetry import accounting, bus
from pytest_llmtelemetry.telemetry.instrument import size_of
from pytest_llmtelemetry.telemetry.names import CACHE_HIT, CACHE_MISS
from pytest_llmtelemetry.telemetry.points import Arguments, Point
from pytest_llmtelemetry.telemetry.results import ResultFacts, read_result


STORED = "llm.cache.store.success"
EXPIRED, EVICTED = "llm.cache.ttl.expired", "llm.cache.evicted"

T = TypeVar("T")


def _found_something(result: object) -> bool:
    return result is not None


@overload
def instrument_cache_lookup(key: object, fn: Callable[[], T], *, is_hit: Callable[[Any], bool] = ...) -> T: ...
@overload
def instrument_cache_lookup(key: object, fn: None = None, *, is_hit: Callable[[Any], bool] = ...) -> Point: ...
def instrument_cache_lookup(
    key: object, fn: Callable[[], T] | None = None, *, is_hit: Callable[[Any], bool] = _found_something
) -> T | Point:
    """Look something up: ``llm.cache.lookup.hit`` or ``.miss``. Returns what ``fn`` returns.

    Without ``fn`` it is a context manager, of which ``result`` is set, or a decorator.

    Args:
        key: as a decorator also a function of the arguments of each call. A long key is
            replaced by its digest in the event: it may be a prompt.
        is_hit: tells a hit from a miss; by default ``None`` is a miss.

    >>> store = {"greeting": "Hello"}
    >>> instrument_cache_lookup("greeting", lambda: store.get("greeting"))
    'Hello'
    >>> with instrument_cache_lookup("farewell") as lookup:
    ...     lookup.result = store.get("farewell")
    >>> @instrument_cache_lookup(lambda key: key)
    ... def get(key):
    ...     return store.get(key)
    """

    def announce(result: object, duration_ns: int, arguments: Arguments | None) -> None:
        about = {"key": public_key(_of_call(key, arguments))}
        if not is_hit(result):
            bus.execute(CACHE_MISS, {"duration_ns": duration_ns}, about)
            return
        facts = read_result(result)
        measurements: dict[str, object] = {"duration_ns": duration_ns, "saved_cost_usd": _saved(facts)}
        if facts.id is not None or facts.usage is not None:
            accounting.recall(facts.id, facts.model, facts.usage)
        if (size := size_of(result)) is not None:
            measurements["size_bytes"] = size
        bus.execute(CACHE_HIT, measurements, about)

    point = Point("a cache look-up", announce)
    return point if fn is None else point.run(fn)


Ttl = float | Callable[..., float | None] | None
"""Seconds; for a decorator also a function of the arguments of each call."""


@overload
def instrument_cache_store(key: object, value: object, ttl: Ttl, fn: Callable[[], T]) -> T: ...
@overload
def instrument_cache_store(key: object, value: object = ..., ttl: Ttl = ..., fn: None = None) -> Point: ...
def instrument_cache_store(
    key: object, value: object = None, ttl: Ttl = None, fn: Callable[[], T] | None = None
) -> T | Point:
    """Store something: ``llm.cache.store.success``, unless it raises. Returns what ``fn`` returns.

    Without ``fn`` it is a context manager or a decorator.

    Args:
        key, value: what is stored.
        ttl: how long it is kept, in seconds; ``None`` for good. As a decorator, each of the three
            may be a function of the arguments of each call.

    >>> store = {}
    >>> instrument_cache_store("greeting", "Hello", 60, lambda: store.update(greeting="Hello"))
    >>> with instrument_cache_store("farewell", "Bye", ttl=60):
    ...     store["farewell"] = "Bye"
    """

    def announce(result: object, duration_ns: int, arguments: Arguments | None) -> None:
        measurements: dict[str, object] = {"duration_ns": duration_ns, "ttl_s": _of_call(ttl, arguments)}
        if (size := size_of(_of_call(value, arguments))) is not None:
            measurements["size_bytes"] = size
        bus.execute(STORED, measurements, {"key": public_key(_of_call(key, arguments))})

    point = Point("a cache store", announce)
    return point if fn is None else point.run(fn)


def cache_expired(key: object, *, age_s: float | None = None) -> None:
    """An entry was too old: ``llm.cache.ttl.expired``. The look-up that found out is a miss all the same."""
    bus.execute(EXPIRED, {} if age_s is None else {"age_s": age_s}, {"key": public_key(key)})


def cache_evicted(key: object, *, reason: str | None = None, size_bytes: int | None = None) -> None:
    """An entry made room: ``llm.cache.evicted``."""
    about = {"key": public_key(key)}
    if reason is not None:
        about["reason"] = reason
    bus.execute(EVICTED, {} if size_bytes is None else {"size_bytes": size_bytes}, about)


_LONGEST_KEY = 128


def public_key(key: object) -> str:
    """A key as events show it: scrubbed, and replaced by its digest where it is long enough to be a prompt.

    >>> public_key("greeting"), public_key("x" * 200)
    ('greeting', 'sha256:aa20c23e32018340')
    """
    try:
        text = key if isinstance(key, str) else str(key)
    except Exception:  # noqa: BLE001 - a key of the application's own kind
        return type(key).__name__
    if len(text) <= _LONGEST_KEY:
        return scrub(text)
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _of_call(given: Any, arguments: Arguments | None) -> object:
    if arguments is None or not callable(given):
        return given
    return given(*arguments.args, **arguments.kwargs)


def _saved(facts: ResultFacts) -> Decimal | None:
    """What an answer cost when it was made: as it states, or as it was accounted under its id."""
    if facts.cost_usd is not None:
        return facts.cost_usd
    return None if facts.id is None else accounting.cost_of(facts.id)
