"""What the operator counts and times for Prometheus, each figure updated beside the state that it tells of.

Names and what they answer are in docs/metrics.md. Labels are bounded: namespace and queue, never a job; gauges that
mirror the store are in queue_collector.py.
"""

from collections import defaultdict
from collections.abc import Container, Iterator
from contextlib import contextmanager
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram, PlatformCollector, ProcessCollector

from klipstream_api import AnalysisJob, AnalysisJobStatus, Attempt, FailureClass, Phase
from klipstream_api.meta import condition
from klipstream_api.phases import ACTIVE_PHASES, FINISHED_PHASES
from klipstream_operator.status_diff import ended_attempts, waits_again_since, waits_first_since
from klipstream_operator.statuses import is_accepted

TYPES_AT_MOST = 16
"""Types of a queue with figures of their own; types are free text of the submitters, so the rest shares one label."""
OTHER_TYPES = "other"
WAIT_BUCKETS = (0.5, 1, 2, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14_400, 28_800, 86_400)
RUN_BUCKETS = (1, 5, 15, 30, 60, 120, 300, 600, 900, 1800, 2700, 3600, 5400, 7200, 14_400, 28_800, 86_400)
STAGES_AT_MOST = 16
"""Stages of a queue with figures of their own; their names are free text of the workers."""
OTHER_STAGES = "other"
MEMORY_BUCKETS = tuple(float(2**power) for power in range(26, 40))
"""64 MiB to 512 GiB."""
CPU_BUCKETS = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400, 259_200)
RECONCILE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

REQUESTS = (
    ("analysisjobs.analysis.klipstream.io", ("get", "list", "watch", "delete", "patch")),
    ("analysisqueues.analysis.klipstream.io", ("get", "list", "watch", "patch")),
    ("jobs.batch", ("get", "list", "watch", "create", "patch")),
    ("pods", ("get", "list", "watch", "delete", "patch", "log")),
    ("events", ("create",)),
    ("tokenreviews.authentication.k8s.io", ("create",)),
    ("leases.coordination.k8s.io", ("get", "list", "create", "patch")),
    ("workloads.kueue.x-k8s.io", ("list", "patch")),
)
"""What the operator asks of the API server, by the names that its requests are counted under."""

_QUEUE = ("namespace", "queue")


class Metrics:
    """The figures of one replica, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.queues: set[tuple[str, str]] = set()
        """Queues that have series, by namespace and name."""
        self._types: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._stages: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._waiting_since: dict[str, datetime] = {}
        """Of jobs that came back to the backlog, by uid."""
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"klipstream_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"klipstream_{name}_seconds", text, labels, buckets=buckets, registry=registry)

        self._accepted = counter("jobs_accepted", "Jobs that a queue took.", *_QUEUE, "priority")
        self._rejected = counter("jobs_rejected", "Jobs that a queue refused.", *_QUEUE, "reason")
        self._finished = counter("jobs_finished", "Jobs that reached a final phase.", *_QUEUE, "phase")
        self._replayed = counter("jobs_replayed", "Finally failed jobs that were run again.", *_QUEUE)
        self._ended = counter("attempts_ended", "Attempts that ended, by failure class.", *_QUEUE, "outcome")
        self._retried = counter("attempts_retried", "Failed attempts that another follows.", *_QUEUE, "failure_class")
        self._returned = counter("attempts_returned", "Attempts that found no node and wait again.", *_QUEUE)
        self._wait = histogram(
            "job_wait",
            "From acceptance, or from when a retry was due, to the start.",
            WAIT_BUCKETS,
            *_QUEUE,
            "priority",
        )
        self._run = histogram(
            "attempt_run", "From the start of an attempt to its end.", RUN_BUCKETS, *_QUEUE, "type", "outcome"
        )
        self._stage_cpu = histogram(
            "stage_cpu", "CPU time of a stage of an attempt.", CPU_BUCKETS, *_QUEUE, "type", "stage"
        )
        self._stage_run = histogram(
            "stage_run", "Time on the clock of a stage of an attempt.", RUN_BUCKETS, *_QUEUE, "type", "stage"
        )
        self._stage_memory = Histogram(
            "klipstream_stage_peak_memory_bytes", "The most memory of a stage of an attempt.",
            (*_QUEUE, "type", "stage"), buckets=MEMORY_BUCKETS, registry=registry,
        )  # fmt: skip
        self._of_queues = (
            self._accepted, self._rejected, self._finished, self._replayed, self._ended, self._retried, self._returned,
            self._wait, self._run, self._stage_cpu, self._stage_run, self._stage_memory,
        )  # fmt: skip
        self._reconcile = histogram("operator_reconcile", "One look at an AnalysisJob.", RECONCILE_BUCKETS)
        self._reconcile_errors = counter("operator_reconcile_errors", "Looks at an AnalysisJob that were cut short.")
        self._repairs = counter("operator_sweep_repairs", "Objects that a watch had missed.", "resource")
        self._requests = counter("operator_api_requests", "Answered requests; status 0: no answer.",
                                 "verb", "resource", "status")  # fmt: skip
        self._request_seconds = histogram(
            "operator_api_request", "Requests to the API server, but for watches.", REQUEST_BUCKETS, "verb", "resource"
        )
        self._watches = counter("operator_watch_restarts", "Watches that ended and were opened again.", "resource")
        self._lists = counter("operator_cache_lists", "Complete lists of a cache; the first is the start.", "resource")
        self._events = counter("operator_events", "Kubernetes events, by what became of them.", "result")
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Alerts ask whether these rise at all, and Prometheus sees no rise in a series that begins at 1."""
        for resource, verbs in REQUESTS:
            for verb in verbs:
                self._requests.labels(verb, resource, "403")
            if "watch" in verbs:
                self._repairs.labels(resource)

    # --- jobs ------------------------------------------------------------------------------------------------

    def job_written(self, job: AnalysisJob, after: AnalysisJobStatus) -> None:
        """A status was written; `job` is what it replaced."""
        before = job.status
        key = (job.metadata.namespace, after.queue_name or "")
        if not is_accepted(before) and is_accepted(after) and after.phase is Phase.QUEUED:
            self._accepted.labels(*self._of(key), job.spec.priority.value).inc()
        if before.phase is not after.phase:
            self._phase_changed(job, after, key)
            self._note_wait(job, after, key)
        for entry in ended_attempts(before, after):
            self._attempt_ended(job, after, entry, key)

    def _phase_changed(self, job: AnalysisJob, after: AnalysisJobStatus, key: tuple[str, str]) -> None:
        before, labels = job.status, self._of(key)
        if after.phase is Phase.REJECTED:
            finished = condition(after.conditions, "Finished")
            self._rejected.labels(*labels, finished.reason if finished is not None else "").inc()
        elif after.phase in FINISHED_PHASES:
            self._finished.labels(*labels, after.phase.value).inc()
        elif before.phase is Phase.FAILED:
            self._replayed.labels(*labels).inc()
        elif before.phase in ACTIVE_PHASES and after.phase is Phase.QUEUED and not ended_attempts(before, after):
            self._returned.labels(*labels).inc()

    def _note_wait(self, job: AnalysisJob, after: AnalysisJobStatus, key: tuple[str, str]) -> None:
        """A retry that came due under another leader is left out: what is not known is not guessed."""
        again = waits_again_since(job.status, after)
        if again is not None:
            self._waiting_since[job.uid] = again
            return
        since = self._waiting_since.pop(job.uid, None) or waits_first_since(job.status)
        begins = after.phase is Phase.STARTING and after.attempt > job.status.attempt
        if begins and since is not None and after.started_at is not None:
            earliest = max(since, job.spec.not_before or since)
            seconds = max(0.0, (after.started_at - earliest).total_seconds())
            self._wait.labels(*self._of(key), job.spec.priority.value).observe(seconds)

    def _attempt_ended(self, job: AnalysisJob, after: AnalysisJobStatus, entry: Attempt, key: tuple[str, str]) -> None:
        labels = self._of(key)
        if entry.failure_class is not None:
            outcome, kind = entry.failure_class.value, Phase.FAILED.value
            if after.phase not in FINISHED_PHASES:
                self._retried.labels(*labels, outcome).inc()
        else:
            outcome = kind = (Phase.SUCCEEDED if after.phase is Phase.SUCCEEDED else Phase.CANCELLED).value
        self._ended.labels(*labels, outcome).inc()
        ran = job.status.phase in ACTIVE_PHASES and entry.failure_class is not FailureClass.UNSCHEDULABLE
        if ran and entry.started_at is not None and entry.finished_at is not None:
            seconds = max(0.0, (entry.finished_at - entry.started_at).total_seconds())
            self._run.labels(*labels, self._type(key, job.spec.type or ""), kind).observe(seconds)
        for use in entry.resources or ():
            of_stage = (*labels, self._type(key, job.spec.type or ""), self._stage(key, use.stage))
            if use.cpu_seconds is not None:
                self._stage_cpu.labels(*of_stage).observe(use.cpu_seconds)
            if use.wall_seconds is not None:
                self._stage_run.labels(*of_stage).observe(use.wall_seconds)
            if use.peak_memory_bytes is not None:
                self._stage_memory.labels(*of_stage).observe(use.peak_memory_bytes)

    def queue_known(self, key: tuple[str, str]) -> None:
        """There is such a queue: how its jobs end is counted from 0."""
        for phase in (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED):
            self._finished.labels(*self._of(key), phase.value)

    def _of(self, key: tuple[str, str]) -> tuple[str, str]:
        self.queues.add(key)
        return key

    def _type(self, key: tuple[str, str], job_type: str) -> str:
        types = self._types[key]
        if job_type not in types and len(types) >= TYPES_AT_MOST:
            return OTHER_TYPES
        types.add(job_type)
        return job_type

    def _stage(self, key: tuple[str, str], stage: str) -> str:
        stages = self._stages[key]
        if stage not in stages and len(stages) >= STAGES_AT_MOST:
            return OTHER_STAGES
        stages.add(stage)
        return stage

    def forget(self, key: tuple[str, str]) -> None:
        """Drop the series of a queue that was deleted long enough ago for its last figures to have been read."""
        self.queues.discard(key)
        self._types.pop(key, None)
        self._stages.pop(key, None)
        for metric in self._of_queues:
            metric.remove_by_labels(dict(zip(_QUEUE, key, strict=True)))

    def keep_only(self, jobs: Container[str]) -> None:
        """Forget what was noted of AnalysisJobs that are gone."""
        for uid in [uid for uid in self._waiting_since if uid not in jobs]:
            del self._waiting_since[uid]

    # --- the operator itself ---------------------------------------------------------------------------------

    @contextmanager
    def reconciling(self) -> Iterator[None]:
        """Around one look at an AnalysisJob."""
        with self._reconcile.time(), self._reconcile_errors.count_exceptions(Exception):
            yield

    def request(self, verb: str, resource: str, status: int, seconds: float) -> None:
        """A request to the API server was answered, or was not (status 0)."""
        self._requests.labels(verb, resource, str(status)).inc()
        if verb == "watch":
            self._watches.labels(resource).inc()
        else:
            self._request_seconds.labels(verb, resource).observe(seconds)

    def listed(self, resource: str) -> None:
        """A cache was filled from a complete list."""
        self._lists.labels(resource).inc()

    def repaired(self, resource: str, count: int) -> None:
        """The sweep mended what a watch had missed."""
        self._repairs.labels(resource).inc(count)

    def event(self, result: str) -> None:
        """A Kubernetes event was written, dropped or failed."""
        self._events.labels(result).inc()
