"""The part of a worker that a fake kubelet does not play: posts of progress, with the pod's own token."""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp

from klipstream_kube import PODS, Client, Reflector
from klipsweep.users import insist

PARAMS = "analysis.klipstream.io/params"
AUDIENCE = "klipstream-progress"
POST_EVERY_SECONDS = 0.2
STOPPED = (401, 409)
"""Answers after which a worker ends."""


class Workers:
    """Posts for every pod whose params hold fake_posts, to whichever replica answers."""

    def __init__(self, client: Client, namespace: str, ports: Callable[[], Sequence[int]]) -> None:
        self._client = client
        self._namespace = namespace
        self._ports = ports
        self._posting: dict[str, asyncio.Task[None]] = {}
        self.taken = 0
        """Posts that a replica answered with 200."""

    async def run(self) -> None:
        """Never returns."""
        log = logging.getLogger("workers")
        pods = Reflector(
            self._client, PODS, self._namespace, on_upsert=self._seen, on_delete=lambda pod: self._ended(pod), log=log
        )
        try:
            await pods.run()
        finally:
            for task in self._posting.values():
                task.cancel()
            await asyncio.gather(*self._posting.values(), return_exceptions=True)

    def _seen(self, pod: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        params = json.loads((metadata.get("annotations") or {}).get(PARAMS, "{}"))
        if pod["status"].get("phase") != "Running":
            self._ended(pod)
        elif params.get("fake_posts") and metadata["uid"] not in self._posting:
            self._posting[metadata["uid"]] = asyncio.create_task(self._post(metadata["name"], metadata["uid"]))

    def _ended(self, pod: dict[str, Any]) -> None:
        task = self._posting.get(pod["metadata"]["uid"])
        if task is not None:
            task.cancel()

    async def _post(self, pod: str, uid: str) -> None:
        token = await insist(lambda: self._token(pod, uid))
        if token is None:
            return
        headers = {"Authorization": f"Bearer {token}"}
        percentage, turn = 40, 0
        timeout = aiohttp.ClientTimeout(total=2)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            while True:
                ports = self._ports()
                url = f"http://127.0.0.1:{ports[turn % len(ports)]}/v1/progress"
                try:
                    async with session.post(url, json={"percentage": percentage, "stage": "Analyzing"}) as answer:
                        code = answer.status
                except (aiohttp.ClientError, TimeoutError):
                    code, turn = 0, turn + 1
                if code in STOPPED:
                    return
                if code == 200:
                    self.taken += 1
                    percentage = min(99, percentage + 5)
                await asyncio.sleep(POST_EVERY_SECONDS)

    async def _token(self, pod: str, uid: str) -> str:
        bound = {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [AUDIENCE], "boundObjectRef": bound},
        }
        path = f"/api/v1/namespaces/{self._namespace}/serviceaccounts/default/token"
        return str((await self._client.request("POST", path, body=body))["status"]["token"])
