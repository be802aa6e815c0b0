"""Progress from the logs of workers that post nothing, for queues with `progressFrom: Logs`.

The leader follows the logs of their running pods, a bounded number at once, and gives the lines of progress to the
progress book: from there on they are posts like any other. A log that breaks off is gone on with from the second of its
last byte (the API counts no finer), so that lines may be read twice, which changes nothing. A successor begins at the
last lines of each log.
"""

import asyncio
import logging
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from klipstream_api import AnalysisJob, AnalysisQueue, ProgressFrom, ProgressPost, names
from klipstream_api.phases import ACTIVE_PHASES
from klipstream_kube import ApiError, Client, Unreachable
from klipstream_operator.progress import WRITE_EVERY_SECONDS, ProgressBook, Verdict
from klipstream_operator.progress_line import ProgressLines
from klipstream_operator.store import Store, queue_key
from klipstream_operator.workload import AttemptView, PodView

log = logging.getLogger(__name__)
STREAMS_AT_MOST = 100
TURN_SECONDS = 10.0
"""When more pods want to be followed than may be, each gives its place up after that long, and comes again."""
TAIL_LINES = 1000
"""Where a log is begun: its last progress is what counts."""
IDLE_SECONDS = 300.0
"""A silent stream may be one whose connection was lost without a word: it is opened again."""
BYTES_PER_SECOND = 2**20
"""What is read of one log on average; of one that is faster the middle is left out."""
BURST_SECONDS = 5.0
SECONDS_READ_AGAIN = timedelta(seconds=2)
"""sinceTime counts whole seconds, and of the node's clock."""
RETRY_SECONDS = (1.0, 2.0, 5.0, 15.0, 30.0)


def to_follow(job: AnalysisJob | None, queue: AnalysisQueue | None, view: AttemptView) -> PodView | None:
    """The pod whose log tells a job's progress; None where none is to be followed."""
    if job is None or queue is None or queue.spec.progress_from is not ProgressFrom.LOGS:
        return None
    if job.status.phase not in ACTIVE_PHASES:
        return None
    return next((pod for pod in view.live_pods if pod.running_since is not None), None)


@dataclass(slots=True, eq=False)
class _Followed:
    """A pod's log, as far as it was read."""

    pod: PodView
    read_until: datetime | None = None
    """By the API server's clock; None where it is begun at its last lines."""
    latest: ProgressPost | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class LogProgress:
    """Follows logs while it runs; `look` is called when a job, its queue or what runs for it changed decisively."""

    def __init__(
        self, client: Client, store: Store, book: ProgressBook, streams_at_most: int = STREAMS_AT_MOST
    ) -> None:
        # Streams take connections of their own, so that no other request waits for one.
        self._client = Client(client.connection, user_agent="klipstream-operator", max_connections=streams_at_most)
        self._now = client.now
        self._store = store
        self._book = book
        self._streams_at_most = streams_at_most
        self._places = asyncio.Semaphore(streams_at_most)
        self._open: set[asyncio.Timeout] = set()
        self._followed: dict[str, _Followed] = {}
        """By uid of the AnalysisJob."""
        self._tasks: asyncio.TaskGroup | None = None
        self._told_of_rights = False

    async def run(self) -> None:
        """Never returns."""
        async with self._client, asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                for uid in list(self._store.jobs):
                    self.look(uid)
                await asyncio.Event().wait()
            finally:
                self._tasks = None

    def look(self, uid: str) -> None:
        """Begin to follow the log of a job's pod, or cease to."""
        if self._tasks is None:
            return
        pod = self._wanted(uid)
        followed = self._followed.get(uid)
        if followed is not None and (pod is None or pod.uid != followed.pod.uid):
            del self._followed[uid]
            assert followed.task is not None
            followed.task.cancel()
            followed = None
        if followed is None and pod is not None:
            followed = self._followed[uid] = _Followed(pod)
            followed.task = self._tasks.create_task(self._follow(followed), name=f"log of {pod.name}")
            if self._crowded:
                self._hurry()

    def _wanted(self, uid: str) -> PodView | None:
        job = self._store.jobs.get(uid)
        key = queue_key(job) if job is not None else None
        if job is None or key is None:
            return None
        return to_follow(job, self._store.queues.get(key), self._store.attempt((uid, job.status.attempt)))

    @property
    def _crowded(self) -> bool:
        return len(self._followed) > self._streams_at_most

    def _hurry(self) -> None:
        """The streams that are open give their places up after a turn."""
        turn_ends = asyncio.get_running_loop().time() + TURN_SECONDS
        for limit in self._open:
            if (when := limit.when()) is None or when > turn_ends:
                limit.reschedule(turn_ends)

    async def _follow(self, followed: _Followed) -> None:
        """Read and tell until `look` cancels it: a stream that ends may be one that the API server has closed."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._tell(followed))
            failures = 0
            while True:
                before = followed.latest
                async with self._places:
                    took_seconds, read_bytes = await self._read(followed)
                # A container that has ended gives its last lines again and again: it is asked more and more rarely.
                went_on = took_seconds > BURST_SECONDS or followed.latest != before
                failures = 0 if went_on else failures + 1
                # What was too fast waits until it is not, on the average.
                too_fast_seconds = read_bytes / BYTES_PER_SECOND - took_seconds
                await asyncio.sleep(max(too_fast_seconds, RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]))

    async def _read(self, followed: _Followed) -> tuple[float, int]:
        """Read on for a turn, or to the end of the stream; the seconds that it took, and the bytes that were read."""
        loop = asyncio.get_running_loop()
        began, read, lines = loop.time(), 0, ProgressLines()
        since = followed.read_until - SECONDS_READ_AGAIN if followed.read_until is not None else None
        chunks = self._client.log(
            followed.pod.name, followed.pod.namespace, container=names.WORKER_CONTAINER, follow=True, since=since,
            tail_lines=TAIL_LINES if since is None else None, idle_seconds=None, total_seconds=None,
        )  # fmt: skip
        limit = asyncio.timeout(TURN_SECONDS if self._crowded else IDLE_SECONDS)
        try:
            async with limit, aclosing(chunks) as stream:
                self._open.add(limit)
                async for chunk in stream:
                    read += len(chunk)
                    followed.read_until = self._now()
                    if (post := lines.read(chunk)) is not None:
                        followed.latest = post
                        followed.changed.set()
                    if read > BYTES_PER_SECOND * max(loop.time() - began, BURST_SECONDS):
                        followed.read_until = None
                        break
        except TimeoutError:
            pass  # its turn is over
        except (ApiError, Unreachable) as error:
            self._failed(followed, error)
        finally:
            self._open.discard(limit)
        return loop.time() - began, read

    async def _tell(self, followed: _Followed) -> None:
        """Give the newest progress to the book, no more often than workers are asked to post."""
        while True:
            await followed.changed.wait()
            followed.changed.clear()
            assert followed.latest is not None
            try:
                verdict, _ = await self._book.take(followed.pod, followed.latest)
            except (ApiError, Unreachable) as error:
                verdict = Verdict.UNKNOWN
                log.debug("Progress from the log of pod %s is not taken yet: %s", followed.pod.name, error)
            if verdict is Verdict.UNKNOWN:
                followed.changed.set()
            await asyncio.sleep(RETRY_SECONDS[0] if verdict is Verdict.UNKNOWN else WRITE_EVERY_SECONDS)

    def _failed(self, followed: _Followed, error: ApiError | Unreachable) -> None:
        pod = followed.pod
        if isinstance(error, ApiError) and error.status == 403 and not self._told_of_rights:
            self._told_of_rights = True
            log.warning(
                "Logs of workers cannot be read, so queues with progressFrom: Logs show no progress: %s. Give the"
                " operator the right to get pods/log (chart: operator.progressFromLogs=true).", error,
            )  # fmt: skip
        log.debug("The log of pod %s/%s: %s", pod.namespace, pod.name, error)
