"""Carries out what the lifecycle decides: one AnalysisJob at a time per worker, many workers."""

import asyncio
import contextlib
import heapq
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from klipstream_api import AnalysisJob, attempt_job_name, names
from klipstream_api.meta import rfc3339
from klipstream_kube import (
    JOBS,
    PODS,
    AlreadyExists,
    ApiError,
    Client,
    Conflict,
    NotFound,
    Unreachable,
)
from klipstream_operator import lifecycle, statuses
from klipstream_operator.bounds import excess
from klipstream_operator.jobs import WorkerContract, make_job
from klipstream_operator.kueue import NotYetTaken, stopping
from klipstream_operator.leadership import Fence, sent_once
from klipstream_operator.log_fields import job_fields
from klipstream_operator.status_writer import ANALYSIS_JOBS, StatusWriter
from klipstream_operator.store import Store, queue_key
from klipstream_operator.template_check import NOT_A_JOB
from klipstream_operator.transitions import Transition
from klipstream_operator.work_queue import WorkQueue
from klipstream_operator.workload import AttemptView, PodView, view_job, view_pod

log = logging.getLogger(__name__)
WORKERS = 32
STEPS_AT_MOST = 12
BACKOFF_SECONDS = (0.5, 1, 2, 4, 8, 15, 30)


class NameOccupied(Exception):
    """The name of an attempt's Job is taken by a Job that does not belong to the AnalysisJob."""


class NotLost(Exception):
    """A pod that was to be given up with its node is not to be, by what is known now."""


@dataclass(slots=True)
class Reconciler:
    """A queue of AnalysisJobs to look at, keyed by uid: never two workers on one, nothing looked at in vain."""

    client: Client
    store: Store
    writer: StatusWriter
    contract: Callable[[], WorkerContract]
    timed: Callable[[], AbstractContextManager[None]] = nullcontext
    """Entered around each look at an AnalysisJob."""
    _work_queue: WorkQueue = field(default_factory=WorkQueue)
    _failures: dict[str, int] = field(default_factory=dict)
    _timers: list[tuple[float, str]] = field(default_factory=list)
    _due: dict[str, float] = field(default_factory=dict)
    """The one timer of each AnalysisJob that counts; others in the heap are void."""
    _timer_set: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def queue_length(self) -> int:
        """AnalysisJobs that wait to be looked at."""
        return len(self._work_queue)

    def enqueue(self, uid: str) -> None:
        """Look at an AnalysisJob soon, unless nothing can be decided for it."""
        job = self.store.jobs.get(uid)
        if job is not None and lifecycle.is_settled(job, self.store.reserved(uid)):
            self._failures.pop(uid, None)
        else:
            self._work_queue.add(uid)

    def enqueue_after(self, uid: str, seconds: float) -> None:
        """Look at an AnalysisJob after that many seconds, or sooner: each look says when the next one is due."""
        at = asyncio.get_running_loop().time() + max(0.0, seconds)
        if at < self._due.get(uid, float("inf")):
            self._due[uid] = at
            heapq.heappush(self._timers, (at, uid))
            self._timer_set.set()

    async def run(self) -> None:
        """Never returns; a bug in a decision ends it, and with it the process."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_time())
            for _ in range(WORKERS):
                tasks.create_task(self._work())

    async def _keep_time(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._timer_set.clear()
            while self._timers and self._timers[0][0] <= loop.time():
                at, uid = heapq.heappop(self._timers)
                if self._due.get(uid) == at:
                    del self._due[uid]
                    self.enqueue(uid)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._timers[0][0] if self._timers else None):
                    await self._timer_set.wait()

    async def _work(self) -> None:
        while True:
            async with self._work_queue.next() as uid:
                await self._reconcile_guarded(uid)
            # A key that is there is got at once, and most need no request: without this, thousands of them would hold
            # up everybody else, as after a take-over.
            await asyncio.sleep(0)

    async def _reconcile_guarded(self, uid: str) -> None:
        try:
            with self.timed():
                await self.reconcile(uid)
        except (ApiError, Unreachable, NameOccupied, NotYetTaken) as error:
            failures = self._failures[uid] = self._failures.get(uid, 0) + 1
            delay = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS)) - 1]
            job = self.store.jobs.get(uid)
            name = f"{job.metadata.namespace}/{job.metadata.name}" if job is not None else uid
            fields = job_fields(job) if job is not None else {"uid": uid}
            log.warning("AnalysisJob %s: tried again in %s s: %s", name, delay, error, extra=fields)
            self.enqueue_after(uid, delay)
        else:
            self._failures.pop(uid, None)

    async def reconcile(self, uid: str) -> None:
        """Take steps for one AnalysisJob until there is nothing to do."""
        for _ in range(STEPS_AT_MOST):
            # What is decided now is decided on all that was noted so far: our own writes are not looked at twice.
            self._work_queue.seen(uid)
            job = self.store.jobs.get(uid)
            if job is None:
                await self._confirm_deleted(uid)
                return
            if uid in self.store.assumed:
                return  # a reservation of it is being written; it is looked at again once that is known
            now = self.writer.now()
            key = queue_key(job)
            if self.store.refresh(uid, now) and key is not None:
                self.store.on_queue(key)
            step = self._next_step(job, now)
            if isinstance(step, lifecycle.Wait):
                if step.until is not None:
                    self.enqueue_after(uid, (step.until - now).total_seconds() + 0.001)
                return
            await self._take(job, step)
        self.enqueue_after(uid, 1.0)

    def _next_step(self, job: AnalysisJob, now: datetime) -> lifecycle.Step:
        key = queue_key(job)
        return lifecycle.next_step(
            job,
            self.store.queues.get(key) if key is not None else None,
            self.store.reserved(job.uid),
            lambda attempt: self.store.attempt((job.uid, attempt)),
            self.store.progress.get(job.uid),
            now,
        )

    async def _take(self, job: AnalysisJob, step: lifecycle.Step) -> None:
        match step:
            case lifecycle.WriteStatus(status, transition):
                await self.writer.write(job, status, transition)
            case lifecycle.Launch(attempt, suspended):
                await self._launch(job, attempt, suspended)
            case lifecycle.Suspend(attempt, job_name):
                await self._stop(job, attempt, job_name)
            case lifecycle.Resume(attempt, job_name):
                await self._resume(job, attempt, job_name)
            case lifecycle.FenceOff(attempt, job_name):
                await self._change_job(job, attempt, job_name, self._fenced())
            case lifecycle.ReadLive(attempt):
                await self._read_live(job.uid, job.metadata.namespace, attempt)
            case lifecycle.FailLostPod(pod):
                await self._fail_lost_pod(job.uid, pod)

    async def _launch(self, job: AnalysisJob, attempt: int, suspended: bool) -> None:
        """Create the attempt's Job; a lost answer is not repeated blindly but looked up by the next step."""
        key = queue_key(job)
        queue = self.store.queues.get(key) if key is not None else None
        if queue is None:
            return
        if not suspended and (beyond := excess(job, queue)) is not None:
            why = f"The job asks for too much: {beyond}. Lower spec.resources, then raise spec.replay."
            await self._refuse(job, attempt, "ResourcesOutOfBounds", why)
            return
        manifest = make_job(job, queue, attempt, self.contract(), suspended=suspended)
        try:
            answer = await self.client.create(JOBS, manifest, job.metadata.namespace, before_send=self._once())
        except AlreadyExists:
            answer = await self.client.get(JOBS, attempt_job_name(job.uid, attempt), job.metadata.namespace)
        except ApiError as error:
            if error.status not in NOT_A_JOB:
                raise
            remedy = "Mend the queue's workerTemplate, then raise spec.replay."
            why = f"The worker's pod cannot be made: {error.message} {remedy}"
            await self._refuse(job, attempt, "InvalidWorkerTemplate", why)
            return
        view = view_job(answer)
        if view is None or view.owner_uid != job.uid:
            raise NameOccupied(
                f"the Kubernetes Job {attempt_job_name(job.uid, attempt)} exists but does not belong to this"
                " AnalysisJob: delete it, and the attempt starts"
            )
        self.store.put_workload(view)

    async def _refuse(self, job: AnalysisJob, attempt: int, reason: str, why: str) -> None:
        """No Job of this attempt can be made: the job is a dead letter until somebody mends the cause."""
        self.store.mark_gone((job.uid, attempt))
        refused = statuses.launch_refused(job, attempt, reason, why, self.writer.now())
        await self.writer.write(job, refused, Transition.DEAD_LETTERED)

    async def _resume(self, job: AnalysisJob, attempt: int, job_name: str) -> None:
        """Let a suspended attempt go on; one that was made for other resources gives way to a new attempt.

        That one is fenced off first: a resume that another operator decided on before must not come through.
        """
        key = queue_key(job)
        queue = self.store.queues.get(key) if key is not None else None
        view = self.store.attempt((job.uid, attempt)).job
        if queue is None or view is None:
            return
        digest = make_job(job, queue, attempt, self.contract())["metadata"]["annotations"][names.TEMPLATE_ANNOTATION]
        if digest == view.template and not view.withdrawn:
            await self._change_job(job, attempt, job_name, {"spec": {"suspend": False}})
        elif not view.fenced:
            await self._change_job(job, attempt, job_name, self._fenced())
        else:
            message = "Resources or worker template changed while the attempt waited for a node."
            superseded = statuses.abandoned(job, "Superseded", message, self.writer.now())
            await self.writer.write(job, superseded, Transition.SUPERSEDED)

    async def _stop(self, job: AnalysisJob, attempt: int, job_name: str) -> None:
        view = self.store.attempt((job.uid, attempt)).job
        if view is not None:
            body = await stopping(self.client, view, self.writer.now(), self.writer.fence)
            await self._change_job(job, attempt, job_name, body)

    def _once(self, confirm: Fence = lambda: None) -> Fence:
        """For what starts or stops work: sent only while it is what was just decided, and `confirm` does not raise."""
        assert self.writer.fence is not None
        return sent_once(self.writer.fence, confirm)

    def _fenced(self) -> dict[str, Any]:
        return {"metadata": {"annotations": {names.FENCED_ANNOTATION: rfc3339(self.writer.now())}}}

    async def _change_job(self, job: AnalysisJob, attempt: int, job_name: str, body: dict[str, Any]) -> None:
        """Change an attempt's Job as the decision saw it; after a conflict it is read live and decided again."""
        view = self.store.attempt((job.uid, attempt)).job
        if view is None:
            return
        metadata = body.get("metadata", {}) | {"resourceVersion": str(view.resource_version), "uid": view.uid}
        try:
            answer = await self.client.patch(
                JOBS, job_name, job.metadata.namespace, body | {"metadata": metadata}, before_send=self._once()
            )
        except (Conflict, NotFound, Unreachable):
            await self._read_live(job.uid, job.metadata.namespace, attempt)
            return
        if (changed := view_job(answer)) is not None:
            self.store.put_workload(changed)

    async def _read_live(self, uid: str, namespace: str, attempt: int) -> None:
        """Read the attempt's Job and pods; only what is not there live is believed to be gone."""
        found: AttemptView = AttemptView()
        try:
            found.job = view_job(await self.client.get(JOBS, attempt_job_name(uid, attempt), namespace))
        except NotFound:
            found.job = None
        selector = f"{names.JOB_UID_LABEL}={uid},{names.ATTEMPT_LABEL}={attempt}"
        pods, _ = await self.client.list(PODS, namespace, label_selector=selector)
        for obj in pods:
            if (pod := view_pod(obj)) is not None:
                found.pods[pod.uid] = pod
                self.store.put_workload(pod)
        if found.job is not None:
            self.store.put_workload(found.job)
            if found.job.over and not found.pods:
                self.store.mark_without_pods((uid, attempt))
        elif not found.live_pods:
            self.store.mark_gone((uid, attempt))

    async def _confirm_deleted(self, uid: str) -> None:
        """An AnalysisJob that this cache does not hold keeps its slot until a live read says that it is gone."""
        for key in list(self.store.reservations.get(uid, {})):
            queue = self.store.queues.get(key)
            for entry in queue.status.admitted if queue is not None else ():
                if entry.uid != uid:
                    continue
                try:
                    answer = await self.client.get(ANALYSIS_JOBS, entry.name, key[0])
                except NotFound:
                    answer = {"metadata": {"uid": None}}
                if answer["metadata"]["uid"] == uid:
                    self.writer.take(answer)
                    return
                await self._read_live(uid, key[0], entry.attempt)
                self.store.deleted.add(uid)
                self.store.on_queue(key)

    async def _fail_lost_pod(self, uid: str, pod: PodView) -> None:
        """Its node does not answer: end it through its status, as Kubernetes' own pod garbage collection does.

        Deleting it by force would leave the Job's tracking finalizer, and the Job would wait for ever. Before the first
        byte is sent it is decided again: the queue's patience may have been changed while the pod was read.
        """
        now = self.writer.now()
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "NodeLost",
            "message": "The pod's node did not answer; the analysis queue ended the pod.",
            "lastTransitionTime": (now - timedelta(microseconds=now.microsecond)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        try:
            live = await self.client.get(PODS, pod.name, pod.namespace)
            kept = [c for c in live["status"].get("conditions", ()) if c["type"] != "DisruptionTarget"]
            body = {
                "metadata": {"resourceVersion": live["metadata"]["resourceVersion"]},
                "status": {"phase": "Failed", "reason": "NodeLost", "conditions": [*kept, condition]},
            }
            answer = await self.client.patch(
                PODS, pod.name, pod.namespace, body, subresource="status",
                before_send=self._once(lambda: self._confirm_lost(uid, live)),
            )  # fmt: skip
            await self.client.delete(PODS, pod.name, pod.namespace, uid=pod.uid)
        except (NotFound, Conflict, NotLost):
            return
        if (ended := view_pod(answer)) is not None:
            self.store.put_workload(ended)

    def _confirm_lost(self, uid: str, live: dict[str, Any]) -> None:
        """Raise NotLost unless the next step, now that the pod was read live, is still to give it up."""
        job, pod = self.store.jobs.get(uid), view_pod(live)
        if job is None or pod is None:
            raise NotLost
        self.store.put_workload(pod)
        step = self._next_step(job, self.writer.now())
        if not isinstance(step, lifecycle.FailLostPod) or step.pod.uid != pod.uid:
            raise NotLost
