"""The operator, or the fake kubelet, as a process that a test starts and kills by its recorded pid."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from klipfake.ports import free_port


class Process:
    """A Python module run with a kubeconfig; its output goes to a file."""

    def __init__(self, module: str, kubeconfig: Path, log: Path, *arguments: str, **environment: str) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        self._environment = os.environ | {"KUBECONFIG": str(kubeconfig)} | environment
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again."""
        assert self._process is None or self._process.poll() is not None, "it runs already"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._output = self.log.open("ab")
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdout=self._output, stderr=subprocess.STDOUT
        )

    def kill(self) -> None:
        """kill -9, as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int | None:
        """SIGTERM; the exit code."""
        return self._end(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def code(self, seconds: float = 120) -> int:
        """The exit code, waited for."""
        assert self._process is not None
        return self._process.wait(timeout=seconds)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def said(self) -> str:
        """Everything it printed."""
        return self.log.read_text(errors="replace")

    def _end(self, number: signal.Signals) -> int | None:
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.send_signal(number)
        code = self._process.wait(timeout=30)
        if self._output is not None:
            self._output.close()
        return code


SWEEP_SECONDS = "600"
"""Longer than a test: what nobody is woken for is not to be mended by the sweep before anybody sees it."""


class Operator(Process):
    """The operator with ports and a name of its own: one that is started again takes its Lease at once."""

    def __init__(
        self, kubeconfig: Path, log: Path, namespace: str, module: str = "klipstream_operator", **environment: str
    ) -> None:
        self.progress_host = environment.get("KLIPSTREAM_PROGRESS_HOST", "127.0.0.1")
        self.progress_port = int(environment.get("KLIPSTREAM_PROGRESS_PORT") or free_port())
        self.metrics_port = free_port()
        self.liveness_port = free_port()
        super().__init__(
            module, kubeconfig, log,
            **({
                "KLIPSTREAM_NAMESPACES": namespace,
                "KLIPSTREAM_LEASE_NAMESPACE": namespace,
                "KLIPSTREAM_LEASE_SECONDS": "15",  # a machine with much else to do does not stop it
                "KLIPSTREAM_IDENTITY": f"operator-{self.progress_port}",
                "KLIPSTREAM_SWEEP_SECONDS": SWEEP_SECONDS,
                "KLIPSTREAM_PROGRESS_HOST": self.progress_host,
                "KLIPSTREAM_PROGRESS_PORT": str(self.progress_port),
                "KLIPSTREAM_LIVENESS_HOST": "127.0.0.1",
                "KLIPSTREAM_LIVENESS_PORT": str(self.liveness_port),
                "KLIPSTREAM_METRICS_HOST": "127.0.0.1",
                "KLIPSTREAM_METRICS_PORT": str(self.metrics_port),
            } | environment),
        )  # fmt: skip

    @property
    def progress_url(self) -> str:
        """Where workers post."""
        return f"http://{self.progress_host}:{self.progress_port}/v1/progress"

    @property
    def ready(self) -> bool:
        """Whether its readiness endpoint answers 200."""
        return self._answers(f"{self.progress_host}:{self.progress_port}", "/readyz")

    @property
    def live(self) -> bool:
        """Whether its liveness endpoint answers 200, within the time that the chart's probe allows."""
        return self._answers(f"127.0.0.1:{self.liveness_port}", "/healthz", seconds=5)

    @staticmethod
    def _answers(host: str, path: str, seconds: float = 10) -> bool:
        try:
            with urllib.request.urlopen(f"http://{host}{path}", timeout=seconds) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
