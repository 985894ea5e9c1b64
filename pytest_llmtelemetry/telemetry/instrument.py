"""Spans around an application's own calls: chat, HTTP, provider, embeddings.

Each is a context manager and a decorator, of functions, coroutine functions and
generators. What the wrapped code returns or raises is untouched; usage and cost are read
out of the result, and the call is counted, unless it was seen on the wire already.

>>> @instrument("llm.chat.call", {"provider": "acme", "model": "acme-1"})
... def chat(question):
...     return {"text": "Paris.", "usage": {"input_tokens": 10, "output_tokens": 2}}
>>> chat("Capital of France?")["text"]
'Paris.'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from pytest_llmtelemetry.facts import FinishReason
from pytest_llmtelemetry.redaction import scrub
from pytest_llmtelemetry.telemetry import accounting, bus, clock
from pytest_llmtelemetry.telemetry.claims import shelf
from pytest_llmtelemetry.telemetry.names import (
    APPLICATION,
    CHAT,
    EMBEDDING,
    HTTP,
    REQUEST,
    RESPONSE_TRUNCATED,
)
from pytest_llmtelemetry.telemetry.results import ResultFacts, look, read_result
from pytest_llmtelemetry.telemetry.spans import Metadata, Span, SpanContext


_NOTHING: Mapping[str, Any] = MappingProxyType({})

# The spans that stand for a call of a provider, and what they do there.
_OPERATIONS = {CHAT: "chat", REQUEST: "chat", EMBEDDING: "embeddings"}


def instrument(name: str, metadata: Metadata = _NOTHING) -> SpanContext:
    """A span whose result is read for usage, cost, finish reason and error.

    As a decorator the result is the return value; in a ``with`` block, set ``span.result``.
    A result may be a mapping, an object, an SDK's response, a pydantic model or ``None``. A
    result with an ``error`` ends the span with ``success=False``.

    Under the names ``llm.chat.call``, ``llm.provider.request`` and ``llm.embedding.call``, a
    result that states usage or cost is one call, counted once (``llm.cost.calculated``).
    ``served_by`` in the metadata says that nobody is paid for it: ``mock`` or ``replay``.

    Args:
        name: such as ``llm.chat.call``, or a name of your own.
        metadata: such as ``{"provider": "openai", "model": "gpt-4o"}``; for a decorator also a
            function of the arguments of each call.

    >>> with instrument("llm.chat.call", {"provider": "acme", "model": "acme-1"}) as span:
    ...     span.result = {"usage": {"total_tokens": 12}, "cost": 0.0036}
    """
    return Instrumented(name, metadata)


OfCall = str | Callable[..., str]
"""A name; for a decorator also a function of the arguments of each call."""


def instrument_provider(
    provider: OfCall, model: OfCall, opts: Mapping[str, Any] | None = None, *, operation: str = "chat"
) -> SpanContext:
    """A ``llm.provider.request`` span: one request to a provider.

    Args:
        provider, model: as a decorator also functions of the arguments of each call.
        opts: the request's options, of which ``stream``, ``temperature`` and ``max_tokens`` are kept.

    >>> with instrument_provider("openai", "gpt-4o", {"temperature": 0}) as span:
    ...     span.result = {"id": "chatcmpl-7", "usage": {"prompt_tokens": 10, "completion_tokens": 2}}
    """
    given = _NOTHING if opts is None else opts
    kept = {key: given[key] for key in ("temperature", "max_tokens") if issubclass(type(given.get(key)), int | float)}
    about = kept | {"operation": operation, "stream": bool(given.get("stream", False)), "source": APPLICATION}
    return Instrumented(REQUEST, lambda *args, **kwargs: _who(provider, model, args, kwargs, asked=True) | about)


def embedding_call(provider: OfCall, model: OfCall, *, inputs: int | None = None) -> SpanContext:
    """A ``llm.embedding.call`` span.

    Args:
        provider, model: as a decorator also functions of the arguments of each call.
        inputs: how many texts are embedded.

    >>> with embedding_call("openai", "text-embedding-3-small", inputs=2) as span:
    ...     span.result = {"usage": {"prompt_tokens": 8, "total_tokens": 8}}
    """
    return Instrumented(
        EMBEDDING,
        lambda *args, **kwargs: _who(provider, model, args, kwargs),
        {} if inputs is None else {"inputs": inputs},
    )


def _who(
    provider: OfCall, model: OfCall, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, asked: bool = False
) -> dict[str, Any]:
    provider, model = (given(*args, **kwargs) if callable(given) else given for given in (provider, model))
    return {"provider": provider, "model": model} | ({"requested_model": model} if asked else {})


def instrument_http(method: str, url: object, **opts: Any) -> SpanContext:
    """A ``llm.http.request`` span: its result's status, and the sizes of bodies that are in memory.

    A status outside of 200 to 299 is a ``.stop`` with ``success=False``; only an exception is
    an ``.exception``. The result may be a response of any HTTP library, or a mapping.

    Args:
        url: kept without user, query and fragment.
        opts: of ``content``, ``data`` and ``body`` the size is kept, and ``provider``,
            ``timeout`` and ``stream``; all else, such as headers, is not looked at.

    >>> with instrument_http("post", "https://api.example.com/v1/chat?key=secret", content=b"{}") as span:
    ...     span.result = {"status": 200, "body": b"[]"}
    >>> span.metadata["url"], span.metadata["status"], span.measurements["response_bytes"]
    ('https://api.example.com/v1/chat', 200, 2)
    """
    kept = {
        key: opts[key]
        for key in ("provider", "timeout", "stream")
        if issubclass(type(opts.get(key)), str | int | float)
    }
    sent = next((size for key in ("content", "data", "body") if (size := size_of(opts.get(key))) is not None), None)
    return InstrumentedHTTP(
        HTTP,
        {"method": str(method).upper(), "url": public_url(url), **kept},
        {} if sent is None else {"request_bytes": sent},
    )


# -- how results are read --------------------------------------------------------------------


class Reading(SpanContext):
    """A span that reads its result at its end. What cannot be read never harms the code inside."""

    def __init__(self, name: str, metadata: Metadata = _NOTHING, measurements: Mapping[str, Any] = _NOTHING) -> None:
        super().__init__(name, metadata)
        self._measurements = measurements

    def _begin(self, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] = _NOTHING) -> Span:
        span = super()._begin(args, kwargs)
        span.measurements |= self._measurements
        span.owner = accounting.current_owner()
        return span

    def _finish(self, span: Span, error: BaseException | None) -> None:
        follow_up = None
        if span.result is not None:
            try:
                follow_up = self._read(span)
            except Exception as fault:  # noqa: BLE001 - the result is the application's, and matters more
                bus.report_failure(f"the result of {span.name}", fault)
        super()._finish(span, error)
        if follow_up is not None:
            follow_up.emit()

    def _read(self, span: Span) -> accounting.Receipt | None:
        raise NotImplementedError


class Instrumented(Reading):
    """A call of a model."""

    def _begin(self, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] = _NOTHING) -> Span:
        span = super()._begin(args, kwargs)
        if span.name in _OPERATIONS:
            span.shelf = shelf()
        return span

    def _read(self, span: Span) -> accounting.Receipt | None:
        facts = read_result(span.result)
        counts = {} if facts.usage is None else facts.usage.counts()
        # Of what may be seen on the wire too, the money is told by accounting alone.
        stated = counts if span.name in {REQUEST, EMBEDDING} else {**counts, "cost_usd": facts.cost_usd}
        span.measurements = {key: value for key, value in stated.items() if value is not None} | span.measurements
        asked = span.metadata.get("model")
        span.error = span.error or facts.error
        about = {"finish_reason": facts.finish_reason, "response_id": facts.id, "model": facts.model}
        span.metadata |= {key: value for key, value in about.items() if value is not None}
        if span.name not in _OPERATIONS:
            return None
        receipt = accounting.report(_call(span, facts, asked))
        span.metadata["accounted_span_id"] = receipt.span_id
        if receipt.was_paid_before:
            span.metadata["from_cache"] = True
        if receipt.is_news and facts.finish_reason is FinishReason.LENGTH:
            _announce_truncation(span)
        return receipt


class InstrumentedHTTP(Reading):
    """An HTTP request."""

    def _read(self, span: Span) -> None:
        response = span.result
        stated = (look(response, key) for key in ("status_code", "status"))
        status = next((int(code) for code in stated if isinstance(code, int) and code in _STATUSES), None)
        # Only what is in memory: to ask a response for its content may download it.
        bodies = (size_of(look(response, key)) for key in ("body", "_content", "_body"))
        received = next((size for size in bodies if size is not None), None)
        if received is not None:
            span.measurements.setdefault("response_bytes", received)
        if status is not None:
            span.metadata["status"] = status
            if not 200 <= status < 300:  # noqa: PLR2004 - HTTP
                span.error = span.error or f"HTTP {status}"


_STATUSES = range(100, 600)


def _call(span: Span, facts: ResultFacts, asked: object) -> accounting.AccountedCall:
    about, usage = span.metadata, facts.usage
    operation = str(about.get("operation") or _OPERATIONS[span.name])
    if usage is not None and usage.output_tokens is None and operation == _OPERATIONS[EMBEDDING]:
        usage = replace(usage, output_tokens=0)  # an embedding has none, and nobody states that
    return accounting.AccountedCall(
        billable=accounting.Billable(
            provider=str(about.get("provider") or "unknown"),
            model=facts.model,
            requested_model=str(asked) if asked else None,
            operation=operation,
            usage=usage,
            at=clock.date_of_prices(),
            service_tier=facts.service_tier,
            stated_cost_usd=facts.cost_usd,
            stated_by="application",
        ),
        served_by=str(about.get("served_by") or "live"),
        response_id=facts.id,
        span=span,
        owner=span.owner,
        finish_reason=facts.finish_reason,
    )


def _announce_truncation(span: Span) -> None:
    about = span.metadata
    bus.execute(
        RESPONSE_TRUNCATED,
        {"output_tokens": span.measurements.get("output_tokens"), "max_tokens": about.get("max_tokens")},
        {
            "provider": about.get("provider"),
            "model": about.get("model"),
            "finish_reason": FinishReason.LENGTH,
            "source": APPLICATION,
            **({} if span.owner is None else {"owner": span.owner}),
            **span.ids,
        },
    )


def size_of(value: object) -> int | None:
    """Bytes of a text or of bytes; ``None`` for anything else, whose size nobody knows."""
    try:
        if isinstance(value, str):
            return _utf8_size(value)
        if isinstance(value, memoryview):
            return value.nbytes
        return len(value) if isinstance(value, bytes | bytearray) else None
    except Exception:  # noqa: BLE001 - a view that was released, or an object of the application's own
        return None


def _utf8_size(text: str) -> int:
    if text.isascii():
        return len(text)
    # By parts: a text may be large, and is not copied whole.
    return sum(len(text[at : at + _PART].encode("utf-8", "surrogatepass")) for at in range(0, len(text), _PART))


_PART = 1 << 16


def public_url(url: object) -> str:
    """A URL without user, query and fragment: those may hold credentials.

    >>> public_url("https://me:secret@api.example.com:8443/v1?key=secret#top")
    'https://api.example.com:8443/v1'
    """
    try:
        parts = urlsplit(url.decode() if isinstance(url, bytes) else str(url))
        if not parts.netloc and "@" in parts.path.partition("/")[0]:
            return "unreadable URL"  # "me:secret@host/path": the scheme is missing
        host = parts.netloc.rpartition("@")[2]
        return scrub(parts._replace(netloc=host, query="", fragment="").geturl())
    except Exception:  # noqa: BLE001 - a URL of the application's own kind
        return "unreadable URL"
