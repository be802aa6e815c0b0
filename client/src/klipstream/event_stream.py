"""Reading server-sent events (HTML standard, 9.2.6): as much of it as the gateway sends."""

from dataclasses import dataclass, field

STREAM_SILENT_SECONDS = 45.0
"""The gateway sends a sign of life every 15 s."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event."""

    id: str
    event: str
    data: str


@dataclass(slots=True)
class EventReader:
    """Puts lines together to events."""

    last_id: str = ""
    _event: str = ""
    _data: list[str] = field(default_factory=list)

    def line(self, text: str) -> Event | None:
        """Take in a line without its end; the event that it completes."""
        if not text:
            if not self._data:
                self._event = ""
                return None
            event = Event(self.last_id, self._event or "message", "\n".join(self._data))
            self._event, self._data = "", []
            return event
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._event = value
            case "data":
                self._data.append(value)
            case "id":
                self.last_id = value
        return None
