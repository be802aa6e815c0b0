"""What has been transcribed, kept part by part while it goes on, so that a later attempt need not hear it again.

<checkpoints>/transcript-KEY-NNNNN.json, each a few lines of JSON, one an utterance; written whole and never changed, so
that it works on a bucket as well. KEY stands for all that the words depend on: another video or engine starts afresh.
"""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from klipstream_pipeline.speech import Utterance
from klipstream_pipeline.transcript import Segment
from klipstream_results import ResultStore, ResultStoreError

log = logging.getLogger(__name__)
SAVE_SECONDS = 10.0
"""At most that much work is lost with a worker."""
MOST_PARTS = 99_999


def key_of(*parts: str) -> str:
    """A short name for what something depends on."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Heard:
    """An utterance and its words."""

    number: int
    start_seconds: float
    end_seconds: float
    segments: tuple[Segment, ...]

    def to_line(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str) -> "Heard":
        """Raises ValueError, TypeError or KeyError for a line that is not whole."""
        said = json.loads(line)
        segments = tuple(Segment(**each) for each in said["segments"])
        return cls(int(said["number"]), float(said["start_seconds"]), float(said["end_seconds"]), segments)

    def is_of(self, utterance: Utterance) -> bool:
        """Whether it was cut alike."""
        return (self.number, self.start_seconds, self.end_seconds) == (
            utterance.number, utterance.start_seconds, utterance.end_seconds,
        )  # fmt: skip


class SegmentLog:
    """The saved utterances of one key, and those of this attempt."""

    def __init__(self, store: ResultStore, job_id: str, key: str) -> None:
        """Read what there is. Raises ResultStoreError."""
        self._store, self._job_id, self._key = store, job_id, key
        self._part = 0
        self._waiting: list[Heard] = []
        self._saved_at = time.monotonic()
        self.saved = self._read()

    def _read(self) -> list[Heard]:
        """All utterances in a row from the first; what comes after a gap or a torn line is not believed."""
        found: list[Heard] = []
        while self._part < MOST_PARTS:
            content = self._store.load_checkpoint(self._job_id, self._name(self._part))
            if content is None:
                break
            self._part += 1
            for line in content.decode("utf-8", "replace").splitlines():
                try:
                    heard = Heard.from_line(line)
                except (ValueError, TypeError, KeyError):
                    log.warning("a line of %s is torn: what follows is heard again", self._name(self._part - 1))
                    break
                if heard.number == len(found):
                    found.append(heard)
        return found

    def _name(self, part: int) -> str:
        return f"transcript-{self._key}-{part:05d}"

    def of(self, utterance: Utterance) -> tuple[Segment, ...] | None:
        """Its words, where they were saved."""
        if utterance.number < len(self.saved):
            heard = self.saved[utterance.number]
            if heard.is_of(utterance):
                return heard.segments
            log.warning("the sound is cut otherwise than before from utterance %d on: it is heard again", heard.number)
            del self.saved[utterance.number :]
        return None

    def add(self, utterance: Utterance, segments: Sequence[Segment], *, now: bool = False) -> bool:
        """Keep the words of the next utterance; True where that saved a part."""
        heard = Heard(utterance.number, utterance.start_seconds, utterance.end_seconds, tuple(segments))
        self._waiting.append(heard)
        if not now and time.monotonic() - self._saved_at < SAVE_SECONDS:
            return False
        return self.flush()

    def flush(self) -> bool:
        """Save what waits. A store that is away costs only the checkpoint; the next part holds it as well."""
        if not self._waiting:
            return False
        self._saved_at = time.monotonic()
        content = "".join(f"{each.to_line()}\n" for each in self._waiting).encode()
        try:
            self._store.save_checkpoint(self._job_id, self._name(self._part), content)
        except ResultStoreError as error:
            log.warning("a checkpoint could not be saved: %s", error)
            return False
        self._part += 1
        self._waiting.clear()
        return True
