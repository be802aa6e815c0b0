"""What the operator knows: newer replaces older, whoever has to look again is told, and nothing is forgotten early."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from klipfake.objects import NOW, SUSPENDED, UID, ended, job, kube_job, pod, queue, running, view
from klipstream_api import Admitted, AnalysisJob, AnalysisQueue, Phase, Priority, Progress
from klipstream_operator.capacity import shape_of
from klipstream_operator.store import Store, queue_key, version
from klipstream_operator.workload import AttemptView, JobView, PodView, Waiting
from klipstream_queueing.backlog import DEFAULT_LANE
from klipstream_queueing.order import Rank

KEY = ("n", "q")
OTHER = ("n", "other")
AT = NOW.isoformat()
PENDING = pod("Pending", running_since=None)
ADMITTED = {"uid": UID, "attempt": 1, "name": "a"}
DEAD = {"phase": "Failed", "attempt": 1, "failureFingerprint": "f",
        "conditions": [{"type": "DeadLettered", "status": "True"}]}  # fmt: skip


@dataclass
class Noted:
    """A store, and whom it told to look again."""

    jobs: list[str] = field(default_factory=list)
    queues: list[tuple[str, str]] = field(default_factory=list)
    unaccepted: int = 0

    def __post_init__(self) -> None:
        self.store = Store(self.jobs.append, self.queues.append, self.count)

    def count(self) -> None:
        self.unaccepted += 1

    def told(self) -> tuple[list[str], list[tuple[str, str]], int]:
        """Who was told since the last time."""
        since = (list(self.jobs), list(self.queues), self.unaccepted)
        self.jobs.clear()
        self.queues.clear()
        self.unaccepted = 0
        return since


def new(of: AnalysisJob, resource_version: int = 10, uid: str = UID, **metadata: Any) -> AnalysisJob:
    changed = {"resource_version": str(resource_version), "uid": uid} | metadata
    return of.model_copy(update={"metadata": of.metadata.model_copy(update=changed)})


def newer(of: AnalysisQueue, resource_version: int = 6, **metadata: Any) -> AnalysisQueue:
    changed = {"resource_version": str(resource_version)} | metadata
    return of.model_copy(update={"metadata": of.metadata.model_copy(update=changed)})


def holding(*attempts: int, uid: str = UID, **spec: Any) -> AnalysisQueue:
    return queue({"admitted": [{"uid": uid, "attempt": attempt, "name": "a"} for attempt in attempts]}, **spec)


def waiting(store: Store, key: tuple[str, str] = KEY) -> list[str]:
    return [rank.uid for rank in store.backlogs[key]]


def knowing(*jobs: AnalysisJob, queues: tuple[AnalysisQueue, ...] = (), workloads: tuple[Any, ...] = ()) -> Noted:
    noted = Noted()
    for each in queues:
        noted.store.put_queue(each, NOW)
    for each_job in jobs:
        noted.store.put_job(each_job, NOW)
    for workload in workloads:
        noted.store.put_workload(workload)
    noted.told()
    return noted


# --- AnalysisJobs ------------------------------------------------------------------------------------------------


def test_a_resource_version_is_a_number_and_a_job_belongs_to_the_queue_that_accepted_it() -> None:
    assert version(job()) == 9
    assert queue_key(job()) == KEY
    assert queue_key(job({"queueName": None}, queueName="q")) is None


def test_a_copy_of_a_job_changes_nothing_of_the_others() -> None:
    """What was read shares the set of fields that were given: an empty one, which a copy must not fill."""
    wire = {"metadata": {"name": "a", "uid": "a"}, "spec": {"videoUrl": "https://example.com/v.mp4"}}
    first, second = AnalysisJob.from_wire(wire), AnalysisJob.from_wire(wire)
    status = first.status.model_copy(update={"attempt": 3})
    assert first.model_copy(update={"status": status}) != second
    assert first == second
    assert not second.status.model_fields_set
    assert not AnalysisJob.from_wire(wire).spec.model_fields_set


def test_an_older_job_never_replaces_a_newer_one() -> None:
    noted = knowing(job())
    assert not noted.store.put_job(job({"phase": "Running"}), NOW), "as new"
    assert not noted.store.put_job(new(job({"phase": "Running"}), 8), NOW), "older"
    assert noted.told() == ([], [], 0)
    assert noted.store.jobs[UID].status.phase is Phase.QUEUED
    assert noted.store.put_job(new(job(running())), NOW)
    assert noted.told() == ([UID], [KEY], 0)
    assert noted.store.jobs[UID].status.phase is Phase.RUNNING


def test_acceptance_is_told_of_what_has_no_sequence_until_it_has_one() -> None:
    noted = Noted()
    noted.store.put_job(job({"sequence": None, "queueName": None}), NOW)
    assert noted.told() == ([UID], [], 1)
    assert not noted.store.backlogs, "it waits in no backlog"
    assert (noted.store.unaccepted, noted.store.arrivals) == ({UID}, {UID: 9})
    noted.store.put_job(new(job({"queueName": None})), NOW)
    assert noted.told() == ([UID], [], 1)
    assert (noted.store.unaccepted, noted.store.arrivals) == ({UID}, {UID: 9}), "it came when it was first seen"
    noted.store.put_job(new(job(), 11), NOW)
    assert noted.told() == ([UID], [KEY], 0)
    assert (noted.store.unaccepted, noted.store.arrivals) == (set(), {})
    noted.store.put_job(new(job({"queueName": None}), uid="u2"), NOW)
    noted.store.remove_job("u2")
    assert (noted.store.unaccepted, noted.store.arrivals) == (set(), {})
    noted.store.remove_job("unknown")


def test_what_was_rejected_does_not_ask_to_be_accepted() -> None:
    noted = Noted()
    noted.store.put_job(job({"sequence": None, "queueName": None, "phase": "Rejected"}), NOW)
    assert (noted.store.unaccepted, noted.unaccepted) == (set(), 0)


def test_a_job_that_comes_back_is_not_gone() -> None:
    noted = Noted()
    noted.store.deleted.add(UID)
    noted.store.put_job(job(), NOW)
    assert noted.store.deleted == set()


def test_counts_follow_each_change_of_a_job() -> None:
    noted = knowing(job(priority="HIGH"))
    store = noted.store
    assert (store.phases[KEY][Phase.QUEUED], store.priorities[KEY][Priority.HIGH]) == (1, 1)
    store.put_job(new(job(running(), priority="HIGH")), NOW)
    assert (store.phases[KEY][Phase.QUEUED], store.priorities[KEY][Priority.HIGH]) == (0, 0)
    assert store.phases[KEY][Phase.RUNNING] == 1
    store.put_job(new(job(DEAD), 11), NOW)
    assert (store.phases[KEY][Phase.RUNNING], store.dead_letters[KEY]) == (0, {"f": {UID}})
    store.put_job(new(job(DEAD), 12, uid="u2"), NOW)
    assert store.dead_letters[KEY] == {"f": {UID, "u2"}}
    store.remove_job("u2")
    assert store.dead_letters[KEY] == {"f": {UID}}
    store.put_job(new(job({"conditions": [{"type": "DeadLettered", "status": "False"}]}), 13), NOW)
    assert store.dead_letters[KEY] == {}


def test_a_dead_letter_without_a_fingerprint_is_one_all_the_same() -> None:
    noted = knowing(job(DEAD | {"failureFingerprint": None}))
    assert noted.store.dead_letters[KEY] == {"": {UID}}


def test_a_deleted_job_is_forgotten_with_all_that_was_known_of_it() -> None:
    noted = knowing(job())
    store = noted.store
    store.progress[UID] = Progress(attempt=1, percentage=1, stage="s", updated_at=NOW)
    store.unaccepted.add(UID)
    store.remove_job(UID)
    assert noted.told() == ([UID], [KEY], 0)
    assert (store.jobs, store.progress, store.unaccepted, waiting(store)) == ({}, {}, set(), [])
    assert store.phases[KEY][Phase.QUEUED] == 0
    store.remove_job(UID)
    assert noted.told() == ([UID], [], 0), "a second time only the job itself is looked at"


# --- the backlog -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "of", "its_queue", "expected"),
    [
        ("an accepted job waits", job(), queue(), True),
        ("also where its queue is gone", job(), None, True),
        ("one that is not accepted does not", job({"sequence": None, "queueName": None}), queue(), False),
        ("though it has its place", job({"queueName": None}), queue(), False),
        ("nor one that runs", job(running()), queue(), False),
        ("nor a cancelled one", job(cancel=True), queue(), False),
        ("nor one that is being deleted", new(job(), deletion_timestamp=NOW), queue(), False),
        ("nor one whose moment has not come", job(notBefore="2026-01-02T03:04:06Z"), queue(), False),
        ("one whose moment has come does", job(notBefore="2026-01-02T03:04:05Z"), queue(), True),
        ("a cleared one does not", job(), queue({"operations": [{"name": "Clear", "request": "q", "at": AT}]}), False),
        ("nor one that holds a slot", job(), holding(1), False),
        ("the slot of another one does not matter", job(), holding(1, uid="u2"), True),
    ],
)
def test_who_waits_for_a_slot(rule: str, of: AnalysisJob, its_queue: AnalysisQueue | None, expected: bool) -> None:
    noted = knowing(of, queues=(its_queue,) if its_queue is not None else ())
    assert waiting(noted.store) == ([UID] if expected else []), rule


def test_a_job_whose_moment_has_come_waits_as_soon_as_somebody_asks() -> None:
    """The operator may have been frozen, and its timers run one after the other."""
    noted = knowing(job(notBefore="2026-01-02T03:04:06Z"), queues=(queue(),))
    noted.store.come_due(NOW)
    assert (waiting(noted.store), noted.told()) == ([], ([], [], 0))
    noted.store.come_due(NOW + timedelta(seconds=1))
    assert (waiting(noted.store), noted.told()) == ([UID], ([], [KEY], 0))
    noted.store.come_due(NOW + timedelta(seconds=2))
    assert noted.told() == ([], [], 0), "once"


def test_only_the_last_moment_that_was_asked_for_counts() -> None:
    noted = knowing(job(notBefore="2026-01-02T03:04:06Z"), queues=(queue(),))
    noted.store.put_job(new(job(notBefore="2026-01-02T03:04:08Z")), NOW)
    noted.told()
    noted.store.come_due(NOW + timedelta(seconds=2))
    assert (waiting(noted.store), noted.told()) == ([], ([], [], 0))
    noted.store.come_due(NOW + timedelta(seconds=3))
    assert waiting(noted.store) == [UID]
    gone = knowing(job(notBefore="2026-01-02T03:04:06Z"), queues=(queue(),))
    gone.store.remove_job(UID)
    gone.told()
    gone.store.come_due(NOW + timedelta(seconds=3))
    assert (waiting(gone.store), gone.told()) == ([], ([], [], 0))


def test_a_job_that_is_being_reserved_does_not_wait_and_one_that_is_put_back_does() -> None:
    noted = knowing(job())
    noted.store.assumed.add(UID)
    assert not noted.store.refresh(UID, NOW)
    assert waiting(noted.store) == []
    noted.store.assumed.clear()
    assert noted.store.refresh(UID, NOW), "put there anew"
    assert not noted.store.refresh(UID, NOW), "is there already"
    assert noted.told() == ([], [], 0), "those who put back must not wake themselves"
    assert not noted.store.refresh("unknown", NOW)


def test_a_slot_may_go_to_the_job_whose_only_slot_the_same_write_releases() -> None:
    noted = knowing(job(), queues=(holding(1),))
    noted.store.releasing.add(UID)
    assert noted.store.refresh(UID, NOW)
    assert waiting(noted.store) == [UID]


def test_jobs_of_one_size_share_a_lane() -> None:
    large = job(resources={"limits": {"cpu": "4"}})
    noted = knowing(large)
    assert noted.store.backlogs[KEY].peek() == (Rank(-2, 7, UID), shape_of(large))
    assert shape_of(large) != "default"


@pytest.mark.parametrize(
    ("admitted", "phase", "expected"),
    [((), "Queued", 2), ((1,), "Queued", 1), ((1,), "Running", 1), ((1, 2), "Queued", 1)],
)
def test_what_holds_a_slot_is_not_counted_as_waiting(admitted: tuple[int, ...], phase: str, expected: int) -> None:
    first = job(running(phase, attempt=0) if phase == "Running" else {}, priority="HIGH")
    noted = knowing(first, new(job(priority="LOW"), uid="u2"), queues=(holding(*admitted),))
    assert noted.store.queued(KEY) == expected
    assert noted.store.waiting(KEY).total() == expected
    assert noted.store.waiting(KEY)[Priority.LOW] == 1


def test_a_reservation_of_an_unknown_job_hides_none_that_waits() -> None:
    noted = knowing(job(), queues=(holding(1, uid="unknown"),))
    assert (noted.store.queued(KEY), noted.store.queued(OTHER)) == (1, 0)
    assert noted.store.waiting(KEY) == {Priority.NORMAL: 1}


def test_what_waits_may_be_counted_by_reservations_that_are_still_to_be_written() -> None:
    noted = knowing(job(), new(job(), uid="u2"), queues=(holding(1),))
    twice = [Admitted(uid="u2", attempt=attempt, name="a") for attempt in (1, 2)]
    assert [noted.store.queued(KEY, admitted) for admitted in ((), twice, [*twice, *holding(1).status.admitted])] == [
        2, 1, 0,
    ]  # fmt: skip


# --- AnalysisQueues ----------------------------------------------------------------------------------------------


def test_an_older_queue_never_replaces_a_newer_one_but_a_new_one_of_its_name_does() -> None:
    noted = knowing(queues=(queue(),))
    assert not noted.store.put_queue(queue(mode="Paused"), NOW)
    assert noted.told() == ([], [], 0)
    assert noted.store.put_queue(newer(queue(mode="Paused"), 4, uid="q2"), NOW)
    assert noted.told() == ([], [KEY], 1)
    assert noted.store.queues[KEY].metadata.uid == "q2"
    assert noted.store.put_queue(newer(queue(mode="Paused"), 5, uid="q2"), NOW)
    assert noted.told() == ([], [KEY], 0), "nothing that concerns a submission has changed"


def test_who_is_told_of_a_changed_queue() -> None:
    finished, other = new(job({"phase": "Succeeded"}), uid="u2"), new(job({"queueName": "other"}), uid="u3")
    noted = knowing(job(notBefore="2026-01-02T03:04:05Z"), finished, other, queues=(queue(),))
    noted.store.put_queue(newer(queue({"active": 3})), NOW)
    assert noted.told() == ([], [KEY], 0), "counters concern nobody"
    noted.store.put_queue(newer(queue(maxQueueSize=7), 7), NOW)
    assert noted.told() == ([], [KEY], 0), "limits concern the writer"
    noted.store.put_queue(newer(queue(maxQueueSize=7, accepts={"types": ["vod"]}), 8), NOW)
    assert noted.told() == ([], [KEY], 1), "and what it accepts those that wait for a queue"
    noted.store.put_job(new(job(running()), uid="u4"), NOW)
    noted.told()
    noted.store.put_queue(newer(queue(maxQueueSize=7, timeoutSeconds=70, accepts={"types": ["vod"]}), 7_1), NOW)
    assert noted.told() == (["u4"], [KEY], 0), "and whatever is beyond its queue"
    noted.store.remove_job("u4")
    noted.told()
    noted.store.put_queue(
        newer(queue(maxQueueSize=7, accepts={"types": ["vod"]}, aging={"everySeconds": 60}), 7_2), NOW
    )
    assert noted.told() == ([UID], [KEY], 0), "aging concerns those that wait"
    done = {"operations": [{"name": "Clear", "request": "q", "at": AT}]}
    aging = {"aging": {"everySeconds": 60}, "accepts": {"types": ["vod"]}}
    noted.store.put_queue(newer(queue(done, maxQueueSize=7, **aging), 80), NOW)
    assert noted.told() == ([UID], [KEY], 0), "what was asked of the queue concerns its jobs"
    assert waiting(noted.store) == []
    noted.store.put_queue(newer(queue(done, maxQueueSize=7, **aging), 90), NOW)
    assert noted.told() == ([], [KEY], 0)
    noted.store.put_queue(newer(queue(done, maxQueueSize=7), 1, uid="q2"), NOW)
    assert noted.told() == ([UID], [KEY], 1), "a new queue of that name is looked at whole"


def test_the_jobs_of_a_queue_are_those_that_it_accepted() -> None:
    noted = knowing(job(), new(job({"queueName": "other"}), uid="u2"))
    assert [each.uid for each in noted.store.of_queue(KEY)] == [UID]


def test_a_deleted_queue_lets_go_of_its_reservations_and_a_new_one_of_its_name_is_kept() -> None:
    noted = knowing(job(notBefore="2026-01-02T03:04:05Z"), queues=(holding(1),))
    noted.store.refused_templates[KEY] = (1, "bad")
    noted.store.remove_queue(KEY, "an earlier one", NOW)
    assert (noted.told(), set(noted.store.queues)) == (([], [], 0), {KEY})
    noted.store.remove_queue(KEY, "q1", NOW)
    assert noted.told() == ([UID], [KEY], 1), "submissions may go elsewhere now"
    assert (noted.store.queues, noted.store.reservations, noted.store.refused_templates) == ({}, {}, {})
    assert waiting(noted.store) == [UID]
    noted.store.remove_queue(KEY, "q1", NOW)
    assert noted.told() == ([], [], 0)


def test_reservations_are_known_by_job_over_all_queues() -> None:
    other = holding(2).model_copy(update={"metadata": queue().metadata.model_copy(update={"name": "other"})})
    noted = knowing(job(), queues=(holding(1, 3), other))
    assert noted.store.reservations == {UID: {KEY: frozenset({1, 3}), OTHER: frozenset({2})}}
    assert noted.store.reserved(UID) == {1, 2, 3}
    assert noted.store.reserved("unknown") == frozenset()
    noted.store.put_queue(newer(holding(3)), NOW)
    assert noted.told() == ([UID], [KEY], 0)
    noted.store.put_queue(newer(holding(), 7), NOW)
    assert noted.store.reservations == {UID: {OTHER: frozenset({2})}}
    noted.store.put_queue(newer(holding(), 8), NOW)
    assert noted.told() == ([UID], [KEY, KEY], 0), "whose reservations stay the same is not told again"


def test_a_reservation_that_is_taken_back_lets_the_job_wait_again() -> None:
    noted = knowing(job(notBefore="2026-01-02T03:04:05Z"), queues=(holding(1),))
    assert waiting(noted.store) == []
    noted.store.put_queue(newer(holding()), NOW)
    assert waiting(noted.store) == [UID]


# --- what runs ---------------------------------------------------------------------------------------------------


def test_an_older_view_of_what_runs_never_replaces_a_newer_one() -> None:
    noted = knowing(queues=(holding(1),), workloads=(kube_job(), pod()))
    store = noted.store
    for resource_version in (2, 3):
        store.put_workload(kube_job(resource_version=resource_version, suspend=True))
    for resource_version in (3, 4):
        store.put_workload(pod("Failed", resource_version=resource_version))
    assert noted.told() == ([], [], 0)
    assert store.attempt((UID, 1)) == view(kube_job(), pod())
    store.put_workload(kube_job(resource_version=4, suspend=True))
    assert noted.told() == ([UID], [], 0), "its slot is held as before"
    store.put_workload(pod("Failed", resource_version=5))
    assert noted.told() == ([UID], [], 0), "no status says yet what its end comes to"
    assert store.attempt((UID, 1)) == view(
        kube_job(resource_version=4, suspend=True), pod("Failed", resource_version=5)
    )


def test_a_new_version_that_says_nothing_new_is_not_looked_at() -> None:
    """Such as a finalizer that was taken off: it is the version that the next write has to name, and no more."""
    noted = knowing(job(running()), queues=(holding(1),), workloads=(kube_job(), pod()))
    noted.store.put_workload(kube_job(resource_version=7))
    noted.store.put_workload(pod(resource_version=8))
    assert noted.told() == ([], [], 0)
    known = noted.store.attempt((UID, 1))
    assert known.job is not None
    assert (known.job.resource_version, known.pods["p1"].resource_version) == (7, 8)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (replace(PENDING, node_name="other", scheduled_at=NOW), False),
        (replace(PENDING, waiting=(Waiting("w", "ContainerCreating", ""),), never_ran=True), False),
        (replace(PENDING, waiting=(Waiting("w", "ImagePullBackOff", "no such image"),)), True),
        (pod("Running"), True),
        (replace(PENDING, deleted_at=NOW), True),
        (replace(PENDING, unschedulable="0/1 nodes", unschedulable_since=NOW), True),
        (replace(PENDING, disruption="EvictionByEvictionAPI"), True),
        (kube_job(pods_left=0), False),
        (kube_job(conditions={"SuccessCriteriaMet": "CompletionsReached"}), False),
        (kube_job(conditions={"Complete": ""}), True),
        (kube_job(conditions={"Failed": "BackoffLimitExceeded"}), True),
        (kube_job(suspend=True), True),
        (kube_job(fenced=True), True),
        (kube_job(queued_in="local"), True),
    ],
)
def test_a_job_is_looked_at_for_what_a_step_can_turn_on(change: JobView | PodView, told: bool) -> None:
    noted = knowing(job(running()), queues=(holding(1),), workloads=(kube_job(), PENDING))
    noted.store.put_workload(replace(change, resource_version=9))
    assert noted.told()[0] == ([UID] if told else [])
    known = noted.store.attempt((UID, 1))
    assert change in (known.job, *known.pods.values()), "it is known in any case"


def test_a_queue_is_told_when_a_slot_may_be_released() -> None:
    noted = knowing(job(running()), queues=(holding(1),), workloads=(kube_job(), pod("Pending")))
    noted.store.put_workload(pod(resource_version=6))
    assert noted.told() == ([UID], [], 0), "it runs"
    noted.store.put_job(new(job({"phase": "Failed", "attempt": 1})), NOW)
    assert noted.told() == ([UID], [KEY], 0), "its status is final"
    noted.store.put_workload(ended(1, resource_version=7))
    assert noted.told() == ([UID], [KEY], 0), "and now nothing of it runs"


@pytest.mark.parametrize(
    ("rule", "came_back", "told"),
    [
        ("as it was written", newer(holding(1)), False),
        ("with another reservation", newer(holding(2)), True),
        ("with another spec", newer(holding(1, maxConcurrentJobs=7), generation=2), True),
        ("with an operation that is asked for", newer(holding(1), annotations={"a": "b"}), True),
        ("deleted", newer(holding(1), deletion_timestamp=NOW), True),
    ],
)
def test_what_a_queues_writer_wrote_tells_it_nothing_when_it_comes_back(
    rule: str, came_back: AnalysisQueue, told: bool
) -> None:
    noted = knowing(job(), queues=(queue(),))
    noted.store.being_written[KEY] = holding(1).status
    assert noted.store.put_queue(came_back, NOW)
    assert noted.told()[1] == ([KEY] if told else []), rule
    assert noted.store.reserved(UID) == {entry.attempt for entry in came_back.status.admitted}


@pytest.mark.parametrize("tries", [True, False])
def test_a_queue_is_told_of_the_node_that_a_try_found(tries: bool) -> None:
    short = {
        "shape": DEFAULT_LANE, "since": AT, "missing": ["cpu"], "message": "m", "tries": 1, "nextTryAt": AT,
        "trying": UID if tries else None,
    }  # fmt: skip
    held = queue({"admitted": [ADMITTED], "capacity": [short]})
    noted = knowing(job(running()), queues=(held,), workloads=(kube_job(), pod("Pending", node_name="")))
    noted.store.put_workload(pod("Pending", resource_version=5))
    assert noted.told() == ([], [KEY] if tries else [], 0)


@pytest.mark.parametrize(
    ("rule", "before", "after", "metadata", "told"),
    [
        ("its start", {}, running() | {"phase": "Starting"}, {}, False),
        ("that it runs", running() | {"phase": "Starting"}, running(), {}, False),
        ("its progress", running(), running() | {"retries": 1}, {}, False),
        ("another attempt, of which the start was missed", running(), running() | {"attempt": 2}, {}, True),
        ("its end", running(), running() | {"phase": "Succeeded"}, {}, True),
        ("a changed spec", running(), running(), {"generation": 2}, True),
        ("that it is deleted", running(), running(), {"deletion_timestamp": NOW}, True),
        ("that it is stopped", running(),
         running() | {"stop": {"attempt": 1, "reason": "Stalled", "message": "m", "at": AT}}, {}, True),
        ("that it waits again", running(), {}, {}, True),
    ],
)  # fmt: skip
def test_what_a_job_does_with_its_slot_is_nothing_to_its_queue(
    rule: str, before: dict[str, Any], after: dict[str, Any], metadata: dict[str, Any], told: bool
) -> None:
    noted = knowing(job(before), queues=(holding(1),))
    noted.store.put_job(new(job(after), **metadata), NOW)
    assert noted.told() == ([UID], [KEY] if told else [], 0), rule


def test_a_job_that_starts_without_a_slot_is_told_to_its_queue() -> None:
    noted = knowing(job(), queues=(queue(),))
    noted.store.put_job(new(job(running())), NOW)
    assert noted.told() == ([UID], [KEY], 0)


@pytest.mark.parametrize(
    ("rule", "namespace", "upto", "listed", "kept"),
    [
        ("what the list holds is there", None, 20, {UID, "j1", "p1"}, True),
        ("what came after the list may be there", None, 2, set(), True),
        ("another namespace was listed", "other", 20, set(), True),
        ("what was there before the list, and is not in it, is gone", None, 20, set(), False),
        ("and so it is in its own namespace", "n", 20, set(), False),
    ],
)
def test_what_a_complete_list_does_not_hold_is_forgotten(
    rule: str, namespace: str | None, upto: int, listed: set[str], kept: bool
) -> None:
    """Its watch had never told of it: the answer to our own creation did, or a live read."""
    noted = knowing(job(running()), queues=(holding(1),), workloads=(kube_job(), pod()))
    noted.store.keep_listed_workloads(JobView, namespace, upto, listed)
    assert (noted.store.attempt((UID, 1)).job is not None) == kept, rule
    assert noted.store.pod("p1") is not None, "pods were not listed"
    noted.store.keep_listed_workloads(PodView, namespace, upto, listed)
    assert (noted.store.pod("p1") is not None) == kept, rule
    assert noted.told() == (([], [], 0) if kept else ([UID, UID], [], 0)), rule
    noted.store.keep_listed_jobs(namespace, upto, listed)
    assert (UID in noted.store.jobs) == kept, rule


def test_what_runs_is_found_by_attempt_and_by_its_own_uid() -> None:
    store = knowing(workloads=(kube_job(), pod(), pod(uid="p2", attempt=2))).store
    assert store.attempt((UID, 2)) == AttemptView(pods={"p2": pod(uid="p2", attempt=2)})
    assert store.attempt((UID, 3)) == AttemptView()
    assert store.workloads == {"j1": (UID, 1), "p1": (UID, 1), "p2": (UID, 2)}
    assert (store.pod("p2"), store.pod("j1"), store.pod("unknown")) == (pod(uid="p2", attempt=2), None, None)


def test_what_is_known_as_there() -> None:
    store = knowing(workloads=(kube_job(), pod(), ended(0, uid="p2"))).store
    known = [kube_job(), kube_job(uid="j2"), kube_job(attempt=2), pod(), pod(uid="p3"), pod(uid="p2"), pod(attempt=2)]
    assert [store.knows(each) for each in known] == [True, False, False, True, False, False, False]
    assert not knowing(workloads=(pod(),)).store.knows(kube_job()), "a pod does not make its Job known"


def test_the_end_of_a_pod_is_remembered_after_it_is_deleted() -> None:
    noted = knowing(job(running()), queues=(holding(1),), workloads=(kube_job(), pod(), ended(0, uid="p2")))
    store = noted.store
    store.remove_workload("p1")
    assert noted.told() == ([UID], [], 0)
    store.remove_workload("p2")
    assert store.attempt((UID, 1)) == view(kube_job(), ended(0, uid="p2"))
    store.remove_workload("j1")
    assert store.attempt((UID, 1)) == view(None, ended(0, uid="p2"))
    noted.told()
    store.remove_workload("j1")
    assert noted.told() == ([], [], 0), "what is not known cannot go"


def test_nothing_is_remembered_of_attempts_whose_job_is_gone() -> None:
    store = knowing(workloads=(kube_job(), ended(0))).store
    store.remove_workload("p1")
    assert store.attempts == {(UID, 1): AttemptView(job=kube_job())}
    store.remove_workload("j1")
    assert store.attempts == {}
    held = knowing(queues=(holding(1),), workloads=(kube_job(),)).store
    held.remove_workload("j1")
    assert set(held.attempts) == {(UID, 1)}, "unless they hold a slot"
    two = knowing(workloads=(kube_job(), pod())).store
    two.remove_workload("j1")
    assert two.attempts == {(UID, 1): view(None, pod())}, "or something of them runs"


def test_a_live_read_that_finds_nothing_leaves_only_the_ends_of_pods() -> None:
    noted = knowing(queues=(holding(1),), workloads=(kube_job(), pod(), ended(1, uid="p2")))
    noted.store.mark_gone((UID, 1))
    assert noted.told() == ([UID], [], 0)
    assert noted.store.attempt((UID, 1)) == view(None, ended(1, uid="p2"), gone=True)
    noted.store.mark_gone((UID, 2))
    assert noted.store.attempt((UID, 2)) == AttemptView(job_gone=True)
    for gone in (kube_job(resource_version=9), pod(resource_version=9)):
        noted.store.put_workload(gone)
    assert noted.store.attempt((UID, 1)) == view(None, ended(1, uid="p2"), gone=True), "what is gone stays gone"
    noted.store.put_workload(kube_job(uid="j9"))
    assert noted.store.attempt((UID, 1)) == view(kube_job(uid="j9"), ended(1, uid="p2")), "another Job is there"
    noted.store.put_workload(ended(1, uid="p2", resource_version=9))
    assert noted.store.pod("p2") == ended(1, uid="p2", resource_version=9), "a pod that ended may go on changing"


def test_that_a_job_which_is_over_has_no_pod_is_known_until_it_goes_on() -> None:
    noted = knowing(
        queues=(holding(1),), workloads=(kube_job(conditions={"Suspended": ""}, suspend=True, pods_left=0),)
    )
    noted.store.mark_without_pods((UID, 1))
    assert noted.told() == ([UID], [], 0), "it was over before"
    assert noted.store.attempt((UID, 1)).pods_gone
    noted.store.put_workload(kube_job(conditions={"Failed": ""}, resource_version=4))
    assert noted.store.attempt((UID, 1)).pods_gone
    noted.store.put_workload(kube_job(resource_version=5))
    assert not noted.store.attempt((UID, 1)).pods_gone
    noted.store.put_workload(kube_job(conditions={"Failed": ""}, resource_version=6))
    assert not noted.store.attempt((UID, 1)).pods_gone, "it may have made one meanwhile"
    noted.store.mark_without_pods((UID, 2))
    assert noted.store.attempt((UID, 2)).pods_gone


def test_what_was_deleted_stays_deleted_when_an_old_watch_brings_it_again() -> None:
    noted = knowing(job(), queues=(queue(),), workloads=(kube_job(), pod()))
    store = noted.store
    store.remove_job(UID)
    store.remove_queue(KEY, "q1", NOW)
    store.remove_workload("j1")
    store.remove_workload("p1")
    noted.told()
    assert not store.put_job(new(job(), 99), NOW)
    assert not store.put_queue(newer(queue(), 99), NOW)
    store.put_workload(kube_job(resource_version=99))
    store.put_workload(pod(resource_version=99))
    assert noted.told() == ([], [], 0)
    assert (store.jobs, store.queues, store.attempts) == ({}, {}, {})


def test_what_is_known_of_a_deleted_job_goes_with_its_last_reservation() -> None:
    def released(*workloads: Any, known: bool = False) -> Store:
        jobs = (job(running()),) if known else ()
        noted = knowing(*jobs, queues=(holding(1),), workloads=(*workloads, kube_job(job_uid="u2", uid="j2")))
        noted.store.deleted.add(UID)
        noted.store.put_queue(newer(holding()), NOW)
        return noted.store

    assert set(released(ended(0)).attempts) == {("u2", 1)}
    assert released(ended(0)).deleted == set()
    assert released(ended(0)).pod("p1") is None
    released(ended(0)).remove_workload("p1")  # as the watch says it later
    assert set(released(pod()).attempts) == {(UID, 1), ("u2", 1)}, "but not what runs"
    assert set(released(kube_job()).attempts) == {(UID, 1), ("u2", 1)}, "nor a Job that may still make a pod"
    assert set(released(ended(0), known=True).attempts) == {(UID, 1), ("u2", 1)}
    assert released(ended(0), known=True).deleted == {UID}


# --- slots -------------------------------------------------------------------------------------------------------

STOPPED = running(stop={"attempt": 1, "reason": "Unschedulable", "at": AT})


@pytest.mark.parametrize(
    ("rule", "of", "looks", "attempt", "expected"),
    [
        ("a finished job whose pod has ended", job({"phase": "Succeeded", "attempt": 1}), view(kube_job(), ended(0)), 1,
         True),
        ("not while its pod lives", job({"phase": "Failed", "attempt": 1}), view(kube_job(), pod()), 1, False),
        ("an attempt of which nothing is known", job({"phase": "Failed", "attempt": 1}), view(), 1, False),
        ("an earlier attempt", job(running(attempt=2)), view(kube_job(), ended(1)), 1, True),
        ("one that did not begin", job(), view(kube_job(), ended(1)), 1, False),
        ("one that is not settled", job(running()), view(kube_job(), ended(0)), 1, False),
        ("one that is stopped for want of a node", job(STOPPED), view(SUSPENDED), 1, True),
        ("not where its pod ran after all", job(STOPPED), view(SUSPENDED, ended(1)), 1, False),
        ("not for any other reason", job(running(stop={"attempt": 1, "reason": "Stalled", "at": AT})), view(SUSPENDED),
         1, False),
        ("not for a stop of an earlier attempt", job(running(attempt=2, stop=STOPPED["stop"])), view(SUSPENDED), 2,
         False),
        ("one that backs off", job(running("BackingOff")), view(kube_job(), ended(1)), 1, True),
        ("one that goes on under a new reservation", job(running("Queued")), view(SUSPENDED), 1, False),
        ("one that was lost and is repeated", job(running("Queued", attempts=[{"attempt": 1, "finishedAt": AT}])),
         view(kube_job(), ended(1)), 1, True),
    ],
)  # fmt: skip
def test_a_slot_is_released(rule: str, of: AnalysisJob, looks: AttemptView, attempt: int, expected: bool) -> None:
    store = knowing(of).store
    store.attempts[UID, attempt] = looks
    assert store.releasable(UID, attempt) is expected, rule


@pytest.mark.parametrize(
    ("rule", "read_live", "looks", "expected"),
    [
        ("a cache may be older than the reservation", False, view(gone=True), False),
        ("a live read is believed", True, view(gone=True), True),
        ("that no Job is known proves nothing: its pod may not be known yet", True, view(), False),
        ("not while a pod lives", True, view(None, pod()), False),
        ("a Job that has ended is nothing", True, view(kube_job(conditions={"Failed": ""})), True),
        ("one that may still make a pod is something", True, view(kube_job()), False),
    ],
)
def test_the_slot_of_a_deleted_job_is_released(rule: str, read_live: bool, looks: AttemptView, expected: bool) -> None:
    store = Noted().store
    store.attempts[UID, 1] = looks
    if read_live:
        store.deleted.add(UID)
    assert store.releasable(UID, 1) is expected, rule
