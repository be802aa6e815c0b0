"""A key ring in a file that changes under a running process: the mount of a Secret."""

from dataclasses import dataclass, field
from pathlib import Path

from klipstream_sealing.hpke import KeyMissing
from klipstream_sealing.ring import BadRing, KeyRing


@dataclass(slots=True)
class RingFile:
    """Reads the ring when it is needed, and again when the file was changed; a rotation is there in a minute."""

    path: Path
    _read: tuple[tuple[int, int], KeyRing] | None = field(default=None, repr=False)

    def open(self, sealed: str, namespace: str, job_id: str) -> bytes:
        """As KeyRing.open; KeyMissing as well where there is no ring or it cannot be read."""
        try:
            found = self.path.stat()
            stamp = found.st_mtime_ns, found.st_ino
            if self._read is None or self._read[0] != stamp:
                self._read = stamp, KeyRing.from_json(self.path.read_bytes())
        except OSError:
            raise KeyMissing("sealing is not set up here: there is no key ring") from None
        except BadRing as error:
            raise KeyMissing(f"the key ring cannot be read: {error}") from None
        return self._read[1].open(sealed, namespace, job_id)
