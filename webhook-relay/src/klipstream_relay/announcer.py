"""From the watch into the ledger: what each job's state announces, to whom, and progress at its interval."""

import asyncio
import contextlib
import heapq
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from klipstream_api import FINISHED_PHASES, AnalysisJob, AnalysisQueue, Phase, WebhookEvent
from klipstream_relay.deliveries import Delivery
from klipstream_relay.directory import Directory, facts_of
from klipstream_relay.endpoints import Recipient
from klipstream_relay.events import Announcement, deletion, history, is_announced, next_beat, progress, reached
from klipstream_relay.ledger import Ledger
from klipstream_relay.ledger_file import JobRow, LedgerFile
from klipstream_relay.payload import body_of

log = logging.getLogger(__name__)
HELD_AT_MOST = 2000
"""Steps that wait for the ledger. Beyond them the feed waits for the disk: that is the backpressure."""
TOGETHER = 250
LONGEST_WAIT_SECONDS = 5.0
LAG_SECONDS = 30.0
"""A watch that lags by more than that is a problem that its reflector knows of."""

Step = Callable[[LedgerFile], set[str]]


@dataclass(slots=True)
class _Running:
    """A running attempt that somebody follows."""

    job: AnalysisJob
    stage: str
    last_id: str
    next_at: datetime


class Announcer:
    """Takes what the reflectors bring and writes it into the ledger, once.

    Nothing is kept here that must not be lost: after a restart every job is listed and compared with the ledger again.
    """

    def __init__(
        self,
        ledger: Ledger,
        directory: Directory,
        *,
        now: Callable[[], datetime],
        progress_seconds: float,
        on_recorded: Callable[[set[str]], None],
        on_finished: Callable[[str], None],
    ) -> None:
        """`on_recorded` is told the endpoints that have something to deliver; `on_finished` uids of finished jobs."""
        self._ledger = ledger
        self._directory = directory
        self._now = now
        self._interval = timedelta(seconds=progress_seconds)
        self._on_recorded = on_recorded
        self._on_finished = on_finished
        self._steps: list[tuple[Step, str | None]] = []
        self._something = asyncio.Event()
        self._known: dict[str, int] = {}
        """By uid, a hash of what was recorded last, so that a change that announces nothing costs nothing."""
        self._open: set[str] = set()
        self._since: dict[str, float] = {}
        self._running: dict[str, _Running] = {}
        self._due: list[tuple[datetime, str]] = []
        self._listed: set[str] | None = set()
        self.current_at = 0.0
        """Until when everything was seen: an endpoint that turns up later is told of what happens from then on."""

    async def load(self) -> None:
        """What the ledger knows already."""
        self.current_at = await self._ledger.read(lambda file: file.current_at())
        self._since = {key: since for key, _, since, _ in await self._ledger.read(lambda file: file.endpoints())}
        self._open = await self._ledger.read(lambda file: file.open_uids(()))

    # --- what the reflectors bring ---------------------------------------------------------------------------

    def queue_seen(self, obj: dict[str, Any]) -> None:
        """An AnalysisQueue, or what is new of it."""
        try:
            self._directory.put_queue(AnalysisQueue.from_wire(obj))
        except ValidationError as error:
            log.error("AnalysisQueue %s cannot be read, its endpoints stay as they were: %s", _where(obj), error)

    def queue_gone(self, obj: dict[str, Any]) -> None:
        """An AnalysisQueue was deleted."""
        self._directory.remove_queue((obj["metadata"]["namespace"], obj["metadata"]["name"]))

    def job_seen(self, obj: dict[str, Any]) -> None:
        """An AnalysisJob, or what is new of it."""
        uid = obj["metadata"]["uid"]
        if self._listed is not None:
            self._listed.add(uid)
        try:
            job = AnalysisJob.from_wire(obj)
        except ValidationError as error:
            log.error("AnalysisJob %s cannot be read and is not announced: %s", _where(obj), error)
            return
        if is_announced(job):
            self._forget(uid)
            if uid in self._open:
                self._open.discard(uid)
                self._add(lambda file: _closed(file, uid))
            return
        told = self._directory.recipients(job)
        if not told:
            self._running.pop(uid, None)
            return
        finished_at = obj["status"].get("finishedAt") if job.status.phase in FINISHED_PHASES else None
        self._record(job, told, history(job), finished_at)
        self._follow(job, told)

    def job_gone(self, obj: dict[str, Any]) -> None:
        """An AnalysisJob was deleted."""
        self._gone(obj["metadata"]["uid"])

    async def listed(self, namespaces: tuple[str, ...]) -> None:
        """Every job of these namespaces (all where empty) was seen: who is not among them was deleted meanwhile."""
        # What is seen for the first time while the ledger is asked may be in it already, so it is noted until then.
        known = await self._ledger.read(lambda file: file.open_uids(namespaces))
        seen, self._listed = self._listed or set(), None
        for uid in known - seen:
            self._gone(uid)
            if len(self._steps) >= TOGETHER:  # thousands, where a namespace was deleted: the Lease must not wait
                await self._flush()

    def _gone(self, uid: str) -> None:
        self._forget(uid)
        if uid in self._open:
            self._open.discard(uid)
            now = self._now()
            self._add(lambda file: _deleted(file, uid, now))

    def _forget(self, uid: str) -> None:
        self._known.pop(uid, None)
        self._running.pop(uid, None)

    # --- what is announced -----------------------------------------------------------------------------------

    def _record(
        self, job: AnalysisJob, told: tuple[Recipient, ...], what: tuple[Announcement, ...], finished_at: str | None
    ) -> None:
        """Put into the ledger what is not there yet; `finished_at` as the API server writes it."""
        known = hash((tuple(each.id for each in what), told, finished_at))
        if self._known.get(job.uid) == known:
            return
        self._known[job.uid] = known
        if what:
            self._write(job, told, what, finished_at)

    def _write(
        self,
        job: AnalysisJob,
        told: tuple[Recipient, ...],
        what: tuple[Announcement, ...],
        finished_at: str | None = None,
    ) -> None:
        row = JobRow(
            job.uid, job.metadata.namespace, job.metadata.name, job.job_id, job.spec.video_id, job.status.attempt,
            what[-1].sequence,
            tuple((each.endpoint.key, each.url) for each in told if WebhookEvent.DELETED in each.events),
            finished_at,
        )  # fmt: skip
        created = self._now().timestamp()
        deliveries = []
        for each in what:
            chosen = [who for who in told if each.event in who.events and each.at.timestamp() >= self._told_since(who)]
            if chosen:
                body = body_of(job.job_id, job.spec.video_id, each)
                deliveries += [
                    Delivery(each.id, who.endpoint.key, who.url, each.event, job.uid, row.namespace, body, created)
                    for who in chosen
                ]
        self._open.add(job.uid)
        self._add(lambda file: file.record(row, deliveries), job.uid if finished_at is not None else None)

    def _told_since(self, who: Recipient) -> float:
        """Unix seconds. A job's own callback is told everything."""
        key = who.endpoint.key
        if (since := self._since.get(key)) is None:
            of_queue = key.startswith("queue/")
            since = self._since[key] = self.current_at if of_queue else 0.0
            facts = facts_of(who.endpoint)
            self._add(lambda file: (file.see_endpoint(key, facts, since), set[str]())[1])
            if not of_queue:
                self._directory.put_callback(who.endpoint)
        return since

    # --- progress --------------------------------------------------------------------------------------------

    def _follow(self, job: AnalysisJob, told: tuple[Recipient, ...]) -> None:
        """A change of stage is announced at once, anything else at the interval."""
        if job.status.phase is not Phase.RUNNING or not any(WebhookEvent.PROGRESS in each.events for each in told):
            self._running.pop(job.uid, None)
            return
        now = self._now()
        _, stage = reached(job, job.status.attempt)
        before = self._running.get(job.uid)
        if before is not None and before.job.status.attempt == job.status.attempt and before.stage == stage:
            before.job = job
            return
        current = progress(job, now, self._interval)
        posted = current is not None and stage != Phase.RUNNING
        if current is not None and posted:
            self._write(job, told, (current,))
        # Where no worker has said anything yet, job.started has said it all.
        self._running[job.uid] = _Running(job, stage, current.id if current is not None else "", now)
        self._schedule(job.uid, now + self._interval)

    def _schedule(self, uid: str, at: datetime) -> None:
        self._running[uid].next_at = at
        heapq.heappush(self._due, (at, uid))

    def _beats(self) -> None:
        """Announce the progress that is due."""
        now = self._now()
        while self._due and self._due[0][0] <= now:
            at, uid = heapq.heappop(self._due)
            running = self._running.get(uid)
            if running is None or running.next_at != at:
                continue
            job = running.job
            current = progress(job, now, self._interval)
            if current is None:
                continue
            if current.id == running.last_id:
                self._schedule(uid, next_beat(job, now, self._interval))
                continue
            running.last_id = current.id
            told = self._directory.recipients(job)
            if told:
                self._write(job, told, (current,))
            self._schedule(uid, now + self._interval)

    # --- into the ledger -------------------------------------------------------------------------------------

    def _add(self, step: Step, finished: str | None = None) -> None:
        self._steps.append((step, finished))
        self._something.set()
        if len(self._steps) >= HELD_AT_MOST:
            self._flush_now()

    def _flush_now(self) -> None:
        steps = self._next_steps()
        self._recorded(steps, self._ledger.write_now(lambda file: _together(file, steps)))

    def _next_steps(self) -> list[tuple[Step, str | None]]:
        steps, self._steps = self._steps[:TOGETHER], self._steps[TOGETHER:]
        return steps

    def _recorded(self, steps: list[tuple[Step, str | None]], endpoints: set[str]) -> None:
        if endpoints:
            self._on_recorded(endpoints)
        for _, finished in steps:
            if finished is not None:
                self._on_finished(finished)

    async def run(self) -> None:
        """Never returns."""
        while True:
            self._beats()
            while self._steps:
                await self._flush()
            wait_seconds = LONGEST_WAIT_SECONDS
            if self._due:
                wait_seconds = min(wait_seconds, max(0.01, (self._due[0][0] - self._now()).total_seconds()))
            self._something.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await self._something.wait()

    async def _flush(self) -> None:
        steps = self._next_steps()
        self._recorded(steps, await self._ledger.write(lambda file: _together(file, steps)))

    async def settled(self) -> None:
        """Write down what was seen so far, and that it was: until now everything is known."""
        current_at = self._now().timestamp() - LAG_SECONDS
        while self._steps:
            await self._flush()
        await self._ledger.write(lambda file: file.set_current(current_at))
        self.current_at = current_at


def _together(file: LedgerFile, steps: Iterable[tuple[Step, str | None]]) -> set[str]:
    endpoints: set[str] = set()
    for step, _ in steps:
        endpoints |= step(file)
    return endpoints


def _closed(file: LedgerFile, uid: str) -> set[str]:
    file.close_job(uid)
    return set()


def _deleted(file: LedgerFile, uid: str, now: datetime) -> set[str]:
    """A job is gone. If it was not finished, that is announced; a finished one has been announced already."""
    row = file.job(uid)
    if row is None or not row.open:
        return set()
    endpoints: set[str] = set()
    if row.finished_at is None:
        what = deletion(uid, row.attempt, row.sequence, now)
        body = body_of(row.job_id, row.video_id, what)
        endpoints = file.record(row, [
            Delivery(what.id, key, url, what.event, uid, row.namespace, body, now.timestamp()) for key, url in row.told
        ])  # fmt: skip
    file.close_job(uid)
    return endpoints


def _where(obj: dict[str, Any]) -> str:
    return f"{obj['metadata'].get('namespace')}/{obj['metadata'].get('name')}"
