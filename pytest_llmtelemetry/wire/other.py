"""A provider's host, but an API that no dialect reads: seen and never priced.

If the answer reports usage, money was spent: it then counts as an unpriced call, so
that a budget cannot pass on what nobody read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmtelemetry.errors import MockError
from pytest_llmtelemetry.facts import CallFacts, RequestFacts
from pytest_llmtelemetry.wire.dialect import Fault, WireAnswer, WireRequest
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.jsontext import text


class Other:
    """Reads just enough to know that a call was billed."""

    api = "other"
    operation = "other"
    id_prefix = ""

    def speaks(self, method: str, path: str) -> bool:
        return False

    def fits(self, body: Mapping[str, Any]) -> bool:
        return False

    def read_request(self, body: Mapping[str, Any], *, request: WireRequest, provider: str) -> RequestFacts:
        return RequestFacts(
            api=self.api, provider=provider, model=text(body.get("model")), stream=body.get("stream") is True, body=body
        )

    def draft(self) -> OtherDraft:
        return OtherDraft()

    def write_response(self, facts: CallFacts, asked: RequestFacts) -> WireAnswer:
        raise MockError("no dialect writes this API")

    def write_stream(self, facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> WireAnswer:
        raise MockError("no dialect writes this API")

    def write_error(self, fault: Fault, asked: RequestFacts) -> WireAnswer:
        raise MockError("no dialect writes this API")

    def write_broken_stream(
        self, facts: CallFacts, pieces: Sequence[str], fault: Fault, asked: RequestFacts
    ) -> WireAnswer:
        raise MockError("no dialect writes this API")


# Where providers state what was used.
_MARKS = frozenset({"usage", "usageMetadata", "billed_units", "eval_count", "prompt_eval_count", "inputTokens"})


class OtherDraft(Draft):
    """Looks for a usage anywhere in the answer."""

    def __init__(self) -> None:
        super().__init__()
        self._found = False

    def take(self, document: Mapping[str, Any], event: str) -> None:
        self.has_content = True
        self.model = text(document.get("model")) or self.model
        self._found = self._found or _states_usage(document)

    def take_text(self, text: str) -> None:
        self.has_content = True

    def facts(self) -> CallFacts:
        return CallFacts(model=self.model, terminated=True, unread_usage=self._found)


def _states_usage(document: Mapping[str, Any]) -> bool:
    left: list[Any] = [document]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if any(value.get(mark) for mark in _MARKS):
                return True
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
    return False
