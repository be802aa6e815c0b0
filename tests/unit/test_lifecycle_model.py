"""One job's whole life against a naive model of Kubernetes: random users, kubelets, lags, losses and times.

The decisions are the operator's own (lifecycle, Store); the model holds what is true and plays the Job controller,
the scheduler and the kubelet. After each step the promises must hold, and every run must come to an end.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from klipfake.objects import NOW, UID
from klipstream_api import (
    FINISHED_PHASES,
    Admitted,
    AnalysisJob,
    AnalysisJobStatus,
    AnalysisQueue,
    Operation,
    OperationName,
    Phase,
)
from klipstream_operator import lifecycle, statuses
from klipstream_operator.store import Store
from klipstream_operator.transitions import Transition
from klipstream_operator.workload import JobView, PodView, Termination

KEY = ("n", "q")
STEPS_AT_LEAST = 200_000
LIVES = int(os.environ.get("KLIPSTREAM_MODEL_LIVES", "0"))
"""Only so many, the same ones each time: against automatic mutants (klipmutants), which cannot take long each."""
DECIDED_HERE = set(Transition) - {
    Transition.HELD_UP, Transition.ACCEPTED, Transition.REJECTED, Transition.AGED, Transition.PROGRESS,
    Transition.SUPERSEDED, Transition.LOG_ARCHIVED,
}  # fmt: skip
ROUNDS_TO_THE_END = 400


@dataclass
class Pod:
    uid: str
    phase: str = "Pending"
    node: str = ""
    code: int | None = None
    reason: str = ""
    deleted_at: datetime | None = None
    unschedulable_since: datetime | None = None
    running_since: datetime | None = None

    @property
    def live(self) -> bool:
        return self.phase not in ("Succeeded", "Failed")


@dataclass
class KubeJob:
    uid: str
    suspend: bool
    version: int
    fenced: bool = False
    condition: str = ""
    pods: list[Pod] = field(default_factory=list)


@dataclass
class Frozen:
    """A decision that was taken and not yet sent."""

    step: lifecycle.Step
    status: AnalysisJobStatus
    seen: dict[int, int]
    job_version: str = ""


class Cluster:
    """What is true, and the operator's cache of it, which may lag."""

    def __init__(self) -> None:
        self.now = NOW
        self.version = 100
        self.cancel, self.replay, self.draining = False, 0, False
        self.jobs: dict[int, KubeJob] = {}
        self.admitted: set[int] = set()
        self.cleared_at: datetime | None = None
        self.store = Store(lambda _: None, lambda _: None, lambda: None)
        self.frozen: Frozen | None = None
        self.transitions: set[Transition] = set()
        self.status = AnalysisJobStatus()
        self.status = statuses.accepted(self.job(), "q", 100, self.now)
        self.put_queue()
        self.put_job()

    # --- the API server --------------------------------------------------------------------------------------

    def bump(self) -> int:
        self.version += 1
        return self.version

    def job(self) -> AnalysisJob:
        spec = {"videoUrl": "https://example.com/v.mp4", "cancel": self.cancel, "replay": self.replay, "maxRetries": 1}
        metadata = {"name": "a", "namespace": "n", "uid": UID, "resourceVersion": str(self.version), "generation": 1}
        bare = AnalysisJob.from_wire({"metadata": metadata, "spec": spec})
        return bare.model_copy(update={"status": self.status})

    def put_job(self) -> None:
        self.bump()
        self.store.put_job(self.job(), self.now)

    def put_queue(self) -> None:
        operations = ()
        if self.cleared_at is not None:
            operations = (Operation(name=OperationName.CLEAR, request=str(self.cleared_at), at=self.cleared_at),)
        queue = AnalysisQueue.from_wire({
            "metadata": {"name": "q", "namespace": "n", "uid": "q", "resourceVersion": str(self.bump())},
            "spec": {"workerTemplate": {"spec": {}}, "mode": "Draining" if self.draining else "Running",
                     "nodeLost": {"seconds": 60}},
        })  # fmt: skip
        admitted = tuple(Admitted(uid=UID, attempt=attempt, name="a") for attempt in sorted(self.admitted))
        status = queue.status.model_copy(update={"initialized": True, "admitted": admitted, "operations": operations})
        self.store.put_queue(queue.model_copy(update={"status": status}), self.now)

    def show(self, attempt: int) -> None:
        """What the watch brings of an attempt: all of it, as it is now."""
        kube = self.jobs.get(attempt)
        known = self.store.attempt((UID, attempt))
        if kube is None:
            for uid in [*([known.job.uid] if known.job is not None else []), *known.pods]:
                self.store.remove_workload(uid)
            return
        self.store.put_workload(JobView(
            uid=kube.uid, name=f"{UID}-a{attempt}", namespace="n", resource_version=kube.version, job_uid=UID,
            attempt=attempt, owner_uid=UID, suspend=kube.suspend, pods_left=sum(pod.live for pod in kube.pods),
            conditions={kube.condition: ""} if kube.condition else {}, fenced=kube.fenced,
        ))  # fmt: skip
        for uid in set(known.pods) - {pod.uid for pod in kube.pods}:
            self.store.remove_workload(uid)
        for pod in kube.pods:
            self.store.put_workload(PodView(
                uid=pod.uid, name=pod.uid, namespace="n", resource_version=self.bump(), job_uid=UID, attempt=attempt,
                owner_uid=kube.uid, phase=pod.phase, reason=pod.reason, message="", deleted_at=pod.deleted_at,
                node_name=pod.node, running_since=pod.running_since, disruption=None,
                termination=None if pod.code is None else Termination(pod.code, "Error", ""),
                unschedulable="0/1 nodes are available: 1 Insufficient cpu." if pod.unschedulable_since else None,
                unschedulable_since=pod.unschedulable_since,
            ))  # fmt: skip

    # --- the operator ----------------------------------------------------------------------------------------

    def reserve(self) -> None:
        """The queue's writer: only what the backlog holds, only one reservation for a job."""
        rank = self.store.backlogs[KEY].peek()
        if rank is None:
            return
        assert not self.admitted, "a job that holds a slot waits for another"
        assert not self.cancel, "a cancelled job is reserved"
        self.admitted.add(statuses.next_attempt(self.status))
        self.put_queue()

    def release(self) -> None:
        for attempt in list(self.admitted):
            if self.store.releasable(UID, attempt):
                kube = self.jobs.get(attempt)
                assert kube is None or not any(pod.live for pod in kube.pods), "a slot is released while its pod lives"
                assert kube is None or kube.suspend or kube.pods or kube.condition, "a pod may still come"
                self.admitted.discard(attempt)
                self.put_queue()

    def decide(self) -> lifecycle.Step:
        self.store.refresh(UID, self.now)
        return lifecycle.next_step(
            self.store.jobs[UID], self.store.queues[KEY], self.store.reserved(UID),
            lambda attempt: self.store.attempt((UID, attempt)), None, self.now,
        )  # fmt: skip

    def reconcile(self) -> None:
        """One step of the reconciler, carried out on what is true."""
        step = self.decide()
        if isinstance(step, lifecycle.WriteStatus):
            self.write(step)
        else:
            self.act(step, self.seen())

    def write(self, step: lifecycle.WriteStatus) -> None:
        """A status write whose guard holds."""
        before, status = self.status, step.status
        assert step.transition.allows(before.phase, status.phase), step.transition
        assert before.phase not in FINISHED_PHASES or status.observed_replay > before.observed_replay
        assert status.attempt >= before.attempt
        assert status.retries <= 1
        if status.phase is Phase.CANCELLED:
            assert not self.live_pods(), "cancelled while a pod lives"
        if step.transition is Transition.RETURNED and statuses.resumable(status):
            assert status.attempt not in self.admitted, "a given-back slot looks like a new reservation"
        self.transitions.add(step.transition)
        self.status = status
        self.put_job()

    def act(self, step: lifecycle.Step, seen: dict[int, int]) -> None:
        """Any other step; `seen` holds the versions of the Jobs that the decision knew."""
        match step:
            case lifecycle.Launch(attempt, suspended):
                if attempt not in self.jobs:
                    assert attempt > self.status.attempt, "an attempt is made anew"
                    version = self.bump()
                    self.jobs[attempt] = KubeJob(f"j{attempt}-{version}", suspended, version)
                self.show(attempt)
            case lifecycle.Suspend(attempt, _):
                self.change(attempt, seen, suspend=True)
            case lifecycle.Resume(attempt, _):
                self.change(attempt, seen, suspend=False)
            case lifecycle.FenceOff(attempt, _):
                self.change(attempt, seen, fenced=True)
            case lifecycle.ReadLive(attempt):
                self.read_live(attempt)
            case lifecycle.FailLostPod(pod):
                for kube in self.jobs.values():
                    for each in kube.pods:
                        if each.uid == pod.uid and each.live:
                            each.phase, each.reason = "Failed", "NodeLost"
                self.show(pod.attempt)

    def seen(self) -> dict[int, int]:
        """The versions of the Jobs in the cache."""
        return {key[1]: view.job.resource_version for key, view in self.store.attempts.items() if view.job is not None}

    def freeze(self) -> None:
        """An operator decides, and freezes before its request is sent; a successor goes on with the same cache."""
        if self.frozen is None:
            version = self.store.jobs[UID].metadata.resource_version
            self.frozen = Frozen(self.decide(), self.status, self.seen(), version)

    def thaw(self) -> None:
        """Its request comes late. Status writes are guarded, so they count only if nobody wrote in between."""
        frozen, self.frozen = self.frozen, None
        if frozen is None:
            return
        if not isinstance(frozen.step, lifecycle.WriteStatus):
            self.act(frozen.step, frozen.seen)
        elif frozen.status is self.status and frozen.job_version == self.store.jobs[UID].metadata.resource_version:
            self.write(frozen.step)

    def change(self, attempt: int, seen: dict[int, int], **changes: bool) -> None:
        """Guarded by what the decision saw; after a conflict it is read live."""
        kube = self.jobs.get(attempt)
        if kube is not None and seen.get(attempt) == kube.version:
            for name, value in changes.items():
                setattr(kube, name, value)
            kube.version = self.bump()
        self.read_live(attempt)

    def read_live(self, attempt: int) -> None:
        self.show(attempt)
        kube = self.jobs.get(attempt)
        if kube is None:
            self.store.mark_gone((UID, attempt))
        elif kube.condition and not kube.pods:
            self.store.mark_without_pods((UID, attempt))

    @property
    def settled(self) -> bool:
        """Finished, and its slot is free."""
        return self.status.phase in FINISHED_PHASES and not self.admitted

    # --- Kubernetes ------------------------------------------------------------------------------------------

    def live_pods(self) -> list[Pod]:
        return [pod for kube in self.jobs.values() for pod in kube.pods if pod.live]

    def controller(self) -> None:
        """The Job controller: makes pods, deletes those of suspended Jobs, writes conditions."""
        for attempt, kube in self.jobs.items():
            if kube.condition in ("Complete", "Failed"):
                continue
            before = (kube.condition, len(kube.pods))
            if any(pod.phase == "Succeeded" for pod in kube.pods):
                kube.condition = "Complete"
            elif any(pod.phase == "Failed" for pod in kube.pods):
                kube.condition = "Failed"
            elif kube.suspend:
                for pod in kube.pods:
                    pod.deleted_at = pod.deleted_at or self.now
                kube.pods = [pod for pod in kube.pods if pod.node]
                kube.condition = "" if kube.pods else "Suspended"
            elif not kube.pods:
                kube.condition = ""
                kube.pods.append(Pod(f"p{attempt}-{self.bump()}"))
            if (kube.condition, len(kube.pods)) != before:
                kube.version = self.bump()

    def each_live(self) -> list[Pod]:
        return [pod for pod in self.live_pods() if pod.deleted_at is None]

    def schedule(self, found: bool) -> None:
        for pod in self.each_live():
            if not pod.node:
                pod.node = "n1" if found else ""
                pod.unschedulable_since = None if found else pod.unschedulable_since or self.now

    def run(self) -> None:
        for pod in self.each_live():
            if pod.node and pod.phase == "Pending":
                pod.phase, pod.running_since = "Running", self.now

    def exit(self, code: int) -> None:
        for pod in self.live_pods():
            if pod.phase == "Running":
                pod.phase, pod.code = ("Succeeded" if code == 0 else "Failed"), code

    def delete_pod(self) -> None:
        for pod in self.live_pods():
            pod.deleted_at = pod.deleted_at or self.now

    def kubelet_ends_deleted(self) -> None:
        for pod in self.live_pods():
            if pod.deleted_at is not None and pod.node:
                pod.phase, pod.code = "Failed", 143

    def delete_job(self) -> None:
        """By hand: the Job and its pods go. What is not promised (docs/guarantees.md): in the middle of a create."""
        if self.jobs and self.frozen is None and self.status.phase not in FINISHED_PHASES:
            del self.jobs[max(self.jobs)]

    def deliver(self) -> None:
        for attempt in {*self.jobs, *(attempt for _, attempt in self.store.attempts)}:
            self.show(attempt)


OPERATIONS = {
    "reconcile": Cluster.reconcile,
    "reserve": Cluster.reserve,
    "release": Cluster.release,
    "controller": Cluster.controller,
    "deliver": Cluster.deliver,
    "schedule": lambda cluster: cluster.schedule(found=True),
    "no room": lambda cluster: cluster.schedule(found=False),
    "run": Cluster.run,
    "freeze": Cluster.freeze,
    "thaw": Cluster.thaw,
    "exit 0": lambda cluster: cluster.exit(0),
    "exit 1": lambda cluster: cluster.exit(1),
    "kubelet ends deleted": Cluster.kubelet_ends_deleted,
    "second": lambda cluster: setattr(cluster, "now", cluster.now + timedelta(seconds=1)),
    "half a minute": lambda cluster: setattr(cluster, "now", cluster.now + timedelta(seconds=31)),
    "ten minutes": lambda cluster: setattr(cluster, "now", cluster.now + timedelta(seconds=600)),
}
WEIGHTED = [*sorted(OPERATIONS), *3 * ("reconcile", "deliver", "exit 1"), *2 * ("controller", "release", "reserve")]
RARE = ("delete pod", "cancel", "clear", *3 * ("delete job",), *3 * ("replay",), *3 * ("drain",))


def rarely(cluster: Cluster, what: str) -> None:
    """What users and administrators do."""
    match what:
        case "delete pod":
            cluster.delete_pod()
        case "delete job":
            cluster.delete_job()
        case "cancel":
            cluster.cancel = True
            cluster.put_job()
        case "replay":
            cluster.replay += 1
            cluster.put_job()
        case "clear":
            cluster.cleared_at = cluster.now
            cluster.put_queue()
        case "drain":
            cluster.draining = not cluster.draining
            cluster.put_queue()


class LifecycleAgainstModel(RuleBasedStateMachine):
    """Random steps; after each of them the promises hold, and a fair world brings every job to its end."""

    steps = 0
    transitions: ClassVar[set[Transition]] = set()

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()

    @precondition(
        lambda self: self.cluster.settled and (self.cluster.replay > 2 or self.cluster.status.phase != "Failed")
    )
    @rule()
    def next_job(self) -> None:
        self.transitions.update(self.cluster.transitions)
        self.cluster = Cluster()

    @rule(names=st.lists(st.sampled_from(WEIGHTED), min_size=20, max_size=40))
    def usual(self, names: list[str]) -> None:
        for name in names:
            OPERATIONS[name](self.cluster)
            self.check()

    @rule(name=st.sampled_from(RARE))
    def rare(self, name: str) -> None:
        rarely(self.cluster, name)
        self.check()

    def check(self) -> None:
        type(self).steps += 1
        live = [a for a, kube in self.cluster.jobs.items() for pod in kube.pods if pod.live]
        assert len(live) <= 1, "two attempts of one job run"
        assert set(live) <= self.cluster.admitted, "a pod lives without a reservation"

    def teardown(self) -> None:
        """From here on nothing fails any more: the job must reach a final phase and let go of its slot."""
        cluster = self.cluster
        self.transitions.update(cluster.transitions)
        for _ in range(ROUNDS_TO_THE_END):
            if cluster.settled and not self.wants_more():
                return
            for name in ("deliver", "reconcile", "release", "reserve", "controller", "deliver", "reconcile",
                         "schedule", "run", "kubelet ends deleted", "exit 0", "second", "half a minute"):  # fmt: skip
                OPERATIONS[name](cluster)
                self.check()
        raise AssertionError(f"never ends: {cluster.status.phase}, holds {cluster.admitted}, {cluster.jobs}")

    def wants_more(self) -> bool:
        status = self.cluster.status
        return status.phase is Phase.FAILED and self.cluster.replay > status.observed_replay


def test_no_life_of_a_job_breaks_a_promise_in_200_000_random_steps() -> None:
    LifecycleAgainstModel.steps = 0
    while LifecycleAgainstModel.steps < STEPS_AT_LEAST:
        run_state_machine_as_test(
            LifecycleAgainstModel,
            settings=settings(
                max_examples=LIVES or 100, stateful_step_count=40, deadline=None,
                suppress_health_check=list(HealthCheck),
                # Hypothesis would draw the same lives in each round where it finds itself on a CI.
                derandomize=bool(LIVES),
            ),
        )  # fmt: skip
        if LIVES:
            return
    print(f"{LifecycleAgainstModel.steps} steps without a counterexample")
    assert {t.name for t in DECIDED_HERE - LifecycleAgainstModel.transitions} == set()


def test_nobody_resumes_an_attempt_that_was_cancelled_while_an_operator_was_frozen() -> None:
    cluster = given_back()
    cluster.schedule(found=True)
    cluster.reserve()
    cluster.freeze()
    assert cluster.frozen is not None
    assert isinstance(cluster.frozen.step, lifecycle.Resume)
    rarely(cluster, "cancel")
    until(cluster, lambda: cluster.status.phase is Phase.CANCELLED)
    until(cluster, lambda: not cluster.admitted)
    cluster.thaw()
    cluster.controller()
    assert not cluster.live_pods(), "the late resume came through"


def test_a_reservation_for_going_on_is_not_taken_for_the_one_that_was_given_back() -> None:
    cluster = given_back()
    cluster.reserve()
    cluster.release()
    assert cluster.admitted == {1}


def test_a_deleted_job_of_an_attempt_that_waits_for_room_is_followed_by_another_attempt() -> None:
    cluster = given_back()
    rarely(cluster, "delete job")
    cluster.deliver()
    until(cluster, lambda: Transition.SUPERSEDED in cluster.transitions)
    assert (statuses.next_attempt(cluster.status), cluster.status.retries) == (2, 0)


def given_back() -> Cluster:
    """A job that found no node: in the backlog again, its Job suspended."""
    cluster = Cluster()
    cluster.reserve()
    until(cluster, lambda: cluster.status.phase is Phase.STARTING)
    cluster.controller()
    cluster.schedule(found=False)
    cluster.now += timedelta(seconds=31)
    until(cluster, lambda: Transition.RETURNED in cluster.transitions)
    assert statuses.resumable(cluster.status)
    return cluster


def until(cluster: Cluster, reached: Callable[[], bool]) -> None:
    """Let the operator and the Job controller go on, but reserve nothing and run nothing."""
    for _ in range(20):
        if reached():
            return
        for name in ("deliver", "reconcile", "controller", "deliver", "release"):
            OPERATIONS[name](cluster)
    raise AssertionError(f"never: {cluster.status.phase}, holds {cluster.admitted}")
