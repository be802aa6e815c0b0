"""Sends a worker's post on to the shard of its queue: all shards share the address that workers post to."""

import logging
import ssl
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp

from klipstream_operator.certificate import Authority
from klipstream_operator.sharding import Shard
from klipstream_operator.workload import PodView

log = logging.getLogger(__name__)
FORWARDED = "X-Klipstream-Forwarded"
"""Header of a post that was sent on once: it is not sent on again."""
TIMEOUT_SECONDS = 5.0
"""Less than a worker waits for an answer, so that it hears when to come again."""
TIMEOUT = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS, sock_connect=1.0)
KNOWN_AT_MOST = 4096


class NotForwarded(Exception):
    """The shard that a post belongs to did not answer."""


@dataclass(slots=True)
class ProgressForwarder:
    """The other shards, as a post meets them."""

    shard: Shard = field(default_factory=Shard)
    url: str = ""
    """Address of a shard's progress endpoint, with {shard} for its number."""
    name: str | None = None
    """What the certificates of all shards are made out to: the host of the common address."""
    authority: Authority | None = None
    """Who signed the certificates; none where posts are not encrypted."""
    _trusted: tuple[str, ssl.SSLContext] | None = None
    _shards: OrderedDict[str, int] = field(default_factory=OrderedDict)
    """By uid of the pod. A pod's queue never changes."""

    def known(self, pod_uid: str) -> int | None:
        """The other shard that a pod is known to belong to."""
        return self._shards.get(pod_uid)

    def shard_of(self, pod: PodView | None) -> int | None:
        """The shard of a pod; None where it is this one's, or nobody's."""
        if pod is None or self.shard.covers((pod.namespace, pod.queue)):
            return None
        number = self._shards[pod.uid] = self.shard.number_of((pod.namespace, pod.queue))
        if len(self._shards) > KNOWN_AT_MOST:
            self._shards.popitem(last=False)
        return number

    async def forward(self, number: int, token: str, body: bytes) -> tuple[int, bytes, Mapping[str, str]]:
        """What the other shard answers: status, JSON and headers. Raises NotForwarded."""
        url = self.url.replace("{shard}", str(number))
        named = self.name if urlsplit(url).scheme == "https" else None
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", FORWARDED: "1"}
        try:
            async with (
                # A connection for each post: a new one goes to a replica that is ready, and 50 jobs post 10 times a s.
                aiohttp.ClientSession(timeout=TIMEOUT) as session,
                session.post(url, data=body, headers=headers, ssl=self._tls(), server_hostname=named) as answer,
            ):
                kept = {key: answer.headers[key] for key in ("Retry-After",) if key in answer.headers}
                return answer.status, await answer.read(), kept
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("A post could not be sent on to shard %d: %s", number, error or "no answer in time")
            raise NotForwarded(str(error)) from error

    def _tls(self) -> ssl.SSLContext | bool:
        """Trusts who signs now: the authority may be replaced by another one."""
        if self.authority is None:
            return True
        pem = self.authority.pem()
        if self._trusted is None or self._trusted[0] != pem:
            self._trusted = (pem, ssl.create_default_context(cadata=pem))
        return self._trusted[1]
