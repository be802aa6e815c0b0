"""The cluster's processes: started apart from the terminal, recorded with pid and start time, stopped by both."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from klipcluster.errors import ClusterError

GRACE_SECONDS = 8.0


class Processes:
    """Processes of one cluster, recorded in its folder.

    The start time guards against a recycled pid: after a reboot or a long time the number may be another's.
    """

    def __init__(self, folder: Path) -> None:
        self._records = folder / "processes"
        self._logs = folder / "logs"

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start a component unless it runs; its command is kept, so that it can be started again."""
        if self.alive(name):
            return
        self._records.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=dict(os.environ) | dict(environment or {}),
            )  # fmt: skip
        record = {
            "pid": process.pid,
            "started": _start_time(process.pid),
            "command": list(command),
            "environment": dict(environment or {}),
        }
        (self._records / f"{name}.json").write_text(json.dumps(record))

    def start_again(self, name: str) -> None:
        """Start a component that was stopped, as it was started before."""
        record = self._record(name)
        if record is None:
            raise ClusterError(f"{name} was never started in this cluster")
        self.start(name, record["command"], record["environment"])

    def names(self) -> list[str]:
        """All components that were ever started here."""
        return sorted(path.stem for path in self._records.glob("*.json"))

    def log(self, name: str) -> Path:
        """The component's log file."""
        return self._logs / f"{name}.log"

    def pid(self, name: str) -> int | None:
        """Pid of a component while it runs."""
        record = self._record(name)
        if record is None:
            return None
        pid = int(record["pid"])
        _reap(pid)
        return pid if record["started"] is not None and _start_time(pid) == record["started"] else None

    def alive(self, name: str) -> bool:
        """Whether the component runs."""
        return self.pid(name) is not None

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the process that was recorded, and only to that one."""
        pid = self.pid(name)
        if pid is not None:
            os.kill(pid, number)

    def stop(self, name: str) -> None:
        """Ask a component to end, and end it when it does not."""
        self.signal(name, signal.SIGCONT)
        self.signal(name, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while self.alive(name):
            if time.monotonic() > deadline:
                self.signal(name, signal.SIGKILL)
            time.sleep(0.02)

    def kill(self, name: str) -> None:
        """End a component at once, as a crash would."""
        self.signal(name, signal.SIGKILL)
        while self.alive(name):
            time.sleep(0.01)

    def _record(self, name: str) -> dict[str, Any] | None:
        path = self._records / f"{name}.json"
        try:
            return dict(json.loads(path.read_text()))
        except (FileNotFoundError, ValueError):
            return None


def _start_time(pid: int) -> str | None:
    """Start time in clock ticks since boot (field 22 of /proc/PID/stat); None for a dead process or a zombie.

    A process whose first thread is a zombie while others have not ended is not dead: it holds its ports and its locks.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, threads, started = fields[0], int(fields[17]), fields[19]
    return None if state == "Z" and threads <= 1 else started


def _reap(pid: int) -> None:
    """Collect our own child if it is dead; others' children are theirs to collect."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
