"""Is this the same call? One call may be seen on the wire and be reported by every layer of an application.

The same answer id says so. Without one, a report is taken for a call that was counted
while the reporting span was open, if their token counts agree, or if it was made inside
of that span, of the same operation and model: by the order of events, because threads
and executors lose the context, and clocks may stand still.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from pytest_llmtelemetry.facts import Usage
from pytest_llmtelemetry.money import MONEY
from pytest_llmtelemetry.telemetry.locks import lock


@dataclass(slots=True, kw_only=True, eq=False)
class Counted:
    """A call that was counted, or a report of one, remembered so that it is recognised.

    It knows its span by numbers only: a span holds the whole result.
    """

    scope: object
    """Whose it is."""
    response_id: str | None
    model: str | None
    usage: Usage | None
    span_id: int | None
    """The span under which it is counted."""
    began: int
    """Its place in the order of events, as of its span."""
    ended: int
    around: tuple[int, ...] = ()
    """The places of the spans around its own."""
    operation: str = "chat"
    """What was asked for: a chat is not taken for the embeddings beside it."""
    reported: bool
    """By an application, not seen on the wire."""
    from_cache: bool = False
    """It was paid before, and is remembered so that whoever passes it on does not count it again."""
    cost_usd: Decimal | None = None
    """Known once it is priced."""
    speaks_of: tuple[Counted, ...] = ()
    """The calls of which this is one more report."""
    claimed_at: int | None = None
    """Where the first of the spans began that reported it too."""

    @property
    def calls(self) -> tuple[Counted, ...]:
        """What is counted: itself, or what it speaks of."""
        return self.speaks_of or (self,)

    def is_inside(self, report: Counted) -> bool:
        """True if its context says that it happened in the reporting span."""
        return report.began in self.around


Shelf = deque[Counted]
"""The last calls that were counted, of everybody or inside of one span."""

_LONGEST_SHELF = 1000


def shelf() -> Shelf:
    """A shelf for a span that will report: what is counted inside of it is not pushed out by others."""
    return deque(maxlen=_LONGEST_SHELF)


class Memory:
    """The last calls that were counted.

    ``shelves`` are those of the spans around a call, on which it is remembered too: they may
    be open for long, while thousands of others are counted.
    """

    def __init__(self, size: int = _LONGEST_SHELF) -> None:
        self._calls: Shelf = deque(maxlen=size)
        self._lock = lock()

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: Counted, shelves: Iterable[Shelf] = ()) -> None:
        """Remember a call that nobody has to recognise now."""
        with self._lock:
            for one in (self._calls, *shelves):
                one.append(call)

    def see(self, seen: Counted, shelves: Iterable[Shelf] = ()) -> bool:
        """Remember a call that was seen on the wire; false if an application has reported it already.

        Reports may be first: a stream may be closed after the span in which it was read.
        """
        with self._lock:
            for one in self._known(seen.scope):
                if not _waits_for(one, seen):
                    continue
                if _same_id(one, seen) or _counts_agree(seen.usage, one.usage) or _stand_together(seen, one):
                    one.reported = False
                    return False
            self.add(seen, shelves)
            return True

    def claim(
        self, report: Counted, *, keep: bool, inside: Shelf | None = None, shelves: Iterable[Shelf] = ()
    ) -> Counted | None:
        """The call that a report speaks of, if it is counted already.

        Args:
            keep: the report states what is to be counted, and is remembered if it is news.
            inside: the shelf of the reporting span.
        """
        with self._lock:
            known = self._known(report.scope, inside)
            calls = _find(report, known)
            if not calls:
                if keep:
                    self.add(report, shelves)
                return None
            if keep:
                for one in calls:
                    one.claimed_at = report.began if one.claimed_at is None else min(one.claimed_at, report.began)
            if keep and not any(_same_id(one, report) for one in known):
                report.speaks_of = calls
                self.add(report, shelves)
            return calls[0]

    def knows(self, response_id: str, scope: object) -> bool:
        """True if an answer of that id was counted."""
        with self._lock:
            return any(one.response_id == response_id for one in self._known(scope))

    def forget(self, scope: object) -> None:
        """Drop the calls of a scope."""
        with self._lock:
            kept = [one for one in self._calls if one.scope != scope]
            self._calls.clear()
            self._calls.extend(kept)

    def cost_of(self, response_id: str, scope: object) -> Decimal | None:
        """What the newest answer of that id cost, if that is known."""
        with self._lock:
            newest = next((one for one in self._known(scope) if one.response_id == response_id), None)
        total = Decimal(0)
        for call in () if newest is None else newest.calls:
            if call.cost_usd is None:
                return None
            total = MONEY.add(total, call.cost_usd)
        return None if newest is None else total

    def _known(self, scope: object, inside: Shelf | None = None) -> list[Counted]:
        """The calls of a scope, newest first, then those inside of a span that others have pushed out."""
        # Copies, because a finaliser of the application may report meanwhile, in this very thread.
        last = self._calls.copy()
        known = [one for one in reversed(last) if one.scope == scope]
        if inside:
            here = set(map(id, last))
            known += [one for one in reversed(inside.copy()) if one.scope == scope and id(one) not in here]
        return known


def _find(report: Counted, known: Sequence[Counted]) -> tuple[Counted, ...]:
    for one in known:
        if _same_answer(one, report):
            return one.calls
    within = [one for one in known if one.began > report.began]
    inside = [one for one in within if one.is_inside(report)]
    elsewhere = [one for one in within if not one.is_inside(report) and _may_be_of(one, report)]
    elsewhere.sort(key=lambda one: one.claimed_at is not None)
    for group in (inside, elsewhere):
        for one in group:
            if _counts_agree(one.usage, report.usage):
                return one.calls
        together = tuple(one for one in group if not one.speaks_of)
        if together and _counts_agree(Usage.total(one.usage for one in together), report.usage):
            return together  # it speaks of several requests at once
    for one in (*inside, *elsewhere):
        if not one.from_cache and (
            _stand_together(one, report)
            or (_is_unknown(one, report) and one.model is not None and one.model == report.model)
        ):
            return one.calls
    # Frameworks estimate tokens of their own: within the span, the same request to the same model is the same.
    return tuple(one for one in inside if not (one.speaks_of or one.from_cache) and _is_alike(one, report))


def _may_be_of(call: Counted, report: Counted) -> bool:
    """A call whose context does not say that it is the report's: made in a thread, perhaps.

    Only if it was seen on the wire: two reports side by side are of two calls. What an
    inner span has claimed, the outer one may claim too, but not a later one.
    """
    return not call.reported and (call.claimed_at is None or call.claimed_at > report.began)


def _waits_for(report: Counted, seen: Counted) -> bool:
    return report.reported and not report.speaks_of and report.began < seen.began < report.ended


def _same_id(one: Counted, other: Counted) -> bool:
    return one.response_id is not None and one.response_id == other.response_id


def _same_answer(one: Counted, report: Counted) -> bool:
    """The same id; outside of the reporting span, where an answer may come from a cache, with the same usage.

    An application that gives one id to all its answers has several calls under it.
    """
    if not _same_id(one, report):
        return False
    return one.began > report.began or _is_unknown(one, report) or _counts_agree(one.usage, report.usage)


def _is_unknown(one: Counted, report: Counted) -> bool:
    return one.usage is None or report.usage is None


def _is_alike(one: Counted, report: Counted) -> bool:
    """The same operation of the same model, be it with its date: ``gpt-4o`` is ``gpt-4o-2024-08-06``."""
    if one.model is None or report.model is None or one.operation != report.operation:
        return False
    return one.model.startswith(report.model) or report.model.startswith(one.model)


def _stand_together(call: Counted, report: Counted) -> bool:
    """There is nothing to compare but where they stand."""
    return _is_unknown(call, report) and call.is_inside(report)


def _counts_agree(counted: Usage | None, stated: Usage | None) -> bool:
    """True if all that both state is equal. Applications copy Anthropic's counts, which leave out cached tokens."""
    if counted is None or stated is None:
        return False
    return _equal(counted, stated) or _equal(_without_cache(counted), stated)


def _equal(one: Usage, other: Usage) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("input_tokens", "output_tokens", "total_tokens")]
    stated = [(mine, theirs) for mine, theirs in pairs if mine is not None and theirs is not None]
    return bool(stated) and all(mine == theirs for mine, theirs in stated)


def _without_cache(usage: Usage) -> Usage:
    cached = (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
    whole, total = usage.input_tokens, usage.total_tokens
    return replace(
        usage,
        input_tokens=None if whole is None else whole - cached,
        total_tokens=None if total is None else total - cached,
    )
