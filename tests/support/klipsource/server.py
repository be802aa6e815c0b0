"""HTTP servers for a test: each path answers as a function says."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Source:
    """A server and what it was asked."""

    base: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range of each GET."""

    def url(self, path: str) -> str:
        return self.base + path


@contextmanager
def serving(host: str = "127.0.0.1") -> Iterator[Source]:
    """A source on a free port of a loopback address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            source.asked.append((path, self.headers.get("Range")))
            answer = source.answers.get(path)
            if answer is None:
                self.send_error(404)
                return
            try:
                answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    source = Source(f"http://{host}:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield source
    finally:
        server.shutdown()
        server.server_close()


def content(body: bytes, kind: str = "video/mp4", status: int = 200) -> Answer:
    """The same body each time, parts of it where a Range is asked for."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        start = _start(handler)
        if start >= len(body) > 0:
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(body)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        _head(handler, body, start, kind, status)
        handler.wfile.write(body[start:])

    return answer


def only_with(query: str, then: Answer) -> Answer:
    """403 unless the address has exactly that query, as a bucket answers where a signature is missing or wrong."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path.partition("?")[2] != query:
            handler.send_error(403)
            return
        then(handler)

    return answer


def redirect(location: str) -> Answer:
    """302 to another place."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", location)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def breaking(body: bytes, part: int) -> Answer:
    """Closes the connection after `part` bytes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        start = _start(handler)
        _head(handler, body, start, "video/mp4", 200)
        handler.wfile.write(body[start : start + part])
        handler.close_connection = True

    return answer


def trickling(body: bytes, first: int, seconds: float) -> Answer:
    """After the `first` bytes of the body one byte every so many seconds, for ten minutes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        start = _start(handler)
        _head(handler, body, start, "video/mp4", 200)
        handler.wfile.write(body[start:first])
        for number in range(round(600 / seconds)):
            handler.wfile.write(body[max(start, first) + number :][:1])
            handler.wfile.flush()
            time.sleep(seconds)

    return answer


def playlist(segments: list[str], *, ended: bool = True, seconds: float = 4.0) -> bytes:
    """An HLS media playlist."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{round(seconds)}", "#EXT-X-MEDIA-SEQUENCE:0"]
    for segment in segments:
        lines += [f"#EXTINF:{seconds:.3f},", segment]
    return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if ended else [])]).encode() + b"\n"


HLS = "application/vnd.apple.mpegurl"


def _start(handler: BaseHTTPRequestHandler) -> int:
    asked = handler.headers.get("Range", "")
    return int(asked[6:].partition("-")[0]) if asked.startswith("bytes=") else 0


def _head(handler: BaseHTTPRequestHandler, body: bytes, start: int, kind: str, status: int) -> None:
    handler.send_response(206 if start else status)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body) - start))
    handler.end_headers()
