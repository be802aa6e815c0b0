"""The status of a queue: what it counts, what it says, and how many slots it gives out."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from klipfake.objects import NOW, SUSPENDED, UID, ended, job, kube_job, pod, queue, running
from klipstream_api import Admitted, AnalysisJob, AnalysisQueue, Condition, OperationName, RunTimes
from klipstream_operator import queue_status
from klipstream_operator.administration import Answer
from klipstream_operator.operations import Outcome
from klipstream_operator.store import Store

KEY = ("n", "q")
AT = NOW.isoformat()
NOTHING = Answer({})


def at(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).isoformat()


def named(uid: str, of: AnalysisJob) -> AnalysisJob:
    return of.model_copy(update={"metadata": of.metadata.model_copy(update={"uid": uid, "name": f"job-{uid}"})})


def slot(uid: str = UID, attempt: int = 1) -> Admitted:
    return Admitted(uid=uid, attempt=attempt, name=f"job-{uid}")


def admitted(*slots: Admitted, **status: Any) -> dict[str, Any]:
    return {"admitted": [each.to_wire() for each in slots]} | status


def knowing(of: AnalysisQueue, *jobs: AnalysisJob, workloads: tuple[Any, ...] = ()) -> Store:
    store = Store(lambda _: None, lambda _: None, lambda: None)
    store.put_queue(of, NOW)
    for each in jobs:
        store.put_job(each, NOW)
    for workload in workloads:
        store.put_workload(workload)
    return store


def fold(of: AnalysisQueue, store: Store, released: Any = (), reserved: Any = (), asked: Answer = NOTHING) -> Any:
    return queue_status.fold(of, store, released, reserved, asked, NOW)


def said(conditions: tuple[Condition, ...]) -> dict[str, tuple[str, str]]:
    return {each.type: (each.status, each.reason) for each in conditions}


NO_IMAGE = {"spec": {"containers": [{"name": "w"}]}}
TWO_PROBLEMS = {"spec": {"containers": [{"name": "w"}], "restartPolicy": "Always"}}


@pytest.mark.parametrize(
    ("rule", "of", "refused", "starts"),
    [
        ("a queue in order starts jobs", queue(), None, True),
        ("a draining one too: it finishes what it took", queue(mode="Draining"), None, True),
        ("a paused one does not", queue(mode="Paused"), None, False),
        ("nor one that is not initialized", queue({"initialized": False}), None, False),
        ("nor one whose template has no image", queue(workerTemplate=NO_IMAGE), None, False),
        ("nor one whose template the API server refuses", queue(), (1, "no such class"), False),
        ("one that it takes does", queue(), (1, None), True),
    ],
)
def test_whether_a_queue_starts_jobs(
    rule: str, of: AnalysisQueue, refused: tuple[int, str | None] | None, starts: bool
) -> None:
    store = knowing(of)
    if refused is not None:
        store.refused_templates[KEY] = refused
    assert queue_status.may_start(of, store) is starts, rule
    assert queue_status.free_slots(of, store, 0) == (3 if starts else 0)


def test_a_queue_that_is_being_deleted_starts_nothing() -> None:
    of = queue()
    of = of.model_copy(update={"metadata": of.metadata.model_copy(update={"deletion_timestamp": NOW})})
    assert not queue_status.may_start(of, knowing(of))


def test_all_that_is_wrong_with_a_template_is_said() -> None:
    of = queue(workerTemplate=TWO_PROBLEMS)
    wrong = str(queue_status.template_problem(of, knowing(of)))
    assert "must have an image; workerTemplate.spec.restartPolicy" in wrong


@pytest.mark.parametrize(
    ("limit", "held", "released", "free"), [(3, 1, 0, 2), (3, 3, 1, 1), (1, 3, 1, 0), (0, 0, 0, 0)]
)
def test_free_slots_are_what_the_limit_leaves(limit: int, held: int, released: int, free: int) -> None:
    of = queue(admitted(*(slot(f"u{n}") for n in range(held))), maxConcurrentJobs=limit)
    assert queue_status.free_slots(of, knowing(of), released) == free


def test_slots_are_counted_by_priority_without_those_that_are_released() -> None:
    of = queue(admitted(slot("u1"), slot("u2"), slot("u2", 2), slot("gone")))
    store = knowing(of, named("u1", job(priority="URGENT")), named("u2", job(priority="LOW")))
    assert queue_status.active_by_priority(of, store, [slot("u2", 1)]) == {4: 1, 1: 1, 0: 1}


def test_the_status_counts_what_waits_and_holds_what_was_reserved() -> None:
    of = queue(admitted(slot("u1"), slot("u1", 2), slot("u2")))
    store = knowing(
        of,
        named("u1", job(running())), named("u2", job({"phase": "Succeeded", "attempt": 1})),
        named("u3", job(priority="LOW")), named("u4", job(priority="HIGH")),
        named("u5", job(running("BackingOff"))),
        named("u6", job({"phase": "Failed", "failureFingerprint": "f", "attempts": [{"attempt": 1, "reason": "Bad"}],
                         "conditions": [{"type": "DeadLettered", "status": "True"}]})),
    )  # fmt: skip
    changed = of.model_copy(update={"metadata": of.metadata.model_copy(update={"generation": 2})})
    status = fold(changed, store, [slot("u1", 1), slot("u2")], [slot("u4")])
    assert [(each.uid, each.attempt) for each in status.admitted] == [("u1", 2), ("u4", 1)]
    assert (status.active, status.queued, status.backing_off, status.dead_lettered) == (2, 1, 1, 1)
    assert [(each.fingerprint, each.count) for each in status.dead_letter_groups] == [("f", 1)]
    assert [(each.name, each.priority.value) for each in status.head] == [("job-u4", "HIGH"), ("job-u3", "LOW")]
    assert status.head[0].queued_at == job().status.queued_at
    assert (status.observed_generation, status.selector) == (2, "analysis.klipstream.io/queue=q")


def test_more_reservations_than_waiting_jobs_are_no_negative_count() -> None:
    of = queue()
    store = knowing(of, job(running()))
    assert fold(of, store, (), [slot()]).queued == 0


def test_the_first_twenty_that_start_next_are_shown() -> None:
    of = queue()
    store = knowing(of, *(named(f"u{n:02}", job({"sequence": n})) for n in range(30)))
    assert [each.name for each in fold(of, store).head] == [f"job-u{n:02}" for n in range(20)]


SUCCEEDED = {"phase": "Succeeded", "attempt": 1, "startedAt": at(-90), "finishedAt": at(-30.5)}
TOTALS = {"succeeded": 5, "failed": 5, "cancelled": 5, "retried": 5, "started": 5, "waitSeconds": 9, "runSeconds": 100}


@pytest.mark.parametrize(
    ("rule", "of", "attempt", "counted"),
    [
        ("a success and its run time", job(SUCCEEDED), 1, {"succeeded": 6, "run_seconds": 159.5}),
        (
            "to the millisecond",
            job(SUCCEEDED | {"finishedAt": at(-88.9996)}),
            1,
            {"succeeded": 6, "run_seconds": 101.0},
        ),
        ("a final failure", job({"phase": "Failed", "attempt": 1}), 1, {"failed": 6}),
        ("a cancel", job({"phase": "Cancelled", "attempt": 1}), 1, {"cancelled": 6}),
        ("a reservation that was never used", job({"phase": "Failed", "attempt": 1}), 2, {"cancelled": 6}),
        ("a failure that is tried again", job(running("BackingOff")), 1, {"retried": 6}),
        ("a loss that is repeated at once", job(running("Queued", attempts=[])), 1, {"retried": 6}),
        ("not what was given back for want of a node", job(running("Starting")), 1, {}),
        ("not a job that is gone", None, 1, {}),
    ],
)
def test_totals_count_each_attempt_with_its_slot(
    rule: str, of: AnalysisJob | None, attempt: int, counted: dict[str, float]
) -> None:
    its_queue = queue(admitted(slot(attempt=attempt), totals=TOTALS))
    store = knowing(its_queue, *((of,) if of is not None else ()))
    status = fold(its_queue, store, [slot(attempt=attempt)])
    assert status.totals == its_queue.status.totals.model_copy(update=counted), rule
    assert status.admitted == ()


def test_several_released_at_once_all_count() -> None:
    its_queue = queue(admitted(slot("gone"), slot("u1"), slot("u2"), totals=TOTALS))
    store = knowing(its_queue, named("u1", job(SUCCEEDED)), named("u2", job({"phase": "Failed", "attempt": 1})))
    totals = fold(its_queue, store, its_queue.status.admitted).totals
    assert (totals.succeeded, totals.failed) == (6, 6)


def test_run_times_are_kept_by_type() -> None:
    its_queue = queue(admitted(slot("u1"), slot("u2")))
    store = knowing(its_queue, named("u1", job(SUCCEEDED, type="film")), named("u2", job(SUCCEEDED)))
    assert fold(its_queue, store, its_queue.status.admitted).run_times == (
        RunTimes(type="film", buckets={"43": 1}), RunTimes(type="", buckets={"43": 1}),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("started", "finished", "seconds"),
    [
        (at(-90), at(-30.5), 59.5),
        (at(-30), at(-90), 0.0),
        (None, at(0), 0.0),
        (at(0), None, 0.0),
        (at(-1.25), at(-1), 0.25),
    ],
)
def test_a_run_time_is_never_negative(started: str | None, finished: str | None, seconds: float) -> None:
    of = job({"phase": "Succeeded", "startedAt": started, "finishedAt": finished})
    assert queue_status.run_seconds(of) == seconds


@pytest.mark.parametrize(
    ("rule", "of", "attempt", "counted"),
    [
        ("since it was accepted", job({"queuedAt": at(-245.5)}), 1, {"started": 6, "wait_seconds": 254.5}),
        ("or since it was due", job({"queuedAt": at(-245)}, notBefore=at(-2)), 1, {"started": 6, "wait_seconds": 11.0}),
        ("to the millisecond", job({"queuedAt": at(-1.0004)}), 1, {"started": 6, "wait_seconds": 10.0}),
        ("never less than nothing", job({"queuedAt": at(5)}), 1, {"started": 6, "wait_seconds": 9.0}),
        ("half a second is one", job({"queuedAt": at(-0.5)}), 1, {"started": 6, "wait_seconds": 9.5}),
        ("not for a second attempt", job(running("Queued", attempts=[])), 2, {}),
        ("not for one that goes on", job(running("Queued")), 1, {}),
        ("not where nobody knows since when", job({"queuedAt": None}), 1, {}),
    ],
)
def test_the_first_wait_of_a_job_is_counted(
    rule: str, of: AnalysisJob, attempt: int, counted: dict[str, float]
) -> None:
    its_queue = queue({"totals": TOTALS})
    status = fold(its_queue, knowing(its_queue, of), (), [slot(attempt=attempt)])
    assert status.totals == its_queue.status.totals.model_copy(update=counted), rule


def test_waits_of_several_add_up() -> None:
    its_queue = queue({"totals": TOTALS})
    store = knowing(
        its_queue, named("u1", job({"queuedAt": at(-1)})), named("u2", job(running("Queued", attempts=[]))),
        named("u3", job({"queuedAt": at(-2)})),
    )  # fmt: skip
    totals = fold(its_queue, store, (), [slot("u1"), slot("u2", 2), slot("u3")]).totals
    assert (totals.started, totals.wait_seconds) == (7, 12.0)


CPU = {"shape": "default", "since": at(-60), "tries": 1, "nextTryAt": AT, "missing": ["cpu"], "message": "No room."}
KEEPS_ALL = {"reservedSlots": {"URGENT": 2, "HIGH": 1}}


@pytest.mark.parametrize(
    ("rule", "of", "expected"),
    [
        ("all is well", queue(), {}),
        ("a template that cannot be used", queue(workerTemplate=NO_IMAGE),
         {"Ready": ("False", "InvalidWorkerTemplate")}),
        ("slots are left", queue(**KEEPS_ALL, maxConcurrentJobs=4), {}),
        ("all slots are kept for higher ones", queue(**KEEPS_ALL), {"Ready": ("True", "AllSlotsReserved")}),
        ("be it only one", queue(reservedSlots={"URGENT": 1}, maxConcurrentJobs=1),
         {"Ready": ("True", "AllSlotsReserved")}),
        ("a wrong template weighs more", queue(**KEEPS_ALL, workerTemplate=NO_IMAGE),
         {"Ready": ("False", "InvalidWorkerTemplate")}),
        ("without slots none is kept", queue(**KEEPS_ALL, maxConcurrentJobs=0), {}),
        ("there is room", queue(maxQueueSize=2), {}),
        ("the queue is full", queue(maxQueueSize=1), {"Full": ("True", "QueueFull")}),
        ("no node fits", queue({"capacity": [CPU]}), {"CapacityAvailable": ("False", "NoNodeFits")}),
        ("it is draining", queue(mode="Draining"), {"Drained": ("False", "Draining")}),
    ],
)  # fmt: skip
def test_conditions(rule: str, of: AnalysisQueue, expected: dict[str, tuple[str, str]]) -> None:
    well = {
        "Ready": ("True", "Ready"), "Full": ("False", "HasRoom"), "CapacityAvailable": ("True", "Available"),
        "Drained": ("False", "NotDraining"),
    }  # fmt: skip
    conditions = fold(of, knowing(of, job())).conditions
    assert said(conditions) == well | expected, rule
    assert all(each.message and each.last_transition_time == NOW for each in conditions)
    messages = {each.type: each.message for each in conditions}
    assert ("spec.maxQueueSize" in messages["Full"]) is ("Full" in expected)
    assert ("Nothing starts" in messages["Ready"]) is (expected.get("Ready", ("True",))[0] == "False")


@pytest.mark.parametrize(
    ("rule", "of", "of_job", "drained"),
    [
        ("nothing is left", queue(mode="Draining"), None, True),
        ("one waits", queue(mode="Draining"), job(), False),
        ("one backs off", queue(mode="Draining"), job(running("BackingOff")), False),
        ("one holds a slot", queue(admitted(slot()), mode="Draining"), None, False),
        ("it does not drain", queue(mode="Paused"), None, False),
    ],
)
def test_drained_is_said_when_nothing_accepted_is_left(
    rule: str, of: AnalysisQueue, of_job: AnalysisJob | None, drained: bool
) -> None:
    conditions = said(fold(of, knowing(of, *((of_job,) if of_job is not None else ()))).conditions)
    assert (conditions["Drained"] == ("True", "Drained")) is drained, rule


def test_a_condition_says_what_is_wrong() -> None:
    of = queue({"capacity": [CPU]}, workerTemplate=NO_IMAGE, **KEEPS_ALL)
    messages = {each.type: each.message for each in fold(of, knowing(of)).conditions}
    assert "must have an image. Mend" in messages["Ready"]
    assert messages["CapacityAvailable"].startswith(
        "No room. One job at a time tries again, next at 2026-01-02T03:04:05"
    )
    kept = queue(**KEEPS_ALL)
    assert "all 3 slots" in {each.type: each.message for each in fold(kept, knowing(kept)).conditions}["Ready"]


def test_conditions_keep_the_time_of_their_last_change() -> None:
    of = queue({"conditions": [
        {"type": name, "status": status, "reason": "R", "message": "m", "lastTransitionTime": at(-60)}
        for name, status in (("Ready", "True"), ("Full", "False"), ("CapacityAvailable", "False"), ("Other", "True"))
    ]})  # fmt: skip
    since = {each.type: each.last_transition_time for each in fold(of, knowing(of)).conditions}
    earlier = NOW - timedelta(seconds=60)
    assert since == {"Ready": earlier, "Full": earlier, "CapacityAvailable": NOW, "Other": earlier, "Drained": NOW}


def test_a_slot_given_back_begins_a_shortage_and_who_is_reserved_then_tries() -> None:
    stopped = running(
        "Starting", stop={"attempt": 1, "reason": "Unschedulable", "message": "1 Insufficient cpu", "at": AT}
    )
    of = queue(admitted(slot("u1")))
    workloads = (replace(SUSPENDED, job_uid="u1"),)
    store = knowing(of, named("u1", job(stopped)), named("u2", job()), workloads=workloads)
    (entry,) = fold(of, store, [slot("u1"), slot("gone")], [slot("u2")]).capacity
    assert (entry.shape, entry.missing, entry.trying, entry.tries) == ("default", ("cpu",), "u2", 1)


def test_what_runs_on_a_node_ends_the_shortage() -> None:
    of = queue(admitted(slot("u1"), capacity=[CPU | {"trying": "u1"}]))
    on_node = pod("Pending", job_uid="u1", node_name="n1")
    store = knowing(of, named("u1", job(running("Starting"))), workloads=(kube_job(job_uid="u1"), on_node))
    assert fold(of, store).capacity == ()


def test_room_that_a_released_slot_leaves_is_tried_at_once() -> None:
    of = queue(admitted(slot("u1"), capacity=[CPU | {"nextTryAt": at(300)}]))
    finished = named("u1", job({"phase": "Succeeded", "attempt": 1}))
    store = knowing(of, finished, workloads=(kube_job(job_uid="u1"), ended(0, job_uid="u1", node_name="n1")))
    (entry,) = fold(of, store, [slot("u1")]).capacity
    assert entry.next_try_at == NOW


REPLAY = {"fingerprint": "f", "requestedAt": AT, "state": "Canary", "canary": "job-u1", "canaryUID": "u1",
          "canaryReplay": 1, "jobs": 1}  # fmt: skip


def test_replays_go_on_and_a_new_one_joins_them() -> None:
    of = queue({"replays": [REPLAY]})
    store = knowing(of, named("u1", job({"phase": "Succeeded", "observedReplay": 1})))
    (replay,) = fold(of, store).replays
    assert replay.state.value == "Releasing"
    letter = {"phase": "Failed", "failureFingerprint": "f", "finishedAt": at(-9),
              "conditions": [{"type": "DeadLettered", "status": "True"}]}  # fmt: skip
    releasing = queue({"replays": [REPLAY | {"state": "Releasing", "jobs": 3}]})
    (left,) = fold(releasing, knowing(releasing, named("u2", job(letter)))).replays
    assert (left.state.value, left.released) == ("Releasing", 1)
    new = replay.model_copy(update={"fingerprint": "g"})
    assert [each.fingerprint for each in fold(of, store, asked=Answer({}, new)).replays] == ["f", "g"]


def test_what_was_asked_is_acknowledged() -> None:
    of = queue()
    metadata = of.metadata.model_copy(update={"annotations": {"analysis.klipstream.io/restart": "1"}})
    of = of.model_copy(update={"metadata": metadata})
    (done,) = fold(of, knowing(of), asked=Answer({OperationName.RESTART: Outcome(1, "m")})).operations
    assert (done.name.value, done.request, done.at, done.count) == ("Restart", "1", NOW, 1)
