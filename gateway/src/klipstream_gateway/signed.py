"""URLs that let in whoever has them: with a signature, a token or a password (pure)."""

import re
from urllib.parse import parse_qsl, urlsplit, urlunsplit

# Of S3 (X-Amz-Signature, Signature), Google (X-Goog-Signature), Azure (sig), CloudFront (Policy, Key-Pair-Id), Akamai
# (hdnts, hdnea, hmac), Bunny and others (token). Names of pages' parameters, such as v, t and list, are none.
_NAMES = re.compile(
    r"signature|credential|token|secret|password|passwd|api-?_?key|access-?_?key|auth"
    r"|^(sig|hmac|jwt|policy|key|key-pair-id|hdnts|hdnea|md5|st|pwd)$",
    re.IGNORECASE,
)


def without_signature(url: str) -> str | None:
    """What may be shown of a URL that lets in; None where the whole URL may be.

    The query goes as a whole: the parts beside a signature, such as whose it is, are nobody's business either.
    """
    try:
        parts = urlsplit(url)
        signed = parts.username is not None or any(
            _NAMES.search(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True)
        )
    except ValueError:
        return None
    if not signed:
        return None
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
