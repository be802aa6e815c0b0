"""What the queues do: figures for everybody, groups of dead letters for administrators."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from klipstream_api import AnalysisQueue, GroupReplay, Phase, Priority, QueueMode
from klipstream_api.meta import condition
from klipstream_gateway.answers import (
    STATES,
    GroupList,
    GroupView,
    Performance,
    QueueFigures,
    QueueList,
    QueueMetrics,
    QueueState,
    QueueStatusView,
    QueueView,
    ReplayView,
)
from klipstream_gateway.cache import Cache
from klipstream_gateway.cluster import Cluster
from klipstream_gateway.forecast import Forecasts
from klipstream_gateway.queue_choice import queues_asked
from klipstream_gateway.routes import Answer, Call
from klipstream_gateway.views import queue_message


def waiting_by_queue(cache: Cache) -> Counter[str]:
    """Jobs that wait, by queue: those without a slot, accepted or about to be."""
    return Counter({name: _queue_length(cache, queue) for name, queue in cache.queues.items()})


def _queue_length(cache: Cache, queue: AnalysisQueue) -> int:
    queued = cache.phases[queue.metadata.name][Phase.QUEUED]
    held = sum(1 for entry in queue.status.admitted if _phase(cache, entry.uid) is Phase.QUEUED)
    return max(0, queued - held)


def _phase(cache: Cache, uid: str) -> Phase | None:
    job = cache.jobs.get(uid)
    return job.status.phase if job is not None else None


@dataclass(slots=True)
class QueueReports:
    """Handlers of the routes that only tell."""

    cluster: Cluster
    cache: Cache
    forecasts: Forecasts
    now: Callable[[], datetime]

    async def status(self, call: Call) -> Answer:
        """What the queues do at the moment: over all queues together unless `?queue=` names one, and one by one."""
        queues = queues_asked(self.cache, call.query.queue)
        views = tuple(self.view(queue) for queue in queues)
        return Answer(QueueStatusView(**dict(_sum(views)), queues=views))

    async def list_all(self, _: Call) -> Answer:
        """All queues by name, each with its figures."""
        return Answer(QueueList(queues=tuple(self.view(queue) for queue in queues_asked(self.cache, None))))

    async def metrics(self, call: Call) -> Answer:
        """The guide's figures, field for field: over all queues together unless `?queue=` names one."""
        queues = queues_asked(self.cache, call.query.queue)
        figures = _sum([self.view(queue) for queue in queues])
        totals = [queue.status.totals for queue in queues]
        succeeded, failed = sum(each.succeeded for each in totals), sum(each.failed for each in totals)
        since = await self.cluster.leading_since()
        uptime = max(0, int((self.now() - since).total_seconds())) if since is not None else 0
        return Answer(
            QueueMetrics(
                queue_length=figures.queue_length,
                active_jobs=figures.active_jobs,
                active_workers=figures.active_workers,
                max_workers=figures.max_workers,
                utilization_percent=figures.utilization_percent,
                queue_utilization_percent=figures.queue_utilization_percent,
                performance=Performance(
                    total_jobs_processed=succeeded + failed,
                    total_jobs_failed=failed,
                    total_jobs_retried=sum(each.retried for each in totals),
                    average_processing_time=round(sum(each.run_seconds for each in totals) / succeeded, 1)
                    if succeeded
                    else 0.0,
                    uptime_seconds=uptime,
                ),
            )
        )

    async def groups(self, call: Call) -> Answer:
        """Dead letters that failed alike, the largest groups first, with what a replay of them came to."""
        found = [
            GroupView(
                queue=queue.metadata.name,
                fingerprint=group.fingerprint,
                count=group.count,
                reason=group.reason,
                message=group.message,
                replay=_last_replay(queue, group.fingerprint),
            )
            for queue in queues_asked(self.cache, call.query.queue)
            for group in queue.status.dead_letter_groups
        ]
        return Answer(GroupList(groups=tuple(sorted(found, key=lambda g: (-g.count, g.queue, g.fingerprint)))))

    def view(self, queue: AnalysisQueue) -> QueueView:
        """One queue's figures."""
        name, spec, status = queue.metadata.name, queue.spec, queue.status
        phases = self.cache.phases[name]
        length = _queue_length(self.cache, queue)
        active = len(status.admitted)
        drained = condition(status.conditions, "Drained")
        held = {entry.uid for entry in status.admitted}
        waiting = Counter(
            self.cache.jobs[rank.uid].spec.priority for rank in self.cache.line(name).ranks if rank.uid not in held
        )
        wait = self.forecasts.next_wait_seconds(queue) if spec.mode is not QueueMode.DRAINING else None
        return QueueView(
            name=name,
            state=STATES[spec.mode],
            queue_length=length,
            active_jobs=phases[Phase.STARTING] + phases[Phase.RUNNING],
            active_workers=active,
            max_workers=spec.max_concurrent_jobs,
            max_queue_size=spec.max_queue_size,
            utilization_percent=_percent(active, spec.max_concurrent_jobs),
            queue_utilization_percent=_percent(length, spec.max_queue_size),
            retrying_jobs=phases[Phase.BACKING_OFF],
            dead_letters=status.dead_lettered,
            queued_by_priority={priority: waiting[priority] for priority in Priority},
            estimated_wait_seconds=None if wait is None else float(round(wait)),
            drained=drained is not None and drained.status == "True",
            message=queue_message(queue),
        )


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def _sum(views: Sequence[QueueView]) -> QueueFigures:
    """Figures of several queues together."""
    states = {view.state for view in views}
    workers, size = sum(view.max_workers for view in views), sum(view.max_queue_size for view in views)
    active, length = sum(view.active_workers for view in views), sum(view.queue_length for view in views)
    waits = [view.estimated_wait_seconds for view in views if view.estimated_wait_seconds is not None]
    return QueueFigures(
        state=states.pop() if len(states) == 1 else QueueState.MIXED,
        queue_length=length,
        active_jobs=sum(view.active_jobs for view in views),
        active_workers=active,
        max_workers=workers,
        max_queue_size=size,
        utilization_percent=_percent(active, workers),
        queue_utilization_percent=_percent(length, size),
        retrying_jobs=sum(view.retrying_jobs for view in views),
        dead_letters=sum(view.dead_letters for view in views),
        queued_by_priority={
            priority: sum(view.queued_by_priority[priority] for view in views) for priority in Priority
        },
        estimated_wait_seconds=min(waits, default=None),
    )


def _last_replay(queue: AnalysisQueue, fingerprint: str) -> ReplayView | None:
    found: GroupReplay | None = next((r for r in reversed(queue.status.replays) if r.fingerprint == fingerprint), None)
    if found is None:
        return None
    return ReplayView(
        state=found.state,
        requested_at=found.requested_at,
        jobs=found.jobs,
        released=found.released,
        message=found.message,
    )
