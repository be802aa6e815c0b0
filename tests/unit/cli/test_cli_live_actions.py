"""What a key changes while the operator writes the same object all the time."""

from typing import Any

import pytest

from klipfake.objects import queue
from klipstream_api import QueueMode
from klipstream_cli.errors import Conflict
from klipstream_cli.live.actions import TRIES, pause


class BusyQueue:
    """Stands for the API server: each of the first patches finds a newer version than was read."""

    def __init__(self, conflicts: int, mode: str = "Running") -> None:
        self.conflicts, self.version, self.mode = conflicts, 1, mode
        self.meanwhile = mode

    def get(self, *_: object) -> dict[str, Any]:
        return {"metadata": {"resourceVersion": str(self.version)}, "spec": {"mode": self.mode}}

    def patch(self, resource: object, namespace: str, name: str, body: dict[str, Any]) -> None:
        if self.conflicts:
            self.conflicts, self.version, self.mode = self.conflicts - 1, self.version + 1, self.meanwhile
        if body["metadata"]["resourceVersion"] != str(self.version):
            raise Conflict(409, "Conflict", "the object has been modified")
        self.mode = body["spec"]["mode"]


@pytest.mark.parametrize("conflicts", [0, 1, 5])
def test_a_queue_whose_status_is_written_all_the_time_can_be_paused(conflicts: int) -> None:
    api = BusyQueue(conflicts)
    assert pause(api, queue(), QueueMode.PAUSED) == "q is Paused"  # type: ignore[arg-type]
    assert api.mode == "Paused"


def test_a_drain_that_begins_at_that_moment_is_left_alone() -> None:
    api = BusyQueue(1)
    api.meanwhile = "Draining"
    assert pause(api, queue(), QueueMode.PAUSED) == "q is Draining by now; nothing was changed"  # type: ignore[arg-type]
    assert api.mode == "Draining"


def test_a_queue_that_changes_for_ever_is_given_up() -> None:
    assert "has been modified" in pause(BusyQueue(TRIES), queue(), QueueMode.PAUSED)  # type: ignore[arg-type]
