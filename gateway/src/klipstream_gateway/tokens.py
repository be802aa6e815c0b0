"""Kubernetes tokens: who it is says a TokenReview, what they may do SubjectAccessReviews.

A scope is given to those who could do with kubectl all that it allows here, and to nobody else: whoever submits may
cancel, retry and prioritise as well, which are patches; whoever reads sees logs.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from klipstream_api import names
from klipstream_gateway.routes import Principal, Scope
from klipstream_kube import TOKEN_REVIEWS, Client, Resource

ACCESS_REVIEWS = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False)
CACHED_SECONDS = 30.0
"""How long a token that was revoked, or a role that was taken away, may still be believed."""
CACHED_AT_MOST = 4096


@dataclass(frozen=True, slots=True)
class Right:
    """What RBAC gives: a verb on a resource, or on a part of it."""

    verb: str
    resource: str
    group: str = names.GROUP
    version: str = names.VERSION
    subresource: str = ""


_SUBMIT = (Right("create", "analysisjobs"), Right("patch", "analysisjobs"))
_READ = (Right("list", "analysisjobs"), Right("get", "pods", "", "v1", "log"))
NEEDED: Mapping[Scope, tuple[Right, ...]] = {
    Scope.SUBMIT: _SUBMIT,
    Scope.READ: _READ,
    Scope.ADMIN: (*_SUBMIT, *_READ, Right("patch", "analysisqueues")),  # admin includes the others
}


@dataclass(slots=True)
class Tokens:
    """Reviews tokens, and remembers the answers for a short time by the token's hash."""

    client: Client
    namespace: str
    audience: str | None = None
    _known: OrderedDict[bytes, tuple[float, Principal]] = field(default_factory=OrderedDict)

    def known(self, token: str) -> Principal | None:
        """Whom a token belongs to that was reviewed a moment ago."""
        known = self._known.get(_digest(token))
        return known[1] if known is not None and known[0] > time.monotonic() else None

    def familiar(self, token: str) -> bool:
        """Whether a token was valid when it was last reviewed, however long ago."""
        return _digest(token) in self._known

    async def principal(self, token: str) -> Principal | None:
        """Whom a token belongs to; None where it is not valid. Raises ApiError and Unreachable."""
        if (known := self.known(token)) is not None:
            return known
        key = _digest(token)
        spec: dict[str, Any] = {"token": token} | ({"audiences": [self.audience]} if self.audience else {})
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        status = (await self.client.create(TOKEN_REVIEWS, body, retry=True)).get("status", {})
        if not status.get("authenticated") or (self.audience and self.audience not in status.get("audiences", ())):
            self._known.pop(key, None)
            return None
        user = status.get("user", {})
        rights = {right: await self._may(user, right) for right in NEEDED[Scope.ADMIN]}
        granted = frozenset(scope for scope in Scope if all(rights[right] for right in NEEDED[scope]))
        principal = Principal(f"kubernetes:{user.get('username', '')}", granted)
        self._known[key] = (time.monotonic() + CACHED_SECONDS, principal)
        self._known.move_to_end(key)
        if len(self._known) > CACHED_AT_MOST:
            self._known.popitem(last=False)
        return principal

    async def _may(self, user: dict[str, Any], right: Right) -> bool:
        attributes = asdict(right) | {"namespace": self.namespace}
        spec = {
            "resourceAttributes": attributes,
            "user": user.get("username", ""),
            "uid": user.get("uid", ""),
            "groups": user.get("groups", []),
            "extra": user.get("extra", {}),
        }
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        answer = await self.client.create(ACCESS_REVIEWS, body, retry=True)
        return bool(answer.get("status", {}).get("allowed"))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
