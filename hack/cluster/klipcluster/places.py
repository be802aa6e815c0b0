"""Where things are kept: binaries in the cache, clusters in the state folder (XDG base directories)."""

import os
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent


def cache_folder() -> Path:
    """Folder of what was built or downloaded; may be removed at any time."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "klipstream"


def clusters_folder() -> Path:
    """Folder with one folder per cluster."""
    root = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(root) / "klipstream" / "clusters"
