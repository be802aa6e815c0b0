"""A few requests to the cluster's API server as its administrator."""

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


class Api:
    """Requests with the administrator's certificate, past any proxy of the environment."""

    def __init__(self, server: str, pki: Path) -> None:
        tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        self._server = server
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)
        )

    def reads(self, path: str) -> dict[str, Any] | None:
        """The object at a path, an empty one where the answer is no JSON; None while it cannot be had."""
        try:
            with self._opener.open(f"{self._server}{path}", timeout=5) as answer:
                body = answer.read()
        except (urllib.error.URLError, OSError):
            return None
        try:
            return dict(json.loads(body))
        except ValueError:
            return {}

    def create(self, path: str, body: dict[str, Any]) -> None:
        """POST an object. Raises urllib.error.HTTPError."""
        request = urllib.request.Request(
            f"{self._server}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        self._opener.open(request, timeout=10).close()
