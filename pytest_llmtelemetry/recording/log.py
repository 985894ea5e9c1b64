"""A live, ordered view of events, with the sums that tests ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal, localcontext
from fnmatch import fnmatchcase
from typing import overload

from pytest_llmtelemetry.facts import Usage
from pytest_llmtelemetry.money import MONEY
from pytest_llmtelemetry.recording.event import Call, Event, is_call


class EventLog:
    """The events of a test, in the order in which they happened.

    Always up to date: reading it settles the prices of calls that were just answered.

    >>> log = EventLog(lambda: [])
    >>> len(log), log.cost_usd
    (0, Decimal('0'))
    """

    def __init__(self, read: Callable[[], Sequence[Event]], *, session: Callable[[], EventLog] | None = None) -> None:
        self._read = read
        self._session = session

    def __len__(self) -> int:
        return len(self._read())

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events())

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> EventLog: ...
    def __getitem__(self, index: int | slice) -> Event | EventLog:
        events = self._events()
        return self._of(events[index]) if isinstance(index, slice) else events[index]

    def __contains__(self, item: object) -> bool:
        """True for an event, an event's name, or a pattern such as ``llm.chat.*``."""
        if isinstance(item, str):
            return any(fnmatchcase(event.name, item) for event in self._read())
        return any(event == item for event in self._read())

    def __repr__(self) -> str:
        lines = [f"<EventLog of {len(self)} events>", *(f"  {event!r}" for event in self)]
        return "\n".join(lines)

    @property
    def names(self) -> list[str]:
        """The names of the events."""
        return [event.name for event in self]

    @property
    def calls(self) -> tuple[Call, ...]:
        """One :class:`Call` for each accounted call."""
        return tuple(Call.of(event) for event in self if is_call(event))

    @property
    def session(self) -> EventLog:
        """The events of fixtures wider than a test, and of collection."""
        return EventLog(list) if self._session is None else self._session()

    @property
    def cost_usd(self) -> Decimal | None:
        """What the calls cost. ``None`` if any of them is unpriced; zero without calls."""
        return None if any(call.cost_usd is None for call in self.calls) else self.priced_cost_usd

    @property
    def priced_cost_usd(self) -> Decimal:
        """What the calls cost whose price is known."""
        with localcontext(MONEY):
            return sum((call.cost_usd for call in self.calls if call.cost_usd is not None), Decimal(0))

    @property
    def usage(self) -> Usage:
        """The tokens that were stated; ``usage.partial`` if some call stated none."""
        return Usage.total(call.usage for call in self.calls)

    def filter(self, pattern: str = "*", **subset: object) -> EventLog:
        """The events whose name matches, such as ``llm.stream.*``, and that have these values.

        A value is looked up among the measurements, then in the metadata.
        """
        return self._of([event for event in self if fnmatchcase(event.name, pattern) and _has(event, subset)])

    def _events(self) -> list[Event]:
        return sorted(self._read(), key=lambda event: event.place)

    def _of(self, events: Sequence[Event]) -> EventLog:
        return EventLog(lambda: events, session=self._session)


def _has(event: Event, subset: dict[str, object]) -> bool:
    return all(key in event and event[key] == value for key, value in subset.items())
