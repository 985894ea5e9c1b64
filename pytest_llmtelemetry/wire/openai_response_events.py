"""How a response is written, whole and as events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pytest_llmtelemetry.facts import CallFacts, FinishReason, ToolCall
from pytest_llmtelemetry.wire.dialect import finish_word
from pytest_llmtelemetry.wire.jsontext import dump, objects
from pytest_llmtelemetry.wire.sse import encode


_WORD = {
    FinishReason.STOP: "completed",
    FinishReason.TOOL_CALLS: "completed",
    FinishReason.REFUSAL: "completed",
    FinishReason.UNKNOWN: "completed",
    FinishReason.LENGTH: "incomplete:max_output_tokens",
    FinishReason.CONTENT_FILTER: "incomplete:content_filter",
    FinishReason.ERROR: "failed",
}

# A mock's answers must not change from run to run.
_CREATED = 1_700_000_000

Event = tuple[str, Mapping[str, object]]
"""Its name, and what it says."""


def response_of(facts: CallFacts) -> dict[str, object]:
    """A whole response."""
    status, _, reason = _word(facts).partition(":")
    failure = {"code": facts.error_type, "message": "The model could not answer."}
    return _envelope(facts, status or None) | {
        "error": None if facts.error_type is None else failure,
        "incomplete_details": {"reason": reason} if reason else None,
        "output": _items(facts, "incomplete" if status == "incomplete" else "completed"),
        "usage": _write_usage(facts) or None,
    }


def events_of(facts: CallFacts, pieces: Sequence[str]) -> Iterator[bytes]:
    """The events of a streamed response."""
    return _written(_events(facts, pieces))


def broken_events(facts: CallFacts, pieces: Sequence[str], failure: Mapping[str, object]) -> Iterator[bytes]:
    """The events of a response that says ``pieces`` and then fails; ``failure`` is what the last event says."""
    begun = CallFacts(id=facts.id, model=facts.model, text="".join(pieces))
    said = [*_opening(begun)]
    for index, item in enumerate(_items(begun, "in_progress")):
        said += _message_opening(index, item, pieces)
    return _written([*said, ("error", failure)])


def _written(events: Iterable[Event]) -> Iterator[bytes]:
    for number, (kind, said) in enumerate(events):
        yield encode(dump({"type": kind, "sequence_number": number, **said}), event=kind)


# -- documents -------------------------------------------------------------------------------


def _word(facts: CallFacts) -> str:
    """The provider's own word for how it ended; nothing if it has not."""
    return "queued" if facts.pending else finish_word(facts, {}, _WORD) or ""


def _envelope(facts: CallFacts, status: str | None) -> dict[str, object]:
    """A response that has said nothing yet."""
    return {
        "id": facts.id or "",
        "object": "response",
        "created_at": _CREATED,
        "completed_at": _CREATED if status == "completed" else None,
        "status": status,
        "background": facts.pending,
        "error": None,
        "frequency_penalty": 0.0,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": facts.model or "",
        "output": [],
        "parallel_tool_calls": True,
        "presence_penalty": 0.0,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": facts.service_tier,
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        "user": None,
    }


def _items(facts: CallFacts, status: str) -> list[dict[str, object]]:
    """What a response says, in the order in which models say it."""
    stem = (facts.id or "").removeprefix("resp_")
    items: list[dict[str, object]] = []
    if facts.reasoning:
        summary = [{"type": "summary_text", "text": facts.reasoning}]
        items.append({"id": f"rs_{stem}", "type": "reasoning", "summary": summary})
    if facts.text:
        message = {"id": f"msg_{stem}", "type": "message", "status": status, "role": "assistant"}
        items.append({**message, "content": [_part(facts.text, refused=facts.finish_reason is FinishReason.REFUSAL)]})
    items.extend(_call(call, f"{stem}_{index}", status) for index, call in enumerate(facts.tool_calls))
    return items


def _part(said: str, *, refused: bool) -> dict[str, object]:
    if refused:
        return {"type": "refusal", "refusal": said}
    return {"type": "output_text", "text": said, "annotations": [], "logprobs": []}


def _call(call: ToolCall, stem: str, status: str) -> dict[str, object]:
    return {
        "id": f"fc_{stem}",
        "type": "function_call",
        "status": status,
        "call_id": call.id or f"call_{stem}",
        "name": call.name,
        "arguments": call.arguments,
    }


def _write_usage(facts: CallFacts) -> dict[str, object]:
    usage = facts.usage
    document: dict[str, object] = {} if facts.stated_cost_usd is None else {"cost": facts.stated_cost_usd}
    if usage is None:
        return document
    asked = {
        "cached_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "audio_tokens": usage.input_audio_tokens,
        "image_tokens": usage.input_image_tokens,
    }
    produced = {
        "reasoning_tokens": usage.reasoning_tokens,
        "audio_tokens": usage.output_audio_tokens,
        "image_tokens": usage.output_image_tokens,
    }
    return document | {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {key: value for key, value in asked.items() if value is not None},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {key: value for key, value in produced.items() if value is not None},
        "total_tokens": usage.total_tokens,
    }


# -- events ----------------------------------------------------------------------------------


def _events(facts: CallFacts, pieces: Sequence[str]) -> Iterator[Event]:
    yield from _opening(facts)
    if facts.pending:
        return
    whole = response_of(facts)
    for index, item in enumerate(_items(facts, "completed")):
        match item["type"]:
            case "reasoning":
                yield from _reasoning_events(index, item, facts.reasoning)
            case "message":
                yield from _message_opening(index, item, pieces)
                yield from _message_ending(index, item, facts.text)
            case _:
                yield from _call_events(index, item)
    status = whole["status"]
    ending = status if status in {"incomplete", "failed"} else "completed"
    yield f"response.{ending}", {"response": whole}


def _opening(facts: CallFacts) -> Iterator[Event]:
    status = "queued" if facts.pending else "in_progress"
    begun = {"response": _envelope(facts, status)}
    yield "response.created", begun
    yield f"response.{status}", begun


def _reasoning_events(index: int, item: Mapping[str, object], thought: str) -> Iterator[Event]:
    place = {"item_id": item["id"], "output_index": index, "summary_index": 0}
    yield "response.output_item.added", {"output_index": index, "item": {**item, "summary": []}}
    yield "response.reasoning_summary_part.added", {**place, "part": {"type": "summary_text", "text": ""}}
    yield "response.reasoning_summary_text.delta", {**place, "delta": thought}
    yield "response.reasoning_summary_text.done", {**place, "text": thought}
    yield "response.reasoning_summary_part.done", {**place, "part": {"type": "summary_text", "text": thought}}
    yield "response.output_item.done", {"output_index": index, "item": item}


def _message_opening(index: int, item: Mapping[str, object], pieces: Sequence[str]) -> Iterator[Event]:
    """A message as far as its last word."""
    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
    begun = {**item, "status": "in_progress", "content": []}
    yield "response.output_item.added", {"output_index": index, "item": begun}
    yield "response.content_part.added", {**place, "part": _part("", refused=_refuses(item))}
    for piece in pieces:
        if _refuses(item):
            yield "response.refusal.delta", {**place, "delta": piece}
        else:
            yield "response.output_text.delta", {**place, "delta": piece, "logprobs": []}


def _message_ending(index: int, item: Mapping[str, object], said: str) -> Iterator[Event]:
    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
    if _refuses(item):
        yield "response.refusal.done", {**place, "refusal": said}
    else:
        yield "response.output_text.done", {**place, "text": said, "logprobs": []}
    yield "response.content_part.done", {**place, "part": _part(said, refused=_refuses(item))}
    yield "response.output_item.done", {"output_index": index, "item": item}


def _refuses(item: Mapping[str, object]) -> bool:
    return any("refusal" in part for part in objects(item["content"]))


def _call_events(index: int, item: Mapping[str, object]) -> Iterator[Event]:
    place = {"item_id": item["id"], "output_index": index}
    begun = {**item, "status": "in_progress", "arguments": ""}
    yield "response.output_item.added", {"output_index": index, "item": begun}
    yield "response.function_call_arguments.delta", {**place, "delta": item["arguments"]}
    done = {"name": item["name"], "arguments": item["arguments"]}
    yield "response.function_call_arguments.done", {**place, **done}
    yield "response.output_item.done", {"output_index": index, "item": item}
