"""A real HTTP server on loopback that answers what a test scripted, chunk by chunk."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple


class Drop:
    """A step of a body: the connection breaks here."""


Step = bytes | threading.Event | Drop
"""What a body is made of: bytes to send, an event to wait for, a break."""

JSON = MappingProxyType({"content-type": "application/json"})
SSE = MappingProxyType({"content-type": "text/event-stream; charset=utf-8"})


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One scripted answer."""

    body: Sequence[Step]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)
    before: threading.Event | None = None
    """Nothing is sent until this is set."""


class Seen(NamedTuple):
    """A request as the server got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Server:
    """Answers with what a test scripted, in order, and keeps what it was asked."""

    patience_s = 5.0

    def __init__(self) -> None:
        self.requests: list[Seen] = []
        self._script: deque[Reply] = deque()
        self._http = _Http(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.002,), daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Its ``host:port``."""
        return f"127.0.0.1:{self._http.server_port}"

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{self.address}"

    def answer(self, *replies: Reply) -> None:
        """Add to what will be answered, one reply for each request."""
        self._script.extend(replies)

    def take(self, request: Seen) -> Reply:
        """The next reply."""
        self.requests.append(request)
        return self._script.popleft() if self._script else Reply(status=418, body=[b'{"error":"nothing is scripted"}'])

    def close(self) -> None:
        """Stop to answer."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that leaves early is what some tests are about
            super().handle_error(request, client_address)


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.headers.get("transfer-encoding") == "chunked":
                body = b"".join(self._chunks())
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._send(server.take(Seen(self.command, self.path, headers, body)))

        do_GET = do_POST  # noqa: N815 - the base class names it

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
            """Say nothing."""

        def _chunks(self) -> Iterator[bytes]:
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

        def _send(self, reply: Reply) -> None:
            if reply.before is not None and not reply.before.wait(server.patience_s):
                self.close_connection = True
                return
            whole = len(reply.body) == 1 and isinstance(reply.body[0], bytes)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if whole:
                self.send_header(
                    "content-length", str(sum(len(step) for step in reply.body if isinstance(step, bytes)))
                )
            else:
                self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for step in reply.body:
                if isinstance(step, bytes):
                    self.wfile.write(step if whole else b"%x\r\n%s\r\n" % (len(step), step))
                elif isinstance(step, Drop) or not step.wait(server.patience_s):
                    self.close_connection = True
                    return
            if not whole:
                self.wfile.write(b"0\r\n\r\n")

    return Handler
