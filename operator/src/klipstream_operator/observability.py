"""What is shown of the operator's work: metrics and events, told of each write after it happened."""

import asyncio
import time
from collections.abc import Callable

from prometheus_client import Gauge

from klipstream_api import AnalysisJob, AnalysisJobStatus, AnalysisQueue, AnalysisQueueStatus, QueueMode
from klipstream_kube import Client
from klipstream_operator.event_recorder import EventRecorder
from klipstream_operator.events import job_event, mode_event, queue_events
from klipstream_operator.metrics import Metrics
from klipstream_operator.queue_collector import QueueCollector
from klipstream_operator.spans import spans_of
from klipstream_operator.store import QueueKey, Store
from klipstream_operator.transitions import Transition
from klipstream_service.tracing import Tracing


class Observability:
    """Metrics and events of one replica. Nothing here delays or fails what it watches."""

    def __init__(
        self, client: Client, store: Store, identity: str, events: bool, tracing: Tracing | None = None
    ) -> None:
        self._store = store
        self.tracing = tracing
        self.metrics = Metrics()
        self.leading_since: float | None = None
        """Unix seconds since this replica leads."""
        self.recorder = EventRecorder(client, identity, self.metrics.event) if events else None
        self._modes: dict[QueueKey, tuple[str, QueueMode]] = {}
        client.on_request = self.metrics.request
        self.metrics.registry.register(QueueCollector(store, self.metrics, lambda: self.leading_since is not None))
        leading = Gauge("klipstream_operator_leading", "1 while this replica leads its shard of the queues.", ["shard"],
                        registry=self.metrics.registry)  # fmt: skip
        leading.labels(store.shard.number).set_function(lambda: float(self.leading_since is not None))
        self.gauge("leading_since_timestamp_seconds", "When it took over; 0 while it does not lead.",
                   lambda: self.leading_since or 0.0)  # fmt: skip
        self.gauge("tasks", "Tasks of the event loop.", lambda: float(len(asyncio.all_tasks())))
        self.gauge("unaccepted_jobs", "AnalysisJobs that no queue has taken yet.", lambda: float(len(store.unaccepted)))

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge of the operator that is read at each scrape."""
        Gauge(f"klipstream_operator_{name}", text, registry=self.metrics.registry).set_function(value)

    def leads(self, leading: bool) -> None:
        """This replica took over, or gave up."""
        self.leading_since = time.time() if leading else None

    def job_written(self, job: AnalysisJob, after: AnalysisJobStatus, transition: Transition) -> None:
        """A status of an AnalysisJob was written; `job` is what it replaced."""
        self.metrics.job_written(job, after)
        if self.tracing is not None:
            for span in spans_of(job, after, self.tracing.ratio):
                self.tracing.send(span)
        if self.recorder is not None and (event := job_event(job, after, transition)) is not None:
            self.recorder.record(job, event)

    def queue_written(self, queue: AnalysisQueue, after: AnalysisQueueStatus) -> None:
        """A status of an AnalysisQueue was written; `queue` is what it replaced."""
        if self.recorder is not None:
            for event in queue_events(queue, after):
                self.recorder.record(queue, event)

    def queue_seen(self, key: QueueKey) -> None:
        """An AnalysisQueue may have changed: the status does not tell its mode, so that is compared here."""
        queue = self._store.queues.get(key)
        if queue is None:
            self._modes.pop(key, None)
            return
        before, now = self._modes.get(key), (queue.metadata.uid, queue.spec.mode)
        if before == now:
            return
        self._modes[key] = now
        if before is None:
            self.metrics.queue_known(key)
        elif before[0] == now[0] and self.leading_since is not None and self.recorder is not None:
            self.recorder.record(queue, mode_event(queue.spec.mode))
