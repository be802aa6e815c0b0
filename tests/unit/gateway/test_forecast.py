"""Positions and estimates, by table."""

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klipstream_api import Priority
from klipstream_gateway.cache import Cache
from klipstream_gateway.forecast import Basis, Forecasts
from klipstream_queueing.estimate import estimate, start_seconds
from klipstream_queueing.line import Line
from klipstream_queueing.order import Rank

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
    assert (outlook.basis, outlook.samples) == (basis, samples)


def test_another_priority_is_told_without_changing_anything():
    cache, forecasts = make({"maxConcurrentJobs": 1}, {"runTimes": TEN_MINUTES}, 5)
    last = cache.jobs["j4"]
    would = forecasts.of(last, Priority.HIGH)
    now = forecasts.of(last)
    assert would is not None
    assert now is not None
    assert (would.position, would.start_p50_seconds) == (1, 0.0)
    assert now.position == 5


@given(
    ahead=st.lists(st.floats(0, 1e4), max_size=40),
    left=st.lists(st.floats(0, 1e4), max_size=6),
    slots=st.integers(1, 5),
)
def test_the_starts_of_all_are_those_of_each(ahead, left, slots):
    found = start_seconds(ahead, left, slots)
    assert found is not None
    for position, start in enumerate(found):
        alone = estimate(ahead[:position], 1.0, left, slots)
        assert alone is not None
        assert start == pytest.approx(alone.start_seconds)


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
