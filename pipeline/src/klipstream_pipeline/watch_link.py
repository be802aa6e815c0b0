"""Links to a moment of a video, where its URL has a form for that."""

import re
from urllib.parse import parse_qs, urlsplit

_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{6,20}")
_TWITCH_VIDEO = re.compile(r"/(?:videos|[A-Za-z0-9_]+/v)/(\d{4,20})/?")
_YOUTUBE_PATH = re.compile(r"/(?:live|shorts|embed)/([A-Za-z0-9_-]{6,20})/?")
_FILE = re.compile(r"\.(?:mp4|m4v|webm|mov|mp3|m4a|ogg|opus|wav)$", re.IGNORECASE)


def watch_link(url: str, seconds: float) -> str | None:
    """The URL at a time, or None: YouTube and Twitch have a parameter, plain media files a fragment (W3C Media
    Fragments). A URL with a password, or with a query elsewhere, may hold a secret and is never handed on."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    host = (parts.hostname or "").removeprefix("www.").removeprefix("m.")
    at = max(0, int(seconds))
    if parts.scheme not in ("http", "https") or parts.username or parts.password:
        return None
    if host in ("youtube.com", "youtu.be"):
        found = _YOUTUBE_PATH.fullmatch(parts.path)
        video = found[1] if found else parse_qs(parts.query).get("v", [""])[0]
        if host == "youtu.be":
            video = parts.path.strip("/")
        return f"https://www.youtube.com/watch?v={video}&t={at}s" if _YOUTUBE_ID.fullmatch(video) else None
    if host == "twitch.tv":
        found = _TWITCH_VIDEO.fullmatch(parts.path)
        clock = f"{at // 3600}h{at // 60 % 60}m{at % 60}s"
        return f"https://www.twitch.tv/videos/{found[1]}?t={clock}" if found else None
    if parts.query or not _FILE.search(parts.path):
        return None
    return f"{parts.scheme}://{parts.netloc}{parts.path}#t={at}"
