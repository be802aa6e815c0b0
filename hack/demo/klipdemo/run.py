"""Running the eight jobs: watched by a live table and by two recorders that see every revision."""

import time
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from klipdemo.shell import Shell

FINISHED = {"Succeeded", "Failed", "Cancelled", "Rejected"}
TIMEOUT_SECONDS = 600


@dataclass
class Recording:
    """What the watches saw."""

    starts: list[str] = field(default_factory=list)
    """Names of AnalysisJobs in the order of their reservations."""
    most_live: int = 0
    """The largest number of worker pods that had not ended, over all revisions seen."""
    _live: set[str] = field(default_factory=set)

    def queue(self, obj: dict[str, Any]) -> None:
        """A revision of the AnalysisQueue."""
        for entry in obj.get("status", {}).get("admitted", ()):
            if entry["name"] not in self.starts:
                self.starts.append(entry["name"])

    def pod(self, obj: dict[str, Any]) -> None:
        """A revision of a worker pod."""
        uid, phase = obj["metadata"]["uid"], obj.get("status", {}).get("phase")
        (self._live.discard if phase in ("Succeeded", "Failed") else self._live.add)(uid)
        self.most_live = max(self.most_live, len(self._live))


def run_jobs(shell: Shell, console: Console) -> tuple[list[dict[str, Any]], Recording]:
    """Wait until the paused queue holds all jobs, resume it, and follow until all are finished."""
    _until(lambda: all(job["status"].get("sequence") for job in _jobs(shell)), "the jobs were not accepted")
    recording = Recording()
    watches = [
        shell.watch(recording.queue, "analysisqueue", "default"),
        shell.watch(recording.pod, "pods", "-l", "analysis.klipstream.io/queue=default"),
    ]
    try:
        time.sleep(1.0)
        recording.starts.clear()
        shell.kubectl("patch", "analysisqueue", "default", "--type=merge", "-p", '{"spec":{"mode":"Running"}}')
        with Live(_table(_jobs(shell)), console=console, refresh_per_second=4, transient=False) as live:
            deadline = time.monotonic() + TIMEOUT_SECONDS
            while True:
                jobs = _jobs(shell)
                live.update(_table(jobs))
                if all(job["status"]["phase"] in FINISHED for job in jobs) or time.monotonic() > deadline:
                    break
                time.sleep(0.5)
        time.sleep(1.0)
    finally:
        for watch in watches:
            watch.terminate()
            watch.wait()
    return _jobs(shell), recording


def _jobs(shell: Shell) -> list[dict[str, Any]]:
    return shell.items("analysisjobs", "-l", "demo=klipstream")


def _until(condition: Any, problem: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{problem} within {seconds:.0f} s: see `kubectl logs deployment/klipstream-operator`")
        time.sleep(0.3)


def _table(jobs: list[dict[str, Any]]) -> Table:
    table = Table(title="AnalysisJobs in queue default (limit 2)", title_justify="left")
    for column in ("JOB", "PRIORITY", "PHASE", "PROGRESS", "STAGE", "ATTEMPT"):
        table.add_column(column)
    order = {"URGENT": 0, "HIGH": 1, "NORMAL": 2, "LOW": 3}
    colours = {"Succeeded": "green", "Failed": "red", "Running": "cyan", "Starting": "cyan"}
    for job in sorted(jobs, key=lambda j: (order[j["spec"]["priority"]], j["status"].get("sequence", 0))):
        status, progress = job["status"], job["status"].get("progress", {})
        colour = colours.get(status["phase"], "white")
        percentage = f"{progress['percentage']:5.1f} %" if progress else ""
        table.add_row(
            job["metadata"]["name"], job["spec"]["priority"], f"[{colour}]{status['phase']}[/]", percentage,
            progress.get("stage", ""), str(status.get("attempt", 0)),
        )  # fmt: skip
    return table
