"""What becomes of progress when several replicas take posts of one worker."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from klipstream_api import Progress, ProgressPost, StageResources
from klipstream_operator.posted import latest_progress, posted

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def progress(percentage: float, seconds: float = 0, **more: Any) -> Progress:
    fields = {"attempt": 1, "stage": "Analyzing", "updated_at": at(seconds)} | more
    return Progress(percentage=percentage, **fields)


def post(percentage: float, **more: Any) -> ProgressPost:
    return ProgressPost.model_validate({"percentage": percentage, "stage": "Analyzing"} | more)


def test_the_first_post_of_an_attempt_is_written_as_it_is() -> None:
    after = posted(None, None, 1, post(12.34, message="on", checkpoint="c1", estimated_completion_seconds=9), at(1))
    assert after == progress(12.3, 1, message="on", checkpoint="c1", estimated_completion_seconds=9)


@pytest.mark.parametrize(
    ("rule", "pending", "written", "percentage"),
    [
        ("below what waits to be written", progress(40), None, 40),
        ("below what is written", None, progress(40), 40),
        ("above both", progress(20), progress(10), 30),
        ("an earlier attempt's does not count", None, progress(90, attempt=0), 30),
        ("nor what of it was never written", progress(80, attempt=0), progress(90, attempt=0), 30),
    ],
)
def test_the_percentage_never_falls_within_an_attempt(
    rule: str, pending: Progress | None, written: Progress | None, percentage: float
) -> None:
    after = posted(pending, written, 1, post(30, stage="New"), at(9))
    assert after is not None
    assert (after.attempt, after.percentage) == (1, percentage), rule


def test_a_post_without_anything_new_is_no_progress() -> None:
    written = progress(40, message="m", checkpoint="c")
    for same in (post(40, message="m"), post(40, message="m", checkpoint="c"), post(39, message="m"),
                 post(40, message="m", estimated_completion_seconds=5)):  # fmt: skip
        assert posted(None, written, 1, same, at(9)) is None
    waiting = progress(50, 3)
    assert posted(waiting, written, 1, post(50), at(9)) is waiting


@pytest.mark.parametrize("new", [{"percentage": 41}, {"stage": "S"}, {"message": "x"}, {"checkpoint": "d"}])
def test_anything_new_is_progress(new: dict[str, Any]) -> None:
    written = progress(40, message="m", checkpoint="c")
    after = posted(None, written, 1, post(**({"percentage": 40, "message": "m"} | new)), at(9))
    assert after is not None
    assert after.updated_at == at(9)


def test_a_checkpoint_that_waits_to_be_written_stays_until_a_newer_one_is_posted() -> None:
    waiting = progress(50, 3, checkpoint="c2")
    after = posted(waiting, progress(40, checkpoint="c1"), 1, post(60), at(9))
    assert after is not None
    assert after.checkpoint == "c2"
    newer = posted(after, progress(40, checkpoint="c1"), 1, post(60, checkpoint="c3"), at(10))
    assert newer is not None
    assert newer.checkpoint == "c3"


def took(stage: str, memory: int | None, cpu: float | None = 1.0) -> StageResources:
    return StageResources(stage=stage, peak_memory_bytes=memory, cpu_seconds=cpu)


def test_what_the_stages_took_goes_along_and_is_no_progress_by_itself() -> None:
    posts = [{"stage": "A", "peak_memory_bytes": 1, "cpu_seconds": 1}, {"stage": "B"}, {"stage": "A", "cpu_seconds": 2}]
    after = posted(None, None, 1, post(50, resources=posts), at(1))
    assert after is not None
    assert after.resources == (took("A", None, 2.0), took("B", None, None)), "each stage once, the last word counts"
    assert posted(None, after, 1, post(50, resources=[{"stage": "A", "cpu_seconds": 9}]), at(2)) is None


def test_the_time_of_a_stage_goes_along() -> None:
    after = posted(None, None, 1, post(50, resources=[{"stage": "A", "wall_seconds": 7.5}]), at(1))
    assert after is not None
    assert after.resources == (StageResources(stage="A", wall_seconds=7.5),)


def test_what_the_stages_took_stays_until_there_is_a_newer_word_of_the_same_attempt() -> None:
    written, other = progress(50, 1, resources=(took("A", 1),)), (took("A", 2),)
    for pending, expected in (
        (progress(60, 2), written.resources), (progress(60, 2, resources=other), other),
        (progress(60, 0, resources=other), written.resources), (progress(60, 2, attempt=2), None),
    ):  # fmt: skip
        becomes = latest_progress(written, pending)
        assert becomes is not None
        assert becomes.resources == expected
    late = latest_progress(progress(50, 5), progress(40, 1, resources=other))
    assert late is not None
    assert late.resources == other


@pytest.mark.parametrize(
    "resources",
    [[{"stage": "A", "cpu_seconds": -1}], [{"stage": "A", "wall_seconds": -1}],
     [{"stage": "A", "wall_seconds": 1e9}], [{"stage": "A", "cpu_seconds": float("inf")}], [{"stage": ""}],
     [{"stage": "A", "peak_memory_bytes": 2**60}], [{"stage": "A", "peak_memory_bytes": 1.5}],
     [{"stage": f"{n}"} for n in range(17)], [{"stage": "x" * 65}], {"stage": "A"}],
)  # fmt: skip
def test_resources_without_bounds_are_refused(resources: Any) -> None:
    with pytest.raises(ValidationError):
        post(50, resources=resources)


def test_a_checkpoint_of_the_status_is_not_taken_along() -> None:
    """By the time of the write another replica may have replaced it."""
    after = posted(None, progress(40, checkpoint="c1"), 1, post(50), at(9))
    assert after is not None
    assert after.checkpoint is None
    becomes = latest_progress(progress(45, 8, checkpoint="c2"), after)
    assert becomes == progress(50, 9, checkpoint="c2")


@pytest.mark.parametrize(
    ("rule", "written", "pending", "becomes"),
    [
        ("nothing waits", progress(10), None, progress(10)),
        ("nothing is written", None, progress(10), progress(10)),
        ("newer wins", progress(10, 1, checkpoint="a"), progress(20, 2, checkpoint="b"),
         progress(20, 2, checkpoint="b")),
        ("what another replica took later stays", progress(50, 5, checkpoint="b", stage="New"),
         progress(40, 2, checkpoint="a"), progress(50, 5, checkpoint="b", stage="New")),
        ("but for a higher percentage", progress(50, 5, stage="New"), progress(60, 2), progress(60, 5, stage="New")),
        ("newer with a lower percentage", progress(50, 1, stage="Old"), progress(40, 2), progress(50, 2)),
        ("taken at the same moment: the one that waits, since its own write looks so",
         progress(50, 2), progress(50, 2, message="m"), progress(50, 2, message="m")),
        ("a checkpoint outlives its attempt", progress(90, 1, checkpoint="a"), progress(5, 2, attempt=2),
         progress(5, 2, attempt=2, checkpoint="a")),
        ("its percentage does not, whatever the clocks say", progress(90, 9), progress(5, 2, attempt=2),
         progress(5, 2, attempt=2)),
        ("an attempt that is over is not gone back to", progress(5, 1, attempt=2), progress(90, 9),
         progress(5, 1, attempt=2)),
    ],
)  # fmt: skip
def test_what_is_written_over_the_status(
    rule: str, written: Progress | None, pending: Progress | None, becomes: Progress
) -> None:
    assert latest_progress(written, pending) == becomes, rule


PROGRESS = st.builds(
    progress, st.integers(0, 100), st.integers(0, 9), attempt=st.integers(1, 2),
    checkpoint=st.sampled_from([None, "a", "b"]), stage=st.sampled_from(["S", "T"]),
)  # fmt: skip


@given(PROGRESS, PROGRESS)
def test_the_api_server_never_refuses_it_and_no_checkpoint_is_lost(written: Progress, pending: Progress) -> None:
    """The CRD's rule: the attempt never falls, nor within it the percentage."""
    becomes = latest_progress(written, pending)
    assert becomes is not None
    assert (becomes.attempt, becomes.percentage) >= (written.attempt, written.percentage)
    assert becomes.checkpoint is not None or written.checkpoint is None
    assert latest_progress(becomes, pending) == becomes, "writing it twice changes nothing"
