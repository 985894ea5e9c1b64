"""Which reply answers which request.

Those with ``when=`` are tried before the others; within each group the first that was
registered comes first. A single reply answers any number of requests; a list answers
once per HTTP attempt, so that the retry of an SDK takes the next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmtelemetry.errors import MockError
from pytest_llmtelemetry.facts import RequestFacts, ToolCall
from pytest_llmtelemetry.mocking.replies import Reply
from pytest_llmtelemetry.wire.dialect import Fault


When = Callable[[RequestFacts], object]
Line = Reply | Fault


@dataclass(slots=True)
class Registration:
    """A reply, or a list of them, for one API of one provider."""

    name: str
    """How it was registered, such as ``llm_mock.openai.chat(...)``."""
    provider: str
    api: str
    lines: tuple[Line, ...]
    repeats: bool
    """A single reply, for any number of requests."""
    when: When | None = None
    used: int = 0

    @property
    def left(self) -> int:
        """How many replies of a list were never asked for; 1 for a single one that was not."""
        return max(0, len(self.lines) - self.used)

    def mismatch(self, request: RequestFacts) -> str | None:
        """Why it does not answer ``request``, or ``None`` if it does."""
        if (request.provider, request.api) != (self.provider, self.api):
            return f"answers {self.api} at {self.provider}, asked was {request.api} at {request.provider}"
        if not self.repeats and self.used >= len(self.lines):
            return f"all {len(self.lines)} replies are used up"
        if self.when is not None and not self.when(request):
            return f"{_name_of(self.when)} said no"
        return None

    def take(self) -> Line:
        """The next reply."""
        line = self.lines[0] if self.repeats else self.lines[self.used]
        self.used += 1
        return line


@dataclass(slots=True)
class Script:
    """All replies of one test."""

    registrations: list[Registration] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, registration: Registration) -> None:
        """Register; order matters."""
        self.registrations.append(registration)

    def choose(self, request: RequestFacts) -> Line | None:
        """Take the reply for ``request``, if there is one."""
        with self._lock:
            for one in sorted(self.registrations, key=lambda one: one.when is None):
                if one.mismatch(request) is None:
                    return one.take()
        return None

    def explain(self, request: RequestFacts) -> list[str]:
        """One line for each reply that did not answer, with what did not match."""
        return [f"{one.name}: {one.mismatch(request)}" for one in self.registrations]

    def unused(self) -> list[str]:
        """One line for each reply that nobody asked for."""
        return [
            f"{one.name}: never asked"
            if one.used == 0
            else f"{one.name}: the last {one.left} of {len(one.lines)} not asked for"
            for one in self.registrations
            if one.left
        ]


def _name_of(when: When) -> str:
    code = getattr(when, "__code__", None)
    where = "" if code is None else f" ({Path(code.co_filename).name}:{code.co_firstlineno})"
    return f"when={getattr(when, '__qualname__', repr(when)).rpartition('.')[2]}{where}"


Answer = str | ToolCall | Reply | Fault


def parse_lines(
    name: str, answer: Answer | Sequence[Answer], make: Callable[[Answer], Line]
) -> tuple[tuple[Line, ...], bool]:
    """Turn what a test wrote into replies, and say whether the reply repeats.

    Raises:
        MockError: an empty list.
    """
    if isinstance(answer, str) or not isinstance(answer, Sequence):
        return (make(answer),), True
    lines = tuple(make(one) for one in answer)
    if not lines:
        raise MockError(f"{name}: the list of replies is empty; give at least one")
    return lines, False
