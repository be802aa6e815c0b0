"""The private keys: the first one is published, the others still open what was sealed before them."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from klipstream_sealing.hpke import KeyMissing, PublicKey, decode, encode, named_key, open_with

KEPT = 3
"""Keys that a rotation leaves: fields cannot be sealed again, so their jobs must end while their key is kept."""
KEYS_AT_MOST = 16


class BadRing(ValueError):
    """This is no key ring; the message says why, and nothing of its keys."""


@dataclass(frozen=True, slots=True)
class RingKey:
    """A private key, and when it was made."""

    private: X25519PrivateKey = field(repr=False)
    created: str

    @property
    def public(self) -> PublicKey:
        """Its published half."""
        return PublicKey(self.private.public_key().public_bytes_raw())


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Private keys, the newest first."""

    keys: tuple[RingKey, ...]

    @classmethod
    def new(cls, now: datetime) -> "KeyRing":
        """A ring of one new key."""
        return cls(()).rotated(now, keep=1)

    def rotated(self, now: datetime, keep: int = KEPT) -> "KeyRing":
        """The ring with a new first key and the newest of the others, `keep` in all."""
        if not 1 <= keep <= KEYS_AT_MOST:
            raise ValueError(f"a ring keeps 1 to {KEYS_AT_MOST} keys, not {keep}")
        new = RingKey(X25519PrivateKey.generate(), now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        return KeyRing((new, *self.keys)[:keep])

    @property
    def public(self) -> PublicKey:
        """The key to seal with."""
        return self.keys[0].public

    def open(self, sealed: str, namespace: str, job_id: str) -> bytes:
        """What was sealed for this namespace and job id. Raises CannotOpen, of which KeyMissing is one."""
        wanted = named_key(sealed)
        for key in self.keys:
            if key.public.key_id == wanted:
                return open_with(key.private, sealed, namespace, job_id)
        raise KeyMissing(f"it was sealed with key {wanted}, which is not kept: seal it again with the published key")

    def to_json(self) -> str:
        """The ring as its Secret holds it."""
        keys = [
            {"id": key.public.key_id, "created": key.created, "private": encode(key.private.private_bytes_raw())}
            for key in self.keys
        ]
        return json.dumps({"format": "klipstream-ring1", "keys": keys}, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> "KeyRing":
        """The ring of `to_json`. Raises BadRing."""
        try:
            value: Any = json.loads(text)
            entries = value["keys"] if value["format"] == "klipstream-ring1" else None
            if not isinstance(entries, list) or not 1 <= len(entries) <= KEYS_AT_MOST:
                raise BadRing(f"a key ring holds 1 to {KEYS_AT_MOST} keys in the format klipstream-ring1")
            return cls(tuple(_key(entry) for entry in entries))
        except BadRing:
            raise
        except (ValueError, KeyError, TypeError):
            # What is wrong may well be a key: it is not repeated.
            raise BadRing("this is no key ring: make one with `python -m klipstream_sealing keygen`") from None


def _key(entry: Any) -> RingKey:
    key = RingKey(X25519PrivateKey.from_private_bytes(decode(entry["private"])), str(entry["created"]))
    if key.public.key_id != entry["id"]:
        raise BadRing("a key of the ring does not fit its id")
    return key
