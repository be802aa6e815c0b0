"""Replays of whole groups of dead letters: raises spec.replay of the canary, then of those that follow it."""

import asyncio
import logging
from dataclasses import dataclass, field

from klipstream_api import AnalysisJob, ReplayState
from klipstream_kube import ApiError, Client, Conflict, NotFound, Unreachable
from klipstream_operator.dead_letters import UNFINISHED, canary_due, followers
from klipstream_operator.leadership import Fence
from klipstream_operator.status_writer import ANALYSIS_JOBS, StatusWriter
from klipstream_operator.store import QueueKey, Store

log = logging.getLogger(__name__)
PER_SECOND = 20
RETRY_SECONDS = 2.0


@dataclass(slots=True)
class Replayer:
    """The only part of the operator that changes a spec; what is left to do follows from the queue's status."""

    client: Client
    store: Store
    writer: StatusWriter
    fence: Fence
    wanted: asyncio.Event = field(default_factory=asyncio.Event)

    def look(self, key: QueueKey) -> None:
        """See to a queue's replays if one is under way; called when it, or a job of it, changed."""
        queue = self.store.queues.get(key)
        if queue is not None and any(replay.state in UNFINISHED for replay in queue.status.replays):
            self.wanted.set()

    async def run(self) -> None:
        """Never returns."""
        while True:
            await self.wanted.wait()
            self.wanted.clear()
            try:
                for key in list(self.store.queues):
                    await self._serve(key)
            except (ApiError, Unreachable) as error:
                log.warning("Replays of dead letters are tried again in %s s: %s", RETRY_SECONDS, error)
                asyncio.get_running_loop().call_later(RETRY_SECONDS, self.wanted.set)

    async def _serve(self, key: QueueKey) -> None:
        """Raise spec.replay where it is due; the queue's writer notes the progress."""
        queue = self.store.queues.get(key)
        for replay in queue.status.replays if queue is not None else ():
            if replay.state not in UNFINISHED:
                continue
            canary = canary_due(replay, self.store.jobs)
            if canary is not None:
                await self._raise(canary, replay.canary_replay)
            if replay.state is not ReplayState.RELEASING:
                continue
            for job in followers(replay, self.store.dead_letters[key], self.store.jobs):
                await self._raise(job, job.status.observed_replay + 1)
                await asyncio.sleep(1 / PER_SECOND)

    async def _raise(self, job: AnalysisJob, replay: int) -> None:
        """Guarded: after a conflict the job is read live, and the next round decides again."""
        metadata = {"uid": job.metadata.uid, "resourceVersion": job.metadata.resource_version}
        body = {"metadata": metadata, "spec": {"replay": replay}}
        try:
            answer = await self.client.patch(
                ANALYSIS_JOBS, job.metadata.name, job.metadata.namespace, body, before_send=self.fence
            )
        except (Conflict, NotFound, Unreachable):
            await self.writer.read(job)
            self.wanted.set()
            return
        self.writer.take(answer)
