"""Kubernetes' controllers of the simulation do what the real ones do: the same lives of a Job with both, compared."""

import asyncio
import difflib
import uuid

from klipcluster import Running
from klipsim.conformance.lives import CASES
from klipsim.conformance.sites import in_namespaces, in_simulation
from klipstream_kube import Client, load_connection

SEEDS = range(1, 9)
"""The simulated controllers' delays are random: what they do must not depend on them."""


def test_jobs_pods_and_owners_go_the_ways_that_the_real_controllers_make_them_go(
    control_plane: Running, custom_resources: None
) -> None:
    async def run() -> dict[str, list[str]]:
        async with Client(load_connection(str(control_plane.kubeconfig))) as client:
            return await in_namespaces(client, CASES, f"lives-{uuid.uuid4().hex[:6]}", at_once=len(CASES))

    real = asyncio.run(run())
    differences = [
        f"\n{name} (seed {seed})\n" + "\n".join(difflib.unified_diff(real[name], found, "real", "simulated", n=1))
        for name, case in CASES.items()
        for seed in SEEDS
        if (found := in_simulation(case, seed=seed, controllers=True)) != real[name]
    ]
    assert not differences, "".join(differences)
