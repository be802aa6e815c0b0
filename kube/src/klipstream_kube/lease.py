"""Electing one leader by a Lease, with the timing rules of client-go's leaderelection."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from .client import Client, Object
from .errors import AlreadyExists, ApiError, Conflict, NotFound, Unreachable
from .resources import LEASES

# Part of the lease during which the holder no longer acts: what is on its way to the server when the
# deadline passes arrives before a successor may take over.
_MARGIN = 0.2


class LeaseLost(Exception):
    """We are not the holder any more, or cannot be sure of it: stop acting at once."""


class LeaseElector:
    """Acquires, renews and releases one Lease.

    All durations are measured on the local monotonic clock: a candidate takes the Lease over only after it
    has itself seen it unchanged for as long as the holder promised (`leaseDurationSeconds`), and a holder
    stops acting `lease_seconds`, less a margin, after it SENT its last successful renewal. So clocks may be
    set as they like; they must only run at about the same speed.

    `identity` is unique per process (a pod's name and a random part). `transitions` counts acquisitions
    (spec.leaseTransitions): a number that rises with every new leader.
    """

    def __init__(
        self,
        client: Client,
        *,
        name: str,
        namespace: str,
        identity: str,
        lease_seconds: float = 15.0,
        renew_seconds: float = 5.0,
        retry_seconds: float = 2.0,
        monotonic: Callable[[], float] | None = None,
        log: logging.Logger,
    ) -> None:
        if not renew_seconds + retry_seconds < lease_seconds * (1 - _MARGIN):
            raise ValueError(f"{lease_seconds=} leaves no time for {renew_seconds=} and {retry_seconds=}")
        self._client = client
        self._name = name
        self._namespace = namespace
        self._identity = identity
        self._lease_seconds = lease_seconds
        self._renew_seconds = renew_seconds
        self._retry_seconds = retry_seconds
        self._monotonic = monotonic or time.monotonic
        self._log = log
        self._observed_version: str | None = None
        self._observed_at = 0.0
        self._expires_at = float("-inf")  # of the Lease that another holds, as far as we can tell
        self._sent_at = float("-inf")
        self._holding = False  # or perhaps: the answer of the write that takes it may be lost
        self._held_version: str | None = None  # of our own last write; None when its answer was lost
        self._deadline = float("-inf")
        self._said: str | None = None
        self.transitions = 0

    async def acquire(self) -> None:
        """Wait until we are the holder. Errors are logged once and tried again."""
        while True:
            if await self.take_if_free():
                break
            await asyncio.sleep(self._until_next_try_seconds())
        self._say(logging.INFO, f"{self._identity} holds it (transition {self.transitions})")

    async def is_abandoned(self, for_seconds: float) -> bool:
        """Whether nobody holds it, and nobody who waits for it has taken it within `for_seconds` of its release.

        One that names a holder is not abandoned, be it this very name: a process of before may have had it. Waits
        until it is so old, if it was released just now. Raises ApiError and Unreachable.
        """
        for last in (False, True):
            try:
                spec = (await self._client.get(LEASES, self._name, self._namespace)).get("spec") or {}
            except NotFound:
                return True
            released = spec.get("renewTime")
            if spec.get("holderIdentity") or not released:
                return not spec.get("holderIdentity")
            age_seconds = (self._client.now() - datetime.fromisoformat(released)).total_seconds()
            if age_seconds >= for_seconds or last:
                return True
            await asyncio.sleep(min(for_seconds, for_seconds - age_seconds))
        raise AssertionError("unreachable")

    async def hold(self) -> None:
        """Renew until that fails; always ends in LeaseLost (or in cancellation)."""
        try:
            while True:
                await asyncio.sleep(min(self._renew_seconds, max(0.0, self._deadline - self._monotonic())))
                await self._renew()
        finally:
            self._deadline = float("-inf")

    def deadline(self) -> float:
        """Until when (on `monotonic`) we may act as the holder; in the past when we are not."""
        return self._deadline

    def check(self) -> None:
        """Raise LeaseLost when we may not act any more. Meant as `before_send` of what a leader writes."""
        late_seconds = self._monotonic() - self._deadline
        if late_seconds >= 0:
            raise LeaseLost(f"{self._where()}: not renewed in time ({late_seconds:.1f} s past the deadline)")

    def renewal_age_seconds(self) -> float:
        """Seconds since the renewal that we act on was sent; NaN when we are not the holder."""
        if self._deadline == float("-inf"):
            return float("nan")
        return self._monotonic() - (self._deadline - self._lease_seconds * (1 - _MARGIN))

    async def release(self) -> None:
        """Give the Lease up, so that a successor need not wait. Does nothing when we do not hold it."""
        self._deadline = float("-inf")
        if not self._holding:
            return
        try:
            version = self._held_version or await self._version_if_ours()
            spec = {"holderIdentity": None, "renewTime": self._timestamp()}
            body = {"metadata": {"resourceVersion": version}, "spec": spec}
            await self._client.patch(LEASES, self._name, self._namespace, body)
            self._holding = False
        except (LeaseLost, Conflict, NotFound):
            self._holding = False  # another holds it, or nobody can
        except (ApiError, Unreachable) as error:  # it is asked for again at the end of the process
            self._say(logging.WARNING, f"could not be released, a successor has to wait: {error}")

    async def take_if_free(self) -> bool:
        """One try to acquire it; False if another holds it or was faster, and after errors, which are logged once."""
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace)
            version, spec = lease["metadata"]["resourceVersion"], lease.get("spec") or {}
            if version != self._observed_version:
                self._observed_version, self._observed_at = version, self._monotonic()
            if not self._is_free(spec):
                return False
            self._took(await self._take(version, spec))
        except NotFound:
            return await self._created()
        except (Conflict, AlreadyExists):
            return False
        except (ApiError, Unreachable) as error:
            self._say(logging.ERROR, f"cannot be acquired: {error}")
            return False
        return True

    def _is_free(self, spec: dict[str, Any]) -> bool:
        holder = spec.get("holderIdentity")
        promised_seconds = float(spec.get("leaseDurationSeconds") or self._lease_seconds)
        if not holder or holder == self._identity:
            return True
        self._expires_at = self._observed_at + promised_seconds
        if self._monotonic() >= self._expires_at:
            return True
        self._say(logging.INFO, f"is held by {holder}; waiting")
        return False

    def _until_next_try_seconds(self) -> float:
        """Not later than the moment at which another's Lease runs out."""
        seconds = self._retry_seconds * random.uniform(1.0, 1.2)  # noqa: S311
        left_seconds = self._expires_at - self._monotonic()
        return min(seconds, left_seconds) if left_seconds > 0 else seconds

    async def _take(self, version: str, spec: dict[str, Any]) -> Object:
        now, transitions = self._timestamp(), int(spec.get("leaseTransitions") or 0) + 1
        body = {
            "metadata": {"resourceVersion": version},
            "spec": self._spec(now) | {"acquireTime": now, "leaseTransitions": transitions},
        }
        self._perhaps_holds(transitions)
        return await self._client.patch(LEASES, self._name, self._namespace, body, before_send=self._sending)

    async def _created(self) -> bool:
        now = self._timestamp()
        body = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": self._spec(now) | {"acquireTime": now, "leaseTransitions": 0},
        }
        self._perhaps_holds(0)
        try:
            self._took(await self._client.create(LEASES, body, self._namespace, before_send=self._sending))
        except AlreadyExists:
            return False
        except (ApiError, Unreachable) as error:
            self._say(logging.ERROR, f"cannot be created: {error}")
            return False
        return True

    def _perhaps_holds(self, transitions: int) -> None:
        """A process that ends before the answer of its try comes has to look whether the Lease is its own."""
        self._holding, self._held_version, self.transitions = True, None, transitions

    def _took(self, lease: Object) -> None:
        self._holding, self._held_version = True, lease["metadata"]["resourceVersion"]
        self.transitions = int(lease["spec"].get("leaseTransitions") or 0)
        self._extend()

    async def _renew(self) -> None:
        """One renewal, retried until the deadline."""
        while True:
            self.check()
            try:
                async with asyncio.timeout(self._deadline - self._monotonic()):
                    await self._renew_once()
                self.check()  # frozen meanwhile, the renewal may have been of long ago
                return
            except Conflict:
                continue  # somebody wrote it: read at once who holds it
            except (ApiError, Unreachable, TimeoutError) as error:
                self._say(logging.WARNING, f"was not renewed: {str(error) or 'no answer before the deadline'}")
            left_seconds = self._deadline - self._monotonic()
            await asyncio.sleep(max(0.0, min(self._retry_seconds, left_seconds)))

    async def _renew_once(self) -> None:
        version = self._held_version or await self._version_if_ours()
        self._held_version = None
        body = {"metadata": {"resourceVersion": version}, "spec": self._spec(self._timestamp())}
        try:
            lease = await self._client.patch(LEASES, self._name, self._namespace, body, before_send=self._sending)
        except NotFound as error:
            raise LeaseLost(f"{self._where()}: it was deleted") from error
        self._held_version = lease["metadata"]["resourceVersion"]
        self._extend()

    async def _version_if_ours(self) -> str:
        lease = await self._client.get(LEASES, self._name, self._namespace)
        spec = lease.get("spec") or {}
        holder, transitions = spec.get("holderIdentity"), int(spec.get("leaseTransitions") or 0)
        if holder != self._identity or transitions != self.transitions:
            raise LeaseLost(f"{self._where()}: taken by {holder or 'nobody'}")
        return str(lease["metadata"]["resourceVersion"])

    def _sending(self) -> None:
        self._sent_at = self._monotonic()

    def _extend(self) -> None:
        self._deadline = self._sent_at + self._lease_seconds * (1 - _MARGIN)

    def _spec(self, now: str) -> dict[str, Any]:
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": math.ceil(self._lease_seconds),  # never less than we act on
            "renewTime": now,
        }

    def _timestamp(self) -> str:
        return self._client.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _where(self) -> str:
        return f"lease {self._namespace}/{self._name}"

    def _say(self, level: int, text: str) -> None:
        """Log a state once, not at every try."""
        if text != self._said:
            self._said = text
            self._log.log(level, "%s %s", self._where(), text)
