"""The reference worker on real media over real HTTP."""

import json
import random
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from klipstream_pipeline.analysis import run
from klipstream_pipeline.highlights import find_highlights
from klipstream_pipeline.loudness import measure_loudness
from klipstream_pipeline.outcome import MESSAGE_BYTES, Exit, Report
from klipstream_pipeline.task import BadTask, Task
from klipstream_pipeline.testserver import make_server, make_videos
from klipstream_pipeline.testvideo import make_video

Serve = Callable[[ThreadingHTTPServer], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[ThreadingHTTPServer] = []

    def start(server: ThreadingHTTPServer) -> str:
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def task(tmp_path: Path, url: str, **changes: Any) -> Task:
    values: dict[str, Any] = {
        "job_id": "job", "attempt": 1, "video_url": url, "results_url": f"file://{tmp_path}/results",
        "termination_log": tmp_path / "termination",
    }  # fmt: skip
    return Task(**values | changes)


def said(tmp_path: Path) -> dict[str, Any]:
    return dict(json.loads((tmp_path / "termination").read_text()))


def answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            return

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


SEED = random.randrange(1_000_000)


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 25, 33, pytest.param(SEED, id="random")])
def test_the_planted_moments_are_found_and_nothing_else(tmp_path: Path, seed: int) -> None:
    planted = make_video(tmp_path / "video.mp4", 60.0, seed)
    found = [each.peak_seconds for each in find_highlights(measure_loudness(planted.path, lambda *_: None))]
    assert len(found) == len(planted.moments_seconds), f"seed {seed}"
    assert all(abs(a - b) <= 2 for a, b in zip(found, planted.moments_seconds, strict=True)), f"seed {seed}"


def test_an_analysis_leaves_its_result_and_reports_rising_progress(tmp_path: Path, serve: Serve) -> None:
    make_videos(tmp_path, 1, 30.0, 7)
    posts: list[dict[str, Any]] = []

    def take(handler: BaseHTTPRequestHandler) -> None:
        posts.append(json.loads(handler.rfile.read(int(handler.headers["Content-Length"]))))
        assert handler.headers["Authorization"] == "Bearer secret"
        reply_body = b'{"desired": "Continue", "min_interval_seconds": 0.1}'
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(reply_body)))
        handler.end_headers()
        handler.wfile.write(reply_body)

    (tmp_path / "token").write_text("secret\n")
    videos, progress = serve(make_server(tmp_path, "127.0.0.1", 0)), serve(answering(take))
    asked = task(tmp_path, f"{videos}/video-0.mp4", progress_url=progress, token_file=tmp_path / "token")
    assert run(asked) == Exit.SUCCESS
    result = json.loads((tmp_path / "results/jobs/job/attempts/1/result.json").read_text())
    truth = json.loads((tmp_path / "truth.json").read_text())["video-0"]
    assert [round(each["peak_seconds"]) for each in result["highlights"]] == pytest.approx(truth, abs=2)
    assert said(tmp_path)["result_url"].endswith("jobs/job/attempts/1/result.json")
    percentages = [post["percentage"] for post in posts]
    assert percentages == sorted(percentages)
    assert percentages[-1] == 100.0
    assert posts[-1]["stage"] == "Completed"


def test_a_download_that_breaks_is_resumed(tmp_path: Path, serve: Serve) -> None:
    make_videos(tmp_path, 1, 20.0, 3)
    content = (tmp_path / "video-0.mp4").read_bytes()
    asked: list[str | None] = []

    def broken(handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        asked.append(wanted)
        start = int(wanted[6:-1]) if wanted else 0
        handler.send_response(206 if wanted else 200)
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        handler.wfile.write(content[start : start + len(content) // 3 + 1])
        handler.wfile.flush()

    assert run(task(tmp_path, f"{serve(answering(broken))}/v.mp4")) == Exit.SUCCESS
    assert asked[0] is None
    assert len(asked) == 3
    assert all(asked[1:])


@pytest.mark.parametrize(
    ("content", "status", "code", "error", "retryable"),
    [
        (b"", 404, Exit.SOURCE_GONE, "SourceGone", False),
        (b"", 410, Exit.SOURCE_GONE, "SourceGone", False),
        (b"", 200, Exit.BAD_VIDEO, "BadVideo", False),
        (b"<html>not a video</html>" * 100, 200, Exit.BAD_VIDEO, "BadVideo", False),
        (b"busy", 503, Exit.TRANSIENT, "DownloadFailed", True),
    ],
)
def test_a_bad_source_is_told_apart(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, content: bytes, status: int, code: Exit, error: str,
    retryable: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr("klipstream_pipeline.download.WAIT_SECONDS", 0.01)
    url = serve(answering(lambda handler: reply(handler, status, content)))
    assert run(task(tmp_path, f"{url}/v.mp4")) == code
    assert (said(tmp_path)["error_code"], said(tmp_path)["retryable"]) == (error, retryable)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (200, b'{"desired": "Cancel", "min_interval_seconds": 0.1}', Exit.CANCELLED),
        (409, b"{}", Exit.STALE),
        (503, b"{}", Exit.SUCCESS),
        (200, b"not json", Exit.SUCCESS),
    ],
)
def test_only_cancel_and_a_stale_attempt_stop_the_analysis(
    tmp_path: Path, serve: Serve, status: int, body: bytes, code: Exit
) -> None:
    make_videos(tmp_path, 1, 20.0, 5)
    answered = threading.Event()

    def progress(handler: BaseHTTPRequestHandler) -> None:
        reply(handler, status, body)
        answered.set()

    content = (tmp_path / "video-0.mp4").read_bytes()

    def video(handler: BaseHTTPRequestHandler) -> None:
        """The second half comes only after the queue has answered, so that the order of events is fixed."""
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:1000])
        handler.wfile.flush()
        answered.wait(10)
        threading.Event().wait(0.3)
        handler.wfile.write(content[1000:])

    asked = task(tmp_path, f"{serve(answering(video))}/v.mp4", progress_url=serve(answering(progress)))
    assert run(asked) == code


def test_a_queue_that_never_answers_costs_nothing_but_progress(tmp_path: Path, serve: Serve) -> None:
    make_videos(tmp_path, 1, 20.0, 5)
    url = serve(make_server(tmp_path, "127.0.0.1", 0))
    assert run(task(tmp_path, f"{url}/video-0.mp4", progress_url="http://127.0.0.1:9/v1/progress")) == Exit.SUCCESS


def test_a_termination_message_fits_the_kubelet(tmp_path: Path) -> None:
    Report("x" * 10_000, error_code="E", retryable=True).write(tmp_path / "termination")
    assert (tmp_path / "termination").stat().st_size <= MESSAGE_BYTES
    assert said(tmp_path)["error_code"] == "E"


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(BadTask, match="ANALYSIS_VIDEO_URL"):
        Task.from_environment({"ANALYSIS_JOB_ID": "x"})
