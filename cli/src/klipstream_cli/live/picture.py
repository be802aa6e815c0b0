"""What the screen shows: jobs and queues, kept up to date by a watch each in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from klipstream_api import AnalysisJob, AnalysisQueue
from klipstream_api.phases import FINISHED_PHASES
from klipstream_cli.api import Api
from klipstream_cli.errors import Problem
from klipstream_cli.following import changes
from klipstream_cli.models import outlook, queue_name
from klipstream_cli.resources import ANALYSIS_JOBS, ANALYSIS_QUEUES, Resource
from klipstream_cli.session import Session
from klipstream_queueing.outlook import Outlook, QueueOutlook

FRESH_SECONDS = 2.0
"""Estimates move with the clock; they are made anew that often, and for long lines more seldom."""
MANY_JOBS = 2000
MANY_FRESH_SECONDS = 10.0
PAUSE_SECONDS = 2.0
Key = tuple[str, str]


@dataclass(slots=True)
class Picture:
    """Everything known at a moment. Threads write under the lock; `changed` wakes the screen."""

    jobs: dict[Key, AnalysisJob] = field(default_factory=dict)
    queues: dict[Key, AnalysisQueue] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    """What keeps a feed from being current, by resource."""
    loaded: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    changed: threading.Event = field(default_factory=threading.Event)
    failed: Problem | None = None
    """A feed that cannot even begin, such as for want of a right."""
    _views: dict[Key, tuple[datetime, QueueOutlook]] = field(default_factory=dict)

    def put(self, resource: Resource, kind: str, obj: dict[str, Any]) -> None:
        """Take in one change."""
        key = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
        with self.lock:
            if resource is ANALYSIS_JOBS:
                _put(self.jobs, key, kind, obj, AnalysisJob.from_wire)
            else:
                _put(self.queues, key, kind, obj, AnalysisQueue.from_wire)

    def queue_of(self, job: AnalysisJob) -> AnalysisQueue | None:
        """The queue that has the job, or will."""
        here = [queue for queue in self.queues.values() if queue.metadata.namespace == job.metadata.namespace]
        name = queue_name(job, here)
        return self.queues.get((job.metadata.namespace, name)) if name is not None else None

    def view(self, queue: AnalysisQueue, now: datetime) -> QueueOutlook:
        """The outlook of a queue, at most a few seconds old."""
        known = self._views.get(queue.key)
        fresh = FRESH_SECONDS if len(self.jobs) < MANY_JOBS else MANY_FRESH_SECONDS
        if known is None or (now - known[0]).total_seconds() >= fresh:
            open_jobs = (job for job in self.jobs.values() if job.status.phase not in FINISHED_PHASES)
            known = now, outlook(queue, open_jobs, self.queues.values(), now)
            self._views[queue.key] = known
        return known[1]

    def forget_views(self) -> None:
        """After a change of our own its effect is to be seen at once."""
        self._views.clear()

    def outlook_of(self, job: AnalysisJob, now: datetime) -> Outlook | None:
        """The outlook of a job as its queue's view has it."""
        queue = self.queue_of(job)
        if queue is None or job.status.phase in FINISHED_PHASES:
            return None
        view = self.view(queue, now)
        known = view.jobs.get(job.uid)
        return view.of(known) if known is not None else None


def _put(
    known: dict[Key, Any], key: Key, kind: str, obj: dict[str, Any], parse: Callable[[dict[str, Any]], Any]
) -> None:
    if kind == "DELETED":
        known.pop(key, None)
        return
    try:
        known[key] = parse(obj)
    except ValidationError:  # written by another version; better not shown than shown wrong
        known.pop(key, None)


class Feeds:
    """The two threads. They end with the process; `stop` breaks what they wait in."""

    def __init__(self, session: Session, picture: Picture) -> None:
        self._picture = picture
        self._scope = session.scope
        self._stopped = threading.Event()
        self._apis = {resource: session.api.another() for resource in (ANALYSIS_JOBS, ANALYSIS_QUEUES)}

    def start(self) -> None:
        """Begin to list and watch."""
        for resource, api in self._apis.items():
            threading.Thread(target=self._run, args=(resource, api), name=resource.plural, daemon=True).start()

    def stop(self) -> None:
        """End both."""
        self._stopped.set()
        for api in self._apis.values():
            api.abort()

    def now(self) -> datetime:
        """UTC by the server's clock."""
        return self._apis[ANALYSIS_JOBS].now()

    def _run(self, resource: Resource, api: Api) -> None:
        picture = self._picture
        while not self._stopped.is_set():
            try:
                for kind, obj in changes(api, resource, self._scope, patience_seconds=0):
                    if self._stopped.is_set():
                        return
                    picture.problems.pop(resource.plural, None)
                    if kind == "LISTED":
                        picture.loaded.add(resource.plural)
                    else:
                        picture.put(resource, kind, obj)
                    picture.changed.set()
            except Problem as problem:
                if resource is ANALYSIS_JOBS and resource.plural not in picture.loaded:
                    picture.failed = problem
                # What is gone meanwhile is found by the list that follows: it begins anew.
                picture.problems[resource.plural] = problem.message
                picture.loaded.add(resource.plural)
                picture.changed.set()
                self._stopped.wait(PAUSE_SECONDS)
                self._restart(resource)

    def _restart(self, resource: Resource) -> None:
        """The next list tells all that there is as ADDED, so what it does not tell must be forgotten first.

        Only once the server answers again: until then, what was seen last is the best there is.
        """
        api = self._apis[resource]
        while not self._stopped.is_set():
            try:
                next(api.pages(resource, self._scope, page=1))
            except Problem as problem:
                self._picture.problems[resource.plural] = problem.message
                self._picture.changed.set()
                self._stopped.wait(PAUSE_SECONDS)
                continue
            with self._picture.lock:
                (self._picture.jobs if resource is ANALYSIS_JOBS else self._picture.queues).clear()
            return
