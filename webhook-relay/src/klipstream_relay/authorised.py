"""Sending with the Secrets of an endpoint, looked up when they are needed."""

from collections.abc import Awaitable, Callable

from klipstream_kube import Client
from klipstream_relay.directory import Directory
from klipstream_relay.sealed import SealedCallbacks
from klipstream_relay.secrets import CallbackSecrets
from klipstream_relay.sender import Credentials, CredentialsRefused, Sendable, Sender
from klipstream_relay.settings import Settings
from klipstream_sealing import RingFile


def sender_of(
    settings: Settings, client: Client, directory: Directory, name_of: Callable[[str], Awaitable[str | None]]
) -> Sender:
    """Sends with the Secrets that the directory names for an endpoint, or with what the job sealed.

    `name_of` finds the name of a job by its uid.
    """
    secrets = CallbackSecrets(client)
    ring = RingFile(settings.sealing_ring) if settings.sealing_ring is not None else None
    sealed = SealedCallbacks(client, ring, name_of)

    async def credentials(delivery: Sendable) -> Credentials:
        endpoint = directory.endpoint(delivery.endpoint)
        if endpoint is None:
            raise CredentialsRefused("EndpointRemoved", f"there is no endpoint {delivery.endpoint}", retryable=False)
        if endpoint.sealed:
            return await sealed.credentials(delivery)
        return await secrets.credentials(endpoint, delivery.url)

    return Sender(
        settings.rules, credentials,
        tls=settings.tls(), nameservers=settings.nameservers, timeout_seconds=settings.timeout_seconds,
    )  # fmt: skip
