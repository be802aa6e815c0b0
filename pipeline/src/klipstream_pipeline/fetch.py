"""The process that talks to sources: `python -m klipstream_pipeline.fetch`, one request as JSON on standard input.

It is a process of its own, so that the address guard binds all of it and nothing else, and so that a download that
hangs, or one that is cancelled, can be ended at any moment. It says how it goes in JSON lines on standard output:
{"bytes": n, "share": s, "message": m} while it runs, and in the end {"done": size} or {"failed": code, "message": m}.
"""

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from yt_dlp import YoutubeDL
from yt_dlp.networking._urllib import UrllibRH
from yt_dlp.networking.common import Request
from yt_dlp.networking.exceptions import HTTPError
from yt_dlp.utils import DownloadCancelled, DownloadError, ExtractorError, GeoRestrictedError, UnsupportedError

from klipstream_pipeline import guard
from klipstream_pipeline.fetch_request import Wanted

log = logging.getLogger("fetch")
SOCKET_SECONDS = 20.0
RETRIES = 5
BLOCK_BYTES = 1 << 16
NOT_ENDED = ("is_live", "is_upcoming", "post_live")
# yt-dlp calls these expected errors of the site, but they pass.
PASSING = ("not a bot", "try again", "rate-limit", "rate limit", "too many requests", "timed out", "temporarily")


class Refused(Exception):
    """The source cannot be analysed; the code is one of outcome.FAILURES."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TooMuch(DownloadCancelled):  # type: ignore[misc]
    """More bytes than are allowed: yt-dlp passes this one on."""


class _GuardedRH(UrllibRH):  # type: ignore[misc]
    """http and https through Python's own sockets, which the guard sees; no ftp, no file."""

    _SUPPORTED_URL_SCHEMES = ("http", "https", "data")

    def _create_instance(self, *args: Any, **more: Any) -> Any:
        opener = super()._create_instance(*args, **more)
        # Redirects do not ask for supported schemes.
        for scheme in ("ftp", "file"):
            opener.handle_open.pop(scheme, None)
        return opener


class _Client(YoutubeDL):  # type: ignore[misc]
    """yt-dlp with that one way to the network."""

    def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:  # noqa: ARG002
        return super().build_request_director([_GuardedRH], None)

    def urlopen(self, req: Any) -> Any:
        answer = super().urlopen(req)
        scheme = urlsplit(answer.url).scheme
        if scheme not in ("http", "https", "data"):
            raise Refused("SourceRefused", f"{answer.url}: {scheme} is not fetched, only http and https")
        return answer


def _client(wanted: Wanted) -> _Client:
    def progress(said: dict[str, Any]) -> None:
        have = int(said.get("downloaded_bytes") or 0)
        if have > wanted.largest_bytes:
            raise TooMuch
        fragments, total = said.get("fragment_count"), said.get("total_bytes")
        if fragments:
            number = int(said.get("fragment_index") or 0)
            _tell(bytes=have, share=number / fragments, message=f"{number} of {fragments} fragments")
        else:
            size = f" of {total / 1e6:.1f}" if total else ""
            _tell(bytes=have, share=have / total if total else 0.5, message=f"{have / 1e6:.1f}{size} MB")

    options: dict[str, Any] = {
        "quiet": True,
        "noprogress": True,
        "logger": log,
        "cachedir": False,
        "noplaylist": True,
        # Only the sound is analysed.
        "format": "ba/b",
        "outtmpl": {"default": wanted.target.replace("%", "%%")},
        "overwrites": True,
        "updatetime": False,
        "socket_timeout": SOCKET_SECONDS,
        "retries": RETRIES,
        "fragment_retries": RETRIES,
        "extractor_retries": 1,
        "skip_unavailable_fragments": False,
        # Other programs would not be guarded.
        "external_downloader": {"default": "native"},
        "ffmpeg_location": "/nonexistent",
        "fixup": "never",
        "progress_hooks": [progress],
        "allowed_extractors": ["default"],
    }
    if not wanted.allowed:
        # A proxy would connect in our place, to wherever it likes.
        options["proxy"] = ""
    return _Client(options)


def fetch(wanted: Wanted) -> int:
    """Fetch it; its size in bytes. Raises Refused, AddressRefused, or what yt-dlp raises."""
    scheme = urlsplit(wanted.url).scheme.lower()
    if scheme not in ("http", "https"):
        raise Refused("SourceRefused", f"{wanted.url}: {scheme or 'no'} scheme; only http and https are fetched")
    with _client(wanted) as client:
        _tell(bytes=0, share=0.0, message="asking the source")
        return _fetch_file(client, wanted) if wanted.kind == "file" else _fetch_video(client, wanted)


def _fetch_file(client: _Client, wanted: Wanted) -> int:
    size = 0
    with client.urlopen(Request(wanted.url)) as answer, open(wanted.target, "wb") as file:
        while block := answer.read(BLOCK_BYTES):
            size += len(block)
            if size > wanted.largest_bytes:
                raise TooMuch
            file.write(block)
            _tell(bytes=size, share=0.5, message=f"{size / 1e6:.1f} MB")
    return size


def _fetch_video(client: _Client, wanted: Wanted) -> int:
    info = client.extract_info(wanted.url, download=False)
    if info.get("_type") == "playlist":
        entries = list(info.get("entries") or ())
        if len(entries) != 1:
            raise Refused("NotAVideo", f"{wanted.url} leads to {len(entries)} videos: submit one job for each")
        info = entries[0]
    if info.get("is_live") or info.get("live_status") in NOT_ENDED:
        raise Refused("LiveStream", f"{wanted.url} is a live stream that has not ended: submit it once it has")
    size = info.get("filesize") or info.get("filesize_approx") or 0
    if size > wanted.largest_bytes:
        raise TooMuch
    client.process_ie_result(info, download=True)
    target = Path(wanted.target)
    if not target.exists() or target.stat().st_size == 0:
        raise Refused("BadVideo", f"{wanted.url} is empty (0 bytes)")
    if _is_html(target):
        raise Refused("NotAVideo", f"{wanted.url} is a web page and not a video")
    return target.stat().st_size


def _is_html(file: Path) -> bool:
    with file.open("rb") as opened:
        head = opened.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return head.startswith((b"<!doctype html", b"<html", b"<head"))


def explain(error: BaseException, url: str) -> tuple[str, str]:
    """(code of the failure, message) for whatever ended a fetch."""
    chain = list(_causes(error))
    for each in chain:
        if isinstance(each, guard.AddressRefused):
            return "SourceRefused", f"{url} leads to a place that sources may not be at: {each}"
        if isinstance(each, Refused):
            return each.code, str(each)
        if isinstance(each, TooMuch):
            return "TooLarge", f"{url} is larger than the worker takes"
    for each in chain:
        if isinstance(each, HTTPError):
            target = urlsplit(each.response.headers.get("Location") or "").scheme.lower()
            if 300 <= each.status < 400 and target not in ("", "http", "https"):
                return "SourceRefused", f"{url} redirects to {target}:, and only http and https are fetched"
            return _by_status(each.status), f"{url} answered HTTP {each.status} {each.reason}".rstrip()
    for each in chain:
        if isinstance(each, UnsupportedError):
            return "NotAVideo", f"{url} is neither a video nor a page that a video is known to be found on"
        if isinstance(each, GeoRestrictedError):
            return "SourceForbidden", f"{url} cannot be watched from where the worker runs"
    said = _words(error)
    if status := re.search(r"HTTP Error (\d{3})", said):
        return _by_status(int(status[1])), f"{url}: {said}"
    if "did not get any data blocks" in said.lower() or "file is empty" in said.lower():
        return "BadVideo", f"{url} is empty (0 bytes)"
    if "drm protected" in said.lower():
        return "SourceForbidden", f"{url} is DRM protected"
    if "unsupported url scheme" in said.lower() or "unknown url type" in said.lower():
        return "SourceRefused", f"{url} leads to a scheme that is not fetched: {said}"
    expected = any(isinstance(each, ExtractorError) and each.expected and each.cause is None for each in chain)
    if expected and not any(word in said.lower() for word in PASSING):
        return "SourceUnavailable", f"{url}: {said}"
    return "DownloadFailed", f"{url}: {said}"


def _by_status(status: int) -> str:
    if status in (404, 410):
        return "SourceGone"
    if status in (401, 402, 403, 451):
        return "SourceForbidden"
    return "DownloadFailed"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and all that it says it comes from, yt-dlp's ways included."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        each = waiting.pop(0)
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [getattr(each, "cause", None), each.__cause__, each.__context__]
        if isinstance(each, DownloadError) and each.exc_info:
            waiting.append(each.exc_info[1])


def _words(error: BaseException) -> str:
    said = str(error) or type(error).__name__
    return said.removeprefix("ERROR: ").partition("; please report this issue")[0].strip()[:600]


def _tell(**said: Any) -> None:
    print(json.dumps(said), flush=True)


def _shown(wanted: Wanted, record: logging.LogRecord) -> bool:
    """A filter: what is logged names the URL as others may read it."""
    record.msg, record.args = wanted.shown(record.getMessage()), None
    return True


def main() -> int:
    """One request, then the end."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    wanted = Wanted.from_json(sys.stdin.read())
    for handler in logging.getLogger().handlers:
        handler.addFilter(partial(_shown, wanted))
    guard.install(guard.rules_of(wanted.allowed))
    try:
        size = fetch(wanted)
    except (Exception, guard.AddressRefused) as error:
        code, message = explain(error, wanted.url)
        if code == "DownloadFailed":
            log.warning("%s", "".join(traceback.format_exception(error)[-3:]).strip())
        _tell(failed=code, message=wanted.shown(message))
        return 1
    _tell(done=size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
