"""One leader: what only the leader writes is sent while the Lease is its sender's, as far as is known when it left."""

from dataclasses import dataclass, field

from klipjudge.history import Request
from klipjudge.verdict import Terms, Verdict
from klipjudge.vocabulary import JOBS, QUEUES

LEASES = "leases.coordination.k8s.io"
RESOURCES = frozenset({JOBS, QUEUES, "jobs.batch", "pods"})


@dataclass(slots=True)
class Leadership:
    """Who held the Lease when. Only where processes have names of their own, and moments of sending are known."""

    verdict: Verdict
    terms: Terms
    _holders: list[tuple[float, str]] = field(default_factory=list)
    """From when on the Lease was whose, by user agent; nobody's once it was released."""

    def take(self, request: Request) -> None:
        """A write to the Lease. Kubernetes' components have others, which are not looked at."""
        if not self.terms.by_operator(request.agent):
            return
        holder = request.agent if (request.answer.get("spec") or {}).get("holderIdentity") else ""
        if not self._holders or self._holders[-1][1] != holder:
            self._holders.append((request.completed, holder))

    def check(self, request: Request) -> None:
        """Any other write. It may arrive late, but whoever sends it must not know, or have to fear, a successor."""
        if not (request.sent and self._holders and self.terms.by_operator(request.agent)):
            return
        if request.resource not in RESOURCES or _by_any_replica(request):
            return
        self.verdict.checked["leader"] += 1
        holder = next((holder for since, holder in reversed(self._holders) if since <= request.sent), "")
        if holder != request.agent:
            message = f"{request.agent} sent {request.kind_of} {request.name} when {holder or 'nobody'} held the Lease"
            self.verdict.broken("leader", request, message)


def _by_any_replica(request: Request) -> bool:
    """Progress is taken by every replica, and the first post of an attempt says as well that it runs."""
    if request.resource != JOBS or request.subresource != "status":
        return False
    return bool((request.answer.get("status") or {}).get("phase") == "Running")
