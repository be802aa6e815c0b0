"""Changes, handed on to those who listen: each gets the latest state of a thing, however slowly it reads.

An event's id is the resourceVersion of what it shows. Since every replica reads the same versions, and an event holds
the whole state, a listener that was cut off goes on at any replica: it is sent what is newer than its last id.
"""

import asyncio
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field

from klipstream_gateway.cache import Cache, Change, JobChange, version


@dataclass(slots=True, eq=False)
class Listener:
    """What one listener has not been sent yet, by the uid of what changed: a newer change replaces an older one."""

    waiting: OrderedDict[str, Change] = field(default_factory=OrderedDict)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

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
        cache.listeners.append(self._changed)

    @property
    def count(self) -> int:
        """Listeners there are."""
        return len(self._of_all) + sum(len(each) for each in self._of_job.values())

    def job(self, uid: str) -> Listener:
        """Listen to one job."""
        listener = Listener()
        self._of_job[uid].add(listener)
        return listener

    def everything(self, since: int | None) -> Listener:
        """Listen to all jobs and queues; what is newer than `since` comes first, in the order of its versions."""
        listener = Listener()
        if since is not None:
            newer = [JobChange(version(job), job) for job in self._cache.jobs.values() if version(job) > since]
            for change in sorted(newer, key=lambda each: each.version):
                listener.push(change.job.uid, change)
        self._of_all.add(listener)
        return listener

    def leave(self, listener: Listener, uid: str | None = None) -> None:
        """Listen no more."""
        self._of_all.discard(listener)
        if uid is not None and uid in self._of_job:
            self._of_job[uid].discard(listener)
            if not self._of_job[uid]:
                del self._of_job[uid]

    def _changed(self, change: Change) -> None:
        uid = change.job.uid if isinstance(change, JobChange) else change.queue.metadata.uid
        for listener in self._of_all:
            listener.push(uid, change)
        for listener in self._of_job.get(uid, ()):
            listener.push(uid, change)
