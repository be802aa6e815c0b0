"""What each page shows, and to whom: figures that everybody may see, jobs that the viewer may see."""

import heapq
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from klipstream_api import FINISHED_PHASES, AnalysisJob, Phase, Priority
from klipstream_api.phases import ACTIVE_PHASES
from klipstream_gateway.answers import (
    JobState,
    JobStatusView,
    JobView,
    Performance,
    QueueMetrics,
    QueueStatusView,
)
from klipstream_gateway.cache import Cache
from klipstream_gateway.dashboard import history, letters, words
from klipstream_gateway.dashboard.operations import Caller, Operations
from klipstream_gateway.dashboard.timeline import steps, timeline
from klipstream_gateway.jobs import visible
from klipstream_gateway.problems import Problem, Refused
from klipstream_gateway.routes import ANONYMOUS, PATH_PARAMETERS, Principal, Scope
from klipstream_gateway.views import REFERENCE_ANNOTATION, Views

HOME = "/dashboard"
WAITING_SHOWN = 100
LETTERS_SHOWN = 200
RUNNING_SHOWN, ENDED_SHOWN = 20, 8
HISTORY_FRESH_SECONDS = 10.0
UNHEARD = "jobs are not being read from it"
"""What everybody but administrators is told of trouble with the cluster."""
CANCELLABLE = (JobState.QUEUED, JobState.PROCESSING, JobState.RETRYING)
Query = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """A page that can be rendered, whole or its live part alone. `uid` is the one job that it is about."""

    template: str
    title: str
    context: Mapping[str, Any]
    live: bool = True
    uid: str | None = None
    trouble: str | None = None
    """What keeps the gateway from hearing of changes in the cluster."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks. `csrf` stands in forms; empty for those who have not signed in."""

    caller: Caller
    csrf: str = ""

    @property
    def principal(self) -> Principal:
        """Whose rights count."""
        return self.caller.principal

    @property
    def signed_in(self) -> bool:
        """Whether credentials were given."""
        return self.principal is not ANONYMOUS

    @property
    def name(self) -> str:
        """As it stands in the audit log, without the kind of credential."""
        return self.principal.name.partition(":")[2] or self.principal.name

    @property
    def reads(self) -> bool:
        """Whether it may see jobs."""
        return self.principal.may(Scope.READ)

    @property
    def submits(self) -> bool:
        """Whether it may submit and change jobs."""
        return self.principal.may(Scope.SUBMIT)

    @property
    def administrates(self) -> bool:
        """Whether it may change queues."""
        return self.principal.may(Scope.ADMIN)


@dataclass(slots=True)
class Pages:
    """Builds pages. Raises Refused."""

    operations: Operations
    cache: Cache
    views: Views
    now: Callable[[], datetime]
    anonymous_submit: bool
    _histories: dict[str | None, tuple[datetime, tuple[history.Hour, ...]]] = field(default_factory=dict)

    async def at(self, address: str, viewer: Viewer) -> Page:
        """The page of a path with its query, such as /dashboard/jobs?status=failed."""
        parts = urlsplit(address)
        query = dict(parse_qsl(parts.query))
        for pattern, builder in _PAGES:
            if (match := re.fullmatch(pattern, parts.path)) is not None:
                page = await builder(self, viewer, query, **match.groupdict())
                return replace(page, trouble=await self._trouble(viewer))
        raise Refused(Problem.NOT_FOUND, "There is no such page.")

    # --- pages -----------------------------------------------------------------------------------------------

    async def overview(self, viewer: Viewer, _: Query) -> Page:
        """Figures of all queues, and of the last day for those who may see jobs."""
        status: QueueStatusView = await self.operations.read("getQueueStatus", viewer.caller)
        done = await self._performance(viewer)
        context: dict[str, Any] = {
            "status": status,
            "performance": done,
            "success": words.success_percent(done.total_jobs_processed, done.total_jobs_failed) if done else None,
            "most_waiting": max([*status.queued_by_priority.values(), 1]),
            "highest_first": tuple(Priority),
        }
        if viewer.reads:
            mine = [job for job in self.cache.jobs.values() if visible(job, viewer.principal)]
            running = self._running(viewer.principal)
            ended = (job for job in mine if job.status.phase in FINISHED_PHASES and job.status.finished_at)
            context |= {
                "running": self._job_views(sorted(running, key=_began)[:RUNNING_SHOWN]),
                "running_count": len(running),
                "ended": self._job_views(heapq.nlargest(ENDED_SHOWN, ended, key=_ended)),
                "charts": _charts(self._history(viewer.principal, mine)),
            }
        return Page("overview", "Overview", context)

    async def queue(self, viewer: Viewer, query: Query, name: str) -> Page:
        """One queue: figures, what runs, and what waits, in order."""
        status: QueueStatusView = await self.operations.read("getQueueStatus", viewer.caller, {"queue": name})
        wanted = query.get("q", "").strip().lower()[:128]
        priority = query.get("priority", "")
        context: dict[str, Any] = {"queue": status.queues[0], "q": wanted, "priority": priority,
                                   "highest_first": tuple(Priority), "shown_at_most": WAITING_SHOWN}  # fmt: skip
        if viewer.reads:
            found, count = self._in_line(viewer.principal, name, wanted, priority)
            running = [job for job in self._running(viewer.principal) if self.cache.queue_name(job) == name]
            phases, line = self.cache.phases[name], self.cache.line(name)
            # With thousands in line these are looked for only where there can be some.
            others = phases[Phase.BACKING_OFF] or phases[Phase.QUEUED] > len(line)
            mine = [job for job in self.cache.jobs_of(name) if visible(job, viewer.principal)] if others else []
            retrying = [job for job in mine if job.status.phase is Phase.BACKING_OFF]
            later = [job for job in mine if job.status.phase is Phase.QUEUED and job.spec.not_before is not None
                     and job.uid not in line]  # fmt: skip
            context |= {
                "config": await self.operations.read("getQueueConfig", viewer.caller, {"queue": name}),
                "running": self._job_views(sorted(running, key=_began)),
                "waiting": self._job_views(found),
                "waiting_count": count,
                "retrying": self._job_views(sorted(retrying, key=_due)[:WAITING_SHOWN]),
                "later": self._job_views(later[:WAITING_SHOWN]),
            }
        return Page("queue", f"Queue {name}", context)

    async def jobs(self, viewer: Viewer, query: Query) -> Page:
        """The latest jobs, by state, queue and priority."""
        asked = {name: query[name] for name in ("status", "queue", "priority", "video_id", "cursor") if query.get(name)}
        context: dict[str, Any] = {
            "asked": asked,
            "states": tuple(JobState),
            "highest_first": tuple(Priority),
            "queues": sorted(self.cache.queues),
        }
        if viewer.reads:
            page = await self.operations.read("listJobs", viewer.caller, asked)
            after = urlencode(asked | {"cursor": page.next_cursor}) if page.next_cursor else None
            context |= {"jobs": page.jobs, "next_query": after}
        return Page("jobs", "Jobs", context, live="cursor" not in asked)

    async def job(self, viewer: Viewer, _: Query, job_id: str) -> Page:
        """One job: all of it for its owner, its public status for those who know its id."""
        if not re.fullmatch(PATH_PARAMETERS["job_id"].pattern[1:-1], job_id):
            raise Refused(Problem.JOB_NOT_FOUND, "No job id looks like that.")
        status: JobStatusView = await self.operations.read("getJobStatus", viewer.caller, job_id=job_id)
        job = self.cache.by_id(job_id)
        owned = job is not None and visible(job, viewer.principal)
        context: dict[str, Any] = {
            "job": status,
            "steps": steps(status.progress, status.status),
            "owned": owned and viewer.signed_in,
            "can_cancel": status.status in CANCELLABLE and not (job is not None and job.spec.cancel),
            "cancelling": status.status in CANCELLABLE and job is not None and job.spec.cancel,
            "can_retry": status.status is JobState.FAILED,
        }
        if status.status is JobState.QUEUED:
            context["what_if"] = [
                (await self.operations.read(
                    "getJobStatus", viewer.caller, {"priority": priority.value}, job_id=job_id
                )).what_if
                for priority in Priority
            ]  # fmt: skip
        if job is not None and owned and viewer.reads:
            detail: JobView = await self.operations.read("getJob", viewer.caller, job_id=job_id)
            context |= {
                "job": detail,
                "detail": True,
                "timeline": timeline(
                    detail.attempts,
                    detail.status,
                    detail.queued_at or detail.created_at,
                    detail.finished_at,
                    self.now(),
                ),
                "worker_message": job.status.progress.message if job.status.progress is not None else None,
                "announced_at": job.status.announced_at,
                "queue_endpoints": self._endpoints(job),
            }
        title = status.video_id or words.short(job_id)
        return Page("job", f"Job {title}", context, uid=job.uid if job is not None else None)

    async def dead_letters(self, viewer: Viewer, query: Query) -> Page:
        """Jobs that failed for good, alike ones together."""
        _needs(viewer, Scope.READ)
        asked = {name: query[name] for name in ("queue",) if query.get(name)}
        page = await self.operations.read(
            "listDeadLetters", viewer.caller, asked | {"limit": str(LETTERS_SHOWN)}
        )  # fmt: skip
        groups = ()
        if viewer.administrates and viewer.principal.tenant is None:
            groups = (await self.operations.read("listDeadLetterGroups", viewer.caller, asked)).groups
        context = {"groups": letters.gathered(page.jobs, groups), "more": page.next_cursor is not None}
        return Page("dead_letters", "Dead letters", context)

    async def administration(self, viewer: Viewer, _: Query) -> Page:
        """Queues with what can be done to them."""
        _needs(viewer, Scope.ADMIN)
        found = (await self.operations.read("listQueues", viewer.caller)).queues
        configs = {
            each.name: await self.operations.read("getQueueConfig", viewer.caller, {"queue": each.name})
            for each in found
        }
        acknowledged = {
            each.name: [done for done in self.cache.queues[each.name].status.operations if done.at is not None]
            for each in found
        }
        return Page("administration", "Administration",
                    {"queues": found, "configs": configs, "operations": acknowledged})  # fmt: skip

    async def submit(self, viewer: Viewer, _: Query) -> Page:
        """A form for one video."""
        if not self.anonymous_submit:
            _needs(viewer, Scope.SUBMIT)
        once = secrets.token_urlsafe(24)
        context = {"queues": sorted(self.cache.queues), "highest_first": tuple(Priority), "once": once}
        return Page("submit", "Submit a video", context, live=False)

    async def sign_in(self, _: Viewer, query: Query) -> Page:
        """Where credentials are given. `next` leads back."""
        return Page("sign_in", "Sign in", {"next": local(query.get("next"))}, live=False)

    async def _performance(self, viewer: Viewer) -> Performance | None:
        """None while the API server is away: the other figures are known without it."""
        try:
            metrics: QueueMetrics = await self.operations.read("getQueueMetrics", viewer.caller)
        except Refused as refused:
            if refused.problem is not Problem.UNAVAILABLE:
                raise
            return None
        return metrics.performance

    async def _trouble(self, viewer: Viewer) -> str | None:
        try:
            await self.operations.read("getReadiness", viewer.caller)
        except Refused as refused:
            # It may name the API server, our account and the namespace.
            return refused.detail if viewer.administrates else UNHEARD
        return None

    # --- parts -----------------------------------------------------------------------------------------------

    def _running(self, principal: Principal) -> list[AnalysisJob]:
        """What holds a slot and runs, in no order."""
        held = (self.cache.jobs.get(each.uid) for queue in self.cache.queues.values() for each in queue.status.admitted)
        return [
            job for job in held
            if job is not None and job.status.phase in ACTIVE_PHASES and visible(job, principal)
        ]  # fmt: skip

    def _in_line(self, principal: Principal, name: str, wanted: str, priority: str) -> tuple[list[AnalysisJob], int]:
        """The first jobs in line that match, and how many do."""
        held = {entry.uid for entry in self.cache.queues[name].status.admitted}
        line = self.cache.line(name)
        waiting = (self.cache.jobs[rank.uid] for rank in line.ranks if rank.uid not in held)
        if principal.tenant is None and not wanted and not priority:
            return list(islice(waiting, WAITING_SHOWN)), len(line) - sum(uid in line for uid in held)
        found = [
            job for job in waiting
            if visible(job, principal)
            and (not priority or job.spec.priority == priority)
            and (not wanted or _mentions(job, wanted))
        ]  # fmt: skip
        return found[:WAITING_SHOWN], len(found)

    def _job_views(self, jobs: Iterable[AnalysisJob]) -> list[JobView]:
        return [self.views.job(job) for job in jobs]

    def _history(self, principal: Principal, mine: list[AnalysisJob]) -> tuple[history.Hour, ...]:
        """Worked out at most every ten seconds, for each tenant and for all jobs together."""
        known = self._histories.get(principal.tenant)
        now = self.now()
        if known is None or (now - known[0]).total_seconds() > HISTORY_FRESH_SECONDS:
            known = (now, history.hours(mine, now))
            self._histories[principal.tenant] = known
        return known[1]

    def _endpoints(self, job: AnalysisJob) -> int:
        """Endpoints of the queue that are told as well."""
        queue = self.cache.queues.get(self.cache.queue_name(job) or "")
        return len(queue.spec.endpoints or ()) if queue is not None else 0


def _needs(viewer: Viewer, scope: Scope) -> None:
    if not viewer.signed_in:
        raise Refused(Problem.UNAUTHENTICATED, f"Sign in with credentials that have the scope {scope.value}.")
    if not viewer.principal.may(scope):
        raise Refused(Problem.FORBIDDEN, f"The credentials of {viewer.name} lack the scope {scope.value}.")


def local(address: str | None) -> str:
    """A page of this dashboard to go to; the overview for anything else, so that nobody is led away."""
    return address if address is not None and is_local(address) else HOME


def is_local(address: str) -> bool:
    """Whether an address is one of this dashboard, as browsers write them: a path and a query of what RFC 3986 leaves
    unescaped there. A browser takes a backslash for a slash, so there is none; `//` is one of a query at most."""
    path, _, query = address.partition("?")
    is_query = re.fullmatch(r"[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*", query) is not None
    return (
        is_query and "//" not in path and re.fullmatch(rf"{HOME}(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?", path) is not None
    )


def _mentions(job: AnalysisJob, wanted: str) -> bool:
    reference = job.metadata.annotations.get(REFERENCE_ANNOTATION, "")
    return any(wanted in text.lower() for text in (job.spec.video_id or "", reference, job.job_id))


def _began(job: AnalysisJob) -> float:
    return job.status.started_at.timestamp() if job.status.started_at is not None else 0.0


def _ended(job: AnalysisJob) -> float:
    return job.status.finished_at.timestamp() if job.status.finished_at is not None else 0.0


def _due(job: AnalysisJob) -> float:
    return job.status.next_attempt_at.timestamp() if job.status.next_attempt_at is not None else 0.0


def _charts(found: tuple[history.Hour, ...]) -> dict[str, Any]:
    """The series of the overview's charts; x in seconds since 1970, waits in minutes."""
    return {
        "hours": found,
        "x": [int(hour.begin.timestamp()) for hour in found],
        "completed": [hour.completed for hour in found],
        "failed": [hour.failed for hour in found],
        "depth": [hour.depth for hour in found],
        "wait_p50": [_minutes(hour.wait_p50_seconds) for hour in found],
        "wait_p90": [_minutes(hour.wait_p90_seconds) for hour in found],
        "completed_sum": sum(hour.completed for hour in found),
        "failed_sum": sum(hour.failed for hour in found),
        "deepest": max(hour.depth for hour in found),
        "last_wait": next(
            (hour.wait_p50_seconds for hour in reversed(found) if hour.wait_p50_seconds is not None), None
        ),
    }


def _minutes(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds / 60, 2)


_Builder = Callable[..., Awaitable[Page]]
_PAGES: tuple[tuple[str, _Builder], ...] = (
    (HOME, Pages.overview),
    (rf"{HOME}/queues/(?P<name>[a-z0-9](?:[-a-z0-9]{{0,61}}[a-z0-9])?)", Pages.queue),
    (rf"{HOME}/jobs", Pages.jobs),
    (rf"{HOME}/jobs/(?P<job_id>[^/]{{1,63}})", Pages.job),
    (rf"{HOME}/dead-letters", Pages.dead_letters),
    (rf"{HOME}/administration", Pages.administration),
    (rf"{HOME}/submit", Pages.submit),
    (rf"{HOME}/sign-in", Pages.sign_in),
)
