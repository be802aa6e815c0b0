"""Dead letters that failed alike."""

from typing import Any

from klipstream_gateway.answers import AttemptView, GroupView, JobState, JobView
from klipstream_gateway.dashboard.letters import gathered


def letter(job_id: str, queue: str, fingerprint: str | None, message: str = "gone") -> JobView:
    fields: dict[str, Any] = dict.fromkeys(JobView.model_fields)
    last = AttemptView(attempt=1, started_at=None, finished_at=None, failure_class=None, reason="SourceGone",
                       exit_code=3, message=message, log_archived=False)  # fmt: skip
    return JobView.model_construct(
        **fields | {"job_id": job_id, "queue": queue, "failure_fingerprint": fingerprint, "attempts": (last,),
                    "status": JobState.FAILED}
    )  # fmt: skip


def group(queue: str, fingerprint: str, count: int) -> GroupView:
    return GroupView(queue=queue, fingerprint=fingerprint, count=count, reason="Error", message="m", replay=None)


def test_jobs_are_put_to_their_queues_groups_and_the_largest_comes_first():
    found = gathered([letter("1", "a", "x"), letter("2", "a", "y")], [group("a", "x", 1), group("a", "y", 50)])
    assert [(each.fingerprint, each.count, [job.job_id for job in each.jobs]) for each in found] == [
        ("y", 50, ["2"]), ("x", 1, ["1"]),
    ]  # fmt: skip
    assert all(each.whole for each in found)


def test_without_the_queues_groups_jobs_are_gathered_by_fingerprint_and_queue():
    found = gathered([letter("1", "a", "x"), letter("2", "b", "x"), letter("3", "a", "x"), letter("4", "a", None)], [])
    assert [(each.queue, each.fingerprint, each.count) for each in found] == [
        ("a", "x", 2), ("a", "unknown", 1), ("b", "x", 1),
    ]  # fmt: skip
    assert found[0].reason == "SourceGone"
    assert not any(each.whole for each in found)


def test_a_group_of_which_no_job_is_shown_still_stands_there():
    (found,) = gathered([], [group("a", "x", 3)])
    assert (found.count, found.jobs) == (3, ())
