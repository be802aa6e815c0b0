"""Which logs are followed, and what is read from them."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from klipstream_api import AnalysisJob, AnalysisQueue, ProgressPost
from klipstream_operator.log_progress import to_follow
from klipstream_operator.progress_line import LINE_BYTES, ProgressLines, read_progress_line
from klipstream_operator.workload import AttemptView, PodView, view_pod

LINES = json.loads((Path(__file__).parent / "worker" / "progress-lines.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("line", "expected"), LINES, ids=[repr(line)[:40] for line, _ in LINES])
def test_a_line_of_progress_is_read_or_is_none(line: str, expected: list[Any] | None) -> None:
    """The worker SDK reads the same lines by a reader of its own."""
    post = read_progress_line(line.encode("utf-8", "surrogateescape"))
    if expected is None:
        assert post is None
    else:
        percentage, stage, message = expected
        assert post == ProgressPost(percentage=percentage, stage=stage, message=message)


def test_lines_are_found_wherever_chunks_end_and_long_ones_are_not_kept() -> None:
    chance = random.Random(3)
    told = [f"::progress {n} Analyzing: step {n}\r\n".encode() for n in range(100)]
    noise = [b"frame\n", b"x" * 5000 + b"::progress 99 Analyzing\n", b"\n", b"\xff\xfe\n"]
    content = b"".join(line + chance.choice(noise) for line in told)
    for size in (1, 7, 100, 4096, len(content)):
        lines, found = ProgressLines(), []
        for start in range(0, len(content), size):
            found.append(lines.read(content[start : start + size]))
            assert len(lines._rest) <= LINE_BYTES + 2
        seen = [post.percentage for post in found if post is not None]
        assert seen == sorted(seen)
        assert seen[-1] == 99
        if size <= 7:
            assert seen == list(range(100))


def test_what_has_no_end_yet_is_not_read() -> None:
    lines = ProgressLines()
    assert lines.read(b"::progress 4") is None
    assert lines.read(b"5 Analyzing") is None
    post = lines.read(b"\n::progress 6")
    assert post is not None
    assert post.percentage == 45


def queue(**spec: Any) -> AnalysisQueue:
    template = {"spec": {"containers": [{"name": "worker", "image": "i"}]}}
    return AnalysisQueue.from_wire({"metadata": {"name": "q", "namespace": "n"},
                                    "spec": {"workerTemplate": template} | spec})  # fmt: skip


def job(phase: str = "Running") -> AnalysisJob:
    return AnalysisJob.from_wire({
        "metadata": {"name": "a", "namespace": "n", "uid": "u"}, "spec": {"videoUrl": "https://example.com/v.mp4"},
        "status": {"phase": phase, "attempt": 1},
    })  # fmt: skip


def pod(phase: str, running: bool) -> PodView:
    state = {"running": {"startedAt": "2026-01-02T03:04:05Z"}} if running else {}
    view = view_pod({
        "metadata": {"uid": "p", "name": "p", "namespace": "n", "resourceVersion": "1",
                     "labels": {"analysis.klipstream.io/job-uid": "u", "analysis.klipstream.io/attempt": "1"}},
        "spec": {"containers": [{"name": "worker"}]},
        "status": {"phase": phase, "containerStatuses": [{"name": "worker", "state": state}]},
    })  # fmt: skip
    assert view is not None
    return view


LOGS = queue(progressFrom="Logs")


@pytest.mark.parametrize(
    ("rule", "of", "where", "pods", "followed"),
    [
        ("a running pod of a queue that opts in", job(), LOGS, [pod("Running", True)], True),
        ("from its start", job("Starting"), LOGS, [pod("Running", True)], True),
        ("not of a queue that does not", job(), queue(), [pod("Running", True)], False),
        ("not without its queue", job(), None, [pod("Running", True)], False),
        ("not before its container runs", job("Starting"), LOGS, [pod("Pending", False)], False),
        ("not once it has ended", job(), LOGS, [pod("Succeeded", False)], False),
        ("not of a job that is over", job("Succeeded"), LOGS, [pod("Running", True)], False),
        ("not of one that is gone", None, LOGS, [pod("Running", True)], False),
        ("not without a pod", job(), LOGS, [], False),
    ],
)
def test_followed_is(
    rule: str, of: AnalysisJob | None, where: AnalysisQueue | None, pods: list[PodView], followed: bool
) -> None:
    view = AttemptView(pods={each.uid: each for each in pods})
    assert (to_follow(of, where, view) is not None) is followed, rule
