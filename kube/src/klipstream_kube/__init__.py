"""A small asyncio client for the Kubernetes API: list, watch, guarded writes, reflector, Lease.

Knows nothing of analyses; objects are the API's own, as plain dicts.
"""

from .client import Client
from .config import Connection, Credentials, load_connection
from .errors import (
    AlreadyExists,
    ApiError,
    ConfigurationError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unreachable,
)
from .lease import LeaseElector, LeaseLost
from .reflector import Reflector
from .resources import (
    CONFIG_MAPS,
    EVENTS,
    JOBS,
    LEASES,
    NAMESPACES,
    PODS,
    SECRETS,
    TOKEN_REVIEWS,
    Resource,
)

__all__ = [
    "CONFIG_MAPS",
    "EVENTS",
    "JOBS",
    "LEASES",
    "NAMESPACES",
    "PODS",
    "SECRETS",
    "TOKEN_REVIEWS",
    "AlreadyExists",
    "ApiError",
    "Client",
    "ConfigurationError",
    "Conflict",
    "Connection",
    "Credentials",
    "Forbidden",
    "Gone",
    "Invalid",
    "LeaseElector",
    "LeaseLost",
    "NotFound",
    "Reflector",
    "Resource",
    "TooManyRequests",
    "Unauthorized",
    "Unreachable",
    "load_connection",
]
