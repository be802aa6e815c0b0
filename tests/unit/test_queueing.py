"""Order, backlog, run times, estimates and routing."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from klipstream_api import AnalysisJob, AnalysisQueue, RunTimes
from klipstream_queueing.backlog import Backlog
from klipstream_queueing.estimate import estimate, run_seconds
from klipstream_queueing.order import Rank, rank
from klipstream_queueing.routing import route
from klipstream_queueing.runtimes import SAMPLES_KEPT, add_run_time, quantile


def job(priority: str = "NORMAL", sequence: int | None = 1, **spec: Any) -> AnalysisJob:
    return AnalysisJob.from_wire({
        "metadata": {"name": "j", "namespace": "n", "uid": "u"},
        "spec": {"videoUrl": "https://example.com/v.mp4", "priority": priority} | spec,
        "status": {"sequence": sequence},
    })  # fmt: skip


def queue(name: str, **spec: Any) -> AnalysisQueue:
    return AnalysisQueue.from_wire({
        "metadata": {"name": name, "namespace": "n"}, "spec": {"workerTemplate": {"spec": {}}} | spec,
    })  # fmt: skip


def test_priority_comes_before_sequence() -> None:
    jobs = [("LOW", 1), ("URGENT", 9), ("NORMAL", 3), ("HIGH", 8), ("NORMAL", 2)]
    ordered = sorted(jobs, key=lambda each: rank(job(*each)))
    assert ordered == [("URGENT", 9), ("HIGH", 8), ("NORMAL", 2), ("NORMAL", 3), ("LOW", 1)]


def test_an_unaccepted_job_has_no_rank() -> None:
    with pytest.raises(ValueError, match="not accepted"):
        rank(job(sequence=None))


class BacklogAgainstList(RuleBasedStateMachine):
    """The backlog behaves as a sorted list does."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog, self.model = Backlog(), dict[str, Rank]()

    @rule(uid=st.integers(0, 30), priority=st.integers(1, 4), sequence=st.integers(1, 50))
    def put(self, uid: int, priority: int, sequence: int) -> None:
        placed = Rank(-priority, sequence, str(uid))
        self.backlog.put(placed)
        self.model[str(uid)] = placed

    @rule(uid=st.integers(0, 30))
    def remove(self, uid: int) -> None:
        self.backlog.remove(str(uid))
        self.model.pop(str(uid), None)

    @rule(count=st.integers(0, 5))
    def pop(self, count: int) -> None:
        expected = sorted(self.model.values())[:count]
        assert self.backlog.pop_first(count) == expected
        for each in expected:
            del self.model[each.uid]

    @precondition(lambda self: bool(self.model))
    @rule(data=st.data())
    def position(self, data: st.DataObject) -> None:
        uid = data.draw(st.sampled_from(sorted(self.model)))
        assert self.backlog.position(uid) == 1 + sorted(self.model.values()).index(self.model[uid])

    @invariant()
    def same(self) -> None:
        assert len(self.backlog) == len(self.model)
        assert self.backlog.first(3) == sorted(self.model.values())[:3]
        assert list(self.backlog) == sorted(self.model.values())


TestBacklog = BacklogAgainstList.TestCase


@given(st.lists(st.floats(1, 500_000), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_quantile_is_within_five_percent_of_the_exact_one(seconds: list[float], share: float) -> None:
    run_times: tuple[RunTimes, ...] = ()
    for each in seconds:
        run_times = add_run_time(run_times, "", each)
    ordered = sorted(seconds)
    near = [ordered[min(len(ordered) - 1, int(share * len(ordered)) + offset)] for offset in (-1, 0, 1)]
    found = quantile(run_times[0].buckets, share)
    assert found is not None
    assert min(near) / 1.06 <= found <= max(near) * 1.06


def test_histograms_stay_bounded_and_follow_the_present() -> None:
    run_times: tuple[RunTimes, ...] = ()
    for _ in range(3 * SAMPLES_KEPT):
        run_times = add_run_time(run_times, "t", 1000.0)
    for _ in range(2 * SAMPLES_KEPT):
        run_times = add_run_time(run_times, "t", 10.0)
    assert sum(run_times[0].buckets.values()) <= SAMPLES_KEPT
    assert quantile(run_times[0].buckets, 0.5) == pytest.approx(10, rel=0.06)
    for number in range(40):
        run_times = add_run_time(run_times, f"type-{number}", 5.0)
    assert len(run_times) == 16


@pytest.mark.parametrize(
    ("ahead", "running", "slots", "start"),
    [([], [], 1, 0), ([], [30], 1, 30), ([10, 10], [5], 1, 25), ([10, 20, 30], [], 2, 20), ([60], [5, 100], 2, 65),
     ([], [5, 9, 20], 2, 9)],
)  # fmt: skip
def test_the_start_comes_from_simulated_slots(
    ahead: list[float], running: list[float], slots: int, start: float
) -> None:
    found = estimate(ahead, 7.0, running, slots)
    assert found is not None
    assert (found.start_seconds, found.finish_seconds) == (start, start + 7.0)


def test_without_slots_nothing_is_promised() -> None:
    assert estimate([], 1.0, [], 0) is None


def test_the_estimate_falls_back_from_type_to_all_to_the_default() -> None:
    known = add_run_time((), "film", 100.0)
    assert run_seconds(known, "film", 0.5, 3600) == pytest.approx(100, rel=0.06)
    assert run_seconds(known, "clip", 0.5, 3600) == pytest.approx(100, rel=0.06)
    assert run_seconds((), "clip", 0.5, 3600) == 3600


URGENT_ONLY = queue("express", accepts={"priorities": ["URGENT"]})
FILMS = queue("films", accepts={"types": ["film"]})
URGENT_FILMS = queue("urgent-films", accepts={"types": ["film"], "priorities": ["URGENT"]})
DEFAULT, OTHER = queue("default"), queue("other")


@pytest.mark.parametrize(
    ("of", "queues", "expected"),
    [
        (job(queueName="named"), [DEFAULT], "named"),
        (job(), [DEFAULT, OTHER], "default"),
        (job(), [OTHER], "other"),
        (job(), [OTHER, queue("another")], None),
        (job("URGENT"), [DEFAULT, URGENT_ONLY], "express"),
        (job("URGENT", type="film"), [FILMS, URGENT_ONLY, URGENT_FILMS], "urgent-films"),
        (job("LOW"), [URGENT_ONLY], None),
        (job(), [], None),
    ],
)
def test_routing(of: AnalysisJob, queues: list[AnalysisQueue], expected: str | None) -> None:
    random.shuffle(queues)
    assert route(of, queues) == expected
