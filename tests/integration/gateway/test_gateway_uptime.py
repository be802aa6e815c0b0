"""Since when the operator leads, where several shards have a leader each."""

from datetime import UTC, datetime

import pytest

from klipstream_gateway.cache import Cache
from klipstream_gateway.cluster import Cluster
from klipstream_kube import LEASES, Client, load_connection

FIRST, LATER = datetime(2026, 11, 25, 12, tzinfo=UTC), datetime(2026, 11, 26, 12, tzinfo=UTC)
NAMES = ("r-operator-0-of-3", "r-operator-1-of-3", "r-operator-2-of-3")


@pytest.mark.parametrize(
    ("acquired", "expected"),
    [((FIRST,), FIRST), ((LATER, FIRST), LATER), ((FIRST, None, LATER), LATER), ((None, None), None), ((), None)],
)
async def test_uptime_counts_from_the_last_change_of_a_leader(
    control_plane, namespace: str, acquired: tuple[datetime | None, ...], expected: datetime | None
) -> None:
    """None: somebody held the Lease, and nobody does; Leases that are not there were never held."""
    async with Client(load_connection(str(control_plane.kubeconfig))) as client:
        for name, since in zip(NAMES, acquired, strict=False):
            spec = {"acquireTime": (since or LATER).isoformat(timespec="microseconds"),
                    "holderIdentity": "somebody" if since is not None else None}  # fmt: skip
            await client.create(LEASES, {"metadata": {"name": name}, "spec": spec}, namespace)
        cluster = Cluster(client, Cache(lambda: LATER), namespace, NAMES, namespace)
        assert await cluster.leading_since() == expected
