"""An HTTP server on loopback that answers as it is told, for tests of connections: slow, torn, refusing."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def server(*answers: Answer) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Answers one request each, the last one for ever; its address, and the headers of what came."""
    left, seen = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            sent = {"path": self.path, "method": self.command, "body": body.decode()}
            seen.append(dict(self.headers) | sent)
            (left.pop(0) if len(left) > 1 else left[0])(self)

        do_GET = do_POST = do_PATCH = do_CONNECT = _do

        def log_message(self, *_: object) -> None:
            return

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}", seen
    finally:
        httpd.shutdown()
        httpd.server_close()


def says(body: object, code: int = 200, **headers: str) -> Answer:
    """JSON, or bytes as they are."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        (handler.send_response_only if "Date" in headers else handler.send_response)(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def status(code: int, message: str, reason: str = "", **more: object) -> dict[str, object]:
    """What an API server answers a request that it refuses."""
    return {"kind": "Status", "code": code, "message": message, "reason": reason, **more}


def cut_off(handler: BaseHTTPRequestHandler) -> None:
    """Half an answer, and the connection is gone."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"items": [')
    handler.close_connection = True


def chunks(handler: BaseHTTPRequestHandler, *parts: bytes, torn: bool = False) -> None:
    """An answer in pieces, such as a followed log; `torn`: the connection is gone before its end."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for part in parts:
        handler.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
    if not torn:
        handler.wfile.write(b"0\r\n\r\n")
    handler.close_connection = torn


def closing(answer: Answer) -> Answer:
    """The answer, after which the server closes the connection without a word, as one does that was idle for long."""

    def closes(handler: BaseHTTPRequestHandler) -> None:
        answer(handler)
        handler.close_connection = True

    return closes
