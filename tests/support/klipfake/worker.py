"""A worker pod as the operator sees it: who posts progress with a token of its own."""

from typing import Any

import httpx

from klipfake.processes import Operator
from klipfake.world import World


class Worker:
    """What a worker pod does: post with its own token."""

    def __init__(self, world: World, pod: str) -> None:
        self._url = world.operator.progress_url
        bound = ["--bound-object-kind=Pod", f"--bound-object-name={pod}"]
        self.token = world.kubectl("create", "token", "default", "--audience=klipstream-progress", *bound).strip()

    def post(
        self, percentage: Any, token: str | None = None, to: Operator | None = None, **more: Any
    ) -> httpx.Response:
        """Post to a replica, by default to the world's own."""
        url = self._url if to is None else to.progress_url
        headers = {"Authorization": f"Bearer {token or self.token}"}
        body = {"percentage": percentage, "stage": "Analyzing"} | more
        return httpx.post(url, json=body, headers=headers, trust_env=False, timeout=30)
