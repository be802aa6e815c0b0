"""A job's way from phase to phase."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from klipsim.planted.bug import Bug, Swaps, swap
from klipstream_api import AnalysisJob, FailureClass, Phase, attempt_job_name
from klipstream_api.phases import ACTIVE_PHASES
from klipstream_kube import JOBS, NotFound
from klipstream_operator import jobs, lifecycle, progress, queue_status, queue_writer, reconciler, statuses
from klipstream_operator.lifecycle import WriteStatus
from klipstream_operator.limits import limits_of
from klipstream_operator.reconciler import Reconciler
from klipstream_operator.status_writer import StatusWriter
from klipstream_operator.store import Store
from klipstream_operator.transitions import Transition


def _replay_not_noted() -> Swaps:
    replayed = statuses.replayed

    def unnoted(job: AnalysisJob, now: datetime) -> Any:
        return replayed(job, now).model_copy(update={"observed_replay": job.status.observed_replay})

    return [swap(statuses, "replayed", unnoted)]


def _cancel_for_running_only() -> Swaps:
    next_step, waits = lifecycle.next_step, Store._waits

    def wanted(job: AnalysisJob) -> AnalysisJob:
        if job.status.phase not in (Phase.QUEUED, Phase.BACKING_OFF):
            return job
        return job.model_copy(update={"spec": job.spec.model_copy(update={"cancel": False})})

    return [
        swap(lifecycle, "next_step", lambda job, *args: next_step(wanted(job), *args)),
        swap(Store, "_waits", lambda self, job, queue, now: waits(self, wanted(job), queue, now)),
    ]


def _cancelled_while_it_runs() -> Swaps:
    end = lifecycle._end

    def at_once(job: AnalysisJob, queue: Any, view: Any, stop: Any, progress: Any, now: datetime) -> lifecycle.Step:
        if job.spec.cancel:
            return WriteStatus(statuses.cancelled(job, now, "The job was cancelled."), Transition.CANCELLED)
        return end(job, queue, view, stop, progress, now)

    return [swap(lifecycle, "_end", at_once)]


def _losses_burn_retries() -> Swaps:
    retry = statuses._retry

    def burning(job: AnalysisJob, attempts: Any, delay_seconds: int, now: datetime, **counts: int) -> Any:
        if "infrastructure_losses" in counts:
            counts = {"retries": job.status.retries + 1}
        return retry(job, attempts, delay_seconds, now, **counts)

    return [swap(statuses, "_retry", burning)]


def _permanent_tried_again() -> Swaps:
    failed = statuses.failed

    def again(job: AnalysisJob, queue: Any, failure: Any, now: datetime) -> Any:
        limits, retry = limits_of(job, queue), job.status.retries + 1
        hopeless = failure.failure_class is FailureClass.PERMANENT and job.status.phase in ACTIVE_PHASES
        if hopeless and retry <= limits.max_retries:
            attempts = statuses._attempt_ended(job, now, failure)
            return statuses._retry(job, attempts, limits.retry_delay_seconds(retry), now, retries=retry)
        return failed(job, queue, failure, now)

    return [swap(statuses, "failed", again)]


def _one_retry_more() -> Swaps:
    def generous(job: AnalysisJob, queue: Any) -> Any:
        limits = limits_of(job, queue)
        return replace(limits, max_retries=limits.max_retries + 1)

    return [swap(statuses, "limits_of", generous)]


def _no_backoff() -> Swaps:
    def at_once(job: AnalysisJob, now: datetime) -> lifecycle.Step:
        status = job.status.model_copy(update={"phase": Phase.QUEUED, "next_attempt_at": None})
        return WriteStatus(status, Transition.RETRY_DUE)

    return [swap(lifecycle, "_back_off", at_once)]


def _finished_in_two_writes() -> Swaps:
    write = StatusWriter.write

    async def phase_first(
        self: StatusWriter, job: AnalysisJob, status: Any, transition: Transition, *queue: Any
    ) -> bool:
        if status.finished_at is None or status.phase is Phase.REJECTED or job.status.finished_at is not None:
            return await write(self, job, status, transition, *queue)
        bare = status.model_copy(update={"conditions": job.status.conditions, "finished_at": None})
        if not await write(self, job, bare, transition) or job.uid not in self.store.jobs:
            return False
        return await write(self, self.store.jobs[job.uid], status, Transition.LOG_ARCHIVED)

    return [swap(StatusWriter, "write", phase_first)]


def _worker_believed() -> Swaps:
    follow = lifecycle._follow

    def on_its_word(job: AnalysisJob, queue: Any, reserved: Any, view: Any, posted: Any, now: datetime) -> Any:
        said = posted or job.status.progress
        if said is not None and said.attempt == job.status.attempt and said.percentage >= 90:
            return WriteStatus(statuses.succeeded(job, queue, None, now), Transition.SUCCEEDED)
        return follow(job, queue, reserved, view, posted, now)

    return [swap(lifecycle, "_follow", on_its_word)]


def _jobs_tidied_away() -> Swaps:
    take = Reconciler._take

    async def and_tidy(self: Reconciler, job: AnalysisJob, step: lifecycle.Step) -> None:
        await take(self, job, step)
        if isinstance(step, WriteStatus) and step.transition is Transition.SUCCEEDED:
            with suppress(NotFound):
                name = attempt_job_name(job.uid, job.status.attempt)
                await self.client.delete(JOBS, name, job.metadata.namespace)

    return [swap(Reconciler, "_take", and_tidy)]


def _time_to_live() -> Swaps:
    make_job = jobs.make_job

    def short_lived(*args: Any, **more: Any) -> dict[str, Any]:
        manifest = make_job(*args, **more)
        return manifest | {"spec": manifest["spec"] | {"ttlSecondsAfterFinished": 1}}

    return [swap(reconciler, "make_job", short_lived)]


def _lost_too_early() -> Swaps:
    return [swap(lifecycle, "_lost_at", lambda job, queue, pod: pod.deleted_at)]


def _post_wins() -> Swaps:
    def post(written: Any, pending: Any) -> Any:
        return pending or written

    return [swap(statuses, "latest_progress", post), swap(progress, "latest_progress", post)]


def _time_in_the_status() -> Swaps:
    fold = queue_status.fold

    def with_time(*args: Any) -> Any:
        status, now = fold(*args), args[-1]
        totals = status.totals.model_copy(update={"run_seconds": round(now.timestamp(), 3)})
        return status.model_copy(update={"totals": totals})

    return [swap(queue_writer, "fold", with_time)]


BUGS = (
    Bug("a replay does not raise observedReplay", ("unfinished", "terminal"), 248, _replay_not_noted),
    Bug("a cancel stops only what runs", ("cancel",), 0, _cancel_for_running_only),
    Bug("Cancelled is written while the pod runs", ("settled",), 975, _cancelled_while_it_runs),
    Bug("a loss to the infrastructure burns a retry", ("retries", "losses"), 488, _losses_burn_retries),
    Bug("a permanent failure is tried again", ("retries",), 108, _permanent_tried_again),
    Bug("one retry more than maxRetries", ("retries",), 4, _one_retry_more),
    Bug("the backoff is not waited for", ("retry-early",), 0, _no_backoff),
    Bug("a job is finished in two writes", ("announced",), 0, _finished_in_two_writes),
    Bug("a worker that says it is nearly done is believed", ("settled", "success"), 1, _worker_believed),
    Bug("the Jobs of finished attempts are tidied away", ("job-kept",), 0, _jobs_tidied_away),
    Bug("ttlSecondsAfterFinished is set", ("one-job", "reserved-first"), 1864, _time_to_live),
    Bug("a pod is given up before its time", ("lost-node",), 9, _lost_too_early),
    Bug("a post is written over what another replica wrote", ("unfinished", "progress"), None, _post_wins),
    Bug("a queue's status tells the time", ("quiet",), 1, _time_in_the_status),
)  # fmt: skip
