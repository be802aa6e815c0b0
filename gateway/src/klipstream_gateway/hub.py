"""Changes, handed on to those who listen: each gets the latest state of a thing, however slowly it reads.

A listener to everything has a position: the resourceVersion up to which it was handed all that happened. It is no
version of a single object, since these come from two watches, by lists in the order of names, and as answers to our own
writes ahead of the watch. Every replica reads the same versions, and a change holds the whole state, so a listener that
was cut off goes on at any replica: it is handed what is newer than its position. Where that cannot be told, since the
replica began or listed again after it, or has forgotten what was deleted, it is told to begin anew.
"""

import asyncio
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from klipstream_gateway.cache import Cache, Change, JobChange, QueueChange, version

DELETIONS_KEPT = 2000


@dataclass(slots=True, eq=False)
class Listener:
    """What one listener has not been sent yet, by the uid of what changed: a newer change replaces an older one."""

    waiting: OrderedDict[str, Change] = field(default_factory=OrderedDict)
    position: int = 0
    anew: bool = False
    """Whether what it was handed before counts for nothing: all there is waits for it."""
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def reach(self, reported: int) -> int:
        """Its position, where all up to a version was handed on: it counts only once nothing waits."""
        if not self.waiting:
            self.position = max(self.position, reported)
        return self.position

    def push(self, uid: str, change: Change) -> None:
        """Take in a change."""
        self.waiting.pop(uid, None)
        self.waiting[uid] = change
        self._woken.set()

    async def next(self, seconds: float) -> Change | None:
        """The next change; None where there was none for that long."""
        if not self.waiting:
            self._woken.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._woken.wait()
            except TimeoutError:
                return None
        _, change = self.waiting.popitem(last=False)
        return change


class Hub:
    """Listeners to one job, and to everything."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._of_job: defaultdict[str, set[Listener]] = defaultdict(set)
        self._of_all: set[Listener] = set()
        self._deleted: deque[Change] = deque()
        self._complete_from = 0
        """Of what was deleted after this version all is known."""
        self.watches: list[Callable[[], int]] = []
        """The version up to which each of the watches has reported everything."""
        cache.listeners.append(self._changed)

    @property
    def count(self) -> int:
        """Listeners there are."""
        return len(self._of_all) + sum(len(each) for each in self._of_job.values())

    def reported(self) -> int:
        """The version up to which everything was reported; 0 while it is being listed."""
        return min((watch() for watch in self.watches), default=0)

    def job(self, uid: str) -> Listener:
        """Listen to one job."""
        listener = Listener()
        self._of_job[uid].add(listener)
        return listener

    def everything(self, since: int | None) -> Listener:
        """Listen to all jobs and queues; what happened after `since` comes first, in the order of versions."""
        if since is None:
            listener = Listener(position=self.reported())
        else:
            listener = Listener(position=since, anew=since < self._complete_from)
            after = -1 if listener.anew else since
            jobs = (JobChange(version(job), job) for job in self._cache.jobs.values())
            queues = (QueueChange(version(queue), queue) for queue in self._cache.queues.values())
            deleted = () if listener.anew else self._deleted
            changes: list[Change] = [each for each in (*jobs, *queues, *deleted) if each.version > after]
            for change in sorted(changes, key=lambda each: each.version):
                listener.push(_uid(change), change)
        self._of_all.add(listener)
        return listener

    def listed(self, at_version: int) -> None:
        """A watch began with a list: what was deleted before it is not known."""
        self._complete_from = max(self._complete_from, at_version)

    def leave(self, listener: Listener, uid: str | None = None) -> None:
        """Listen no more."""
        self._of_all.discard(listener)
        if uid is not None and uid in self._of_job:
            self._of_job[uid].discard(listener)
            if not self._of_job[uid]:
                del self._of_job[uid]

    def _changed(self, change: Change) -> None:
        uid = _uid(change)
        if change.gone:
            self._deleted.append(change)
            if len(self._deleted) > DELETIONS_KEPT:
                self.listed(self._deleted.popleft().version)
        for listener in self._of_all:
            listener.push(uid, change)
        for listener in self._of_job.get(uid, ()):
            listener.push(uid, change)


def _uid(change: Change) -> str:
    return change.job.uid if isinstance(change, JobChange) else change.queue.metadata.uid
