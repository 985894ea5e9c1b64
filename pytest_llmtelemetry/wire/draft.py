"""What an answer has said so far: the part of reading that all dialects share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar

from pytest_llmtelemetry.facts import CallFacts, FinishReason, Overflow, ToolCall, Usage


@dataclass(slots=True)
class ToolDraft:
    """A tool call whose arguments are still coming."""

    name: str = ""
    id: str | None = None
    arguments: list[str] = field(default_factory=list)


class Draft:
    """Takes the documents of one answer, one after the other; a plain answer has one.

    A dialect's own draft says what a document means, in :meth:`take`.
    """

    finishes: ClassVar[Mapping[str, FinishReason]] = {}
    """The provider's words for why the model stopped."""
    reads_arrays: ClassVar[bool] = False
    """An answer may be a JSON array of documents."""
    exact: ClassVar[bool] = True
    """Fractions are read digit by digit, as costs and arguments must be; not so in embeddings, which have thousands."""

    def __init__(self) -> None:
        self.id: str | None = None
        self.model: str | None = None
        self.service_tier: str | None = None
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.tools: dict[int, ToolDraft] = {}
        self.vectors: list[tuple[float, ...]] = []
        self.word: str | None = None
        """The provider's own for the finish reason."""
        self.finish: FinishReason | None = None
        """What it means, where the word alone does not say it."""
        self.usage: Usage | None = None
        self.cost: Decimal | None = None
        self.error: str | None = None
        self.overflow: Overflow | None = None
        self.retry_after_s: float | None = None
        self.has_content = False
        """The first token of the answer was seen."""
        self.whole = False
        """The answer is one document, and all of it is here."""
        self.terminated = False
        self.pending = False

    def take_headers(self, headers: Mapping[str, str]) -> None:
        """Read the head of the response; its names are in lower case."""

    def take(self, document: Mapping[str, Any], event: str) -> None:
        """Read one JSON object, and the name of the event that carried it, if it has one."""
        raise NotImplementedError

    def take_text(self, text: str) -> None:
        """Read what is no JSON object, such as ``[DONE]``."""

    def conclude(self) -> None:
        """Nothing more will come: settle what only the whole can tell."""

    # -- what dialects call ----------------------------------------------------------------

    def say(self, piece: str | None) -> None:
        """The model said something."""
        if piece:
            self.text.append(piece)
            self.has_content = True

    def think(self, piece: str | None) -> None:
        """The model said something to itself."""
        if piece:
            self.reasoning.append(piece)
            self.has_content = True

    def tool(self, index: int) -> ToolDraft:
        """The tool call at ``index``, begun if it is new."""
        self.has_content = True
        return self.tools.setdefault(index, ToolDraft())

    def finish_with(self, word: str | None) -> None:
        """The model stopped. Of several answers to one request, one that was cut makes the whole a cut one."""
        if word is not None and (self.word is None or self.finishes.get(word) is FinishReason.LENGTH):
            self.word = word

    def fail(self, error: str | None) -> None:
        """Something went wrong, in the provider's word for it."""
        self.error = error or "error"

    def facts(self) -> CallFacts:
        """What is known."""
        self.conclude()
        finish = self.finish
        if finish is None and self.word is not None:
            finish = self.finishes.get(self.word, FinishReason.UNKNOWN)
        return CallFacts(
            id=self.id,
            model=self.model,
            text="".join(self.text),
            reasoning="".join(self.reasoning),
            tool_calls=tuple(
                ToolCall(name=tool.name, arguments="".join(tool.arguments), id=tool.id)
                for _, tool in sorted(self.tools.items())
            ),
            vectors=tuple(self.vectors),
            usage=self.usage,
            finish_reason=finish,
            raw_finish_reason=self.word,
            service_tier=self.service_tier,
            stated_cost_usd=self.cost,
            error_type=self.error,
            overflow=self.overflow,
            retry_after_s=self.retry_after_s,
            terminated=self.terminated or self.word is not None,
            pending=self.pending,
        )
