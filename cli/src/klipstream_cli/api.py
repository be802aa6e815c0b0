"""One connection to the API server: requests, lists in pages, streams. Standard library, since imports cost time."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson

from klipstream_cli.connection import Http, Https, is_stale, proxy_for, proxy_headers, without_password
from klipstream_cli.credentials import Credentials
from klipstream_cli.errors import ApiProblem, Exit, Gone, Problem, Unreachable
from klipstream_cli.kubeconfig import Access
from klipstream_cli.refusals import About, refusal
from klipstream_cli.resources import Resource

PAGE = 1000
TRIES = 4
LONGEST_WAIT_SECONDS = 10.0
MERGE = "application/merge-patch+json"
Json = dict[str, Any]


class Api:
    """Requests to one API server over one kept connection; not for several threads at once."""

    def __init__(
        self, access: Access, timeout_seconds: float = 30.0, credentials: Credentials | None = None
    ) -> None:  # fmt: skip
        self.access = access
        self.timeout_seconds = timeout_seconds
        """How long one answer may take; 0: as long as it likes."""
        self.clock_offset_seconds: float | None = None
        """The server's clock minus ours by its last answer, which counts whole seconds; None before one."""
        self.credentials = credentials or Credentials(access)
        self._connection: http.client.HTTPConnection | None = None
        self._socket: socket.socket | None = None
        """The connection's; of an answer that ends with it, the connection itself knows it no more."""
        self._tls: ssl.SSLContext | None = None
        self._sent: str | None = None
        """The Authorization of the last request."""

    def now(self) -> datetime:
        """UTC by the server's clock; differences of under two seconds are taken for none."""
        offset = self.clock_offset_seconds or 0.0
        return datetime.now(UTC) + timedelta(seconds=offset if abs(offset) >= 2 else 0.0)

    def another(self) -> Api:
        """A connection of its own, for another thread, with the same credentials."""
        return Api(self.access, self.timeout_seconds, self.credentials)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = self._socket = None

    def is_stale(self) -> bool:
        """Whether the server closed the kept connection; not to be asked while an answer is read."""
        return self._connection is not None and is_stale(self._connection.sock)

    def abort(self) -> None:
        """End a read that another thread waits in."""
        sock = self._socket
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

    # --- objects ---------------------------------------------------------------------------------------------

    def get(self, resource: Resource, namespace: str | None, name: str) -> Json:
        """One object, read live."""
        return self.request("GET", resource.path(namespace, name), about=(resource, namespace, name))

    def pages(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        page: int = PAGE,
    ) -> Iterator[Json]:
        """The List objects of one consistent snapshot."""
        params = {"limit": str(page)}
        if label_selector:
            params["labelSelector"] = label_selector
        if field_selector:
            params["fieldSelector"] = field_selector
        while True:
            answer = self.request("GET", resource.path(namespace), params=params, about=(resource, namespace, None))
            yield answer
            token = answer.get("metadata", {}).get("continue")
            if not token:
                return
            params["continue"] = str(token)

    def list(
        self, resource: Resource, namespace: str | None, *, label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> tuple[list[Json], str]:  # fmt: skip
        """All objects and the resourceVersion of the snapshot; begun again where it was compacted away meanwhile."""
        for left in (2, 1, 0):
            items: list[Json] = []
            version = ""
            try:
                for answer in self.pages(
                    resource, namespace, label_selector=label_selector, field_selector=field_selector
                ):
                    items += answer.get("items") or []
                    version = str(answer.get("metadata", {}).get("resourceVersion", ""))
            except Gone:
                if not left:
                    raise
                continue
            return items, version
        raise AssertionError("the last round raises or returns")

    def create(self, resource: Resource, namespace: str | None, body: Json, *, dry_run: bool = False) -> Json:
        """Create an object, or have the server judge it."""
        params = {"dryRun": "All", "fieldValidation": "Strict"} if dry_run else {"fieldValidation": "Strict"}
        return self.request("POST", resource.path(namespace), params=params, body=body,
                            about=(resource, namespace, None))  # fmt: skip

    def patch(self, resource: Resource, namespace: str | None, name: str, body: Json) -> Json:
        """Merge a change into an object; Conflict where `metadata.resourceVersion` is given and no longer true."""
        return self.request("PATCH", resource.path(namespace, name), body=body, content_type=MERGE,
                            about=(resource, namespace, name))  # fmt: skip

    def watch(
        self, resource: Resource, namespace: str | None, version: str, *, label_selector: str | None = None,
        field_selector: str | None = None, seconds: int = 300,
    ) -> Iterator[tuple[str, Json]]:  # fmt: skip
        """(type, object) of each change after a resourceVersion, bookmarks included, until the server ends it.

        Raises Gone, Unreachable.
        """
        params = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        if label_selector:
            params["labelSelector"] = label_selector
        if field_selector:
            params["fieldSelector"] = field_selector
        try:
            # A bookmark comes about every minute.
            with self._exchange(
                "GET", resource.path(namespace), params, None, "", (resource, namespace, None), timeout=90.0
            ) as response:
                for line in _lines(response):
                    yield _event(line, resource, namespace)
        except _Later as later:
            raise later.problem from None

    def stream(self, path: str, params: Mapping[str, str], about: About, deadline: float) -> Iterator[bytes]:
        """The body of an answer in chunks as they come, such as a log.

        Raises Problem; Unreachable at the deadline (by time.monotonic()), in the middle of a silence too.
        """

        def left() -> float:
            return max(0.001, deadline - time.monotonic())

        try:
            with self._exchange("GET", path, params, None, "", about, timeout=left()) as response:
                while chunk := response.read1(65536):
                    yield chunk
                    assert self._socket is not None, "the answer is being read from it"
                    self._socket.settimeout(left())
        except _Later as later:  # whoever follows decides when to try again
            raise later.problem from None

    # --- requests --------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        about: About | None = None,
    ) -> Json:
        """One request and its decoded answer.

        Sent again, a few times with growing waits: what the server asked to send later (429, or 503 with Retry-After),
        and reads that it failed at. A lost answer is not repeated. Raises Problem.
        """
        for attempt in range(TRIES):
            try:
                with self._exchange(method, path, params, body, content_type, about) as response:
                    answer = orjson.loads(response.read())
                if not isinstance(answer, dict):
                    raise Unreachable(f"{method} {path}: the answer is no JSON object")
                return answer
            except orjson.JSONDecodeError as error:
                raise Unreachable(f"{method} {path}: the answer is no JSON (is {self.access.server} an API server?)",
                                  ) from error  # fmt: skip
            except _Later as later:
                if attempt == TRIES - 1:
                    raise later.problem from None
                time.sleep(min(LONGEST_WAIT_SECONDS, max(later.seconds, 0.2 * 2**attempt)))
        raise AssertionError("the last try raises or returns")

    @contextmanager
    def _exchange(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: Any,
        content_type: str,
        about: About | None,
        timeout: float | None = 0.0,
    ) -> Iterator[http.client.HTTPResponse]:
        """A successful response with its body unread; `timeout` 0: the usual one, None: none at all."""
        seconds = (self.timeout_seconds or None) if timeout == 0.0 else timeout
        target = f"{path}?{urlencode(params)}" if params else path
        data = None if body is None else orjson.dumps(body)
        response: http.client.HTTPResponse | None = None
        try:
            response = self._answer(method, target, data, content_type, seconds)
            if response.status == 401 and self.credentials.refused(self._sent):
                response.read()
                self.close()
                self._tls = None
                response = self._answer(method, target, data, content_type, seconds)
            self._hear(response)
            if response.status >= 300:
                raise self._refused(response, about, method)
            yield response
            self._keep_unless_torn(response)
        except (Problem, _Later):
            self._keep_unless_torn(response)
            raise
        except TimeoutError as error:
            self.close()
            raise Unreachable(f"{self.access.server} did not answer within {seconds:g} s",
                              "Is it up? --request-timeout waits longer.") from error  # fmt: skip
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unreachable(f"{self.access.server}: {_words(error)}",
                              f"The context is {self.access.context!r}.") from error  # fmt: skip
        except BaseException:
            self.close()
            raise

    def _keep_unless_torn(self, response: http.client.HTTPResponse | None) -> None:
        """A connection with half of an answer in it cannot be used again."""
        if response is None or not response.isclosed():
            self.close()

    def _answer(
        self, method: str, target: str, data: bytes | None, content_type: str, seconds: float | None
    ) -> http.client.HTTPResponse:
        """Send once; a kept connection that the server closed meanwhile is opened anew.

        One that it closes in this very moment, only for a read: of a write nobody knows whether it was carried out.
        """
        if self.is_stale():
            self.close()
        fresh = self._connection is None
        connection = self._opened(seconds)
        try:
            self._send(connection, method, target, data, content_type)
            return connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self.close()
            if fresh or method != "GET":
                raise
            connection = self._opened(seconds)
            self._send(connection, method, target, data, content_type)
            return connection.getresponse()

    def _send(
        self, connection: http.client.HTTPConnection, method: str, target: str, data: bytes | None, content_type: str
    ) -> None:
        connection.putrequest(method, urlsplit(self.access.server).path.rstrip("/") + target)
        own = self.credentials.headers()
        self._sent = own.get("Authorization")
        headers = {"Accept": "application/json", "User-Agent": "kubectl-analysis"} | own
        if data is not None:
            headers |= {"Content-Type": content_type, "Content-Length": str(len(data))}
        for name, value in headers.items():
            connection.putheader(name, value)
        for name, value in self.credentials.repeated_headers():
            connection.putheader(name, value)
        connection.endheaders(data)
        self._socket = connection.sock

    def _opened(self, seconds: float | None) -> http.client.HTTPConnection:
        if self._connection is None:
            self._connection = self._new(seconds)
        elif self._connection.sock is not None:
            self._connection.sock.settimeout(seconds)
        self._connection.timeout = seconds
        return self._connection

    def _new(self, seconds: float | None) -> http.client.HTTPConnection:
        parts = urlsplit(self.access.server)
        host, secure = parts.hostname or "", parts.scheme == "https"
        if parts.scheme not in ("http", "https") or not host:
            raise Problem(f"kubeconfig: {self.access.server!r} is no http(s) address", Exit.USAGE)
        port = parts.port or (443 if secure else 80)
        if not secure:
            return Http(host, port, timeout=seconds)
        self._tls = self._tls or self.credentials.tls()
        name = self.access.tls_server_name or host
        proxy = proxy_for(self.access, host)
        if proxy is None:
            return Https(host, port, self._tls, name, seconds)
        via = urlsplit(proxy)
        if via.scheme != "http" or not via.hostname:
            raise Problem(f"the proxy {without_password(proxy)!r} cannot be used: only http:// proxies are", Exit.USAGE)
        connection = Https(via.hostname, via.port or 80, self._tls, name, seconds)
        connection.set_tunnel(host, port, proxy_headers(via.username, via.password))
        return connection

    def _hear(self, response: http.client.HTTPResponse) -> None:
        date = response.getheader("Date")
        if date:
            try:
                server = datetime.strptime(date, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
            except ValueError:
                return
            self.clock_offset_seconds = (server - datetime.now(UTC)).total_seconds() + 0.5

    def _refused(
        self, response: http.client.HTTPResponse, about: About | None,
        method: str,
    ) -> Exception:  # fmt: skip
        text = response.read()
        try:
            status = orjson.loads(text)
        except orjson.JSONDecodeError:
            status = None
        if not isinstance(status, dict):
            status = {"message": text[:200].decode("utf-8", "replace").strip() or str(response.reason)}
        problem = refusal(response.status, status, about)
        retry_after = response.getheader("Retry-After", "")
        asked = response.status == 429 or (response.status == 503 and retry_after.isdigit())
        if asked or (response.status >= 500 and method == "GET"):
            return _Later(problem, float(retry_after) if retry_after.isdigit() else 0.0)
        return problem


class _Later(Exception):
    """To be tried again after so many seconds; the problem otherwise."""

    def __init__(self, problem: ApiProblem, seconds: float) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.seconds = seconds


def _event(line: bytes, resource: Resource, namespace: str | None) -> tuple[str, Json]:
    try:
        event = orjson.loads(line)
        kind, item = str(event["type"]), event["object"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise Unreachable(f"a watch of {resource.qualified} sent what is no event") from error
    if kind == "ERROR":
        raise refusal(int(item.get("code") or 500), item, (resource, namespace, None))
    return kind, item


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Whole lines; a last one without its end was cut off with the connection."""
    torn = b""
    while chunk := response.read1(1 << 20):
        *whole, torn = (torn + chunk).split(b"\n")
        yield from whole
    if torn:
        raise Unreachable("the answer was cut off")


def _words(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there (connection refused)"
    if isinstance(error, socket.gaierror):
        return "no such host"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return str(error) or type(error).__name__
