"""What the fetching process is asked for: known to both sides, so that this one need not load yt-dlp."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Wanted:
    """What to fetch."""

    url: str
    target: str
    """Path of the file; what is there of it beside it, under yt-dlp's names, is gone on with."""
    kind: str
    """video, by yt-dlp; or file, as it is (the chat)."""
    largest_bytes: int
    allowed: str = ""
    """Networks that may be reached though they are not public."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Wanted":
        return cls(**json.loads(text))
