"""Progress reaches the queue at its pace, and nothing that the network does reaches the analysis."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from klipqueue import Queue, Reaction, hang, reset, status
from klipstream_worker import AnalysisTask, Cancelled, StaleAttempt
from klipstream_worker.endpoint import Answer, Endpoint

MakeTask = Callable[..., AnalysisTask]


def analyse_for_long(task: AnalysisTask) -> None:
    with task, task.stage("Analyzing") as stage:
        for _ in stage.iterate(range(1000)):
            time.sleep(0.01)


@pytest.fixture(autouse=True)
def short_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("klipstream_worker.reporter.FLUSH_SECONDS", 2.0)


def test_stages_count_within_their_bands(queue: Queue, make_task: MakeTask) -> None:
    with make_task() as task:
        for name, expected in (
            ("Downloading", 10),
            ("Transcribing", 30),
            ("Analyzing", 60),
            ("Finding Highlights", 87.5),
        ):
            with task.stage(name) as stage:
                stage.report(0.5, "half")
                queue.wait_for(lambda expected=expected: expected in queue.percentages)
    assert queue.posts[-1].body["percentage"] == 100
    assert queue.posts[-1].body["stage"] == "Completed"
    assert queue.percentages == sorted(queue.percentages)


def test_own_stages_share_the_whole_by_their_weights(queue: Queue, make_task: MakeTask) -> None:
    with make_task(stages=[("Decode", 1), ("Detect", 8), ("Write", 1)]) as task:
        with task.stage("Detect") as stage:
            stage.report(0.5)
            queue.wait_for(lambda: 49.5 in queue.percentages)
        with task.stage("Extra", band=(99, 99)):
            pass


def test_a_percentage_never_falls(queue: Queue, make_task: MakeTask) -> None:
    with make_task() as task, task.stage("Analyzing") as stage:
        for share in (0.5, 0.2, float("nan"), -1.0, 0.6):
            stage.report(share)
            time.sleep(0.15)
        queue.wait_for(lambda: 64 in queue.percentages)
    assert queue.percentages == sorted(queue.percentages)


def test_posts_keep_the_interval_and_the_newest_wins(
    queue: Queue, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.reply["min_interval_seconds"] = 0.3
    sent: list[float] = []  # as they leave: one that is held up on its way makes the next seem early
    post = Endpoint.post

    def noted(endpoint: Endpoint, body: bytes) -> Answer:
        sent.append(time.monotonic())
        return post(endpoint, body)

    monkeypatch.setattr(Endpoint, "post", noted)
    with make_task() as task, task.stage("Analyzing") as stage:
        for done in range(1000):
            stage.report(done / 1000, f"{done}")
            time.sleep(0.001)
        stage.report(0.9995, "newest")
    pauses = [later - earlier for earlier, later in zip(sent[:-1], sent[1:-1])]
    assert pauses, "there is a post in between"
    assert min(pauses) > 0.28
    assert len(queue.posts) == len(sent) <= 2 + (sent[-1] - sent[0]) / 0.3
    assert queue.posts[-1].body["percentage"] == 100


def test_what_was_reported_last_is_posted_at_the_end(queue: Queue, make_task: MakeTask) -> None:
    queue.reply["min_interval_seconds"] = 60

    def analyse() -> None:
        with make_task() as task, task.stage("Analyzing") as stage:
            stage.report(0.1)
            queue.wait_for(lambda: queue.posts)
            stage.report(0.75, "the last words")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        analyse()
    assert (queue.posts[-1].body["percentage"], queue.posts[-1].body["message"]) == (70, "the last words")


def test_the_last_post_is_tried_again_at_once_when_the_queue_was_away(queue: Queue, make_task: MakeTask) -> None:
    queue.reply["min_interval_seconds"] = 60
    queue.reactions = [status(503)]
    with make_task() as task, task.stage("Analyzing"):
        queue.wait_for(lambda: queue.posts)
        time.sleep(0.1)
        queue.reactions = [reset]
    assert queue.posts[-1].body["percentage"] == 100
    assert len(queue.posts) == 3


def test_a_report_takes_no_time_while_the_queue_hangs(queue: Queue, make_task: MakeTask) -> None:
    queue.always = hang(30)
    began = time.monotonic()
    with make_task() as task, task.stage("Analyzing") as stage:
        stage.report(0.0)
        queue.wait_for(lambda: queue.posts)
        for done in range(1000):
            stage.report(done / 1000)
        assert len(queue.posts) == 1, "the first one is still on its way"
    assert time.monotonic() - began < 25, "the end waits for the last post, but not for long"


@pytest.mark.parametrize(
    "reaction",
    [
        status(503, {"Retry-After": "0"}),
        status(500, body=b"<html>oops"),
        status(401),
        status(404),
        status(302, {"Location": "/elsewhere"}),
        reset,
    ],
    ids=["503", "500", "401", "404", "302", "reset"],
)
def test_a_post_that_fails_is_made_again(
    queue: Queue, make_task: MakeTask, reaction: Reaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("klipstream_worker.reporter.FIRST_INTERVAL_SECONDS", 0.1)
    queue.reactions = [reaction, reaction]
    with make_task() as task, task.stage("Analyzing") as stage:
        stage.report(0.5)
        queue.wait_for(lambda: 60 in queue.percentages[2:])
        time.sleep(0.1)
        stage.report(0.75)
    assert queue.posts[-1].body["percentage"] == 100
    assert queue.fetched == [], "a redirect is not followed"


@pytest.mark.parametrize("code", [400, 413])
def test_a_post_that_is_refused_is_not_made_again(queue: Queue, make_task: MakeTask, code: int) -> None:
    queue.reactions = [status(code)]
    with make_task() as task, task.stage("Analyzing") as stage:
        queue.wait_for(lambda: queue.posts)
        time.sleep(0.5)
        assert len(queue.posts) == 1
        stage.report(0.5)
    assert queue.posts[-1].body["percentage"] == 100


@pytest.mark.parametrize(
    "reply", [b"", b"null", b"[]", b"\xff\xfe", b'{"min_interval_seconds": "soon"}', b'{"min_interval_seconds": null}',
              b'{"desired": 7, "deadline": 7}', b"{" * 100_000, b"[" * 60_000]
)  # fmt: skip
def test_a_garbled_reply_disturbs_nothing(
    queue: Queue, make_task: MakeTask, reply: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("klipstream_worker.reporter.FIRST_INTERVAL_SECONDS", 0.1)
    queue.reactions = [status(200, body=reply)]
    with make_task() as task, task.stage("Analyzing") as stage:
        queue.wait_for(lambda: queue.posts)
        stage.report(0.5)
        queue.wait_for(lambda: 60 in queue.percentages)
    assert queue.posts[-1].body["stage"] == "Completed"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1/progress", "ftp://example.com/", "nonsense", "http://[::1"])
def test_a_queue_that_is_not_there_disturbs_nothing(
    make_task: MakeTask, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    began = time.monotonic()
    with make_task(progress_url=url) as task, task.stage("Analyzing") as stage:
        for _ in stage.iterate(range(100)):
            pass
    assert time.monotonic() - began < 50
    assert len([each for each in caplog.records if each.levelno >= logging.WARNING]) <= 2, "it is said once"


def test_a_cancel_is_raised_where_the_analysis_reports(queue: Queue, make_task: MakeTask, said: Any) -> None:
    queue.reply["desired"] = "Cancel"
    with pytest.raises(SystemExit) as end:
        analyse_for_long(make_task())
    assert end.value.code == Cancelled.exit_code
    assert said() == {"message": "the job was cancelled", "error_code": "Cancelled", "retryable": True}
    assert queue.posts[-1].body["stage"] == "Analyzing"


def test_a_stale_attempt_stops_and_posts_no_more(queue: Queue, make_task: MakeTask, said: Any) -> None:
    queue.always = status(409)
    with pytest.raises(SystemExit) as end:
        analyse_for_long(make_task())
    assert end.value.code == StaleAttempt.exit_code
    assert said()["error_code"] == "StaleAttempt"
    assert len(queue.posts) == 1


def test_a_cancel_is_heard_of_by_the_heartbeat_alone(
    queue: Queue, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("klipstream_worker.reporter.HEARTBEAT_SECONDS", 0.2)
    task = make_task()

    def analyse() -> None:
        with task, task.stage("Analyzing"):
            queue.wait_for(lambda: len(queue.posts) >= 3)
            assert len({each.body["percentage"] for each in queue.posts}) == 1
            queue.reply["desired"] = "Cancel"
            queue.wait_for(lambda: task.stop_reason)
            task.check()

    with pytest.raises(SystemExit):
        analyse()


def test_a_checkpoint_that_is_asked_for_is_a_flag_until_one_is_saved(queue: Queue, make_task: MakeTask) -> None:
    with make_task() as task, task.stage("Analyzing"):
        assert not task.checkpoint_requested
        queue.reactions = [status(200, body=b'{"desired": "Checkpoint", "min_interval_seconds": 0.1}')]
        task.report(50, "Analyzing")
        queue.wait_for(lambda: task.checkpoint_requested)
        task.save_checkpoint({"segment": 17})
        assert not task.checkpoint_requested
        queue.wait_for(lambda: queue.posts[-1].body.get("checkpoint") == '{"segment":17}')


def test_the_token_is_read_for_each_post(queue: Queue, make_task: MakeTask, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n", encoding="ascii")
    with make_task(token_file=token) as task, task.stage("Analyzing") as stage:
        queue.wait_for(lambda: queue.posts)
        token.write_text("second\n", encoding="ascii")
        stage.report(0.5)
        queue.wait_for(lambda: 60 in queue.percentages)
    sent = [each.headers["Authorization"] for each in queue.posts]
    assert sent[0] == "Bearer first"
    assert sent[-1] == "Bearer second"


def test_a_token_that_is_missing_for_a_moment_disturbs_nothing(
    queue: Queue, make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("klipstream_worker.reporter.FIRST_INTERVAL_SECONDS", 0.1)
    with make_task(token_file=tmp_path / "token") as task, task.stage("Analyzing"):
        time.sleep(0.3)
        assert queue.posts == []
        (tmp_path / "token").write_text("late", encoding="ascii")
        queue.wait_for(lambda: queue.posts)


def test_only_the_given_authority_is_believed(tls_queue: Queue, make_task: MakeTask, certificates: Path) -> None:
    for name, taken in (("other", False), ("server", True)):
        with make_task(progress_url=tls_queue.url, ca_file=certificates / f"{name}.pem") as task:
            task.report(50, "Analyzing")
        assert bool(tls_queue.posts) is taken


def test_a_proxy_of_the_environment_is_not_used(
    queue: Queue, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with make_task() as task, task.stage("Analyzing"):
        pass
    assert queue.posts


def test_an_estimate_and_the_resources_of_each_stage_are_posted(
    queue: Queue, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("klipstream_worker.estimate.LEAST_SECONDS", 0.3)
    with make_task() as task:
        with task.stage("Downloading") as stage:
            for _ in stage.iterate(range(20)):
                time.sleep(0.05)
            queue.wait_for(lambda: "estimated_completion_seconds" in queue.posts[-1].body)
            # 20 % a second or less: the rest takes four or more.
            assert 2 < queue.posts[-1].body["estimated_completion_seconds"] < 60
        with task.stage("Analyzing"):
            sum(range(3_000_000))
    resources = {each["stage"]: each for each in queue.posts[-1].body["resources"]}
    assert set(resources) == {"Downloading", "Analyzing"}
    assert all(each["peak_memory_bytes"] > 1_000_000 for each in resources.values())
    assert resources["Analyzing"]["cpu_seconds"] > 0


def test_the_deadline_is_known_once_the_queue_has_said_it(queue: Queue, make_task: MakeTask) -> None:
    queue.reply["deadline"] = "2026-01-02T03:04:05.678Z"
    with make_task() as task, task.stage("Analyzing"):
        queue.wait_for(lambda: task.deadline)
        assert task.deadline is not None
        assert task.deadline.isoformat() == "2026-01-02T03:04:05+00:00"


def test_a_message_of_any_characters_is_posted(queue: Queue, make_task: MakeTask) -> None:
    with make_task() as task, task.stage("Analyzing") as stage:
        stage.report(0.5, "\udcff\x00\n☃" * 1000)
        queue.wait_for(lambda: 60 in queue.percentages)
    assert max(len(each.body["message"]) for each in queue.posts) == 256


def test_a_stage_that_is_not_known_is_named_at_once(make_task: MakeTask) -> None:
    with make_task() as task:
        with pytest.raises(ValueError, match="from_environment\\(stages="):
            task.stage("Decoding")
        for band in ((50, 40), (-1, 40), (50, 101)):
            with pytest.raises(ValueError, match="0 <= from"):
                task.stage("Decoding", band=band)


def test_a_task_is_used_in_a_with_statement(make_task: MakeTask) -> None:
    with pytest.raises(RuntimeError, match="with statement"), make_task().stage("Analyzing"):
        pass


@pytest.mark.parametrize(
    ("items", "total", "initial", "expected"),
    [([1, 2], None, 0, ["1/2", "2/2"]), (iter([1, 2]), 4, 2, ["3/4", "4/4"]), (iter([1, 2]), None, 0, ["1/?", "2/?"]),
     ([], None, 0, [])],
)  # fmt: skip
def test_iterating_reports_each_item(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch, items: Any, total: Any, initial: int, expected: list[str]
) -> None:
    with make_task() as task, task.stage("Analyzing") as stage:
        seen: list[str] = []
        monkeypatch.setattr(stage, "report", lambda share, message="": seen.append(message))
        assert len(list(stage.iterate(items, total, initial=initial))) == len(expected)
        assert seen == expected
