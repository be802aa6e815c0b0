"""Sealing of sensitive fields: anybody seals with the published key, the relay and the worker's endpoint open.

What is sealed is bound to a namespace and a job id, so that it opens for no other job.
"""

from klipstream_sealing.fields import BadFields, SealedCallback, SealedFields, sealed_fields
from klipstream_sealing.hpke import CannotOpen, KeyMissing, PublicKey, seal
from klipstream_sealing.ring import BadRing, KeyRing
from klipstream_sealing.ring_file import RingFile

__all__ = [
    "BadFields",
    "BadRing",
    "CannotOpen",
    "KeyMissing",
    "KeyRing",
    "PublicKey",
    "RingFile",
    "SealedCallback",
    "SealedFields",
    "seal",
    "sealed_fields",
]
