"""API keys: 256 random bits each, known here by their hash only.

A key is a file of JSON in a folder, which a Secret is mounted as: adding, changing and revoking a key is a patch of the
Secret and needs no restart. A key is `klip_ID_SECRET`; ID names its file, SECRET is never stored.
"""

import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from klipstream_gateway.routes import Principal, Scope

log = logging.getLogger(__name__)
PREFIX = "klip"
_KEY = re.compile(rf"{PREFIX}_(?P<id>[0-9a-f]{{12}})_(?P<secret>[A-Za-z0-9_-]{{43}})")
RELOAD_SECONDS = 2.0
KEY_FILE_BYTES = 4096

Tenant = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


class StoredKey(BaseModel):
    """What is kept of a key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
    name: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.@ ]*$")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    tenant: Tenant | None = None
    expires: AwareDatetime | None = None
    created: AwareDatetime

    @model_validator(mode="after")
    def _administrators_have_no_tenant(self) -> Self:
        """Queues are everybody's: who pauses, clears or configures one acts on all tenants, and sees them."""
        if self.tenant is not None and Scope.ADMIN in self.scopes:
            raise ValueError("a key of a tenant cannot have the scope admin: queues are shared by all tenants")
        return self


def is_api_key(token: str) -> bool:
    """Whether a bearer token has the form of an API key; others are taken for Kubernetes tokens."""
    return token.startswith(f"{PREFIX}_")


def new_key(
    name: str, scopes: tuple[Scope, ...], tenant: str | None, expires: datetime | None, now: datetime
) -> tuple[str, StoredKey]:
    """A new key, to be shown once, and what is stored of it. Raises pydantic.ValidationError."""
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    key = f"{PREFIX}_{key_id}_{secret}"
    stored = StoredKey(
        id=key_id, name=name, sha256=_hash(secret), scopes=scopes, tenant=tenant, expires=expires, created=now
    )
    return key, stored


def _hash(secret: str) -> str:
    """Plain SHA-256 is enough for 256 random bits: there is nothing to guess."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(slots=True)
class KeyFolder:
    """The keys of a folder, read again when it changes. None: there are no keys."""

    folder: Path | None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _keys: dict[str, StoredKey] = field(default_factory=dict)
    _seen: tuple[tuple[str, int, int], ...] | None = None
    _looked_at: float = float("-inf")

    def principal(self, token: str) -> Principal | None:
        """Whom a key belongs to; None where it is unknown, wrong or expired."""
        match = _KEY.fullmatch(token)
        if match is None:
            return None
        self._refresh()
        stored = self._keys.get(match["id"])
        # Compared in any case, so that the time tells nothing of which ids exist.
        expected = stored.sha256 if stored is not None else "0" * 64
        if not hmac.compare_digest(expected, _hash(match["secret"])) or stored is None:
            return None
        if stored.expires is not None and stored.expires <= self.now():
            return None
        return Principal(f"key:{stored.name}", frozenset(stored.scopes), stored.tenant)

    def _refresh(self) -> None:
        if self.folder is None or time.monotonic() - self._looked_at < RELOAD_SECONDS:
            return
        self._looked_at = time.monotonic()
        try:
            files = sorted(path for path in self.folder.iterdir() if path.suffix == ".json")
            seen = tuple((path.name, (stat := path.stat()).st_mtime_ns, stat.st_ino) for path in files)
            if seen == self._seen:
                return
            self._keys = {key.id: key for path in files if (key := _read(path)) is not None}
            self._seen = seen
            log.info("%d API keys in %s", len(self._keys), self.folder)
        except OSError as error:
            # A mounted Secret is swapped while it is read: the keys that are known stay until the next look.
            log.warning("The API keys in %s cannot be read now: %s", self.folder, error)


def _read(path: Path) -> StoredKey | None:
    with path.open("rb") as file:
        content = file.read(KEY_FILE_BYTES)
    try:
        return StoredKey.model_validate_json(content)
    except ValidationError as error:
        log.error("%s is no API key and is left out: %s", path.name, error.errors(include_input=False)[0]["msg"])
        return None
