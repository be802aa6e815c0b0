"""The operations on queues: figures for everybody, changes for administrators."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from klipstream_api import AnalysisQueue, GroupReplay, OperationName, Phase, Priority, QueueMode, names
from klipstream_api.analysisqueue import OPERATION_ANNOTATIONS, REQUEST_CHARACTERS
from klipstream_api.meta import condition
from klipstream_gateway.answers import (
    OPERATION_NAMES,
    Act,
    Acts,
    GroupList,
    GroupView,
    Performance,
    QueueConfigView,
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
from klipstream_gateway.problems import Problem, Refused
from klipstream_gateway.requests import QueueConfig
from klipstream_gateway.routes import Answer, Call
from klipstream_gateway.views import queue_message
from klipstream_kube import Conflict

STATES = {
    QueueMode.RUNNING: QueueState.RUNNING,
    QueueMode.PAUSED: QueueState.PAUSED,
    QueueMode.DRAINING: QueueState.DRAINING,
}
NAME_THEIR_SUBJECT = (OperationName.CLEAR, OperationName.REPLAY)
"""Operations whose requests are not all the same: the first word says what they are about."""
CONFLICTS_AT_MOST = 8
ACKNOWLEDGED_WITHIN_SECONDS = 3.0
POLL_SECONDS = 0.05


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
class QueueOperations:
    """Handlers of the routes about queues."""

    cluster: Cluster
    cache: Cache
    forecasts: Forecasts
    now: Callable[[], datetime]

    # --- figures ---------------------------------------------------------------------------------------------

    async def status(self, call: Call) -> Answer:
        """What the queues do at the moment: over all queues together unless `?queue=` names one, and one by one."""
        queues = self._asked(call.query.queue)
        views = tuple(self.view(queue) for queue in queues)
        return Answer(QueueStatusView(**dict(_sum(views)), queues=views))

    async def list_all(self, _: Call) -> Answer:
        """All queues by name, each with its figures."""
        return Answer(QueueList(queues=tuple(self.view(queue) for queue in self._asked(None))))

    async def metrics(self, call: Call) -> Answer:
        """The guide's figures, field for field: over all queues together unless `?queue=` names one."""
        queues = self._asked(call.query.queue)
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
            for queue in self._asked(call.query.queue)
            for group in queue.status.dead_letter_groups
        ]
        return Answer(GroupList(groups=tuple(sorted(found, key=lambda g: (-g.count, g.queue, g.fingerprint)))))

    # --- changes ---------------------------------------------------------------------------------------------

    async def pause(self, call: Call) -> Answer:
        """Start no more jobs. Submissions are still taken, and what runs goes on. All queues unless `?queue=` names
        one."""
        return await self._mode(call, QueueMode.PAUSED, "Nothing more is started; what runs goes on.")

    async def resume(self, call: Call) -> Answer:
        """Start jobs again, after a pause or a drain. All queues unless `?queue=` names one."""
        return await self._mode(call, QueueMode.RUNNING, "Jobs are started again.")

    async def drain(self, call: Call) -> Answer:
        """Take no more jobs, and finish all that were taken. All queues unless `?queue=` names one."""
        return await self._mode(call, QueueMode.DRAINING, "No more jobs are taken; those that were are finished.")

    async def clear(self, call: Call) -> Answer:
        """Cancel every job that waits, for a slot or a retry; what runs goes on. All queues unless `?queue=` names
        one."""
        return await self._operation(call, OperationName.CLEAR)

    async def clear_stuck(self, call: Call) -> Answer:
        """End running attempts that show no sign of getting on; their jobs are retried. All queues unless `?queue=`
        names one."""
        return await self._operation(call, OperationName.CLEAR_STUCK)

    async def reconcile(self, call: Call) -> Answer:
        """Have the operator read everything live and mend what it had missed. All queues unless `?queue=` names one."""
        return await self._operation(call, OperationName.RECONCILE)

    async def restart(self, call: Call) -> Answer:
        """Have the operator forget what it holds in memory and read everything again; running jobs are not touched."""
        return await self._operation(call, OperationName.RESTART, only_first=call.query.queue is None)

    async def replay_group(self, call: Call) -> Answer:
        """Run a whole group of dead letters again: one goes first, the others follow only if it succeeds."""
        fingerprint = call.path_id
        queues = [
            queue
            for queue in self._asked(call.query.queue)
            if any(group.fingerprint == fingerprint for group in queue.status.dead_letter_groups)
        ]
        if not queues:
            raise Refused(Problem.GROUP_NOT_FOUND, f"No dead letter has the fingerprint {fingerprint}.")
        draining = [queue.metadata.name for queue in queues if queue.spec.mode is QueueMode.DRAINING]
        if draining:
            raise Refused(Problem.QUEUE_DRAINING, f"The queue {draining[0]} is draining and takes nothing in.")
        acts = [await self._ask(queue, OperationName.REPLAY, fingerprint) for queue in queues]
        return Answer(Acts(operation=OPERATION_NAMES[OperationName.REPLAY], queues=tuple(acts)), 202)

    async def configure(self, call: Call) -> Answer:
        """Change limits of a queue: of the one that `?queue=` names, else of `default`, else of the only one. What
        runs goes on in any case."""
        config: QueueConfig = call.body
        changes = config.model_dump(mode="json", exclude_none=True)
        if not changes:
            raise Refused(Problem.INVALID, "Name at least one limit to change.")
        queue = self._one(call.query.queue)
        wire = {
            "max_concurrent_jobs": "maxConcurrentJobs",
            "max_queue_size": "maxQueueSize",
            "timeout_seconds": "timeoutSeconds",
            "max_retries": "maxRetries",
            "retry_delays_seconds": "retryDelaysSeconds",
        }
        queue = await self.cluster.change_queue(queue, {"spec": {wire[name]: each for name, each in changes.items()}})
        return Answer(_config(queue))

    async def config(self, call: Call) -> Answer:
        """The limits of a queue: of the one that `?queue=` names, else of `default`, else of the only one."""
        return Answer(_config(self._one(call.query.queue)))

    async def _mode(self, call: Call, mode: QueueMode, message: str) -> Answer:
        acts = []
        for queue in self._asked(call.query.queue):
            changed = await self.cluster.change_queue(queue, {"spec": {"mode": mode.value}})
            name = changed.metadata.name
            acts.append(
                Act(queue=name, state=STATES[changed.spec.mode], acknowledged=True, count=None, message=message)
            )
        return Answer(Acts(operation=mode.value.lower(), queues=tuple(acts)))

    async def _operation(self, call: Call, operation: OperationName, only_first: bool = False) -> Answer:
        queues = self._asked(call.query.queue)[: 1 if only_first else None]
        # Its first word confirms which queue is meant.
        acts = await asyncio.gather(*(self._ask(queue, operation, queue.metadata.name) for queue in queues))
        return Answer(Acts(operation=OPERATION_NAMES[operation], queues=tuple(acts)), 202)

    async def _ask(self, queue: AnalysisQueue, operation: OperationName, subject: str) -> Act:
        """Ask the operator by an annotation, and wait a little for its acknowledgement."""
        queue, request = await self._asked_for(queue, operation, subject)
        deadline = time.monotonic() + ACKNOWLEDGED_WITHIN_SECONDS
        while True:
            queue = self.cache.queues.get(queue.metadata.name, queue)
            done = next((each for each in queue.status.operations if each.request == request), None)
            if done is not None or time.monotonic() >= deadline:
                break
            await asyncio.sleep(POLL_SECONDS)
        return Act(
            queue=queue.metadata.name,
            state=STATES[queue.spec.mode],
            acknowledged=done is not None,
            count=done.count if done is not None else None,
            message=done.message if done is not None else "Asked for; the operator does it once it runs.",
        )

    async def _asked_for(
        self, queue: AnalysisQueue, operation: OperationName, subject: str
    ) -> tuple[AnalysisQueue, str]:
        """Write the request down; which it is. An annotation holds one request: one that the operator has not seen yet
        is joined where it asks for the same, and otherwise left alone, since it was promised. Raises Refused."""
        for _ in range(CONFLICTS_AT_MOST):
            before = open_request(queue, operation)
            if before is not None:
                if operation in NAME_THEIR_SUBJECT and before.split()[:1] != [subject]:
                    raise Refused(
                        Problem.CONFLICT,
                        f"The operator has not acted yet on an earlier request at the queue {queue.metadata.name}"
                        f" ({before[:100]}): repeat this one once it has.",
                    )
                return queue, before
            request = f"{subject} {secrets.token_hex(6)}"
            body = {"metadata": {"annotations": {OPERATION_ANNOTATIONS[operation]: request}}}
            try:
                return await self.cluster.change_queue(queue, body, guarded=True), request
            except Conflict:
                # Most often the operator's own status write; now and then another request.
                live = await self.cluster.read_queue(queue.metadata.name)
                if live is None or live.metadata.uid != queue.metadata.uid:
                    raise Refused(Problem.QUEUE_NOT_FOUND, f"There is no queue {queue.metadata.name}.") from None
                queue = live
        raise Refused(Problem.CONFLICT, f"The queue {queue.metadata.name} is being changed all the time.")

    # --- which queues ----------------------------------------------------------------------------------------

    def _asked(self, name: str | None) -> list[AnalysisQueue]:
        if name is None:
            return [self.cache.queues[each] for each in sorted(self.cache.queues)]
        queue = self.cache.queues.get(name)
        if queue is None:
            raise Refused(Problem.QUEUE_NOT_FOUND, f"There is no queue {name}.")
        return [queue]

    def _one(self, name: str | None) -> AnalysisQueue:
        if name is None and names.DEFAULT_QUEUE in self.cache.queues:
            name = names.DEFAULT_QUEUE
        found = self._asked(name)
        if len(found) != 1:
            what = "There are several queues: say which by ?queue=." if found else "There is no queue."
            raise Refused(Problem.QUEUE_NOT_FOUND, what)
        return found[0]

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


def open_request(queue: AnalysisQueue, operation: OperationName) -> str | None:
    """The request of an operation that the operator has not acted on yet (klipstream_operator.operations.pending)."""
    asked = queue.metadata.annotations.get(OPERATION_ANNOTATIONS[operation], "")[:REQUEST_CHARACTERS]
    known = next((each.request for each in queue.status.operations if each.name is operation), None)
    return asked if asked and asked != known else None


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


def _config(queue: AnalysisQueue) -> QueueConfigView:
    spec = queue.spec
    return QueueConfigView(
        queue=queue.metadata.name,
        max_concurrent_jobs=spec.max_concurrent_jobs,
        max_queue_size=spec.max_queue_size,
        timeout_seconds=spec.timeout_seconds,
        max_retries=spec.max_retries,
        retry_delays_seconds=spec.retry_delays_seconds,
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
