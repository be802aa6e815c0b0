"""A pod on a silent node is given up on what its queue says when the write is sent, not when the step was decided."""

from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from klipfake.objects import NOW, UID, job, kube_job, pod, queue, running
from klipstream_api import names
from klipstream_api.analysisqueue import NodeLost
from klipstream_kube import Client, Unreachable
from klipstream_operator.reconciler import Reconciler
from klipstream_operator.status_writer import StatusWriter
from klipstream_operator.store import Store
from klipstream_operator.turnstile import Turnstile
from klipstream_operator.workload import view_pod

POD_PATH = "/api/v1/namespaces/n/pods/p"
LEFT = NOW - timedelta(seconds=60)


def live_pod(version: str = "4", **status: Any) -> dict[str, Any]:
    """A pod that was told to end a minute ago, as the API server has it."""
    return {
        "metadata": {
            "name": "p", "namespace": "n", "uid": "p1", "resourceVersion": version,
            "labels": {names.JOB_UID_LABEL: UID, names.ATTEMPT_LABEL: "1"},
            "ownerReferences": [{"kind": "Job", "uid": "j1", "controller": True}],
            "deletionTimestamp": LEFT.isoformat(),
        },
        "spec": {"nodeName": "node"},
        "status": {"phase": "Running"} | status,
    }  # fmt: skip


class Writer(StatusWriter):
    """At a moment that stands still."""

    def now(self) -> Any:
        return NOW


@pytest.fixture
def reconciler(client: Client) -> Reconciler:
    """It has decided that the pod is lost: the queue's patience was 30 seconds."""
    store = Store(lambda _: None, lambda _: None, lambda: None)
    store.put_queue(queue({"admitted": [{"uid": UID, "attempt": 1, "name": "a"}]}, nodeLost={"seconds": 30}), NOW)
    store.put_job(job(running()), NOW)
    store.put_workload(kube_job())
    store.put_workload(pod(deleted_at=LEFT))
    writer = Writer(client, store, lambda: None, Turnstile())
    return Reconciler(client, store, writer, lambda: None)  # type: ignore[arg-type, return-value]


def made_patient(reconciler: Reconciler) -> None:
    old = reconciler.store.queues["n", "q"]
    metadata = old.metadata.model_copy(update={"resource_version": "6"})
    spec = old.spec.model_copy(update={"node_lost": NodeLost(seconds=3600)})
    reconciler.store.put_queue(old.model_copy(update={"metadata": metadata, "spec": spec}), NOW)


async def test_it_is_ended_through_its_status_and_deleted(server: Any, reconciler: Reconciler) -> None:
    server.on("GET", POD_PATH, server.answer(live_pod()))
    server.on("PATCH", f"{POD_PATH}/status", server.answer(live_pod("5", phase="Failed", reason="NodeLost")))
    server.on("DELETE", POD_PATH, server.answer({}))
    await reconciler._fail_lost_pod(UID, pod(deleted_at=LEFT))
    [patch], [deletion] = server.sent("PATCH"), server.sent("DELETE")
    assert patch.body["metadata"] == {"resourceVersion": "4"}
    assert patch.body["status"]["reason"] == "NodeLost"
    assert deletion.body["preconditions"] == {"uid": "p1"}
    assert reconciler.store.attempt((UID, 1)).over


async def test_a_queue_that_became_patient_during_the_read_is_heard(server: Any, reconciler: Reconciler) -> None:
    async def read(_: web.Request) -> web.StreamResponse:
        made_patient(reconciler)
        return web.json_response(live_pod())

    server.on("GET", POD_PATH, read)
    await reconciler._fail_lost_pod(UID, pod(deleted_at=LEFT))
    assert not server.sent("PATCH")


async def test_so_is_one_that_became_patient_after_it(
    server: Any, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was stopped may find both at once: the answer, and what its watch tells of the queue."""
    get = Client.get

    async def read(self: Client, *args: Any) -> dict[str, Any]:
        live = await get(self, *args)
        made_patient(reconciler)
        return live

    monkeypatch.setattr(Client, "get", read)
    server.on("GET", POD_PATH, server.answer(live_pod()))
    await reconciler._fail_lost_pod(UID, pod(deleted_at=LEFT))
    assert not server.sent("PATCH")


async def test_a_pod_that_ended_by_itself_is_not_given_up(server: Any, reconciler: Reconciler) -> None:
    ended = live_pod("5", phase="Succeeded")
    server.on("GET", POD_PATH, server.answer(ended))
    await reconciler._fail_lost_pod(UID, pod(deleted_at=LEFT))
    assert not server.sent("PATCH")
    assert reconciler.store.pod("p1") == view_pod(ended)


async def test_nor_is_another_pod_of_its_name(server: Any, reconciler: Reconciler) -> None:
    other = live_pod("5")
    other["metadata"]["uid"] = "p2"
    del other["metadata"]["deletionTimestamp"]
    server.on("GET", POD_PATH, server.answer(other))
    await reconciler._fail_lost_pod(UID, pod(deleted_at=LEFT))
    assert not server.sent("PATCH")
    assert not server.sent("DELETE")


@pytest.mark.usefixtures("quick_retries")
async def test_it_is_not_sent_again_as_it_was(server: Any, reconciler: Reconciler) -> None:
    server.on("GET", POD_PATH, server.answer(live_pod()))
    server.on("PATCH", f"{POD_PATH}/status", server.refuse(429, "TooManyRequests"))
    with pytest.raises(Unreachable):
        await reconciler._fail_lost_pod(UID, pod(deleted_at=LEFT))
    assert len(server.sent("PATCH")) == 1
