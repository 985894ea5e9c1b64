"""The default handlers: one log line and one sample for each event, whatever is in it."""

from __future__ import annotations

import decimal
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmtelemetry.facts import FinishReason
from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.telemetry import (
    Metrics,
    attach,
    attach_default_handlers,
    bus,
    dashboard_data,
    declare,
    execute,
    get_metrics,
    list_handlers,
    span,
)
from pytest_llmtelemetry.telemetry.catalogue import CATALOGUE
from pytest_llmtelemetry.telemetry.handlers import line
from pytest_llmtelemetry.telemetry.metrics import swap_metrics
from pytest_llmtelemetry.telemetry.names import CHUNK


LOGGER = "pytest_llmtelemetry.events"
KEYS = {
    "OpenAI": "sk-abcdefghijklmnop1234",
    "Google": "AIza" + "B" * 35,
    "AWS": "AKIA" + "C" * 16,
    "GitHub": "ghp_" + "d" * 36,
    "Perplexity": "pplx-" + "e" * 32,
    "JWT": "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK",
    "bearer": "Bearer abcdefghijklmnop",
}


@pytest.fixture(autouse=True)
def metrics() -> Iterator[Metrics]:
    """Metrics of the process that begin at zero."""
    fresh = Metrics()
    undo = swap_metrics(fresh)
    yield fresh
    undo()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged about events, from DEBUG on."""
    caplog.set_level(logging.DEBUG, logger=LOGGER)
    return caplog


def logged(log: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """The lines about events, with their levels."""
    return [(record.levelname, record.getMessage()) for record in log.records if record.name == LOGGER]


def counted() -> dict[str, int]:
    """How often each event was counted."""
    events: dict[str, int] = get_metrics()["events"]
    return events


# -- attach and detach ------------------------------------------------------------------


def test_default_handlers_log_and_count(log: pytest.LogCaptureFixture) -> None:
    """Each event is one line in the log and one sample in the metrics."""
    attach_default_handlers()
    execute("llm.cache.lookup.hit", {"size_bytes": 5}, {"key": "greeting"})
    assert logged(log) == [("INFO", "llm.cache.lookup.hit key=greeting size_bytes=5")]
    assert counted() == {"llm.cache.lookup.hit": 1}


def test_every_event_is_heard_but_chunks(log: pytest.LogCaptureFixture) -> None:
    """The whole catalogue is attached, without the event that is emitted on demand."""
    attach_default_handlers()
    for name in CATALOGUE:
        execute(name)
    assert [message for _, message in logged(log)] == [name for name in CATALOGUE if name != CHUNK]
    assert not bus.has_handler(CHUNK)


def test_attaching_twice_is_harmless(log: pytest.LogCaptureFixture) -> None:
    """The second time nothing is heard twice, and its level counts."""
    attach_default_handlers(level="DEBUG")
    attach_default_handlers(level="ERROR")
    execute("llm.cache.lookup.hit", {}, {"key": "greeting"})
    assert logged(log) == [("ERROR", "llm.cache.lookup.hit key=greeting")]
    assert counted() == {"llm.cache.lookup.hit": 1}


def test_attaching_returns_its_undo(log: pytest.LogCaptureFixture) -> None:
    """After it nothing is logged or counted, and a second undo does nothing."""
    undo = attach_default_handlers()
    undo()
    undo()
    execute("llm.cache.lookup.hit")
    assert (logged(log), counted(), list_handlers()) == ([], {}, [])


def test_undo_of_the_first_leaves_the_second(log: pytest.LogCaptureFixture) -> None:
    """Who attached last is undone last."""
    first = attach_default_handlers()
    second = attach_default_handlers()
    first()
    execute("llm.cache.lookup.hit")
    assert (len(logged(log)), counted()) == (1, {"llm.cache.lookup.hit": 1})
    second()
    assert list_handlers() == []


def test_declared_events_are_heard(log: pytest.LogCaptureFixture) -> None:
    """What was declared before is logged and counted; what is declared later, after attaching again."""
    undo_early = declare("myapp.early")
    attach_default_handlers()
    undo_late = declare("myapp.late")
    execute("myapp.early")
    execute("myapp.late")
    attach_default_handlers()
    execute("myapp.late")
    undo_early()
    undo_late()
    assert [message for _, message in logged(log)] == ["myapp.early", "myapp.late"]
    assert counted() == {"myapp.early": 1, "myapp.late": 1}


@pytest.mark.parametrize(
    ("level", "name"),
    [(logging.DEBUG, "DEBUG"), ("debug", "DEBUG"), ("WARNING", "WARNING"), ("Warn", "WARNING"), (35, "Level 35")],
)
def test_level_is_a_number_or_a_name(level: int | str, name: str, log: pytest.LogCaptureFixture) -> None:
    """Names may be written in any case."""
    attach_default_handlers(level=level)
    execute("llm.cache.lookup.hit")
    assert logged(log) == [(name, "llm.cache.lookup.hit")]


def test_level_may_have_a_name_of_the_application(log: pytest.LogCaptureFixture) -> None:
    """A level that was added to ``logging`` is found as it is written."""
    logging.addLevelName(15, "chatty")
    attach_default_handlers(level="chatty")
    execute("llm.cache.lookup.hit")
    assert logged(log) == [("chatty", "llm.cache.lookup.hit")]


@pytest.mark.parametrize("level", ["loud", "", "20", None, True, 20.0, ["INFO"]], ids=repr)
def test_level_that_is_none_is_an_error(level: Any) -> None:
    """The error shows the value and the valid names, in one line, and nothing is attached."""
    with pytest.raises(ValueError) as caught:
        attach_default_handlers(level=level)
    message = str(caught.value)
    assert message.startswith(f"attach_default_handlers(level={level!r}): no level of logging; valid are numbers, ")
    assert {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"} <= set(message.partition("valid are ")[2].split(", "))
    assert ("\n" in message, list_handlers()) == (False, [])


# -- the line ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measurements", "metadata", "words"),
    [
        ({}, {}, ""),
        ({"duration_ns": 12_345_678}, {}, "in 12.3 ms"),
        ({"duration_ns": 1.5e6}, {}, "in 1.5 ms"),
        ({"duration_ns": None}, {}, ""),
        ({"duration_ns": "soon"}, {}, ""),
        ({"duration_ns": 10**400}, {}, ""),
        ({"output_tokens": 2}, {"model": "gpt-4o"}, "model=gpt-4o output_tokens=2"),
        ({"cost_usd": None}, {"model": None}, ""),
        ({"cost_usd": Decimal("0.0000036")}, {}, "cost_usd=$0.0000036"),
        ({"cost_usd": Decimal("1e999999999")}, {}, "cost_usd=1E+999999999"),
        ({"cost_usd": Decimal("1e-999999999")}, {}, "cost_usd=1E-999999999"),
        ({"cost_usd": Decimal(-1)}, {}, "cost_usd=-1"),
        ({"cost_usd": Decimal("NaN")}, {}, "cost_usd=NaN"),
        ({"score": Decimal("0.5")}, {}, "score=0.5"),
        ({}, {"finish_reason": FinishReason.STOP}, "finish_reason=stop"),
        ({"monotonic_time_ns": 1, "system_time_ns": 2}, {"span_id": 3, "parent_id": 4}, ""),
        ({}, {"name": "x" * 121}, f"name={'x' * 120}…"),
        ({}, {"a\nb": "c\r\nd\x1b[31m\u2028e"}, "a?b=c??d?[31m?e"),
        ({}, {3: 4, None: 5}, "3=4 None=5"),
    ],
    ids=[
        "nothing",
        "duration",
        "duration in a float",
        "no duration",
        "duration in words",
        "absurd duration",
        "metadata first",
        "none is not shown",
        "small cost",
        "absurd cost",
        "absurdly small cost",
        "negative cost",
        "cost that is no number",
        "other decimals",
        "enumeration",
        "times and ids are not shown",
        "long value",
        "control characters",
        "keys that are no text",
    ],
)
def test_line(measurements: dict[str, Any], metadata: dict[str, Any], words: str) -> None:
    """A line is the event's name, how long it took, and what it states."""
    assert line("llm.event", measurements, metadata) == f"llm.event {words}".strip()


@pytest.mark.parametrize(
    ("event", "metadata", "level"),
    [
        ("llm.chat.call.stop", {"success": True}, "DEBUG"),
        ("llm.chat.call.stop", {}, "DEBUG"),
        ("llm.chat.call.stop", {"success": False}, "WARNING"),
        ("llm.chat.call.exception", {"success": False}, "WARNING"),
        ("llm.chat.call.exception", {}, "WARNING"),
        ("llm.cost.threshold.exceeded", {}, "WARNING"),
        ("telemetry.handler.failure", {}, "WARNING"),
        ("telemetry.instrument.failure", {}, "WARNING"),
        ("llm.cache.lookup.miss", {}, "DEBUG"),
    ],
)
def test_failures_are_warnings(event: str, metadata: dict[str, Any], level: str, log: pytest.LogCaptureFixture) -> None:
    """What failed is logged as a warning, whatever the level of the rest."""
    attach_default_handlers(level="DEBUG")
    execute(event, {}, metadata)
    assert [one for one, _ in logged(log)] == [level]


def test_failures_keep_a_level_above_warning(log: pytest.LogCaptureFixture) -> None:
    """A level above it holds for failures too."""
    attach_default_handlers(level="CRITICAL")
    execute("llm.chat.call.exception")
    assert logged(log) == [("CRITICAL", "llm.chat.call.exception")]


def test_failure_is_logged_even_if_the_level_is_disabled(log: pytest.LogCaptureFixture) -> None:
    """A logger that shows warnings shows failures."""
    log.set_level(logging.WARNING, logger=LOGGER)
    attach_default_handlers(level="INFO")
    execute("llm.chat.call.stop", {}, {"success": True})
    execute("llm.chat.call.stop", {}, {"success": False})
    assert logged(log) == [("WARNING", "llm.chat.call.stop success=False")]


class CountsItsTexts:
    """Knows how often it was written out."""

    def __init__(self) -> None:
        self.count = 0

    def __str__(self) -> str:
        self.count += 1
        return "text"


@pytest.mark.parametrize(("level", "written"), [("DEBUG", False), ("INFO", True)])
def test_disabled_level_costs_no_formatting(level: str, written: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Values are written out only if somebody reads the line."""
    caplog.set_level(logging.INFO, logger=LOGGER)
    attach_default_handlers(level=level)
    value = CountsItsTexts()
    execute("llm.cache.lookup.hit", {}, {"key": value})
    assert bool(value.count) is written


# -- the record -------------------------------------------------------------------------


def test_record_has_the_event_as_values(log: pytest.LogCaptureFixture) -> None:
    """For structured logs: numbers stay numbers, all else is text, and nothing is left out."""
    attach_default_handlers()
    cost = Decimal("0.0000036")
    measurements = {"duration_ns": 12, "cost_usd": cost, "share": 0.5, "unknown": None}
    metadata: dict[Any, Any] = {
        "success": True,
        "span_id": 7,
        "finish_reason": FinishReason.STOP,
        "doubts": ("a", "b"),
        3: "x\ny",
    }
    execute("llm.chat.call.stop", measurements, metadata)
    (record,) = (vars(one) for one in log.records)
    assert record["llm_event"] == "llm.chat.call.stop"
    assert record["llm_measurements"] == measurements
    assert record["llm_metadata"] == {
        "success": True,
        "span_id": 7,
        "finish_reason": "stop",
        "doubts": "('a', 'b')",
        "3": "x\ny",
    }
    assert type(record["llm_metadata"]["finish_reason"]) is str


def test_owner_is_not_logged(log: pytest.LogCaptureFixture) -> None:
    """Whose call it is concerns the plugin alone."""
    attach_default_handlers()
    execute("llm.chat.call.stop", {}, {"owner": "somebody", "model": "gpt-4o"})
    (record,) = log.records
    assert record.getMessage() == "llm.chat.call.stop model=gpt-4o"
    assert vars(record)["llm_metadata"] == {"model": "gpt-4o"}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
@pytest.mark.parametrize(
    "wrap",
    [
        lambda key: {"error": f"Incorrect API key provided: {key}"},
        lambda key: {"error": "x" * 110 + " " + key},
        lambda key: {"headers": {"authorization": key}},
        lambda key: {"arguments": [("key", key)]},
        lambda key: {key: "value"},
        lambda key: {"error": ValueError(key)},
        lambda key: {"url": f"https://api.example.com/v1?key={key}&more"},
    ],
    ids=["text", "cut", "mapping", "list", "key", "exception", "url"],
)
def test_credentials_are_not_logged(
    wrap: Callable[[str], dict[str, Any]], key: str, log: pytest.LogCaptureFixture
) -> None:
    """Neither the line nor the values of a record show a credential, or a recognisable part of one."""
    attach_default_handlers()
    execute("llm.chat.call.stop", wrap(key), wrap(key))
    (record,) = log.records
    values = {name: value for name, value in vars(record).items() if name.startswith("llm_")}
    for written in (record.getMessage(), repr(values), json.dumps(values)):
        assert key[:12] not in written
        assert "[redacted" in written


@pytest.mark.parametrize("value", ["a\nb", "a\r\nERROR forged", "\x1b[2J", "\u2028\u2029\x85", "\ud800", "\x00"])
def test_record_is_one_line(value: str, log: pytest.LogCaptureFixture) -> None:
    """No value can forge a second line, or control a terminal."""
    attach_default_handlers()
    execute("llm.cache.lookup.hit", {}, {"key": value, value: "x"})
    ((_, message),) = logged(log)
    assert message.isprintable()
    message.encode()


# -- nothing makes them fail ------------------------------------------------------------


class BadError(Exception):
    """What odd values raise."""


class Odd:
    """An object that can neither be shown nor compared."""

    def __str__(self) -> str:
        raise BadError

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        raise BadError

    def __hash__(self) -> int:
        raise BadError

    def __bool__(self) -> bool:
        raise BadError


class OddKey(Odd):
    """The same, but it can be a key."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


class OddText(str):
    """A text that can neither be shown nor compared."""

    __slots__ = ()

    def __str__(self) -> str:
        raise BadError

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        raise BadError

    def __hash__(self) -> int:
        raise BadError


class OddNumber(int):
    """A number that can neither be shown nor compared."""

    def __str__(self) -> str:
        raise BadError

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        raise BadError

    __lt__ = __le__ = __gt__ = __ge__ = __eq__

    def __hash__(self) -> int:
        raise BadError


class Liar:
    """Says that it is something else, as mocks with a ``spec`` do."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return self._kind


@dataclass
class Endless:
    """Holds itself."""

    inside: Any = None

    @classmethod
    def make(cls) -> Self:
        made = cls()
        made.inside = [made, {"again": made}]
        return made


def _deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(5000):
        nested = [nested]
    return nested


ODD_VALUES: tuple[Any, ...] = (
    Odd(),
    OddText("x"),
    OddNumber(3),
    *map(Liar, (int, float, str, Decimal, bool)),
    Endless.make(),
    _deep(),
    float("nan"),
    float("inf"),
    -float("inf"),
    Decimal("NaN"),
    Decimal("sNaN"),
    Decimal("Infinity"),
    Decimal("1e999999999999"),
    Decimal("1e-999999999999"),
    10**5000,
    -(10**400),
    2**63,
    "\ud800",
    object,
)
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.decimals(),
    st.text(max_size=20),
    st.sampled_from((*KEYS.values(), "chat", "embeddings", "openai", "open", "complete")),
    st.builds(ODD_VALUES.__getitem__, st.integers(0, len(ODD_VALUES) - 1)),  # hypothesis cannot show them
    st.recursive(
        st.none() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=4,
    ),
)
strange_keys = st.one_of(
    st.text(max_size=5), st.integers(), st.none(), st.sampled_from((("a", 1), b"x")), st.builds(OddKey)
)
KNOWN_KEYS = sorted({field.key for spec in CATALOGUE.values() for field in (*spec.measurements, *spec.metadata)})


def payload(name: str) -> st.SearchStrategy[dict[Any, Any]]:
    """Values of any kind under the keys of an event, of other events, and under strange ones."""
    spec = CATALOGUE[name]
    own = sorted({field.key for field in (*spec.measurements, *spec.metadata)})
    keys = st.one_of(st.sampled_from(own), st.sampled_from(KNOWN_KEYS), strange_keys)
    return st.dictionaries(keys, values, max_size=8)


@st.composite
def events(draw: st.DrawFn) -> list[tuple[str, dict[Any, Any], dict[Any, Any]]]:
    """Some events of the catalogue, of one or two spans, with anything in them."""
    drawn = []
    for name in draw(st.lists(st.sampled_from(sorted(CATALOGUE)), min_size=1, max_size=6)):
        measurements, metadata = draw(payload(name)), draw(payload(name))
        if draw(st.booleans()):
            metadata["span_id"] = draw(st.integers(1, 2))
            metadata["accounted_span_id"] = draw(st.integers(1, 2))
        drawn.append((name, measurements, metadata))
    return drawn


class Reader(logging.Handler):
    """Reads each record as a structured logger does, and complains about what it cannot write."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(message)s %(llm_measurements)s %(llm_metadata)s"))
        self.complaints: list[object] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.format(record)
            json.dumps([vars(record)[key] for key in ("llm_event", "llm_measurements", "llm_metadata")], default=str)
            if not record.getMessage().isprintable():
                self.complaints.append(record.getMessage())
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must see it
            self.complaints.append(error)


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    """Reads the log of events."""
    made, log = Reader(), logging.getLogger(LOGGER)
    log.addHandler(made)
    level = log.level
    log.setLevel(logging.DEBUG)
    yield made
    log.removeHandler(made)
    log.setLevel(level)


@settings(max_examples=150, deadline=None)
@given(told=events())
def test_no_event_makes_a_default_handler_fail(
    reader: Reader, told: list[tuple[str, dict[Any, Any], dict[Any, Any]]]
) -> None:
    """Whatever an event carries, it is logged and counted, and the numbers can be read and written as JSON."""
    failures: list[object] = []
    undo_metrics = swap_metrics(Metrics(capacity=4))
    undo = attach_default_handlers(level="DEBUG")
    undo_failures = attach(
        "failures", bus.HANDLER_FAILURE, lambda name, measurements, metadata, config: failures.append(dict(metadata))
    )
    try:
        for name, measurements, metadata in told:
            real = len(failures)
            execute(name, measurements, metadata)
            if name == bus.HANDLER_FAILURE:  # told by this test, and no failure
                del failures[real : real + 1]
        for numbers in (get_metrics(), dashboard_data(60_000)):
            json.dumps(numbers, default=str, allow_nan=False)
        handlers = {one.handler_id for one in list_handlers()} - {"failures"}
    finally:
        undo_failures()
        undo()
        undo_metrics()
    assert (failures, reader.complaints, len(handlers)) == ([], [], 2)


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name != CHUNK])
def test_every_key_may_have_any_value(name: str, reader: Reader, heard: list[Event], metrics: Metrics) -> None:
    """Each key of each event with each odd value: nothing fails."""
    attach_default_handlers(level="DEBUG")
    spec = CATALOGUE[name]
    for value in ODD_VALUES:
        metadata: dict[Any, Any] = {one.key: value for one in spec.metadata} | {7: value}
        execute(name, {one.key: value for one in spec.measurements}, metadata)
    json.dumps([metrics.get_metrics(), metrics.dashboard_data(1)], default=str, allow_nan=False)
    assert [event.name for event in heard] == [name] * len(ODD_VALUES)
    assert (reader.complaints, len({one.handler_id for one in list_handlers()})) == ([], 2)


def test_decimal_context_of_the_application_does_no_harm(
    log: pytest.LogCaptureFixture, metrics: Metrics, heard: list[Event]
) -> None:
    """An application may trap all signals of ``decimal`` and compute with one digit; sums are exact all the same."""
    attach_default_handlers()
    trapping = decimal.Context(prec=1, traps=list(decimal.getcontext().flags))
    with decimal.localcontext(trapping):
        for cost in ("0.0000036", "12.34"):
            execute("llm.cost.calculated", {"cost_usd": Decimal(cost), "duration_ns": 1234}, {"provider": "acme"})
        total = metrics.dashboard_data(60_000)["components"]["costs"]["total"]
    assert total == Decimal("1234.00036")
    assert [event.name for event in heard] == ["llm.cost.calculated"] * 2
    assert len(logged(log)) == 2


def test_spans_are_logged_with_their_ends(log: pytest.LogCaptureFixture) -> None:
    """A span is two lines: where it begins, and how it ended."""
    attach_default_handlers()
    with pytest.raises(ZeroDivisionError), span("llm.chat.call", {"provider": "acme", "model": "acme-1"}):
        raise ZeroDivisionError
    (first, last) = logged(log)
    assert first == ("INFO", "llm.chat.call.start provider=acme model=acme-1")
    level, _, words = last[0], *last[1].partition(" ms ")[::2]
    assert (level, words) == (
        "WARNING",
        "error_type=ZeroDivisionError provider=acme model=acme-1 success=False",
    )
