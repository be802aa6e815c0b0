"""One message sealed and opened: HPKE (RFC 9180) in base mode, by the `cryptography` library.

The namespace and the job id are part of HPKE's `info`: with others the message does not open.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

FORMAT = "seal1"
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_SEALED = re.compile(rf"{FORMAT}\.(?P<key>[0-9a-f]{{16}})\.(?P<message>[A-Za-z0-9_-]+)")
_PUBLIC = re.compile(rf"klipstream-{FORMAT}:(?P<key>[0-9a-f]{{16}}):(?P<public>[A-Za-z0-9_-]{{43}})")


class CannotOpen(Exception):
    """What was sealed does not open; the message says why and what to do, and nothing of what is in it."""


class KeyMissing(CannotOpen):
    """The key is not here, or not here yet: a rotation takes a minute to reach everybody."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A published key. Its text is `klipstream-seal1:KEY-ID:BASE64`; the id follows from the key."""

    raw: bytes

    @property
    def key_id(self) -> str:
        """Names the key within what it sealed."""
        return key_id(self.raw)

    def __str__(self) -> str:
        return f"klipstream-{FORMAT}:{self.key_id}:{encode(self.raw)}"

    @classmethod
    def parse(cls, text: str) -> "PublicKey":
        """The key of its text. Raises ValueError."""
        match = _PUBLIC.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"no public key: it looks like klipstream-{FORMAT}:KEY-ID:BASE64")
        key = cls(decode(match["public"]))
        if len(key.raw) != 32 or key.key_id != match["key"]:
            raise ValueError("this public key is not whole: its id does not fit; copy it again")
        return key


def seal(message: bytes, key: PublicKey, namespace: str, job_id: str) -> str:
    """The message as `seal1.KEY-ID.BASE64`, to be opened for this namespace and job id alone."""
    sealed = _SUITE.encrypt(message, X25519PublicKey.from_public_bytes(key.raw), info=_info(namespace, job_id))
    return f"{FORMAT}.{key.key_id}.{encode(sealed)}"


def named_key(sealed: str) -> str:
    """The id of the key that a sealed text asks for. Raises CannotOpen for a text that is none."""
    return _parsed(sealed)[0]


def open_with(private: X25519PrivateKey, sealed: str, namespace: str, job_id: str) -> bytes:
    """The message. Raises CannotOpen where the key, the namespace or the job id is another, or the text was changed."""
    _, message = _parsed(sealed)
    try:
        return _SUITE.decrypt(message, private, info=_info(namespace, job_id))
    except (InvalidTag, ValueError):
        raise CannotOpen(
            f"it was not sealed for namespace {namespace} and job id {job_id}, or was changed: seal it again for them"
        ) from None


def key_id(public: bytes) -> str:
    """The first half of SHA-256's first half: enough to tell the keys of a ring apart."""
    return hashlib.sha256(public).hexdigest()[:16]


def encode(raw: bytes) -> str:
    """Base64 as it may stand in a URL, without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """The bytes of `encode`. Raises ValueError."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from None


def _info(namespace: str, job_id: str) -> bytes:
    """Raises ValueError for a namespace with a line break, by which two pairs could look alike."""
    if "\n" in namespace:
        raise ValueError(f"no namespace is called {namespace!r}")
    return f"klipstream sealed fields\n{namespace}\n{job_id}".encode()


def _parsed(sealed: str) -> tuple[str, bytes]:
    match = _SEALED.fullmatch(sealed)
    if match is None:
        raise CannotOpen(f"it is no sealed text, which looks like {FORMAT}.KEY-ID.BASE64")
    try:
        return match["key"], decode(match["message"])
    except ValueError:
        raise CannotOpen("it is cut off: copy it again") from None
