"""The SDKs of OpenAI and Anthropic over a transport that answers by itself; prints each cost that was counted."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import Mapping
from typing import Any

import anthropic
import openai

from pytest_llmtelemetry import telemetry
from pytest_llmtelemetry.pricing import PriceBook


GPT, CLAUDE, EMBEDDER = "gpt-4o", "claude-3-5-sonnet-20241022", "text-embedding-3-small"
_numbers = itertools.count(1)
_QUESTION: Any = [{"role": "user", "content": "Capital of France?"}]
# The SDKs are built on httpx, or on httpx2.
_base = next(kind for kind in openai.DefaultHttpxClient.__mro__ if kind.__name__ == "Client")
_http: Any = sys.modules[_base.__module__.partition(".")[0]]
_USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}


def _events(*events: Mapping[str, Any]) -> Any:
    lines = [f"event: {event.get('type', 'chunk')}\ndata: {json.dumps(event)}\n\n" for event in events]
    return _http.Response(200, headers={"content-type": "text/event-stream"}, text="".join(lines))


def _answer(request: Any) -> Any:
    asked, number = json.loads(request.content), next(_numbers)
    if request.url.path.endswith("embeddings"):
        data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
        usage = {"prompt_tokens": 1000, "total_tokens": 1000}
        return _http.Response(200, json={"object": "list", "model": EMBEDDER, "data": data, "usage": usage})
    if request.url.path.endswith("messages"):
        usage = {"input_tokens": 1000, "output_tokens": 100}
        message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": CLAUDE, "usage": usage}
        text = {"type": "text", "text": "Paris."}
        if not asked.get("stream"):
            return _http.Response(200, json={**message, "content": [text], "stop_reason": "end_turn"})
        return _events(
            {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Paris."}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 100}},
            {"type": "message_stop"},
        )
    about = {"id": f"chatcmpl-{number}", "created": 1, "model": "gpt-4o-2024-08-06"}
    if asked.get("stream"):
        piece = {"index": 0, "delta": {"content": "Paris."}, "finish_reason": "stop"}
        chunk = {**about, "object": "chat.completion.chunk"}
        return _events({**chunk, "choices": [piece]}, {**chunk, "choices": [], "usage": _USAGE})
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Paris."}}
    return _http.Response(200, json={**about, "object": "chat.completion", "choices": [choice], "usage": _USAGE})


gpt = telemetry.instrument("llm.chat.call", {"provider": "openai", "model": GPT})
claude = telemetry.instrument("llm.chat.call", {"provider": "anthropic", "model": CLAUDE})
of_openai = openai.OpenAI(api_key="k", http_client=_http.Client(transport=_http.MockTransport(_answer)))
of_anthropic = anthropic.Anthropic(api_key="k", http_client=_http.Client(transport=_http.MockTransport(_answer)))


@gpt
@telemetry.instrument_provider("openai", GPT)
def ask_gpt() -> object:
    return of_openai.chat.completions.create(model=GPT, messages=_QUESTION)


@claude
@telemetry.instrument_provider("anthropic", CLAUDE)
def ask_claude() -> object:
    return of_anthropic.messages.create(model=CLAUDE, max_tokens=200, messages=_QUESTION)


@telemetry.embedding_call("openai", EMBEDDER, inputs=1)
def embed() -> object:
    return of_openai.embeddings.create(model=EMBEDDER, input="Paris", encoding_format="float")


@gpt
def stream_gpt() -> object:
    answer = of_openai.chat.completions.create(
        model=GPT, messages=_QUESTION, stream=True, stream_options={"include_usage": True}
    )
    with telemetry.instrument_stream(answer, {"provider": "openai", "model": GPT}) as pieces:
        return list(pieces)[-1]


@claude
def stream_claude() -> object:
    with of_anthropic.messages.stream(model=CLAUDE, max_tokens=200, messages=_QUESTION) as answer:
        list(telemetry.instrument_stream(answer, {"provider": "anthropic", "model": CLAUDE}))
        return answer.get_final_message()


async def ask_at_once() -> None:
    transport = _http.MockTransport(_answer)
    web = _http.AsyncClient(transport=transport)
    async with openai.AsyncOpenAI(api_key="k", http_client=web) as client:

        @gpt
        async def ask() -> object:
            return await client.chat.completions.create(model=GPT, messages=_QUESTION)

        await asyncio.gather(ask(), ask(), ask())


def main() -> None:
    """Run."""
    book = PriceBook()
    book.load()
    telemetry.set_pricer(book)
    telemetry.attach_default_handlers()
    costs: list[tuple[str, str, str]] = []

    def hear(_: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], __: object) -> None:
        costs.append((metadata["provider"], metadata["operation"], str(measurements["cost_usd"])))

    telemetry.attach("costs", "llm.cost.calculated", hear)
    for ask in (ask_gpt, ask_claude, embed, embed, stream_gpt, stream_claude):
        ask()
    asyncio.run(ask_at_once())
    of_openai.close()
    of_anthropic.close()
    ended = telemetry.get_metrics()["components"]["streams"]["application"]["ended"]
    foreign = [name for name in sys.modules if name.startswith(("pytest_llmtelemetry.capture", "pytest."))]
    json.dump({"costs": costs, "streams": ended, "foreign": foreign}, sys.stdout)


main()
