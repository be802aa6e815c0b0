"""The figures that Prometheus reads, each from the status that a real decision wrote."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from prometheus_client import generate_latest

from klipstream_api import (
    Admitted,
    AnalysisJob,
    AnalysisJobStatus,
    AnalysisQueue,
    CapacityShortage,
    FailureClass,
    Progress,
    StageResources,
    Stop,
    StopReason,
)
from klipstream_kube import Client, Connection
from klipstream_operator import lifecycle, statuses
from klipstream_operator.failures import Failure
from klipstream_operator.metrics import TYPES_AT_MOST, Metrics
from klipstream_operator.queue_collector import FORGET_AFTER_SECONDS, QueueCollector
from klipstream_operator.runtime import Runtime
from klipstream_operator.settings import Settings
from klipstream_operator.store import Store
from klipstream_operator.workload import AttemptView

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LABELS = {"namespace": "n", "queue": "q"}


def queue(name: str = "q", **status: Any) -> AnalysisQueue:
    return AnalysisQueue.from_wire({
        "metadata": {"name": name, "namespace": "n", "uid": f"uid-{name}", "resourceVersion": "5"},
        "spec": {
            "workerTemplate": {"spec": {"containers": [{"name": "w", "image": "i"}]}}, "maxConcurrentJobs": 4,
            "maxQueueSize": 10, "retryDelaysSeconds": [30],
        },
        "status": {"initialized": True} | status,
    })  # fmt: skip


QUEUE = queue()


class Life:
    """One job whose statuses are those of the operator's own transitions, each told to the metrics."""

    def __init__(self, metrics: Metrics, name: str = "film", **spec: Any) -> None:
        self.metrics, self.now, self.version = metrics, NOW, 9
        self.job = AnalysisJob.from_wire({
            "metadata": {"name": name, "namespace": "n", "uid": f"uid-{name}", "resourceVersion": "9"},
            "spec": {"videoUrl": "https://example.com/v.mp4"} | spec,
        })  # fmt: skip

    def write(self, status: AnalysisJobStatus) -> None:
        self.metrics.job_written(self.job, status)
        self.version += 1
        metadata = self.job.metadata.model_copy(update={"resource_version": str(self.version)})
        self.job = self.job.model_copy(update={"status": status, "metadata": metadata})

    def after(self, seconds: float) -> "Life":
        self.now += timedelta(seconds=seconds)
        return self

    def accepted(self) -> "Life":
        self.write(statuses.accepted(self.job, "q", 1, self.now))
        return self

    def started(self) -> "Life":
        self.write(statuses.started(self.job, self.job.status.attempt + 1, "j", self.now))
        return self

    def failed(self, failure_class: FailureClass = FailureClass.TRANSIENT) -> "Life":
        self.write(statuses.failed(self.job, QUEUE, Failure(failure_class, "Why", "It failed."), self.now))
        return self

    def succeeded(self) -> "Life":
        self.write(statuses.succeeded(self.job, QUEUE, None, self.now))
        return self

    def due(self) -> "Life":
        step = lifecycle.next_step(self.job, QUEUE, frozenset(), lambda _: AttemptView(), None, self.now)
        assert isinstance(step, lifecycle.WriteStatus), step
        self.write(step.status)
        return self


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """A sample's value; 0 where there is none."""
    return metrics.registry.get_sample_value(f"klipstream_{name}", LABELS | labels) or 0.0


# --- jobs and attempts -------------------------------------------------------------------------------------------


def test_each_job_counts_once_from_acceptance_to_its_end(metrics: Metrics) -> None:
    Life(metrics, "good", priority="HIGH").accepted().started().after(90).succeeded()
    bad = Life(metrics, "bad", maxRetries=0).accepted().started().after(10).failed()
    assert value(metrics, "jobs_accepted_total", priority="HIGH") == 1
    assert value(metrics, "jobs_accepted_total", priority="NORMAL") == 1
    assert value(metrics, "jobs_finished_total", phase="Succeeded") == 1
    assert value(metrics, "jobs_finished_total", phase="Failed") == 1
    bad.write(statuses.replayed(bad.job, bad.now))
    assert value(metrics, "jobs_replayed_total") == 1
    bad.started().after(10).succeeded()
    assert value(metrics, "jobs_finished_total", phase="Succeeded") == 2
    assert value(metrics, "jobs_accepted_total", priority="NORMAL") == 1, "a replay is no new job"


def test_a_refusal_counts_by_its_reason_and_not_as_finished(metrics: Metrics) -> None:
    life = Life(metrics)
    life.write(statuses.rejected(life.job, "q", "QueueFull", "full", NOW))
    assert value(metrics, "jobs_rejected_total", reason="QueueFull") == 1
    assert value(metrics, "jobs_finished_total", phase="Rejected") == 0


@pytest.mark.parametrize("failure_class", [each for each in FailureClass if each is not FailureClass.UNSCHEDULABLE])
def test_an_attempt_counts_by_its_failure_class(metrics: Metrics, failure_class: FailureClass) -> None:
    Life(metrics, type="vod").accepted().started().after(10).failed(failure_class)
    retried = failure_class is not FailureClass.PERMANENT
    assert value(metrics, "attempts_ended_total", outcome=failure_class.value) == 1
    assert value(metrics, "attempts_retried_total", failure_class=failure_class.value) == retried
    assert value(metrics, "attempt_run_seconds_sum", type="vod", outcome="Failed") == 10


def took(*stages: str) -> tuple[StageResources, ...]:
    return tuple(
        StageResources(stage=stage, peak_memory_bytes=2**30, cpu_seconds=50.0, wall_seconds=90.0) for stage in stages
    )


def test_what_the_stages_of_an_attempt_took_counts_at_its_end_however_it_ends(metrics: Metrics) -> None:
    life = Life(metrics, type="vod").accepted().started()
    for end in (life.failed, life.succeeded):
        now = life.now
        progress = Progress(attempt=life.job.status.attempt, percentage=5, stage="s", updated_at=now,
                            resources=took("Transcribing", "Analyzing"))  # fmt: skip
        life.write(statuses.running(life.job, progress, now))
        assert value(metrics, "stage_cpu_seconds_count", type="vod", stage="Analyzing") == (end == life.succeeded)
        end()
        assert life.job.status.attempts[-1].resources == progress.resources
        if end == life.failed:
            life.after(100).due().started()
    labels = {"type": "vod", "stage": "Analyzing"}
    assert value(metrics, "stage_cpu_seconds_sum", **labels) == 100
    assert value(metrics, "stage_run_seconds_sum", **labels) == 180
    assert value(metrics, "stage_peak_memory_bytes_bucket", le="1.073741824e+09", **labels) == 2
    assert value(metrics, "stage_peak_memory_bytes_bucket", le="5.36870912e+08", **labels) == 0


def test_resources_of_an_earlier_attempt_are_not_those_of_one_that_posted_nothing(metrics: Metrics) -> None:
    life = Life(metrics).accepted().started()
    progress = Progress(attempt=1, percentage=5, stage="s", updated_at=life.now, resources=took("s"))
    life.write(statuses.running(life.job, progress, life.now))
    life.failed().after(100).due().started().failed()
    assert [entry.resources for entry in life.job.status.attempts] == [progress.resources, None]
    assert value(metrics, "stage_cpu_seconds_count", type="", stage="s") == 1


def test_stages_without_end_share_a_label(metrics: Metrics) -> None:
    for number in range(3):
        life = Life(metrics, f"j{number}").accepted().started()
        stages = took(*(f"stage {number}-{n}" for n in range(8)))
        progress = Progress(attempt=1, percentage=5, stage="s", updated_at=life.now, resources=stages)
        life.write(statuses.running(life.job, progress, life.now))
        life.succeeded()
    assert value(metrics, "stage_cpu_seconds_count", type="", stage="stage 1-7") == 1
    assert value(metrics, "stage_cpu_seconds_count", type="", stage="other") == 8


def test_a_cancelled_attempt_counts_and_a_cancelled_waiting_job_has_none(metrics: Metrics) -> None:
    for life in (Life(metrics, "runs").accepted().started().after(5), Life(metrics, "waits").accepted()):
        life.write(statuses.cancelled(life.job, life.now, "cancelled"))
    assert value(metrics, "jobs_finished_total", phase="Cancelled") == 2
    assert value(metrics, "attempts_ended_total", outcome="Cancelled") == 1
    assert value(metrics, "attempt_run_seconds_count", type="", outcome="Cancelled") == 1


def test_the_wait_is_from_acceptance_or_from_when_a_retry_was_due_to_the_start(metrics: Metrics) -> None:
    life = Life(metrics, priority="LOW").accepted().after(7).started()
    assert value(metrics, "job_wait_seconds_sum", priority="LOW") == 7
    life.after(100).failed().after(30).due().after(4).started()
    assert value(metrics, "job_wait_seconds_sum", priority="LOW") == 11, "neither the run nor the retry's delay"
    life.after(100).failed(FailureClass.INFRASTRUCTURE).after(2).started()
    assert value(metrics, "job_wait_seconds_sum", priority="LOW") == 13, "an attempt that follows at once"
    assert value(metrics, "job_wait_seconds_count", priority="LOW") == 3


def test_not_before_is_no_waiting(metrics: Metrics) -> None:
    Life(metrics, notBefore="2026-01-02T03:05:05Z").accepted().after(65).started()
    assert value(metrics, "job_wait_seconds_sum", priority="NORMAL") == 5


def test_a_replay_waits_anew(metrics: Metrics) -> None:
    life = Life(metrics, maxRetries=0).accepted().started().after(10).failed().after(500)
    life.write(statuses.replayed(life.job, life.now))
    life.after(3).started()
    assert value(metrics, "job_wait_seconds_sum", priority="NORMAL") == 3


def test_a_retry_that_came_due_under_another_leader_is_not_guessed(metrics: Metrics) -> None:
    life = Life(Metrics()).accepted().started().after(10).failed().after(30).due()
    life.metrics = metrics
    life.after(4).started()
    assert value(metrics, "job_wait_seconds_count", priority="NORMAL") == 0
    first = Life(Metrics(), "first").accepted()
    first.metrics = metrics
    first.after(6).started()
    assert value(metrics, "job_wait_seconds_sum", priority="NORMAL") == 6, "the first wait is in the status"


def test_nothing_is_kept_of_a_deleted_job(metrics: Metrics) -> None:
    life = Life(metrics).accepted().started().after(10).failed().after(30).due()
    show(new_store(), metrics)
    generate_latest(metrics.registry)
    life.after(4).started()
    assert value(metrics, "job_wait_seconds_count", priority="NORMAL") == 1, "only its first start"


def test_an_attempt_that_found_no_node_is_returned_and_did_not_run(metrics: Metrics) -> None:
    life = Life(metrics).accepted().started().after(40)
    stop = Stop(attempt=1, reason=StopReason.UNSCHEDULABLE, message="no node", at=life.now)
    life.write(statuses.returned(life.job, stop, (), life.now))
    assert value(metrics, "attempts_returned_total") == 1
    life.after(5)
    life.write(statuses.abandoned(life.job, "JobDeleted", "gone", life.now))
    assert value(metrics, "attempts_ended_total", outcome="Unschedulable") == 1
    assert value(metrics, "attempts_retried_total", failure_class="Unschedulable") == 1
    assert value(metrics, "attempt_run_seconds_count", type="", outcome="Failed") == 0


def test_progress_moves_no_counter(metrics: Metrics) -> None:
    life = Life(metrics).accepted().started()
    before = generate_latest(metrics.registry).decode()
    life.write(statuses.running(life.job, None, life.now))
    after = generate_latest(metrics.registry).decode()

    def ours(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith("klipstream_")]

    assert ours(before) == ours(after)


def test_types_beyond_the_bound_share_one_label(metrics: Metrics) -> None:
    for number in range(TYPES_AT_MOST + 3):
        Life(metrics, f"job-{number}", type=f"type-{number}").accepted().started().after(1).succeeded()
    assert value(metrics, "attempt_run_seconds_count", type="type-0", outcome="Succeeded") == 1
    assert value(metrics, "attempt_run_seconds_count", type="other", outcome="Succeeded") == 3
    Life(metrics, "again", type="type-0").accepted().started().after(1).succeeded()
    assert value(metrics, "attempt_run_seconds_count", type="type-0", outcome="Succeeded") == 2


def test_no_label_names_a_job(metrics: Metrics) -> None:
    Life(metrics, "film", videoId="video-1").accepted().started().after(1).failed().after(30).due()
    labels = {text for family in metrics.registry.collect() for each in family.samples for text in each.labels.values()}
    assert not [text for text in labels if "film" in text or "video-1" in text]


# --- queues ------------------------------------------------------------------------------------------------------


class Unread(dict[str, AnalysisJob]):
    """Jobs that may be looked up one by one, and not gone through."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("a scrape must not go through all jobs")

    values = items = keys = __iter__  # type: ignore[assignment]


def new_store() -> Store:
    return Store(lambda _: None, lambda _: None, lambda: None)


def show(store: Store, metrics: Metrics, leading: bool = True, monotonic: Any = lambda: 0.0) -> QueueCollector:
    collector = QueueCollector(store, metrics, lambda: leading, monotonic)
    metrics.registry.register(collector)
    return collector


def test_gauges_mirror_the_queue_without_going_through_its_jobs(metrics: Metrics) -> None:
    store = new_store()
    lives = [Life(metrics, f"job-{n}", priority=("LOW", "HIGH")[n % 2]).accepted() for n in range(5)]
    lives[0].started()
    for life in lives:
        store.put_job(life.job, NOW)
    shortage = CapacityShortage(shape="default", since=NOW, next_try_at=NOW)
    holders = [Admitted(uid=f"uid-job-{n}", attempt=1, name=f"job-{n}") for n in (0, 1)]
    status = queue().status.model_copy(update={"admitted": tuple(holders), "capacity": (shortage,)})
    store.put_queue(queue().model_copy(update={"status": status}), NOW)
    store.jobs = Unread(store.jobs)
    show(store, metrics)
    # job-0 runs, job-1 holds a slot and is about to start: three wait.
    depth = {p: value(metrics, "queue_depth", priority=p) for p in ("URGENT", "HIGH", "NORMAL", "LOW")}
    assert depth == {"URGENT": 0, "HIGH": 1, "NORMAL": 0, "LOW": 2}
    assert sum(depth.values()) == store.queued(("n", "q"))
    assert value(metrics, "queue_jobs", phase="Starting") == 1
    assert value(metrics, "queue_reservations") == 2
    assert value(metrics, "queue_max_concurrent_jobs") == 4
    assert value(metrics, "queue_utilization_ratio") == 0.5
    assert value(metrics, "queue_fill_ratio") == 0.3
    assert value(metrics, "queue_mode", mode="Running") == 1
    assert value(metrics, "queue_mode", mode="Paused") == 0
    assert value(metrics, "queue_capacity_shortages") == 1


def test_dead_letters_are_shown_until_they_run_again(metrics: Metrics) -> None:
    store = new_store()
    store.put_queue(QUEUE, NOW)
    show(store, metrics)
    life = Life(metrics, maxRetries=0).accepted().started().after(1).failed()
    store.put_job(life.job, NOW)
    assert value(metrics, "queue_dead_letters") == 1
    life.write(statuses.replayed(life.job, life.now))
    store.put_job(life.job, NOW)
    assert value(metrics, "queue_dead_letters") == 0


def test_a_replica_that_does_not_lead_shows_no_queue(metrics: Metrics) -> None:
    store = new_store()
    store.put_queue(QUEUE, NOW)
    show(store, metrics, leading=False)
    assert metrics.registry.get_sample_value("klipstream_queue_reservations", LABELS) is None


def test_the_counters_of_a_deleted_queue_go_once_they_have_been_read(metrics: Metrics) -> None:
    store, clock = new_store(), [0.0]
    store.put_queue(QUEUE, NOW)
    show(store, metrics, monotonic=lambda: clock[0])
    Life(metrics, type="vod").accepted().started().after(1).succeeded()
    store.remove_queue(QUEUE.key, QUEUE.metadata.uid, NOW)
    for moment, expected in ((0.0, 1), (FORGET_AFTER_SECONDS - 1, 1), (FORGET_AFTER_SECONDS + 1, 0)):
        clock[0] = moment
        generate_latest(metrics.registry)
        assert value(metrics, "jobs_finished_total", phase="Succeeded") == expected
    assert not metrics.queues


# --- the page ----------------------------------------------------------------------------------------------------

GUIDE = (
    "queue_length", "active_jobs", "active_workers", "max_workers", "utilization_percent", "queue_utilization_percent",
    "total_jobs_processed", "total_jobs_failed", "total_jobs_retried", "average_processing_time", "uptime_seconds",
    "Throughput", "Success Rate", "Average Processing Time", "Queue Wait Time", "Worker Utilization",
    "queue length > 50", "worker utilization > 90", "processing time > 2 hours", "failed job rate > 10",
)  # fmt: skip


def expressions() -> list[str]:
    """The PromQL of the page's first table."""
    table = PAGE.read_text().split("## Jobs and attempts")[0]
    return [text.replace("\\|", "|") for text in re.findall(r"\| `(.*)` \|$", table, re.MULTILINE)]


def exported() -> set[str]:
    """Every metric of ours as Prometheus shows it; histograms by their base name."""
    runtime = Runtime(Settings.from_environment({}), Client(Connection("http://127.0.0.1:1")))
    families = list(runtime.shown.metrics.registry.collect())
    names = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    return {name for name in names if name.startswith("klipstream_")}


def named(text: str) -> set[str]:
    found = set(re.findall(r"klipstream_[a-z_]+", text))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in found}


async def test_the_page_names_every_metric_and_no_other() -> None:
    tables = PAGE.read_text().split("## Jobs and attempts")[1].split("## The gateway")[0]
    assert named(tables) == exported()
    assert named(" ".join(expressions())) <= exported()


@pytest.mark.parametrize("figure", GUIDE)
def test_the_page_has_an_expression_for_every_figure_of_the_guide(figure: str) -> None:
    table = PAGE.read_text().split("## Jobs and attempts")[0]
    assert re.search(rf"^\| [^|`]*{re.escape(figure)}[^|`]*\| `.+` \|$", table, re.MULTILINE)


@pytest.mark.parametrize("expression", expressions())
def test_every_expression_of_the_page_is_promql(expression: str) -> None:
    promql_parser.parse(expression.replace("$q", 'namespace="n",queue="q"'))


def test_what_alerts_ask_for_a_rise_of_is_there_from_the_start_at_0() -> None:
    """Prometheus sees no rise in a series whose first sample is 1: the first refusal or dead letter would be missed."""
    metrics = Metrics()
    metrics.queue_known(("n", "q"))
    text = generate_latest(metrics.registry).decode()
    for series in (
        'klipstream_operator_api_requests_total{resource="jobs.batch",status="403",verb="create"} 0.0',
        'klipstream_operator_sweep_repairs_total{resource="pods"} 0.0',
        'klipstream_jobs_finished_total{namespace="n",phase="Failed",queue="q"} 0.0',
        'klipstream_jobs_finished_total{namespace="n",phase="Succeeded",queue="q"} 0.0',
    ):
        assert series in text, series
    metrics.forget(("n", "q"))
    assert 'queue="q"' not in generate_latest(metrics.registry).decode()
