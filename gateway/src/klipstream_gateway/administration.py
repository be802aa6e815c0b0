"""The operations of administrators on queues."""

import asyncio
from dataclasses import dataclass

from klipstream_api import OperationName, QueueMode
from klipstream_gateway.answers import OPERATION_NAMES, STATES, Act, Acts
from klipstream_gateway.cache import Cache
from klipstream_gateway.cluster import Cluster
from klipstream_gateway.operator_requests import OperatorRequests
from klipstream_gateway.problems import Problem, Refused
from klipstream_gateway.queue_choice import queues_asked
from klipstream_gateway.routes import Answer, Call


@dataclass(slots=True)
class Administration:
    """Handlers of the routes that change what queues do."""

    cluster: Cluster
    cache: Cache
    operator: OperatorRequests

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
            for queue in queues_asked(self.cache, call.query.queue)
            if any(group.fingerprint == fingerprint for group in queue.status.dead_letter_groups)
        ]
        if not queues:
            raise Refused(Problem.GROUP_NOT_FOUND, f"No dead letter has the fingerprint {fingerprint}.")
        draining = [queue.metadata.name for queue in queues if queue.spec.mode is QueueMode.DRAINING]
        if draining:
            raise Refused(Problem.QUEUE_DRAINING, f"The queue {draining[0]} is draining and takes nothing in.")
        acts = [await self.operator.ask(queue, OperationName.REPLAY, fingerprint) for queue in queues]
        return Answer(Acts(operation=OPERATION_NAMES[OperationName.REPLAY], queues=tuple(acts)), 202)

    async def _mode(self, call: Call, mode: QueueMode, message: str) -> Answer:
        acts = []
        for queue in queues_asked(self.cache, call.query.queue):
            changed = await self.cluster.change_queue(queue, {"spec": {"mode": mode.value}})
            name = changed.metadata.name
            acts.append(
                Act(queue=name, state=STATES[changed.spec.mode], acknowledged=True, count=None, message=message)
            )
        return Answer(Acts(operation=mode.value.lower(), queues=tuple(acts)))

    async def _operation(self, call: Call, operation: OperationName, only_first: bool = False) -> Answer:
        queues = queues_asked(self.cache, call.query.queue)[: 1 if only_first else None]
        # Its first word confirms which queue is meant.
        acts = await asyncio.gather(*(self.operator.ask(queue, operation, queue.metadata.name) for queue in queues))
        return Answer(Acts(operation=OPERATION_NAMES[operation], queues=tuple(acts)), 202)
