"""What an attempt saves is found by the next one, by whichever way it could travel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from klipqueue import Queue
from klipstream_worker import AnalysisTask, CheckpointTooLarge, ResultsNotWritten

MakeTask = Callable[..., AnalysisTask]
LARGE = {"segments": ["word " * 50] * 100}


def test_a_small_value_travels_with_the_progress(queue: Queue, make_task: MakeTask) -> None:
    value = {"segment": 17, "text": 'say "é"'}
    with make_task(results_url="s3://bucket/prefix") as task, task.stage("Analyzing"):
        assert task.checkpoint is None
        assert task.checkpoint_folder is None
        task.save_checkpoint(value)
    posted = queue.posts[-1].body["checkpoint"]
    assert make_task(results_url="s3://bucket/prefix", attempt=2, checkpoint=posted).checkpoint == value


@pytest.mark.parametrize(
    ("posted", "expected"), [("chunk-17", "chunk-17"), ("17", 17), ('"17"', "17"), ("", ""), ("{", "{")]
)
def test_a_value_that_another_program_posted_is_found_as_it_is(make_task: MakeTask, posted: str, expected: Any) -> None:
    assert make_task(checkpoint=posted, attempt=2).checkpoint == expected


def test_a_large_value_needs_a_folder(queue: Queue, make_task: MakeTask) -> None:
    with make_task(results_url="s3://bucket/prefix") as task:
        with pytest.raises(CheckpointTooLarge, match="file://"):
            task.save_checkpoint(LARGE)
        task.save_checkpoint("x" * 1022)
        with pytest.raises(CheckpointTooLarge):
            task.save_checkpoint("x" * 1023)
    with make_task() as task, task.stage("Analyzing"):
        task.save_checkpoint(LARGE)
    assert make_task(attempt=2).checkpoint == LARGE


def test_the_folder_is_believed_before_the_post_and_a_later_attempt_not_at_all(make_task: MakeTask) -> None:
    for attempt in (1, 2, 10):
        with make_task(attempt=attempt) as task:
            task.save_checkpoint(f"of {attempt}")
    for attempt, expected in ((1, "of 1"), (2, "of 2"), (3, "of 2"), (9, "of 2"), (10, "of 10"), (11, "of 10")):
        assert make_task(attempt=attempt, checkpoint='"posted"').checkpoint == expected


def test_a_torn_file_is_passed_over(make_task: MakeTask, tmp_path: Path) -> None:
    with make_task() as task:
        task.save_checkpoint("whole")
    folder = tmp_path / "results" / "jobs" / "job" / "checkpoints"
    (folder / "value-a2.json").write_bytes(b'{"torn": ')
    assert make_task(attempt=3).checkpoint == "whole"
    (folder / "value-a1.json").write_bytes(b"\xff")
    assert make_task(attempt=3, checkpoint='"posted"').checkpoint == "posted"
    assert make_task(attempt=3).checkpoint is None


def test_the_checkpoint_is_the_last_attempts_whatever_is_saved_meanwhile(make_task: MakeTask) -> None:
    with make_task() as task:
        task.save_checkpoint("first")
        assert task.checkpoint is None
    with make_task(attempt=2) as task:
        task.save_checkpoint("second")
        assert task.checkpoint == "first"


def test_a_folder_that_cannot_be_written_costs_only_large_values(
    queue: Queue, make_task: MakeTask, tmp_path: Path
) -> None:
    (tmp_path / "results").write_text("a file")
    with make_task() as task, task.stage("Analyzing"):
        task.save_checkpoint("small")
        with pytest.raises(CheckpointTooLarge):
            task.save_checkpoint(LARGE)
    assert queue.posts[-1].body["checkpoint"] == '"small"'


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}, "\udcff"])
def test_what_is_no_json_is_refused(make_task: MakeTask, value: Any) -> None:
    with make_task() as task, pytest.raises((TypeError, ValueError)):
        task.save_checkpoint(value)


def test_a_checkpoint_before_the_first_stage_goes_with_its_post(queue: Queue, make_task: MakeTask) -> None:
    with make_task() as task:
        task.save_checkpoint("early")
        with task.stage("Analyzing"):
            pass
    assert queue.posts[0].body["checkpoint"] == '"early"'


def test_results_go_into_the_folder_of_the_attempt(make_task: MakeTask, tmp_path: Path) -> None:
    with make_task(attempt=3) as task:
        urls = [task.write_result(name, content) for name, content in
                (("a.json", {"é": [1]}), ("b.txt", "é"), ("c.bin", b"\x00"))]  # fmt: skip
    folder = tmp_path / "results" / "jobs" / "job" / "attempts" / "3"
    assert urls == [
        f"{(tmp_path / 'results').as_uri()}/jobs/job/attempts/3/{name}" for name in ("a.json", "b.txt", "c.bin")
    ]
    assert (folder / "a.json").read_text(encoding="utf-8") == '{\n  "é": [\n    1\n  ]\n}'
    assert (folder / "b.txt").read_bytes() == "é".encode()
    assert sorted(each.name for each in folder.iterdir()) == ["a.json", "b.txt", "c.bin"], "nothing unfinished is left"


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 254])
def test_a_result_stays_in_its_folder(make_task: MakeTask, name: str) -> None:
    with make_task() as task, pytest.raises(ValueError, match="file's name"):
        task.write_result(name, b"")


@pytest.mark.parametrize("url", ["s3://bucket/prefix", None])
def test_a_result_for_no_folder_is_refused_with_the_remedy(make_task: MakeTask, url: str | None) -> None:
    with make_task(results_url=url) as task, pytest.raises(ResultsNotWritten, match="folders") as refused:
        task.write_result("a.json", {})
    assert not refused.value.retryable
