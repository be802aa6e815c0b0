"""Porting a script is a matter of a few lines, and both versions work."""

from __future__ import annotations

import difflib
import json
import math
import os
import subprocess
import sys
import threading
import wave
from array import array
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from klipqueue import Queue

ROOT = Path(__file__).resolve().parents[3]
BEFORE, AFTER = (ROOT / "examples" / "worker" / name for name in ("before.py", "after.py"))
LOUD = [7, 8, 21]


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[str]:
    """URL of half a minute with three loud seconds."""
    with wave.open(str(tmp_path / "talk.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        for second in range(30):
            height = 20_000 if second in LOUD else 500
            file.writeframes(array("h", (int(height * math.sin(n / 3)) for n in range(8000))).tobytes())

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/talk.wav"
    server.shutdown()
    server.server_close()


def test_a_script_is_ported_in_at_most_15_changed_lines() -> None:
    before, after = (path.read_text(encoding="utf-8").splitlines() for path in (BEFORE, AFTER))
    diff = [line for line in difflib.unified_diff(before[1:], after[1:], lineterm="", n=0)
            if line[0] in "+-" and line[:3] not in ("+++", "---") and line[1:].strip()]  # fmt: skip
    assert 5 <= len(diff) <= 15, "\n".join(diff)


def test_both_versions_find_the_same(recording: str, tmp_path: Path) -> None:
    import klipstream_worker

    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANALYSIS_")}
    environment["PYTHONPATH"] = str(Path(klipstream_worker.__file__).parents[1])

    def run(script: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(script), recording]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)

    assert json.loads(run(BEFORE).stdout) == {"highlights": LOUD}
    assert "[100.0 %] Completed: 3 found" in run(AFTER).stderr
    result = tmp_path / "analysis-results" / "jobs" / "local" / "attempts" / "1" / "result.json"
    assert json.loads(result.read_text()) == {"highlights": LOUD}


def test_the_ported_version_runs_in_the_queue(
    recording: str, queue: Queue, start_program: Callable[..., Any], said: Callable[[], dict[str, Any]]
) -> None:
    process = start_program(sys.executable, str(AFTER), ANALYSIS_VIDEO_URL=recording)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0
    assert said()["message"] == "3 found"
    assert said()["result_url"].endswith("/results/jobs/job/attempts/1/result.json")
    assert (queue.posts[-1].body["stage"], queue.posts[-1].body["percentage"]) == ("Completed", 100)
