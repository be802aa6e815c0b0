"""Where progress is posted: one connection that is kept, a token read afresh for each post, and no redirects."""

from __future__ import annotations

import http.client
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

ANSWER_BYTES = 65_536
TIMEOUT_SECONDS = 6.0
"""For each step of a post. The queue answers within 4 s, if only to say that it is to be posted again."""
KEPT_SECONDS = 15.0
"""A connection that was idle for longer is not used again: something in between may have forgotten it."""


class PostFailed(Exception):
    """The queue could not be reached, or did not answer as HTTP; the message says why."""


@dataclass(frozen=True)
class Answer:
    """What came back: the status, the beginning of the body, and Retry-After in seconds."""

    status: int
    body: bytes
    retry_after_seconds: float | None = None


class Endpoint:
    """Posts JSON to one URL, from one thread at a time. Environment variables such as HTTPS_PROXY do not count."""

    def __init__(
        self, url: str, token_file: Path | None, ca_file: Path | None, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._https, self._host, self._port, self._target = _place(url)
        self._url, self._token_file, self._ca_file = url, token_file, ca_file
        self._timeout_seconds = timeout_seconds
        self._connection: http.client.HTTPConnection | None = None
        self._used_at = 0.0
        self._tls: tuple[float, ssl.SSLContext] | None = None

    def post(self, body: bytes) -> Answer:
        """Send one post. Raises PostFailed."""
        if not self._host:
            raise PostFailed(f"{self._url} is no http(s) URL")
        try:
            headers = {"Content-Type": "application/json", "User-Agent": "klipstream-worker"}
            # It rotates: the kubelet writes a new one into the same file.
            if self._token_file is not None:
                headers["Authorization"] = f"Bearer {self._token_file.read_text(encoding='ascii').strip()}"
            if self._connection is not None and time.monotonic() - self._used_at <= KEPT_SECONDS:
                try:
                    return self._send(self._connection, body, headers)
                except (http.client.RemoteDisconnected, ConnectionError):
                    pass  # it was closed while it was idle, which is only seen by using it; posts may be repeated
            self.close()
            self._connection = self._connect()
            return self._send(self._connection, body, headers)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise PostFailed(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> http.client.HTTPConnection:
        if not self._https:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_seconds)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timeout_seconds, context=self._context()
        )

    def _context(self) -> ssl.SSLContext:
        """The authorities to believe, read again when their file has changed."""
        changed_at = self._ca_file.stat().st_mtime if self._ca_file is not None else 0.0
        if self._tls is None or self._tls[0] != changed_at:
            cafile = str(self._ca_file) if self._ca_file is not None else None
            self._tls = (changed_at, ssl.create_default_context(cafile=cafile))
        return self._tls[1]

    def _send(self, connection: http.client.HTTPConnection, body: bytes, headers: dict[str, str]) -> Answer:
        connection.request("POST", self._target, body, headers)
        response = connection.getresponse()
        content = response.read(ANSWER_BYTES)
        if response.will_close or not response.isclosed():
            self.close()
        self._used_at = time.monotonic()
        return Answer(response.status, content, _seconds(response.getheader("Retry-After")))


def _place(url: str) -> tuple[bool, str, int | None, str]:
    """Whether it is https, and host, port and path; an empty host where it is no URL to post to."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False, "", None, ""
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme == "https", host if parts.scheme in ("http", "https") else "", port, target


def _seconds(value: str | None) -> float | None:
    return float(value) if value is not None and value.isascii() and value.isdigit() else None
