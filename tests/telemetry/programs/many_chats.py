"""A server with 16 threads: chats with a provider's request, a look-up and a stream inside, one in ten of which fails.

Prints what was counted, and by how many blocks of memory the second half of the run has grown.
"""

from __future__ import annotations

import gc
import itertools
import json
import logging
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from pytest_llmtelemetry import telemetry
from pytest_llmtelemetry.telemetry import metrics


_numbers = itertools.count()
_HOT = {"id": "hot", "usage": {"input_tokens": 7, "output_tokens": 7}}


@telemetry.instrument("llm.chat.call", lambda number: {"provider": f"provider-{number % 3}", "model": f"acme-{number}"})
def chat(number: int) -> Mapping[str, object]:
    """One chat."""
    telemetry.instrument_cache_lookup(f"key-{number}", lambda: None)
    telemetry.circuit_breaker_state_changed(f"circuit-{number}", "closed", "open")
    stream = telemetry.instrument_stream(iter("abc"), {"provider": f"provider-{number % 3}"})
    next(stream)
    if number % 2:
        stream.close()  # the others are dropped
    with telemetry.instrument_provider(f"provider-{number % 3}", f"acme-{number}") as request:
        if number % 10 == 9:
            raise ConnectionError("the provider is gone")
        usage = {"input_tokens": 10, "output_tokens": 5}
        request.result = {"id": f"answer-{number}", "usage": usage, "cost": "0.0000036"}
    return request.result


def serve(count: int) -> int:
    """Serve so many chats; the blocks of memory in use afterwards."""

    def one(_: int) -> None:
        with suppress(ConnectionError):
            chat(next(_numbers))
        telemetry.instrument_cache_lookup("hot", lambda: _HOT)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(count)))
    gc.collect()
    return sys.getallocatedblocks()


def main() -> None:
    """Run."""
    half, capacity = map(int, sys.argv[1:])
    logging.getLogger("pytest_llmtelemetry").setLevel(logging.ERROR)
    sys.setswitchinterval(1e-5)
    metrics.swap_metrics(metrics.Metrics(capacity))
    telemetry.attach_default_handlers()
    before, after = serve(half), serve(half)
    shown = telemetry.get_metrics()["components"]
    counted = {
        "chats": (shown["chat"]["total_calls"], shown["chat"]["failed_calls"]),
        "requests": sum(one["total"] for one in shown["providers"].values()),
        "paid": (shown["costs"]["calls"], str(shown["costs"]["total_usd"])),
        "lookups": (shown["cache"]["hits"], shown["cache"]["misses"]),
        "streams": shown["streams"]["application"]["ended"],
        "threads": threading.active_count(),
    }
    json.dump({"counted": counted, "growth": after - before}, sys.stdout)


main()
