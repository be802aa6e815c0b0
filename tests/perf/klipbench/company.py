"""What a busy installation has beside admission: a gateway with many event streams, a relay, workers that report."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from klipbench.operator_process import OperatorProcess
from klipbench.stage import Stage
from klipgate.process import Gateway
from klipstream_gateway.views import JOB_ID_LABEL
from klipstream_kube import ApiError, Unreachable
from klipwebhook.certificate import make_certificate
from klipwebhook.stage import Receivers, Relay

REPORT_SECONDS = 5.0
READY_SECONDS = 90.0
AGAIN_SECONDS = 0.5
OPENED_AT_ONCE = 50
AUDIENCE = "klipstream-progress"


@dataclass(slots=True)
class Busy:
    """Each pod reports when it starts and every 5 s, each job's end is announced, and `streams` readers follow jobs."""

    namespace: str
    streams: int
    reported: int = 0
    """Reports that the operator took."""
    events: int = 0
    """Events that readers had."""
    announced: int = 0
    """Webhooks that were taken."""
    _wanted: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    _callback: str = ""

    def changed(self, body: dict[str, Any]) -> None:
        """Give the job an id that readers may follow, and the address that its end is announced to."""
        job_id = str(uuid.uuid4())
        body["metadata"]["labels"] = {JOB_ID_LABEL: job_id}
        body["spec"] |= {"jobId": job_id, "callback": {"url": self._callback}}
        self._wanted.put_nowait(job_id)

    @asynccontextmanager
    async def at(self, stage: Stage, operator: OperatorProcess) -> AsyncIterator[Mapping[str, int]]:
        """Start everything, wait until it is ready, and end it whatever happens."""
        folder = (stage.build / f"{stage.name}-company-{os.getpid()}").resolve()
        folder.mkdir(parents=True)
        certificate = make_certificate(folder)
        receivers = Receivers(folder, certificate, taker="ok")
        self._callback = receivers.url("taker")
        gateway = Gateway(stage.running.kubeconfig, folder, self.namespace)
        relay = Relay(stage.running.kubeconfig, folder, self.namespace, KLIPSTREAM_LEASE_SECONDS="15",
                      KLIPSTREAM_CA_FILE=str(certificate))  # fmt: skip
        try:
            await asyncio.to_thread(receivers.listen)
            gateway.start()
            relay.start()
            await asyncio.to_thread(gateway.wait)
            async with asyncio.timeout(READY_SECONDS):
                while not relay.ready:
                    await asyncio.sleep(AGAIN_SECONDS)
            headers = {"Authorization": f"Bearer {gateway.keys['read']}"}
            timeout, connector = aiohttp.ClientTimeout(total=None), aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
                stage.kubelet.beside = lambda pod: self._report(stage, session, operator.progress_port, pod)
                reading = asyncio.create_task(self._read(session, gateway.url, headers))
                yield {"gateway": gateway.pid, "relay": relay.pid}
                stage.kubelet.beside = None
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            self.announced = len([each for each in receivers.received() if each.code < 300])
        finally:
            for each in (gateway, relay, receivers.process):
                each.kill()

    async def _report(self, stage: Stage, session: aiohttp.ClientSession, port: int, pod: dict[str, Any]) -> None:
        """What the worker in a pod does: with the pod's own token, which a kubelet would have put there."""
        name = pod["metadata"]["name"]
        bound = {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": pod["metadata"]["uid"]}
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/serviceaccounts/default/token"
        asked = {"spec": {"audiences": [AUDIENCE], "boundObjectRef": bound}}
        percentage, token = 0, ""
        while True:
            try:
                if not token:
                    answer = await stage.kubelet.client.request("POST", path, body=asked)
                    token = answer["status"]["token"]
                headers = {"Authorization": f"Bearer {token}"}
                report = {"percentage": percentage, "stage": "Analyzing"}
                async with session.post(f"http://127.0.0.1:{port}/v1/progress", json=report, headers=headers) as taken:
                    self.reported += taken.status < 300
            except (ApiError, Unreachable, aiohttp.ClientError):
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            percentage = min(99, percentage + 20)
            await asyncio.sleep(REPORT_SECONDS)

    async def _read(self, session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> None:
        """As many readers as were asked for, spread over the jobs as these come; none is ever too many for a job."""
        opening = asyncio.Semaphore(OPENED_AT_ONCE)
        known: list[str] = []
        async with asyncio.TaskGroup() as readers:
            for number in range(self.streams):
                while not self._wanted.empty() or not known:
                    known.append(await self._wanted.get())
                readers.create_task(self._follow(session, f"{url}/api/v1/jobs/{known[number % len(known)]}/events",
                                                 headers, opening))  # fmt: skip
                await asyncio.sleep(0)

    async def _follow(
        self, session: aiohttp.ClientSession, url: str, headers: dict[str, str], opening: asyncio.Semaphore
    ) -> None:
        """One reader, from when its job is there until the run is over; a stream of a finished job ends by itself."""
        while True:
            async with opening:
                answer = await session.get(url, headers=headers)
            async with answer:
                if answer.status == 200:
                    async for line in answer.content:
                        self.events += line.startswith(b"data:")
                    return
            await asyncio.sleep(AGAIN_SECONDS)  # it was not created yet
