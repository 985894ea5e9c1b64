"""The telemetry as production code uses it: in processes of its own, without pytest, under load and at the worst moments."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest


PROGRAMS = Path(__file__).parent / "programs"

STRICT = ("-X", "dev", "-W", "error")

PRELUDE = """
import json, logging
from pytest_llmtelemetry import telemetry
from pytest_llmtelemetry.telemetry import bus

ANSWER = {"model": "acme-1", "usage": {"input_tokens": 10, "output_tokens": 5}, "cost": "0.0000036"}
chat = telemetry.instrument("llm.chat.call", {"provider": "acme", "model": "acme-1"})
telemetry.attach_default_handlers()
logging.getLogger("pytest_llmtelemetry").setLevel(logging.ERROR)

def attached():
    return sorted({one.handler_id for one in telemetry.list_handlers()})

def counted():
    return telemetry.get_metrics()["components"]["costs"]["calls"]

def tell(*values):
    print(json.dumps(values))
"""

BOTH = ["llmtelemetry-default-logger", "llmtelemetry-default-metrics"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own."""
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False)


def told(program: str, *flags: str) -> Any:
    """What a program tells, which must end well and be silent otherwise."""
    done = run(*(flags or STRICT), "-c", PRELUDE + textwrap.dedent(program))
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def load(half: int, capacity: int) -> Any:
    """What :mod:`many_chats` prints."""
    done = run(str(PROGRAMS / "many_chats.py"), str(half), str(capacity))
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


# -- load --------------------------------------------------------------------------------------


def test_threads_count_exactly() -> None:
    """16 threads, every chat with a request, a look-up and a stream: nothing is lost, nothing is counted twice."""
    assert load(500, 1_000_000)["counted"] == {
        "chats": [1000, 100],
        "requests": 1000,
        "paid": [900, "0.0032400"],
        "lookups": [1000, 1000],
        "streams": {"abandoned": 500, "closed": 500},
        "threads": 1,
    }


def test_memory_is_bounded() -> None:
    """Keys, models and circuits that never repeat, a hot key and dropped streams leave nothing behind."""
    assert load(1200, 500)["growth"] < 500


@pytest.mark.parametrize("has_id", [True, False], ids=["ids", "no ids"])
def test_many_tasks_at_once(has_id: bool) -> None:
    """A call that is long open recognises its request, however many others were counted meanwhile."""
    program = f"""
    import asyncio, itertools

    ids = itertools.count()

    @telemetry.instrument_provider("acme", "acme-1")
    async def request():
        await asyncio.sleep(0)
        return {{**ANSWER, "id": f"answer-{{next(ids)}}"}} if {has_id} else dict(ANSWER)

    @chat
    async def call(everybody):
        answer = await request()
        await everybody.wait()
        return answer

    async def main():
        everybody = asyncio.Barrier(1500)
        async with asyncio.TaskGroup() as group:
            for _ in range(1500):
                group.create_task(call(everybody))

    asyncio.run(main())
    shown = telemetry.get_metrics()["components"]
    tell(shown["chat"]["total_calls"], shown["costs"]["calls"], str(shown["costs"]["total_usd"]))
    """
    assert told(program, "-W", "error") == [1500, 1500, "0.0054000"]


def test_cancelled_tasks_end_their_spans() -> None:
    """With asyncio's debug mode on, every span that was begun ends once, and no task is left."""
    program = """
    import asyncio

    begun, ended = [], []
    telemetry.attach("begun", "app.work.start", lambda *event: begun.append(event[2]["span_id"]))
    telemetry.attach_many("ended", ["app.work.stop", "app.work.exception"], lambda *event: ended.append(event[2]["span_id"]))

    @telemetry.span("app.work")
    async def wait():
        await asyncio.sleep(60)

    @telemetry.span("app.work")
    async def items():
        yield 1
        await asyncio.sleep(60)

    async def one(number):
        try:
            async with asyncio.timeout(0.001 * (number % 3)):
                if number % 2:
                    await wait()
                else:
                    async for _ in items():
                        pass
        except TimeoutError:
            pass

    async def main():
        async with asyncio.TaskGroup() as group:
            for number in range(300):
                group.create_task(one(number))
        return len(asyncio.all_tasks())

    logging.getLogger("asyncio").setLevel(logging.ERROR)
    left = asyncio.run(main(), debug=True)
    tell(left, len(begun) > 100, sorted(begun) == sorted(ended))
    """
    assert told(program) == [1, True, True]


def test_async_generators_that_never_finish() -> None:
    """The event loop closes them at its end, without a complaint, and their spans stop."""
    program = """
    import asyncio

    kept, faults, ended = [], [], []
    telemetry.attach("ended", "app.items.stop", lambda *event: ended.append(event[2]["span_id"]))

    @telemetry.span("app.items")
    async def items():
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(0.001)

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(str(context)))
        for _ in range(20):
            kept.append(items())
            await anext(kept[-1])

    asyncio.run(main())
    tell(faults, len(ended))
    """
    assert told(program) == [[], 20]


# -- the worst moments ---------------------------------------------------------------------------


def test_finalisers_that_emit() -> None:
    """With the collector at work all the time, finalisers look up, report and read; no thread waits for ever."""
    program = """
    import gc, threading

    class Emitter:
        def __init__(self):
            self.me = self
        def __del__(self):
            telemetry.instrument_cache_lookup("key", lambda: dict(ANSWER))
            with chat as span:
                span.result = dict(ANSWER)
            telemetry.get_metrics()

    def work():
        for _ in range(30):
            Emitter()
            with chat as span:
                span.result = dict(ANSWER)

    gc.set_threshold(1)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    gc.set_threshold(700, 10, 10)
    tell(attached(), telemetry.get_metrics()["events"].get(bus.INSTRUMENT_FAILURE))
    """
    assert told(program) == [BOTH, None]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no such timer")
def test_signal_handlers_that_emit_and_attach() -> None:
    """Whatever they interrupt: no event is lost, no handler is lost, none is left."""
    program = """
    import itertools, signal, time

    interrupts, total = itertools.count(), 0

    def interrupt(*_):
        number = next(interrupts)
        telemetry.circuit_breaker_state_changed(f"inner-{number}", "closed", "open")
        telemetry.attach(f"inner-{number}", "app.x", print)
        telemetry.detach(f"inner-{number}")

    telemetry.circuit_breaker_state_changed("first", "closed", "open")
    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        telemetry.circuit_breaker_state_changed(f"outer-{total}", "closed", "open")
        telemetry.attach("outer", "app.x", print)()
        total += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    shown = telemetry.get_metrics()
    heard = shown["events"]["llm.circuit_breaker.state.changed"]
    tell(attached(), heard - total - next(interrupts) - 1)
    """
    assert told(program) == [BOTH, 0]


def test_attach_inside_of_attach() -> None:
    """What is attached by code that interrupts an attach is kept."""
    program = """
    class Interrupting(str):
        __hash__ = str.__hash__
        def __eq__(self, other):
            if "inner" not in attached():
                telemetry.attach("inner", "app.x", print)
            return str.__eq__(self, other)

    telemetry.attach(Interrupting("outer"), "app.x", print)
    tell(attached())
    """
    assert told(program) == [["inner", *BOTH, "outer"]]


def test_report_inside_of_a_report() -> None:
    """What is counted by code that interrupts the search for a call harms it not."""
    program = """
    from pytest_llmtelemetry.telemetry.claims import Counted, Memory

    memory = Memory()

    def counted_call(scope):
        return Counted(
            scope=scope, response_id="a", model=None, usage=None, span_id=1, began=1, ended=2, reported=False
        )

    class Interrupting:
        __hash__ = None
        def __eq__(self, other):
            memory.add(counted_call("inner"))
            return False

    memory.add(counted_call("outer"))
    memory.add(counted_call("outer"))
    tell(memory.see(counted_call(Interrupting())), len(memory))
    """
    assert told(program) == [True, 5]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize(
    "held", ["bus._lock", "accounting._settling", "accounting._memory._lock", "metrics._metrics._lock"]
)
def test_fork_while_another_thread_holds_a_lock(held: str) -> None:
    """The child attaches, counts and reads as usual."""
    program = f"""
    import os, signal, threading
    from pytest_llmtelemetry.telemetry import accounting, metrics

    held, over = threading.Event(), threading.Event()

    def hold():
        with {held}:
            held.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        telemetry.attach("mine", "app.x", print)
        with chat as span:
            span.result = ANSWER
        os._exit(counted())
    over.set()
    thread.join()
    tell(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    # Python itself advises against it.
    assert told(program, "-X", "dev", "-W", "ignore:This process:DeprecationWarning") == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_calls_that_wait_are_told_by_the_parent_alone() -> None:
    """A forked worker does not count what its parent has called and not priced yet."""
    program = """
    import os

    class Late:
        ready = False

    telemetry.set_pricer(Late())
    with chat as span:
        span.result = ANSWER
    child = os.fork()
    if child == 0:
        os._exit(10 + counted())
    tell(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), counted())
    """
    assert told(program) == [10, 1]


def test_results_are_let_go_while_calls_wait_for_prices() -> None:
    """Prices that are never loaded do not keep every answer in memory."""
    program = """
    import weakref

    class Late:
        ready = False
        def price(self, call):
            raise LookupError

    class Answer:
        usage = {"input_tokens": 10, "output_tokens": 5}

    telemetry.set_pricer(Late())
    answer = chat(Answer)()
    alive = weakref.ref(answer)
    del answer
    tell(alive() is None)
    """
    assert told(program) == [True]


# -- logging and recursion -----------------------------------------------------------------------


def test_logging_handler_that_is_instrumented_itself() -> None:
    """What it emits while a line is written is counted, and not logged: that would never end."""
    program = """
    class Instrumented(logging.Handler):
        lines = 0
        def emit(self, record):
            Instrumented.lines += 1
            telemetry.tool_call("log")

    logging.getLogger().addHandler(Instrumented())
    logging.getLogger("pytest_llmtelemetry").setLevel(logging.INFO)
    telemetry.tool_call("search")
    telemetry.tool_call("search")
    tell(Instrumented.lines, telemetry.get_metrics()["components"]["tools"]["calls"], attached())
    """
    assert told(program) == [2, 4, BOTH]


@pytest.mark.parametrize("step", ["telemetry.tool_call('search')", "bus.report_failure('x', ValueError())"])
def test_logging_handler_that_raises(step: str) -> None:
    """The emitter never sees it, and the metrics go on."""
    program = f"""
    class Full(logging.Handler):
        def emit(self, record):
            raise OSError("no space left on device")

    logging.getLogger().addHandler(Full())
    logging.getLogger("pytest_llmtelemetry").setLevel(logging.INFO)
    {step}
    telemetry.tool_call("search")
    tell("llmtelemetry-default-metrics" in attached(), telemetry.get_metrics()["components"]["tools"]["calls"] > 0)
    """
    assert told(program) == [True, True]


def test_recursion_of_the_application_detaches_nobody() -> None:
    """Handlers that find no stack left are not at fault."""
    program = """
    @chat
    def fall():
        return fall()

    try:
        fall()
    except RecursionError:
        tell(attached(), telemetry.current_span())
    """
    assert told(program) == [BOTH, None]


def test_handler_that_emits_what_it_hears() -> None:
    """Its recursion is its own fault: it is detached."""
    program = """
    logging.getLogger("pytest_llmtelemetry").setLevel(logging.CRITICAL)
    telemetry.attach("echo", "app.x", lambda event, *_: telemetry.execute(event))
    telemetry.execute("app.x")
    tell(attached())
    """
    assert told(program) == [BOTH]


# -- the interpreter -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags",
    [("-O",), ("-OO",), STRICT, ("-I",), ("-W", "error", "-b", "-b")],
    ids=" ".join,
)
def test_flags_of_the_interpreter(flags: tuple[str, ...]) -> None:
    """Everything that is public can be loaded and works."""
    program = """
    with chat as span:
        span.result = ANSWER
    tell([name for name in telemetry.__all__ if getattr(telemetry, name) is None], counted())
    """
    assert told(program, *flags) == [[], 1]


@pytest.mark.parametrize("place", ["__main__", "json", "builtins", "sys", "pytest_llmtelemetry.telemetry"])
def test_what_is_left_at_exit_is_silent(place: str) -> None:
    """Streams and generators that outlive the modules say nothing when they go."""
    program = f"""
    import importlib

    kept = [
        telemetry.instrument_stream(iter("ab")),
        chat(lambda: (yield 1))(),
        telemetry.span("app.items")(lambda: (yield 1))(),
    ]
    for one in kept:
        next(one)
    importlib.import_module({place!r}).kept = kept
    del kept, one
    tell()
    """
    assert told(program) == []


def test_use_at_exit() -> None:
    """Functions that run at exit, and finalisers after them, may still emit."""
    program = """
    import atexit, builtins

    class Emitter:
        def __del__(self):
            with chat as span:
                span.result = ANSWER

    @atexit.register
    def farewell():
        with chat as span:
            span.result = ANSWER
        tell(counted())

    builtins.emitter = Emitter()
    """
    assert told(program) == [1]


def test_the_process_is_left_as_it_was() -> None:
    """Import and use change neither random numbers, warnings, environment, locale, decimals, signals nor hooks."""
    done = run(*STRICT, "-c", _STATE.replace("USE", PRELUDE + _USE) + "print(json.dumps([before == after]))")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[true]\n", "")


_STATE = """
import decimal, gc, locale, logging, os, random, signal, sys, threading, warnings
def state():
    return repr((
        random.getstate(), warnings.filters, dict(os.environ), locale.setlocale(locale.LC_ALL), decimal.getcontext(),
        signal.getsignal(signal.SIGINT), sys.getrecursionlimit(), sys.getswitchinterval(), sys.gettrace(),
        sys.getprofile(), sys.excepthook, sys.get_asyncgen_hooks(), sys.meta_path, threading.excepthook,
        threading.active_count(), gc.get_threshold(), logging.root.handlers, logging.root.level,
    ))
before = state()
USE
after = state()
"""

_USE = """
@telemetry.span("app.items")
async def items():
    yield 1
try:
    items().asend(None).send(None)
except StopIteration:
    pass
with chat as span:
    span.result = ANSWER
counted()
"""


def test_reloaded_modules() -> None:
    """After each was loaded again, calls are counted once."""
    program = """
    import importlib, sys

    names = sorted(name for name in sys.modules if name.startswith("pytest_llmtelemetry.telemetry."))
    for name in [*names, "pytest_llmtelemetry.telemetry"]:
        importlib.reload(sys.modules[name])
    telemetry.attach_default_handlers()
    with telemetry.instrument("llm.chat.call") as span:
        span.result = ANSWER
    tell(counted())
    """
    assert told(program) == [1]


def test_decimals_of_the_application() -> None:
    """A context of two digits that traps all that is inexact changes no sum and raises nothing."""
    program = """
    import decimal

    traps = [decimal.Inexact, decimal.Rounded, decimal.FloatOperation, decimal.InvalidOperation, decimal.Subnormal]
    with decimal.localcontext(decimal.Context(prec=2, traps=traps)):
        for cost in ("0.0012345678", 0.1, {"total_cents": "0.123456"}, "no amount"):
            with chat as span:
                span.result = {"usage": {"input_tokens": 1, "output_tokens": 1}, "cost": cost}
        above = telemetry.check_cost_threshold("0.123456789", 0.1)
        shown = telemetry.dashboard_data(60_000, thresholds=telemetry.Thresholds(cost_usd=0.0001))
    logged = telemetry.get_metrics()["events"].get(bus.INSTRUMENT_FAILURE)
    tell(above, str(shown["components"]["costs"]["total_usd"]), shown["components"]["costs"]["unpriced_calls"], logged)
    """
    assert told(program, "-X", "dev") == [True, "0.1024691278", 1, None]


# -- what is decorated, and what it returns ------------------------------------------------------


@pytest.mark.parametrize("decorator", ["chat", "telemetry.instrument_cache_lookup('key')"], ids=["span", "point"])
def test_decorators_above_others(decorator: str) -> None:
    """Class methods, static methods, single dispatch and partial functions work as they do without."""
    program = f"""
    import functools

    decorate = {decorator}

    class Application:
        @decorate
        @classmethod
        def name(cls, greeting):
            return greeting + cls.__name__

        @decorate
        @staticmethod
        def twice(number):
            return 2 * number

        @functools.singledispatchmethod
        @decorate
        def kind(self, value):
            return "object"

        @kind.register
        @decorate
        def _(self, value: int):
            return "int"

    app = Application()
    answers = [app.name("I am "), Application.name("I am "), app.twice(2), Application.twice(2), app.kind(1), app.kind("")]
    tell(answers, decorate(functools.partial(pow, 2))(3))
    """
    application = "I am Application"
    assert told(program, "-W", "error") == [[application, application, 4, 4, "int", "object"], 8]


@pytest.mark.parametrize("decorator", ["chat", "telemetry.instrument_cache_lookup('key')"], ids=["span", "point"])
def test_what_cannot_be_called(decorator: str) -> None:
    """A property is refused where it is decorated, not where it is read."""
    program = f"""
    try:
        {decorator}(property(len))
    except TypeError as error:
        tell(str(error).partition("<")[0], str(error).partition(";")[2])
    """
    assert told(program) == ["cannot instrument ", " decorate the function below it"]


def test_objects_that_cannot_be_asked() -> None:
    """Whatever helper gets an object of which every question raises, nothing reaches the application."""
    program = """
    class Hostile:
        __hash__ = None
        @property
        def __class__(self):
            raise RuntimeError("working outside of a context")
        def __getattr__(self, name):
            raise OSError(name)
        def __bool__(self):
            raise ValueError
        __eq__ = __len__ = __str__ = __bool__

    logging.getLogger("pytest_llmtelemetry").setLevel(logging.CRITICAL)
    it = Hostile()
    returned = [
        chat(lambda: it)(),
        telemetry.instrument_cache_lookup(it, lambda: it),
        telemetry.instrument_cache_lookup("key")(lambda: it)(),
        telemetry.instrument_cache_store(it, it, 1, lambda: it),
        next(telemetry.instrument_stream(iter([it]))),
    ]
    telemetry.tool_call("search", it)
    telemetry.retry_attempt(2, reason=it)
    telemetry.cache_expired(it)
    telemetry.instrument_session_add_message("s1", it)
    telemetry.instrument_session_token_usage("s1", it)
    telemetry.circuit_breaker_state_changed(it, it, it, reason=it)
    telemetry.context_window_exceeded(1, 2, provider=it)
    for helper in (
        telemetry.instrument_context_truncation(it, strategy="none"),
        telemetry.instrument_http("get", it, content=it, provider=it),
        telemetry.instrument_provider(it, it, {"temperature": it}),
    ):
        with helper as span:
            span.result = it
    tell([one is it for one in returned], attached())
    """
    assert told(program) == [[True] * 5, BOTH]


def test_attributes_are_read_once() -> None:
    """A result whose attributes are slow is asked for each once, and for few."""
    program = """
    class Slow:
        def __init__(self):
            self.asked = []
        def __getattr__(self, name):
            self.asked.append(name)

    def costs(use):
        slow = Slow()
        use(slow)
        return len(slow.asked) <= 22 and len(set(slow.asked)) == len(slow.asked)

    def http(slow):
        with telemetry.instrument_http("get", "https://api.example.com") as span:
            span.result = slow

    tell(
        costs(lambda slow: chat(lambda: slow)()),
        costs(lambda slow: telemetry.instrument_cache_lookup("key", lambda: slow)),
        costs(lambda slow: list(telemetry.instrument_stream(iter([slow])))),
        costs(http),
    )
    """
    assert told(program) == [True] * 4


@pytest.mark.parametrize("letter", ["x", "é"], ids=["ascii", "utf-8"])
def test_large_texts_are_not_copied(letter: str) -> None:
    """A text of 20 MB costs a fraction of that."""
    program = f"""
    import tracemalloc

    large = {letter!r} * (20_000_000 // len({letter!r}.encode()))
    sizes = []
    telemetry.attach("sizes", "llm.cache.lookup.hit", lambda *event: sizes.append(event[1]["size_bytes"]))
    tracemalloc.start()
    telemetry.instrument_cache_lookup("key", lambda: large)
    telemetry.instrument_cache_store("key", large, 60, lambda: None)
    telemetry.tool_call("search", large)
    telemetry.instrument_session_add_message("s1", large)
    telemetry.instrument_http("post", "https://api.example.com", content=large)
    chat(lambda: large)()
    chat(lambda: {{**ANSWER, "text": large, "error": large}})()
    tell(sizes, tracemalloc.get_traced_memory()[1] < 2_000_000)
    """
    assert told(program, "-W", "error") == [[20_000_000], True]


def test_views_of_memory() -> None:
    """Their size is in bytes, whatever their items; one that was released has none."""
    program = """
    import array

    sizes, view = [], memoryview(b"gone")
    view.release()
    telemetry.attach("sizes", "llm.http.request.stop", lambda *event: sizes.append(event[1].get("request_bytes")))
    for content in (memoryview(array.array("d", [1, 2, 3])), view):
        with telemetry.instrument_http("post", "https://api.example.com", content=content):
            pass
    tell(sizes)
    """
    assert told(program) == [[24, None]]


# -- the real SDKs -------------------------------------------------------------------------------


def test_the_real_sdks() -> None:
    """Nothing of capture is active; what the application reports is priced, and counted once each."""
    done = run(*STRICT, str(PROGRAMS / "real_sdks.py"))
    assert (done.returncode, done.stderr) == (0, "")
    gpt, claude = ["openai", "chat", "0.0035"], ["anthropic", "chat", "0.0045"]
    embedding = ["openai", "embeddings", "0.00002"]
    assert json.loads(done.stdout) == {
        "costs": [gpt, claude, embedding, embedding, gpt, claude, gpt, gpt, gpt],
        "streams": {"complete": 2},
        "foreign": [],
    }
