"""Hears every event of the bus and keeps it under its owner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pytest_llmtelemetry.recording import owner as owners
from pytest_llmtelemetry.recording.event import Event
from pytest_llmtelemetry.recording.log import EventLog
from pytest_llmtelemetry.recording.owner import Owner
from pytest_llmtelemetry.telemetry import bus
from pytest_llmtelemetry.telemetry.spans import current_span


Key = tuple[str | None, int]


class Recorder:
    """The memory of a session.

    Args:
        settle: called before the events are read, so that what waits is emitted first.
        on_event: called with each event that was kept.
    """

    def __init__(
        self, *, settle: Callable[[], None] = lambda: None, on_event: Callable[[Event], None] = lambda event: None
    ) -> None:
        self._settle = settle
        self._on_event = on_event
        self._events: dict[Key, list[Event]] = {}
        self._running: set[Key] = set()
        # A span belongs to whoever began it, wherever it ends.
        # A list, because ids repeat: a test's own clock counts from 1 while a wider span is open.
        self._span_owners: dict[tuple[str, int], list[Owner]] = {}
        self.faults = 0
        """How many events could not be kept. The report says so: something was not seen."""

    def install(self) -> Callable[[], None]:
        """Begin to listen, and return a function that ends it."""
        return bus.tap(self.hear)

    def begin(self, key: Key) -> None:
        """A test begins."""
        self._running.add(key)

    def end(self, key: Key) -> None:
        """A test is over: what still arrives for it is late. Its log lives as long as someone holds it."""
        self._running.discard(key)
        self._events.pop(key, None)

    def log(self, key: Key) -> EventLog:
        """The live view of a test's own events."""
        events = self._events.setdefault(key, [])
        return EventLog(lambda: self._current(events), session=self.session_log)

    def session_log(self) -> EventLog:
        """The live view of events that belong to no test."""
        events = self._events.setdefault(owners.SESSION.key, [])
        return EventLog(lambda: self._current(events))

    def hear(self, name: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], place: int) -> None:
        """Keep an event. This is the tap; one that raised would be removed, and the session go blind."""
        try:
            self._keep(name, measurements, metadata, place)
        except Exception:  # noqa: BLE001 - one event that makes no sense must not cost the rest
            self.faults += 1

    def _keep(self, name: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], place: int) -> None:
        values = dict(metadata)
        span_id = parent_id = None
        # Applications have spans and owners too: only what is ours is lifted.
        if isinstance(values.get("span_id"), int) and "parent_id" in values:
            span_id, parent_id = values.pop("span_id"), values.pop("parent_id")
        stated = isinstance(values.get("owner"), Owner)
        owner = values.pop("owner") if stated else self._owner_of_span(name, span_id)
        around = current_span() if span_id is None else None
        event = Event(
            name=name,
            measurements=measurements,
            metadata=MappingProxyType(values),
            owner=owner,
            span_id=span_id if around is None else around.id,
            parent_id=parent_id if around is None else around.parent_id,
            place=place,
            late=owner.nodeid is not None and owner.key not in self._running,
        )
        if not event.late:
            self._events.setdefault(owner.key, []).append(event)
        self._on_event(event)

    def _owner_of_span(self, name: str, span_id: int | None) -> Owner:
        if span_id is None:
            return owners.current()
        prefix, _, step = name.rpartition(".")
        if step == "start":
            self._span_owners.setdefault((prefix, span_id), []).append(owners.current())
            return owners.current()
        known = self._span_owners.get((prefix, span_id))
        if not known:
            return owners.current()
        owner = known[-1]
        if step in {"stop", "exception"}:
            known.pop()
            if not known:
                del self._span_owners[prefix, span_id]
        return owner

    def _current(self, events: list[Event]) -> list[Event]:
        self._settle()
        return list(events)
