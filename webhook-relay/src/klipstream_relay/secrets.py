"""Signing secrets and tokens from Secrets that say themselves where they may be used.

Whoever may submit a job chooses both the URL and the Secret. So a Secret is only used if its owner has marked it
(label `analysis.klipstream.io/callback: "true"`) and named the hosts (annotation
`analysis.klipstream.io/allowed-hosts`): no submitter can have another's Secret sent to a URL of his own.
"""

import asyncio
import base64
import binascii
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from klipstream_api import SecretKeyRef, names
from klipstream_kube import SECRETS, ApiError, Client, Forbidden, NotFound, Unreachable
from klipstream_netguard import Target, host_matches, parse_target
from klipstream_relay.sender import Credentials, CredentialsRefused
from klipstream_relay.signing import BadSecret, SigningSecret, parse_secrets

CACHED_SECONDS = 30.0
"""A Secret that was changed, or whose hosts were, counts from then on at the latest."""
CACHED_AT_MOST = 1024
READ_SECONDS = 5.0
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")

Secret = dict[str, Any]


class SecretsOfEndpoint(Protocol):
    """Where an endpoint's Secrets are."""

    @property
    def namespace(self) -> str: ...
    @property
    def signing(self) -> SecretKeyRef | None: ...
    @property
    def token(self) -> SecretKeyRef | None: ...


@dataclass(slots=True)
class CallbackSecrets:
    """Reads Secrets live from the API server and keeps them for half a minute; it never lists or watches them."""

    client: Client
    clock: Callable[[], float] = time.monotonic
    _known: OrderedDict[tuple[str, str], tuple[float, Secret | CredentialsRefused]] = field(
        default_factory=OrderedDict, repr=False
    )
    _reading: dict[tuple[str, str], asyncio.Lock] = field(default_factory=dict, repr=False)

    async def credentials(self, endpoint: SecretsOfEndpoint, url: str) -> Credentials:
        """What signs and authorises deliveries to `url`; empty where the endpoint names no Secret.

        Raises CredentialsRefused where a Secret is missing, may not be used for this host, or makes no sense.
        """
        if endpoint.signing is None and endpoint.token is None:
            return Credentials()
        target = parse_target(url)
        if not isinstance(target, Target):
            raise CredentialsRefused("UrlRefused", target, retryable=False)
        signing: tuple[SigningSecret, ...] = ()
        token: str | None = None
        if (ref := endpoint.signing) is not None:
            text = await self._value(endpoint.namespace, ref, target.host)
            try:
                signing = parse_secrets(text)
            except BadSecret as error:
                raise CredentialsRefused("BadSecret", f"{_name(endpoint.namespace, ref)}: {error}") from None
        if (ref := endpoint.token) is not None:
            token = (await self._value(endpoint.namespace, ref, target.host)).strip()
            if not _TOKEN.fullmatch(token):
                raise CredentialsRefused(
                    "BadSecret", f"{_name(endpoint.namespace, ref)} holds no bearer token: one word of ASCII"
                )
        return Credentials(signing, token)

    async def _value(self, namespace: str, ref: SecretKeyRef, host: str) -> str:
        secret = await self._secret(namespace, ref.name)
        if (why := misuse(secret, host)) is not None:
            raise CredentialsRefused("SecretRefused", f"Secret {namespace}/{ref.name} {why}")
        encoded = (secret.get("data") or {}).get(ref.key)
        if encoded is None:
            raise CredentialsRefused("SecretMissing", f"Secret {namespace}/{ref.name} has no key {ref.key}")
        try:
            return base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, ValueError):
            raise CredentialsRefused("BadSecret", f"{_name(namespace, ref)} is no text") from None

    async def _secret(self, namespace: str, name: str) -> Secret:
        """The Secret, of the last half minute; deliveries that need it at the same time read it once."""
        key = namespace, name
        lock = self._reading.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                known = self._known.get(key)
                if known is None or known[0] <= self.clock():
                    known = self.clock() + CACHED_SECONDS, await self._read(namespace, name)
                    self._known[key] = known
                    self._known.move_to_end(key)
                    if len(self._known) > CACHED_AT_MOST:
                        self._known.popitem(last=False)
        finally:
            if not lock.locked():
                self._reading.pop(key, None)
        found = known[1]
        if isinstance(found, CredentialsRefused):
            raise CredentialsRefused(found.reason, found.message)
        return found

    async def _read(self, namespace: str, name: str) -> Secret | CredentialsRefused:
        """The Secret, or why there is none; raises where nobody can say, so that it is asked for again at once."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await self.client.get(SECRETS, name, namespace)
        except NotFound:
            return CredentialsRefused("SecretMissing", f"there is no Secret {namespace}/{name}")
        except Forbidden:
            return CredentialsRefused("SecretMissing", f"the relay may not read Secret {namespace}/{name}")
        except (ApiError, Unreachable, TimeoutError):
            raise CredentialsRefused(
                "SecretUnavailable", f"Secret {namespace}/{name} cannot be read: the API server does not answer"
            ) from None


def misuse(secret: Secret, host: str) -> str | None:
    """Why a Secret may not be used for webhooks to a host, as the end of a sentence about it (pure)."""
    metadata = secret.get("metadata") or {}
    if (metadata.get("labels") or {}).get(names.CALLBACK_LABEL) != "true":
        return f'is not meant for webhooks: its owner can label it {names.CALLBACK_LABEL}="true"'
    allowed = (metadata.get("annotations") or {}).get(names.ALLOWED_HOSTS_ANNOTATION, "")
    patterns = [pattern for pattern in (part.strip() for part in allowed.split(",")) if pattern]
    if not any(host_matches(pattern, host) for pattern in patterns):
        return f"may not be used for {host}: its owner can name the host in {names.ALLOWED_HOSTS_ANNOTATION}"
    return None


def _name(namespace: str, ref: SecretKeyRef) -> str:
    return f"key {ref.key} of Secret {namespace}/{ref.name}"
