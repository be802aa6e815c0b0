"""The last day, from the jobs that are kept."""

from datetime import UTC, datetime, timedelta
from typing import Any

from klipstream_api import AnalysisJob
from klipstream_gateway.dashboard.history import first_start, hours

NOW = datetime(2026, 11, 26, 12, 30, tzinfo=UTC)


def before(hours_ago: float) -> str:
    return (NOW - timedelta(hours=hours_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


def job(phase: str, **status: Any) -> AnalysisJob:
    return AnalysisJob.from_wire(
        {"metadata": {"name": "j", "uid": "u", "resourceVersion": "1"}, "spec": {"videoUrl": "https://example.com/v"},
         "status": {"phase": phase} | status}
    )  # fmt: skip


def ended(phase: str, queued: float, started: float, finished: float) -> AnalysisJob:
    return job(
        phase, queuedAt=before(queued), startedAt=before(started), finishedAt=before(finished), attempt=1,
        attempts=[{"attempt": 1, "startedAt": before(started), "finishedAt": before(finished)}],
    )  # fmt: skip


def test_hours_begin_on_the_hour_and_the_last_one_is_now():
    found = hours((), NOW)
    assert (len(found), found[0].begin.hour, found[-1].begin.hour) == (24, 13, 12)


def test_finished_jobs_count_in_the_hour_of_their_end():
    found = hours([ended("Succeeded", 2, 1.9, 1.2), ended("Failed", 2, 1.9, 0.1), ended("Cancelled", 2, 1.9, 0.1)], NOW)
    assert [(each.completed, each.failed) for each in found[-2:]] == [(1, 0), (0, 1)]
    assert sum(each.completed + each.failed for each in found) == 2


def test_depth_is_how_many_waited_at_once_in_an_hour():
    waiting = job("Queued", queuedAt=before(3))
    from_before_the_day = job("Queued", queuedAt=before(100))
    short = ended("Succeeded", 2.2, 2.1, 1)
    found = hours([waiting, from_before_the_day, short], NOW)
    # What waited short of an hour counts in it, and what came before the day waits from its beginning on.
    assert [each.depth for each in found] == [1] * 20 + [2, 3, 2, 2]


def test_a_job_that_was_cancelled_while_it_waited_leaves_the_line():
    found = hours([job("Cancelled", queuedAt=before(5), finishedAt=before(2))], NOW)
    assert [each.depth for each in found[-7:]] == [0, 1, 1, 1, 1, 0, 0]


def test_waits_are_of_those_that_started_in_the_hour():
    found = hours([ended("Succeeded", 1 + minutes / 60, 1, 0.5) for minutes in (10, 20, 30)], NOW)
    assert (found[-2].wait_p50_seconds, found[-1].wait_p50_seconds) == (1200, None)
    assert 1200 < found[-2].wait_p90_seconds <= 1800


def test_a_retry_is_no_first_start():
    tried = job(
        "Running", queuedAt=before(5), startedAt=before(1), attempt=2,
        attempts=[{"attempt": 1, "startedAt": before(4), "finishedAt": before(3)},
                  {"attempt": 2, "startedAt": before(1)}],
    )  # fmt: skip
    assert first_start(tried) == NOW - timedelta(hours=4)


def test_where_the_first_attempt_is_forgotten_nothing_is_made_up():
    forgotten = job("Running", queuedAt=before(50), attempt=9, attempts=[{"attempt": 9, "startedAt": before(1)}])
    assert first_start(forgotten) is None
    assert all(each.depth == 0 and each.wait_p50_seconds is None for each in hours([forgotten], NOW))


def test_after_a_replay_the_attempts_before_it_do_not_count():
    replayed = job(
        "Running", queuedAt=before(2), startedAt=before(1), attempt=2,
        attempts=[{"attempt": 1, "startedAt": before(9), "finishedAt": before(8)},
                  {"attempt": 2, "startedAt": before(1)}],
    )  # fmt: skip
    assert first_start(replayed) == NOW - timedelta(hours=1)
