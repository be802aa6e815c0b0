"""Who is handed what, live and after a lost connection."""

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from klipstream_gateway import hub as hubs
from klipstream_gateway.cache import Cache, Change, JobChange
from klipstream_gateway.hub import Hub, Listener

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def job(uid: str, version: int) -> dict[str, Any]:
    return {
        "metadata": {"name": uid, "namespace": "n", "uid": uid, "resourceVersion": str(version)},
        "spec": {"videoUrl": "https://example.com/v"},
    }


def queue(name: str, version: int) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "n", "uid": f"q-{name}", "resourceVersion": str(version)},
        "spec": {"workerTemplate": {"spec": {"containers": [{"name": "worker", "image": "none"}]}}},
    }


def made(reported: int = 0) -> tuple[Cache, Hub]:
    cache = Cache(lambda: NOW)
    hub = Hub(cache)
    hub.watches.append(lambda: reported)
    return cache, hub


def uid_of(change: Change) -> str:
    return change.job.uid if isinstance(change, JobChange) else change.queue.metadata.uid


async def handed(listener: Listener) -> list[tuple[str, bool]]:
    found = []
    while (change := await listener.next(0)) is not None:
        found.append((uid_of(change), change.gone))
    return found


async def test_what_was_removed_and_queues_that_changed_are_told_to_those_who_come_back():
    cache, hub = made()
    cache.put_queue(queue("default", 5))
    cache.put_job(job("a", 10))
    cache.put_job(job("b", 11))
    cache.put_job(job("old", 12))
    cache.remove_job(job("old", 19))
    cache.remove_job(job("a", 21))
    cache.put_queue(queue("default", 22))
    cache.put_job(job("b", 23))
    listener = hub.everything(20)
    assert not listener.anew
    assert await handed(listener) == [("a", True), ("q-default", False), ("b", False)]


async def test_a_change_that_is_reported_late_is_not_lost_with_the_connection():
    """An answer to our own write, of a high version, is sent before the watch reports a lower one."""
    cache, hub = made(reported=100)
    cache.put_job(job("other", 90))
    listener = hub.everything(None)
    cache.put_job(job("own", 120))
    assert await handed(listener) == [("own", False)]
    position = listener.reach(100)
    cache.put_job(job("other", 110))
    assert ("other", False) in await handed(hub.everything(position))


async def test_a_listener_that_is_behind_goes_on_where_it_is():
    cache, hub = made(reported=100)
    listener = hub.everything(None)
    cache.put_job(job("a", 101))
    cache.put_job(job("b", 102))
    await listener.next(0)
    assert listener.reach(102) == 100, "b was not handed on yet"
    await listener.next(0)
    assert listener.reach(102) == 102
    assert listener.reach(0) == 102, "while the watch lists again, what was handed on stays so"


async def test_where_it_cannot_be_told_what_was_removed_everything_is_told_anew():
    cache, hub = made()
    cache.put_job(job("a", 10))
    cache.put_queue(queue("default", 5))
    hub.listed(50)
    listener = hub.everything(49)
    assert listener.anew
    assert await handed(listener) == [("q-default", False), ("a", False)]
    assert not hub.everything(50).anew


async def test_of_many_removals_the_oldest_are_forgotten_and_that_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hubs, "DELETIONS_KEPT", 3)
    cache, hub = made()
    for number in range(5):
        cache.put_job(job(f"j{number}", 10 + number))
        cache.remove_job(job(f"j{number}", 20 + number))
    assert hub.everything(20).anew
    assert await handed(hub.everything(21)) == [("j2", True), ("j3", True), ("j4", True)]


@pytest.mark.parametrize("seed", range(30))
async def test_wherever_a_listener_is_cut_off_it_knows_in_the_end_what_there_is(seed: int):
    """Two watches and answers to own writes, in any order; the listener knows what it was handed, and its position."""
    chance = random.Random(seed)
    cache, hub = made()
    watched = 0
    hub.watches[:] = [lambda: watched]
    truth: dict[str, int] = {}
    log: list[tuple[int, str, bool]] = []
    known: dict[str, int] = {}
    listener, position = hub.everything(None), 0
    for version in range(1, 200):
        uid = f"j{chance.randrange(8)}-{version // 60}"
        if uid in truth and chance.random() < 0.3:
            del truth[uid]
            log.append((version, uid, True))
        else:
            truth[uid] = version
            log.append((version, uid, False))
            if chance.random() < 0.3:
                cache.put_job(job(uid, version))  # the answer to our own write, ahead of the watch
        while log and chance.random() < 0.6:
            watched, seen, gone = log.pop(0)
            (cache.remove_job if gone else cache.put_job)(job(seen, watched))
        while chance.random() < 0.5 and (change := await listener.next(0)) is not None:
            position = listener.reach(watched)
            known.pop(uid_of(change), None) if change.gone else known.update({uid_of(change): change.version})
        if chance.random() < 0.1:
            hub.leave(listener)
            listener = hub.everything(position)
            assert not listener.anew
    for watched, seen, gone in log:
        (cache.remove_job if gone else cache.put_job)(job(seen, watched))
    while (change := await listener.next(0)) is not None:
        known.pop(uid_of(change), None) if change.gone else known.update({uid_of(change): change.version})
    assert known == {uid: each.metadata.resource_version and int(each.metadata.resource_version)
                     for uid, each in cache.jobs.items()}  # fmt: skip
