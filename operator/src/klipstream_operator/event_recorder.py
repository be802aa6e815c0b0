"""Sends Kubernetes events in the background: best effort, at a bounded rate, and nobody waits for them."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from klipstream_api import AnalysisJob, AnalysisQueue, names
from klipstream_kube import EVENTS, AlreadyExists, ApiError, Client, Unreachable
from klipstream_operator.events import Event, cut

log = logging.getLogger(__name__)
COMPONENT = "klipstream-operator"
PER_SECOND = 20.0
WAITING_AT_MOST = 1000
SENDS_AT_MOST = 2
RETRY_SECONDS = 1.0
FLICKER_SECONDS = 60.0
NAME_CHARACTERS = 220


class _GivenUp(Exception):
    """The event was sent as often as it may be."""


def manifest(
    obj: AnalysisJob | AnalysisQueue, event: Event, instance: str, at: datetime, number: int
) -> dict[str, Any]:
    """A core/v1 Event: `kubectl describe` finds it by the object, `kubectl get events` sorts it by lastTimestamp.

    `number` rises from event to event: those of one second are shown in the order of their names.
    """
    moment = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    kind = "AnalysisJob" if isinstance(obj, AnalysisJob) else "AnalysisQueue"
    metadata = obj.metadata
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {
            "name": f"{metadata.name[:NAME_CHARACTERS].rstrip('-.')}.{number:016x}",
            "namespace": metadata.namespace,
        },
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": kind,
            "namespace": metadata.namespace,
            "name": metadata.name,
            "uid": metadata.uid,
            "resourceVersion": metadata.resource_version,
        },
        "type": "Warning" if event.warning else "Normal",
        "reason": event.reason,
        "message": cut(event.note),
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
        "source": {"component": COMPONENT},
        "reportingComponent": f"{names.GROUP}/{COMPONENT}",
        "reportingInstance": instance[:128],
    }


@dataclass(slots=True)
class EventRecorder:
    """A bounded queue of events and the task that empties it.

    Warnings go first. When too many wait, the oldest Normal ones are dropped, then the oldest Warnings: a burst costs
    the API server `per_second` requests, however long it lasts.
    """

    client: Client
    instance: str
    count: Callable[[str], None]
    """Told "written", "dropped" or "failed" for each event."""
    waiting_at_most: int = WAITING_AT_MOST
    per_second: float = PER_SECOND
    _warnings: deque[dict[str, Any]] = field(default_factory=deque)
    _normal: deque[dict[str, Any]] = field(default_factory=deque)
    _announced: dict[tuple[str, str], float] = field(default_factory=dict)
    """When a flickering reason was last announced, by uid and reason."""
    _some: asyncio.Event = field(default_factory=asyncio.Event)
    _number: int = 0
    _problem: str = ""

    def record(self, obj: AnalysisJob | AnalysisQueue, event: Event) -> None:
        """Take an event to be sent later. Never blocks and never fails."""
        if event.repeats and self._announced_lately(obj.metadata.uid, event.reason):
            return
        self._number = max(self._number + 1, time.time_ns())
        body = manifest(obj, event, self.instance, self.client.now(), self._number)
        (self._warnings if event.warning else self._normal).append(body)
        if len(self._warnings) + len(self._normal) > self.waiting_at_most:
            (self._normal or self._warnings).popleft()
            self.count("dropped")
        self._some.set()

    def waiting(self) -> list[dict[str, Any]]:
        """The events that were not sent yet, in the order in which they will be."""
        return [*self._warnings, *self._normal]

    def _announced_lately(self, uid: str, reason: str) -> bool:
        now = asyncio.get_running_loop().time()
        self._announced = {key: at for key, at in self._announced.items() if now - at < FLICKER_SECONDS}
        if (uid, reason) in self._announced:
            return True
        self._announced[uid, reason] = now
        return False

    async def run(self) -> None:
        """Send what waits, one at a time; never returns."""
        while True:
            if not self._warnings and not self._normal:
                self._some.clear()
                await self._some.wait()
            await self._send((self._warnings or self._normal).popleft())
            await asyncio.sleep(1 / self.per_second)

    async def drain(self, seconds: float) -> None:
        """Send what still waits, for that long at most; for the end of the process, after `run` was cancelled."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while waiting := self._warnings or self._normal:
                    await self._send(waiting.popleft())

    async def _send(self, body: dict[str, Any]) -> None:
        """Send an event, once more at most; what the API server does not take by then is given up."""
        sends_left = SENDS_AT_MOST

        def before_send() -> None:
            nonlocal sends_left
            if sends_left == 0:
                raise _GivenUp("the API server asks to wait")
            sends_left -= 1

        for last in (False, True):
            try:
                await self.client.create(EVENTS, body, body["metadata"]["namespace"], before_send=before_send)
            except AlreadyExists:
                break  # the first send did it, and its answer was lost
            except (ApiError, Unreachable, _GivenUp) as error:
                again = isinstance(error, Unreachable) or (isinstance(error, ApiError) and error.status >= 500)
                if again and not last:
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                self.count("failed")
                self._say(str(error))
                return
            break
        self.count("written")
        self._problem = ""

    def _say(self, problem: str) -> None:
        """Log a state once, not for every event."""
        if problem != self._problem:
            self._problem = problem
            log.warning("A Kubernetes event was given up: %s", problem)
