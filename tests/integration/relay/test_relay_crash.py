"""kill -9, a lost ledger, an absent relay, two relays: every end is announced, with one id."""

import asyncio
from collections import Counter

from klipwebhook.stage import Relay
from klipwebhook.statuses import make_queue

ENDS = {"job.succeeded", "job.failed", "job.cancelled", "job.rejected", "job.deleted"}


async def test_what_happens_while_the_relay_is_dead_is_announced_by_its_successor(make_stage) -> None:
    stage = await make_stage({"good": "ok"})
    await make_queue(stage.client, stage.namespace, "default", stage.endpoint("good"))
    known, new = stage.job("known"), stage.job("new")
    await known.submit()
    await known.accept()
    await stage.until(lambda: stage.receivers.types("good"), "it is known")
    await stage.settled()
    stage.relay.kill()
    await known.start()
    await known.finish("Failed")
    await known.replay(1)
    await known.finish("Cancelled")
    await new.submit()
    await new.accept()
    await new.finish("Cancelled")
    await stage.start_relay()
    await stage.announced(known)
    await stage.announced(new)
    found = {job.name: [each.type for each in stage.receivers.received("good") if each.body["job_id"] == job.uid]
             for job in (known, new)}  # fmt: skip
    assert found == {
        "known": ["job.queued", "job.failed", "job.queued", "job.cancelled"],
        "new": ["job.queued", "job.cancelled"],
    }


async def test_a_job_deleted_while_the_relay_is_dead_is_announced_if_the_ledger_knew_it(make_stage) -> None:
    stage = await make_stage({"good": "ok"})
    await make_queue(stage.client, stage.namespace, "default", stage.endpoint("good"))
    known, unknown = stage.job("known"), stage.job("unknown")
    await known.submit()
    await known.accept()
    await stage.until(lambda: stage.receivers.types("good"), "it is known")
    await stage.settled()
    stage.relay.kill()
    await known.delete()
    await unknown.submit()
    await unknown.accept()
    await unknown.delete()
    await stage.start_relay()
    await stage.until(lambda: "job.deleted" in stage.receivers.types("good"), "the deletion is announced")
    await asyncio.sleep(0.5)
    assert {each.body["job_id"] for each in stage.receivers.received("good")} == {known.uid}


async def test_a_delivery_whose_answer_is_lost_in_a_crash_is_sent_again_with_its_id(make_stage) -> None:
    stage = await make_stage({"slow": "slow:5"})
    await make_queue(stage.client, stage.namespace, "default", stage.endpoint("slow", "job.cancelled"))
    job = stage.job("a")
    await job.submit()
    await job.accept()
    await job.finish("Cancelled")
    await stage.until(lambda: "klipstream_relay_deliveries_on_their_way 1.0" in (stage.relay.answer("/metrics") or ""),
                      "it is on its way")  # fmt: skip
    stage.relay.kill()
    await stage.start_relay()
    await stage.announced(job)
    found = stage.receivers.received("slow")
    assert {each.type for each in found} == {"job.cancelled"}
    assert len({each.id for each in found}) == 1


async def test_a_lost_ledger_is_rebuilt_and_what_was_acknowledged_is_not_sent_again(make_stage) -> None:
    stage = await make_stage({"good": "ok", "down": "status:503"})
    await make_queue(stage.client, stage.namespace, "default", stage.endpoint("good", *ENDS))
    await make_queue(
        stage.client, stage.namespace, "other", stage.endpoint("good", *ENDS), stage.endpoint("down", *ENDS)
    )
    done, open_ = stage.job("done"), stage.job("open", "other")
    for job in (done, open_):
        await job.submit()
        await job.accept()
        await job.finish("Cancelled")
    await stage.announced(done)
    taken, received = stage.receivers.types, stage.receivers.received
    await stage.until(lambda: len(taken("good")) == 2 and received("down"), "both ends came, and one was refused")
    before = received("down")[0].id
    stage.relay.kill()
    for path in stage.relay.ledger.parent.glob("ledger.*"):
        path.unlink()
    stage.receivers.behave("down", "ok")
    await stage.start_relay()
    await stage.announced(open_)
    counts = Counter(each.body["job_id"] for each in stage.receivers.received("good"))
    assert counts == {done.uid: 1, open_.uid: 2}, "again only what was not acknowledged"
    ids = {each.id for each in stage.receivers.received() if each.body["job_id"] == open_.uid}
    assert ids == {before}, "for all endpoints, before and after"


async def test_the_successor_of_a_killed_relay_need_not_wait_for_the_lease(make_stage) -> None:
    stage = await make_stage({"good": "ok"}, KLIPSTREAM_LEASE_SECONDS="600")
    stage.relay.kill()
    await stage.start_relay()  # gives up long before the Lease would run out


async def test_a_circuit_that_was_open_is_probed_first_after_a_crash(make_stage) -> None:
    stage = await make_stage({"down": "status:503"}, KLIPSTREAM_CIRCUIT_FAILURES="3", KLIPSTREAM_ATTEMPTS="2")
    await make_queue(stage.client, stage.namespace, "default", stage.endpoint("down", "job.queued"))
    jobs = [stage.job(f"job-{number}") for number in range(8)]
    for job in jobs:
        await job.submit()
        await job.accept()
    await stage.until(lambda: "is taken to be down" in stage.relay.said(), "it is down")
    dead = len(stage.relay.deliveries("--state", "dead"))
    for _ in range(2):
        stage.relay.kill()
        await stage.start_relay()
        await asyncio.sleep(1)
    assert len(stage.relay.deliveries("--state", "dead")) == dead, "restarts use up no tries"
    stage.receivers.behave("down", "ok")
    await stage.until(lambda: len(stage.receivers.types("down")) == 8 - dead, "the others arrive")


async def test_two_relays_never_announce_at_once(make_stage, control_plane, tmp_path) -> None:
    stage = await make_stage({"good": "ok"})
    await make_queue(stage.client, stage.namespace, "default", stage.endpoint("good"))
    same = Relay(control_plane.kubeconfig, tmp_path, stage.namespace)
    same.start()
    assert same.code() == 2
    assert "another relay works with" in same.said()
    (tmp_path / "other").mkdir()
    other = Relay(control_plane.kubeconfig, tmp_path / "other", stage.namespace)
    other.start()
    try:
        job = stage.job("a")
        await job.submit()
        await job.accept()
        await stage.until(lambda: stage.receivers.types("good"), "it is announced")
        await stage.until(lambda: other.answer("/healthz"), "the other one waits for the Lease")
        assert not other.ready
        assert len(stage.receivers.received("good")) == 1
        stage.relay.kill()
        await stage.until(lambda: other.ready, "it takes over")
        await job.finish("Cancelled")
        await stage.announced(job)
        ids = Counter((each.type, each.id) for each in stage.receivers.received("good"))
        assert sorted(kind for kind, _ in ids) == ["job.cancelled", "job.queued"], "without its ledger, with its ids"
    finally:
        other.kill()
