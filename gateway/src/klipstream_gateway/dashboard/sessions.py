"""Sessions: the credential itself, sealed into a cookie that only the gateway can open.

Nothing is kept at the gateway. Each request opens the cookie and has its credential checked as the REST API does it,
so a key that is revoked, or a token that runs out, ends the session at once, at every replica.
"""

import hashlib
import hmac
import json
import logging
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from klipstream_gateway.keys import RELOAD_SECONDS

log = logging.getLogger(__name__)
SESSION_SECONDS = 8 * 3600
COOKIE, SECURE_COOKIE = "klipstream-session", "__Host-klipstream-session"
TOKEN_CHARACTERS = 2600
"""More does not fit into a cookie of 4 KiB."""
KEY_FILE = "session-key"
KEY_FILE_BYTES = 65_536
_NONCE_BYTES = 12
_PURPOSE = b"klipstream-dashboard-session-1"


class TooLong(ValueError):
    """The credential does not fit into a cookie."""


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who signed in. `csrf` stands in each form of theirs."""

    authorization: str
    csrf: str


@dataclass(slots=True)
class Sessions:
    """Makes and opens cookies. All replicas that see the same folder of keys open each other's.

    The key is made from the file `session-key` of the folder; where there is none, from the API keys' hashes, so that
    a change of these signs everybody out; where there is no folder, it is this process' own.
    """

    folder: Path | None
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    _own: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _material: bytes | None = None
    _looked_at: float = float("-inf")

    def make(self, token: str) -> str:
        """The cookie of a bearer token. Raises TooLong."""
        if len(token) > TOKEN_CHARACTERS:
            raise TooLong(f"a token of more than {TOKEN_CHARACTERS} characters does not fit into a cookie")
        content = json.dumps({"token": token, "until": int(self.now()) + SESSION_SECONDS}).encode()
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return urlsafe_b64encode(nonce + AESGCM(self._key()).encrypt(nonce, content, _PURPOSE)).decode().rstrip("=")

    def open(self, cookie: str | None) -> Session | None:
        """The session of a cookie; None where it is none of ours, was changed, or is over."""
        if not cookie or not cookie.isascii():
            return None
        key = self._key()
        try:
            raw = urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))
            content = json.loads(AESGCM(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _PURPOSE))
        except (ValueError, InvalidTag):
            return None
        if content["until"] <= self.now():
            return None
        csrf = hmac.new(key, b"csrf" + raw, hashlib.sha256).hexdigest()
        return Session(f"Bearer {content['token']}", csrf)

    def _key(self) -> bytes:
        """Read anew after as long as the API keys are, since every request and every live part needs it."""
        if self.folder is not None and self.clock() - self._looked_at >= RELOAD_SECONDS:
            self._looked_at = self.clock()
            try:
                self._material = _material(self.folder) or self._own
            except OSError as error:
                # A mounted Secret is swapped while it is read: what is known stays until the next look.
                log.warning("The session key in %s cannot be read now: %s", self.folder, error)
        return hashlib.sha256(_PURPOSE + (self._material or self._own)).digest()


def _material(folder: Path) -> bytes | None:
    """Raises OSError."""
    try:
        return (folder / KEY_FILE).read_bytes()[:KEY_FILE_BYTES] or None
    except FileNotFoundError:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".json")
        return b"\0".join(path.read_bytes()[:KEY_FILE_BYTES] for path in files) or None
