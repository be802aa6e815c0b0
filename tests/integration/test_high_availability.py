"""Two replicas: hand-over, failover, and what becomes of the progress that workers post meanwhile.

Figures are printed (pytest -s, and -rP afterwards) and not asserted, but for what is far beyond them.
"""

import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from klipfake.processes import Operator
from klipfake.replicas import Replicas, gap, replicas, without_operator
from klipfake.scrape import Scrape
from klipfake.worker import Worker
from klipfake.world import World, job

GENEROUS_SECONDS = 15.0
SLOTS = 4


@pytest.fixture
def namespaced(control_plane, custom_resources, kubectl, namespace: str, tmp_path: Path) -> Iterator[World]:
    with without_operator(kubectl, namespace, control_plane, tmp_path) as world:
        yield world


@pytest.fixture
def pair(namespaced: World, control_plane, tmp_path: Path) -> Iterator[Callable[..., Replicas]]:
    """Starts `first`, which leads, and `second`, which stands by."""
    with replicas(namespaced, control_plane, tmp_path) as group:

        def start(**settings: str) -> Replicas:
            group.settings = settings
            namespaced.operator = group.start("first")
            group.leads("first")
            group.start("second")
            return group

        yield start


def busy(world: World, count: int = 150) -> None:
    """Slots that are always taken, by jobs of a second or two: a reservation about every third of a second."""
    world.queue(maxConcurrentJobs=SLOTS, maxQueueSize=1000)
    world.apply(*(job(f"job-{n:03d}", params={"fake_seconds": str(1 + n % 3 / 2)}) for n in range(count)))


def say(text: str, **figures: float) -> None:
    print(text + ": " + ", ".join(f"{name.replace('_', ' ')} {value:.2f} s" for name, value in figures.items()))


def ran_once(world: World) -> None:
    """No AnalysisJob has two Jobs, and none more than one attempt."""
    owners = [each["metadata"]["ownerReferences"][0]["uid"] for each in world.items("jobs")]
    assert len(owners) == len(set(owners))
    assert {each["status"].get("attempt", 0) for each in world.items("aj")} <= {0, 1}


# --- hand-over ---------------------------------------------------------------------------------------------------


def test_sigterm_hands_over_and_ends_with_0(pair: Callable[..., Replicas]) -> None:
    group = pair(KLIPSTREAM_LEASE_SECONDS="15")
    busy(group.world)
    group.world.until(lambda: len(group.reservations()) > 10, "slots are being reserved")
    asked = time.time()
    assert group.operators["first"].stop() == 0, group.operators["first"].said()[-3000:]
    ended = time.time()
    group.world.until(lambda: bool(group.reservations("second")), "the standby reserves")
    said = group.operators["first"].said()
    assert "died" not in said, said[-3000:]
    assert "unanswered" not in said
    taken = group.first_write("second", "leases")
    before = [moment for moment in group.reservations("first") if moment <= ended]
    pause = min(group.reservations("second")) - max(before)
    say("hand-over on SIGTERM, lease 15 s", process_ended=ended - asked, lease_taken=taken - asked,
        pause_in_reservations=pause)  # fmt: skip
    assert taken - asked < GENEROUS_SECONDS
    last = max(write.received for write in group.writes() if write.sender == "first" and write.resource != "events")
    assert last <= taken, "nothing is written by the old leader after another leads"
    ran_once(group.world)


def lists(operator: Operator) -> int:
    """How often a replica has listed the AnalysisJobs."""
    shown = Scrape(operator.metrics_port)
    return int(shown("operator_api_requests_total", verb="list", resource="analysisjobs.analysis.klipstream.io"))


def test_who_finds_the_lease_free_reads_everything_once_and_a_standby_once_more(
    pair: Callable[..., Replicas],
) -> None:
    """A standby's watches may lag behind its predecessor's last writes; what is listed under the Lease cannot."""
    group = pair(KLIPSTREAM_SWEEP_SECONDS="600")
    group.world.queue(maxConcurrentJobs=SLOTS)
    group.world.job("before")
    group.world.until_phase("before", "Succeeded")
    assert lists(group.operators["first"]) == 1
    group.operators["first"].kill()
    group.leads("second")
    group.world.job("after")
    group.world.until_phase("after", "Succeeded")
    assert lists(group.operators["second"]) == 2
    ran_once(group.world)


def test_a_killed_leader_that_is_started_again_fills_its_caches_before_it_touches_the_lease(
    pair: Callable[..., Replicas],
) -> None:
    """Its container has the name that it had before; a standby with full caches must not be kept out meanwhile."""
    group = pair(KLIPSTREAM_SWEEP_SECONDS="600", KLIPSTREAM_LEASE_SECONDS="15")
    group.world.queue(maxConcurrentJobs=SLOTS)
    group.operators["first"].kill()
    group.start("first")
    group.world.job("after")
    group.world.until_phase("after", "Succeeded")
    leader = group.leader()
    assert leader is not None
    assert lists(group.operators[leader]) == 2
    ran_once(group.world)


def test_a_rolling_restart_of_two_processes_leaves_no_gap(pair: Callable[..., Replicas]) -> None:
    """As the Deployment does it: a new one is ready before an old one is told to end."""
    group = pair(KLIPSTREAM_LEASE_SECONDS="15")
    busy(group.world)
    group.world.until(lambda: len(group.reservations()) > 10, "slots are being reserved")
    began = time.time()
    for old, new in (("first", "third"), ("second", "fourth")):
        group.start(new)
        assert group.operators[old].stop() == 0
    ended = time.time()
    group.world.until(lambda: max(group.reservations(), default=0.0) > ended, "it goes on")
    moments = group.reservations()
    during = [later - earlier for earlier, later in itertools.pairwise(moments) if earlier > began]
    before = [later - earlier for earlier, later in itertools.pairwise(moments) if later < began]
    say("rolling restart of two processes", longest_pause=max(during), longest_pause_before=max(before))
    assert max(during) < GENEROUS_SECONDS
    ran_once(group.world)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_standby_that_is_told_to_end_does_so_at_once(pair: Callable[..., Replicas], number: signal.Signals) -> None:
    group = pair()
    standby, asked = group.operators["second"], time.monotonic()
    standby.send(number)
    assert standby.code() == 0, standby.said()
    say(f"a standby ends on {number.name}", after=time.monotonic() - asked)
    assert group.leader() == "first"


# --- failover ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lease_seconds", [4, 15])
def test_a_standby_reserves_soon_after_the_lease_of_a_killed_leader_ran_out(
    pair: Callable[..., Replicas], lease_seconds: int
) -> None:
    group = pair(KLIPSTREAM_LEASE_SECONDS=str(lease_seconds))
    busy(group.world)
    group.world.until(lambda: len(group.reservations()) > 10, "slots are being reserved")
    group.operators["first"].kill()
    killed = time.time()
    group.world.until(lambda: bool(group.reservations("second")), "the standby reserves")
    taken = group.first_write("second", "leases")
    first = gap(group.reservations("second"), killed)
    say(f"failover after kill -9, lease {lease_seconds} s", lease_taken=taken - killed, first_reservation=first,
        bound=lease_seconds + 2)  # fmt: skip
    assert first < lease_seconds + GENEROUS_SECONDS
    ran_once(group.world)


def test_a_leader_frozen_beyond_its_lease_ends_without_a_write(pair: Callable[..., Replicas]) -> None:
    group = pair(KLIPSTREAM_LEASE_SECONDS="15", KLIPSTREAM_EVENTS="off")
    busy(group.world)
    group.world.until(lambda: len(group.reservations()) > 10, "slots are being reserved")
    first = group.operators["first"]
    first.send(signal.SIGSTOP)
    # What was on its way when it was frozen is taken by then.
    group.world.until(lambda: len(group.reservations("second")) > 3, "the standby leads")
    thawed = time.time()
    first.send(signal.SIGCONT)
    assert first.code() == 1
    say("a frozen leader goes on", ended_after=time.time() - thawed)
    assert [write for write in group.writes() if write.sender == "first" and write.received > thawed] == []
    assert "The Lease was lost" in first.said()
    group.start("first")
    assert group.leader() == "second"
    ran_once(group.world)


# --- progress ----------------------------------------------------------------------------------------------------


def started(world: World, seconds: int, **spec: Any) -> Worker:
    """A job whose attempt runs for so long, and its worker."""
    world.queue(retryDelaysSeconds=[0])
    world.job("film", params={"fake_seconds": str(seconds)}, **spec)
    world.until_phase("film", "Starting", "Running")
    world.until(lambda: bool(world.items("pods")), "its pod exists")
    return Worker(world, world.items("pods")[0]["metadata"]["name"])


def progress(world: World) -> dict[str, Any]:
    return dict(world.get("aj", "film")["status"].get("progress", {}))


def posted(worker: Worker, to: Operator, percentage: float, **more: Any) -> httpx.Response:
    """Post until it is taken, as workers do."""
    deadline = time.monotonic() + 20
    while True:
        answer = worker.post(percentage, to=to, **more)
        if answer.status_code == 200 or time.monotonic() > deadline:
            assert answer.status_code == 200, answer.text
            return answer
        time.sleep(0.2)


def test_a_post_that_was_answered_survives_a_kill(pair: Callable[..., Replicas]) -> None:
    """The first one and each with a new checkpoint: nothing is waited for between the answer and the kill."""
    group = pair()
    worker, first = started(group.world, 60), group.operators["first"]
    posted(worker, first, 10)
    assert progress(group.world)["percentage"] == 10
    began = time.monotonic()
    posted(worker, first, 20, checkpoint="c1")
    say("a checkpoint within a second of the last write", answered_after=time.monotonic() - began)
    first.kill()
    assert progress(group.world) | {"percentage": 20, "checkpoint": "c1"} == progress(group.world)


def test_progress_that_was_taken_is_written_on_sigterm(pair: Callable[..., Replicas]) -> None:
    group = pair()
    worker, first = started(group.world, 60), group.operators["first"]
    posted(worker, first, 10)
    for percentage in (20, 30):
        assert worker.post(percentage).status_code == 200
    assert progress(group.world)["percentage"] == 10, "what comes faster than the interval is written later"
    assert first.stop() == 0
    assert progress(group.world)["percentage"] == 30


def test_what_another_replica_wrote_later_is_not_overwritten(pair: Callable[..., Replicas]) -> None:
    """A post that still waits in one replica when a later one was written by the other."""
    group = pair()
    worker = started(group.world, 16, maxRetries=0)
    first, second = (group.operators[name] for name in ("first", "second"))
    posted(worker, first, 10)
    assert worker.post(40, stage="Older", to=first).status_code == 200
    posted(worker, second, 50, stage="Newer", checkpoint="c2")
    group.world.until_phase("film", "Succeeded")
    written = [
        write.answer["status"]["progress"]
        for write in group.writes()
        if write.resource == "analysisjobs" and "progress" in write.answer.get("status", {})
    ]
    percentages = [each["percentage"] for each in written]
    assert percentages == sorted(percentages)
    assert written[-1]["checkpoint"] == "c2"
    assert [each["stage"] for each in written[-2:]] == ["Newer", "Completed"]
    assert "written later" not in first.said(), first.said()


def test_no_checkpoint_that_was_answered_is_lost_when_the_leader_is_killed(pair: Callable[..., Replicas]) -> None:
    group = pair(KLIPSTREAM_LEASE_SECONDS="15")
    worker = started(group.world, 120)
    answered: list[int] = []
    refused = 0
    stop = threading.Event()

    def work() -> None:
        """Posts a checkpoint after the other, to one replica and then the other, as through a Service."""
        nonlocal refused
        turns = itertools.cycle(["first", "second"])
        for number in itertools.count(1):
            while not stop.is_set():
                try:
                    to = group.operators[next(turns)]
                    if worker.post(min(100, number / 10), to=to, checkpoint=str(number)).status_code == 200:
                        answered.append(number)
                        break
                except httpx.HTTPError:
                    pass
                refused += 1
                time.sleep(0.1)
            if stop.is_set():
                return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for victim in ("first", "second"):
            count = len(answered)
            group.world.until(lambda count=count: len(answered) > count + 3, "posts are answered")
            group.operators[victim].kill()
            known = answered[-1]
            assert int(progress(group.world)["checkpoint"]) >= known
            group.world.until(lambda known=known: answered[-1] > known + 2, "the other replica takes posts")
            group.start(victim)
    finally:
        stop.set()
        thread.join()
    assert int(progress(group.world)["checkpoint"]) >= answered[-1]
    print(f"{len(answered)} checkpoints answered, {refused} posts not taken, two replicas killed, none lost")
