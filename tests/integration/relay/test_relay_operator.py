"""The relay beside the real operator: what it announces is what the operator wrote, and retention waits for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from klipfake.world import World
from klipwebhook.stage import Receivers, Relay


@pytest.fixture
def relay(control_plane, world: World, tmp_path: Path) -> Iterator[Relay]:
    found = Relay(control_plane.kubeconfig, tmp_path, world.namespace)
    yield found
    found.kill()


@pytest.fixture
def receivers(tmp_path: Path) -> Iterator[Receivers]:
    found = Receivers(tmp_path, good="ok")
    found.listen()
    yield found
    found.process.kill()


def test_attempts_retries_ends_and_replays_are_announced_in_order(
    world: World, relay: Relay, receivers: Receivers
) -> None:
    relay.start()
    endpoints = [{"name": "good", "url": receivers.url("good")}]
    world.queue(maxRetries=1, retryDelaysSeconds=[1], endpoints=endpoints)
    world.job("bad", params={"fake_exits": "1"})
    world.until(lambda: "job.failed" in receivers.types("good"), "its end is announced")
    assert receivers.types("good") == [
        "job.queued", "job.started", "job.retrying", "job.started", "job.failed"
    ]  # fmt: skip
    world.until(lambda: "announcedAt" in world.get("aj", "bad")["status"], "that is acknowledged")
    world.change("aj", "bad", replay=1)
    world.until(lambda: receivers.types("good").count("job.failed") == 2, "it fails again")
    again = [each.type for each in receivers.received("good")[5:]]
    assert again == ["job.queued", "job.started", "job.retrying", "job.started", "job.failed"]
    assert [each.body["attempt"] for each in receivers.received("good")[5:]] == [2, 3, 3, 4, 4]


def test_a_finished_job_is_not_purged_before_its_end_was_announced(
    world: World, relay: Relay, receivers: Receivers
) -> None:
    endpoints = [{"name": "good", "url": receivers.url("good")}]
    world.queue(retention={"succeededSeconds": 0}, endpoints=endpoints)
    world.job("quick")
    world.until_phase("quick", "Succeeded")
    relay.start()
    world.until(lambda: world.phases() == {}, "it is purged once that was announced")
    assert receivers.types("good") == ["job.queued", "job.started", "job.succeeded"], "and no job.deleted"
