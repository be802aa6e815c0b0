"""The Convex side against a real API server and a convex-test server: rows equal the cluster, whatever happens."""

import asyncio
import os
import random
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from klipconvex.compare import RESOURCES, differences
from klipconvex.server import APP_SECRET, SECRET, CallFailed, ConvexTestServer
from klipstream_convex.deployment import Away, Deployment, Refused
from klipstream_convex.restore import restore
from klipstream_kube import Client

from .conftest import side

WAIT_SECONDS = 180
JOBS, QUEUES = RESOURCES["job"], RESOURCES["queue"]


async def until(true: Callable[[], Awaitable[bool]], what: str) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await true():
            await asyncio.sleep(0.1)


def job(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "analysis.klipstream.io/v1alpha1", "kind": "AnalysisJob", "metadata": {"name": name},
            "spec": {"videoUrl": "https://example.com/v.mp4"} | spec}  # fmt: skip


def queue(name: str, **spec: Any) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "worker", "image": "none"}]}}
    return {"apiVersion": "analysis.klipstream.io/v1alpha1", "kind": "AnalysisQueue", "metadata": {"name": name},
            "spec": {"workerTemplate": template} | spec}  # fmt: skip


async def write_status(client: Client, namespace: str, name: str, **status: Any) -> dict[str, Any]:
    return await client.patch(JOBS, name, namespace, {"status": status}, subresource="status")


async def equal(convex: ConvexTestServer, client: Client, namespace: str) -> bool:
    return not (await differences(convex, client, namespace, namespace))[1]


async def test_rows_follow_jobs_from_their_creation_to_their_deletion(convex, client: Client, namespace: str) -> None:
    async with side(convex, client, namespace):
        await client.create(QUEUES, queue("default"), namespace)
        made = await client.create(JOBS, job("a", priority="HIGH", params={"_odd $name": "x"}), namespace)
        uid = made["metadata"]["uid"]
        await until(lambda: equal(convex, client, namespace), "shown")
        shown = await convex.call("query", "queue:job", jobId=uid)
        assert (shown["status"], shown["priority"], shown["position"]) == ("queued", "HIGH", None)
        await write_status(client, namespace, "a", sequence=5, queueName="default", queuedAt="2026-01-02T03:04:05Z")
        await until(lambda: equal(convex, client, namespace), "accepted")
        assert (await convex.call("query", "queue:job", jobId=uid))["position"] == 1
        progress = {"attempt": 1, "percentage": 45.5, "stage": "Analyzing", "updatedAt": "2026-01-02T03:04:05Z"}
        await write_status(client, namespace, "a", phase="Running", attempt=1, progress=progress)
        await until(lambda: equal(convex, client, namespace), "running")
        assert (await convex.call("query", "queue:job", jobId=uid))["progress"]["percentage"] == 45.5
        await client.delete(JOBS, "a", namespace)
        await until(lambda: equal(convex, client, namespace), "gone")
        assert await convex.call("query", "queue:job", jobId=uid) is None


async def test_what_changed_while_the_relay_was_away_is_mended_by_its_first_sweep(
    convex, client: Client, namespace: str
) -> None:
    for name in ("kept", "changed", "deleted"):
        await client.create(JOBS, job(name), namespace)
    async with side(convex, client, namespace) as running:
        assert (await running.swept()).missing == 3
    await client.delete(JOBS, "deleted", namespace)
    await client.patch(JOBS, "changed", namespace, {"spec": {"priority": "LOW"}})
    await client.create(JOBS, job("new"), namespace)
    async with side(convex, client, namespace) as running:
        swept = await running.swept()
        assert (swept.compared, swept.missing, swept.stale, swept.left_over) == (3, 1, 1, 1)
        assert await equal(convex, client, namespace)
        running.sweep_soon()
        assert (await running.swept()).mended == 0


async def test_a_row_that_somebody_changed_in_convex_is_mended(convex, client: Client, namespace: str) -> None:
    made = await client.create(JOBS, job("a"), namespace)
    async with side(convex, client, namespace) as running:
        await running.swept()
        shown = (await convex.rows(namespace))[made["metadata"]["uid"]]
        wrong = {"epoch": shown["epoch"], "version": shown["version"], "job": shown["row"] | {"status": "failed"}}
        await convex.admin("mutation", "queue:upsertJobsInternal", cluster=namespace, jobs=[wrong], repair=True)
        assert not await equal(convex, client, namespace)
        running.sweep_soon()
        assert (await running.swept()).different == 1
        assert await equal(convex, client, namespace)


async def test_a_cluster_that_was_restored_begins_a_new_epoch(convex, client: Client, namespace: str) -> None:
    made = await client.create(JOBS, job("a"), namespace)
    async with side(convex, client, namespace) as running:
        await running.swept()
        assert running.sink.epoch == 1
    ahead = {"epoch": 1, "version": 10**9, "job": (await convex.rows(namespace))[made["metadata"]["uid"]]["row"]}
    await convex.admin("mutation", "queue:upsertJobsInternal", cluster=namespace, jobs=[ahead | {"job": ahead["job"]}])
    await convex.admin("mutation", "sync:heartbeatInternal", cluster=namespace, epoch=1, version=10**9)
    async with side(convex, client, namespace) as running:
        await running.swept()
        assert running.sink.epoch == 2
        assert await equal(convex, client, namespace)


async def test_nothing_is_lost_while_convex_is_away_and_only_the_latest_is_told(
    convex, client: Client, namespace: str
) -> None:
    async with side(convex, client, namespace) as running:
        await running.swept()
        await convex.faults(away=True)
        for number in range(10):
            await client.create(JOBS, job(f"job-{number}"), namespace)
        for percentage in range(30):
            progress = {"attempt": 1, "percentage": percentage, "stage": "s", "updatedAt": "2026-01-02T03:04:05Z"}
            last = await write_status(client, namespace, "job-0", phase="Running", attempt=1, progress=progress)
        uid, version = last["metadata"]["uid"], int(last["metadata"]["resourceVersion"])

        async def unwell() -> bool:
            seen = running.shadow.objects["job"].get(uid)
            all_seen = len(running.sink) == 10 and seen is not None and seen.version == version
            return running.problem is not None and all_seen and not running.sink._sending

        await until(unwell, "away")
        told = running.sink.told
        await convex.faults()
        await running.sink.settled()
        assert running.sink.told - told == 10
        assert await equal(convex, client, namespace)
        await until(lambda: _well(running), "well again")


async def _well(running: Any) -> bool:
    return running.problem is None


async def test_with_answers_lost_after_the_commit_and_storms_of_503_the_rows_are_equal_in_the_end(
    convex, client: Client, namespace: str
) -> None:
    rng = random.Random(8)
    async with side(convex, client, namespace):
        await convex.faults(unavailable=0.3, dropAfterCommit=0.3)
        names: list[str] = []
        for number in range(60):
            match rng.randrange(4):
                case 0 | 1:
                    names.append(f"job-{number}")
                    await client.create(JOBS, job(names[-1]), namespace)
                case 2 if names:
                    priority = rng.choice(("LOW", "HIGH", "URGENT"))
                    await client.patch(JOBS, rng.choice(names), namespace, {"spec": {"priority": priority}})
                case 3 if names:
                    await client.delete(JOBS, names.pop(rng.randrange(len(names))), namespace)
            await asyncio.sleep(0.02)
        figures = await convex.figures()
        await convex.faults()
        await until(lambda: equal(convex, client, namespace), "equal")
        assert figures["unavailable"] + figures["dropped"] > 0


async def test_a_wrong_secret_is_a_problem_that_says_what_to_do(convex, client: Client, namespace: str) -> None:
    async with Deployment(convex.url, secret="x" * 40) as deployment:
        with pytest.raises(Refused, match="KLIPSTREAM_RELAY_SECRET"):
            await deployment.mutation("queue:upsertJobs", cluster=namespace)
        with pytest.raises(Refused, match="not deployed"):
            await deployment.mutation("queue:nothing", cluster=namespace)
    async with Deployment(f"{convex.url}/elsewhere", secret=SECRET) as elsewhere:
        with pytest.raises(Away, match=r"is it a Convex deployment|NotFound|404"):
            await elsewhere.mutation("queue:upsertJobs", cluster=namespace)


async def test_one_object_that_convex_does_not_take_holds_up_no_other(
    convex, client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("klipstream_convex.shadow.job_row", _spoilt)
    async with side(convex, client, namespace) as running:
        await running.swept()
        for number in range(8):
            await client.create(JOBS, job(f"job-{number}"), namespace)
        bad = await client.create(JOBS, job("spoilt"), namespace)
        await until(lambda: _shown(convex, namespace, 8), "the others")

        async def given_up() -> bool:
            return list(running.sink.dead_letters) == [bad["metadata"]["uid"]]

        await until(given_up, "it is given up, alone")


def _spoilt(cluster: str, analysis_job: Any, obj: Any) -> dict[str, Any]:
    from klipstream_convex.rows import job_row

    row = job_row(cluster, analysis_job, obj)
    return row | {"phase": "Unheard"} if row["name"] == "spoilt" else row


async def _shown(convex: ConvexTestServer, namespace: str, number: int) -> bool:
    return len(await convex.rows(namespace)) == number


# --- what apps ask --------------------------------------------------------------------------------------------------


async def test_a_video_queued_in_convex_becomes_one_job_whatever_is_lost_on_the_way(
    convex, client: Client, namespace: str
) -> None:
    async with side(convex, client, namespace) as running:
        await running.swept()
        await convex.faults(dropAfterCommit=0.4)
        ids = []
        while len(ids) < 5:
            try:
                ids.append(
                    await convex.submit(namespace, videoUrl="https://example.com/v", priority="HIGH", videoId="v")
                )
            except Exception:  # the answer was lost: an app would ask again with its key
                continue
        await convex.faults()

        async def answered() -> bool:
            states = [await convex.call("query", "queue:requests", jobId=each) for each in ids]
            return all(state[0]["state"] == "done" for state in states)

        await until(answered, "all are answered")
        jobs, _ = await client.list(JOBS, namespace)
        created = [each["spec"]["jobId"] for each in jobs]
        assert len(created) == len(set(created))
        assert set(ids) <= set(created)
        await until(lambda: equal(convex, client, namespace), "shown")
        assert (await convex.call("query", "queue:job", jobId=ids[0]))["reason"] is None


async def test_cancel_priority_and_retry_reach_the_cluster_in_order(convex, client: Client, namespace: str) -> None:
    async with side(convex, client, namespace) as running:
        await running.swept()
        job_id = await convex.submit(namespace, videoUrl="https://example.com/v")
        await convex.call("mutation", "queue:setPriority", appSecret=APP_SECRET, jobId=job_id, priority="URGENT")
        await convex.call("mutation", "queue:cancel", appSecret=APP_SECRET, jobId=job_id)

        async def changed() -> bool:
            jobs, _ = await client.list(JOBS, namespace)
            return [(each["spec"]["priority"], each["spec"].get("cancel")) for each in jobs] == [("URGENT", True)]

        await until(changed, "changed")
        await client.create(JOBS, job("failed"), namespace)
        await write_status(client, namespace, "failed", phase="Failed", finishedAt=_now())
        uid = (await client.get(JOBS, "failed", namespace))["metadata"]["uid"]
        await until(lambda: _failed(convex, uid), "shown as failed")
        await convex.call("mutation", "queue:retry", appSecret=APP_SECRET, jobId=uid)

        async def replayed() -> bool:
            return (await client.get(JOBS, "failed", namespace))["spec"].get("replay") == 1

        await until(replayed, "replayed")


async def _failed(convex: ConvexTestServer, uid: str) -> bool:
    shown = await convex.call("query", "queue:job", jobId=uid)
    return shown is not None and shown["status"] == "failed"


async def test_what_the_cluster_refuses_is_told_to_the_one_who_asked(convex, client: Client, namespace: str) -> None:
    async with side(convex, client, namespace) as running:
        await running.swept()
        job_id = await convex.submit(namespace, videoUrl="https://example.com/v", queue="Not A Name")

        async def refused() -> bool:
            return bool((await convex.call("query", "queue:job", jobId=job_id))["status"] == "rejected")

        await until(refused, "refused")
        assert "queueName" in (await convex.call("query", "queue:job", jobId=job_id))["message"]
        made = await client.create(JOBS, job("fine"), namespace)
        await until(lambda: _shown(convex, namespace, 1), "shown")
        await convex.call("mutation", "queue:retry", appSecret=APP_SECRET, jobId=made["metadata"]["uid"])

        async def answered() -> bool:
            (request,) = await convex.call("query", "queue:requests", jobId=made["metadata"]["uid"])
            return request["state"] == "refused" and "failed for good" in request["error"]

        await until(answered, "answered")


async def test_a_stranger_cannot_submit(convex) -> None:
    with pytest.raises(CallFailed, match="Unauthenticated"):
        await convex.call("mutation", "queue:submit", submission={"videoUrl": "https://example.com/v"})


# --- after a disaster -------------------------------------------------------------------------------------------------


async def test_a_restore_makes_unfinished_jobs_anew_in_order_once_and_no_finished_one(
    convex, client: Client, namespace: str
) -> None:
    async with side(convex, client, namespace) as running:
        await running.swept()
        for sequence, name in ((3, "third"), (1, "first"), (2, "second"), (4, "finished")):
            await client.create(JOBS, job(name, priority="LOW"), namespace)
            await write_status(client, namespace, name, sequence=sequence, queueName="default")
        await write_status(client, namespace, "finished", phase="Succeeded", finishedAt=_now())
        await until(lambda: equal(convex, client, namespace), "shown")
    old = {each["metadata"]["name"]: each["metadata"]["uid"] for each in (await client.list(JOBS, namespace))[0]}
    for name in old:
        await client.delete(JOBS, name, namespace)
    async with Deployment(convex.url, secret=SECRET) as deployment:
        tried = await restore(deployment, client, JOBS, namespace, dry_run=True)
        assert [name.split("/")[1] for name in tried.made] == ["first", "second", "third"]
        assert (await client.list(JOBS, namespace))[0] == []
        made = await restore(deployment, client, JOBS, namespace)
        again = await restore(deployment, client, JOBS, namespace)
    assert made.made == tried.made
    assert (again.made, sorted(again.there), again.failed) == ([], sorted(made.made), {})
    jobs, _ = await client.list(JOBS, namespace)
    restored = {each["metadata"]["name"]: each for each in jobs}
    assert {name: each["spec"]["jobId"] for name, each in restored.items()} == {
        name: uid for name, uid in old.items() if name != "finished"
    }
    versions = [int(restored[name]["metadata"]["resourceVersion"]) for name in ("first", "second", "third")]
    assert versions == sorted(versions)
    assert restored["first"]["spec"]["queueName"] == "default"


async def test_the_restore_command_says_what_it_did_and_what_to_set(
    convex, client: Client, namespace: str, control_plane, tmp_path: Path
) -> None:
    async with side(convex, client, namespace) as running:
        await running.swept()
        await client.create(JOBS, job("lost"), namespace)
        await until(lambda: equal(convex, client, namespace), "shown")
    await client.delete(JOBS, "lost", namespace)
    (tmp_path / "secret").write_text(SECRET)
    known = {"KUBECONFIG": str(control_plane.kubeconfig), "KLIPSTREAM_CONVEX_CLUSTER": namespace}
    where = {"KLIPSTREAM_CONVEX_URL": convex.url, "KLIPSTREAM_CONVEX_SECRET_FILE": str(tmp_path / "secret")}

    async def command(environment: dict[str, str], *arguments: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "klipstream_relay", "restore-from-convex", *arguments,
            env=os.environ | known | environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
        return process.returncode, said.decode()

    assert await command(where, "--dry-run") == (
        0, f"would be created: {namespace}/lost\n1 created, 0 there already, 0 failed\n"
    )  # fmt: skip
    assert await command(where) == (0, f"created: {namespace}/lost\n1 created, 0 there already, 0 failed\n")
    assert await command(where) == (0, "0 created, 1 there already, 0 failed\n")
    code, said = await command({})
    assert (code, "KLIPSTREAM_CONVEX_URL" in said) == (2, True)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
