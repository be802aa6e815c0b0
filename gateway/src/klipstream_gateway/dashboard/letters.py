"""Dead letters that failed alike, gathered for those who may not see the queue's own groups (pure)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from klipstream_gateway.answers import GroupView, JobView, ReplayView

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Letters:
    """A group with those of its jobs that are shown; `count` are all of them."""

    queue: str
    fingerprint: str
    count: int
    reason: str
    message: str
    jobs: tuple[JobView, ...]
    replay: ReplayView | None
    whole: bool
    """Whether it is the queue's own group, which can be replayed as a whole."""


def gathered(jobs: Iterable[JobView], groups: Iterable[GroupView]) -> tuple[Letters, ...]:
    """The queues' groups with their jobs, then those of jobs that no group counts yet; the largest first."""
    by_group: defaultdict[tuple[str, str], list[JobView]] = defaultdict(list)
    for job in jobs:
        by_group[job.queue or "", job.failure_fingerprint or UNKNOWN].append(job)
    known: Mapping[tuple[str, str], GroupView] = {(group.queue, group.fingerprint): group for group in groups}
    found = []
    for key in {**known, **by_group}:
        members, group = by_group.get(key, []), known.get(key)
        last = members[0].attempts[-1] if members and members[0].attempts else None
        found.append(
            Letters(
                queue=key[0],
                fingerprint=key[1],
                count=max(group.count if group is not None else 0, len(members)),
                reason=(group.reason if group is not None else last.reason if last is not None else None) or UNKNOWN,
                message=(group.message if group is not None else last.message if last is not None else None) or "",
                jobs=tuple(members),
                replay=group.replay if group is not None else None,
                whole=group is not None,
            )
        )
    return tuple(sorted(found, key=lambda each: (-each.count, each.queue, each.fingerprint)))
