"""The files that pages load: our own script and style, and what is vendored, with hashes of what was taken in."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "assets"
VENDOR = FOLDER / "vendor"
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".LICENSE": "text/plain"}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file. Its address changes with its content, so that browsers may keep it for ever."""

    content: bytes
    media_type: str
    version: str


@dataclass(frozen=True, slots=True)
class Vendored:
    """A file that was taken from a package of the npm registry as it is."""

    file: str
    package: str
    version: str
    path: str
    licence: str
    licence_file: str
    sha256: str


def vendored() -> tuple[Vendored, ...]:
    """What manifest.json says."""
    return tuple(Vendored(**each) for each in json.loads((VENDOR / "manifest.json").read_text()))


def assets() -> Mapping[str, Asset]:
    """All files by name. Raises ValueError for a vendored one that is not what was taken in."""
    expected = {each.file: each.sha256 for each in vendored()}
    found = {}
    for path in sorted([*FOLDER.iterdir(), *VENDOR.iterdir()]):
        if path.suffix not in MEDIA_TYPES:
            continue
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if path.parent == VENDOR and path.suffix != ".LICENSE" and expected.get(path.name) != digest:
            raise ValueError(f"{path.name} is not the file that was vendored: its sha256 is {digest}")
        found[path.name] = Asset(content, MEDIA_TYPES[path.suffix], digest[:16])
    return found
