"""The catalogue: what every event consists of, events of users, and what strict mode has to say."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import openai
import pytest

from pytest_llmtelemetry import faults, reply
from pytest_llmtelemetry import tool_call as wanted_tool
from pytest_llmtelemetry.mocking.mock import LLMMock
from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import (
    EventSpec,
    Field,
    attached,
    cache_evicted,
    cache_expired,
    check_cost_threshold,
    circuit_breaker_state_changed,
    context_window_exceeded,
    declare,
    embedding_call,
    instrument,
    instrument_cache_lookup,
    instrument_cache_store,
    instrument_context_truncation,
    instrument_http,
    instrument_provider,
    instrument_session_add_message,
    instrument_session_cleared,
    instrument_session_created,
    instrument_session_token_usage,
    instrument_session_truncated,
    instrument_stream,
    rate_limit_hit,
    retry_attempt,
    tool_call,
)
from pytest_llmtelemetry.telemetry.catalogue import CATALOGUE, find, known_events, problems
from pytest_llmtelemetry.telemetry.names import CHUNK


specs = pytest.mark.parametrize("spec", CATALOGUE.values(), ids=CATALOGUE.keys())

EMITTERS = {"capture", "application", "accounting", "limits", "bus"}
UNITS = {"ns": "ns", "s": "s", "usd": "USD", "tokens": "tokens", "bytes": "bytes"}
"""The unit that the end of a key promises."""


@pytest.fixture
def declared() -> Iterator[list[Callable[[], None]]]:
    """Undo functions of declarations, called at the end."""
    undo: list[Callable[[], None]] = []
    yield undo
    for one in undo:
        one()


# -- our own events ---------------------------------------------------------------------


@specs
def test_event_has_a_dotted_name_and_says_when_and_who(spec: EventSpec) -> None:
    """Each event is found under its own name, and says when it is emitted, and by whom."""
    assert re.fullmatch(r"(llm|telemetry)(\.[a-z]+(_[a-z]+)*)+", spec.name)
    assert find(spec.name) is spec
    assert spec.when
    assert spec.emitters
    assert EMITTERS.issuperset(spec.emitters)


@specs
def test_keys_of_an_event_are_unique_and_explained(spec: EventSpec) -> None:
    """Measurements have no key twice, metadata has none, and each is explained in words."""
    for fields in (spec.measurements, spec.metadata):
        assert [key for key, count in Counter(field.key for field in fields).items() if count > 1] == []
        assert [field.key for field in fields if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", field.key)] == []
        assert [field.key for field in fields if not field.about.strip()] == []


@specs
def test_measurements_have_units_and_metadata_has_none(spec: EventSpec) -> None:
    """A measurement has a unit, and the one that its key promises."""
    assert [field.key for field in spec.measurements if field.unit is None] == []
    assert [field.key for field in spec.metadata if field.unit is not None] == []
    promised = {field.key: UNITS[end] for field in spec.measurements if (end := field.key.rpartition("_")[2]) in UNITS}
    assert {field.key: field.unit for field in spec.measurements if field.key in promised} == promised


def test_span_events_come_in_threes() -> None:
    """Whatever starts may stop or raise, and its start states nothing that its ends do not."""
    starts = [spec for spec in CATALOGUE.values() if spec.name.endswith(".start")]
    assert len(starts) == 6
    for start in starts:
        keys = {field.key for field in start.metadata}
        for end in ("stop", "exception"):
            spec = CATALOGUE[start.name.removesuffix("start") + end]
            assert keys < {field.key for field in spec.metadata}
            assert {"duration_ns", "monotonic_time_ns"} <= {field.key for field in spec.measurements if field.required}


def test_varying_keys_are_times_and_ids() -> None:
    """Snapshots leave out what differs from run to run, and nothing else."""
    assert CATALOGUE["llm.http.request.stop"].varying == {"duration_ns", "monotonic_time_ns", "span_id", "parent_id"}


def test_catalogue_cannot_be_changed() -> None:
    """It is read-only."""
    with pytest.raises(TypeError):
        CATALOGUE["llm.new"] = CATALOGUE[CHUNK]  # type: ignore[index]


# -- what is emitted, against it --------------------------------------------------------


def _raise(name: str) -> None:
    with suppress(ZeroDivisionError), instrument(name, {"provider": "acme", "model": "acme-1"}):
        raise ZeroDivisionError


def _stream_that_raises() -> None:
    def pieces() -> Iterator[str]:
        yield "Par"
        raise ZeroDivisionError

    with suppress(ZeroDivisionError):
        list(instrument_stream(pieces()))


def _everything() -> None:
    """Use all that an application may use, with every option."""
    usage = {"input_tokens": 10, "output_tokens": 2}
    answer = {"id": "a-1", "usage": usage, "finish_reason": "length", "error": "overloaded"}
    with instrument("llm.chat.call", {"provider": "acme", "model": "acme-1", "stream": False}) as span:
        span.result = answer | {"cost": 0.0036}
    with instrument_provider("acme", "acme-1", {"temperature": 0, "max_tokens": 5}) as span:
        span.result = answer | {"id": "a-2"}
    with embedding_call("acme", "acme-1", inputs=2) as span:
        span.result = {"id": "a-3", "usage": {"prompt_tokens": 8, "total_tokens": 8}}
    with instrument_http(
        "post", "https://api.example.com/v1", content=b"{}", provider="acme", timeout=3, stream=True
    ) as span:
        span.result = {"status": 500, "body": b"[]"}
    with instrument_context_truncation([1, 2], strategy="last", count_tokens=len) as span:
        span.result = [2]
    for name in ("llm.chat.call", "llm.embedding.call"):
        _raise(name)
    for context in (
        instrument_provider("acme", "acme-1"),
        instrument_http("get", "https://x"),
        instrument_context_truncation(strategy="last"),
    ):
        with suppress(ZeroDivisionError), context:
            raise ZeroDivisionError
    list(instrument_stream(iter(["Par", {"finish_reason": "stop"}]), {"provider": "acme", "model": "acme-1"}))
    _stream_that_raises()
    instrument_cache_lookup("key", lambda: "found")
    instrument_cache_lookup("key", lambda: None)
    instrument_cache_store("key", "value", 60, lambda: None)
    cache_expired("key", age_s=3)
    cache_evicted("key", reason="size", size_bytes=3)
    context_window_exceeded(130_000, 128_000, provider="acme", model="acme-1")
    instrument_session_created("s1")
    instrument_session_add_message("s1", {"role": "user", "content": "Hello"}, tokens=1)
    instrument_session_token_usage("s1", answer)
    instrument_session_cleared("s1", 3)
    instrument_session_truncated("s1", 1, 2)
    retry_attempt(2, delay_s=0.5, reason=TimeoutError(), provider="acme", model="acme-1")
    rate_limit_hit("acme", retry_after_s=1.5, model="acme-1")
    circuit_breaker_state_changed("acme", "closed", "open", reason="5 failures")
    tool_call("search", '{"q": "x"}', provider="acme")
    check_cost_threshold("0.02", "0.01")


def _undeclared(event: Event) -> set[str]:
    """Keys that the catalogue does not name. Who owns a call is for the plugin alone."""
    spec = CATALOGUE[event.name]
    measurements, metadata = {one.key for one in spec.measurements}, {one.key for one in spec.metadata}
    return (set(event.measurements) - measurements) | (set(event.metadata) - metadata - {"owner"})


def test_instrumentation_emits_what_the_catalogue_says(heard: list[Event]) -> None:
    """Each function of an application emits declared events, with all their required keys, and no others."""
    with attached(CHUNK, lambda *args: None):
        _everything()
    applications = {name for name, spec in CATALOGUE.items() if "application" in spec.emitters}
    assert {event.name for event in heard} == applications | {"llm.cost.calculated"}
    assert [(event.name, problems(event.name, event.measurements, event.metadata)) for event in heard] == [
        (event.name, []) for event in heard
    ]
    assert {event.name: keys for event in heard if (keys := _undeclared(event))} == {}


def _ask(client: openai.OpenAI, **options: Any) -> Any:
    return client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "Capital of France?"}], **options
    )


def test_capture_emits_what_the_catalogue_says(heard: list[Event], llm_mock: LLMMock) -> None:
    """So does capture: an answer, a stream with a tool call, an answer that is cut, a retry, a prompt that is too long."""
    llm_mock.openai.chat(
        [
            "Paris.",
            reply("", wanted_tool("search", {"q": "x"})),
            reply("Par", finish_reason="length"),
            faults.rate_limit(retry_after=0.001),
            "Paris.",
        ]
    )
    too_long = {"error": {"code": "context_length_exceeded", "message": "maximum context length is 8 tokens"}}
    llm_mock.router.post("https://api.openai.com/v1/chat/completions").respond(400, json=too_long)
    with openai.OpenAI(api_key="k") as client, attached(CHUNK, lambda *args: None):
        _ask(client)
        list(_ask(client, stream=True))
        _ask(client)
        _ask(client)
        with suppress(openai.BadRequestError):
            _ask(client)
    # What raises here is refused by the provider: an answer, and no exception of the transport.
    captures = {name for name, spec in CATALOGUE.items() if "capture" in spec.emitters}
    assert captures - {event.name for event in heard} == {"llm.provider.request.exception", "llm.stream.exception"}
    assert [(event.name, problems(event.name, event.measurements, event.metadata)) for event in heard] == [
        (event.name, []) for event in heard
    ]
    assert {event.name: keys for event in heard if (keys := _undeclared(event))} == {}


# -- events of users --------------------------------------------------------------------


def test_event_is_declared_by_units_and_meanings(declared: list[Callable[[], None]]) -> None:
    """The short form: a unit for each measurement, words for each key of the metadata; all are required."""
    declared.append(
        declare(
            "myapp.answer.graded",
            when="somebody graded",
            measurements={"score": "points"},
            metadata={"grader": "who graded"},
        )
    )
    assert find("myapp.answer.graded") == EventSpec(
        name="myapp.answer.graded",
        when="somebody graded",
        emitters=("application",),
        measurements=(Field(key="score", about="", unit="points", required=True),),
        metadata=(Field(key="grader", about="who graded", required=True),),
    )
    assert known_events() == (*CATALOGUE, "myapp.answer.graded")


def test_event_is_declared_by_fields(declared: list[Callable[[], None]]) -> None:
    """The long form says more, such as that a key is optional, or varies."""
    score = Field(key="score", about="of the answer", unit="points", varies=True)
    grader = Field(key="grader", about="who graded", required=True)
    declared.append(declare("llm.answer.graded", measurements=[score], metadata=iter([grader])))
    spec = find("llm.answer.graded")
    assert spec is not None
    assert (spec.measurements, spec.metadata, spec.varying) == ((score,), (grader,), frozenset({"score"}))
    assert problems("llm.answer.graded", {}, {"grader": "Ann"}) == []


def test_undo_forgets_a_declaration() -> None:
    """After it the event is unknown again, and a second undo does nothing."""
    undo = declare("myapp.graded")
    undo()
    undo()
    assert (find("myapp.graded"), known_events()) == (None, tuple(CATALOGUE))


def test_same_declaration_again_is_harmless() -> None:
    """Two parts of an application may declare the same; it is known until both have undone it."""
    first, second = (declare("myapp.graded", measurements={"score": "points"}) for _ in range(2))
    assert known_events() == (*CATALOGUE, "myapp.graded")
    second()
    assert find("myapp.graded") is not None
    first()
    assert find("myapp.graded") is None


@pytest.mark.parametrize("first_undone", [0, 1], ids=["the first", "the second"])
def test_undo_in_any_order(first_undone: int) -> None:
    """Whichever declaration is undone first, and however often, the other one holds."""
    undos = [declare("myapp.graded") for _ in range(2)]
    undos[first_undone]()
    undos[first_undone]()
    assert find("myapp.graded") is not None
    undos[1 - first_undone]()
    assert find("myapp.graded") is None


@pytest.mark.parametrize("name", ["myapp.graded", "llm.chat.call.stop"], ids=["declared", "ours"])
def test_declaring_otherwise_is_an_error(name: str, declared: list[Callable[[], None]]) -> None:
    """A name that is taken stays what it was."""
    declared.append(declare("myapp.graded", measurements={"score": "points"}))
    before = find(name)
    with pytest.raises(ValueError, match=rf"^the event '{name}' is declared already, and otherwise$"):
        declare(name, measurements={"score": "percent"})
    assert find(name) is before


@pytest.mark.parametrize("name", ["", ".", "..", "a..b", ".a", "a.", " ", "a. .b"])
def test_empty_name_is_an_error(name: str) -> None:
    """Neither a name nor a part of it may be empty."""
    with pytest.raises(ValueError) as caught:
        declare(name)
    message = f"an event name is empty, or a part of it: {name!r}; give one such as 'myapp.answer.graded'"
    assert str(caught.value) == message
    assert known_events() == tuple(CATALOGUE)


@pytest.mark.parametrize("kind", ["measurements", "metadata"])
def test_what_is_no_field_is_an_error(kind: str) -> None:
    """Strict mode would fall over it later."""
    given: dict[str, Any] = {kind: ["score"]}
    with pytest.raises(TypeError) as caught:
        declare("myapp.graded", **given)
    assert str(caught.value) == "declare(): 'score' is no Field; give a mapping of keys, or Field values"
    assert find("myapp.graded") is None


@pytest.mark.usefixtures("hasty_threads")
def test_threads_lose_no_declaration() -> None:
    """Eight threads that declare events of their own, and one in common, and undo some, lose none."""
    failures: list[Exception] = []
    kept: list[Callable[[], None]] = []
    ready = threading.Barrier(8, timeout=10)

    def work(thread: int) -> None:
        try:
            ready.wait()
            for number in range(30):
                undo = declare(f"myapp.thread{thread}.event{number}")
                kept.append(declare("myapp.common"))
                if number % 2:
                    undo()
                else:
                    kept.append(undo)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must see it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {name for name in known_events() if name.startswith("myapp.")}
    for undo in kept:
        undo()
    own = {f"myapp.thread{thread}.event{number}" for thread in range(8) for number in range(0, 30, 2)}
    assert (failures, found) == ([], own | {"myapp.common"})
    assert known_events() == tuple(CATALOGUE)


# -- strict mode ------------------------------------------------------------------------


class Unprintable:
    """Cannot be shown."""

    def __repr__(self) -> str:
        raise ZeroDivisionError


SESSION = "llm.session.cleared"


@pytest.mark.parametrize(
    ("name", "measurements", "metadata", "found"),
    [
        (SESSION, {"message_count": 3}, {"session_id": "s1"}, []),
        (SESSION, {"message_count": None}, {"session_id": None}, []),
        (SESSION, {"message_count": Decimal("0.5"), "more": 0.1}, {"session_id": "s1", "more": object}, []),
        (
            SESSION,
            {},
            {},
            [
                f"{SESSION} lacks the measurement 'message_count': that were removed",
                f"{SESSION} lacks the metadata 'session_id': of the conversation",
            ],
        ),
        (
            SESSION,
            {"message_count": "3"},
            {"session_id": "s1"},
            [f"{SESSION}: the measurement 'message_count' is '3', not a number"],
        ),
        (
            SESSION,
            {"message_count": True},
            {"session_id": "s1"},
            [f"{SESSION}: the measurement 'message_count' is True, not a number"],
        ),
        (
            SESSION,
            {"message_count": "x" * 100},
            {"session_id": "s1"},
            [f"{SESSION}: the measurement 'message_count' is '{'x' * 59}, not a number"],
        ),
        (
            SESSION,
            {"message_count": Unprintable()},
            {"session_id": "s1"},
            [f"{SESSION}: the measurement 'message_count' is <Unprintable>, not a number"],
        ),
        (
            "llm.session.closed",
            {},
            {},
            ["llm.session.closed is not an event of the catalogue; declare() it, or name it outside of 'llm.'"],
        ),
        ("myapp.session.closed", {"message_count": "3"}, {}, []),
        ("llm", {}, {}, []),
        ("llmx.session", {}, {}, []),
    ],
    ids=[
        "complete",
        "none is a value",
        "more than required",
        "keys are missing",
        "text for a number",
        "truth for a number",
        "long value",
        "value that cannot be shown",
        "undeclared",
        "undeclared, of a user",
        "the prefix alone",
        "another prefix",
    ],
)
def test_problems(name: str, measurements: dict[str, Any], metadata: dict[str, Any], found: list[str]) -> None:
    """Strict mode says what an event lacks, what is no number, and that it is not declared under ``llm.``."""
    assert problems(name, measurements, metadata) == found


def test_declared_event_is_held_to_its_declaration(declared: list[Callable[[], None]]) -> None:
    """An event of a user's, once declared, must be complete too."""
    declared.append(declare("myapp.graded", measurements={"score": "points"}))
    assert problems("myapp.graded", {"score": "A"}, {}) == [
        "myapp.graded: the measurement 'score' is 'A', not a number"
    ]
    assert problems("myapp.graded", {}, {}) == ["myapp.graded lacks the measurement 'score': "]
