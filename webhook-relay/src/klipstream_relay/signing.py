"""Signatures of the Standard Webhooks specification (symmetric, `v1`), so that any of its libraries verifies them."""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

PREFIX = "whsec_"
SHORTEST_BYTES, LONGEST_BYTES = 24, 64
SECRETS_AT_MOST = 4
_MESSAGE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


class BadSecret(ValueError):
    """A signing secret cannot be used; the message says how one looks, and never what it is."""


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """The key of one signing secret, 24 to 64 bytes."""

    key: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "SigningSecret":
        """The secret as the specification writes it: `whsec_` and base64. Raises BadSecret."""
        try:
            key = base64.b64decode(text.strip().removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise BadSecret(f"a signing secret is {PREFIX} followed by base64; this one is not base64") from None
        if not SHORTEST_BYTES <= len(key) <= LONGEST_BYTES:
            raise BadSecret(
                f"a signing secret has {SHORTEST_BYTES} to {LONGEST_BYTES} bytes before base64; this one has {len(key)}"
            )
        return cls(key)


def parse_secrets(text: str) -> tuple[SigningSecret, ...]:
    """All secrets of a text, between white space: several while one is being replaced. Raises BadSecret."""
    words = text.split()
    if not 1 <= len(words) <= SECRETS_AT_MOST:
        raise BadSecret(f"{len(words)} signing secrets are given: write 1 to {SECRETS_AT_MOST} of them, one a line")
    return tuple(SigningSecret.parse(word) for word in words)


def new_secret() -> str:
    """A new signing secret as text."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def headers(secrets: Sequence[SigningSecret], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """`webhook-id`, `webhook-timestamp` (Unix seconds) and, with a secret, `webhook-signature` of a delivery.

    Every secret signs, so that a receiver which knows the old or the new one verifies it (the specification's secret
    rotation). Raises ValueError for an id that could be mistaken for other parts of what is signed.
    """
    if not _MESSAGE_ID.fullmatch(message_id):
        raise ValueError(f"message id {message_id!r}: letters, digits, - and _ only")
    found = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
    if secrets:
        signed = f"{message_id}.{timestamp}.".encode() + body
        found["webhook-signature"] = " ".join(f"v1,{_signature(secret.key, signed)}" for secret in secrets)
    return found


def _signature(key: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
