"""Record what a real node writes about worker pods: `python -m kliprecord [CASE ...]`, as root.

A one-node cluster "recording" is brought up with the worker image of `make images`, each case of `cases.py` is
played on it, and every state of its Job and pods that a watch shows goes into tests/unit/recordings/CASE.json, which
tests/unit/test_recordings.py reads. Record again after a change of the Kubernetes version:

    make cluster-binaries images && .venv/bin/python -m kliprecord

With names of cases only these are recorded; `--keep` leaves the cluster up. It takes about ten minutes, most of them
for a node that is lost.
"""

import argparse
import asyncio
import json
import logging
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from klipcluster import Cluster
from kliprecord.cases import ALONE, TOGETHER, Case
from kliprecord.life import NeverHappened
from kliprecord.recorder import NAMESPACE, Recorder
from klipstream_kube import JOBS, NAMESPACES, PODS, SECRETS, AlreadyExists, Client, NotFound, Reflector, load_connection

FOLDER = Path("tests/unit/recordings")


async def record(recorder: Recorder, case: Case, version: str) -> str | None:
    """Play one case and write it down; what went wrong, if anything did."""
    began = time.monotonic()
    if case.prepare is not None:
        await case.prepare(recorder)
    life = await recorder.launch(case.pod_spec, case.timeout_seconds)
    problem = None
    try:
        if case.act is not None:
            await case.act(recorder, life)
        await life.until(case.done, case.how)
        recorder.write(case.name, case.how, life, version)
    except NeverHappened as error:
        problem = f"{case.name}: {error}"
    del recorder.lives[life.job_uid]
    if life.job is not None:
        with suppress(NotFound):
            await recorder.delete_job(life)
    if case.undo is not None:
        await case.undo(recorder, life)
    print(f"{case.name:<32} {time.monotonic() - began:5.1f} s {'FAILED' if problem else ''}", flush=True)
    return problem


async def main() -> int:
    """Record the cases that were asked for, or all."""
    parser = argparse.ArgumentParser(prog="python -m kliprecord", description=__doc__.partition("\n")[0])
    parser.add_argument("cases", nargs="*", help="cases to record; all where none is named")
    parser.add_argument("--keep", action="store_true", help="leave the cluster up")
    asked = parser.parse_args()
    unknown = set(asked.cases) - {case.name for case in (*TOGETHER, *ALONE)}
    if unknown:
        print(f"kliprecord: no such case: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    cluster = Cluster("recording")
    try:
        running = cluster.up()
        async with Client(load_connection(str(running.kubeconfig)), user_agent="kliprecord") as client:
            recorder = Recorder(client, cluster, FOLDER)
            await recorder.load_images()
            return await _record_all(recorder, set(asked.cases))
    finally:
        if not asked.keep:
            cluster.down()


async def _record_all(recorder: Recorder, names: set[str]) -> int:
    client = recorder.client
    version = str((await client.request("GET", "/version"))["gitVersion"])
    for resource, name, body in ((NAMESPACES, NAMESPACE, {}), (SECRETS, "recording", {"stringData": {"key": "value"}})):
        with suppress(AlreadyExists):
            namespace = None if resource is NAMESPACES else NAMESPACE
            await client.create(resource, {"metadata": {"name": name}} | body, namespace)
    feeds = [
        Reflector(
            client, resource, NAMESPACE, log=logging.getLogger("kliprecord"),
            on_upsert=partial(recorder.saw, resource.kind), on_delete=partial(recorder.lost, resource.kind),
        )
        for resource in (JOBS, PODS)
    ]  # fmt: skip
    tasks = [asyncio.create_task(feed.run()) for feed in feeds]
    await asyncio.gather(*(feed.synced.wait() for feed in feeds))
    wanted = [[case for case in group if not names or case.name in names] for group in (TOGETHER, ALONE)]
    problems = list(await asyncio.gather(*(record(recorder, case, version) for case in wanted[0])))
    for case in wanted[1]:
        problems.append(await record(recorder, case, version))
    for task in tasks:
        task.cancel()
    for problem in filter(None, problems):
        print(json.dumps(problem), file=sys.stderr)
    return 1 if any(problems) else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
