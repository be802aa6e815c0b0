"""The stages of a job, and its attempts on an axis of time."""

from datetime import UTC, datetime, timedelta

import pytest

from klipstream_api import FailureClass
from klipstream_gateway.answers import AttemptView, JobState, ProgressView
from klipstream_gateway.dashboard.timeline import StepState, steps, ticks, timeline

BEGIN = datetime(2026, 11, 26, 4, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def attempt(number: int, started: float, finished: float | None, failed: bool = False) -> AttemptView:
    return AttemptView(
        attempt=number, started_at=at(started), finished_at=at(finished) if finished is not None else None,
        failure_class=FailureClass.TRANSIENT if failed else None, reason=None, exit_code=None, message=None,
        log_archived=False,
    )  # fmt: skip


def shown(percentage: float, stage: str, state: JobState = JobState.PROCESSING) -> list[tuple[str, str, float]]:
    progress = ProgressView(percentage=percentage, current_stage=stage, estimated_completion_seconds=None)
    return [(step.name, step.state.value, round(step.filled_percent)) for step in steps(progress, state)]


def test_a_stage_is_filled_by_its_own_share_of_the_whole():
    assert shown(50, "Analyzing") == [
        ("Downloading", "done", 100), ("Transcribing", "done", 100), ("Analyzing", "current", 25),
        ("Finding Highlights", "to do", 0),
    ]  # fmt: skip


def test_nothing_is_begun_before_the_first_attempt_and_all_is_done_at_the_end():
    assert {state for _, state, _ in shown(0, "Queued", JobState.QUEUED)} == {"to do"}
    assert {(state, filled) for _, state, filled in shown(100, "Completed", JobState.COMPLETED)} == {("done", 100)}


def test_a_stage_of_the_workers_own_stands_where_its_percentage_is():
    assert shown(30, "Looking for faces")[:3] == [
        ("Downloading", "done", 100), ("Looking for faces", "current", 50), ("Analyzing", "to do", 0),
    ]  # fmt: skip
    assert shown(99, "Uploading")[3] == ("Uploading", "current", 100)


def test_a_failed_job_shows_where_it_stopped():
    assert shown(10, "Downloading", JobState.FAILED)[0] == ("Downloading", StepState.STOPPED.value, 50)


def test_there_is_no_timeline_before_the_first_attempt():
    assert timeline((), JobState.QUEUED, at(0), None, at(60)) is None


def test_attempts_follow_their_waits_on_one_axis():
    found = timeline((attempt(1, 10, 30, failed=True), attempt(2, 60, None)), JobState.PROCESSING, at(0), None, at(100))
    assert found is not None
    first, second = found.rows
    assert [(bar.kind, bar.left_percent, bar.width_percent) for bar in first] == [
        ("waiting", 0, 10), ("failed", 10, 20),
    ]  # fmt: skip
    assert [(bar.kind, bar.left_percent, bar.width_percent) for bar in second] == [
        ("waiting", 30, 30), ("running", 60, 40),
    ]  # fmt: skip
    assert second[1].label == "attempt 2 has run for 40 s"


def test_the_last_attempt_of_a_finished_job_ends_with_it():
    found = timeline((attempt(1, 0, 50),), JobState.COMPLETED, at(0), at(50), at(5000))
    assert found is not None
    assert found.end == at(50)
    assert [(bar.kind, bar.width_percent) for bar in found.rows[0]] == [("completed", 100)]


def test_the_shortest_attempt_can_be_seen_and_nothing_leaves_the_axis():
    found = timeline(
        (attempt(1, 0, 9999.9), attempt(2, 9999.9, 10_000)), JobState.FAILED, at(0), at(10_000), at(10_000)
    )
    assert found is not None
    for row in found.rows:
        for bar in row:
            assert bar.width_percent >= 0.6
            assert bar.left_percent + bar.width_percent <= 100.01


def test_where_only_the_last_five_attempts_are_known_the_axis_begins_with_them():
    found = timeline((attempt(7, 500, 600, failed=True),), JobState.RETRYING, at(0), None, at(700))
    assert found is not None
    assert found.begin == at(500)


@pytest.mark.parametrize("seconds", [1, 7, 61, 3600, 90_000, 10_000_000])
def test_an_axis_has_a_few_marks_at_round_distances(seconds):
    found = list(ticks(seconds))
    assert 1 <= len(found) <= 7
    assert [tick.left_percent for tick in found] == sorted({tick.left_percent for tick in found})
    assert all(0 <= tick.left_percent <= 96 for tick in found)
