"""Logs of failed attempts: read through the real API server from a node, archived, and named in the status."""

import asyncio
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from klipfake.node import NODES, written
from klipfake.ports import free_port
from klipfake.processes import Operator, Process
from klipfake.world import World, job, playing
from klipstream_api import AnalysisJob, AnalysisQueue
from klipstream_kube import PODS, Client, load_connection
from klipstream_operator import log_archive
from klipstream_operator.log_archive import LogArchive
from klipstream_operator.log_store import LogStore
from klipstream_operator.status_writer import StatusWriter
from klipstream_operator.store import Store
from klipstream_operator.turnstile import Turnstile
from klipstream_operator.workload import view_pod
from klipstream_results import ResultStore, ResultStoreError, open_store

MIB = 2**20
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of a real S3 server, which the environment of this process, and of the operator, points to."""
    import s3fs

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (KEYS | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}).items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    s3fs.S3FileSystem(endpoint_url=os.environ["AWS_ENDPOINT_URL"], skip_instance_cache=True).mkdir(bucket)
    yield f"s3://{bucket}/analysis"
    server.stop()


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "results").mkdir()
    return f"file://{tmp_path}/results"


@pytest.fixture(params=["folder", "s3"])
def results(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def world(control_plane, custom_resources, kubectl, namespace: str, tmp_path: Path) -> Iterator[World]:
    """As elsewhere, but with a node that serves logs."""
    operator = Operator(control_plane.kubeconfig, tmp_path / "operator.log", namespace, KLIPSTREAM_LOG_LEVEL="DEBUG")
    kubelet = Process("klipfake.kubelet", control_plane.kubeconfig, tmp_path / "kubelet.log", "--node")
    try:
        with playing(kubectl, namespace, operator, kubelet) as world:
            yield world
    finally:
        kubectl("delete", "nodes", "--all", "--wait=false")


def attempts(world: World, name: str) -> list[dict[str, Any]]:
    return list(world.get("aj", name)["status"].get("attempts", []))


def archived(world: World, name: str, count: int) -> None:
    world.until(lambda: sum("logUrl" in entry for entry in attempts(world, name)) == count, f"{count} logs archived")


def log_of(store: ResultStore, world: World, name: str, attempt: int) -> bytes:
    return store.read_result(world.get("aj", name)["metadata"]["uid"], attempt, "worker.log")


def test_the_last_mebibyte_of_each_failed_attempt_is_archived(results: str, world: World) -> None:
    """The operator inherits the bucket's address: `results` comes before `world`."""
    world.queue(results={"url": results}, retryDelaysSeconds=[1])
    world.job("twice", params={"fake_exits": "1,1,0", "fake_log_bytes": str(3 * MIB)})
    world.until_phase("twice", "Succeeded")
    archived(world, "twice", 2)
    uid = world.get("aj", "twice")["metadata"]["uid"]
    store = open_store(results)
    for number, entry in enumerate(attempts(world, "twice")[:2], 1):
        assert entry["logUrl"] == f"{results}/jobs/{uid}/attempts/{number}/worker.log"
        assert log_of(store, world, "twice", number) == written(number, 3 * MIB)[-MIB:]
    assert store.attempts(uid) == [1, 2], "a success needs no archive"


def test_a_successor_archives_what_a_killed_operator_left(folder: str, world: World) -> None:
    world.queue(results={"url": folder}, retryDelaysSeconds=[60])
    world.job("bad", params={"fake_exits": "1", "fake_log_bytes": "100"})
    world.until_phase("bad", "BackingOff")
    world.operator.kill()
    assert "logUrl" not in attempts(world, "bad")[0], "killed too late for this test"
    world.operator.start()
    archived(world, "bad", 1)
    assert log_of(open_store(folder), world, "bad", 1) == written(1, 100)
    assert world.phase("bad") == "BackingOff"


def test_a_dead_letter_s_log_is_named_in_its_final_status(folder: str, world: World) -> None:
    """An empty log too, so that nobody looks for it any longer; it is believed at the second look."""
    world.queue(results={"url": folder}, maxRetries=0)
    world.job("dead", params={"fake_exits": "1"})
    world.until_phase("dead", "Failed")
    archived(world, "dead", 1)
    assert world.phase("dead") == "Failed"
    assert log_of(open_store(folder), world, "dead", 1) == b""


def test_a_node_that_refuses_at_first_is_asked_again(folder: str, world: World) -> None:
    world.queue(results={"url": folder}, maxRetries=0)
    world.job("dead", params={"fake_exits": "1", "fake_log_bytes": "100", "fake_log_refusals": "1"})
    archived(world, "dead", 1)
    assert log_of(open_store(folder), world, "dead", 1) == written(1, 100)


def test_a_pod_that_is_gone_left_no_log_and_is_not_asked_for_again(folder: str, world: World) -> None:
    world.queue(results={"url": folder}, maxRetries=0)
    params = {"fake_exits": "1", "fake_log_bytes": "100", "fake_log_refusals": "2"}  # gone before it is asked
    world.job("dead", params=params)
    world.until_phase("dead", "Failed")
    world.kubectl("delete", "pods", "--all")
    world.until(lambda: "left no log" in world.operator.said(), "the missing log is noted")
    world.kubectl("label", "aj", "dead", "look=again")
    time.sleep(3)
    assert world.operator.said().count("left no log") == 1
    assert "logUrl" not in attempts(world, "dead")[0]


def test_a_store_that_fails_delays_nothing(folder: str, world: World) -> None:
    Path(folder.removeprefix("file://"), "jobs").write_text("in the way")
    world.queue(results={"url": folder}, retryDelaysSeconds=[1])
    world.job("twice", params={"fake_exits": "1,1,0", "fake_log_bytes": "100"})
    world.until_phase("twice", "Succeeded")
    world.until(lambda: "cannot write" in world.operator.said(), "it is tried")
    assert not [entry for entry in attempts(world, "twice") if "logUrl" in entry]


def test_a_folder_that_is_not_mounted_is_said_once_per_queue(tmp_path: Path, world: World) -> None:
    world.queue(results={"url": f"file://{tmp_path}/not-mounted"}, maxRetries=0)
    world.apply(*(job(f"dead-{n}", params={"fake_exits": "1", "fake_log_bytes": "9"}) for n in range(3)))
    world.until(lambda: set(world.phases().values()) == {"Failed"}, "all failed")
    world.until(lambda: "are not archived" in world.operator.said(), "it is said")
    time.sleep(3)
    (line,) = [line for line in world.operator.said().splitlines() if "are not archived" in line]
    assert f"{tmp_path}/not-mounted" in line
    assert "operator.archiveLogs" in line
    assert not (tmp_path / "not-mounted").exists()


async def test_a_node_that_never_answers_is_given_up_with_one_line(
    control_plane, custom_resources: None, namespace: str, folder: str, monkeypatch, caplog
) -> None:
    monkeypatch.setattr(log_archive, "RETRY_SECONDS", (0.05,) * 4)
    caplog.set_level(logging.DEBUG, "klipstream_operator.log_archive")
    async with Client(load_connection(str(control_plane.kubeconfig))) as client:
        await client.create(NODES, {"metadata": {"name": namespace}})
        status = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                  "daemonEndpoints": {"kubeletEndpoint": {"Port": free_port()}}}  # fmt: skip
        await client.patch_status(NODES, namespace, None, {"status": status})
        labels = {"analysis.klipstream.io/job-uid": "u", "analysis.klipstream.io/attempt": "1"}
        worker = {"name": "worker", "image": "none"}
        pod = {"metadata": {"name": "p", "labels": labels}, "spec": {"nodeName": namespace, "containers": [worker]}}
        await client.create(PODS, pod, namespace)
        view = view_pod(await client.patch_status(PODS, "p", namespace, {"status": {"phase": "Failed"}}))
        store = Store(lambda _: None, lambda _: None, lambda: None)
        archive = LogArchive(client, store, StatusWriter(client, store, None, Turnstile()), LogStore())
        entry = {"attempt": 1, "failureClass": "Transient", "finishedAt": "2026-01-02T03:04:05Z"}
        meta = {"namespace": namespace, "resourceVersion": "1"}
        assert view is not None
        store.put_workload(view)
        store.put_queue(AnalysisQueue.from_wire({
            "metadata": meta | {"name": "q", "uid": "q"},
            "spec": {"workerTemplate": {"spec": {}}, "results": {"url": folder}},
        }), client.now())  # fmt: skip
        store.put_job(AnalysisJob.from_wire({
            "metadata": meta | {"name": "j", "uid": "u"}, "spec": {"videoUrl": "https://example.com/v.mp4"},
            "status": {"phase": "Failed", "queueName": "q", "sequence": 1, "attempts": [entry]},
        }), client.now())  # fmt: skip
        archive.look("u")
        task = asyncio.create_task(archive.run())
        try:
            async with asyncio.timeout(30):
                while "was not archived in 5 tries" not in caplog.text:
                    await asyncio.sleep(0.05)
            archive.look("u")
            await asyncio.sleep(0.3)
        finally:
            task.cancel()
        await client.delete(NODES, namespace)
    said = [record for record in caplog.records if record.name == "klipstream_operator.log_archive"]
    assert [record.levelname for record in said] == ["DEBUG"] * 4 + ["WARNING"]


# --- archived logs go with their job ----------------------------------------------------------------------------


def fail_and_archive(world: World, results: str) -> str:
    """A failed job with an archived log and a result of its own; its uid."""
    world.queue(results={"url": results}, maxRetries=0, retention={"failedSeconds": 3600})
    world.job("dead", params={"fake_exits": "1", "fake_log_bytes": "100"})
    archived(world, "dead", 1)
    uid = str(world.get("aj", "dead")["metadata"]["uid"])
    open_store(results).write_result(uid, 1, "result.json", b"half of it")
    return uid


def retention(world: World, seconds: int) -> None:
    body = json.dumps({"spec": {"retention": {"failedSeconds": seconds}}})
    world.kubectl("patch", "aq", "default", "--type=merge", "-p", body)


def test_a_purge_removes_the_logs_and_leaves_the_results(results: str, world: World) -> None:
    uid = fail_and_archive(world, results)
    retention(world, 0)
    world.until(lambda: world.phases() == {}, "it is purged")
    store = open_store(results)
    assert store.read_result(uid, 1, "result.json") == b"half of it"
    with pytest.raises(ResultStoreError):
        store.read_result(uid, 1, "worker.log")


def test_a_store_that_fails_holds_the_purge_back_until_it_works_again(folder: str, world: World) -> None:
    uid = fail_and_archive(world, folder)
    path = Path(folder.removeprefix("file://"))
    path.rename(path.with_name("away"))
    retention(world, 0)
    world.until(lambda: "still to be removed" in world.operator.said(), "the removal fails")
    time.sleep(1)
    assert "dead" in world.phases()
    path.with_name("away").rename(path)
    world.until(lambda: world.phases() == {}, "it is purged")
    assert not (path / "jobs" / uid / "attempts" / "1" / "worker.log").exists()


def test_a_store_that_fails_holds_the_purge_back_for_a_day_at_most(folder: str, world: World) -> None:
    uid = fail_and_archive(world, folder)
    path = Path(folder.removeprefix("file://"))
    path.rename(path.with_name("away"))
    earlier = datetime.now(UTC) - timedelta(hours=25, minutes=1)
    body = json.dumps({"status": {"finishedAt": earlier.strftime("%Y-%m-%dT%H:%M:%SZ")}})
    world.kubectl("patch", "aj", "dead", "--subresource=status", "--type=merge", "-p", body)
    world.until(lambda: world.phases() == {}, "it is purged")
    assert f"{folder}/jobs/{uid}/attempts/*/worker.log by hand" in world.operator.said()
