"""The sweep: every row is compared with what the cluster holds, and mended where it differs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from klipstream_convex.deployment import Deployment
from klipstream_convex.rows import digest
from klipstream_convex.shadow import KINDS, Kind, Shadow, Update
from klipstream_convex.sink import BATCH, Sink

ReadLive = Callable[[Kind, str], Awaitable[Update | None]]
"""Reads an object by its uid; None where it is gone."""


class EpochEnded(Exception):
    """The cluster's versions went back: it was restored from a backup, and a new epoch has to begin."""


@dataclass(slots=True)
class Swept:
    """What a sweep found."""

    compared: int = 0
    missing: int = 0
    stale: int = 0
    different: int = 0
    left_over: int = 0

    @property
    def mended(self) -> int:
        """Rows that did not show what the cluster holds."""
        return self.missing + self.stale + self.different + self.left_over


async def sweep(
    deployment: Deployment,
    cluster: str,
    shadow: Shadow,
    sink: Sink,
    read_live: ReadLive,
    version: Callable[[Kind], int],
    expired: Callable[[Update], bool],
) -> Swept:
    """Compare and mend. `version` says how far a kind has been watched; raises Away, FunctionFailed and EpochEnded."""
    found = Swept()
    for kind in KINDS:
        watched = version(kind)
        unseen = set(shadow.uids(kind))
        mending: list[Update] = []
        after: str | None = ""
        while after is not None:
            page = await deployment.query("sync:page", cluster=cluster, kind=kind, after=after)
            for row in page["rows"]:
                found.compared += 1
                unseen.discard(row["uid"])
                update = await _mending(kind, row, shadow, sink, read_live, watched, found)
                if update is not None:
                    mending.append(update)
            await _mend(sink, mending, at_least=BATCH)
            after = page["next"]
        for uid in unseen:
            update = await _live(kind, uid, shadow, sink, read_live)
            if update is not None and not expired(update):
                found.missing += 1
                mending.append(update)
        await _mend(sink, mending)
    return found


async def _mending(
    kind: Kind, row: dict[str, Any], shadow: Shadow, sink: Sink, read_live: ReadLive, watched: int, found: Swept
) -> Update | None:
    """What mends a row; None where it is right, or about to be made so."""
    uid, shown = row["uid"], int(row["version"])
    if sink.holds(uid):
        return None
    seen = shadow.objects[kind].get(uid)
    same_epoch = int(row["epoch"]) == sink.epoch
    if seen is None:
        if row["deleted"] or (same_epoch and shown > watched):
            return None  # newer than our watch, which may bring it yet
        found.left_over += 1
        return Update(kind, uid, max(shown, watched), None)
    if same_epoch and shown > seen.version:
        if shown <= watched:
            raise EpochEnded(f"{kind} {uid} is shown at version {shown}, the cluster has {seen.version}")
        return None
    if same_epoch and shown == seen.version and not row["deleted"] and seen.digest == _digest_of(kind, row):
        return None
    update = await _live(kind, uid, shadow, sink, read_live)
    if update is not None:
        if same_epoch and shown == update.version:
            found.different += 1
        else:
            found.stale += 1
    return update


def _digest_of(kind: Kind, row: dict[str, Any]) -> bytes:
    progress = row.get("progress")
    if kind == "job" and progress is not None:
        progress = {name: value for name, value in progress.items() if name not in ("cluster", "uid")}
    return digest(row["row"], progress)


async def _live(kind: Kind, uid: str, shadow: Shadow, sink: Sink, read_live: ReadLive) -> Update | None:
    if uid not in shadow.objects[kind] or sink.holds(uid):
        return None
    return await read_live(kind, uid)


async def _mend(sink: Sink, mending: list[Update], *, at_least: int = 1) -> None:
    """Tell it in batches, as long as there is so much. What becomes known meanwhile has a higher version, and wins."""
    while len(mending) >= at_least:
        batch, mending[:BATCH] = mending[:BATCH], []
        await sink.deliver(batch, repair=True)
