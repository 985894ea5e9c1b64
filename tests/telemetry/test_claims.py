"""Counting once: a call is one event, whoever saw it and however many layers tell of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_llmtelemetry import LLMMock, faults, reply
from pytest_llmtelemetry.facts import Usage
from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import (
    accounting,
    bus,
    clock,
    embedding_call,
    instrument,
    instrument_cache_lookup,
    instrument_provider,
    instrument_stream,
)
from pytest_llmtelemetry.telemetry.accounting import AccountedCall, Billable, Price
from pytest_llmtelemetry.telemetry.claims import Counted, Memory
from pytest_llmtelemetry.telemetry.names import COST_CALCULATED
from pytest_llmtelemetry.telemetry.spans import Span, SpanContext


ABOUT = {"provider": "openai", "model": "gpt-4o-mini"}
QUESTION: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello?"}]}
USAGE = {"input_tokens": 10, "output_tokens": 5}


def chat() -> SpanContext:
    """A span of an application's own chat function."""
    return instrument("llm.chat.call", ABOUT)


def request() -> SpanContext:
    """A span of an application's own request."""
    return instrument_provider("openai", "gpt-4o-mini")


def counts(usage: Mapping[str, int]) -> Usage:
    """What was used."""
    return Usage.checked(doubts=(), **usage)


def wire(
    usage: dict[str, int] | None = None, *, response_id: str | None = None, meanwhile: Callable[[], object] = bool
) -> None:
    """A call that is seen on the wire."""
    span = Span("llm.provider.request")
    meanwhile()
    span.stop()
    accounting.account(
        AccountedCall(
            billable=Billable(
                provider="openai",
                model="gpt-4o-mini",
                requested_model=None,
                operation="chat",
                usage=None if usage is None else counts(usage),
                at=clock.date_of_prices(),
            ),
            served_by="live",
            response_id=response_id,
            span=span,
            owner=accounting.current_owner(),
        )
    )


def tell(span: Any, usage: object = None, **more: Any) -> None:
    """Open a span whose result states this."""
    with span as opened:
        opened.result = {"usage": usage, **more}


def in_thread(work: Callable[[], object]) -> None:
    """Work in a thread of its own, which has no context."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def bills(heard: list[Event]) -> list[Event]:
    """The calls that were counted."""
    return [event for event in heard if event.name == COST_CALCULATED]


def counted_under(heard: list[Event]) -> list[Any]:
    """Where the application's spans say that their money is counted."""
    return [event["accounted_span_id"] for event in heard if "accounted_span_id" in event]


# -- the real SDK -----------------------------------------------------------------------------


def sdk_client() -> openai.OpenAI:
    return openai.OpenAI(api_key="sk-test", max_retries=2)


@pytest.mark.parametrize(
    "place",
    [lambda work: work(), in_thread, lambda work: ThreadPoolExecutor(1).submit(work).result()],
    ids=["here", "thread", "executor"],
)
def test_sdk_call_in_two_layers(place: Callable[..., Any], llm_mock: LLMMock, heard: list[Event]) -> None:
    """chat.call around provider.request around the wire is one call, also where the context is lost."""
    llm_mock.openai.chat(reply("Hi", input_tokens=10, output_tokens=5))

    @request()
    def ask() -> Any:
        with sdk_client() as client:
            return client.chat.completions.create(**QUESTION)

    answers: list[Any] = []
    with chat() as span:
        place(lambda: answers.append(ask()))
        span.result = answers[0]
    (bill,) = bills(heard)
    assert counted_under(heard) == [bill["span_id"]] * 2


async def test_async_sdk_calls_at_the_same_time(llm_mock: LLMMock, heard: list[Event]) -> None:
    """Equal calls in tasks of one loop are as many calls, and each span knows its own."""
    llm_mock.openai.chat(reply("Hi", input_tokens=10, output_tokens=5))

    @chat()
    async def ask(client: openai.AsyncOpenAI) -> Any:
        completion = await client.chat.completions.create(**QUESTION)
        return {"usage": completion.usage, "text": "Hi"}

    async with openai.AsyncOpenAI(api_key="sk-test") as client:
        await asyncio.gather(*(ask(client) for _ in range(8)))
    assert sorted(counted_under(heard)) == sorted(bill["span_id"] for bill in bills(heard))
    assert len(bills(heard)) == 8


def test_sdk_retries(llm_mock: LLMMock, heard: list[Event]) -> None:
    """Attempts that failed are none, and the one that was answered is one."""
    llm_mock.openai.chat([faults.rate_limit(), faults.server_error(), "Hi"])
    with sdk_client() as client, chat() as span:
        span.result = client.chat.completions.create(**QUESTION)
    assert len(bills(heard)) == 1
    assert [event.name for event in heard].count("llm.provider.request.stop") == 3


def test_sdk_stream_that_closes_after_its_span(llm_mock: LLMMock, heard: list[Event]) -> None:
    """The application reports before the wire is done: still one call."""
    llm_mock.openai.chat(reply(chunks=["Par", "is."], input_tokens=10, output_tokens=5))
    with sdk_client() as client:
        with chat() as outer:
            with request() as span:
                stream = client.chat.completions.create(**QUESTION, stream=True, stream_options={"include_usage": True})
                pieces = [piece for piece, _ in zip(stream, range(5), strict=False)]
                span.result = pieces[-1]
            outer.result = span.result
        assert len(bills(heard)) == 1
        stream.close()
    assert len(bills(heard)) == 1


def test_sdk_stream_in_an_instrumented_stream(llm_mock: LLMMock, heard: list[Event]) -> None:
    """A watched stream adds no call."""
    llm_mock.openai.chat(reply("Paris.", input_tokens=10, output_tokens=5))
    with sdk_client() as client, chat() as span:
        stream = client.chat.completions.create(**QUESTION, stream=True, stream_options={"include_usage": True})
        span.result = list(instrument_stream(stream, ABOUT))[-1]
    assert len(bills(heard)) == 1


# -- one call, many reports ---------------------------------------------------------------------


def layers_of_one_id() -> None:
    with chat() as outer:
        tell(request(), USAGE, id="a")
        outer.result = {"id": "a", "text": "no usage"}


def layers_without_ids() -> None:
    with chat() as outer:
        wire(USAGE)
        outer.result = {"usage": USAGE}


def same_id_other_usage() -> None:
    with chat() as outer:
        wire(USAGE, response_id="a")
        outer.result = {"id": "a", "usage": {"input_tokens": 9, "output_tokens": 5}}


def own_ids() -> None:
    with chat() as outer:
        wire(USAGE, response_id="chatcmpl-1")
        outer.result = {"id": "conversation-7", "usage": USAGE}


def only_the_cost_is_told() -> None:
    with chat() as outer:
        wire(USAGE)
        outer.result = {"cost": "0.0036"}


def only_the_total_is_told() -> None:
    with chat() as outer:
        wire(USAGE)
        outer.result = {"usage": {"total_tokens": 15}}


def tokens_of_the_frameworks_own_counting() -> None:
    with chat() as outer:
        wire(USAGE)
        outer.result = {"model": "gpt-4o-mini-2024-07-18", "usage": {"input_tokens": 9, "output_tokens": 4}}


def no_usage_on_the_wire() -> None:
    with chat() as outer:
        wire(None)
        outer.result = {"usage": USAGE}


def cached_tokens_left_out() -> None:
    with chat() as outer:
        wire({"input_tokens": 1000, "output_tokens": 5, "cache_read_tokens": 700, "cache_write_tokens": 200})
        outer.result = {"usage": {"input_tokens": 100, "output_tokens": 5}}


def unseen_in_three_layers() -> None:
    with chat() as outer:
        with chat() as middle:
            tell(request(), USAGE)
            middle.result = {"usage": USAGE}
        outer.result = {"usage": USAGE}


def late_stream() -> None:
    def read() -> None:
        with chat() as outer:
            with request() as inner:
                begin.set()
                opened.wait(5)
                inner.result = {"usage": USAGE}
            outer.result = {"usage": USAGE}
        done.set()

    begin, opened, done = (threading.Event() for _ in range(3))
    reader = threading.Thread(target=read)
    reader.start()
    begin.wait(5)

    def finish_reading() -> None:
        opened.set()
        done.wait(5)

    wire(USAGE, meanwhile=finish_reading)
    reader.join()


def late_stream_without_usage() -> None:
    with ExitStack() as stack:

        def report() -> None:
            span.result = {"usage": USAGE}
            stack.close()

        span = stack.enter_context(chat())
        wire(None, meanwhile=report)


def answer_from_a_cache() -> None:
    tell(chat(), USAGE, id="a")
    tell(chat(), USAGE, id="a")
    tell(chat(), id="a")


def answer_from_a_cache_under_the_applications_id() -> None:
    with chat() as span:
        wire(USAGE, response_id="chatcmpl-1")
        span.result = {"id": "mine", "usage": USAGE}
    tell(chat(), USAGE, id="mine")
    tell(chat(), USAGE, id="mine")


@pytest.mark.parametrize(
    "scene",
    [
        *(
            layers_of_one_id,
            layers_without_ids,
            same_id_other_usage,
            own_ids,
            only_the_cost_is_told,
            only_the_total_is_told,
            tokens_of_the_frameworks_own_counting,
        ),
        *(no_usage_on_the_wire, cached_tokens_left_out, unseen_in_three_layers, late_stream),
        *(late_stream_without_usage, answer_from_a_cache, answer_from_a_cache_under_the_applications_id),
    ],
    ids=lambda scene: scene.__name__,
)
def test_one_call(scene: Callable[[], None], heard: list[Event]) -> None:
    """One call is counted once, and every span that tells of it names the same one."""
    scene()
    (bill,) = bills(heard)
    assert set(counted_under(heard)) == {bill["span_id"]}


# -- as many as there are -----------------------------------------------------------------------


def unseen_and_seen() -> None:
    with instrument("llm.chat.call", {"provider": "acme", "model": "acme-1"}) as span:
        wire(USAGE)
        span.result = {"usage": {"input_tokens": 99, "output_tokens": 1}}


def one_after_the_other() -> None:
    for _ in range(2):
        with chat() as span:
            wire(USAGE)
            span.result = {"usage": USAGE}


def unseen_one_after_the_other() -> None:
    tell(chat(), USAGE)
    tell(chat(), USAGE)


def one_id_for_all_answers() -> None:
    tell(chat(), USAGE, id="conversation-7")
    tell(chat(), {"input_tokens": 20, "output_tokens": 9}, id="conversation-7")


def beside_a_call_that_is_taken() -> None:
    def other() -> None:
        with chat() as second:
            in_thread(lambda: wire(USAGE))
            accounting.report(of(first, USAGE)).emit()
            second.result = {"usage": USAGE}

    with chat() as first:
        in_thread(other)


def two_late_streams_and_one_report() -> None:
    with ExitStack() as stack:

        def report() -> None:
            span.result = {"usage": USAGE}
            stack.close()

        span = stack.enter_context(chat())
        wire(USAGE, meanwhile=lambda: wire(USAGE, meanwhile=report))


def late_stream_beside_a_call() -> None:
    with ExitStack() as stack:

        def report() -> None:
            wire(USAGE)
            span.result = {"usage": USAGE}
            stack.close()

        span = stack.enter_context(chat())
        wire(USAGE, meanwhile=report)


def tool_loop() -> None:
    with chat() as span:
        for number in (1, 2):
            with request() as step:
                wire({"input_tokens": number, "output_tokens": number})
                step.result = {"usage": {"input_tokens": number, "output_tokens": number}}
        span.result = {"usage": {"input_tokens": 3, "output_tokens": 3}}


def tool_loop_after_a_router() -> None:
    with chat() as span:
        wire({"input_tokens": 7, "output_tokens": 1})
        with chat() as loop:
            wire({"input_tokens": 1, "output_tokens": 1})
            loop.result = {"usage": {"input_tokens": 1, "output_tokens": 1}}
        span.result = loop.result


def tool_loop_in_a_layer_and_a_router() -> None:
    with chat() as span:
        with chat() as loop:
            wire({"input_tokens": 1, "output_tokens": 1})
            loop.result = {"usage": {"input_tokens": 1, "output_tokens": 1}}
            in_thread(lambda: wire({"input_tokens": 2, "output_tokens": 2}))
        span.result = {"usage": {"input_tokens": 2, "output_tokens": 2}}


def tool_loop_in_a_thread() -> None:
    def loop() -> None:
        for number in (1, 2):
            wire({"input_tokens": number, "output_tokens": number})

    with chat() as span:
        in_thread(loop)
        span.result = {"usage": {"input_tokens": 3, "output_tokens": 3}}


def sum_of_an_inner_layer() -> None:
    with chat() as span:
        wire({"input_tokens": 7, "output_tokens": 1})
        with chat() as inner:
            inner.result = {"usage": {"input_tokens": 3, "output_tokens": 3}}
        span.result = inner.result


@pytest.mark.parametrize(
    "scene",
    [
        *(beside_a_call_that_is_taken, two_late_streams_and_one_report, late_stream_beside_a_call),
        *(unseen_and_seen, one_after_the_other, unseen_one_after_the_other, one_id_for_all_answers, tool_loop),
        *(tool_loop_after_a_router, tool_loop_in_a_layer_and_a_router, tool_loop_in_a_thread, sum_of_an_inner_layer),
    ],
    ids=lambda scene: scene.__name__,
)
def test_two_calls(scene: Callable[[], None], heard: list[Event]) -> None:
    """Two calls are two, neither more nor fewer."""
    scene()
    assert len(bills(heard)) == 2


def test_sum_that_an_inner_layer_told(heard: list[Event]) -> None:
    """An outer layer that passes on the sum of an inner one tells nothing new, whatever else was asked."""
    with chat() as span:
        wire({"input_tokens": 7, "output_tokens": 1})
        with chat() as loop:
            for number in (1, 2):
                wire({"input_tokens": number, "output_tokens": number})
            loop.result = {"usage": {"input_tokens": 3, "output_tokens": 3}}
        span.result = loop.result
    assert len(bills(heard)) == 3


@pytest.mark.parametrize(
    "make",
    [lambda: wire(USAGE), lambda: in_thread(lambda: wire(USAGE)), bool],
    ids=["seen", "seen elsewhere", "unseen"],
)
def test_threads_with_equal_calls(make: Callable[[], object], heard: list[Event]) -> None:
    """Equal calls at the same time are as many calls."""
    together = threading.Barrier(8, timeout=10)

    def work() -> None:
        with chat() as span:
            together.wait(5)
            make()
            together.wait(5)
            span.result = {"usage": USAGE}

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bills(heard)) == 8
    assert sorted(counted_under(heard)) == sorted(bill["span_id"] for bill in bills(heard))


def test_answer_without_a_word_takes_no_other_call(heard: list[Event]) -> None:
    """A span that states nothing, beside a call of another thread, does not spoil that one's count."""
    with chat() as silent:
        silent.result = {"text": "from a cache"}

        def other() -> None:
            with chat() as span:
                in_thread(lambda: wire(USAGE))
                accounting.report(of(silent))
                span.result = {"usage": USAGE}

        in_thread(other)
    assert len(bills(heard)) == 1


def of(span: Span, usage: Mapping[str, int] | None = None) -> AccountedCall:
    """What a span reports."""
    billable = Billable(
        provider="openai",
        model=None,
        requested_model="gpt-4o-mini",
        operation="chat",
        usage=None if usage is None else counts(usage),
        at=clock.date_of_prices(),
    )
    return AccountedCall(billable=billable, served_by="live", span=span, owner=span.owner)


@pytest.mark.parametrize(
    "result",
    [None, "text", {}, {"id": "a"}, {"usage": {}}, {"error": "failed"}, object()],
    ids=["None", "text", "empty", "id alone", "empty usage", "error", "object"],
)
def test_what_states_nothing_is_no_call(result: object, heard: list[Event]) -> None:
    """A span whose result states neither usage nor cost is not counted, and says so."""
    with chat() as span:
        span.result = result
    assert bills(heard) == []
    assert heard[-1].metadata.get("accounted_span_id") is None


def test_exception_is_no_call(heard: list[Event]) -> None:
    """A call that raised is not counted."""
    with pytest.raises(ZeroDivisionError), chat():
        raise ZeroDivisionError
    assert bills(heard) == []


@pytest.mark.parametrize("name", ["app.answer", "llm.chat", "llm.http.request"])
def test_span_of_another_name_is_no_call(name: str, heard: list[Event]) -> None:
    """Only the spans that stand for a call of a provider count one."""
    tell(instrument(name), USAGE)
    assert bills(heard) == []


def test_embedding_is_a_call(heard: list[Event]) -> None:
    """An embedding that nobody saw is counted as one, without output, so that it can be priced."""
    tell(embedding_call("acme", "embed-1", inputs=2), {"prompt_tokens": 8, "total_tokens": 8})
    (bill,) = bills(heard)
    found = [bill[key] for key in ("operation", "model", "input_tokens", "output_tokens")]
    assert found == ["embeddings", "embed-1", 8, 0]


def test_call_that_nobody_saw(heard: list[Event]) -> None:
    """It is counted with what the result states, and belongs to the span that told of it."""
    with chat() as span:
        span.result = {"id": "a", "model": "gpt-4o-mini-2", "usage": USAGE, "cost": 0.0000042, "finish_reason": "stop"}
    stop, bill = heard[1:]
    assert (stop.name, stop["accounted_span_id"]) == ("llm.chat.call.stop", span.id)
    assert bill.measurements == {"cost_usd": Decimal("0.0000042"), **counts(USAGE).counts()}
    assert bill.metadata == {
        "provider": "openai",
        "model": "gpt-4o-mini-2",
        "requested_model": "gpt-4o-mini",
        "operation": "chat",
        "price_source": "application",
        "served_by": "live",
        "finish_reason": "stop",
        "estimated": False,
        "owner": span.owner,
        "span_id": span.id,
        "parent_id": None,
    }


# -- random trees -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leaf:
    """A real call."""

    tokens: int
    seen: bool
    has_id: bool
    threaded: bool


@dataclass(frozen=True)
class Branch:
    """A span of the application around some of them."""

    below: tuple[Leaf | Branch, ...]
    told: str
    """What it reports: the ``last`` call, the ``sum`` of all, the last one's ``id``, or ``nothing``."""


LEAVES = st.builds(Leaf, st.integers(1, 3), st.booleans(), st.booleans(), st.booleans())
TREES = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        Branch,
        st.lists(inner, min_size=1, max_size=3).map(tuple),
        st.sampled_from(["last", "sum", "id", "nothing"]),
    ),
    max_leaves=8,
)


@dataclass
class Play:
    """Makes the calls of a tree."""

    calls: list[dict[str, Any]] = field(default_factory=list)

    def run(self, tree: Leaf | Branch) -> None:
        if isinstance(tree, Branch):
            self._run_branch(tree)
        elif tree.threaded and tree.seen:
            in_thread(lambda: self._call(tree))
        else:
            self._call(tree)

    def _call(self, leaf: Leaf) -> None:
        usage = {"input_tokens": leaf.tokens, "output_tokens": 1}
        response_id = f"chatcmpl-{len(self.calls)}" if leaf.has_id else None
        if leaf.seen:
            wire(usage, response_id=response_id)
        else:
            tell(request(), usage, id=response_id)
        self.calls.append({"id": response_id, "usage": usage})

    def _run_branch(self, branch: Branch) -> None:
        first = len(self.calls)
        with chat() as span:
            for one in branch.below:
                self.run(one)
            mine = self.calls[first:]
            if branch.told == "last":
                span.result = {"usage": mine[-1]["usage"]}
            elif branch.told == "id":
                span.result = mine[-1]
            elif branch.told == "sum":
                totals = [sum(call["usage"][key] for call in mine) for key in ("input_tokens", "output_tokens")]
                span.result = {"usage": dict(zip(("input_tokens", "output_tokens"), totals, strict=True))}


def only_lost_or_only_found(tree: Leaf | Branch) -> bool:
    """A sum over calls of which only some have lost their context is not recognised."""
    leaves: list[Leaf] = []
    stack: list[Leaf | Branch] = [tree]
    while stack:
        one = stack.pop()
        if isinstance(one, Leaf):
            leaves.append(one)
        else:
            stack += one.below
    return len({leaf.threaded and leaf.seen for leaf in leaves}) == 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES.filter(only_lost_or_only_found))
def test_random_trees(tree: Leaf | Branch, heard: list[Event]) -> None:
    """Whatever tells of them, the calls that are counted are those that were made."""
    heard.clear()
    owner = accounting.current_owner()
    assert owner is not None
    accounting.forget(owner.key)
    play = Play()
    play.run(tree)
    assert len(bills(heard)) == len(play.calls)


# -- owners -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Somebody:
    """Whose call it is."""

    key: str


@pytest.fixture
def in_the_name_of() -> Iterator[Callable[[str], None]]:
    """Says whose turn it is."""
    undo: list[Callable[[], None]] = []

    def be(name: str) -> None:
        undo.append(accounting.set_owner(lambda: Somebody(name)))

    yield be
    for step in reversed(undo):
        step()
    for name in ("one", "two"):
        accounting.forget(name)


def test_owners_are_kept_apart(in_the_name_of: Callable[[str], None], heard: list[Event]) -> None:
    """The same answer, told in the name of another, is another call."""
    for name in ("one", "two", "one"):
        in_the_name_of(name)
        tell(chat(), USAGE, id="a")
    assert [bill["owner"] for bill in bills(heard)] == [Somebody("one"), Somebody("two")]


def test_call_of_another_is_not_claimed(in_the_name_of: Callable[[str], None], heard: list[Event]) -> None:
    """An equal call that another made meanwhile is that one's."""
    in_the_name_of("one")
    with chat() as span:
        in_the_name_of("two")
        wire(USAGE)
        span.result = {"usage": USAGE}
    assert [bill["owner"] for bill in bills(heard)] == [Somebody("two"), Somebody("one")]


def test_answer_from_a_cache_of_another(in_the_name_of: Callable[[str], None], heard: list[Event]) -> None:
    """Each knows its own answers by the ids that it gives them, also if another gives the same."""
    for name in ("one", "two"):
        in_the_name_of(name)
        with chat() as span:
            wire(USAGE)
            span.result = {"id": "mine", "usage": USAGE}
        tell(chat(), USAGE, id="mine")
    assert [bill["owner"] for bill in bills(heard)] == [Somebody("one"), Somebody("two")]


def test_owner_that_is_done_is_forgotten(in_the_name_of: Callable[[str], None], heard: list[Event]) -> None:
    """What is forgotten is not recognised, and others are kept."""
    in_the_name_of("one")
    tell(chat(), USAGE, id="a")
    accounting.forget("two")
    tell(chat(), USAGE, id="a")
    assert len(bills(heard)) == 1
    accounting.forget("one")
    tell(chat(), USAGE, id="a")
    assert len(bills(heard)) == 2


# -- what is remembered -------------------------------------------------------------------------


def counted(place: int, *, response_id: str | None = None, reported: bool = True, **more: Any) -> Counted:
    """A call at a place in the order of events."""
    return Counted(
        scope=None,
        response_id=response_id,
        model=None,
        usage=None,
        span_id=place,
        began=place,
        ended=place + 1,
        reported=reported,
        **more,
    )


def test_memory_is_bounded() -> None:
    """The oldest calls are forgotten."""
    memory = Memory(size=3)
    for place in range(10):
        memory.claim(counted(place, response_id=f"a-{place}"), keep=True)
    assert len(memory) == 3
    assert memory.claim(counted(20, response_id="a-6"), keep=False) is None
    assert memory.claim(counted(20, response_id="a-9"), keep=False) is not None


def test_answers_from_a_cache_fill_no_memory() -> None:
    """Telling of the same answer again and again leaves no trace."""
    memory = Memory(size=3)
    memory.claim(counted(1, response_id="old"), keep=True)
    for place in range(2, 10):
        memory.claim(counted(place, response_id="hot"), keep=True)
    assert len(memory) == 2


def test_no_result_is_kept_alive() -> None:
    """A call is remembered without its span, which holds the whole answer."""
    with chat() as span:
        span.result = {"usage": USAGE}
    remembered = [one for one in accounting._memory._calls if one.span_id == span.id]
    assert len(remembered) == 1
    assert not any(isinstance(getattr(remembered[0], name), Span) for name in Counted.__slots__)


def test_cost_of_an_answer(heard: list[Event]) -> None:
    """What an answer cost is known by the id that the wire or the application gives it."""
    undo = accounting.set_pricer(_Till())
    with chat() as span:
        wire(USAGE, response_id="chatcmpl-1")
        wire(USAGE, response_id="chatcmpl-2")
        span.result = {"id": "mine", "usage": {"input_tokens": 20, "output_tokens": 10}}
    undo()
    costs = [accounting.cost_of(one) for one in ("chatcmpl-1", "mine", "never")]
    assert costs == [Decimal("0.02"), Decimal("0.04"), None]
    instrument_cache_lookup("question", lambda: {"id": "mine", "text": "Paris."})
    assert heard[-1]["saved_cost_usd"] == Decimal("0.04")


def test_cost_that_nobody_knows() -> None:
    """An unpriced answer has no cost."""
    tell(chat(), USAGE, id="a")
    assert accounting.cost_of("a") is None


class _Till:
    """One price for everything."""

    ready = True

    def price(self, call: Billable) -> Price:
        return Price(cost_usd=Decimal("0.02"), source="override")


class _Broken:
    """A pricer that raises."""

    ready = True

    def price(self, call: Billable) -> Price:
        raise ZeroDivisionError


def test_pricer_that_raises(heard: list[Event]) -> None:
    """The application goes on, the call is counted, and the failure is told."""
    undo = accounting.set_pricer(_Broken())
    tell(chat(), USAGE)
    undo()
    (bill,) = bills(heard)
    assert (bill["cost_usd"], bill["unpriced_reason"]) == (None, "the pricer raised ZeroDivisionError")
    (failure,) = [event for event in heard if event.name == bus.INSTRUMENT_FAILURE]
    assert (failure["where"], failure["error_type"]) == ("the price of a call", "ZeroDivisionError")
