"""`python -m klipdemo up|down`: see the Makefile's demo and demo-down."""

import argparse
import json
import random
import sys
import time
from typing import Any

from rich.console import Console
from rich.markup import escape

from klipcluster import ClusterError
from klipdemo import clusters, install, run, verdict
from klipdemo.clusters import Place
from klipdemo.images import Images
from klipdemo.shell import CommandFailed


def main() -> int:
    """Run the demo, or remove it."""
    parser = argparse.ArgumentParser(prog="python -m klipdemo", description=__doc__)
    parser.add_argument("command", choices=["up", "down"])
    parser.add_argument("--cluster", default="auto", choices=["auto", *clusters.KINDS], help="where it runs")
    parser.add_argument("--images", default="", help="PREFIX of PREFIX/klipstream-operator:TAG, where they were pushed")
    parser.add_argument("--tag", default="dev", help="TAG of the images")
    parser.add_argument("--seed", type=int, default=None, help="seed of the videos (random by default)")
    asked = parser.parse_args()
    console = Console()
    try:
        if asked.command == "down":
            left = clusters.take_down(asked.cluster)
            if left:
                console.print(f"demo: {left}", highlight=False)
            return 0
        return _up(asked, console)
    except (ClusterError, CommandFailed, TimeoutError) as error:
        console.print(f"[red]demo:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print(
            "\ndemo: interrupted; `make demo` goes on from here, `make demo-down` removes it", highlight=False
        )
        return 130


def _up(asked: argparse.Namespace, console: Console) -> int:
    began = time.monotonic()
    where = clusters.choose(asked.cluster)
    seed = asked.seed if asked.seed is not None else random.randrange(1, 1_000_000)

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.1f} s[/] {text}", highlight=False)

    place = clusters.bring_up(where, Images(asked.images, asked.tag) if asked.images else None, say)
    say("installing the chart")
    install.install_chart(place)
    say(f"generating and serving 8 videos (seed {seed})")
    truth = install.serve_videos(place, seed)
    say("queue paused; applying examples/demo/jobs.yaml; then the queue is resumed with 2 slots")
    install.submit_jobs(place.shell)
    jobs, recording = run.run_jobs(place.shell, console)
    say("reading the results")
    results = _results(place)
    for job in jobs:
        found = results.get(job["metadata"]["uid"], {}).get("highlights", [])
        moments = ", ".join(f"{highlight['peak_seconds']:.1f} s" for highlight in found)
        console.print(f"  {job['metadata']['name']:<14} {moments or '-'}", highlight=False)
    checks = verdict.judge(jobs, recording, results, truth)
    for check in checks:
        mark = "[green]ok  [/]" if check.kept else "[red]FAIL[/]"
        console.print(f"{mark} {check.promise}: {check.seen}", highlight=False, soft_wrap=True)
    console.print(f"Look around:  {escape(place.look_around)}", highlight=False, soft_wrap=True)
    console.print("              kubectl -n klipstream get aj,aq;  kubectl -n klipstream describe aj live-final")
    console.print(f"Remove it:    make demo-down{' CLUSTER=current' if where == 'current' else ''}", highlight=False)
    kept = sum(check.kept for check in checks)
    console.print(f"demo: {kept} of {len(checks)} promises kept in {time.monotonic() - began:.0f} s", highlight=False)
    return 0 if kept == len(checks) else 1


def _results(place: Place) -> dict[str, dict[str, Any]]:
    """Newest result by job id, read from the claim by a pod."""
    shell = place.shell
    shell.kubectl("delete", "pod", "demo-results", "--ignore-not-found", "--wait=true")
    shell.kubectl("apply", "-f", "-", stdin=install.results_reader(place.images))
    shell.kubectl("wait", "pod/demo-results", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    lines = shell.kubectl("logs", "pod/demo-results").splitlines()
    return {result["job_id"]: result for result in (json.loads(line) for line in lines if line.startswith("{"))}


if __name__ == "__main__":
    sys.exit(main())
