"""A log that is followed through everything that may happen to its connection: real sockets on loopback."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

import pytest

from klipanswers import chunks, cut_off, says, server, status
from klipstream_cli import log_following, log_view, patience
from klipstream_cli.errors import Unreachable
from klipstream_cli.kubeconfig import Access
from klipstream_cli.log_following import follow_job
from klipstream_cli.log_lines import Lines, moment
from klipstream_cli.session import Session

Log = Callable[[BaseHTTPRequestHandler], None]
RUNNING = {"containerStatuses": [{"name": "worker", "state": {"running": {}}}]}
STOPPED = {"containerStatuses": [{"name": "worker", "state": {"terminated": {}}}]}
POD = {"metadata": {"name": "p", "namespace": "ns", "creationTimestamp": "2026-01-01T00:00:00Z"}}
T = "2026-01-02T03:04:0"


class Cluster:
    """An API server with one job and its pod; each reading of the log is answered by the next of `logs`."""

    def __init__(self, *logs: Log) -> None:
        self.logs, self.asked, self.ended = list(logs), list[dict[str, list[str]]](), False
        self.away = 0
        """So many requests for the job and the pod are answered by an error."""

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        path = urlsplit(handler.path).path
        if path.endswith("/log"):
            self.asked.append(parse_qs(urlsplit(handler.path).query))
            log = self.logs.pop(0)
            self.ended = not self.logs
            log(handler)
        elif self.away > 0 and self.asked:
            self.away -= 1
            cut_off(handler) if self.away % 2 else says(status(500, "etcd is away"), 500)(handler)
        elif path.endswith("/pods"):
            pod = POD | {"status": STOPPED if self.ended else RUNNING}
            says({"metadata": {"resourceVersion": "1"}, "items": [pod]})(handler)
        else:
            phase = "Succeeded" if self.ended else "Running"
            metadata = {"name": "talk", "namespace": "ns", "uid": "u"}
            says({"metadata": metadata, "spec": {}, "status": {"phase": phase, "attempt": 1}})(handler)

    def follow(self, seconds: float = 60.0, **options: int) -> int:
        with server(self) as (url, _):
            session = Session(namespace_option="ns", timeout_seconds=10.0, _access=Access(url))
            return follow_job(session, "talk", seconds, **options)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was written of logs; pauses are short."""
    out: list[bytes] = []
    for module in (log_view, log_following):
        monkeypatch.setattr(module, "write", out.append)
    monkeypatch.setattr(log_following, "POLL_SECONDS", 0.02)
    return out


def test_a_log_that_was_rotated_meanwhile_loses_no_line_and_doubles_none(written: list[bytes]) -> None:
    """The second reading begins at the second of the last line, in a file that has none of the lines before."""
    cluster = Cluster(
        lambda h: chunks(h, f"{T}1.1Z one\n{T}5.1Z two\n{T}5.1Z tw".encode(), torn=True),
        lambda h: chunks(h, f"{T}5.1Z two\n{T}5.1Z twice\n{T}5.2+00:00 three\n".encode(), b""),
    )
    assert cluster.follow() == 0
    assert b"".join(written) == b"one\ntwo\ntwice\nthree\n"
    assert cluster.asked[1]["sinceTime"] == ["2026-01-02T03:04:05Z"]


def test_last_lines_are_asked_for_once(written: list[bytes]) -> None:
    cluster = Cluster(
        lambda h: chunks(h, torn=True),
        lambda h: chunks(h, f"{T}1Z one\n".encode(), torn=True),
        lambda h: chunks(h, f"{T}1Z one\n{T}2Z two\n{T}3Z three\n".encode()),
    )
    assert cluster.follow(tail=1) == 0
    assert b"".join(written) == b"one\ntwo\nthree\n"
    assert [asked.get("tailLines") for asked in cluster.asked] == [["1"], ["1"], None]


def test_an_api_server_that_restarts_is_waited_for(written: list[bytes]) -> None:
    cluster = Cluster(
        lambda h: chunks(h, f"{T}1Z one\n".encode(), torn=True),
        says(status(502, "the node is away"), 502),
        lambda h: chunks(h, f"{T}1Z one\n{T}2Z two\n".encode()),
    )
    cluster.away = 9
    assert cluster.follow() == 0
    assert b"".join(written) == b"one\ntwo\n"


def test_one_that_stays_away_is_given_up(written: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_following, "PATIENCE_SECONDS", 0.1)
    cluster = Cluster(*[lambda h: chunks(h, torn=True)] * 50)
    with pytest.raises(Unreachable):
        cluster.follow()
    assert 1 < len(cluster.asked) < 50
    with pytest.raises(Unreachable):
        follow_job(Session(namespace_option="ns", _access=Access("http://127.0.0.1:1")), "talk", 60.0)


def test_the_time_ends_in_the_middle_of_a_silent_log(written: list[bytes], capsys) -> None:
    release = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n" % len(f"{T}1Z one\n") + f"{T}1Z one\n\r\n".encode())
        release.wait(60)

    try:
        assert Cluster(silent, silent).follow(0.5) == 7
    finally:
        release.set()
    assert b"".join(written) == b"one\n"
    assert "talk has not ended in time" in capsys.readouterr().err


def test_patience_ends_at_the_deadline_and_is_not_spent_on_what_lasts() -> None:
    calls = []

    def away() -> None:
        calls.append(1)
        raise Unreachable("away")

    with pytest.raises(Unreachable):
        patience.patiently(away, 0.0)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [(b"1970-01-01T00:00:01Z", (1, 0)), (b"1970-01-01T01:00:01.5+01:00", (1, 500_000_000)),
     (b"1970-01-01T00:00:00.000000001Z", (0, 1)), (b"yesterday", None), (b"2026-13-01T00:00:00Z", None)],
)  # fmt: skip
def test_moments_are_read_to_the_nanosecond(stamp: bytes, expected: tuple[int, int] | None) -> None:
    assert moment(stamp) == expected


def test_chunks_may_end_anywhere_and_a_line_without_a_timestamp_stays_as_it_is() -> None:
    whole, lines = f"{T}1Z one\n{T}2Z \n{T}3Z three words here\nno stamp\n{T}4Z torn".encode(), Lines()
    text = b"".join(lines.take(whole[n : n + 1]) for n in range(len(whole))) + lines.end()
    assert text == b"one\n\nthree words here\nno stamp\ntorn"
