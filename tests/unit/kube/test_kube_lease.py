"""When a holder must stop acting, and when a candidate may begin. The clock is the test's own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from klipstream_kube import LeaseElector, LeaseLost

COLLECTION = "/apis/coordination.k8s.io/v1/namespaces/ns/leases"
ITEM = COLLECTION + "/leader"


class Clock:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def lease(holder: str | None, version: int, transitions: int = 0, duration: int = 15) -> dict[str, Any]:
    spec = {"holderIdentity": holder, "leaseTransitions": transitions, "leaseDurationSeconds": duration}
    return {"metadata": {"name": "leader", "resourceVersion": str(version)}, "spec": spec}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def elector(client, clock) -> LeaseElector:
    return LeaseElector(
        client,
        name="leader",
        namespace="ns",
        identity="us",
        renew_seconds=0.01,
        retry_seconds=0.01,
        monotonic=clock,
        log=logging.getLogger("lease"),
    )


async def hold_until(
    elector: LeaseElector, server, *, patches: int, at_the_end: Callable[[], None] = lambda: None
) -> None:
    task = asyncio.create_task(elector.hold())
    while len(server.sent("PATCH")) < patches and not task.done():
        await asyncio.sleep(0.005)
    if task.done():
        await task
    at_the_end()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_who_finds_no_lease_creates_it(server, elector, clock) -> None:
    server.on("GET", ITEM, server.refuse(404, "NotFound"))
    server.on("POST", COLLECTION, server.answer(lease("us", 5)))
    await elector.acquire()
    assert elector.deadline() == clock.seconds + 12.0
    spec = server.sent("POST")[0].body["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"]) == ("us", 15)


async def test_of_two_who_create_it_the_second_waits(server, elector, clock) -> None:
    server.on("GET", ITEM, server.refuse(404, "NotFound"), server.answer(lease("them", 5)))
    server.on("POST", COLLECTION, server.refuse(409, "AlreadyExists"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await elector.acquire()
    assert server.sent("PATCH") == []
    with pytest.raises(LeaseLost):
        elector.check()


async def test_a_lease_is_free_only_after_it_was_seen_unchanged_for_as_long_as_was_promised(
    server, elector, clock
) -> None:
    """Its renewTime is another clock's and counts for nothing."""
    old = lease("them", 5, transitions=3, duration=20)
    old["spec"]["renewTime"] = "2001-01-01T00:00:00.000000Z"
    server.on("GET", ITEM, server.answer(old))
    server.on("PATCH", ITEM, server.answer(lease("us", 6, transitions=4)))
    acquiring = asyncio.create_task(elector.acquire())
    while len(server.sent("GET")) < 3:
        await asyncio.sleep(0.005)
    clock.seconds += 19.9
    seen = len(server.sent("GET"))
    while len(server.sent("GET")) < seen + 3:
        await asyncio.sleep(0.005)
    assert server.sent("PATCH") == []
    clock.seconds += 0.2
    await acquiring
    (sent,) = server.sent("PATCH")
    assert sent.body["metadata"]["resourceVersion"] == "5"
    assert sent.body["spec"]["leaseTransitions"] == elector.transitions == 4


async def test_every_renewal_seen_begins_the_wait_anew(server, elector, clock) -> None:
    version = 5

    async def renewed(request):
        nonlocal version
        version, clock.seconds = version + 1, clock.seconds + 14.0
        return await server.answer(lease("them", version))(request)

    server.on("GET", ITEM, renewed)
    acquiring = asyncio.create_task(elector.acquire())
    while version <= 8:
        await asyncio.sleep(0.005)
    assert not acquiring.done()
    acquiring.cancel()
    assert server.sent("PATCH") == []


async def test_a_released_lease_is_taken_at_once(server, elector) -> None:
    server.on("GET", ITEM, server.answer(lease(None, 5)))
    server.on("PATCH", ITEM, server.answer(lease("us", 6, 1)))
    await elector.acquire()
    elector.check()


async def test_the_loser_of_a_race_goes_on_waiting(server, elector) -> None:
    server.on("GET", ITEM, server.answer(lease(None, 5)), server.answer(lease("them", 6)))
    server.on("PATCH", ITEM, server.refuse(409, "Conflict"))
    acquiring = asyncio.create_task(elector.acquire())
    while len(server.sent("GET")) < 4:
        await asyncio.sleep(0.005)
    assert not acquiring.done()
    acquiring.cancel()
    assert len(server.sent("PATCH")) == 1


@pytest.fixture
async def held(server, elector) -> LeaseElector:
    server.on("GET", ITEM, server.answer(lease(None, 5)))
    server.on("PATCH", ITEM, server.answer(lease("us", 6, 1)))
    await elector.acquire()
    server.received.clear()
    server.script.clear()
    return elector


async def test_a_renewal_counts_from_its_sending_not_from_its_answer(server, held, clock) -> None:
    async def slow(request):
        clock.seconds += 5.0
        return await server.answer(lease("us", 7, 1))(request)

    deadlines: list[float] = []
    server.on("PATCH", ITEM, slow, server.stream(then="silent"))
    clock.seconds += 1.0
    sent_at = clock.seconds
    await hold_until(held, server, patches=2, at_the_end=lambda: deadlines.append(held.deadline()))
    assert deadlines == [sent_at + 12.0]


async def test_a_lease_taken_by_another_is_lost_at_once(server, held) -> None:
    server.on("PATCH", ITEM, server.refuse(409, "Conflict"))
    server.on("GET", ITEM, server.answer(lease("them", 9, 2)))
    with pytest.raises(LeaseLost, match="taken by them"):
        await held.hold()
    with pytest.raises(LeaseLost):
        held.check()


async def test_a_lease_that_came_back_to_our_name_meanwhile_is_lost_too(server, held) -> None:
    server.on("PATCH", ITEM, server.refuse(409, "Conflict"))
    server.on("GET", ITEM, server.answer(lease("us", 9, 3)))
    with pytest.raises(LeaseLost):
        await held.hold()


async def test_a_deleted_lease_is_lost(server, held) -> None:
    server.on("PATCH", ITEM, server.refuse(404, "NotFound"))
    with pytest.raises(LeaseLost, match="deleted"):
        await held.hold()


async def test_a_lost_answer_is_looked_up_and_the_lease_kept(server, held) -> None:
    server.on("PATCH", ITEM, server.drop(), server.answer(lease("us", 8, 1)))
    server.on("GET", ITEM, server.answer(lease("us", 7, 1)))
    await hold_until(held, server, patches=3)
    versions = [each.body["metadata"]["resourceVersion"] for each in server.sent("PATCH")]
    assert versions == ["6", "7", "8"]


async def test_who_cannot_renew_before_the_deadline_stops(server, held, clock) -> None:
    async def refused(request):
        clock.seconds += 1.0
        return await server.refuse(500)(request)

    server.on("PATCH", ITEM, refused)
    server.on("GET", ITEM, server.answer(lease("us", 6, 1)))
    with pytest.raises(LeaseLost, match="not renewed in time"):
        await held.hold()
    assert len(server.sent("PATCH")) == 12


async def test_a_process_frozen_past_its_deadline_acts_no_more(held, clock) -> None:
    held.check()
    clock.seconds += 11.9
    held.check()
    clock.seconds += 0.2
    with pytest.raises(LeaseLost):
        held.check()
    with pytest.raises(LeaseLost):
        await held.hold()


async def test_a_release_empties_the_holder_and_is_guarded(server, held) -> None:
    server.on("PATCH", ITEM, server.answer(lease(None, 7, 1)))
    await held.release()
    (sent,) = server.sent("PATCH")
    assert sent.body["spec"]["holderIdentity"] is None
    assert sent.body["metadata"]["resourceVersion"] == "6"
    with pytest.raises(LeaseLost):
        held.check()
    await held.release()
    assert len(server.sent("PATCH")) == 1


async def test_who_does_not_hold_it_releases_nothing(server, elector) -> None:
    await elector.release()
    assert server.received == []


async def test_who_ends_before_the_answer_to_its_try_gives_back_what_it_may_have_taken(server, elector) -> None:
    taken = asyncio.Event()

    async def never(_: Any) -> Any:
        taken.set()
        await asyncio.sleep(3600)

    server.on("GET", ITEM, server.answer(lease(None, 7, transitions=3)), server.answer(lease("us", 8, transitions=4)))
    server.on("PATCH", ITEM, never, server.answer(lease(None, 9)))
    trying = asyncio.create_task(elector.acquire())
    await taken.wait()
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)
    await elector.release()
    release = server.sent("PATCH")[-1].body
    assert release["spec"]["holderIdentity"] is None
    assert release["metadata"]["resourceVersion"] == "8"


async def test_who_ends_while_another_holds_it_leaves_it_alone(server, elector) -> None:
    server.on("GET", ITEM, server.answer(lease(None, 7)), server.answer(lease("them", 8, transitions=1)))
    server.on("PATCH", ITEM, server.refuse(409, "Conflict"))
    trying = asyncio.create_task(elector.acquire())
    while not server.sent("PATCH"):
        await asyncio.sleep(0.005)
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)
    await elector.release()
    assert len(server.sent("PATCH")) == 1


async def test_a_candidate_looks_again_when_the_lease_runs_out_and_not_later(server, client, clock) -> None:
    candidate = LeaseElector(
        client, name="leader", namespace="ns", identity="us", lease_seconds=15, renew_seconds=5, retry_seconds=6,
        monotonic=clock, log=logging.getLogger("lease"),
    )  # fmt: skip
    server.on("GET", ITEM, server.answer(lease("them", 7, duration=1)))
    server.on("PATCH", ITEM, server.answer(lease("us", 8)))
    trying = asyncio.create_task(candidate.acquire())
    while candidate._observed_version is None:  # the answer is there
        await asyncio.sleep(0.005)
    clock.seconds += 1.0
    async with asyncio.timeout(4):  # its retries are six seconds apart
        await trying


async def test_times_that_leave_no_room_for_a_retry_are_refused(client) -> None:
    with pytest.raises(ValueError, match="lease_seconds"):
        LeaseElector(client, name="n", namespace="ns", identity="us", lease_seconds=6, log=logging.getLogger("lease"))


# --- taking it early ---------------------------------------------------------------------------------------------


def released(client: Any, seconds_ago: float, holder: str | None = None) -> dict[str, Any]:
    found = lease(holder, 5)
    moment = client.now() - timedelta(seconds=seconds_ago)
    found["spec"]["renewTime"] = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return found


@pytest.mark.parametrize(
    ("rule", "seconds_ago", "holder", "expected"),
    [
        ("released long ago: nobody wants it", 60.0, None, True),
        ("held by another", 60.0, "them", False),
        ("held under this very name, by a process of before: its standby is to have it", 60.0, "us", False),
    ],
)
async def test_a_lease_is_abandoned_that_nobody_holds_and_nobody_waits_for(
    server, client, elector, rule: str, seconds_ago: float, holder: str | None, expected: bool
) -> None:
    server.on("GET", ITEM, server.answer(released(client, seconds_ago, holder)))
    assert await elector.is_abandoned(0.5) == expected, rule
    assert len(server.sent("GET")) == 1
    assert not server.sent("PATCH")


async def test_a_lease_that_was_never_taken_is_abandoned(server, elector) -> None:
    server.on("GET", ITEM, server.refuse(404, "NotFound"))
    assert await elector.is_abandoned(0.5)
    server.on("GET", ITEM, server.answer(lease(None, 5)))
    assert await elector.is_abandoned(0.5)


@pytest.mark.parametrize(("then", "expected"), [(None, True), ("them", False)])
async def test_a_lease_that_was_released_just_now_is_left_to_those_who_wait_for_it(
    server, client, elector, then: str | None, expected: bool
) -> None:
    server.on("GET", ITEM, server.answer(released(client, -60.0)), server.answer(released(client, 0.1, then)))
    assert await elector.is_abandoned(0.2) == expected
    assert len(server.sent("GET")) == 2


async def test_one_try_takes_a_free_lease_and_leaves_another(server, elector) -> None:
    server.on("GET", ITEM, server.answer(lease("them", 5)), server.answer(lease(None, 6)))
    server.on("PATCH", ITEM, server.answer(lease("us", 7, transitions=1)))
    assert not await elector.take_if_free()
    assert not server.sent("PATCH")
    assert await elector.take_if_free()
    elector.check()
