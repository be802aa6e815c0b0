"""The version of this command."""

from __future__ import annotations


def own_version() -> str:
    """As the distribution says; "unknown" where it is run from its sources."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("klipstream-queue")
    except PackageNotFoundError:
        return "unknown"
