"""Order, backlog, run times, estimates and routing."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from klipstream_api import AnalysisJob, AnalysisQueue, Priority, RunTimes
from klipstream_api.analysisqueue import Aging
from klipstream_queueing.aging import aged_priority, next_rise
from klipstream_queueing.backlog import Backlog
from klipstream_queueing.estimate import Stay, run_seconds, starts
from klipstream_queueing.order import Rank, rank
from klipstream_queueing.routing import route
from klipstream_queueing.runtimes import SAMPLES_KEPT, add_run_time, bucket_of, merged, quantile
from klipstream_queueing.slots import kept_for_higher, take_first


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
    def take(self, count: int) -> None:
        expected = sorted(self.model.values())[:count]
        assert take_first(self.backlog, count, None, {}) == expected
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


def ranks(*values: int) -> list[Rank]:
    """Jobs of these priority values, in the order in which they came."""
    return [Rank(-value, sequence, f"u{sequence}") for sequence, value in enumerate(values)]


def backlog(*of: Rank, lane: str = "default") -> Backlog:
    made = Backlog()
    for each in of:
        made.put(each, lane)
    return made


def test_a_rank_tells_its_priority() -> None:
    assert [each.priority_value for each in ranks(4, 1)] == [4, 1]


def test_what_is_put_twice_is_there_once_and_what_is_unknown_has_no_position() -> None:
    (first,) = ranks(2)
    made = backlog(first)
    assert not made.put(first)
    assert made.put(first, "large"), "another lane is another place"
    assert list(made) == [first]
    with pytest.raises(KeyError):
        made.position("unknown")


def test_lanes_are_passed_over_and_the_order_between_them_is_that_of_the_ranks() -> None:
    first, second, third = ranks(3, 2, 2)
    made = backlog(first, third, lane="large")
    made.put(second)
    assert made.peek() == (first, "large")
    assert made.peek(lambda lane: lane == "default") == (second, "default")
    assert made.peek(lambda _: False) is None
    made.remove(first.uid)
    assert made.peek() == (second, "default")


def test_a_job_that_moves_often_costs_no_memory() -> None:
    made = backlog(Rank(-2, 0, "stays"))
    made.put(Rank(-2, 1, "other"), "large")
    for sequence in range(1, 1000):
        made.put(Rank(-2, sequence, "moves"))
        assert len(made._heaps["default"]) <= 66
    assert list(made) == [Rank(-2, 0, "stays"), Rank(-2, 1, "other"), Rank(-2, 999, "moves")]
    assert [made.peek(), made.peek(lambda lane: lane == "large")] == [
        (Rank(-2, 0, "stays"), "default"), (Rank(-2, 1, "other"), "large"),
    ]  # fmt: skip


def test_nor_does_it_among_many_others() -> None:
    made = backlog(*(Rank(-2, sequence, f"stays{sequence}") for sequence in range(100)))
    lengths = []
    for sequence in range(100, 1000):
        made.put(Rank(-2, sequence, "moves"))
        lengths.append(len(made._heaps["default"]))
    assert 180 < max(lengths) <= 202, "it is rebuilt when half of it is stale, and not before"


@pytest.mark.parametrize(
    ("rule", "value", "reserved", "active", "kept"),
    [
        ("nothing is reserved", 1, None, {}, 0),
        ("slots of higher ones are left to them", 2, {"URGENT": 2, "HIGH": 1}, {}, 3),
        ("not those of its own priority", 3, {"URGENT": 2, "HIGH": 1}, {}, 2),
        ("nor of lower ones", 4, {"HIGH": 1, "LOW": 3}, {}, 0),
        ("what they use already is not kept", 2, {"URGENT": 2, "HIGH": 1}, {4: 1, 2: 5}, 2),
        ("and they may use more than that", 2, {"URGENT": 2, "HIGH": 1}, {4: 3}, 1),
    ],
)
def test_slots_that_are_kept(
    rule: str, value: int, reserved: dict[str, int] | None, active: dict[int, int], kept: int
) -> None:
    assert kept_for_higher(value, reserved, active) == kept, rule


@pytest.mark.parametrize(
    ("rule", "values", "free", "reserved", "active", "expected"),
    [
        ("no slot, no job", [2], 0, None, {}, []),
        ("as many as there are slots, first one first", [1, 2, 4], 2, None, {}, [4, 2]),
        ("or as there are jobs", [2], 5, None, {}, [2]),
        ("the last slot is left to a higher one", [2, 2], 2, {"URGENT": 1}, {}, [2]),
        ("which takes it", [4, 2], 1, {"URGENT": 1}, {}, [4]),
        ("and then no more is kept", [4, 2], 2, {"URGENT": 1}, {}, [4, 2]),
        ("of what it holds already, too", [2, 2], 2, {"URGENT": 1}, {4: 1}, [2, 2]),
        ("each that is taken counts", [4, 4, 2], 3, {"URGENT": 2}, {}, [4, 4, 2]),
        ("and only as one", [4, 2, 2], 3, {"URGENT": 2}, {}, [4, 2]),
        ("those behind one that must wait wait as well", [3, 2], 1, {"URGENT": 1}, {}, []),
    ],
)
def test_who_is_taken(
    rule: str, values: list[int], free: int, reserved: dict[str, int] | None, active: dict[int, int],
    expected: list[int],
) -> None:  # fmt: skip
    made = backlog(*ranks(*values))
    before = dict(active)
    assert [each.priority_value for each in take_first(made, free, reserved, active)] == expected, rule
    assert (len(made), active) == (len(values) - len(expected), before)


def test_the_lane_of_each_that_is_taken_is_told_before_the_next_is_looked_for() -> None:
    first, second, third = ranks(2, 2, 2)
    made = backlog(first, second, lane="large")
    made.put(third)
    told: list[tuple[str, str]] = []
    taken = take_first(made, 3, None, {}, lambda lane: (first.uid, lane) not in told, lambda *one: told.append(one))
    assert (taken, told) == ([first, third], [(first.uid, "large"), (third.uid, "default")])


@settings(deadline=None)
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


@pytest.mark.parametrize(("seconds", "bucket"), [(0.0, 0), (1.0, 0), (1.04, 0), (1.1, 1), (3600.0, 86), (1e9, 140)])
def test_a_run_time_has_a_bucket(seconds: float, bucket: int) -> None:
    assert bucket_of(seconds) == bucket


def test_one_histogram_over_all_types() -> None:
    entries = (RunTimes(type="a", buckets={"1": 2, "3": 1}), RunTimes(type="b", buckets={"1": 5}))
    assert merged(entries) == {"1": 7, "3": 1}


def test_a_quantile_of_nothing_is_none_and_a_share_of_one_is_the_longest() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({"0": 1, "10": 2}, 1.0) == pytest.approx(1.1**10)
    assert quantile({"0": 1, "10": 1}, 0.5) == 1.0
    assert quantile({"0": 1, "10": 1}, 1.1) == pytest.approx(1.1**10), "no share beyond all"


def test_histograms_halve_and_forget_what_is_rare() -> None:
    full = (RunTimes(type="t", buckets={"0": SAMPLES_KEPT - 3, "5": 2, "9": 1}),)
    assert add_run_time(full, "t", 0.5)[-1].buckets == {"0": (SAMPLES_KEPT - 2) // 2, "5": 1}
    just_full = (RunTimes(type="t", buckets={"0": SAMPLES_KEPT - 1}),)
    assert add_run_time(just_full, "t", 0.5)[-1].buckets == {"0": SAMPLES_KEPT}


def test_the_type_that_ran_last_is_last() -> None:
    run_times: tuple[RunTimes, ...] = ()
    for name in ("a", "b", "a"):
        run_times = add_run_time(run_times, name, 0.5)
    assert run_times == (RunTimes(type="b", buckets={"0": 1}), RunTimes(type="a", buckets={"0": 2}))


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


def normal(*seconds: float) -> list[Stay]:
    return [Stay(2, each) for each in seconds]


@pytest.mark.parametrize(
    ("ahead", "running", "slots", "start"),
    [([], [], 1, 0), ([], [30], 1, 30), ([10, 10], [5], 1, 25), ([10, 20, 30], [], 2, 20), ([60], [5, 100], 2, 65),
     ([], [5, 9, 20], 2, 9), ([], [0.5], 1, 0.5), ([], [-3.0], 1, 0.0)],
)  # fmt: skip
def test_the_start_comes_from_simulated_slots(
    ahead: list[float], running: list[float], slots: int, start: float
) -> None:
    assert starts(normal(*ahead), normal(*running), slots).at(len(ahead), 2) == start


def test_without_slots_nothing_is_promised() -> None:
    found = starts(normal(1.0), normal(5.0), 0)
    assert (found.at(0, 2), found.at(1, 2)) == (None, None)


@pytest.mark.parametrize(
    ("rule", "line", "running", "reserved", "in_line", "newcomers"),
    [
        ("nothing is reserved", [(2, 9), (2, 9), (2, 9)], [], None, [0, 0, 9], [0, 0, 9, 9]),
        ("a reserved slot is left free", [(2, 9), (2, 9)], [], {"URGENT": 1}, [0, 9], [0, 0, 18, 18]),
        ("for the one it is reserved for", [(4, 5), (2, 9), (2, 9)], [], {"URGENT": 1}, [0, 0, 9], [0, 0, 18, 18]),
        ("which gives it back", [(2, 9)], [(4, 5)], {"URGENT": 1}, [0], [0, 0, 9, 9]),
        ("one that waits for it holds up those behind", [(3, 9), (1, 1)], [(3, 7)], {"URGENT": 1}, [7, 16],
         [0, 16, 16, 17]),
        ("all are reserved, so nothing lower ever starts", [(2, 9), (1, 9)], [(2, 3)], {"URGENT": 2}, [None, None],
         [0, None, None, None]),
        ("by several priorities", [(2, 9)], [], {"URGENT": 1, "HIGH": 1}, [None], [0, 0, None, None]),
    ],
)  # fmt: skip
def test_slots_that_are_reserved_are_simulated(
    rule: str, line: list[tuple[int, float]], running: list[tuple[int, float]], reserved: dict[str, int] | None,
    in_line: list[float | None], newcomers: list[float | None],
) -> None:  # fmt: skip
    found = starts([Stay(*each) for each in line], [Stay(*each) for each in running], 2, reserved)
    assert found.in_line == in_line, rule
    assert [found.newcomers[value] for value in (4, 3, 2, 1)] == newcomers, rule


stays = st.tuples(st.integers(1, 4), st.floats(0, 100))


@settings(deadline=None)
@given(
    st.lists(stays, max_size=20), st.lists(stays, max_size=6), st.integers(0, 5),
    st.dictionaries(st.sampled_from(["URGENT", "HIGH", "NORMAL"]), st.integers(0, 3)),
)  # fmt: skip
def test_the_simulated_starts_are_those_of_the_rule_that_reserves_slots(
    line: list[tuple[int, float]], running: list[tuple[int, float]], slots: int, reserved: dict[str, int]
) -> None:
    line.sort(key=lambda stay: -stay[0])
    found = starts([Stay(*each) for each in line], [Stay(*each) for each in running], slots, reserved).in_line
    made = backlog(*(Rank(-value, number, str(number)) for number, (value, _) in enumerate(line)))
    expected: list[float | None] = [None] * len(line)
    held = sorted((end, value) for value, end in running)
    now = 0.0
    while True:
        held = sorted(each for each in held if each[0] > now)
        active = Counter(value for _, value in held)
        taken = take_first(made, max(0, slots - len(held)), reserved, active)
        for each in taken:
            expected[each.sequence] = now
            held.append((now + line[each.sequence][1], each.priority_value))
        if not taken:
            if not held:
                break
            now = min(held)[0]
    assert found == expected


def test_the_estimate_falls_back_from_type_to_all_to_the_default() -> None:
    known = add_run_time((), "film", 100.0)
    assert run_seconds(known, "film", 0.5, 3600) == pytest.approx(100, rel=0.06)
    assert run_seconds(known, "clip", 0.5, 3600) == pytest.approx(100, rel=0.06)
    assert run_seconds((), "clip", 0.5, 3600) == 3600
    both = add_run_time(known, "clip", 1.0)
    assert run_seconds(both, "film", 0.5, 3600) == pytest.approx(100, rel=0.06)
    assert run_seconds(both, "clip", 0.5, 3600) == 1.0


URGENT_ONLY = queue("express", accepts={"priorities": ["URGENT"]})
FILMS = queue("films", accepts={"types": ["film"]})
URGENT_FILMS = queue("urgent-films", accepts={"types": ["film"], "priorities": ["URGENT"]})
DEFAULT, OTHER = queue("default"), queue("other")


def deleted(of: AnalysisQueue) -> AnalysisQueue:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    return of.model_copy(update={"metadata": of.metadata.model_copy(update={"deletion_timestamp": moment})})


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
        (job("URGENT", type="clip"), [URGENT_FILMS, DEFAULT], "default"),
        (job("HIGH", type="film"), [URGENT_FILMS, DEFAULT], "default"),
        (job("URGENT"), [queue("zz", accepts={"priorities": ["URGENT"]}), URGENT_ONLY], "express"),
        (job(), [deleted(DEFAULT), OTHER], "other"),
        (job(queueName="named"), [], "named"),
        (job(), [queue("asks-for-nothing", accepts={})], None),
        (job("URGENT", type="film"), [FILMS, URGENT_ONLY], "express"),
        (job("URGENT", type="film"), [queue("all-films", accepts={"types": ["film"]}), URGENT_ONLY], "all-films"),
        (job(), [], None),
    ],
)
def test_routing(of: AnalysisJob, queues: list[AnalysisQueue], expected: str | None) -> None:
    random.shuffle(queues)
    assert route(of, queues) == expected


QUEUED_AT = datetime(2026, 1, 2, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rule", "priority", "up_to", "seconds", "becomes", "rises_at"),
    [
        ("it starts as it was submitted", "LOW", "HIGH", 0, "LOW", 60),
        ("until a period is over", "LOW", "HIGH", 59, "LOW", 60),
        ("then it rises by one", "LOW", "HIGH", 60, "NORMAL", 120),
        ("and by one more", "LOW", "HIGH", 120, "HIGH", None),
        ("up to where it stops", "LOW", "HIGH", 9999, "HIGH", None),
        ("what was submitted above that stays", "URGENT", "HIGH", 9999, "URGENT", None),
        ("what was submitted there, too", "HIGH", "HIGH", 9999, "HIGH", None),
        ("a clock that went back takes nothing away", "NORMAL", "HIGH", -999, "NORMAL", 60),
    ],
)
def test_aging(rule: str, priority: str, up_to: str, seconds: int, becomes: str, rises_at: int | None) -> None:
    of, aging = job(priority), Aging(every_seconds=60, up_to=Priority(up_to))
    of = of.model_copy(update={"status": of.status.model_copy(update={"queued_at": QUEUED_AT})})
    now = QUEUED_AT + timedelta(seconds=seconds)
    assert aged_priority(of, aging, now) is Priority(becomes), rule
    expected = None if rises_at is None else QUEUED_AT + timedelta(seconds=rises_at)
    assert next_rise(of, aging, now) == expected, rule


@pytest.mark.parametrize(("aging", "queued_at"), [(None, QUEUED_AT), (Aging(every_seconds=60), None)])
def test_nothing_rises_without_aging_or_before_it_is_accepted(aging: Aging | None, queued_at: datetime | None) -> None:
    of = job()
    of = of.model_copy(update={"status": of.status.model_copy(update={"queued_at": queued_at})})
    assert aged_priority(of, aging, NEVER) is Priority.NORMAL
    assert next_rise(of, aging, NEVER) is None


NEVER = QUEUED_AT + timedelta(days=9)
