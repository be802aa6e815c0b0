"""Progress without Python: the shell helper, and lines that a wrapped program prints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from klipqueue import Queue, hang, reset, status
from klipstream_worker.progress_lines import ProgressLine, read_progress_line

ROOT = Path(__file__).resolve().parents[3]
HELPER = ROOT / "worker" / "bin" / "klipstream-progress"
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture(params=SHELLS)
def post(request: pytest.FixtureRequest, queue: Queue, tmp_path: Path) -> Run:
    (tmp_path / "token").write_text("secret\n")
    shell = [request.param, "sh"] if request.param == "busybox" else [request.param]

    def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        known = {"PATH": os.environ["PATH"], "ANALYSIS_PROGRESS_URL": queue.url,
                 "ANALYSIS_TOKEN_FILE": str(tmp_path / "token"), **changes}  # fmt: skip
        command = [*shell, str(HELPER), *arguments]
        return subprocess.run(command, env=known, capture_output=True, text=True, timeout=60, check=False)

    return run


@needs_curl
def test_the_helper_posts_what_it_is_given(post: Run, queue: Queue) -> None:
    done = post("--checkpoint", "chunk-17", "45.5", "Finding Highlights", 'say "é" \\ \n☃')
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert queue.posts[0].body == {
        "percentage": 45.5, "stage": "Finding Highlights", "message": 'say "é" \\  ☃', "checkpoint": "chunk-17"
    }  # fmt: skip
    assert queue.posts[0].headers["Authorization"] == "Bearer secret"


@needs_curl
@pytest.mark.parametrize("character", ["x", "é", "☃", "𝄞", '"'])
def test_a_long_message_is_cut_between_characters(post: Run, queue: Queue, character: str) -> None:
    assert post("45", "Analyzing", "a" + character * 1000).returncode == 0
    message = queue.posts[0].body["message"]
    assert message == "a" + character * (len(message) - 1)
    assert 248 <= len(message.encode()) <= 256


@needs_curl
def test_the_helper_says_when_to_stop(post: Run, queue: Queue) -> None:
    queue.reply["desired"] = "Cancel"
    assert post("45", "Analyzing").returncode == 130
    queue.always = status(409)
    assert post("45", "Analyzing").returncode == 75


@needs_curl
def test_trouble_of_the_network_ends_no_script(post: Run, queue: Queue) -> None:
    queue.reactions = [status(503), status(302, {"Location": "/elsewhere"}), reset]
    for said in ("not taken", "not taken", "could not be reached"):
        done = post("45", "Analyzing")
        assert done.returncode == 0
        assert said in done.stderr
    assert queue.fetched == []
    assert post("45", "Analyzing", ANALYSIS_PROGRESS_URL="http://127.0.0.1:1/").returncode == 0
    queue.always = hang(120)
    began = time.monotonic()
    assert post("45", "Analyzing").returncode == 0
    assert time.monotonic() - began < 100


@needs_curl
def test_the_helper_believes_the_given_authority(post: Run, tls_queue: Queue, certificates: Path) -> None:
    for name, taken in (("other", False), ("server", True)):
        changes = {"ANALYSIS_PROGRESS_URL": tls_queue.url, "ANALYSIS_CA_FILE": str(certificates / f"{name}.pem")}
        assert post("45", "Analyzing", **changes).returncode == 0
        assert bool(tls_queue.posts) is taken


def test_without_a_queue_the_helper_prints(post: Run) -> None:
    done = post("45", "Analyzing", "frame 1", ANALYSIS_PROGRESS_URL="")
    assert (done.returncode, done.stderr) == (0, "[45 %] Analyzing: frame 1\n")


@pytest.mark.parametrize("arguments", [[], ["45"], ["x", "Analyzing"], ["4.5.6", "A"], ["", "A"], ["1", "2", "3", "4"],
                                       ["--checkpoint"], ["-1", "A"], [".5", "A"]])  # fmt: skip
def test_arguments_that_make_no_sense_are_refused(post: Run, queue: Queue, arguments: list[str]) -> None:
    done = post(*arguments)
    assert done.returncode == 64
    assert "usage" in done.stderr
    assert queue.posts == []


LINES = json.loads((ROOT / "tests" / "unit" / "worker" / "progress-lines.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("line", "expected"), LINES, ids=[repr(line)[:40] for line, _ in LINES])
def test_a_line_of_progress_is_read_or_is_none(line: str, expected: list[Any] | None) -> None:
    """The operator reads the same lines by a reader of its own (tests/unit/test_log_progress.py)."""
    encoded = line.encode("utf-8", "surrogateescape")
    assert read_progress_line(encoded) == (None if expected is None else ProgressLine(*expected))


WRAPPED = """
print("frames: 100")
print("::progress 45 Analyzing: frame 45", flush=True)
import time; time.sleep(0.5)
print("::progress 60 Finding Highlights\\r", flush=True)
time.sleep(0.5)
print("x" * 3_000_000 + "::progress 99 Analyzing")
print("::progress 70 Analyzing", end="", flush=True)
"""


def test_a_wrapped_program_tells_its_progress_by_lines(
    start_program: Start, queue: Queue, said: Callable[[], Any]
) -> None:
    command = [sys.executable, "-m", "klipstream_worker", "run", "--", sys.executable, "-c", WRAPPED]
    process = start_program(*command)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert output == "frames: 100\n" + "::progress 45 Analyzing: frame 45\n" + "::progress 60 Finding Highlights\n" + (
        "x" * 3_000_000 + "::progress 99 Analyzing\n::progress 70 Analyzing"
    )
    told = [(each.body["percentage"], each.body["stage"], each.body["message"]) for each in queue.posts]
    assert told[0] == (45, "Analyzing", "frame 45")
    assert (60, "Finding Highlights", "") in told
    assert told[-1][0] == 100
    assert all(percentage != 99 for percentage, _, _ in told)
    assert said() == {"message": ""}


@pytest.mark.parametrize(
    ("program", "code", "message"),
    [
        (["sh", "-c", "exit 7"], 7, "sh ended with exit code 7"),
        (["sh", "-c", "kill -SEGV $$"], 139, "sh was ended by SIGSEGV"),
        (["./missing"], 127, "./missing: No such file or directory"),
    ],
)
def test_a_wrapped_program_that_fails_gives_its_exit_code(
    start_program: Start, said: Callable[[], Any], program: list[str], code: int, message: str
) -> None:
    process = start_program(sys.executable, "-m", "klipstream_worker", "run", "--", *program)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert (said()["error_code"], said()["message"]) == ("CommandFailed", message)


def test_a_wrapped_program_that_told_how_it_ended_is_believed(start_program: Start, said: Callable[[], Any]) -> None:
    script = """echo '{"message": "no audio", "retryable": false}' > "$ANALYSIS_TERMINATION_LOG"; exit 65"""
    process = start_program(sys.executable, "-m", "klipstream_worker", "run", "--", "sh", "-c", script)
    process.communicate(timeout=60)
    assert process.returncode == 65
    assert said() == {"message": "no audio", "retryable": False}


@pytest.mark.parametrize("by", ["the queue", "a signal"])
def test_a_wrapped_program_gets_sigterm_when_it_is_to_end(start_program: Start, queue: Queue, by: str) -> None:
    script = "trap 'echo ended; exit 0' TERM; echo '::progress 5 Analyzing'; while :; do sleep 0.1; done"
    queue.reply["desired"] = "Cancel" if by == "the queue" else "Continue"
    process = start_program(sys.executable, "-m", "klipstream_worker", "run", "--", "sh", "-c", script)
    queue.wait_for(lambda: queue.posts)
    if by == "a signal":
        process.terminate()
    output, _ = process.communicate(timeout=30)
    assert output.splitlines()[-1] == "ended"
    assert process.returncode == 130, "its 0 is no success: it was stopped"


def test_the_program_is_named(start_program: Start) -> None:
    process = start_program(sys.executable, "-m", "klipstream_worker", "run", "--")
    assert "name the program" in process.communicate(timeout=60)[1]
    assert process.returncode == 2
