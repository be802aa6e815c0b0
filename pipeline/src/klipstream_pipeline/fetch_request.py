"""What the fetching process is asked for: known to both sides, so that this one need not load yt-dlp."""

import json
from dataclasses import asdict, dataclass
from urllib.parse import parse_qsl, urlsplit

SECRET_CHARACTERS = 8
"""Parts of a query that are shorter sign nothing, and would be found in any text."""


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
    named: str | None = None
    """What the URL is called in messages and logs, where it holds a signature; the URL itself where None."""

    def shown(self, text: str) -> str:
        """A text about it as others may read it."""
        if self.named is None or self.named == self.url:
            return text
        parts = urlsplit(self.url)
        text = text.replace(self.url, self.named)
        secrets = [parts.query, parts.password or ""]
        for pair in parts.query.split("&"):
            secrets.append(pair.partition("=")[2])
        secrets += [value for _, value in parse_qsl(parts.query)]
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= SECRET_CHARACTERS:
                text = text.replace(secret, "…")
        return text

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Wanted":
        return cls(**json.loads(text))
