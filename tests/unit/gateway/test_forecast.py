"""Positions and estimates, by table."""

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from klipstream_api import Priority
from klipstream_gateway.cache import Cache
from klipstream_gateway.forecast import Forecasts
from klipstream_queueing.line import Line
from klipstream_queueing.order import Rank
from klipstream_queueing.outlook import Basis

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TEN_MINUTES = [{"type": "", "buckets": {"67": 20}}]  # 1.1 to the power of 67 is 593 seconds


def make(queue_spec: dict[str, Any], queue_status: dict[str, Any], waiting: int) -> tuple[Cache, Forecasts]:
    cache = Cache(lambda: NOW)
    template = {"spec": {"containers": [{"name": "worker", "image": "none"}]}}
    cache.put_queue({
        "metadata": {"name": "default", "namespace": "n", "uid": "q", "resourceVersion": "1"},
        "spec": {"workerTemplate": template} | queue_spec, "status": queue_status,
    })  # fmt: skip
    for number in range(waiting):
        cache.put_job({
            "metadata": {"name": f"j{number}", "namespace": "n", "uid": f"j{number}",
                         "resourceVersion": str(number + 2)},
            "spec": {"videoUrl": "https://example.com/v"},
        })  # fmt: skip
    return cache, Forecasts(cache, lambda: NOW)


def starts(queue_spec: dict[str, Any], queue_status: dict[str, Any], waiting: int) -> list[float | None]:
    cache, forecasts = make(queue_spec, queue_status, waiting)
    found = [forecasts.of(cache.jobs[f"j{number}"]) for number in range(waiting)]
    return [None if each is None or each.start_p50_seconds is None else round(each.start_p50_seconds) for each in found]


@pytest.mark.parametrize(
    ("spec", "status", "expected"),
    [
        ({"maxConcurrentJobs": 1}, {"runTimes": TEN_MINUTES}, [0, 593, 1187]),
        ({"maxConcurrentJobs": 2}, {"runTimes": TEN_MINUTES}, [0, 0, 593]),
        ({"maxConcurrentJobs": 0}, {"runTimes": TEN_MINUTES}, [None, None, None]),
        ({"maxConcurrentJobs": 3, "mode": "Paused"}, {"runTimes": TEN_MINUTES}, [None, None, None]),
        ({"maxConcurrentJobs": 1, "timeoutSeconds": 100}, {}, [0, 100, 200]),
        ({"maxConcurrentJobs": 1, "timeoutSeconds": 100}, {"runTimes": TEN_MINUTES}, [0, 100, 200]),
    ],
)
def test_jobs_start_as_slots_get_free(spec, status, expected):
    assert starts(spec, status, 3) == expected


@pytest.mark.parametrize(
    ("run_times", "basis", "samples"),
    [
        ([], Basis.TIMEOUT, 0),
        ([{"type": "", "buckets": {"10": 4}}], Basis.FEW_RUNS, 4),
        ([{"type": "other", "buckets": {"10": 40}}], Basis.FEW_RUNS, 40),
        ([{"type": "", "buckets": {"10": 5}}], Basis.HISTORY, 5),
    ],
)
def test_an_estimate_says_what_it_rests_on(run_times, basis, samples):
    cache, forecasts = make({}, {"runTimes": run_times}, 1)
    outlook = forecasts.of(cache.jobs["j0"])
    assert outlook is not None
    assert (outlook.basis, outlook.runs) == (basis, samples)


def test_another_priority_is_told_without_changing_anything():
    cache, forecasts = make({"maxConcurrentJobs": 1}, {"runTimes": TEN_MINUTES}, 5)
    last = cache.jobs["j4"]
    would = forecasts.of(last, Priority.HIGH)
    now = forecasts.of(last)
    later = forecasts.of(last, Priority.LOW)
    assert would is not None
    assert now is not None
    assert later is not None
    assert (later.position, later.start_p50_seconds) == (5, now.start_p50_seconds)
    assert (would.position, would.start_p50_seconds) == (1, 0.0)
    assert now.position == 5


def put_job(cache: Cache, name: str, version: int, **spec: Any) -> None:
    cache.put_job({
        "metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": str(version)},
        "spec": {"videoUrl": "https://example.com/v"} | spec,
    })  # fmt: skip


def test_a_new_job_of_normal_priority_does_not_wait_for_those_of_low_priority():
    cache, forecasts = make({"maxConcurrentJobs": 1}, {"runTimes": TEN_MINUTES}, 2)
    for number in range(7):
        put_job(cache, f"low{number}", 100 + number, priority="LOW")
    wait = forecasts.next_wait_seconds(cache.queues["default"])
    assert wait == pytest.approx(2 * 593, abs=2)


def test_a_job_that_has_a_slot_already_is_ahead_of_nobody():
    status = {"runTimes": TEN_MINUTES, "admitted": [{"uid": "j0", "attempt": 1, "name": "j0"}]}
    cache, forecasts = make({"maxConcurrentJobs": 1}, status, 3)
    found = [forecasts.of(cache.jobs[f"j{number}"]) for number in range(3)]
    assert [each.position for each in found if each is not None] == [None, 1, 2]
    starts = [round(each.start_p50_seconds or 0) for each in found if each is not None]
    assert starts == [0, 593, 1187]
    last = forecasts.of(cache.jobs["j2"], Priority.HIGH)
    assert last is not None
    assert last.position == 1
    wait = forecasts.next_wait_seconds(cache.queues["default"])
    assert wait == pytest.approx(3 * 593, abs=2)


@pytest.mark.parametrize("priority", list(Priority))
def test_the_place_at_another_priority_leaves_out_those_that_have_a_slot(priority):
    status = {"admitted": [{"uid": uid, "attempt": 1, "name": uid} for uid in ("j1", "low0", "high0")]}
    cache, forecasts = make({"maxConcurrentJobs": 3}, status, 4)
    for number in range(2):
        put_job(cache, f"low{number}", 100 + number, priority="LOW")
        put_job(cache, f"high{number}", 200 + number, priority="HIGH")
    waiting = [rank for rank in cache.line("default").ranks if rank.uid not in ("j1", "low0", "high0")]
    for rank in waiting:
        would = Rank(-priority.value_number, rank.sequence, rank.uid)
        expected = 1 + sum(other < would for other in waiting if other.uid != rank.uid)
        found = forecasts.of(cache.jobs[rank.uid], priority)
        assert found is not None
        assert found.position == expected, (rank, priority)


RESERVED = {"maxConcurrentJobs": 2, "reservedSlots": {"URGENT": 1}}


def test_a_slot_that_is_reserved_for_urgent_jobs_is_waited_for_by_no_other():
    assert starts(RESERVED, {"runTimes": TEN_MINUTES}, 3) == [0, 593, 1187]
    cache, forecasts = make(RESERVED, {"runTimes": TEN_MINUTES}, 3)
    found = [forecasts.of(cache.jobs["j2"], priority) for priority in Priority]
    assert [(each.position, round(each.start_p50_seconds or 0)) for each in found if each is not None] == [
        (1, 0), (1, 0), (3, 1187), (3, 1780),
    ], "moved down it counts itself as ahead"  # fmt: skip
    assert forecasts.next_wait_seconds(cache.queues["default"]) == pytest.approx(3 * 593, abs=2)


def test_where_all_slots_are_reserved_for_others_no_start_is_promised():
    assert starts(RESERVED | {"maxConcurrentJobs": 1}, {"runTimes": TEN_MINUTES}, 2) == [None, None]


def test_a_line_keeps_order_through_any_changes():
    chance = random.Random(7)
    line, known = Line(), {}
    for number in range(2000):
        uid = f"u{chance.randrange(60)}"
        if chance.random() < 0.4:
            line.remove(uid)
            known.pop(uid, None)
        else:
            known[uid] = Rank(-chance.randrange(1, 5), number, uid)
            line.put(known[uid])
        order = sorted(known.values())
        assert list(line.ranks) == order
        if uid in known:
            assert line.position(uid) == order.index(known[uid]) + 1
            moved = Rank(-4, known[uid].sequence, uid)
            assert line.position_of(moved) == sorted([*(r for r in order if r.uid != uid), moved]).index(moved) + 1
