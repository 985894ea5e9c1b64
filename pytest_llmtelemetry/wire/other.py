"""A provider's host, but an API that no dialect reads: seen and never priced.

If the answer reports usage, money was spent: it then counts as an unpriced call, so
that a budget cannot pass on what nobody read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmtelemetry.errors import MockError
from pytest_llmtelemetry.facts import CallFacts, RequestFacts
from pytest_llmtelemetry.wire.dialect import WireError
from pytest_llmtelemetry.wire.jsontext import load_object, text


_MARKS = (b'"usage"', b'"usageMetadata"', b'"billed_units"', b'"eval_count"', b'"inputTokens"')
_OVERLAP = max(map(len, _MARKS)) - 1


class Other:
    """Reads just enough to know that a call was billed."""

    api = "other"
    operation = "other"
    id_prefix = ""

    def speaks(self, method: str, path: str) -> bool:
        return False

    def read_request(self, body: Mapping[str, Any], *, path: str, provider: str) -> RequestFacts:
        return RequestFacts(
            api=self.api, provider=provider, model=text(body.get("model")), stream=body.get("stream") is True, body=body
        )

    def read_response(self, body: bytes) -> CallFacts:
        model = text((load_object(body) or {}).get("model"))
        return CallFacts(model=model, terminated=True, unread_usage=any(mark in body for mark in _MARKS))

    def stream_reader(self) -> _Reader:
        return _Reader()

    def write_response(self, facts: CallFacts) -> bytes:
        raise MockError("no dialect writes this API")

    def write_stream(self, facts: CallFacts, pieces: Sequence[str], *, usage: bool = True) -> Iterator[bytes]:
        raise MockError("no dialect writes this API")

    def write_error(self, kind: str, *, retry_after_s: float | None = None) -> WireError:
        raise MockError("no dialect writes this API")


class _Reader:
    def __init__(self) -> None:
        self.has_content = False
        self._tail = b""
        self._found = False

    def feed(self, chunk: bytes) -> None:
        self.has_content = True
        window = self._tail + chunk
        self._found = self._found or any(mark in window for mark in _MARKS)
        self._tail = window[-_OVERLAP:]

    def close(self) -> CallFacts:
        return CallFacts(terminated=True, unread_usage=self._found)
