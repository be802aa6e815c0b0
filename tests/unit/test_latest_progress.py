"""Progress that this replica was told meets progress that another one wrote (found by simulation: seed 172)."""

from datetime import timedelta

import pytest

from klipfake.objects import NOW, QUEUE, UID, ended, job, kube_job, running, view
from klipstream_api import Progress
from klipstream_operator.lifecycle import WriteStatus, next_step
from klipstream_operator.posted import latest_progress


def at(seconds: float, percentage: float, attempt: int = 1, checkpoint: str | None = None) -> Progress:
    moment = NOW + timedelta(seconds=seconds)
    return Progress(attempt=attempt, percentage=percentage, stage="s", checkpoint=checkpoint, updated_at=moment)


@pytest.mark.parametrize(
    ("name", "written", "posted", "expected"),
    [
        ("nothing is known", None, None, None),
        ("only the post", None, at(1, 10), at(1, 10)),
        ("only what is written", at(1, 10), None, at(1, 10)),
        ("a newer post counts", at(1, 10), at(2, 20), at(2, 20)),
        ("an older post takes nothing back", at(2, 20), at(1, 10), at(2, 20)),
        ("the percentage never falls", at(1, 20), at(2, 10), at(2, 20)),
        ("an earlier attempt counts for nothing", at(1, 10, attempt=2), at(2, 90, attempt=1), at(1, 10, attempt=2)),
        ("a checkpoint stays until it is replaced", at(1, 10, checkpoint="c"), at(2, 20), at(2, 20, checkpoint="c")),
        ("a newer checkpoint replaces it", at(1, 1, checkpoint="c"), at(2, 2, checkpoint="d"),
         at(2, 2, checkpoint="d")),
    ],
)  # fmt: skip
def test_what_was_written_never_falls_back(
    name: str, written: Progress | None, posted: Progress | None, expected: Progress | None
) -> None:
    assert latest_progress(written, posted) == expected, name


def test_the_end_of_an_attempt_is_written_though_this_replica_holds_older_progress() -> None:
    """The API server refuses progress that falls: the job would stay Running for ever."""
    progress = at(2, 60).to_wire()
    step = next_step(
        job(running("Running", progress=progress)), QUEUE, frozenset({1}),
        lambda _: view(kube_job(uid=f"{UID}-job"), ended(0)), at(1, 40), NOW + timedelta(seconds=3),
    )  # fmt: skip
    assert isinstance(step, WriteStatus)
    assert step.status.progress is not None
    assert step.status.progress.percentage >= 60
