"""Asking the operator to do something at a queue: an annotation, and its acknowledgement in the status."""

import asyncio
import secrets
import time
from dataclasses import dataclass

from klipstream_api import AnalysisQueue, OperationName
from klipstream_api.analysisqueue import OPERATION_ANNOTATIONS, REQUEST_CHARACTERS
from klipstream_gateway.answers import STATES, Act
from klipstream_gateway.cache import Cache
from klipstream_gateway.cluster import Cluster
from klipstream_gateway.problems import Problem, Refused
from klipstream_kube import Conflict

NAME_THEIR_SUBJECT = (OperationName.CLEAR, OperationName.REPLAY)
"""Operations whose requests are not all the same: the first word says what they are about."""
CONFLICTS_AT_MOST = 8
ACKNOWLEDGED_WITHIN_SECONDS = 3.0
POLL_SECONDS = 0.05


@dataclass(slots=True)
class OperatorRequests:
    """Writes requests down, and waits a little for what becomes of them."""

    cluster: Cluster
    cache: Cache

    async def ask(self, queue: AnalysisQueue, operation: OperationName, subject: str) -> Act:
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


def open_request(queue: AnalysisQueue, operation: OperationName) -> str | None:
    """The request of an operation that the operator has not acted on yet (klipstream_operator.operations.pending)."""
    asked = queue.metadata.annotations.get(OPERATION_ANNOTATIONS[operation], "")[:REQUEST_CHARACTERS]
    known = next((each.request for each in queue.status.operations if each.name is operation), None)
    return asked if asked and asked != known else None
