"""What can be sealed: parameters and the video's URL for the worker, and what the relay announces the job with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from klipstream_sealing.hpke import PublicKey, seal

PARAMS_AT_MOST = 32
CHARACTERS_AT_MOST = 8192
"""Of names and values together, so that sealed they fit into spec.sealed."""
SEALED_CHARACTERS = 16_384
"""What spec.sealed takes."""
HOSTS_AT_MOST = 16
URL_CHARACTERS = 2048
PADDED_BYTES = 256
"""Filled up to a multiple, so that the length of what is sealed says little of it."""


class BadFields(ValueError):
    """The fields cannot be sealed or used; the message names the field and never a value."""


@dataclass(frozen=True, slots=True)
class SealedCallback:
    """Signing secret and bearer token of spec.callback, and the hosts that they may be used for."""

    hosts: tuple[str, ...]
    signing_secret: str | None = field(default=None, repr=False)
    bearer_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SealedFields:
    """What a submitter sealed. On the wire: {"params": {…}, "videoUrl": "https://…", "callback": {"hosts": […],
    "signingSecret": "whsec_…", "bearerToken": "…"}}, each part optional."""

    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    callback: SealedCallback | None = None
    video_url: str | None = field(default=None, repr=False)
    """The whole URL, where spec.videoUrl stands without its signature."""

    @classmethod
    def from_json(cls, text: str | bytes) -> "SealedFields":
        """The fields of their JSON. Raises BadFields."""
        try:
            value = json.loads(text)
        except ValueError:
            raise BadFields("the sealed fields are no JSON") from None
        _known(value, "the sealed fields", {"params", "callback", "videoUrl"})
        return cls(_params(value.get("params", {})), _callback(value.get("callback")), _url(value.get("videoUrl")))

    def to_json(self) -> bytes:
        """The fields as they are sealed, filled up with spaces."""
        value: dict[str, Any] = {}
        if self.params:
            value["params"] = dict(self.params)
        if self.video_url is not None:
            value["videoUrl"] = self.video_url
        if (callback := self.callback) is not None:
            parts = {
                "hosts": list(callback.hosts),
                "signingSecret": callback.signing_secret,
                "bearerToken": callback.bearer_token,
            }
            value["callback"] = {name: part for name, part in parts.items() if part is not None}
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        return text + b" " * (-len(text) % PADDED_BYTES)


def _params(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise BadFields("params must be an object whose values are strings")
    if len(value) > PARAMS_AT_MOST or sum(len(name) + len(each) for name, each in value.items()) > CHARACTERS_AT_MOST:
        raise BadFields(f"params may be {PARAMS_AT_MOST} at most, and {CHARACTERS_AT_MOST} characters with their names")
    return value


def _url(value: Any) -> str | None:
    if value is not None and not (_text(value, URL_CHARACTERS) and value.startswith(("http://", "https://"))):
        raise BadFields(f"videoUrl must be an http(s) URL of at most {URL_CHARACTERS} characters")
    return value if value is None else str(value)


def _callback(value: Any) -> SealedCallback | None:
    if value is None:
        return None
    _known(value, "callback", {"hosts", "signingSecret", "bearerToken"})
    hosts = value.get("hosts")
    listed = isinstance(hosts, list) and 1 <= len(hosts) <= HOSTS_AT_MOST and all(_text(each, 253) for each in hosts)
    if not listed:
        raise BadFields(f"callback.hosts must list 1 to {HOSTS_AT_MOST} hosts that secret and token are meant for")
    for name in ("signingSecret", "bearerToken"):
        if value.get(name) is not None and not _text(value[name], 4096):
            raise BadFields(f"callback.{name} must be a string of 1 to 4096 characters")
    return SealedCallback(tuple(hosts), value.get("signingSecret"), value.get("bearerToken"))


def _known(value: Any, where: str, names: set[str]) -> None:
    if not isinstance(value, dict) or not value.keys() <= names:
        raise BadFields(f"{where} must be an object with no more than {', '.join(sorted(names))}")


def _text(value: Any, longest: int) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= longest


def sealed_fields(fields: SealedFields, key: PublicKey, namespace: str, job_id: str) -> str:
    """The value of spec.sealed. Raises BadFields where it gets longer than that takes: characters beyond ASCII are
    several bytes each."""
    sealed = seal(fields.to_json(), key, namespace, job_id)
    if len(sealed) > SEALED_CHARACTERS:
        raise BadFields(f"sealed it has {len(sealed)} characters: spec.sealed takes {SEALED_CHARACTERS}")
    return sealed
