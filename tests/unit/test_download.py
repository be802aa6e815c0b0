"""Downloads from real servers on loopback addresses: 127.0.0.1 is allowed in most cases, 127.0.0.2 never."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from klipsource.server import HLS, Answer, Source, breaking, content, playlist, redirect, serving, trickling
from klipstream_pipeline.download import Limits, Patience, download_chat, download_video, waits
from klipstream_pipeline.outcome import AnalysisError, DownloadStalled

BODY = bytes(range(256)) * 4096
QUICK = Patience(stalled_seconds=30.0, tries_without_progress=2, wait_seconds=0.1)
HERE = Limits(allowed="127.0.0.1/32", patience=QUICK)


@pytest.fixture
def source() -> Iterator[Source]:
    with serving() as started:
        yield started


@pytest.fixture
def forbidden() -> Iterator[Source]:
    with serving("127.0.0.2") as started:
        started.answers["/v.mp4"] = content(BODY)
        yield started


def quiet(share: float, message: str) -> None:
    return


def test_a_file_arrives_whole_and_its_progress_rises(tmp_path: Path, source: Source) -> None:
    source.answers["/v.mp4"] = content(BODY)
    shares: list[float] = []
    assert download_video(source.url("/v.mp4"), tmp_path / "v", HERE, lambda share, _: shares.append(share)) == len(
        BODY
    )
    assert (tmp_path / "v").read_bytes() == BODY
    assert shares == sorted(shares)
    assert shares[-1] > 0.9


def test_a_broken_connection_is_resumed_where_it_broke(tmp_path: Path, source: Source) -> None:
    source.answers["/v.mp4"] = breaking(BODY, len(BODY) // 3 + 1)
    assert download_video(source.url("/v.mp4"), tmp_path / "v", HERE, quiet) == len(BODY)
    assert (tmp_path / "v").read_bytes() == BODY
    starts = [int(asked[6:].partition("-")[0]) for _, asked in source.asked if asked]
    assert starts == [len(BODY) // 3 + 1, 2 * (len(BODY) // 3 + 1)]


def test_segments_of_a_playlist_are_put_together_and_counted(tmp_path: Path, source: Source) -> None:
    parts = [bytes([number]) * 1000 for number in range(5)]
    for number, part in enumerate(parts):
        source.answers[f"/{number}.ts"] = content(part, "video/mp2t")
    source.answers["/v.m3u8"] = content(playlist([f"{number}.ts" for number in range(5)]), HLS)
    said: list[str] = []
    size = download_video(source.url("/v.m3u8"), tmp_path / "v", HERE, lambda _, message: said.append(message))
    assert size == 5000
    assert (tmp_path / "v").read_bytes() == b"".join(parts)
    assert "5 of 5 fragments" in said


def test_a_master_playlist_leads_to_the_segments(tmp_path: Path, source: Source) -> None:
    source.answers["/a/0.ts"] = content(b"x" * 500, "video/mp2t")
    source.answers["/a/list.m3u8"] = content(playlist(["0.ts"]), HLS)
    master = b'#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=100000,CODECS="mp4a.40.2,avc1.42001e"\na/list.m3u8\n'
    source.answers["/v.m3u8"] = content(master, HLS)
    assert download_video(source.url("/v.m3u8"), tmp_path / "v", HERE, quiet) == 500


def cases() -> list[tuple[str, Callable[[Source], Answer], str, bool]]:
    return [
        ("404", lambda _: content(b"", status=404), "SourceGone", False),
        ("410", lambda _: content(b"", status=410), "SourceGone", False),
        ("403", lambda _: content(b"", status=403), "SourceForbidden", False),
        ("401", lambda _: content(b"", status=401), "SourceForbidden", False),
        ("503", lambda _: content(b"", status=503), "DownloadFailed", True),
        ("empty", lambda _: content(b""), "BadVideo", False),
        ("empty-untyped", lambda _: content(b"", "application/octet-stream"), "BadVideo", False),
        ("page", lambda _: content(b"<!doctype html><html><body>hello</body></html>", "text/html"), "NotAVideo", False),
        ("page-as-video", lambda _: content(b"<html><body>hello</body></html>"), "NotAVideo", False),
        ("too-large", lambda _: content(b"x" * 3_000_000), "TooLarge", False),
        ("live", lambda _: content(playlist(["0.ts"], ended=False), HLS), "LiveStream", False),
        ("segment-gone", lambda _: content(playlist(["none.ts"]), HLS), "SourceGone", False),
        ("to-file", lambda _: redirect("file:///etc/passwd"), "SourceRefused", False),
        ("to-ftp", lambda _: redirect("ftp://127.0.0.1/v.mp4"), "SourceRefused", False),
        ("loop", lambda source: redirect(source.url("/v")), "DownloadFailed", True),
    ]


SAID = ("403", "503", "page", "to-file")
"""Cases whose messages are made in different places."""


@pytest.mark.parametrize("answer", [pytest.param(case[1], id=case[0]) for case in cases() if case[0] in SAID])
def test_a_signature_stands_in_no_message_and_no_log(
    tmp_path: Path, source: Source, answer: Callable[[Source], Answer], capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    signed = "/v?X-Signature=c4n4ry%2Fc4n4ry&by=someone-else"
    source.answers["/v"] = answer(source)
    said: list[str] = []
    named, limits = source.url("/v"), Limits(HERE.allowed, 2_000_000, QUICK)
    with pytest.raises(AnalysisError) as caught:
        download_video(source.url(signed), tmp_path / "v", limits, lambda _, message: said.append(message), named=named)
    assert named in str(caught.value)
    out, err = capfd.readouterr()
    for text in (str(caught.value), *said, caplog.text, out, err):
        assert "c4n4ry" not in text
        assert "someone-else" not in text
    assert source.asked


@pytest.mark.parametrize(("answer", "code", "retryable"), [pytest.param(*case[1:], id=case[0]) for case in cases()])
def test_a_bad_source_is_told_apart(
    tmp_path: Path, source: Source, answer: Callable[[Source], Answer], code: str, retryable: bool
) -> None:
    source.answers["/v"] = answer(source)
    limits = Limits(HERE.allowed, 2_000_000, QUICK)
    with pytest.raises(AnalysisError) as caught:
        download_video(source.url("/v"), tmp_path / "v", limits, quiet)
    assert (caught.value.error_code, caught.value.retryable) == (code, retryable), str(caught.value)
    assert source.url("/v") in str(caught.value)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/v.mp4", "rtmp://127.0.0.1/v", "/etc/passwd"])
def test_only_http_is_fetched(tmp_path: Path, url: str) -> None:
    with pytest.raises(AnalysisError) as caught:
        download_video(url, tmp_path / "v", HERE, quiet)
    assert caught.value.error_code == "SourceRefused"


def test_a_private_address_is_refused_at_once_and_never_asked(tmp_path: Path, forbidden: Source) -> None:
    for limits in (HERE, Limits(patience=QUICK)):
        with pytest.raises(AnalysisError, match=r"127\.0\.0\.2 is loopback") as caught:
            download_video(forbidden.url("/v.mp4"), tmp_path / "v", limits, quiet)
        assert (caught.value.error_code, caught.value.retryable) == ("SourceRefused", False)
    assert forbidden.asked == []


@pytest.mark.parametrize("way", ["redirect", "segment", "variant", "key", "page"])
def test_no_way_leads_around_the_guard(tmp_path: Path, source: Source, forbidden: Source, way: str) -> None:
    target = forbidden.url("/v.mp4")
    source.answers["/0.ts"] = content(b"x" * 500, "video/mp2t")
    key = playlist(["0.ts"]).replace(b"#EXTINF", f'#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXTINF'.encode(), 1)
    ways = {
        "redirect": redirect(target),
        "segment": content(playlist(["0.ts", target]), HLS),
        "variant": content(f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\n{target}\n".encode(), HLS),
        "key": content(key, HLS),
        "page": content(f"<html><body><video src='{target}'></video></body></html>".encode(), "text/html"),
    }
    source.answers["/v"] = ways[way]
    with pytest.raises(AnalysisError, match=r"127\.0\.0\.2 is loopback") as caught:
        download_video(source.url("/v"), tmp_path / "v", HERE, quiet)
    assert caught.value.error_code == "SourceRefused"
    assert forbidden.asked == []


REBINDING = """
import itertools, socket, sys
from klipstream_pipeline import guard
real, turn = socket.getaddrinfo, itertools.count()
def rebound(host, *rest, **more):
    if host == "rebinding.example":
        host = "127.0.0.1" if next(turn) == 0 else "127.0.0.2"
    return real(host, *rest, **more)
socket.getaddrinfo = rebound
guard.install(guard.rules_of("127.0.0.1/32"))
import urllib.request
port = sys.argv[1]
print(len(urllib.request.urlopen(f"http://rebinding.example:{port}/v").read()))
try:
    urllib.request.urlopen(f"http://rebinding.example:{port}/v")
except guard.AddressRefused as error:
    print(error)
"""


def test_a_name_that_changes_its_address_is_refused_at_the_connection(source: Source) -> None:
    source.answers["/v"] = content(BODY)
    port = source.base.rpartition(":")[2]
    done = subprocess.run([sys.executable, "-c", REBINDING, port], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == [str(len(BODY)), "127.0.0.2 is loopback"]


OTHER_CLIENTS = """
import socket, sys
from klipstream_pipeline import guard
guard.install(guard.rules_of(""))
port = int(sys.argv[1])
def raw(): socket.create_connection(("127.0.0.1", port))
def by_name(): socket.socket().connect(("localhost", port))
def ex(): socket.socket().connect_ex(("127.0.0.1", port))
def six(): socket.socket(socket.AF_INET6).connect(("::ffff:127.0.0.1", port))
def unix(): socket.socket(socket.AF_UNIX).connect("/tmp/x")
def http11():
    import httpx
    httpx.get(f"http://127.0.0.1:{port}/v", trust_env=False)
def loop():
    import aiohttp, asyncio
    async def get():
        async with aiohttp.ClientSession() as session:
            await session.get(f"http://127.0.0.1:{port}/v")
    asyncio.run(get())
for way in (raw, by_name, ex, six, unix, http11, loop):
    try:
        way()
    except guard.AddressRefused:
        print(way.__name__)
"""


def test_every_client_goes_through_the_guard(source: Source) -> None:
    port = source.base.rpartition(":")[2]
    done = subprocess.run([sys.executable, "-c", OTHER_CLIENTS, port], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["raw", "by_name", "ex", "six", "unix", "http11", "loop"]
    assert source.asked == []


def test_a_source_that_trickles_has_stalled(tmp_path: Path, source: Source) -> None:
    source.answers["/v.mp4"] = trickling(BODY, 100_000, 0.2)
    began = time.monotonic()
    hasty = Patience(stalled_seconds=10.0, tries_without_progress=2, wait_seconds=0.1)
    with pytest.raises(DownloadStalled, match="stalled") as caught:
        download_video(source.url("/v.mp4"), tmp_path / "v", Limits(HERE.allowed, patience=hasty), quiet)
    assert caught.value.retryable
    assert "bytes are there" in str(caught.value)
    assert time.monotonic() - began < 120


class Enough(Exception):
    pass


def test_a_stalled_download_is_cancelled_at_once(tmp_path: Path, source: Source) -> None:
    source.answers["/v.mp4"] = trickling(BODY, 0, 5.0)
    began = time.monotonic()

    def cancel(share: float, message: str) -> None:
        if time.monotonic() - began > 2.0:
            raise Enough

    with pytest.raises(Enough):
        download_video(source.url("/v.mp4"), tmp_path / "v", Limits(HERE.allowed), cancel)
    assert time.monotonic() - began < 50.0, "it does not wait until the download counts as stalled"


def test_a_chat_log_is_fetched_under_the_same_guard(tmp_path: Path, source: Source, forbidden: Source) -> None:
    chat = json.dumps([{"offset": 1, "user": "a", "text": "hi"}]).encode()
    source.answers["/chat.json"] = content(chat, "application/json")
    source.answers["/away"] = redirect(forbidden.url("/v.mp4"))
    assert download_chat(source.url("/chat.json"), tmp_path / "c", HERE, quiet) == len(chat)
    assert (tmp_path / "c").read_bytes() == chat
    for path, code in (("/none", "SourceGone"), ("/away", "SourceRefused")):
        with pytest.raises(AnalysisError) as caught:
            download_chat(source.url(path), tmp_path / "c", HERE, quiet)
        assert caught.value.error_code == code


def test_the_fetching_process_gets_nothing_of_the_workers_own(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANALYSIS_TOKEN_FILE", "/secret")
    seen: dict[str, str] = {}
    real = subprocess.Popen.__init__

    def watched(self: "subprocess.Popen[str]", *args: object, **more: object) -> None:
        environment = more.get("env")
        assert isinstance(environment, dict)
        seen.update(environment)
        real(self, *args, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess.Popen, "__init__", watched)
    source.answers["/v.mp4"] = content(BODY)
    download_video(source.url("/v.mp4"), tmp_path / "v", HERE, quiet)
    assert seen
    assert not [name for name in seen if name.startswith("ANALYSIS_")]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux tells the state of a process")
@pytest.mark.parametrize(("program", "waiting"), [("while True: pass", False), ("import time; time.sleep(60)", True)])
def test_a_process_that_computes_does_not_wait_for_the_net(program: str, waiting: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", f"print(flush=True)\n{program}"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(1.0)
        seen = [waits(process.pid) for _ in range(20)]
        process.kill()
    assert seen.count(waiting) >= 15
