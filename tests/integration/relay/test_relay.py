"""The relay as a process, with a real API server and real receivers: what is announced, to whom, in which order."""

import asyncio
import base64
import itertools
import json

from standardwebhooks import Webhook

from klipstream_kube import SECRETS
from klipwebhook.certificate import make_certificate
from klipwebhook.statuses import ANALYSIS_QUEUES, make_queue

WHSEC = "whsec_" + base64.b64encode(b"k" * 32).decode()


async def test_a_job_s_life_is_announced_in_order_and_acknowledged(make_stage) -> None:
    stage = await make_stage({"good": "ok"})
    await make_queue(stage.client, stage.namespace, "default", stage.endpoint("good"))
    job = stage.job("a")
    await job.submit(videoId="v1")
    await job.accept()
    await job.start()
    await job.progress(10, "Downloading")
    await job.retry()
    await job.start()
    await job.progress(50, "Analyzing")
    await stage.until(
        lambda: stage.receivers.types("good").count("job.started") == 2, "the second attempt is announced"
    )
    await stage.until(lambda: stage.receivers.types("good")[-1] == "job.progress", "and its progress")
    await job.finish()
    await stage.until(lambda: "job.succeeded" in stage.receivers.types("good"), "the end is announced")
    expected = ["job.queued", "job.started", "job.retrying", "job.started", "job.progress", "job.succeeded"]
    found = stage.receivers.received("good")
    assert [each.type for each in found if each.type != "job.progress" or each.body["attempt"] == 2] == expected
    assert [each.body["sequence"] for each in found] == sorted({each.body["sequence"] for each in found})
    assert len({each.id for each in found}) == len(found)
    assert found[-1].body | {"sequence": 0, "timestamp": ""} == {
        "type": "job.succeeded", "job_id": job.uid, "video_id": "v1", "status": "completed", "attempt": 2,
        "progress": {"percentage": 100.0, "current_stage": "Completed", "estimated_completion_seconds": None},
        "sequence": 0, "timestamp": "",
    }  # fmt: skip
    status = await stage.announced(job)
    assert status["announcedAt"] >= status["finishedAt"]


async def test_a_callback_is_told_what_it_asked_for_signed_and_by_https(make_stage, tmp_path) -> None:
    certificate = make_certificate(tmp_path)
    stage = await make_stage(
        {"own": "ok"}, certificate=certificate, KLIPSTREAM_CA_FILE=str(certificate), KLIPSTREAM_PROGRESS_SECONDS="1"
    )
    labels = {"analysis.klipstream.io/callback": "true"}
    allowed = {"analysis.klipstream.io/allowed-hosts": "127.0.0.1"}
    secret = {
        "apiVersion": "v1", "kind": "Secret", "stringData": {"signing": WHSEC, "token": "t0ken"},
        "metadata": {"name": "hook", "labels": labels, "annotations": allowed},
    }  # fmt: skip
    await stage.client.create(SECRETS, secret, stage.namespace)
    job = stage.job("a")
    await job.submit(callback={
        "url": stage.receivers.url("own"), "events": ["job.succeeded", "job.progress"],
        "secretRef": {"name": "hook", "key": "signing"}, "tokenRef": {"name": "hook", "key": "token"},
    })  # fmt: skip
    await job.accept()
    await job.start()
    await job.progress(10, "Downloading")
    await stage.until(lambda: len(stage.receivers.types("own")) >= 3, "it is said again though nothing changed")
    await job.finish()
    await stage.announced(job)
    found = stage.receivers.received("own")
    assert {each.type for each in found} == {"job.progress", "job.succeeded"}
    for each in found:
        assert Webhook(WHSEC).verify(each.raw, {name.lower(): value for name, value in each.headers.items()})
        assert each.headers["Authorization"] == "Bearer t0ken"


async def test_a_stage_is_announced_at_once_and_percentages_at_the_interval(make_stage) -> None:
    stage = await make_stage({"good": "ok"}, KLIPSTREAM_PROGRESS_SECONDS="600")
    await make_queue(stage.client, stage.namespace, "default", stage.endpoint("good", "job.progress"))
    job = stage.job("a")
    await job.submit()
    await job.accept()
    await job.start()
    stages = [(1, "Downloading"), (20, "Transcribing"), (40, "Analyzing")]
    for number, (percentage, name) in enumerate(stages, 1):
        await job.progress(percentage, name)
        await stage.until(lambda number=number: len(stage.receivers.types("good")) == number, f"{name} is announced")
        await job.progress(percentage + 1, name)
    await job.finish()
    await stage.announced(job)
    seen = [(each.body["progress"]["percentage"], each.body["progress"]["current_stage"])
            for each in stage.receivers.received("good")]  # fmt: skip
    assert seen == stages


async def test_a_replay_is_announced_as_another_life(make_stage) -> None:
    stage = await make_stage({"good": "ok"})
    await make_queue(stage.client, stage.namespace, "default", stage.endpoint("good"))
    job = stage.job("a")
    await job.submit()
    await job.accept()
    await job.start()
    await job.finish("Failed")
    await stage.announced(job)
    await job.replay(1)
    await job.start()
    await job.finish()
    status = await stage.announced(job)
    assert status["observedReplay"] == 1
    found = stage.receivers.received("good")
    assert [each.type for each in found] == [
        "job.queued", "job.started", "job.failed", "job.queued", "job.started", "job.succeeded"
    ]  # fmt: skip
    assert len({each.id for each in found}) == 6


async def test_a_deleted_job_is_announced_if_it_was_not_finished(make_stage) -> None:
    stage = await make_stage({"good": "ok"})
    await make_queue(stage.client, stage.namespace, "default", stage.endpoint("good"))
    gone, finished = stage.job("gone"), stage.job("finished")
    for job in (gone, finished):
        await job.submit()
        await job.accept()
    await finished.finish("Cancelled")
    await stage.announced(finished)
    await finished.delete()
    await gone.delete()
    await stage.until(lambda: "job.deleted" in stage.receivers.types("good"), "the deletion is announced")
    await asyncio.sleep(0.5)
    deleted = [each.body for each in stage.receivers.received("good") if each.type == "job.deleted"]
    assert [(each["job_id"], each["status"]) for each in deleted] == [(gone.uid, "deleted")]


async def test_a_delivery_is_tried_three_times_then_listed_and_redelivered_with_its_id(make_stage) -> None:
    stage = await make_stage({"bad": "status:500"}, KLIPSTREAM_CIRCUIT_FAILURES="100")
    await make_queue(stage.client, stage.namespace, "default", stage.endpoint("bad", "job.cancelled"))
    job = stage.job("a")
    await job.submit()
    await job.accept()
    await job.finish("Cancelled")
    await stage.announced(job)
    tries = stage.receivers.received("bad")
    assert [each.code for each in tries] == [500, 500, 500]
    assert len({each.id for each in tries}) == 1
    first, second = (later.came - earlier.came for earlier, later in itertools.pairwise(tries))
    assert first >= 0.1, "the first delay, less jitter"
    assert second >= 0.4, "four times as long"
    (dead,) = stage.relay.deliveries("--state", "dead")
    assert (dead["id"], dead["tries"], dead["code"], dead["reason"]) == (tries[0].id, 3, 500, "ServerError")
    assert dead["id"] in stage.relay.command("list").stdout
    stage.receivers.behave("bad", "ok")
    assert "1 deliveries" in stage.relay.command("redeliver", dead["id"]).stdout
    await stage.until(lambda: stage.receivers.types("bad") == ["job.cancelled"], "it is sent again")
    assert stage.receivers.received("bad")[-1].id == dead["id"]
    assert stage.receivers.received("bad")[-1].raw == tries[0].raw
    assert stage.relay.command("redeliver", "--dead").returncode == 1, "nothing is left"


async def test_retry_after_is_honoured_and_410_ends_it(make_stage) -> None:
    stage = await make_stage({"busy": "later:2", "gone": "status:410", "moved": "status:302"})
    names = ("busy", "gone", "moved")
    endpoints = [stage.endpoint(name, "job.queued", "job.cancelled") for name in names]
    await make_queue(stage.client, stage.namespace, "default", *endpoints)
    job = stage.job("a")
    await job.submit()
    await job.accept()
    await stage.until(lambda: stage.receivers.types("busy") == ["job.queued"], "it is taken the second time")
    refused, taken = stage.receivers.received("busy")
    assert taken.came - refused.came >= 2.0
    await job.finish("Cancelled")
    await stage.announced(job)
    assert len(stage.receivers.received("gone")) == 1, "nothing is sent to who wants no more"
    assert {(each["event"], each["reason"]) for each in stage.relay.deliveries("--state", "dead") if
            each["endpoint"].endswith("/gone")} == {("job.queued", "Gone"), ("job.cancelled", "Gone")}  # fmt: skip
    assert [each.code for each in stage.receivers.received("moved")[:3]] == [302] * 3, "a redirect is a failure"


async def test_the_end_waits_for_an_earlier_event_that_is_tried_again(make_stage) -> None:
    stage = await make_stage({"late": "fail:2", "never": "status:500"}, KLIPSTREAM_CIRCUIT_FAILURES="100")
    endpoints = [stage.endpoint(name, "job.queued", "job.cancelled") for name in ("late", "never")]
    await make_queue(stage.client, stage.namespace, "default", *endpoints)
    job = stage.job("a")
    await job.submit()
    await job.accept()
    await job.finish("Cancelled")
    await stage.announced(job)
    assert stage.receivers.types("late") == ["job.queued", "job.cancelled"]
    tried = [each.type for each in stage.receivers.received("never")]
    assert tried == ["job.queued"] * 3 + ["job.cancelled"] * 3, "or until that one is given up"


async def test_newer_progress_supersedes_what_could_not_be_delivered(make_stage) -> None:
    stage = await make_stage({"down": "status:503"}, KLIPSTREAM_CIRCUIT_FAILURES="1", KLIPSTREAM_CIRCUIT_SECONDS="2",
                             KLIPSTREAM_PROGRESS_SECONDS="1")  # fmt: skip
    endpoint = stage.endpoint("down", "job.progress", "job.succeeded")
    await make_queue(stage.client, stage.namespace, "default", endpoint)
    job = stage.job("a")
    await job.submit()
    await job.accept()
    await job.start()
    for number in range(10):
        await job.progress(number, f"Stage {number}")
        await asyncio.sleep(0.05)
    await stage.until(lambda: "is taken to be down" in stage.relay.said(), "its circuit opened")
    pending = stage.relay.deliveries("--state", "pending")
    assert len(pending) <= 2
    assert pending[0]["body"]["progress"]["current_stage"] == "Stage 9"
    await job.finish()
    stage.receivers.behave("down", "ok")
    await stage.announced(job)
    assert "job.succeeded" in stage.receivers.types("down")
    assert len(stage.receivers.types("down")) <= 2


async def test_one_endpoint_that_hangs_delays_no_other(make_stage) -> None:
    stage = await make_stage({"hangs": "hang", "good": "ok"}, KLIPSTREAM_TIMEOUT_SECONDS="60")
    await make_queue(stage.client, stage.namespace, "default", stage.endpoint("hangs"), stage.endpoint("good"))
    jobs = [stage.job(f"job-{number}") for number in range(20)]
    for job in jobs:
        await job.submit()
        await job.accept()
    await stage.until(lambda: len(stage.receivers.types("good")) == 20, "all came")
    hanging = [each for each in stage.relay.deliveries("--state", "pending") if each["endpoint"].endswith("hangs")]
    assert len(hanging) == 20


async def test_a_failing_probe_uses_up_no_try(make_stage) -> None:
    stage = await make_stage({"down": "status:503"}, KLIPSTREAM_CIRCUIT_FAILURES="2", KLIPSTREAM_ATTEMPTS="3",
                             KLIPSTREAM_CIRCUIT_AT_MOST_SECONDS="0.5")  # fmt: skip
    await make_queue(stage.client, stage.namespace, "default", stage.endpoint("down", "job.queued"))
    jobs = [stage.job(f"job-{number}") for number in range(3)]
    for job in jobs:
        await job.submit()
        await job.accept()
    await stage.until(lambda: len(stage.receivers.received("down")) >= 8, "it is probed")
    assert stage.relay.deliveries("--state", "dead") == []
    stage.receivers.behave("down", "ok")
    await stage.until(lambda: len(stage.receivers.types("down")) == 3, "nothing is lost")


async def test_what_is_undelivered_for_too_long_is_given_up_even_while_the_circuit_is_open(make_stage) -> None:
    stage = await make_stage({"down": "status:503"}, KLIPSTREAM_CIRCUIT_FAILURES="1", KLIPSTREAM_CIRCUIT_SECONDS="600",
                             KLIPSTREAM_CIRCUIT_AT_MOST_SECONDS="600", KLIPSTREAM_GIVE_UP_SECONDS="3")  # fmt: skip
    await make_queue(stage.client, stage.namespace, "default", stage.endpoint("down", "job.cancelled"))
    job = stage.job("a")
    await job.submit()
    await job.accept()
    await job.finish("Cancelled")
    await stage.announced(job)
    (dead,) = stage.relay.deliveries("--state", "dead")
    assert dead["reason"] == "Expired"


async def test_an_endpoint_that_is_removed_gets_nothing_more(make_stage) -> None:
    stage = await make_stage({"old": "status:503"}, KLIPSTREAM_CIRCUIT_FAILURES="1", KLIPSTREAM_CIRCUIT_SECONDS="10",
                             KLIPSTREAM_CIRCUIT_AT_MOST_SECONDS="10")  # fmt: skip
    await make_queue(stage.client, stage.namespace, "default", stage.endpoint("old", "job.cancelled"))
    job = stage.job("a")
    await job.submit()
    await job.accept()
    await job.finish("Cancelled")
    await stage.until(lambda: stage.receivers.received("old"), "it was tried")
    await stage.client.patch(ANALYSIS_QUEUES, "default", stage.namespace, {"spec": {"endpoints": []}})
    stage.receivers.behave("old", "ok")
    await stage.announced(job)
    assert stage.receivers.types("old") == []
    assert [each["reason"] for each in stage.relay.deliveries("--state", "dead")] == ["EndpointRemoved"]


async def test_an_endpoint_that_is_added_is_told_from_then_on(make_stage) -> None:
    stage = await make_stage({"first": "ok", "second": "ok"}, started=False)
    await make_queue(stage.client, stage.namespace, "default", stage.endpoint("first"))
    old = stage.job("old")
    await old.submit()
    await old.write(phase="Queued", queueName="default", queuedAt="2026-01-02T03:04:05Z", sequence=1)
    await stage.start_relay()
    await stage.until(lambda: stage.receivers.types("first") == ["job.queued"], "a new ledger begins with all there is")
    await stage.until(lambda: stage.is_current(), "everything was seen")
    both = [stage.endpoint("first"), stage.endpoint("second")]
    await stage.client.patch(ANALYSIS_QUEUES, "default", stage.namespace, {"spec": {"endpoints": both}})
    for number in itertools.count():  # queues and jobs come by two watches
        fresh = stage.job(f"fresh-{number}")
        await fresh.submit()
        await fresh.accept()
        await asyncio.sleep(0.5)
        if stage.receivers.types("second"):
            break
    await old.finish("Cancelled")
    await stage.announced(old)
    told = {name: [each.type for each in stage.receivers.received(name) if each.body["job_id"] == old.uid]
            for name in ("first", "second")}  # fmt: skip
    assert told == {"first": ["job.queued", "job.cancelled"], "second": ["job.cancelled"]}


async def test_verify_sends_a_test_event_and_says_what_came_of_it(make_stage) -> None:
    stage = await make_stage({"good": "ok", "bad": "status:500"}, started=False)
    endpoints = [stage.endpoint("good"), stage.endpoint("bad"), {"name": "inside", "url": "https://10.0.0.1/hook"}]
    await make_queue(stage.client, stage.namespace, "default", *endpoints)
    arrived = stage.relay.command("verify", f"{stage.namespace}/default/good")
    assert (arrived.returncode, arrived.stdout.startswith("arrived: ")) == (0, True)
    assert stage.receivers.received("good")[0].body["job_id"] == "relay-verify"
    for name, why in (("bad", "ServerError"), ("inside", "Refused")):
        failed = stage.relay.command("verify", f"{stage.namespace}/default/{name}")
        assert failed.returncode == 1
        assert why in failed.stdout
    unknown = stage.relay.command("verify", f"{stage.namespace}/default/other")
    assert unknown.returncode == 2
    assert "it has: good, bad, inside" in unknown.stderr


async def test_what_it_does_can_be_scraped_and_probed(make_stage) -> None:
    stage = await make_stage({"good": "ok"})
    await make_queue(stage.client, stage.namespace, "default", stage.endpoint("good"))
    job = stage.job("a")
    await job.submit()
    await job.accept()
    await stage.until(lambda: stage.receivers.types("good"), "it is delivered")
    delivered = 'klipstream_relay_deliveries_total{event="job.queued",state="delivered"} 1.0'
    await stage.until(lambda: delivered in (stage.relay.answer("/metrics") or ""), "it is counted")
    for line in ("klipstream_relay_leading 1.0", "klipstream_relay_pending 0.0", "klipstream_relay_dead_letters 0.0"):
        await stage.until(lambda line=line: line in (stage.relay.answer("/metrics") or ""), line)
    assert json.loads(stage.relay.answer("/healthz")) == {"live": True, "problems": []}
    assert stage.relay.stop() == 0
