"""The gateway's picture of the cluster."""

from datetime import UTC, datetime, timedelta
from typing import Any

from klipstream_api import AnalysisJob
from klipstream_gateway.cache import Cache, Change

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TEMPLATE = {"spec": {"containers": [{"name": "worker", "image": "none"}]}}


def queue(name: str, version: int = 1, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "n", "uid": f"q-{name}", "resourceVersion": str(version)},
        "spec": {"workerTemplate": TEMPLATE} | spec,
    }


def job(uid: str, version: int, phase: str = "Queued", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": uid, "namespace": "n", "uid": uid, "resourceVersion": str(version),
                     "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"videoUrl": "https://example.com/v"} | spec,
        "status": {"phase": phase},
    }  # fmt: skip


def make_cache(now: list[datetime] | None = None) -> Cache:
    clock = now or [NOW]
    cache = Cache(lambda: clock[0])
    cache.put_queue(queue("default"))
    return cache


def test_a_job_has_its_place_before_it_is_accepted():
    cache = make_cache()
    cache.put_job(job("a", 10))
    cache.put_job(job("b", 11, priority="HIGH"))
    cache.put_job(job("c", 12))
    assert [cache.line("default").position(uid) for uid in ("b", "a", "c")] == [1, 2, 3]


def test_an_older_version_does_not_replace_a_newer_one():
    cache = make_cache()
    cache.put_job(job("a", 10, priority="LOW"))
    held = cache.put_job(job("a", 9, priority="URGENT"))
    assert held is not None
    assert held.spec.priority == "LOW"


def test_a_late_answer_does_not_bring_a_deleted_job_back():
    cache = make_cache()
    cache.put_job(job("a", 10))
    cache.remove_job(job("a", 12))
    assert cache.put_job(job("a", 11)) is None
    assert cache.by_id("a") is None
    assert len(cache.line("default")) == 0


def test_a_job_that_starts_leaves_the_line():
    cache = make_cache()
    cache.put_job(job("a", 10))
    cache.put_job(job("b", 11))
    cache.put_job(job("a", 12, "Starting"))
    assert cache.line("default").position("a") is None
    assert cache.line("default").position("b") == 1
    assert sum(cache.phases["default"].values()) == 2


def test_a_job_takes_its_place_once_it_is_due():
    clock = [NOW]
    cache = make_cache(clock)
    cache.put_job(job("later", 10, notBefore="2026-01-01T00:01:00Z"))
    assert cache.line("default").position("later") is None
    clock[0] = NOW + timedelta(seconds=61)
    assert cache.line("default").position("later") == 1


def test_each_job_is_put_into_the_line_once_when_it_is_due():
    placed: list[str] = []

    class Counting(Cache):
        def _place(self, job: AnalysisJob, old: AnalysisJob | None) -> None:
            placed.append(job.uid)
            super()._place(job, old)

    clock = [NOW]
    cache = Counting(lambda: clock[0])
    cache.put_queue(queue("default"))
    for number in range(100):
        cache.put_job(job(f"j{number}", 10 + number, notBefore=f"2026-01-01T00:{number % 60:02}:30Z"))
    cache.put_job(job("j0", 200, notBefore="2026-01-01T05:00:00Z"))
    cache.put_job(job("j2", 201, notBefore="2026-01-01T00:02:30Z", priority="HIGH"))
    cache.remove_job(job("j1", 202))
    placed.clear()
    for minute in range(61):
        clock[0] = NOW + timedelta(minutes=minute)
        for _ in range(3):
            cache.line("default")
    assert sorted(placed) == sorted(f"j{number}" for number in range(2, 100))
    assert "j0" not in cache.line("default"), "its first moment counts no more"
    clock[0] = NOW + timedelta(hours=6)
    assert "j0" in cache.line("default")


def test_jobs_that_no_queue_took_are_routed_once_there_is_one():
    cache = Cache(lambda: NOW)
    cache.put_job(job("a", 10, queueName="new"))
    cache.put_job(job("b", 11))
    cache.put_queue(queue("new"))
    assert cache.line("new").position("a") == 1
    assert cache.line("new").position("b") == 2, "the only queue there is takes those that name none"
    assert len(cache.line("default")) == 0


def test_jobs_that_no_queue_took_follow_the_queues_as_these_change():
    cache = make_cache()
    cache.put_queue(queue("gold", 2, accepts={"types": ["gold"]}))
    cache.put_job(job("a", 10, type="gold"))
    cache.put_job(job("b", 11, queueName="gold"))
    assert [cache.line("gold").position(uid) for uid in ("a", "b")] == [1, 2]
    cache.put_queue(queue("gold", 12, accepts={"types": ["silver"]}))
    assert cache.line("default").position("a") == 1
    assert cache.line("gold").position("b") == 1, "it names its queue"
    cache.put_queue(queue("gold", 13, accepts={"types": ["gold"]}))
    assert cache.line("gold").position("a") == 1
    cache.remove_queue(queue("gold", 14))
    assert cache.line("default").position("a") == 1
    assert cache.phases["gold"].total() == 1
    assert cache.phases["default"].total() == 1


def test_what_can_be_read_again_or_is_gone_counts_as_unreadable_no_more():
    cache = make_cache()
    cache.put_job(job("a", 10, priority="SOMEWHAT"))
    cache.put_queue({"metadata": {"name": "x", "uid": "q-x", "resourceVersion": "1"}, "spec": 1})
    cache.put_queue({"metadata": {"name": "y", "uid": "q-y", "resourceVersion": "1"}, "spec": 1})
    assert cache.unreadable == {"a", "q-x", "q-y"}
    cache.put_job(job("a", 11, priority="HIGH"))
    cache.put_queue(queue("x", 2))
    cache.remove_queue({"metadata": {"name": "y", "uid": "q-y", "resourceVersion": "3"}})
    assert cache.unreadable == set()


def test_an_object_that_cannot_be_read_is_left_out():
    cache = make_cache()
    assert cache.put_job(job("a", 10, priority="SOMEWHAT")) is None
    assert cache.put_queue({"metadata": {"name": "x", "uid": "x", "resourceVersion": "1"}, "spec": 1}) is None
    assert cache.unreadable == {"a", "x"}
    cache.put_job(job("b", 11))
    assert cache.line("default").position("b") == 1


def test_listeners_are_told_each_change_once():
    cache = make_cache()
    seen: list[Change] = []
    cache.listeners.append(seen.append)
    cache.put_job(job("a", 10))
    cache.put_job(job("a", 10))
    cache.remove_job(job("a", 11))
    cache.remove_job(job("a", 11))
    assert [(each.version, each.gone) for each in seen] == [(10, False), (11, True)]
