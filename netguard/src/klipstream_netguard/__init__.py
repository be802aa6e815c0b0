"""Which addresses and URLs may be called from inside a cluster on somebody else's word: the SSRF guard.

Pure, and of the standard library alone: it resolves nothing and opens nothing. Whoever connects asks it twice: with
`url_problem` before anything is looked up, and with `Rules.refusal` for every address that the name led to.
"""

from klipstream_netguard.addresses import Address, Network, refusal
from klipstream_netguard.rules import BadRule, PlainHttp, Rules
from klipstream_netguard.urls import Target, host_matches, parse_target, url_problem

__all__ = [
    "Address",
    "BadRule",
    "Network",
    "PlainHttp",
    "Rules",
    "Target",
    "host_matches",
    "parse_target",
    "refusal",
    "url_problem",
]
