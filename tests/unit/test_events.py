"""Which events are worth announcing, and that sending them costs nobody else anything."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from klipstream_api import (
    AnalysisJob,
    AnalysisJobStatus,
    AnalysisQueue,
    CapacityShortage,
    FailureClass,
    GroupReplay,
    Operation,
    OperationName,
    Priority,
    QueueMode,
    ReplayState,
    Stop,
    StopReason,
)
from klipstream_api.meta import with_condition
from klipstream_kube import Client, Connection
from klipstream_operator import event_recorder, statuses
from klipstream_operator.event_recorder import EventRecorder
from klipstream_operator.events import NOTE_BYTES, Event, cut, job_event, mode_event, queue_events
from klipstream_operator.failures import Failure
from klipstream_operator.observability import Observability
from klipstream_operator.store import Store
from klipstream_operator.transitions import Transition

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def queue(mode: str = "Running", version: int = 5, uid: str = "q1", **status: Any) -> AnalysisQueue:
    return AnalysisQueue.from_wire({
        "metadata": {"name": "q", "namespace": "n", "uid": uid, "resourceVersion": str(version)},
        "spec": {"workerTemplate": {"spec": {"containers": [{"name": "w", "image": "i"}]}}, "mode": mode},
        "status": {"initialized": True} | status,
    })  # fmt: skip


def job(status: AnalysisJobStatus | None = None, name: str = "film") -> AnalysisJob:
    found = AnalysisJob.from_wire({
        "metadata": {"name": name, "namespace": "n", "uid": "u1", "resourceVersion": "9"},
        "spec": {"videoUrl": "https://example.com/v.mp4"},
    })  # fmt: skip
    return found if status is None else found.model_copy(update={"status": status})


NEW = job()
QUEUED = job(statuses.accepted(NEW, "q", 1, NOW))
STARTING = job(statuses.started(QUEUED, 1, "j", NOW))
STALL = Stop(attempt=1, reason=StopReason.STALLED, message="Nothing moved for 600 s.", at=NOW)
CANCEL = Stop(attempt=1, reason=StopReason.CANCEL, message="The worker is told.", at=NOW)
NO_NODE = Stop(attempt=1, reason=StopReason.UNSCHEDULABLE, message="0/3 nodes are available.", at=NOW)
RETURNED = job(statuses.returned(STARTING, NO_NODE, ("cpu",), NOW))
BACKING_OFF = job(statuses.failed(STARTING, queue(), Failure(FailureClass.TRANSIENT, "Unlucky", "No luck."), NOW))
FAILED = job(statuses.failed(STARTING, queue(), Failure(FailureClass.PERMANENT, "SourceGone", "Gone."), NOW))
HELD_UP = NEW.status.model_copy(
    update={"conditions": with_condition((), "CapacityAvailable", "False", "QueueNotFound", "Create it.", NOW)}
)

CASES: dict[Transition, tuple[AnalysisJob, AnalysisJobStatus, bool, str]] = {
    Transition.HELD_UP: (NEW, HELD_UP, True, "QueueNotFound: Create it."),
    Transition.ACCEPTED: (NEW, QUEUED.status, False, "Queue q took the job with priority NORMAL."),
    Transition.REJECTED: (NEW, statuses.rejected(NEW, "q", "QueueFull", "Full.", NOW), True, "QueueFull: Full."),
    Transition.AGED: (QUEUED, statuses.aged(QUEUED, Priority.HIGH), False, "priority HIGH"),
    Transition.STARTED: (QUEUED, STARTING.status, False, "Attempt 1 got a slot; its Kubernetes Job is u1-a1."),
    Transition.RESUMED: (RETURNED, statuses.resumed(RETURNED, NOW), False, "Attempt 1 got a slot"),
    Transition.SUPERSEDED: (RETURNED, statuses.abandoned(RETURNED, "JobDeleted", "Next.", NOW), False, "Next."),
    Transition.RUNNING: (STARTING, statuses.running(STARTING, None, NOW), False, "Attempt 1 runs."),
    Transition.STOPPING: (STARTING, statuses.stopping(STARTING, STALL, NOW), True, "Stalled"),
    Transition.RETURNED: (STARTING, RETURNED.status, True, "0/3 nodes"),
    Transition.SUCCEEDED: (STARTING, statuses.succeeded(STARTING, None, None, NOW), False, "complete"),
    Transition.RETRYING: (STARTING, BACKING_OFF.status, True, "2026-01-02T03:04:35.000Z. Attempt 1 failed (Transient"),
    Transition.DEAD_LETTERED: (STARTING, FAILED.status, True, "Raise spec.replay"),
    Transition.RETRY_DUE: (BACKING_OFF, BACKING_OFF.status, False, "waits for attempt 2"),
    Transition.CANCELLED: (QUEUED, statuses.cancelled(QUEUED, NOW, "As asked."), False, "As asked."),
    Transition.CLEARED: (QUEUED, statuses.cancelled(QUEUED, NOW, "Cleared.", "QueueCleared"), True, "Cleared."),
    Transition.REPLAYED: (FAILED, statuses.replayed(FAILED, NOW), False, "spec.replay was raised"),
    Transition.REPLAY_REFUSED: (FAILED, statuses.replay_refused(FAILED, NOW), True, "draining"),
}


# --- jobs --------------------------------------------------------------------------------------------------------


SILENT = (Transition.PROGRESS, Transition.LOG_ARCHIVED)


@pytest.mark.parametrize("transition", [each for each in Transition if each not in SILENT])
def test_every_transition_is_one_event_that_says_what_happened(transition: Transition) -> None:
    before, after, warning, note = CASES[transition]
    event = job_event(before, after, transition)
    assert event is not None
    assert event.reason.lower() == transition.name.lower().replace("_", "")
    assert event.reason[0].isupper()
    assert event.warning is warning
    assert note in event.note


def test_progress_is_no_event() -> None:
    assert job_event(STARTING, statuses.running(STARTING, None, NOW), Transition.PROGRESS) is None


def test_a_stop_that_the_user_asked_for_is_no_warning() -> None:
    event = job_event(STARTING, statuses.stopping(STARTING, CANCEL, NOW), Transition.STOPPING)
    assert event is not None
    assert not event.warning


@pytest.mark.parametrize("note", ["a" * 1024, "a" * 1025, "ü" * 600, "a" + "💥" * 300])
def test_a_note_keeps_to_the_bound_of_the_api_server(note: str) -> None:
    shortened = cut(note)
    assert len(shortened.encode()) <= NOTE_BYTES
    assert (shortened == note) == (len(note.encode()) <= NOTE_BYTES)
    assert note.startswith(shortened.removesuffix("…"))


# --- queues ------------------------------------------------------------------------------------------------------


def conditions(**truths: str) -> dict[str, Any]:
    return {"conditions": [{"type": type_, "status": truth, "message": f"{type_}!"} for type_, truth in truths.items()]}


@pytest.mark.parametrize(
    ("before", "after", "reasons"),
    [
        ({}, conditions(Ready="True", Full="False", Drained="False"), []),
        ({}, conditions(Ready="False", Full="True"), ["NotReady", "Full"]),
        (conditions(Full="False"), conditions(Full="True"), ["Full"]),
        (conditions(Full="True"), conditions(Full="False"), ["HasRoom"]),
        (conditions(Full="True"), conditions(Full="True"), []),
        (conditions(Drained="False"), conditions(Drained="True"), ["Drained"]),
        (conditions(Drained="True"), conditions(Drained="False"), []),
        (conditions(Ready="False"), conditions(Ready="True"), ["Ready"]),
        ({"queued": 1}, {"queued": 2}, []),
    ],
)
def test_a_condition_that_turns_is_an_event(before: dict[str, Any], after: dict[str, Any], reasons: list[str]) -> None:
    assert [event.reason for event in queue_events(queue(**before), queue(**after).status)] == reasons


def test_a_shortage_is_announced_when_it_begins_and_when_it_ends() -> None:
    short = CapacityShortage(shape="default", since=NOW, message="Insufficient cpu.", next_try_at=NOW)
    begun = queue().status.model_copy(update={"capacity": (short,)})
    (began,) = queue_events(queue(), begun)
    assert (began.reason, began.warning) == ("CapacityShortage", True)
    assert "Insufficient cpu." in began.note
    under_way = queue().model_copy(update={"status": begun})
    tried = begun.model_copy(update={"capacity": (short.model_copy(update={"tries": 2}),)})
    assert queue_events(under_way, tried) == []
    (ended,) = queue_events(under_way, queue().status)
    assert (ended.reason, ended.warning) == ("CapacityAvailable", False)


def test_an_administrative_request_is_announced_once_for_each_value() -> None:
    first = Operation(name=OperationName.CLEAR, request="q", at=NOW, count=2, message="2 waiting jobs are cancelled.")
    asked = queue().status.model_copy(update={"operations": (first,)})
    (event,) = queue_events(queue(), asked)
    assert event.reason == "Clear"
    assert "2 waiting jobs are cancelled." in event.note
    again = asked.model_copy(update={"operations": (first.model_copy(update={"request": "q 2"}),)})
    known = queue().model_copy(update={"status": asked})
    assert queue_events(known, asked) == []
    assert [each.reason for each in queue_events(known, again)] == ["Clear"]


def test_a_replay_of_a_group_is_announced_when_its_state_changes() -> None:
    replay = GroupReplay(
        fingerprint="f", requested_at=NOW, state=ReplayState.CANARY, canary="film", canary_uid="u1", canary_replay=1
    )
    begun = queue().status.model_copy(update={"replays": (replay,)})
    assert [each.reason for each in queue_events(queue(), begun)] == ["GroupReplayCanary"]
    known = queue().model_copy(update={"status": begun})
    grown = begun.model_copy(update={"replays": (replay.model_copy(update={"released": 3}),)})
    assert queue_events(known, grown) == []
    stopped = begun.model_copy(update={"replays": (replay.model_copy(update={"state": ReplayState.STOPPED}),)})
    assert [each.reason for each in queue_events(known, stopped)] == ["GroupReplayStopped"]


@pytest.mark.parametrize("leading", [True, False])
async def test_a_changed_mode_is_announced_by_the_leader_once(client: Client, leading: bool) -> None:
    store = Store(lambda _: None, lambda _: None, lambda: None)
    shown = Observability(client, store, "me", events=True)
    shown.leads(leading)
    for version, (mode, uid) in enumerate(
        [("Paused", "q1"), ("Paused", "q1"), ("Running", "q1"), ("Running", "q1"), ("Draining", "q2")]
    ):
        store.put_queue(queue(mode, version, uid), NOW)
        shown.queue_seen(("n", "q"))
    assert shown.recorder is not None
    waiting = [body["reason"] for body in shown.recorder.waiting()]
    assert waiting == (["Running"] if leading else []), "a new queue of the same name was set to nothing"


@pytest.mark.parametrize("mode", QueueMode)
def test_every_mode_is_explained(mode: QueueMode) -> None:
    event = mode_event(mode)
    assert event.reason == mode.value
    assert len(event.note) > 30


# --- sending -----------------------------------------------------------------------------------------------------

PATH = "/api/v1/namespaces/n/events"


@pytest.fixture
def counts() -> Counter[str]:
    return Counter()


@pytest.fixture
async def recorder(client: Client, counts: Counter[str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Starts recorders with tiny pauses; `run` is cancelled at the end."""
    monkeypatch.setattr(event_recorder, "RETRY_SECONDS", 0.01)
    tasks: list[asyncio.Task[None]] = []

    def start(**settings: Any) -> EventRecorder:
        def count(result: str) -> None:
            counts[result] += 1

        made = EventRecorder(client, "me", count, **settings)
        tasks.append(asyncio.create_task(made.run()))
        return made

    yield start
    for task in tasks:
        assert not task.done(), "the task must outlive every failure"
        task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def event(number: int, warning: bool = False) -> Event:
    return Event("Reason", f"note {number}", warning)


def notes(server: Any) -> list[str]:
    return [received.body["message"] for received in server.sent("POST", PATH)]


async def test_an_event_says_what_kubectl_looks_for(server: Any, recorder: Any, counts: Counter[str]) -> None:
    server.on("POST", PATH, server.answer({}, 201))
    recorder().record(job(name="a" * 253), event(1, warning=True))
    await until(lambda: counts["written"] == 1)
    (received,) = server.sent("POST", PATH)
    body = received.body
    assert len(body["metadata"]["name"]) <= 253
    assert body["involvedObject"] == {
        "apiVersion": "analysis.klipstream.io/v1alpha1", "kind": "AnalysisJob", "namespace": "n", "name": "a" * 253,
        "uid": "u1", "resourceVersion": "9",
    }  # fmt: skip
    assert (body["type"], body["reason"], body["count"]) == ("Warning", "Reason", 1)


async def test_events_of_one_second_have_rising_names(server: Any, recorder: Any, counts: Counter[str]) -> None:
    server.on("POST", PATH, server.answer({}, 201))
    made = recorder(per_second=10_000)
    for number in range(20):
        made.record(job(), event(number))
    await until(lambda: counts["written"] == 20)
    names = [received.body["metadata"]["name"] for received in server.sent("POST", PATH)]
    assert names == sorted(set(names))


async def test_warnings_go_first_and_normal_events_are_dropped_first(
    server: Any, recorder: Any, counts: Counter[str]
) -> None:
    server.on("POST", PATH, server.answer({}, 201))
    made = recorder(per_second=10_000, waiting_at_most=4)
    for number in range(6):
        made.record(job(), event(number, warning=number % 2 == 0))
    await until(lambda: counts["written"] == 4)
    assert notes(server) == ["note 0", "note 2", "note 4", "note 5"]
    assert counts["dropped"] == 2
    made = recorder(per_second=10_000, waiting_at_most=2)
    for number in range(10, 13):
        made.record(job(), event(number, warning=True))
    await until(lambda: counts["written"] == 6)
    assert notes(server)[4:] == ["note 11", "note 12"], "then the oldest warning"


async def test_a_burst_costs_the_api_server_no_more_than_the_rate(server: Any, recorder: Any) -> None:
    server.on("POST", PATH, server.answer({}, 201))
    made = recorder()
    began = time.monotonic()
    for number in range(1000):
        made.record(job(), event(number))
    await asyncio.sleep(1.0)
    sent = len(notes(server))
    assert 5 <= sent <= event_recorder.PER_SECOND * (time.monotonic() - began) + 1


@pytest.mark.parametrize(
    ("fault", "sends"),
    [("500", 2), ("503", 2), ("429", 2), ("drop", 2), ("403", 1), ("404", 1), ("422", 1)],
)
async def test_what_cannot_be_written_is_sent_once_more_at_most_and_the_next_one_goes_on(
    server: Any, recorder: Any, counts: Counter[str], quick_retries: None, fault: str, sends: int
) -> None:
    reply = server.drop() if fault == "drop" else server.refuse(int(fault))
    server.on("POST", PATH, *[reply] * sends, server.answer({}, 201))
    made = recorder(per_second=10_000)
    made.record(job(), event(1))
    made.record(job(), event(2))
    await until(lambda: counts.total() == 2)
    assert notes(server) == ["note 1"] * sends + ["note 2"]
    assert counts == {"failed": 1, "written": 1}


async def test_a_lost_answer_writes_the_event_once(server: Any, recorder: Any, counts: Counter[str]) -> None:
    server.on("POST", PATH, server.drop(), server.refuse(409, "AlreadyExists"))
    recorder().record(job(), event(1))
    await until(lambda: counts["written"] == 1)
    assert len({received.body["metadata"]["name"] for received in server.sent("POST", PATH)}) == 1


async def test_recording_does_not_wait_for_an_api_server_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    counts: Counter[str] = Counter()
    async with Client(Connection("http://127.0.0.1:1")) as client:
        made = EventRecorder(client, "me", lambda result: counts.update([result]), per_second=10_000)
        for number in range(20):
            made.record(job(), event(number))
        task = asyncio.create_task(made.run())
        await until(lambda: counts["failed"] == 1)
        task.cancel()
    assert caplog.text.count("was given up") == 1


async def test_a_flickering_condition_is_announced_once_a_minute(
    server: Any, recorder: Any, counts: Counter[str]
) -> None:
    server.on("POST", PATH, server.answer({}, 201))
    made = recorder(per_second=10_000)
    for reason in ("Full", "HasRoom", "Full", "HasRoom", "Full"):
        made.record(queue(), Event(reason, "", repeats=True))
    made.record(queue(uid="q2"), Event("Full", "", repeats=True))
    await until(lambda: counts["written"] == 3)
    assert made.waiting() == []


async def test_what_waits_at_the_end_of_the_process_is_still_sent(
    server: Any, client: Client, counts: Counter[str]
) -> None:
    server.on("POST", PATH, server.answer({}, 201))
    made = EventRecorder(client, "me", lambda result: counts.update([result]))
    for number in range(30):
        made.record(job(), event(number))
    await made.drain(seconds=5)
    assert counts == {"written": 30}


async def test_the_end_of_the_process_does_not_wait_for_a_silent_api_server(
    server: Any, client: Client, counts: Counter[str]
) -> None:
    server.on("POST", PATH, server.stream(then="silent"))
    made = EventRecorder(client, "me", lambda result: counts.update([result]))
    made.record(job(), event(1))
    async with asyncio.timeout(60):
        await made.drain(seconds=0.1)
