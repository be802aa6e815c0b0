"""The ring as a Secret and its public key as a ConfigMap, to be piped into kubectl."""

import base64
import json
from typing import Any

from klipstream_sealing.ring import BadRing, KeyRing

RING_KEY = "ring.json"
PUBLIC_KEY = "public-key"


def manifests(ring: KeyRing, name: str, namespace: str, resource_version: str | None = None) -> str:
    """A List of both, as JSON. With a resourceVersion an update fails if somebody else rotated meanwhile."""
    metadata: dict[str, Any] = {"name": name, "namespace": namespace}
    guarded = metadata | ({"resourceVersion": resource_version} if resource_version is not None else {})
    encoded = base64.b64encode(ring.to_json().encode()).decode()
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": guarded, "type": "Opaque", "data": {RING_KEY: encoded}}
    published = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {PUBLIC_KEY: str(ring.public)}}
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [secret, published]}, indent=1)


def ring_of_secret(text: str) -> tuple[KeyRing, str, str, str | None]:
    """Ring, name, namespace and resourceVersion of a Secret as kubectl prints it as JSON. Raises BadRing."""
    try:
        secret = json.loads(text)
        metadata = secret["metadata"]
        ring = base64.b64decode(secret["data"][RING_KEY], validate=True)
        found = str(metadata["name"]), str(metadata["namespace"]), metadata.get("resourceVersion")
    except (ValueError, KeyError, TypeError):
        raise BadRing(f"this is no Secret with a {RING_KEY}: pipe in `kubectl get secret NAME -o json`") from None
    return KeyRing.from_json(ring), *found
