"""Server-sent events: one job until its end, or all jobs and queues."""

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

import orjson
from pydantic import BaseModel

from klipstream_api import FINISHED_PHASES, AnalysisJob, AnalysisQueue
from klipstream_gateway.answers import JobGone, Reset
from klipstream_gateway.cache import Cache, Change, JobChange, version
from klipstream_gateway.hub import Hub, Listener
from klipstream_gateway.jobs import JobOperations, visible
from klipstream_gateway.places import Places
from klipstream_gateway.problems import Problem, Refused
from klipstream_gateway.queue_figures import QueueReports
from klipstream_gateway.routes import Call, EventStream, NothingMore, Principal, ServerEvent
from klipstream_gateway.views import Views

LAST_EVENT_ID = "Last-Event-ID"
ALIVE_SECONDS = 15.0
"""A comment is sent that often, so that proxies keep the connection and a lost one is noticed."""
ENCODED_KEPT = 1000
ENCODED_SECONDS = 1.0
"""Estimates go on with time, so what was encoded for one listener serves those who are told at the same moment."""


@dataclass(slots=True)
class Streams:
    """Handlers of the routes that go on."""

    hub: Hub
    cache: Cache
    views: Views
    jobs: JobOperations
    queues: QueueReports
    places: Places
    _encoded: "OrderedDict[str, tuple[tuple[int, int], float, bytes]]" = field(default_factory=OrderedDict)
    """By uid: what an object's view was made of, when, and as what."""

    async def job(self, call: Call) -> EventStream | NothingMore:
        """The job's status at once and after each change, as server-sent events called `job`; `deleted` where it is
        removed. The stream ends with the job. After a lost connection send the last event's id as `Last-Event-ID`, as
        browsers do: what has not changed since is not sent again, and where nothing more can come 204 ends it."""
        found, last = await self.jobs.find(call.path_id), _last_id(call)
        # From here to the listener nothing is awaited: a job that is removed meanwhile would be followed for ever.
        job = self.cache.jobs.get(found.uid)
        if job is None:
            raise Refused(Problem.JOB_NOT_FOUND, f"There is no job {call.path_id}.")
        if job.status.phase in FINISHED_PHASES and last is not None and last >= version(job):
            return NothingMore()
        give_back = self.places.take(call.principal, call.address)
        listener = self.hub.job(job.uid)

        def leave() -> None:
            self.hub.leave(listener, job.uid)
            give_back()

        return EventStream(self._follow(job, listener, last), leave)

    async def everything(self, call: Call) -> EventStream:
        """Every change of a job (`job`, `deleted`) and of a queue (`queue`), as server-sent events; `?queue=` leaves
        one queue. With `Last-Event-ID` what changed since comes first; some of it may have been sent before. Where that
        cannot be told any more, `reset` comes first and then everything: what was received before counts for nothing. A
        tenant sees its own jobs."""
        give_back = self.places.take(call.principal, call.address)
        listener = self.hub.everything(_last_id(call))

        def leave() -> None:
            self.hub.leave(listener)
            give_back()

        return EventStream(self._follow_all(listener, call.principal, call.query.queue), leave)

    async def _follow(
        self, job: AnalysisJob, listener: Listener, last: int | None
    ) -> AsyncGenerator[ServerEvent | None, None]:
        if last is None or version(job) > last:
            yield self._shown(job)
        while job.status.phase not in FINISHED_PHASES:
            change = await listener.next(ALIVE_SECONDS)
            if change is None:
                yield None
                continue
            assert isinstance(change, JobChange)
            job = change.job
            if change.gone:
                yield ServerEvent(str(change.version), "deleted", _json(JobGone(job_id=job.job_id)))
                return
            yield self._shown(job)

    async def _follow_all(
        self, listener: Listener, principal: Principal, queue: str | None
    ) -> AsyncGenerator[ServerEvent | None, None]:
        if listener.anew:
            yield ServerEvent(str(listener.position), "reset", _json(Reset()))
        told_at = float("-inf")
        while True:
            if time.monotonic() - told_at >= ALIVE_SECONDS:
                yield ServerEvent(str(listener.reach(self.hub.reported())), "", None)
                told_at = time.monotonic()
            change = await listener.next(ALIVE_SECONDS)
            at = str(listener.reach(self.hub.reported()))
            if change is not None and (event := self._shown_to(principal, queue, change, at)) is not None:
                yield event
                told_at = time.monotonic()

    def _shown_to(self, principal: Principal, queue: str | None, change: Change, at: str) -> ServerEvent | None:
        """The event of a change; None where it does not concern the caller."""
        if not isinstance(change, JobChange):
            if change.gone or queue not in (None, change.queue.metadata.name):
                return None
            return ServerEvent(at, "queue", self._queue_data(change.queue))
        if not visible(change.job, principal) or queue not in (None, self.cache.queue_name(change.job)):
            return None
        if change.gone:
            return ServerEvent(at, "deleted", _json(JobGone(job_id=change.job.job_id)))
        return ServerEvent(at, "job", self._job_data(change.job))

    def _shown(self, job: AnalysisJob) -> ServerEvent:
        return ServerEvent(str(version(job)), "job", self._job_data(job))

    def _job_data(self, job: AnalysisJob) -> bytes:
        made_of = (version(job), self.cache.changed[self.cache.queue_name(job) or ""])
        return self._once(job.uid, made_of, lambda: self.views.status(job))

    def _queue_data(self, queue: AnalysisQueue) -> bytes:
        made_of = (version(queue), self.cache.changed[queue.metadata.name])
        return self._once(queue.metadata.uid, made_of, lambda: self.queues.view(queue))

    def _once(self, uid: str, made_of: tuple[int, int], view: Callable[[], BaseModel]) -> bytes:
        """A view as JSON, worked out once for all who are told of a change."""
        known, now = self._encoded.get(uid), time.monotonic()
        if known is not None and known[0] == made_of and now - known[1] < ENCODED_SECONDS:
            return known[2]
        data = _json(view())
        self._encoded[uid] = (made_of, now, data)
        self._encoded.move_to_end(uid)
        if len(self._encoded) > ENCODED_KEPT:
            self._encoded.popitem(last=False)
        return data


def _json(view: BaseModel) -> bytes:
    return orjson.dumps(view.model_dump(mode="json"))


def _last_id(call: Call) -> int | None:
    """A browser sends what it was given; anything else counts as nothing."""
    value = call.headers.get(LAST_EVENT_ID, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 20 else None
