"""Who is to be told of an AnalysisJob: its own callback and the endpoints of its queue (pure)."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from klipstream_api import AnalysisJob, AnalysisQueue, SecretKeyRef
from klipstream_api.webhooks import WebhookEvent


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where deliveries queue up together, fail together and are authorised alike.

    A queue's endpoint is one by its name. Callbacks are one endpoint per namespace, origin (scheme, host and port)
    and Secrets: jobs that each name a path of their own on one host share its circuit breaker.
    """

    key: str
    """queue/NAMESPACE/QUEUE/NAME, or callback/NAMESPACE/HOST:PORT/HASH."""
    namespace: str
    """Where its Secrets are."""
    signing: SecretKeyRef | None
    """The key (or keys, while one is being rotated) that its webhooks are signed with; unsigned where None."""
    token: SecretKeyRef | None
    """A bearer token; none is sent where None."""
    sealed: bool = False
    """Whether each job may have sealed both with itself, instead of naming Secrets."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """An endpoint, and what one job has to tell it."""

    endpoint: Endpoint
    url: str
    events: frozenset[WebhookEvent]


def callback_key(
    namespace: str, url: str, signing: SecretKeyRef | None, token: SecretKeyRef | None, sealed: bool = False
) -> str:
    """The key of a callback's endpoint."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    origin = f"{(parts.hostname or '').lower()}:{port}"
    refs = "|".join(f"{ref.name}/{ref.key}" if ref is not None else "" for ref in (signing, token))
    digest = hashlib.sha256(f"{parts.scheme}|{refs}{'|sealed' if sealed else ''}".encode()).hexdigest()[:8]
    return f"callback/{namespace}/{origin}/{digest}"


def recipients(job: AnalysisJob, queue: AnalysisQueue | None) -> tuple[Recipient, ...]:
    """Who is told of this job's changes. `queue` is the one that accepted it, None where there is none."""
    found = []
    namespace = job.metadata.namespace
    if (callback := job.spec.callback) is not None:
        sealed = job.spec.sealed is not None and callback.secret_ref is None and callback.token_ref is None
        try:
            key = callback_key(namespace, callback.url, callback.secret_ref, callback.token_ref, sealed)
        except ValueError:  # a port beyond 65535, or a broken IPv6 address: the schema lets them in
            key = f"callback/{namespace}/invalid/{hashlib.sha256(callback.url.encode()).hexdigest()[:8]}"
        endpoint = Endpoint(key, namespace, callback.secret_ref, callback.token_ref, sealed)
        found.append(Recipient(endpoint, callback.url, _chosen(callback.events)))
    if queue is not None:
        for each in queue.spec.endpoints:
            key = f"queue/{namespace}/{queue.metadata.name}/{each.name}"
            endpoint = Endpoint(key, namespace, each.secret_ref, each.token_ref)
            found.append(Recipient(endpoint, each.url, _chosen(each.events)))
    return tuple(found)


def _chosen(events: Iterable[WebhookEvent] | None) -> frozenset[WebhookEvent]:
    return frozenset(WebhookEvent) if events is None else frozenset(events)
