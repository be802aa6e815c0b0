"""`python -m klipdemo up|down`: see the Makefile's demo and demo-down."""

import argparse
import json
import random
import subprocess
import sys
import time
from typing import Any

from rich.console import Console

from klipcluster import ClusterError
from klipdemo import clusters, install, run, verdict
from klipdemo.shell import CommandFailed, Shell


def main() -> int:
    """Run the demo, or remove it."""
    parser = argparse.ArgumentParser(prog="python -m klipdemo", description=__doc__)
    parser.add_argument("command", choices=["up", "down"])
    parser.add_argument("--cluster", default="auto", help="auto, local, kind or current")
    parser.add_argument("--seed", type=int, default=None, help="seed of the videos (random by default)")
    asked = parser.parse_args()
    console = Console()
    try:
        kind = clusters.choose(asked.cluster)
        if asked.command == "down":
            clusters.take_down(kind)
            return 0
        return _up(kind, asked.seed if asked.seed is not None else random.randrange(1, 1_000_000), console)
    except (ClusterError, CommandFailed, TimeoutError) as error:
        console.print(f"[red]demo:[/] {error}", highlight=False)
        return 1


def _up(kind: str, seed: int, console: Console) -> int:
    began = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.1f} s[/] {text}", highlight=False)

    say("building the images")
    subprocess.run(["hack/images/build.sh"], check=True)
    say(f"bringing the cluster up ({kind})")
    place = clusters.bring_up(kind)
    say("installing the chart")
    install.install_chart(place)
    say(f"generating and serving 8 videos (seed {seed})")
    truth = install.serve_videos(place.shell, seed)
    say("queue paused; applying examples/demo/jobs.yaml; then the queue is resumed with 2 slots")
    install.submit_jobs(place.shell)
    jobs, recording = run.run_jobs(place.shell, console)
    say("reading the results")
    results = _results(place.shell)
    for job in jobs:
        found = results.get(job["metadata"]["uid"], {}).get("highlights", [])
        moments = ", ".join(f"{highlight['peak_seconds']:.1f} s" for highlight in found)
        console.print(f"  {job['metadata']['name']:<14} {moments or '-'}", highlight=False)
    checks = verdict.judge(jobs, recording, results, truth)
    for check in checks:
        mark = "[green]ok  [/]" if check.kept else "[red]FAIL[/]"
        console.print(f"{mark} {check.promise}: {check.seen}", highlight=False, soft_wrap=True)
    console.print("Look around:  eval $(.venv/bin/python -m klipcluster --name klipstream-demo env)", highlight=False)
    console.print("              kubectl -n klipstream get aj,aq;  kubectl -n klipstream describe aj live-final")
    console.print("Remove it:    make demo-down")
    kept = sum(check.kept for check in checks)
    console.print(f"demo: {kept} of {len(checks)} promises kept in {time.monotonic() - began:.0f} s", highlight=False)
    return 0 if kept == len(checks) else 1


def _results(shell: Shell) -> dict[str, dict[str, Any]]:
    """Newest result by job id, read from the claim by a pod."""
    shell.kubectl("delete", "pod", "demo-results", "--ignore-not-found", "--wait=true")
    shell.kubectl("apply", "-f", str(install.EXAMPLES / "show-results.yaml"))
    shell.kubectl("wait", "pod/demo-results", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    lines = shell.kubectl("logs", "pod/demo-results").splitlines()
    return {result["job_id"]: result for result in (json.loads(line) for line in lines if line.startswith("{"))}


if __name__ == "__main__":
    sys.exit(main())
