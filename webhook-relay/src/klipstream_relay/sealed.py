"""Signing secret and token of a callback that were sealed with its job: opened to send, kept nowhere in plain."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from klipstream_api import AnalysisJob, names
from klipstream_kube import ApiError, Client, NotFound, Resource, Unreachable
from klipstream_netguard import Target, host_matches, parse_target
from klipstream_relay.sender import Credentials, CredentialsRefused, Sendable
from klipstream_relay.signing import BadSecret, parse_secrets
from klipstream_sealing import BadFields, CannotOpen, KeyMissing, RingFile, SealedFields

ANALYSIS_JOBS = Resource(names.GROUP, names.VERSION, "analysisjobs", "AnalysisJob")
KEPT_AT_MOST = 1024
READ_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Ciphertext:
    """What a job sealed, and the id that it is bound to; neither can be changed in the API."""

    text: str
    job_id: str


@dataclass(slots=True)
class SealedCallbacks:
    """Opens what jobs sealed for the relay.

    The ciphertext is read from the job, live, and kept for a while: the deletion of a job can then still be announced
    with what it sealed. `name_of` finds the name of a job by its uid.
    """

    client: Client
    ring: RingFile | None
    name_of: Callable[[str], Awaitable[str | None]]
    _kept: OrderedDict[str, Ciphertext] = field(default_factory=OrderedDict, repr=False)

    async def credentials(self, delivery: Sendable) -> Credentials:
        """What signs and authorises the delivery; empty where the job sealed nothing of the kind.

        Raises CredentialsRefused where it cannot be opened, or was not sealed for the URL's host.
        """
        sealed = self._kept.get(delivery.job_uid) or await self._read(delivery)
        self._kept[delivery.job_uid] = sealed
        self._kept.move_to_end(delivery.job_uid)
        if len(self._kept) > KEPT_AT_MOST:
            self._kept.popitem(last=False)
        if self.ring is None:
            raise CredentialsRefused("SealedRefused", "the relay has no key ring to open what the job sealed")
        try:
            fields = SealedFields.from_json(self.ring.open(sealed.text, delivery.namespace, sealed.job_id))
        except KeyMissing as error:
            raise CredentialsRefused("SealedRefused", f"what the job sealed cannot be used yet: {error}") from None
        except (CannotOpen, BadFields) as error:
            raise _refused(f"what the job sealed cannot be used: {error}") from None
        return opened_for(fields, delivery.url)

    async def _read(self, delivery: Sendable) -> Ciphertext:
        try:
            async with asyncio.timeout(READ_SECONDS):
                name = await self.name_of(delivery.job_uid)
                if name is None:
                    raise CredentialsRefused("JobGone", "the job is not known, and what it sealed with it")
                job = AnalysisJob.from_wire(await self.client.get(ANALYSIS_JOBS, name, delivery.namespace))
        except NotFound:
            job = None
        except (ApiError, Unreachable, TimeoutError):
            raise CredentialsRefused(
                "SealedUnavailable", "what the job sealed cannot be read: the API server does not answer"
            ) from None
        if job is None or job.uid != delivery.job_uid:
            raise CredentialsRefused("JobGone", "the job was deleted, and what it sealed with it", retryable=False)
        if job.spec.sealed is None or job.spec.job_id is None:
            raise _refused("the job has no spec.jobId, which it would be sealed for")
        return Ciphertext(job.spec.sealed, job.spec.job_id)


def opened_for(fields: SealedFields, url: str) -> Credentials:
    """The credentials of opened fields for one URL (pure). Raises CredentialsRefused where its host is not meant.

    Whoever reads a job can submit its ciphertext again with a URL of his own: the hosts are sealed with the secrets.
    """
    callback = fields.callback
    if callback is None:
        return Credentials()
    target = parse_target(url)
    if not isinstance(target, Target):
        raise CredentialsRefused("UrlRefused", target, retryable=False)
    if not any(host_matches(pattern, target.host) for pattern in callback.hosts):
        raise _refused(f"what the job sealed is not meant for {target.host}")
    try:
        signing = parse_secrets(callback.signing_secret) if callback.signing_secret is not None else ()
    except BadSecret as error:
        raise _refused(f"callback.signingSecret, sealed: {error}") from None
    token = callback.bearer_token
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise _refused("callback.bearerToken, sealed, is no token: one word of ASCII")
    return Credentials(signing, token)


def _refused(message: str) -> CredentialsRefused:
    """For good: what a job sealed cannot be changed."""
    return CredentialsRefused("SealedRefused", message, retryable=False)
