"""Sending with the Secrets of an endpoint, looked up when they are needed."""

from klipstream_kube import Client
from klipstream_relay.directory import Directory
from klipstream_relay.secrets import CallbackSecrets
from klipstream_relay.sender import Credentials, CredentialsRefused, Sendable, Sender
from klipstream_relay.settings import Settings


def sender_of(settings: Settings, client: Client, directory: Directory) -> Sender:
    """Sends with the Secrets that the directory names for an endpoint."""
    secrets = CallbackSecrets(client)

    async def credentials(delivery: Sendable) -> Credentials:
        endpoint = directory.endpoint(delivery.endpoint)
        if endpoint is None:
            raise CredentialsRefused("EndpointRemoved", f"there is no endpoint {delivery.endpoint}", retryable=False)
        return await secrets.credentials(endpoint, delivery.url)

    return Sender(
        settings.rules, credentials,
        tls=settings.tls(), nameservers=settings.nameservers, timeout_seconds=settings.timeout_seconds,
    )  # fmt: skip
