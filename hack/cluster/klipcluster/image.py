"""A one-file container image, written by hand as an OCI archive: enough for a pod's pause container."""

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path
from typing import Any


def write_image(archive: Path, name: str, program: Path, entry: str) -> None:
    """Write an OCI archive with a single static program at the path `entry`."""
    layer = _tar({entry.lstrip("/"): program.read_bytes()}, mode=0o755)
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    config = _json({
        "architecture": architecture, "os": "linux", "config": {"Entrypoint": [entry]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    })  # fmt: skip
    manifest = _json({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    })  # fmt: skip
    listed: dict[str, Any] = _descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
    listed["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    files = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
             "index.json": _json({"schemaVersion": 2, "manifests": [listed]})}  # fmt: skip
    files |= {f"blobs/sha256/{_digest(blob)[7:]}": blob for blob in (layer, config, manifest)}
    archive.write_bytes(_tar(files))


def _tar(files: dict[str, bytes], mode: int = 0o644) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}
