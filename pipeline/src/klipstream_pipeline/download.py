"""Fetching a video over HTTP: streamed to disk, resumed after a broken connection."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx

from klipstream_pipeline.outcome import BadVideo, DownloadFailed, SourceGone

TRIES_WITHOUT_PROGRESS = 4
WAIT_SECONDS = 0.5
LARGEST_BYTES = 64 << 30


def download(url: str, target: Path, progress: Callable[[float, str], None]) -> int:
    """Download to `target`; its size in bytes. `progress(share, message)` is called as bytes arrive.

    A connection that breaks is resumed with a Range request where the server allows it. Raises SourceGone for
    401, 403, 404 and 410, DownloadFailed when the source keeps failing, BadVideo for an empty answer.
    """
    with httpx.Client(follow_redirects=True, timeout=httpx.Timeout(30.0, connect=10.0)) as client:
        failures = 0
        while True:
            have = target.stat().st_size if target.exists() else 0
            try:
                if _fetch(client, url, target, have, progress):
                    break
                problem = "the connection ended early"
            except httpx.HTTPError as error:
                problem = str(error) or type(error).__name__
            now = target.stat().st_size if target.exists() else 0
            failures = 1 if now > have else failures + 1
            if failures >= TRIES_WITHOUT_PROGRESS:
                raise DownloadFailed(f"downloading {url} failed after {now} bytes: {problem}")
            time.sleep(WAIT_SECONDS * 2 ** (failures - 1))
    size = target.stat().st_size
    if size == 0:
        raise BadVideo(f"{url} is empty")
    return size


def _fetch(client: httpx.Client, url: str, target: Path, have: int, progress: Callable[[float, str], None]) -> bool:
    """One request from where the file ends; True when the file is whole."""
    headers = {"Range": f"bytes={have}-"} if have else {}
    with client.stream("GET", url, headers=headers) as answer:
        if answer.status_code in (401, 403, 404, 410):
            raise SourceGone(f"{url} answered {answer.status_code}: the video is gone or not for us")
        if answer.status_code == 416 and have:
            return True
        if answer.status_code not in (200, 206):
            raise httpx.HTTPStatusError(f"HTTP status {answer.status_code}", request=answer.request, response=answer)
        resumed = answer.status_code == 206
        written = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = written + int(length) if length is not None and length.isdecimal() else None
        with target.open("ab" if resumed else "wb") as file:
            for chunk in answer.iter_raw():
                file.write(chunk)
                written += len(chunk)
                if written > LARGEST_BYTES:
                    raise BadVideo(f"{url} is larger than {LARGEST_BYTES} bytes")
                progress(written / total if total else 0.5, f"{written / 1e6:.1f} MB")
    return total is None or written >= total
