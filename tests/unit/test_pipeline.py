"""The reference worker on real media over real HTTP, from the environment to the result."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from klipqueue import Queue, status
from klipsource.server import Source, breaking, content, serving
from klipstream_pipeline.analysis import run
from klipstream_pipeline.download import Limits, Patience
from klipstream_pipeline.testvideo import make_video
from klipstream_worker import AnalysisTask, Assignment

PATIENCE = Patience(stalled_seconds=60.0, tries_without_progress=2, wait_seconds=0.1)
LIMITS = Limits(allowed="127.0.0.1/32", patience=PATIENCE)
STAGES = ("Downloading", "Transcribing", "Analyzing", "Finding Highlights", "Completed")
CHAT = json.dumps(
    [{"offset": 5 + n / 10, "user": f"u{n % 7}", "text": "wow that was great"} for n in range(40)]
).encode()


@pytest.fixture
def source(tmp_path: Path) -> Any:
    make_video(tmp_path / "video.mp4", 20.0, 7)
    with serving() as started:
        started.answers["/v.mp4"] = content((tmp_path / "video.mp4").read_bytes())
        started.answers["/chat.json"] = content(CHAT, "application/json")
        yield started


@pytest.fixture
def queue() -> Any:
    started = Queue()
    yield started
    started.close()


def analyse(tmp_path: Path, url: str, limits: Limits = LIMITS, **changes: Any) -> int:
    """One attempt; its exit code."""
    values: dict[str, Any] = {
        "job_id": "job", "results_url": f"file://{tmp_path}/results", "termination_log": tmp_path / "termination",
        "params": {"transcriber": "none"},
    }  # fmt: skip
    task = AnalysisTask(Assignment(url, **values | changes), handle_signals=False)
    try:
        run(task, limits)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def said(tmp_path: Path) -> dict[str, Any]:
    return dict(json.loads((tmp_path / "termination").read_text()))


def result(tmp_path: Path, attempt: int = 1) -> dict[str, Any]:
    return dict(json.loads((tmp_path / f"results/jobs/job/attempts/{attempt}/result.json").read_text()))


def test_an_analysis_leaves_its_results_and_reports_rising_progress(
    tmp_path: Path, source: Source, queue: Queue
) -> None:
    params = {"transcriber": "pocketsphinx", "chat_url": source.url("/chat.json")}
    assert analyse(tmp_path, source.url("/v.mp4"), progress_url=queue.url, params=params) == 0
    names = {path.name for path in (tmp_path / "results/jobs/job/attempts/1").iterdir()}
    assert names == {"result.json", "report.html", "transcript.json"}
    assert said(tmp_path)["result_url"].endswith("jobs/job/attempts/1/result.json")
    assert result(tmp_path)["transcript"]["engine"] == "pocketsphinx"
    percentages = [post.body["percentage"] for post in queue.posts]
    assert percentages == sorted(percentages)
    assert percentages[-1] == 100.0
    stages = list(dict.fromkeys(post.body["stage"] for post in queue.posts))
    # Posts are spaced, so a stage that is over in no time is not told.
    assert stages == [stage for stage in STAGES if stage in stages]
    assert (stages[0], stages[-1]) == ("Downloading", "Completed")


def test_the_engine_and_why_it_was_taken_are_told_everywhere(
    tmp_path: Path, source: Source, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        assert analyse(tmp_path, source.url("/v.mp4"), progress_url=queue.url, params={}) == 0
    announced = "no Whisper model is mounted"
    assert announced in caplog.text
    assert any(announced in post.body.get("message", "") for post in queue.posts)
    transcript = json.loads((tmp_path / "results/jobs/job/attempts/1/transcript.json").read_text())
    assert (transcript["engine"], transcript["low_confidence"]) == ("pocketsphinx", True)
    assert announced in transcript["reason"]


def test_a_download_that_breaks_is_resumed(tmp_path: Path, source: Source) -> None:
    body = (tmp_path / "video.mp4").read_bytes()
    source.answers["/v.mp4"] = breaking(body, len(body) // 3 + 1)
    assert analyse(tmp_path, source.url("/v.mp4")) == 0
    assert sum(1 for _, asked in source.asked if asked) == 2


VIDEO_CASES = {
    "corrupt": (lambda body: body[:600] + bytes(len(body) - 600), "BadVideo"),
    "text": (lambda _: b"this is no video at all\n" * 500, "BadVideo"),
    "empty": (lambda _: b"", "BadVideo"),
    "page": (lambda _: b"<html><body>not found</body></html>", "NotAVideo"),
    "playlist": (lambda _: b"ffconcat version 1.0\nfile /etc/passwd\n", "BadVideo"),
}


@pytest.mark.parametrize("case", VIDEO_CASES)
def test_what_is_no_video_fails_for_good_and_says_why(tmp_path: Path, source: Source, case: str) -> None:
    change, code = VIDEO_CASES[case]
    source.answers["/v.mp4"] = content(change((tmp_path / "video.mp4").read_bytes()))
    assert analyse(tmp_path, source.url("/v.mp4")) == 65
    assert (said(tmp_path)["error_code"], said(tmp_path)["retryable"]) == (code, False)
    assert len(said(tmp_path)["message"]) > 20


def test_a_video_without_sound_is_told_from_a_broken_one(tmp_path: Path, source: Source) -> None:
    import av
    import numpy as np

    with av.open(str(tmp_path / "mute.mp4"), "w") as container:
        picture = container.add_stream("mpeg4", rate=5)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        for _ in range(10):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        container.mux(picture.encode(None))
    source.answers["/v.mp4"] = content((tmp_path / "mute.mp4").read_bytes())
    assert analyse(tmp_path, source.url("/v.mp4")) == 65
    assert (said(tmp_path)["error_code"], said(tmp_path)["retryable"]) == ("NoSound", False)


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"transcriber": "magic"}, "BadParameter"),
        ({"transcriber": "whisper"}, "EngineMissing"),
        ({"transcriber": "pocketsphinx", "language": "de"}, "EngineMissing"),
        ({"language": "English"}, "BadParameter"),
    ],
)
def test_a_parameter_that_makes_no_sense_fails_before_anything_is_fetched(
    tmp_path: Path, source: Source, params: dict[str, str], code: str
) -> None:
    assert analyse(tmp_path, source.url("/v.mp4"), params=params) == 65
    assert (said(tmp_path)["error_code"], said(tmp_path)["retryable"]) == (code, False)
    assert source.asked == []


def test_another_language_without_whisper_is_not_guessed_at(tmp_path: Path, source: Source) -> None:
    assert analyse(tmp_path, source.url("/v.mp4"), params={"language": "de"}) == 0
    assert result(tmp_path)["transcript"]["engine"] == "none"


@pytest.mark.parametrize(
    ("chat", "code", "retryable"),
    [
        (content(b"not json", "application/json"), "BadChat", False),
        (content(b"", status=404), "SourceGone", False),
        (content(b"", status=503), "DownloadFailed", True),
    ],
)
def test_a_broken_chat_log_fails_before_the_video_is_heard(
    tmp_path: Path, source: Source, chat: Any, code: str, retryable: bool
) -> None:
    source.answers["/chat.json"] = chat
    params = {"transcriber": "none", "chat_url": source.url("/chat.json")}
    assert analyse(tmp_path, source.url("/v.mp4"), params=params) != 0
    assert (said(tmp_path)["error_code"], said(tmp_path)["retryable"]) == (code, retryable)
    assert "chat" in said(tmp_path)["message"]
    assert ("/v.mp4", None) not in source.asked


@pytest.mark.parametrize("where", ["file:///proc/nowhere", "s3://bucket/prefix"])
def test_a_results_store_that_is_away_is_worth_another_try(
    tmp_path: Path, source: Source, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"ENDPOINT_URL": "http://127.0.0.1:9", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b",
                        "MAX_ATTEMPTS": "1", "DEFAULT_REGION": "us-east-1"}.items():  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    assert analyse(tmp_path, source.url("/v.mp4"), results_url=where) == 1
    assert (said(tmp_path)["error_code"], said(tmp_path)["retryable"]) == ("ResultsNotWritten", True)


@pytest.mark.parametrize(("reply", "code"), [({"desired": "Cancel", "min_interval_seconds": 0.1}, 130), (409, 75)])
def test_a_cancel_and_a_stale_attempt_stop_it_whatever_the_source_does(
    tmp_path: Path, source: Source, queue: Queue, reply: Any, code: int
) -> None:
    def never(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        time.sleep(60)

    source.answers["/v.mp4"] = never
    if isinstance(reply, int):
        queue.always = status(reply)
    else:
        queue.reply = reply
    began = time.monotonic()
    assert analyse(tmp_path, source.url("/v.mp4"), progress_url=queue.url) == code
    assert time.monotonic() - began < 50, "it does not wait for the source"


def test_a_queue_that_never_answers_costs_nothing_but_progress(tmp_path: Path, source: Source) -> None:
    assert analyse(tmp_path, source.url("/v.mp4"), progress_url="http://127.0.0.1:9/v1/progress") == 0
