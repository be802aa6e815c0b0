"""The queue's promises hold while the operator is killed at random moments, judged from the API server's audit log."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from klipbench import workload
from klipbench.fake_kubelet import FakeKubelet
from klipbench.operator_process import OperatorProcess
from klipcluster.cluster import Cluster, Running
from klipjudge.audit import read_requests
from klipjudge.judge import judge
from klipstream_kube import Client, load_connection

JOBS, LIMIT, KILLS = 120, 7, 3
RUN_SECONDS = 0.3
NAMESPACE = "invariants"


@pytest.fixture
def audited(tmp_path: Path) -> Iterator[Running]:
    """A control plane of its own: the judge needs the whole audit log, from the first write to the last."""
    cluster = Cluster("audited", state_dir=tmp_path / "clusters")
    try:
        yield cluster.up(control_plane_only=True, audit=True)
    finally:
        cluster.down()


async def test_kills_at_random_moments_break_no_promise(audited: Running, tmp_path: Path) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")  # shown when the test fails
    chance = random.Random(seed)
    operator = OperatorProcess(audited.kubeconfig, tmp_path / "operator.log", lease_seconds="10")
    connection = load_connection(str(audited.kubeconfig))
    async with Client(connection, user_agent="test") as client, Client(connection) as kubelet_client:
        await workload.install_crds(client)
        kubelet = FakeKubelet(kubelet_client, workload.RandomRuns(RUN_SECONDS, chance))
        async with workload.kubelet_running(kubelet):
            await workload.create_namespace(client, NAMESPACE)
            await workload.create_queue(client, NAMESPACE, LIMIT)
            operator.start()
            try:
                await workload.submit(client, NAMESPACE, JOBS, chance)
                for killed in range(KILLS):
                    await _until_finished(client, JOBS * killed // KILLS + chance.randrange(1, JOBS // KILLS - LIMIT))
                    await asyncio.sleep(chance.uniform(0, RUN_SECONDS))
                    operator.kill()
                    operator.start()
                await _until_finished(client, JOBS)
            finally:
                operator.stop()
            left = await workload.as_left(client, NAMESPACE)
    assert audited.audit_log is not None
    verdict = judge(read_requests(audited.audit_log) + left)
    assert verdict.violations == []
    assert verdict.phases == {"Succeeded": JOBS}
    assert verdict.reservations == JOBS
    assert 1 < verdict.most_live <= LIMIT


async def _until_finished(client: Client, count: int) -> None:
    while JOBS - await workload.unfinished(client, NAMESPACE) < count:
        await asyncio.sleep(0.05)
