"""What an attempt leaves for the next one: a small value that travels with the progress, and files where they can be.

The value is JSON of at most 1024 characters in the queue's status; a larger one needs a results store that is a folder.
"""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

from klipstream_worker.results_folder import write_file

log = logging.getLogger("klipstream_worker")
CHARACTERS = 1024
_NAME = re.compile(r"value-a([0-9]{1,9})\.json")


class CheckpointTooLarge(ValueError):
    """It fits into no progress post, and there is no folder for it."""


class Checkpoints:
    """Saves and finds the checkpoint of a job, in `folder` (None where there is none) and as a posted value."""

    def __init__(self, folder: Path | None, attempt: int, posted: str | None) -> None:
        self.folder = folder
        self._attempt = attempt
        self.found = self._find(posted)
        """The value that the last attempt saved; None where none did."""

    def _find(self, posted: str | None) -> Any:
        """The folder's is believed first: it is written before the post. One that cannot be read is passed over, and so
        is what an attempt wrote that came after this one. A posted value that is no JSON is returned as it is.
        """
        for path in self._files():
            try:
                return json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                log.warning("the checkpoint %s cannot be read: %s", path, error)
        if posted is None:
            return None
        try:
            return json.loads(posted)
        except ValueError:
            return posted

    def save(self, value: Any) -> str | None:
        """Save a JSON value; what is to be posted of it, None where it is too long for that.

        Raises CheckpointTooLarge, and TypeError where it is no JSON.
        """
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        content, saved = text.encode(), False
        if self.folder is not None:
            try:
                # A file per attempt: one that lives on beside its successor overwrites nothing.
                write_file(self.folder / f"value-a{self._attempt}.json", content)
                saved = True
            except OSError as error:
                log.warning("the checkpoint could not be written to %s: %s", self.folder, error)
        if len(text) <= CHARACTERS:
            return text
        if not saved:
            raise CheckpointTooLarge(
                f"a checkpoint of {len(text)} characters needs a results store that is a folder (file://);"
                f" {CHARACTERS} characters travel with the progress"
            )
        return None

    def _files(self) -> list[Path]:
        """Of this attempt (which may have been interrupted) and of earlier ones, the last first."""
        try:
            paths = list(self.folder.iterdir()) if self.folder is not None else []
        except FileNotFoundError:
            return []
        except OSError as error:
            log.warning("checkpoints cannot be looked for: %s", error)
            return []
        found = [(int(match[1]), path) for path in paths if (match := _NAME.fullmatch(path.name))]
        return [path for attempt, path in sorted(found, reverse=True) if attempt <= self._attempt]
