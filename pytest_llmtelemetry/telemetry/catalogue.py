"""Every event of this package: the one source of truth for emitters, handlers, metrics and the reference.

>>> spec = find("llm.cache.lookup.hit")
>>> [field.key for field in spec.metadata]
['key']
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from pytest_llmtelemetry.telemetry.names import CHUNK
from pytest_llmtelemetry.telemetry.schema import EventSpec, Field


PREFIX = "llm."
"""Names under it are this package's: in strict mode, one that nobody declared is an error."""


# -- keys that many events have ------------------------------------------------------------

_BEGAN = (
    Field(
        key="monotonic_time_ns", about="when it began, on the clock of durations", unit="ns", required=True, varies=True
    ),
    Field(key="system_time_ns", about="when it began, since 1970 UTC", unit="ns", required=True, varies=True),
)
_ENDED = (
    Field(key="duration_ns", about="from its start", unit="ns", required=True, varies=True),
    Field(
        key="monotonic_time_ns", about="when it ended, on the clock of durations", unit="ns", required=True, varies=True
    ),
)
_IDS = (
    Field(key="span_id", about="number of the span in this process", required=True, varies=True),
    Field(
        key="parent_id", about="the span around it; none: it has no parent in its context", required=True, varies=True
    ),
)
_SPAN_OF = (
    Field(key="span_id", about="the span that it belongs to", varies=True),
    Field(key="parent_id", about="the span around that one", varies=True),
)
_SUCCESS = Field(key="success", about="false if it raised, or if its result says that it failed", required=True)
_ERROR = Field(key="error", about="what the result says went wrong; only if it did")
_ERROR_TYPE = Field(key="error_type", about="the exception's type, or the provider's word for the error", required=True)

_TOKENS = (
    Field(key="input_tokens", about="cached ones included", unit="tokens"),
    Field(key="output_tokens", about="reasoning included", unit="tokens"),
    Field(key="total_tokens", about="as stated, or the sum of both", unit="tokens"),
    Field(key="cache_read_tokens", about="input read from the provider's prompt cache", unit="tokens"),
    Field(key="cache_write_tokens", about="input written to it", unit="tokens"),
    Field(key="cache_write_1h_tokens", about="the part of those that is kept for an hour", unit="tokens"),
    Field(key="reasoning_tokens", about="output that the user does not see", unit="tokens"),
    *(
        Field(key=key.format(medium), about=f"the part of {whole} that is {what}", unit="tokens")
        for key, whole in (
            ("input_{}_tokens", "the input"),
            ("output_{}_tokens", "the output"),
            ("cache_{}_read_tokens", "the cached input"),
        )
        for medium, what in (("audio", "sound"), ("image", "pictures"), ("video", "film"))
    ),
    Field(key="billed_input_tokens", about="what is paid for, where that is another number (Cohere)", unit="tokens"),
    Field(key="billed_output_tokens", about="what is paid for, where that is another number (Cohere)", unit="tokens"),
)
_WHO = (
    Field(key="provider", about="who answers, such as `openai`", required=True),
    Field(key="model", about="the model that answered, or else the one that was asked for", required=True),
)
_MAYBE_WHO = tuple(Field(key=field.key, about=field.about) for field in _WHO)
_FINISH = Field(
    key="finish_reason", about="`stop`, `length`, `tool_calls`, `content_filter`, `refusal`, `error`, `unknown`"
)
_MODEL_ASKED = Field(key="requested_model", about="the model that was asked for")
_API = Field(key="api", about="the wire API, such as `openai.chat`; capture only")
_HOST = Field(key="host", about="who was asked; capture only")
_ATTEMPT = Field(key="attempt", about="1, or more for a retry that the SDK announces; capture only")
_SOURCE = Field(key="source", about="`capture` if it was seen on the wire, `application` if that says so itself")
_OWNER = Field(key="owner", about="the test or fixture that it belongs to; only in a test run", varies=True)
_OF_REQUEST = (
    _SOURCE,
    _OWNER,
    _MODEL_ASKED,
    Field(key="operation", about="`chat`, `completion`, `embeddings`, `other`; capture only"),
    _API,
    Field(key="stream", about="the answer comes in pieces; capture only"),
    _HOST,
    _ATTEMPT,
)
_SERVED_BY = Field(key="served_by", about="`live`, `mock` or `replay`")
_TTFT = Field(key="time_to_first_token_ns", about="from its start; streams only", unit="ns", varies=True)
_ID = Field(key="response_id", about="the provider's id of the answer", varies=True)
_COUNTED = Field(
    key="accounted_span_id",
    about="the span under which the money is counted: its own, or that of a request inside; application only",
    varies=True,
)
_KEY = Field(key="key", about="a long one is replaced by its digest", required=True)
_SESSION = Field(key="session_id", about="of the conversation", required=True, varies=True)
_FROM_CACHE = Field(key="from_cache", about="the answer comes from the application's cache, and was paid before")


def _span(
    name: str,
    when: str,
    emitters: tuple[str, ...],
    *,
    measurements: tuple[Field, ...] = (),
    metadata: tuple[Field, ...] = (),
    at_stop: tuple[Field, ...] = (),
    at_end: tuple[Field, ...] = (),
) -> tuple[EventSpec, ...]:
    """The three events of a span."""
    return (
        EventSpec(
            name=f"{name}.start",
            when=f"{when} begins",
            emitters=emitters,
            measurements=_BEGAN,
            metadata=(*metadata, *_IDS),
        ),
        EventSpec(
            name=f"{name}.stop",
            when=f"{when} ends without an exception",
            emitters=emitters,
            measurements=(*_ENDED, *measurements),
            metadata=(*metadata, _SUCCESS, _ERROR, *at_stop, *at_end, *_IDS),
        ),
        EventSpec(
            name=f"{name}.exception",
            when=f"{when} ends with an exception, which is raised on",
            emitters=emitters,
            measurements=(*_ENDED, *measurements),
            metadata=(*metadata, _SUCCESS, _ERROR_TYPE, *at_end, *_IDS),
        ),
    )


def _event(
    name: str,
    when: str,
    *emitters: str,
    measurements: tuple[Field, ...] = (),
    metadata: tuple[Field, ...] = (),
) -> EventSpec:
    return EventSpec(name=name, when=when, emitters=emitters, measurements=measurements, metadata=metadata)


_EVENTS: tuple[EventSpec, ...] = (
    # -- calls ---------------------------------------------------------------------------
    *_span(
        "llm.chat.call",
        "a call of the application's own chat function",
        ("application",),
        measurements=(
            *_TOKENS,
            Field(key="cost_usd", about="as the result states it; the bill is `llm.cost.calculated`", unit="USD"),
        ),
        metadata=(
            *_WHO,
            Field(key="stream", about="the answer comes in pieces"),
            Field(key="session", about="it belongs to a session"),
            Field(key="circuit_breaker", about="a circuit breaker guards it"),
        ),
        at_end=(_FINISH, _ID, _COUNTED, _FROM_CACHE),
    ),
    *_span(
        "llm.provider.request",
        "one request to a provider, of which a retry makes another,",
        ("capture", "application"),
        measurements=(_TTFT, *_TOKENS),
        metadata=(
            *_WHO,
            _MODEL_ASKED,
            Field(key="operation", about="`chat`, `completion`, `embeddings`, `other`", required=True),
            _SOURCE,
            _OWNER,
            _API,
            Field(key="stream", about="the answer comes in pieces", required=True),
            _HOST,
            _ATTEMPT,
            Field(key="temperature", about="as the request sets it; application only"),
            Field(key="max_tokens", about="the limit that the request sets; application only"),
        ),
        at_stop=(Field(key="error_type", about="the provider's word for the error; capture only"),),
        at_end=(
            Field(key="status", about="the HTTP status"),
            _SERVED_BY,
            Field(key="request_id", about="the provider's id of the request", varies=True),
            _FINISH,
            Field(key="ended", about="`complete`, `unterminated`, `closed`, `abandoned`, `error`; capture only"),
            Field(key="uncertain", about="it was sent and never answered: nobody knows whether it was billed"),
            Field(key="pending", about="the provider works on in the background; a later request will get the answer"),
            _ID,
            _COUNTED,
            _FROM_CACHE,
        ),
    ),
    *_span(
        "llm.embedding.call",
        "a call of the application's own embedding function",
        ("application",),
        measurements=(*_TOKENS, Field(key="inputs", about="texts that are embedded", unit="count")),
        metadata=_WHO,
        at_end=(_FINISH, _ID, _COUNTED, _FROM_CACHE),
    ),
    *_span(
        "llm.http.request",
        "an HTTP request of the application",
        ("application",),
        measurements=(
            Field(key="request_bytes", about="of the body, if it is in memory", unit="bytes"),
            Field(key="response_bytes", about="of the body, if it is in memory", unit="bytes"),
        ),
        metadata=(
            Field(key="method", about="such as `POST`", required=True),
            Field(key="url", about="without user, query and fragment", required=True),
            Field(key="provider", about="if it is given"),
            Field(key="timeout", about="if it is given as a number"),
            Field(key="stream", about="if it is given"),
        ),
        at_end=(Field(key="status", about="the HTTP status, if the result states one"),),
    ),
    *_span(
        "llm.stream",
        "a streamed answer",
        ("capture", "application"),
        measurements=(
            Field(key="chunks", about="pieces that came", unit="count", varies=True),
            Field(key="bytes", about="bytes that came; capture only", unit="bytes", varies=True),
            _TTFT,
            Field(key="mean_gap_ns", about="between two pieces, on average", unit="ns", varies=True),
            Field(key="max_gap_ns", about="the longest wait between two pieces", unit="ns", varies=True),
        ),
        metadata=(*_MAYBE_WHO, *_OF_REQUEST, _SERVED_BY),
        at_end=(
            _FINISH,
            Field(key="ended", about="`complete`, `unterminated`, `closed`, `abandoned`, `error`", required=True),
        ),
    ),
    _event(
        CHUNK,
        "a piece of a streamed answer arrives, and a handler is attached to exactly this event",
        "capture",
        "application",
        measurements=(
            Field(key="bytes", about="of the piece; capture only", unit="bytes", varies=True),
            Field(
                key="gap_ns", about="since the piece before, or since the start", unit="ns", required=True, varies=True
            ),
        ),
        metadata=(
            Field(key="index", about="from 0", required=True),
            *_MAYBE_WHO,
            *_OF_REQUEST,
            _SERVED_BY,
            *_SPAN_OF,
        ),
    ),
    _event(
        "llm.response.truncated",
        "an answer ends because it is too long",
        "capture",
        "application",
        measurements=(
            Field(key="output_tokens", about="that were produced", unit="tokens", required=True),
            Field(key="max_tokens", about="the limit that the request sets", unit="tokens", required=True),
        ),
        metadata=(*_WHO, *_OF_REQUEST, _FINISH, *_SPAN_OF),
    ),
    # -- money ---------------------------------------------------------------------------
    _event(
        "llm.cost.calculated",
        "a call was answered; once for each call, whoever saw it",
        "accounting",
        measurements=(
            Field(key="cost_usd", about="exact; none: nobody knows the price", unit="USD", required=True),
            *_TOKENS,
        ),
        metadata=(
            *_WHO,
            _MODEL_ASKED,
            Field(key="operation", about="`chat`, `embeddings`, `other`", required=True),
            Field(
                key="price_source",
                about="`provider`, `application`, `override`, `genai-prices VERSION`, `free`, `unpriced`",
                required=True,
                varies=True,
            ),
            Field(key="served_by", about="`live`, `mock` or `replay`", required=True),
            _FINISH,
            Field(key="estimated", about="a mock made the usage up", required=True),
            Field(key="unpriced_reason", about="why the cost is none"),
            Field(key="doubts", about="what does not add up in the usage"),
            Field(key="partial", about="more was used than is stated"),
            _API,
            _HOST,
            _ID,
            _OWNER,
            *_SPAN_OF,
        ),
    ),
    _event(
        "llm.cost.threshold.exceeded",
        "a limit on cost is crossed",
        "limits",
        "application",
        measurements=(
            Field(key="cost_usd", about="what was spent", unit="USD", required=True),
            Field(key="threshold_usd", about="what may be", unit="USD", required=True),
            Field(key="exceeded_by_usd", about="the difference", unit="USD", required=True),
        ),
        metadata=(Field(key="scope", about="`call`, `test` or `session`", required=True),),
    ),
    # -- the application's cache -----------------------------------------------------------
    _event(
        "llm.cache.lookup.hit",
        "the application's cache has what was looked up",
        "application",
        measurements=(
            Field(key="duration_ns", about="of the look-up", unit="ns", varies=True),
            Field(key="size_bytes", about="of a text or bytes that were found", unit="bytes"),
            Field(key="saved_cost_usd", about="what the answer cost when it was made; none: unknown", unit="USD"),
        ),
        metadata=(_KEY,),
    ),
    _event(
        "llm.cache.lookup.miss",
        "the application's cache does not have it",
        "application",
        measurements=(Field(key="duration_ns", about="of the look-up", unit="ns", varies=True),),
        metadata=(_KEY,),
    ),
    _event(
        "llm.cache.store.success",
        "the application's cache has stored something",
        "application",
        measurements=(
            Field(key="duration_ns", about="of the storing", unit="ns", varies=True),
            Field(key="size_bytes", about="of a text or bytes that are stored", unit="bytes"),
            Field(key="ttl_s", about="how long it is kept; none: for good", unit="s", required=True),
        ),
        metadata=(_KEY,),
    ),
    _event(
        "llm.cache.ttl.expired",
        "an entry of the application's cache is too old",
        "application",
        measurements=(Field(key="age_s", about="of the entry", unit="s", varies=True),),
        metadata=(_KEY,),
    ),
    _event(
        "llm.cache.evicted",
        "an entry of the application's cache makes room",
        "application",
        measurements=(Field(key="size_bytes", about="of the entry", unit="bytes"),),
        metadata=(
            _KEY,
            Field(key="reason", about="such as `size`"),
        ),
    ),
    # -- the context window ----------------------------------------------------------------
    _event(
        "llm.context.window.exceeded",
        "a prompt does not fit: the application found out, or the provider refused it",
        "application",
        "capture",
        measurements=(
            Field(key="tokens", about="of the prompt; none: not stated", unit="tokens", required=True),
            Field(key="max_tokens", about="of the window; none: not stated", unit="tokens", required=True),
            Field(key="exceeded_by", about="the difference", unit="tokens", required=True),
        ),
        metadata=(*_MAYBE_WHO, *_OF_REQUEST, *_SPAN_OF),
    ),
    *_span(
        "llm.context.truncation",
        "bringing a conversation down to size",
        ("application",),
        measurements=tuple(
            Field(key=f"{what}_{when}", about=about, unit=unit)
            for what, unit in (("messages", "count"), ("tokens", "tokens"))
            for when, about in (("before", "at first"), ("after", "that are left"), ("removed", "that were removed"))
        ),
        metadata=(Field(key="strategy", about="such as `sliding_window`", required=True),),
        at_end=(Field(key="truncated", about="anything was removed"),),
    ),
    # -- sessions --------------------------------------------------------------------------
    _event(
        "llm.session.created",
        "a conversation begins",
        "application",
        metadata=(Field(key="session_id", about="its name", required=True, varies=True),),
    ),
    _event(
        "llm.session.message.added",
        "a message joins a conversation",
        "application",
        measurements=(
            Field(key="tokens", about="of the message", unit="tokens"),
            Field(key="content_length", about="of its text", unit="characters"),
        ),
        metadata=(
            _SESSION,
            Field(key="role", about="`system`, `user`, `assistant`, `tool`"),
        ),
    ),
    _event(
        "llm.session.token_usage.updated",
        "a conversation has used tokens",
        "application",
        measurements=(
            Field(key="input_tokens", about="of the exchange", unit="tokens"),
            Field(key="output_tokens", about="of the exchange", unit="tokens"),
            Field(key="total_tokens", about="of the exchange", unit="tokens"),
        ),
        metadata=(_SESSION,),
    ),
    _event(
        "llm.session.cleared",
        "a conversation is emptied",
        "application",
        measurements=(Field(key="message_count", about="that were removed", unit="count", required=True),),
        metadata=(_SESSION,),
    ),
    _event(
        "llm.session.truncated",
        "old messages leave a conversation",
        "application",
        measurements=(
            Field(key="messages_removed", about="how many", unit="count", required=True),
            Field(key="message_count", about="that are left", unit="count"),
        ),
        metadata=(_SESSION,),
    ),
    # -- signals ---------------------------------------------------------------------------
    _event(
        "llm.retry.attempt",
        "a request is tried again",
        "capture",
        "application",
        measurements=(
            Field(key="attempt", about="2 for the first retry", unit="count", required=True),
            Field(key="delay_s", about="the wait before it", unit="s", varies=True),
        ),
        metadata=(Field(key="reason", about="why"), *_MAYBE_WHO, *_OF_REQUEST, *_SPAN_OF),
    ),
    _event(
        "llm.rate_limit.hit",
        "a provider says that it is asked too often (HTTP 429)",
        "capture",
        "application",
        measurements=(
            Field(key="retry_after_s", about="the wait that it asks for; none: not stated", unit="s", required=True),
        ),
        metadata=(*_MAYBE_WHO, *_OF_REQUEST, *_SPAN_OF),
    ),
    _event(
        "llm.circuit_breaker.state.changed",
        "a circuit breaker opens, half-opens or closes",
        "application",
        metadata=(
            Field(key="circuit", about="its name", required=True),
            Field(key="old_state", about="`closed`, `open` or `half_open`", required=True),
            Field(key="new_state", about="the same", required=True),
            Field(key="reason", about="why"),
        ),
    ),
    _event(
        "llm.tool.call",
        "a model asks for a tool",
        "capture",
        "application",
        measurements=(
            Field(key="arguments_bytes", about="of the JSON that the model wrote", unit="bytes", required=True),
        ),
        metadata=(Field(key="tool", about="its name", required=True), *_MAYBE_WHO, *_OF_REQUEST, *_SPAN_OF),
    ),
    # -- telemetry itself ------------------------------------------------------------------
    _event(
        "telemetry.handler.failure",
        "a handler raised, and was detached from all its events",
        "bus",
        measurements=_BEGAN,
        metadata=(
            Field(key="event", about="that it was given", required=True),
            Field(key="handler_id", about="of the handler", required=True),
            Field(key="error_type", about="of its exception", required=True),
        ),
    ),
    _event(
        "telemetry.instrument.failure",
        "instrumentation could not read what it was given; the code that it watches went on",
        "bus",
        measurements=_BEGAN,
        metadata=(
            Field(key="where", about="what could not be done", required=True),
            Field(key="error_type", about="of the exception", required=True),
        ),
    ),
)

CATALOGUE: Mapping[str, EventSpec] = MappingProxyType({spec.name: spec for spec in _EVENTS})
"""The events of this package by name."""


# -- events of users -----------------------------------------------------------------------

_lock = threading.Lock()
# All declarations of a name are equal; the event is known until the last of them is undone.
_declared: Mapping[str, tuple[EventSpec, ...]] = MappingProxyType({})


def declare(
    name: str,
    *,
    when: str = "",
    measurements: Mapping[str, str] | Iterable[Field] = (),
    metadata: Mapping[str, str] | Iterable[Field] = (),
) -> Callable[[], None]:
    """Declare an event of your own, and return a function that undoes it.

    Args:
        name: such as ``myapp.answer.graded``; also one under ``llm.`` that is not taken.
        when: when it is emitted, in words.
        measurements: the unit of each key, or :class:`Field` values for more. All are required.
        metadata: what each key means, or :class:`Field` values.

    To declare the same again is harmless; the event is known until each declaration is undone.

    Raises:
        ValueError: the name is empty, or a part of it, or it is taken by another event.
        TypeError: a field is neither a key of a mapping nor a :class:`Field`.

    >>> undo = declare("myapp.answer.graded", measurements={"score": "points"}, metadata={"grader": "who graded"})
    >>> list(problems("myapp.answer.graded", {"score": 4}, {}))
    ["myapp.answer.graded lacks the metadata 'grader': who graded"]
    >>> undo()
    """
    global _declared  # noqa: PLW0603 - declarations are the process's, like handlers
    if not all(part.strip() for part in name.split(".")):
        raise ValueError(f"an event name is empty, or a part of it: {name!r}; give one such as 'myapp.answer.graded'")
    spec = EventSpec(
        name=name,
        when=when,
        emitters=("application",),
        measurements=_fields(measurements, of_unit=True),
        metadata=_fields(metadata, of_unit=False),
    )
    with _lock:
        same = _declared.get(name, ())
        if name in CATALOGUE or any(one != spec for one in same):
            raise ValueError(f"the event {name!r} is declared already, and otherwise")
        _declared = MappingProxyType({**_declared, name: (*same, spec)})

    def undo() -> None:
        global _declared  # noqa: PLW0603
        with _lock:
            left = tuple(one for one in _declared.get(name, ()) if one is not spec)
            others = {known: specs for known, specs in _declared.items() if known != name}
            _declared = MappingProxyType({**others, name: left} if left else others)

    return undo


def _fields(given: Mapping[str, str] | Iterable[Field], *, of_unit: bool) -> tuple[Field, ...]:
    if not isinstance(given, Mapping):
        fields = tuple(given)
        for field in fields:
            if not isinstance(field, Field):
                raise TypeError(f"declare(): {field!r} is no Field; give a mapping of keys, or Field values")
        return fields
    return tuple(
        Field(key=key, about="" if of_unit else said, unit=said if of_unit else None, required=True)
        for key, said in given.items()
    )


def find(name: str) -> EventSpec | None:
    """What is known of an event, of ours or declared."""
    return CATALOGUE.get(name) or next(iter(_declared.get(name, ())), None)


def known_events() -> tuple[str, ...]:
    """The names of all events, ours first, then those that were declared."""
    return (*CATALOGUE, *_declared)


def problems(name: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> list[str]:
    """What strict mode has to say about an event; nothing if all is well."""
    spec = find(name)
    if spec is not None:
        return list(spec.problems(measurements, metadata))
    if name.startswith(PREFIX):
        return [f"{name} is not an event of the catalogue; declare() it, or name it outside of {PREFIX!r}"]
    return []
