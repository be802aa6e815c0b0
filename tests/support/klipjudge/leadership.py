"""One leader for a queue: what only a leader writes is sent while a Lease is its sender's, and under no other Lease.

All of it as far as is known when a write leaves.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from klipjudge.history import Request
from klipjudge.verdict import Terms, Verdict
from klipjudge.vocabulary import JOBS, QUEUES, queue_of

LEASES = "leases.coordination.k8s.io"
RESOURCES = frozenset({JOBS, QUEUES, "jobs.batch", "pods"})


@dataclass(slots=True)
class _Lease:
    """Who held one Lease when."""

    holders: list[tuple[float, str]] = field(default_factory=list)
    """From when on it was whose, by user agent; nobody's once it was released."""
    lasts_until: float = 0.0
    """By its last renewal."""

    def holder(self, at: float) -> str:
        """Whose it was, as far as that was known then."""
        return next((holder for since, holder in reversed(self.holders) if since <= at), "")


@dataclass(slots=True)
class Leadership:
    """Who leads what. Only where processes have names of their own, and moments of sending are known."""

    verdict: Verdict
    terms: Terms
    _leases: defaultdict[str, _Lease] = field(default_factory=lambda: defaultdict(_Lease))
    _led_by: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """Under which Lease a queue was last written for, and by whom: a successor may have to wait and not lead yet."""

    def take(self, request: Request) -> None:
        """A write to a Lease. Kubernetes' components have others, which are not looked at."""
        if not self.terms.by_operator(request.agent):
            return
        metadata, spec = request.answer.get("metadata") or {}, request.answer.get("spec") or {}
        lease = self._leases[request.name or metadata.get("name", "")]
        holder = request.agent if spec.get("holderIdentity") else ""
        if not lease.holders or lease.holders[-1][1] != holder:
            lease.holders.append((request.completed, holder))
        lease.lasts_until = request.completed + float(spec.get("leaseDurationSeconds") or 0)

    def check(self, request: Request) -> None:
        """Any other write. It may arrive late, but whoever sends it must not know, or have to fear, a successor."""
        if not (request.sent and self._leases and self.terms.by_operator(request.agent)):
            return
        if request.resource not in RESOURCES or _by_any_replica(request):
            return
        self.verdict.checked["leader"] += 1
        own = {name for name, lease in self._leases.items() if lease.holder(request.sent) == request.agent}
        if not own:
            holders = sorted({lease.holder(request.sent) for lease in self._leases.values()} - {""})
            held = f"{' and '.join(holders) or 'nobody'} held the Lease"
            self.verdict.broken("leader", request, f"{request.agent} sent {request.kind_of} {request.name} when {held}")
            return
        if (queue := _queue_of(request)) is None:
            return
        self.verdict.checked["led-once"] += 1
        under, by = self._led_by.get(queue, ("", ""))
        if under and under not in own:
            lease = self._leases[under]
            if lease.holder(request.sent) == by and request.sent < lease.lasts_until:
                message = f"{request.agent} sent {request.kind_of} {request.name} for {queue[1]}, led by {by} ({under})"
                self.verdict.broken("led-once", request, message)
        self._led_by[queue] = (min(own), request.agent)


def _queue_of(request: Request) -> tuple[str, str] | None:
    """The queue that a write is about, if it says so."""
    metadata, name = request.answer.get("metadata") or {}, None
    if request.resource == QUEUES:
        name = request.name or metadata.get("name")
    elif request.resource == JOBS:
        name = (request.answer.get("status") or {}).get("queueName")
    else:
        name = queue_of(metadata)
    return (request.namespace, name) if name else None


def _by_any_replica(request: Request) -> bool:
    """Progress is taken by every replica, and the first post of an attempt says as well that it runs."""
    if request.resource != JOBS or request.subresource != "status":
        return False
    return bool((request.answer.get("status") or {}).get("phase") == "Running")
