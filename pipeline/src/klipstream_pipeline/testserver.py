"""A small HTTP server of test videos, with Range requests and the truth about their loud moments."""

import json
import re
import tempfile
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from klipstream_pipeline.testvideo import make_chat, make_video


def make_videos(folder: Path, count: int, seconds: float, seed: int) -> None:
    """Write video-0.mp4, video-0.chat.json and so on, and truth.json with the moments of each in seconds."""
    truth = {}
    for number in range(count):
        planted = make_video(folder / f"video-{number}.mp4", seconds, seed * 1000 + number)
        chat = make_chat(seconds, seed * 1000 + number, planted.moments_seconds)
        (folder / f"video-{number}.chat.json").write_text(json.dumps(chat))
        truth[f"video-{number}"] = planted.moments_seconds
    (folder / "truth.json").write_text(json.dumps(truth))


def make_server(folder: Path, host: str, port: int) -> ThreadingHTTPServer:
    """A server of the files of a folder; the caller runs `serve_forever` and `shutdown`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            path = folder / Path(self.path.partition("?")[0]).name
            if not path.is_file():
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            content = path.read_bytes()
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            start, end = 0, len(content)
            if wanted:
                start = int(wanted[1])
                end = min(end, int(wanted[2]) + 1) if wanted[2] else end
            if start >= len(content) and wanted:
                self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(HTTPStatus.PARTIAL_CONTENT if wanted else HTTPStatus.OK)
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Type", "application/json" if path.suffix == ".json" else "video/mp4")
            self.send_header("Content-Length", str(end - start))
            self.end_headers()
            if with_body:
                self.wfile.write(content[start:end])

    return ThreadingHTTPServer((host, port), Handler)


def serve(count: int, seconds: float, seed: int, host: str, port: int) -> None:
    """Make videos in a scratch folder and serve them until the process is stopped."""
    with tempfile.TemporaryDirectory(prefix="videos-") as scratch:
        make_videos(Path(scratch), count, seconds, seed)
        server = make_server(Path(scratch), host, port)
        print(f"serving {count} videos of {seconds:g} s on port {server.server_address[1]}", flush=True)
        server.serve_forever()
