"""Who posts progress: a projected ServiceAccount token, reviewed by the API server, names the pod."""

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from klipstream_api import names
from klipstream_kube import PODS, TOKEN_REVIEWS, Client, NotFound
from klipstream_operator.workload import PodView, view_pod

CACHED_SECONDS = 300.0
CACHED_AT_MOST = 4096
POD_UID_KEY = "authentication.kubernetes.io/pod-uid"
POD_NAME_KEY = "authentication.kubernetes.io/pod-name"


class NotAuthenticated(Exception):
    """The token is missing, expired, for another audience, or bound to no pod."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The pod that a token is bound to."""

    namespace: str
    pod_name: str
    pod_uid: str


@dataclass(slots=True)
class Identities:
    """Reviews tokens, and remembers the answer for five minutes by the token's hash."""

    client: Client
    _known: OrderedDict[bytes, tuple[float, Identity]] = field(default_factory=OrderedDict)

    async def of(self, token: str) -> Identity:
        """The identity behind a token. Raises NotAuthenticated; ApiError or Unreachable where nobody can say."""
        key = hashlib.sha256(token.encode()).digest()
        known = self._known.get(key)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [names.PROGRESS_AUDIENCE]},
        }
        status = (await self.client.create(TOKEN_REVIEWS, body, retry=True)).get("status", {})
        user = status.get("user", {})
        extra = user.get("extra", {})
        parts = str(user.get("username", "")).split(":")
        if (
            not status.get("authenticated")
            or names.PROGRESS_AUDIENCE not in status.get("audiences", ())
            or POD_UID_KEY not in extra
            or parts[:2] != ["system", "serviceaccount"]
        ):
            raise NotAuthenticated(status.get("error") or "the token is not a worker's")
        identity = Identity(parts[2], extra[POD_NAME_KEY][0], extra[POD_UID_KEY][0])
        self._known[key] = (time.monotonic() + CACHED_SECONDS, identity)
        if len(self._known) > CACHED_AT_MOST:
            self._known.popitem(last=False)
        return identity

    async def pod(self, identity: Identity) -> PodView | None:
        """The worker pod of an identity, live; None where it is gone or not one of ours."""
        try:
            view = view_pod(await self.client.get(PODS, identity.pod_name, identity.namespace))
        except NotFound:
            return None
        return view if view is not None and view.uid == identity.pod_uid else None
