"""What lies in a folder that somebody else writes to."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


def contents(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Each file below a folder and what it holds; those that are renamed or removed meanwhile are left out."""
    for path in folder.rglob("*"):
        if path.is_file():
            with contextlib.suppress(FileNotFoundError):
                yield path, path.read_bytes()
