"""Each write that happened is told once, and none that did not, whatever becomes of its answer."""

import asyncio
from typing import Any

import pytest

from klipfake.objects import queue
from klipstream_api import AnalysisJob, AnalysisJobStatus
from klipstream_kube import ApiError, Client
from klipstream_operator import statuses
from klipstream_operator.status_writer import StatusWriter
from klipstream_operator.store import Store
from klipstream_operator.transitions import Transition
from klipstream_operator.turnstile import Turnstile
from klipstream_queueing.order import rank

OBJECT = "/apis/analysis.klipstream.io/v1alpha1/namespaces/n/analysisjobs/film"
STATUS = f"{OBJECT}/status"
WIRE: dict[str, Any] = {
    "metadata": {"name": "film", "namespace": "n", "uid": "u1", "resourceVersion": "9"},
    "spec": {"videoUrl": "https://example.com/v.mp4"},
    "status": {"phase": "Queued"},
}


@pytest.mark.parametrize(
    ("answer", "live", "told"),
    [
        ("taken", "written", 1),
        ("lost", "written", 1),
        ("lost", "as before", 0),
        ("lost", "of another leader", 0),
        ("conflict", "of another leader", 0),
        ("gone", "as before", 0),
    ],
)
async def test_a_write_is_told_when_it_is_known_to_have_happened(
    server: Any, client: Client, quick_retries: None, answer: str, live: str, told: int
) -> None:
    job = AnalysisJob.from_wire(WIRE)
    status = statuses.accepted(job, "q", 1, client.now())
    found = {
        "written": WIRE | {"metadata": WIRE["metadata"] | {"resourceVersion": "10"}, "status": status.to_wire()},
        "as before": WIRE,
        "of another leader": WIRE
        | {
            "metadata": WIRE["metadata"] | {"resourceVersion": "11"},
            "status": status.model_copy(update={"queue_name": "other"}).to_wire(),
        },
    }[live]
    replies = {
        "taken": server.answer(found),
        "lost": server.drop(),
        "conflict": server.refuse(409, "Conflict"),
        "gone": server.refuse(404, "NotFound"),
    }
    server.on("PATCH", STATUS, replies[answer])
    server.on("GET", OBJECT, server.answer(found))
    seen: list[tuple[AnalysisJobStatus, AnalysisJobStatus, Transition]] = []
    store = Store(lambda _: None, lambda _: None, lambda: None)
    store.put_job(job, client.now())
    writer = StatusWriter(client, store, None, Turnstile(), lambda before, after, how: seen.append(
        (before.status, after, how)))  # fmt: skip
    written = await writer.write(job, status, Transition.ACCEPTED)
    assert written == (answer == "taken")
    assert seen == [(job.status, status, Transition.ACCEPTED)] * told


@pytest.mark.parametrize(
    ("transition", "sent"),
    [
        (Transition.ACCEPTED, 1),
        (Transition.REJECTED, 1),
        (Transition.REPLAYED, 1),
        (Transition.REPLAY_REFUSED, 1),
        (Transition.STARTED, 2),
    ],
)
async def test_what_the_queue_decided_is_decided_again_after_the_server_asked_to_wait(
    server: Any, client: Client, quick_retries: None, transition: Transition, sent: int
) -> None:
    """The queue may be draining by then, which the version of the job does not tell."""
    before = {"phase": transition.value.before[0].value, "sequence": 1, "queueName": "q"}
    job = AnalysisJob.from_wire(WIRE | {"status": before})
    status = job.status.model_copy(update={"phase": transition.value.after[0], "retries": 3})
    written = WIRE | {"metadata": WIRE["metadata"] | {"resourceVersion": "10"}, "status": status.to_wire()}
    server.on("PATCH", STATUS, server.refuse(429, Retry_After="0"), server.answer(written))
    server.on("GET", OBJECT, server.answer(WIRE | {"status": before}))
    store = Store(lambda _: None, lambda _: None, lambda: None)
    store.put_job(job, client.now())
    sends: list[None] = []
    writer = StatusWriter(client, store, lambda: sends.append(None), Turnstile())
    assert await writer.write(job, status, transition) == (sent == 2)
    assert len(sends) == sent


@pytest.mark.parametrize(
    ("change", "sent"), [({}, True), ({"generation": 2}, False), ({"uid": "another"}, False), (None, False)]
)
async def test_what_waits_for_a_reservation_is_decided_again_when_the_queue_changed_meanwhile(
    server: Any, client: Client, quick_retries: None, change: dict[str, Any] | None, sent: bool
) -> None:
    job = AnalysisJob.from_wire(WIRE)
    status = statuses.accepted(job, "q", 1, client.now())
    written = WIRE | {"metadata": WIRE["metadata"] | {"resourceVersion": "10"}, "status": status.to_wire()}
    server.on("PATCH", STATUS, server.answer(written))
    store = Store(lambda _: None, lambda _: None, lambda: None)
    store.put_job(job, client.now())
    store.put_queue(queue(), client.now())
    turnstile = Turnstile()
    later = rank(job.model_copy(update={"status": status.model_copy(update={"sequence": 2})}))
    with turnstile.reserving(("n", "q"), [later]):
        writing = asyncio.create_task(
            StatusWriter(client, store, lambda: None, turnstile).write(job, status, Transition.ACCEPTED)
        )
        await asyncio.sleep(0)
        if change is None:
            store.remove_queue(("n", "q"), "q1", client.now())
        else:
            metadata = queue().metadata.model_copy(update={"resource_version": "6"} | change)
            store.put_queue(queue().model_copy(update={"metadata": metadata}), client.now())
    assert await writing is sent
    assert [request.method for request in server.received] == (["PATCH"] if sent else [])


async def test_what_waits_for_a_reservation_is_decided_again_when_the_queue_was_filled_meanwhile(
    server: Any, client: Client, quick_retries: None
) -> None:
    job = AnalysisJob.from_wire(WIRE)
    status = statuses.accepted(job, "q", 1, client.now())
    store = Store(lambda _: None, lambda _: None, lambda: None)
    store.put_job(job, client.now())
    store.put_queue(queue(maxQueueSize=1), client.now())
    came_back = WIRE | {"metadata": {"name": "other", "namespace": "n", "uid": "u2", "resourceVersion": "8"}}
    store.put_job(AnalysisJob.from_wire(came_back | {"status": {"queueName": "q", "sequence": 3}}), client.now())
    assert not await StatusWriter(client, store, lambda: None, Turnstile()).write(job, status, Transition.ACCEPTED)
    assert server.received == []


async def test_a_queue_hears_of_an_acceptance_that_failed(server: Any, client: Client) -> None:
    """Somebody may have been held up by it who is free to go now."""
    job = AnalysisJob.from_wire(WIRE)
    server.on("PATCH", STATUS, server.refuse(403, "Forbidden"))
    told: list[tuple[str, str]] = []
    store = Store(lambda _: None, told.append, lambda: None)
    store.put_job(job, client.now())
    status = job.status.model_copy(update={"sequence": 1, "queue_name": "q"})
    with pytest.raises(ApiError):
        await StatusWriter(client, store, None, Turnstile()).write(job, status, Transition.ACCEPTED)
    assert told == [("n", "q")]
