"""Settings are environment variables; one that cannot be used ends the process with a message that names it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PREFIX = "KLIPSTREAM_"
_SWITCH = {"on": True, "true": True, "off": False, "false": False}


class BadSetting(ValueError):
    """A setting cannot be used; the message names it and says what it may be."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Reads variables by their name without the prefix. A variable that is empty counts as not set.

    Everything raises BadSetting.
    """

    variables: Mapping[str, str]

    def text(self, name: str, default: str = "") -> str:
        """Without the blanks around it."""
        return self.variables.get(PREFIX + name, "").strip() or default

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """From `low` to `high`, both included."""
        value = self.text(name, str(default))
        try:
            parsed = float(value)
        except ValueError:
            parsed = float("nan")
        if not low <= parsed <= high:
            raise self.bad(name, f"use a number from {low} to {high}")
        return parsed

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """A number without a fraction."""
        value = self.number(name, default, low, high)
        if value != int(value):
            raise self.bad(name, "use a whole number")
        return int(value)

    def switch(self, name: str, default: bool) -> bool:
        """on, off, true or false."""
        value = self.text(name).lower()
        if not value:
            return default
        if value not in _SWITCH:
            raise self.bad(name, "use on or off")
        return _SWITCH[value]

    def choice(self, name: str, *choices: str) -> str:
        """One of several words; the first where nothing is set."""
        value = self.text(name, choices[0])
        if value not in choices:
            raise self.bad(name, f"use {' or '.join(choices)}")
        return value

    def words(self, name: str) -> tuple[str, ...]:
        """What commas separate, in its order."""
        return tuple(filter(None, (part.strip() for part in self.text(name).split(","))))

    def path(self, name: str) -> Path | None:
        """A path at which something may appear later; None where it is not set."""
        value = self.text(name)
        return Path(value) if value else None

    def file(self, name: str) -> Path | None:
        """A file that is there; None where it is not set."""
        found = self.path(name)
        if found is not None and not found.is_file():
            raise self.bad(name, "there is no such file")
        return found

    def folder(self, name: str) -> Path | None:
        """A folder that is there; None where it is not set."""
        found = self.path(name)
        if found is not None and not found.is_dir():
            raise self.bad(name, "there is no such folder")
        return found

    def content(self, name: str) -> str | None:
        """What a file holds, such as a secret; None where it is not set."""
        found = self.path(name)
        if found is None:
            return None
        try:
            content = found.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise self.bad(name, f"it cannot be read: {getattr(error, 'strerror', None) or error}") from error
        if not content:
            raise self.bad(name, "the file is empty")
        return content

    def log_level(self) -> str:
        """LOG_LEVEL, as logging names it."""
        value = self.text("LOG_LEVEL", "INFO").upper()
        if value not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise self.bad("LOG_LEVEL", "use DEBUG, INFO, WARNING or ERROR")
        return value

    def log_format(self) -> str:
        """LOG_FORMAT: plain or json."""
        return self.choice("LOG_FORMAT", "plain", "json")

    def bad(self, name: str, remedy: str) -> BadSetting:
        """The error of a variable, with what it holds and what to do about it."""
        return BadSetting(f"{PREFIX}{name}={self.text(name)!r}: {remedy}")
