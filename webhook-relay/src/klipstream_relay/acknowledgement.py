"""Telling the job's status that its end was announced: what retention waits for, and all that the relay writes."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from klipstream_api import names
from klipstream_api.meta import rfc3339
from klipstream_kube import ApiError, Client, Conflict, Invalid, NotFound, Resource, Unreachable
from klipstream_relay.ledger import Ledger
from klipstream_relay.ledger_file import JobRow

log = logging.getLogger(__name__)
ANALYSIS_JOBS = Resource(names.GROUP, names.VERSION, "analysisjobs", "AnalysisJob")
ANALYSIS_QUEUES = Resource(names.GROUP, names.VERSION, "analysisqueues", "AnalysisQueue")
AT_ONCE = 4
LOOK_AGAIN_SECONDS = 60.0


def _read(finished_at: str | None) -> datetime:
    """When the job ended, by the operator's clock: ours may be behind, and the announcement follows the end."""
    assert finished_at is not None
    return datetime.fromisoformat(finished_at)


class Acknowledger:
    """Writes status.announcedAt once a job's end has reached everybody, or was given up."""

    def __init__(self, client: Client, ledger: Ledger, now: Callable[[], datetime]) -> None:
        self._client = client
        self._ledger = ledger
        self._now = now
        self._wanted: set[str] = set()
        self._something = asyncio.Event()

    def look(self, uid: str) -> None:
        """The end of this job may have reached everybody."""
        self._wanted.add(uid)
        self._something.set()

    async def run(self) -> None:
        """Never returns. Everything is looked at in the beginning and once a minute, for what failed before."""
        look_at_all = 0.0
        loop = asyncio.get_running_loop()
        while True:
            if loop.time() >= look_at_all:
                look_at_all = loop.time() + LOOK_AGAIN_SECONDS
                await self._acknowledge(None)
            uids, self._wanted = self._wanted, set()
            self._something.clear()
            if uids:
                await self._acknowledge(uids)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, look_at_all - loop.time())):
                    await self._something.wait()

    async def _acknowledge(self, uids: Iterable[str] | None) -> None:
        jobs = await self._ledger.read(lambda file: file.complete(uids))
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(job: JobRow) -> None:
            async with turns:
                await self._write(job)

        async with asyncio.TaskGroup() as tasks:
            for job in jobs:
                tasks.create_task(one(job))

    async def _write(self, job: JobRow) -> None:
        """Guarded by the end that was announced: a replay in between has another end, and gets its own."""
        patch: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/uid", "value": job.uid},
            {"op": "test", "path": "/status/finishedAt", "value": job.finished_at},
            {"op": "add", "path": "/status/announcedAt", "value": rfc3339(max(self._now(), _read(job.finished_at)))},
        ]
        try:
            await self._client.patch_status(ANALYSIS_JOBS, job.name, job.namespace, patch, kind="json")
        except (NotFound, Invalid, Conflict) as error:
            log.info("The end of AnalysisJob %s/%s needs no acknowledgement any more: %s", job.namespace, job.name,
                     error)  # fmt: skip
        except (ApiError, Unreachable) as error:
            log.warning("AnalysisJob %s/%s could not be told that its end was announced, trying again: %s",
                        job.namespace, job.name, error)  # fmt: skip
            return
        await self._ledger.write(lambda file: file.close_job(job.uid, job.finished_at))
