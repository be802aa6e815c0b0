"""When a finished job is purged: one row a case."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from klipstream_api import AnalysisJob, AnalysisQueue
from klipstream_operator.retention import may_have_logs, purge_at

FINISHED = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
CALLBACK = {"callback": {"url": "https://example.com/hook"}}
DAY = 86_400


def queue(*endpoints: str, **retention: int) -> AnalysisQueue:
    template = {"spec": {"containers": [{"name": "w", "image": "i"}]}}
    told = [{"name": f"e{number}", "url": url} for number, url in enumerate(endpoints)]
    return AnalysisQueue.from_wire({
        "metadata": {"name": "q", "namespace": "n"},
        "spec": {"workerTemplate": template, "retention": retention, "endpoints": told},
    })  # fmt: skip


def job(
    phase: str = "Succeeded", spec: dict[str, Any] | None = None, deleted: bool = False, **status: Any
) -> AnalysisJob:
    metadata = {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "9"}
    if deleted:
        metadata["deletionTimestamp"] = "2026-01-02T03:05:00Z"
    final = {"phase": phase, "finishedAt": "2026-01-02T03:04:05.678Z", "attempt": 1}
    own = {"videoUrl": "https://example.com/v.mp4"} | (spec or {})
    return AnalysisJob.from_wire({"metadata": metadata, "spec": own, "status": final | status})


@pytest.mark.parametrize(
    ("rule", "of", "where", "seconds"),
    [
        ("success is kept for succeededSeconds", job(), queue(succeededSeconds=60, failedSeconds=90), 60),
        ("failure is kept for failedSeconds", job("Failed"), queue(succeededSeconds=60, failedSeconds=90), 90),
        ("a cancelled job counts as succeeded", job("Cancelled"), queue(succeededSeconds=60, failedSeconds=90), 60),
        ("a rejected job counts as succeeded", job("Rejected"), queue(succeededSeconds=60, failedSeconds=90), 60),
        ("success is kept for 7 days by default", job(), queue(), 7 * DAY),
        ("failure is kept for 30 days by default", job("Failed"), queue(), 30 * DAY),
        ("without its queue the defaults hold", job("Failed"), None, 30 * DAY),
        ("nothing is kept where retention is 0", job(), queue(succeededSeconds=0), 0),
        ("who is to be told is waited for, one day", job(spec=CALLBACK), queue(succeededSeconds=60), 60 + DAY),
        ("so are the queue's endpoints", job(),
         queue("https://example.com/hook", succeededSeconds=60), 60 + DAY),
        ("once announced it is due", job(spec=CALLBACK, announcedAt="2026-01-02T04:00:00Z"),
         queue(succeededSeconds=60), 60),
        ("announced in the very second of the end", job(spec=CALLBACK, announcedAt="2026-01-02T03:04:05Z"),
         queue(succeededSeconds=60), 60),
        ("what was announced before a replay does not count",
         job("Failed", CALLBACK, announcedAt="2026-01-01T00:00:00Z"), queue(failedSeconds=60), 60 + DAY),
        ("a replay that was acted on is over",
         job("Failed", {"replay": 2}, observedReplay=2), queue(failedSeconds=9), 9),
        ("a replay does not concern a success", job(spec={"replay": 3}), queue(succeededSeconds=9), 9),
    ],
)  # fmt: skip
def test_a_finished_job_is_due(rule: str, of: AnalysisJob, where: AnalysisQueue | None, seconds: int) -> None:
    assert purge_at(of, where) == FINISHED + timedelta(seconds=seconds), rule


@pytest.mark.parametrize(
    ("rule", "of"),
    [
        ("a waiting job", job("Queued")),
        ("a running job", job("Running")),
        ("a job that is tried again", job("BackingOff")),
        ("a failed job that is to run again", job("Failed", {"replay": 1})),
        ("a job that is deleted already", job(deleted=True)),
        ("a job without the time of its end", job(finishedAt=None)),
    ],
)
def test_never_due_is(rule: str, of: AnalysisJob) -> None:
    assert purge_at(of, queue(succeededSeconds=0, failedSeconds=0)) is None, rule


@pytest.mark.parametrize(
    ("attempt", "attempts", "expected"),
    [
        (0, [], False),
        (1, [{"attempt": 1}], False),
        (1, [{"attempt": 1, "failureClass": "Transient"}], True),
        (2, [{"attempt": 1, "failureClass": "Transient", "logUrl": "file:///r/x"}, {"attempt": 2}], True),
        (7, [{"attempt": n} for n in range(3, 8)], True),
    ],
)
def test_the_store_is_visited_only_for_jobs_that_may_have_logs(
    attempt: int, attempts: list[dict[str, Any]], expected: bool
) -> None:
    assert may_have_logs(job(attempt=attempt, attempts=attempts)) is expected
