"""Tasks of a queue that is a real server. Standard library and pytest only, since these tests run on the oldest Python
that the SDK supports as well (make oldest)."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from klipqueue import Queue
from klipstream_worker import AnalysisTask, Assignment

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ROOT / "worker" / "src"


@pytest.fixture
def queue() -> Iterator[Queue]:
    opened = Queue()
    yield opened
    opened.close()


@pytest.fixture
def make_task(tmp_path: Path, queue: Queue) -> Callable[..., AnalysisTask]:
    """A task of that queue; signals are left alone, and what the assignment says may be changed."""

    def make(stages: Any = None, **changes: Any) -> AnalysisTask:
        known: dict[str, Any] = {
            "video_url": "https://example.com/talk.mp4",
            "job_id": "job",
            "progress_url": queue.url,
            "termination_log": tmp_path / "termination",
            "results_url": (tmp_path / "results").as_uri(),
        }
        return AnalysisTask(Assignment(**{**known, **changes}), stages=stages, handle_signals=False)

    return make


@pytest.fixture
def said(tmp_path: Path) -> Callable[[], dict[str, Any]]:
    """The termination message."""
    return lambda: dict(json.loads((tmp_path / "termination").read_text(encoding="utf-8")))


@pytest.fixture
def start_program(tmp_path: Path, queue: Queue) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a program as the queue would; it is killed at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str, **changes: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            # Under `make oldest` the wheel is installed.
            **({} if "KLIPSTREAM_WORKER_INSTALLED" in os.environ else {"PYTHONPATH": str(SOURCES)}),
            "PYTHONUNBUFFERED": "1",
            "ANALYSIS_JOB_ID": "job",
            "ANALYSIS_VIDEO_URL": "https://example.com/talk.mp4",
            "ANALYSIS_PROGRESS_URL": queue.url,
            "ANALYSIS_RESULTS": (tmp_path / "results").as_uri(),
            "ANALYSIS_TERMINATION_LOG": str(tmp_path / "termination"),
            **changes,
        }
        process = subprocess.Popen(
            command, env=environment, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def start_python(
    start_program: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> Callable[..., subprocess.Popen[str]]:
    """Start a Python program whose lines are inside `with AnalysisTask.from_environment() as task:`."""

    def start(block: str, before: str = "", after: str = "", **changes: str) -> subprocess.Popen[str]:
        lines = ["import os, signal, sys, time", "from klipstream_worker import *", before]
        lines += ["with AnalysisTask.from_environment() as task:"]
        lines += [f"    {line}" for line in block.strip("\n").splitlines()]
        program = tmp_path / "program.py"
        program.write_text("\n".join([*lines, after]), encoding="utf-8")
        return start_program(sys.executable, str(program), **changes)

    return start


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with server.pem and server.key for 127.0.0.1, signed by itself, and those of another authority."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("server", "other"):
        subprocess.run(
            [
                openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
                "-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem"),
            ],
            check=True, capture_output=True,
        )  # fmt: skip
    return folder


@pytest.fixture
def tls_queue(certificates: Path) -> Iterator[Queue]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    opened = Queue(context)
    yield opened
    opened.close()
