"""How long the Python client waits for a job, against a server whose streams break off."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from klipstream import AsyncClient, Client, State, Unavailable, WaitTimedOut
from klipstream.retrying import Retries

DONE = {"job_id": "a", "status": "completed", "priority": "NORMAL", "attempt": 1,
        "progress": {"percentage": 100.0, "current_stage": "Completed"}}  # fmt: skip
EVENT = f"id: 7\nevent: job\ndata: {json.dumps(DONE)}\n\n".encode()


@contextmanager
def answering(*streams: tuple[int, bytes], silent: bool = False) -> Iterator[str]:
    """Streams one after the other, the last one again and again; `silent` ones stay open. The server's address."""
    left = list(streams)
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()
            if silent:
                over.wait(120)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        serving.join()


CUT = (200, b"retry: 2000\n\n: alive\n\n")
AWAY = (503, b"")
TWO_RETRIES = Retries(at_most=2)


def test_a_stream_that_is_cut_again_and_again_is_opened_as_often():
    with answering(CUT, CUT, AWAY, CUT, (200, EVENT)) as url, Client(url, retries=TWO_RETRIES) as client:
        assert client.wait("a").status is State.COMPLETED


async def test_a_stream_that_is_cut_again_and_again_is_opened_as_often_by_asyncio_too():
    with answering(CUT, CUT, AWAY, CUT, (200, EVENT)) as url:
        async with AsyncClient(url, retries=TWO_RETRIES) as client:
            assert (await client.wait("a")).status is State.COMPLETED


def test_a_gateway_that_is_away_is_given_up():
    with answering(AWAY) as url, Client(url, retries=TWO_RETRIES) as client, pytest.raises(Unavailable):
        client.wait("a", timeout_seconds=600)


@pytest.mark.parametrize(
    ("stream", "silent"), [(CUT, False), (CUT, True), (AWAY, False)], ids=["cut", "silent", "away"]
)
def test_where_the_time_is_over_that_is_what_is_said(stream, silent):
    with (
        answering(stream, silent=silent) as url,
        Client(url, retries=Retries(at_most=99)) as client,
        pytest.raises(WaitTimedOut),
    ):
        client.wait("a", timeout_seconds=1.5)
