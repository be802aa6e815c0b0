"""Fetching a video or a chat log: a guarded process does it, this one watches it, resumes it and can stop it."""

import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from klipstream_pipeline.fetch_request import Wanted
from klipstream_pipeline.outcome import DownloadFailed, DownloadStalled, failure

log = logging.getLogger(__name__)
Progress = Callable[[float, str], None]
LARGEST_VIDEO_BYTES = 64 << 30
LARGEST_CHAT_BYTES = 256 << 20
START_SECONDS = 120.0
"""The fetching process loads a large library; on a busy machine without compiled Python that takes a while."""
LOOK_SECONDS = 0.5
"""A cancelled job is noticed that soon, whatever the source does."""
# What the process that talks to strangers gets of our environment: nothing of the worker's own.
PASSED_ON = (
    "HOME", "LANG", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR",
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
)  # fmt: skip


@dataclass(frozen=True)
class Patience:
    """When a source counts as stalled, and how often it is asked again."""

    stalled_seconds: float = 60.0
    least_bytes: int = 1 << 14
    """Fewer bytes than that in stalled_seconds are none."""
    tries_without_progress: int = 3
    wait_seconds: float = 1.0
    """Before the second try; doubled with each that brings nothing."""


@dataclass(frozen=True)
class Limits:
    """What a queue allows its sources."""

    allowed: str = ""
    """Networks in CIDR notation, separated by commas, that sources may be in although they are not public."""
    largest_bytes: int = LARGEST_VIDEO_BYTES
    patience: Patience = Patience()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Limits":
        """ANALYSIS_ALLOWED_SOURCES comes from the queue's spec, KLIPSTREAM_MAX_DOWNLOAD_BYTES from its template."""
        largest = environment.get("KLIPSTREAM_MAX_DOWNLOAD_BYTES", "")
        return cls(
            allowed=environment.get("ANALYSIS_ALLOWED_SOURCES", ""),
            largest_bytes=int(largest) if largest.isdecimal() and int(largest) > 0 else LARGEST_VIDEO_BYTES,
        )


def download_video(url: str, target: Path, limits: Limits, progress: Progress, *, named: str | None = None) -> int:
    """Fetch a video's sound, or the whole of it where the source does not offer that alone; its size in bytes.

    `progress(share, message)` is called at least twice a second, from this thread, and may raise to stop it all.
    Raises what outcome.failure makes of a code of fetch.explain, DownloadFailed and DownloadStalled after several
    tries. What has arrived is kept between tries, and gone on with where the source allows it. Messages call the URL
    `named`, where that is given.
    """
    wanted = Wanted(url, str(target), "video", limits.largest_bytes, limits.allowed, named)
    return _fetch(wanted, limits.patience, progress)


def download_chat(url: str, target: Path, limits: Limits, progress: Progress) -> int:
    """Fetch a chat log as it is, under the same guard; its size in bytes. Raises as download_video does."""
    largest = min(limits.largest_bytes, LARGEST_CHAT_BYTES)
    return _fetch(Wanted(url, str(target), "file", largest, limits.allowed), limits.patience, progress)


def _fetch(wanted: Wanted, patience: Patience, progress: Progress) -> int:
    reached, failures = 0, 0
    while True:
        attempt = _Attempt(wanted, patience, progress)
        try:
            size = attempt.run()
        except (DownloadFailed, DownloadStalled) as error:
            came = attempt.most_bytes - reached
            failures = 1 if came >= patience.least_bytes else failures + 1
            reached = max(reached, attempt.most_bytes)
            if failures >= patience.tries_without_progress:
                raise
            log.warning("%s; trying again", error)
            _wait(patience.wait_seconds * 2 ** (failures - 1), attempt.share, progress)
            continue
        return size


def _wait(seconds: float, share: float, progress: Progress) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        progress(share, "trying again")
        time.sleep(min(left, LOOK_SECONDS))


class _Attempt:
    """One run of the fetching process."""

    def __init__(self, wanted: Wanted, patience: Patience, progress: Progress) -> None:
        self._wanted = wanted
        self._name = wanted.shown(wanted.url)
        self._patience = patience
        self._progress = progress
        self.most_bytes = 0
        self.share = 0.0
        self._message = "starting"

    def run(self) -> int:
        """Size of the file. However this ends, the process has ended too."""
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        with subprocess.Popen(
            [sys.executable, "-m", "klipstream_pipeline.fetch"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True,
        ) as process:  # fmt: skip
            try:
                assert process.stdin is not None
                process.stdin.write(self._wanted.to_json())
                process.stdin.close()
                return self._watch(process)
            finally:
                process.kill()

    def _watch(self, process: "subprocess.Popen[str]") -> int:
        said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=_read, args=(process, said), name="fetch", daemon=True).start()
        marked_bytes, waited_seconds = self._bytes_on_disk(), -START_SECONDS
        looked_at = time.monotonic()
        while True:
            try:
                line = said.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                line = {}
            if line:
                waited_seconds = max(waited_seconds, 0.0)
            if line is None:
                raise DownloadFailed(f"{self._name}: the fetching process died (exit code {process.wait()})")
            if "done" in line:
                return int(line["done"])
            if "failed" in line:
                raise failure(line["failed"], line["message"])
            self.share = float(line.get("share", self.share))
            self._message = line.get("message", self._message)
            self._progress(self.share, self._message)
            self.most_bytes = max(self.most_bytes, int(line.get("bytes", 0)), have := self._bytes_on_disk())
            since, looked_at = time.monotonic() - looked_at, time.monotonic()
            if abs(have - marked_bytes) >= self._patience.least_bytes:
                marked_bytes, waited_seconds = have, 0.0
            elif waits(process.pid):
                waited_seconds += since
            if waited_seconds > self._patience.stalled_seconds:
                raise DownloadStalled(
                    f"{self._name} stalled: fewer than {self._patience.least_bytes} bytes came in"
                    f" {self._patience.stalled_seconds:g} s, {have} bytes are there"
                )

    def _bytes_on_disk(self) -> int:
        target, total = Path(self._wanted.target), 0
        for each in target.parent.glob(f"{target.name}*"):
            # Parts are renamed and removed meanwhile.
            with suppress(FileNotFoundError):
                total += each.stat().st_size
        return total


def waits(pid: int) -> bool:
    """Whether a process waits for something, such as the net, rather than computes or waits for a processor.

    Looking for a video in a page takes seconds of a whole processor, and a worker may have a tenth of one.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # not Linux
        return True
    return stat.rpartition(")")[2].split()[0] != "R"


def _read(process: "subprocess.Popen[str]", said: "queue.Queue[dict[str, Any] | None]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            said.put(json.loads(line))
    said.put(None)
