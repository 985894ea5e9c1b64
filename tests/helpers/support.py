"""What tests of several folders share."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

import pytest


@dataclass
class Provider:
    """Speaks OpenAI's API on loopback, and says what it is told to say."""

    port: int = 0
    status: int = 200
    model: str = "gpt-4o-mini"
    usage: dict[str, Any] | None = field(default_factory=lambda: {"prompt_tokens": 1000, "completion_tokens": 100})
    requests: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where to send chat completions."""
        return f"http://127.0.0.1:{self.port}/v1/chat/completions"

    @property
    def ini(self) -> str:
        """The setting that says that OpenAI's prices apply here."""
        return f"llm_hosts = 127.0.0.1:{self.port} = openai\n"

    def answer(self, asked: dict[str, Any]) -> tuple[str, bytes]:
        """The content type and the body."""
        self.requests.append(asked)
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        document: dict[str, Any] = {"id": f"chatcmpl-{len(self.requests)}", "model": self.model}
        if asked.get("stream"):
            document["choices"] = [choice | {"delta": {"content": "Hi"}}]
            return "text/event-stream", f"data: {json.dumps(document)}\n\ndata: [DONE]\n\n".encode()
        document["choices"] = [choice | {"message": {"role": "assistant", "content": "Hi"}}]
        return "application/json", json.dumps(document | {"usage": self.usage}).encode()


@contextmanager
def serve(provider: Provider) -> Iterator[Provider]:
    """Put a provider on a socket."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            kind, body = provider.answer(asked)
            self.send_response(provider.status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Run(Protocol):
    """Runs a suite with this plugin alone, in a process of its own."""

    def __call__(
        self, source: str, *options: str, ini: str = "", plugins: tuple[str, ...] = ()
    ) -> pytest.RunResult: ...


def report_of(result: pytest.RunResult) -> list[str]:
    """The lines of the report, without its title."""
    lines = result.outlines
    start = next((i for i, line in enumerate(lines) if " LLM telemetry " in line), None)
    if start is None:
        return []
    end = next(i for i in range(start + 1, len(lines)) if lines[i].startswith("="))
    return lines[start + 1 : end]
