"""URLs that let in whoever has them: with a signature, a token or a password (pure)."""

import re
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

# Of S3 (X-Amz-Signature, X-Amz-Security-Token, AWSAccessKeyId), Google (X-Goog-Signature, GoogleAccessId), Azure (sig),
# CloudFront (Policy, Key-Pair-Id), Akamai (hdnts, hdnea, hdntl, hmac), Tencent (sign), Alibaba (auth_key), Wowza
# (wowzatokenhash, wmsAuthSign), VK (hash, h), TikTok (verify), Bunny and others (token). Whole names, after a prefix at
# most: pages' own parameters v, t, author, authuser and monkey are none.
_NAMES = re.compile(
    r".*(signature|credential|password|passwd).*"
    r"|(.*[-_.])?(token|secret|pwd|sig|hmac|jwt|auth|authorization|sign|session-?id)"
    r"|(.*[-_.])?(api|access|auth|private|secret|signing|session)[-_]?key([-_]?id)?"
    r"|(oauth|access|auth|id|refresh|security|session)token|(aws|oss)accesskeyid|googleaccessid"
    r"|policy|key|key-pair-id|hdnts|hdnea|hdntl|hdnia|md5|verify|hash|h|wmsauthsign|wowzatokenhash"
    r"|jsessionid|phpsessid|sessionid|sid",
    re.IGNORECASE,
)
_PARTS = re.compile(r"[/;~,!&?#]+")
"""What stands between `name=value` in a path (`/exp=1~hmac=…/`, `;jsessionid=…`), in a fragment, in a URL in a URL."""
_WHICH = ("v", "id", "vid", "video", "video_id")
"""Parameters that say which video it is."""


def without_signature(url: str) -> str | None:
    """What may be shown of a URL that lets in; None where the whole URL may be.

    Of its query only what says which video it is stays: the parts beside a signature, such as whose it is, are nobody's
    business either. A path that lets in goes whole, since nobody knows where its secret ends. Raises ValueError where
    the URL cannot be taken apart, and so nothing can be said of it.
    """
    parts = urlsplit(url)
    _ = parts.port  # raises where it is no number
    query = parse_qsl(parts.query, keep_blank_values=True)
    path = _lets_in(unquote(parts.path))
    signed = any(_NAMES.fullmatch(name) or _lets_in(value) for name, value in query)
    if not (path or signed or parts.username is not None or _lets_in(unquote(parts.fragment))):
        return None
    kept = [(name, value) for name, value in query if name.lower() in _WHICH and not _lets_in(value)]
    shown = "&".join(f"{quote(name)}={quote(value, safe='')}" for name, value in kept)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "/" if path else parts.path, shown, ""))


def _lets_in(text: str) -> bool:
    """Whether there is a `name=value` of a signature in it."""
    found = (part.partition("=") for part in _PARTS.split(text))
    return any(sign and _NAMES.fullmatch(name) for name, sign, _ in found)
