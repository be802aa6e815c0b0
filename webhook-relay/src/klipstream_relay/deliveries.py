"""A delivery: one announcement for one endpoint, and where a delivery can stand."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Delivery:
    """One announcement for one endpoint, as the ledger keeps it. No secret is part of it."""

    id: str
    """The webhook-id: the same for every try, for every endpoint, and after the ledger was lost."""
    endpoint: str
    """Key of the endpoint (`endpoints.Endpoint.key`)."""
    url: str
    event: str
    """Such as job.succeeded."""
    job_uid: str
    namespace: str
    body: bytes
    created: float
    """Unix seconds at which it was put into the ledger."""
    tries: int = 0
    """Tries that count against the limit so far."""


class State(StrEnum):
    """Where a delivery stands; only a pending one is still to be sent."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    """Given up: exhausted, refused, gone or too old. It can be redelivered by hand."""
