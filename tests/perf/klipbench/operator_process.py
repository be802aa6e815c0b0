"""The operator as a process beside the benchmark: started, measured, killed."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from klipfake.ports import free_port

STOP_SECONDS = 20.0
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far."""

    cpu_seconds: float
    peak_memory_bytes: int
    memory_bytes: int = 0
    """Resident now."""

    def since(self, before: "Usage") -> "Usage":
        """What was used after that; memory as it is now."""
        return Usage(self.cpu_seconds - before.cpu_seconds, self.peak_memory_bytes, self.memory_bytes)


def usage(pid: int) -> Usage:
    """CPU time and peak resident memory of a process. Raises FileNotFoundError when it is gone."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    cpu_seconds = (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
    peak, now = (int(status[name].split()[0]) * 1024 for name in ("VmHWM", "VmRSS"))
    return Usage(cpu_seconds, peak, now)


class OperatorProcess:
    """One operator at a time against one cluster; a second start after a kill is a restart."""

    def __init__(self, kubeconfig: Path, log: Path, **settings: str) -> None:
        self._kubeconfig = kubeconfig
        self._log = log
        self._settings = {f"KLIPSTREAM_{name.upper()}": value for name, value in settings.items()}
        self._process: subprocess.Popen[bytes] | None = None
        self.progress_port = 0
        """Where workers post to; known once it was started."""

    @property
    def pid(self) -> int:
        """Its pid while it runs. Raises RuntimeError, with the end of its log, when it ended by itself."""
        process = self._process
        if process is None:
            raise RuntimeError("the operator was not started")
        if process.poll() is not None:
            tail = self._log.read_text(errors="replace")[-3000:]
            raise RuntimeError(
                f"the operator ended with code {process.returncode}; its log ({self._log}) ends:\n{tail}"
            )
        return process.pid

    def said(self) -> str:
        """Its log so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        """Start it on free ports; its log is appended to."""
        self.progress_port, liveness, metrics = (free_port() for _ in range(3))
        environment = dict(os.environ) | {
            "KUBECONFIG": str(self._kubeconfig),
            "KLIPSTREAM_PROGRESS_HOST": "127.0.0.1",
            "KLIPSTREAM_PROGRESS_PORT": str(self.progress_port),
            "KLIPSTREAM_LIVENESS_PORT": str(liveness),
            "KLIPSTREAM_METRICS_HOST": "127.0.0.1",
            "KLIPSTREAM_METRICS_PORT": str(metrics),
        }
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "klipstream_operator"], env=environment | self._settings, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """kill -9, as a crash would end it."""
        os.kill(self.pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
        self._process = None

    def stop(self) -> int:
        """Ask it to end, end it when it does not within 20 s; its exit code, 0 where none runs."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.terminate()
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
