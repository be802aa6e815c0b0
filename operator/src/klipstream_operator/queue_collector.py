"""Gauges that mirror the store, read when Prometheus asks: they cost nothing while nobody looks."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from klipstream_api import AnalysisQueue, Phase, Priority, QueueMode
from klipstream_operator.metrics import Metrics
from klipstream_operator.store import QueueKey, Store

FORGET_AFTER_SECONDS = 900.0
"""A deleted queue's counters stay that long, so that every scraper reads their last values."""
_SHOWN_PHASES = (Phase.STARTING, Phase.RUNNING, Phase.BACKING_OFF)
_QUEUE = ("namespace", "queue")


@dataclass(slots=True, eq=False)  # a registry keeps collectors by identity
class QueueCollector(Collector):
    """The queues as the leader sees them. Other replicas show none, so that sums over replicas are right.

    The cost of a scrape grows with the queues and their reservations, not with the jobs.
    """

    store: Store
    metrics: Metrics
    leading: Callable[[], bool]
    monotonic: Callable[[], float] = time.monotonic
    _gone: dict[QueueKey, float] = field(default_factory=dict)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Called for each scrape, on the event loop: nothing changes meanwhile."""
        self._forget_deleted()
        families = _Families()
        for key, queue in sorted(self.store.queues.items()) if self.leading() else ():
            self._show(families, key, queue)
        yield from families.all

    def _show(self, families: "_Families", key: QueueKey, queue: AnalysisQueue) -> None:
        spec, phases = queue.spec, self.store.phases[key]
        waiting = self.store.waiting(key)
        active, limit = len(queue.status.admitted), spec.max_concurrent_jobs
        for priority in Priority:
            families.depth.add_metric([*key, priority.value], waiting[priority])
        for phase in _SHOWN_PHASES:
            families.jobs.add_metric([*key, phase.value], phases[phase])
        families.reservations.add_metric(key, active)
        families.limit.add_metric(key, limit)
        families.utilization.add_metric(key, active / limit if limit else float(active > 0))
        families.max_size.add_metric(key, spec.max_queue_size)
        depth, size = sum(waiting.values()), spec.max_queue_size
        families.fill.add_metric(key, depth / size if size else float(depth > 0))
        families.dead_letters.add_metric(key, sum(len(uids) for uids in self.store.dead_letters[key].values()))
        for mode in QueueMode:
            families.mode.add_metric([*key, mode.value], float(spec.mode is mode))
        families.shortages.add_metric(key, len(queue.status.capacity))

    def _forget_deleted(self) -> None:
        self.metrics.keep_only(self.store.jobs)
        now = self.monotonic()
        deleted = self.metrics.queues - self.store.queues.keys()
        self._gone = {key: self._gone.get(key, now) for key in deleted}
        for key, since in self._gone.items():
            if now - since >= FORGET_AFTER_SECONDS:
                self.metrics.forget(key)


class _Families:
    """Empty families of one scrape, in the order in which they are shown."""

    def __init__(self) -> None:
        self.all: list[GaugeMetricFamily] = []
        self.depth = self._add("depth", "Accepted jobs that wait for a slot.", "priority")
        self.jobs = self._add("jobs", "Jobs that are under way or back off.", "phase")
        self.reservations = self._add("reservations", "Attempts that hold a slot.")
        self.limit = self._add("max_concurrent_jobs", "Slots of the queue.")
        self.utilization = self._add(
            "utilization_ratio", "Slots that are held, from 0 to 1; more after a lowered limit."
        )
        self.max_size = self._add("max_size", "Jobs that may wait.")
        self.fill = self._add("fill_ratio", "Waiting jobs per place; retries and replays may exceed 1.")
        self.dead_letters = self._add("dead_letters", "Finally failed jobs that are kept.")
        self.mode = self._add("mode", "1 for the mode that the queue is in.", "mode")
        self.shortages = self._add("capacity_shortages", "Sizes of jobs that the cluster has no room for.")

    def _add(self, name: str, text: str, *labels: str) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"klipstream_queue_{name}", text, labels=(*_QUEUE, *labels))
        self.all.append(family)
        return family
