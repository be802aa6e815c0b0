"""A queue to post to: a real HTTP(S) server that answers as it is told.

Standard library only and Python 3.9 or newer, like what is tested with it.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Posted:
    """One post as it came in."""

    at: float
    body: dict[str, Any]
    headers: Mapping[str, str]


class Handler(BaseHTTPRequestHandler):
    """Keeps each post and reacts as the queue was told, else as a queue that is content."""

    protocol_version = "HTTP/1.1"
    queue: Queue

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.queue.lock:
            self.queue.posts.append(Posted(time.monotonic(), json.loads(body), dict(self.headers)))
            reaction = self.queue.reactions.pop(0) if self.queue.reactions else self.queue.always
        if reaction is not None:
            reaction(self)
        else:
            self.reply(200, self.queue.reply)

    def do_GET(self) -> None:
        self.queue.fetched.append(self.path)
        self.reply(200, b"{}")

    def reply(self, status: int, body: bytes | dict[str, Any], headers: Mapping[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        return


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        return  # clients that go away are part of the tests


class Queue:
    """The progress endpoint. `reactions` are for the next posts, `always` for all others."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.lock = threading.Lock()
        self.posts: list[Posted] = []
        self.fetched: list[str] = []
        self.reactions: list[Reaction] = []
        self.always: Reaction | None = None
        self.reply: dict[str, Any] = {"desired": "Continue", "min_interval_seconds": 0.1}
        self._server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"queue": self}))
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}/v1/progress"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, condition: Callable[[], Any], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{len(self.posts)} posts: {[p.body for p in self.posts[-3:]]}"
            time.sleep(0.01)

    @property
    def percentages(self) -> list[float]:
        return [each.body["percentage"] for each in list(self.posts)]


def status(code: int, headers: Mapping[str, str] | None = None, body: bytes = b"{}") -> Reaction:
    """Answer with a status."""
    return lambda handler: handler.reply(code, body, headers)


def reset(handler: Handler) -> None:
    """Close the connection by a reset instead of an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def hang(seconds: float) -> Reaction:
    """Answer nothing for that long."""
    return lambda handler: time.sleep(seconds)


Reaction = Callable[[Handler], None]
