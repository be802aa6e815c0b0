"""A steady stream of submissions by users who cancel, patch, replay and delete, and know how each must end."""

import asyncio
import logging
import random
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

from klipstream_kube import Client, Reflector
from klipsweep.users import ANALYSIS_JOBS, ANALYSIS_QUEUES, FINISHED, PERMANENT, insist, job_object, queue_object
from klipsweep.users import Submission as Job

KEPT_SECONDS = 20
"""How long finished jobs are kept: the operator's memory must not grow with what it did before."""
QUEUES: dict[str, dict[str, Any]] = {
    "video": {"maxConcurrentJobs": 4, "maxRetries": 1, "maxQueueSize": 1000},
    "stream": {"maxConcurrentJobs": 2, "maxRetries": 1, "maxQueueSize": 1000},
}
RETENTION = {"retention": {"succeededSeconds": KEPT_SECONDS, "failedSeconds": KEPT_SECONDS}}
LONG = "600"
PRIORITIES = ("URGENT", "HIGH", "NORMAL", "NORMAL", "LOW")


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of submission: what its worker does, and the phases that it may end in."""

    weight: int
    params: dict[str, str]
    ends: frozenset[str]
    cancelled: bool = False
    deleted: bool = False
    replayed: bool = False


KINDS = (
    _Kind(10, {}, frozenset({"Succeeded"})),
    _Kind(3, {"fake_exits": "1,0"}, frozenset({"Succeeded"})),
    _Kind(2, {"fake_exits": "66", "fake_message": PERMANENT}, frozenset({"Failed"})),
    _Kind(2, {"fake_exits": "1,1,0"}, frozenset({"Succeeded"}), replayed=True),
    _Kind(2, {"fake_seconds": LONG}, frozenset({"Cancelled"}), cancelled=True),
    _Kind(1, {"fake_seconds": LONG}, frozenset(), deleted=True),
    _Kind(3, {"fake_seconds": "1", "fake_posts": "1"}, frozenset({"Succeeded"})),
)


class Traffic:
    """Everybody who uses the queues during a soak. They reach the API server without any fault."""

    def __init__(self, client: Client, namespace: str, dice: random.Random, every_seconds: float) -> None:
        self._client, self._namespace, self._dice, self._every_seconds = client, namespace, dice, every_seconds
        self._kinds: dict[str, _Kind] = {}
        self._seen: dict[str, dict[str, Any]] = {}
        self._acting: set[asyncio.Task[None]] = set()
        self.ended: dict[str, str] = {}
        """The final phase of each submission as its users saw it; "" where they deleted it."""
        self.wrong: list[str] = []
        """Submissions that ended as they must not."""

    @property
    def submitted(self) -> int:
        """Submissions so far."""
        return len(self._kinds)

    @property
    def unfinished(self) -> list[str]:
        """Submissions that are not over."""
        return sorted(set(self._kinds) - set(self.ended))

    async def watch(self) -> None:
        """Follow what becomes of the submissions; never returns."""
        await Reflector(
            self._client, ANALYSIS_JOBS, self._namespace, on_upsert=self._changed, on_delete=self._gone,
            log=logging.getLogger("traffic"),
        ).run()  # fmt: skip

    async def make_queues(self) -> None:
        """Create the queues."""
        for name, spec in QUEUES.items():
            body = queue_object(name, spec | RETENTION)
            await insist(partial(self._client.create, ANALYSIS_QUEUES, body, self._namespace))

    async def submit(self) -> None:
        """Submit a job every so often until cancelled."""
        while True:
            kind = self._dice.choices(KINDS, [kind.weight for kind in KINDS])[0]
            name = f"job-{len(self._kinds):05d}"
            params = {"fake_seconds": f"{self._dice.uniform(0.1, 1.5):.2f}"} | kind.params
            spec = {"priority": self._dice.choice(PRIORITIES)}
            job = Job(name, self._dice.choice(list(QUEUES)), "", params, spec)
            self._kinds[name] = kind
            await insist(partial(self._client.create, ANALYSIS_JOBS, job_object(job), self._namespace))
            if kind.cancelled or kind.deleted:
                self._act(self._withdraw(name, kind))
            elif self._dice.random() < 0.1:
                self._act(self._reprioritise(name))
            await asyncio.sleep(self._every_seconds * self._dice.uniform(0.5, 1.5))

    def counts(self) -> Counter[str]:
        """Submissions by the phase in which they ended."""
        return Counter(phase or "deleted" for phase in self.ended.values())

    # --- what users do -----------------------------------------------------------------------------------------

    def _act(self, doing: Any) -> None:
        task = asyncio.create_task(doing)
        self._acting.add(task)
        task.add_done_callback(self._acting.discard)

    async def _withdraw(self, name: str, kind: _Kind) -> None:
        await asyncio.sleep(self._dice.uniform(0, 6))
        if kind.cancelled:
            await self._patch(name, {"cancel": True})
        else:
            await insist(partial(self._client.delete, ANALYSIS_JOBS, name, self._namespace))

    async def _reprioritise(self, name: str) -> None:
        await asyncio.sleep(self._dice.uniform(0, 2))
        await self._patch(name, {"priority": self._dice.choice(PRIORITIES)})

    async def _patch(self, name: str, spec: dict[str, Any]) -> None:
        await insist(partial(self._client.patch, ANALYSIS_JOBS, name, self._namespace, {"spec": spec}))

    # --- what becomes of it --------------------------------------------------------------------------------------

    def _changed(self, obj: dict[str, Any]) -> None:
        name, phase = obj["metadata"]["name"], str((obj.get("status") or {}).get("phase", ""))
        kind = self._kinds.get(name)
        if kind is None or phase not in FINISHED:
            return
        if kind.replayed and phase == "Failed":
            if not obj["spec"].get("replay"):
                self._act(self._patch(name, {"replay": 1}))
            return
        before = self.ended.setdefault(name, phase)
        if before != phase or (phase not in kind.ends and not kind.deleted):
            self.wrong.append(f"{name} ended in phase {phase}, not in {sorted(kind.ends)}; it was {before} before")

    def _gone(self, obj: dict[str, Any]) -> None:
        name = obj["metadata"]["name"]
        kind = self._kinds.get(name)
        if kind is None or name in self.ended:
            return
        self.ended[name] = ""
        if not kind.deleted:
            self.wrong.append(f"{name} disappeared before it was seen to end")
