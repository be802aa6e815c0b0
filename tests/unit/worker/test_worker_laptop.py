"""A worker is developed on a laptop: no queue, no environment, the same program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from klipstream_worker import AnalysisTask, Assignment, BadTask

PROGRAM = """
from klipstream_worker import AnalysisTask
with AnalysisTask.from_environment() as task:
    for name in ("Downloading", "Analyzing"):
        with task.stage(name) as stage:
            for frame in stage.iterate(range(1000)):
                pass
    task.save_checkpoint({"done": True})
    task.succeed("nothing found", result_url=task.write_result("result.json", {"video": task.video_url}))
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    import klipstream_worker

    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANALYSIS_")}
    environment["PYTHONPATH"] = str(Path(klipstream_worker.__file__).parents[1])
    (folder / "analyse.py").write_text(PROGRAM)
    command = [sys.executable, "analyse.py", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_laptop_needs_the_video_and_nothing_else(tmp_path: Path) -> None:
    done = run(tmp_path, "--fast", "https://example.com/talk.mp4")
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0] == "[  0.0 %] Downloading"
    assert "[ 40.0 %] Analyzing" in lines
    assert lines[-1].startswith("[100.0 %] Completed: nothing found")
    assert len(lines) < 10, "not a line for each frame"
    result = tmp_path / "analysis-results" / "jobs" / "local" / "attempts" / "1" / "result.json"
    assert '"video": "https://example.com/talk.mp4"' in result.read_text()
    assert done.stdout == ""


def test_without_a_video_it_is_said_what_to_do(tmp_path: Path) -> None:
    done = run(tmp_path, "--fast")
    assert done.returncode != 0
    assert "give its URL as an argument" in done.stderr


def test_the_environment_counts_before_the_parameter_and_that_before_the_arguments() -> None:
    assert Assignment.read({"ANALYSIS_VIDEO_URL": "e"}, ["a"], "p").video_url == "e"
    assert Assignment.read({}, ["a"], "p").video_url == "p"
    assert Assignment.read({}, ["-v", "a"], None).video_url == "a"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ANALYSIS_ATTEMPT": "0"}, "ANALYSIS_ATTEMPT"),
        ({"ANALYSIS_ATTEMPT": "one"}, "ANALYSIS_ATTEMPT"),
        ({"ANALYSIS_ATTEMPT": "²"}, "ANALYSIS_ATTEMPT"),
        ({"ANALYSIS_JOB_ID": "../x"}, "ANALYSIS_JOB_ID"),
    ],
)
def test_what_makes_no_sense_is_named(changes: dict[str, str], named: str) -> None:
    with pytest.raises(BadTask, match=named):
        AnalysisTask.from_environment({"ANALYSIS_VIDEO_URL": "v", **changes})


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', "\udcff"])
def test_params_that_are_no_object_of_strings_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "params").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadTask, match="ANALYSIS_PARAMS_FILE"):
        Assignment.read({"ANALYSIS_VIDEO_URL": "v", "ANALYSIS_PARAMS_FILE": str(tmp_path / "params")})


def test_what_the_queue_sets_is_read(tmp_path: Path) -> None:
    (tmp_path / "params").write_text('{"language": "en"}')
    environment = {
        "ANALYSIS_JOB_ID": "j", "ANALYSIS_ATTEMPT": "3", "ANALYSIS_VIDEO_URL": "https://v/", "ANALYSIS_VIDEO_ID": "i",
        "ANALYSIS_PARAMS_FILE": str(tmp_path / "params"), "ANALYSIS_PROGRESS_URL": "https://q/v1/progress",
        "ANALYSIS_TOKEN_FILE": "/t", "ANALYSIS_CA_FILE": "/c", "ANALYSIS_CHECKPOINT": "c", "ANALYSIS_RESULTS": "s3://b",
    }  # fmt: skip
    expected: dict[str, Any] = {
        "job_id": "j", "attempt": 3, "video_url": "https://v/", "video_id": "i", "params": {"language": "en"},
        "progress_url": "https://q/v1/progress", "token_file": Path("/t"), "ca_file": Path("/c"), "checkpoint": "c",
        "results_url": "s3://b", "termination_log": None,
    }  # fmt: skip
    assert Assignment.read(environment) == Assignment(**expected)
    assert Assignment(**expected).job_folder is None


def test_a_queue_without_results_gives_no_folder() -> None:
    known = {"ANALYSIS_VIDEO_URL": "v", "ANALYSIS_JOB_ID": "j"}
    assert Assignment.read(known).job_folder is None
    assert Assignment.read({**known, "ANALYSIS_RESULTS": "file:///re%20sults"}).job_folder == Path("/re sults/jobs/j")
