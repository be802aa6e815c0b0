"""`python -m klipsoak --minutes 15`: a soak on a control plane of its own; exits with 1 on any violation."""

import argparse
import asyncio
import random
import shutil
import sys
from functools import partial
from pathlib import Path

from klipbench.workload import install_crds
from klipcluster import Cluster, Running
from klipsoak.soak import Report, soak
from klipstream_kube import Client, load_connection

FOLDER = Path(__file__).resolve().parents[3] / "build" / "soak"
"""Logs of the replicas and the audit log stay here."""


async def run(running: Running, minutes: float, seed: int) -> Report:
    """Install the CRDs and soak."""
    async with Client(load_connection(str(running.kubeconfig))) as client:
        await install_crds(client)
    return await soak(running, minutes, seed, FOLDER, partial(print, flush=True))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0, help="how long faults are on (default: 15)")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    options = parser.parse_args()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    print(f"seed {options.seed}: same traffic, faults and blows, at about the same moments", flush=True)
    cluster = Cluster("soak")
    try:
        report = asyncio.run(run(cluster.up(control_plane_only=True, audit=True), options.minutes, options.seed))
    finally:
        cluster.down()
    print(report.text())
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
