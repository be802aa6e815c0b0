"""The part of a node that serves logs: a Node object, and the HTTPS endpoint behind it that the API server asks.

What a pod "wrote" is read from its AnalysisJob's params: fake_log_bytes (how much), fake_log_refusals (so many
requests are answered by an error first), fake_log_script (JSON: lines, each with the seconds after which the pod writes
it) and fake_log_breaks (so many followed logs break off after a line).
"""

import asyncio
import contextlib
import datetime
import json
import ssl
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from klipstream_kube import PODS, AlreadyExists, Client, Resource

NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
PARAMS = "analysis.klipstream.io/params"
ATTEMPT = "analysis.klipstream.io/attempt"


def written(attempt: int, size_bytes: int) -> bytes:
    """What the worker of an attempt writes: numbered lines, cut at that size."""
    lines = b"".join(b"attempt %d line %d\n" % (attempt, n) for n in range(size_bytes // 15 + 1))
    return lines[:size_bytes]


class FakeNode:
    """Pods are bound to it by hand, since nothing schedules."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._name = ""
        self._logs: dict[str, bytes] = {}
        self._refusals: dict[str, int] = {}
        self._scripts: dict[str, list[tuple[float, bytes]]] = {}
        """Lines with the moment of each, in Unix seconds."""
        self._ends: dict[str, float] = {}
        self._breaks: dict[str, int] = {}

    async def bind(self, pod: dict[str, Any]) -> None:
        """Put a pod onto this node."""
        metadata = pod["metadata"]
        params = json.loads(metadata.get("annotations", {}).get(PARAMS, "{}"))
        path = f"/{metadata['namespace']}/{metadata['name']}/"
        attempt = int(metadata.get("labels", {}).get(ATTEMPT, "1"))
        self._logs[path] = written(attempt, int(params.get("fake_log_bytes", "0")))
        self._refusals[path] = int(params.get("fake_log_refusals", "0"))
        now = time.time()
        script = json.loads(params.get("fake_log_script", "[]"))
        self._scripts[path] = [(now + seconds, f"{line}\n".encode()) for seconds, line in script]
        self._ends[path] = now + float(params.get("fake_seconds", "0"))
        self._breaks[path] = int(params.get("fake_log_breaks", "0"))
        body = {"metadata": {"name": metadata["name"]}, "target": {"kind": "Node", "name": self._name}}
        await self._client.request("POST", PODS.path(metadata["namespace"], metadata["name"], "binding"), body=body)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve logs, and have the API server know where."""
        application = web.Application()
        application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._log)
        runner = web.AppRunner(application)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=_certificate())
            await site.start()
            await self._register(int(runner.addresses[0][1]))
            yield
        finally:
            await runner.cleanup()

    async def _register(self, port: int) -> None:
        self._name = f"fake-{port}"
        with contextlib.suppress(AlreadyExists):
            await self._client.create(NODES, {"metadata": {"name": self._name}})
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }
        await self._client.patch_status(NODES, self._name, None, {"status": status})

    async def _log(self, request: web.Request) -> web.StreamResponse:
        path = f"/{request.match_info['namespace']}/{request.match_info['pod']}/"
        if self._refusals.get(path, 0) > 0:
            self._refusals[path] -= 1
            return web.Response(status=500, text="the runtime is busy")
        if request.query.get("follow") == "true":
            return await self._follow(request, path)
        lines = self._logs[path].splitlines(keepends=True)
        if "tailLines" not in request.query:  # as the real one: all of it
            return web.Response(body=self._logs[path], content_type="text/plain")
        return web.Response(body=b"".join(lines[-int(request.query["tailLines"]) :]), content_type="text/plain")

    async def _follow(self, request: web.Request, path: str) -> web.StreamResponse:
        """What was written since the moment that is asked for, or the last lines, and then what comes."""
        script = self._scripts[path]
        if "sinceTime" in request.query:
            since = datetime.datetime.fromisoformat(request.query["sinceTime"]).timestamp()
            lines = [(at, line) for at, line in script if at >= since]
        else:
            told = sum(at <= time.time() for at, _ in script)
            tail = int(request.query.get("tailLines", told))  # all of it where nothing is said
            lines = script[max(0, told - tail) :]
        response = web.StreamResponse()
        await response.prepare(request)
        stamped = request.query.get("timestamps") == "true"
        for at, line in lines:
            fresh = at > time.time()
            await asyncio.sleep(max(0.0, at - time.time()))
            await response.write(_stamp(at) + line if stamped else line)
            if fresh and self._breaks[path] > 0:
                self._breaks[path] -= 1
                assert request.transport is not None
                request.transport.abort()
                return response
        await asyncio.sleep(max(0.0, self._ends[path] - time.time()))
        return response


def _stamp(at: float) -> bytes:
    """As a container runtime writes it before each line."""
    return f"{datetime.datetime.fromtimestamp(at, datetime.UTC):%Y-%m-%dT%H:%M:%S.%f000Z} ".encode()


def _certificate() -> ssl.SSLContext:
    """The API server is not told whom to trust, so a certificate of its own will do, as for a kubelet by default."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fake-node")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        both = Path(folder, "tls.pem")
        both.write_bytes(pem)
        context.load_cert_chain(both)
    return context
