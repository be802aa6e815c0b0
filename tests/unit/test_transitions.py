"""The table of transitions: it holds all that can be reached and nothing else, and it is documented."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from klipfake.objects import NOW, SUSPENDED, ended, job, kube_job, pod, queue, view
from klipstream_api import FINISHED_PHASES, AnalysisJob, AnalysisJobStatus, AnalysisQueue, Phase, Progress
from klipstream_operator import acceptance, statuses
from klipstream_operator.lifecycle import WriteStatus, next_step
from klipstream_operator.log_archive import with_log
from klipstream_operator.store import Store
from klipstream_operator.transitions import Transition, page
from klipstream_operator.workload import AttemptView

ROOT = Path(__file__).resolve().parents[2]
LATER = NOW + timedelta(days=1)
ATTEMPTS_EXPLORED = 3


@dataclass(frozen=True)
class World:
    """What surrounds a job when the next step is decided."""

    cancel: bool
    replay: int
    queue: AnalysisQueue
    held: int | None
    """The attempt that holds a slot, counted from the job's current one."""
    looks: AttemptView

    def step(self, status: AnalysisJobStatus) -> WriteStatus | None:
        spec = {"cancel": self.cancel, "replay": self.replay, "maxRetries": 1}
        known = job(status.to_wire(), **spec)
        reserved = frozenset() if self.held is None else frozenset({status.attempt + self.held})
        # What is waited for has come: nextAttemptAt was counted from LATER.
        now = LATER + timedelta(days=1) if status.phase is Phase.BACKING_OFF else LATER
        decided = next_step(known, self.queue, reserved, lambda _: self.looks, None, now)
        return decided if isinstance(decided, WriteStatus) else None


def queues() -> Iterator[AnalysisQueue]:
    yield queue(aging={"everySeconds": 60}, stall={"noProgressSeconds": 60})
    yield queue(mode="Draining")
    yield queue({"operations": [{"name": "Clear", "request": "q", "at": LATER.isoformat()}]})


NO_ROOM = "0/1 nodes are available: 1 Insufficient cpu."
UNSCHEDULABLE = pod("Pending", node_name="", running_since=None, unschedulable=NO_ROOM, unschedulable_since=NOW)
VIEWS = [
    view(),
    view(gone=True),
    view(kube_job()),
    view(kube_job(), pod()),
    view(kube_job(), UNSCHEDULABLE),
    view(kube_job(), ended(0)),
    view(kube_job(), ended(1)),
    view(kube_job(), pod("Failed", reason="NodeLost")),
    view(SUSPENDED),
    view(SUSPENDED, ended(143)),
]


def worlds() -> list[World]:
    return [
        World(*parts) for parts in itertools.product((False, True), (0, 1), list(queues()), (None, 0, 1), VIEWS)
    ]  # fmt: skip


def key(status: AnalysisJobStatus) -> tuple[Any, ...]:
    """What decisions depend on, without times."""
    last = status.attempts[-1] if status.attempts else None
    return (
        status.phase, status.sequence is not None, min(status.attempt, ATTEMPTS_EXPLORED), status.retries,
        min(status.infrastructure_losses, 11), last is not None and last.finished_at is not None,
        status.stop.reason if status.stop is not None else None, status.observed_replay, status.effective_priority,
    )  # fmt: skip


Seen = dict[tuple[Transition, Phase, Phase], list[tuple[AnalysisJobStatus, AnalysisJobStatus]]]
"""Status before and after, for each way that a transition was seen to go."""


@pytest.fixture(scope="module")
def explored() -> Seen:
    """Every write that the lifecycle decides on in any world, from every status that such writes lead to."""
    seen: Seen = {}
    edges = set()
    start = statuses.accepted(job({"sequence": None, "queueName": None}), "q", 1, NOW)
    waiting, known = [start], {key(start)}
    surroundings = worlds()
    while waiting:
        before = waiting.pop()
        for world in surroundings:
            write = world.step(before)
            if write is None:
                continue
            after = write.status
            edge = (write.transition, key(before), key(after))
            if edge not in edges:
                edges.add(edge)
                seen.setdefault((write.transition, before.phase, after.phase), []).append((before, after))
            if after.attempt <= ATTEMPTS_EXPLORED and key(after) not in known:
                known.add(key(after))
                waiting.append(after)
    assert len(known) > 50, "the exploration reaches many states"
    return seen


def outside_of_the_lifecycle() -> set[tuple[Transition, Phase, Phase]]:
    """What acceptance, progress, the launch and the archive of logs decide on."""
    store = Store(lambda _: None, lambda _: None, lambda: None)
    found = set()
    cases: list[tuple[AnalysisJob, AnalysisQueue | None]] = [
        (job({"sequence": None, "queueName": None}), queue()),
        (job({"sequence": None, "queueName": None}), None),
        (job({"sequence": None, "queueName": None}), queue(mode="Draining")),
        (job({"sequence": None, "queueName": None}, queueName="q", resources={"limits": {"cpu": "2"}}),
         queue(resourceBounds={"max": {"cpu": "1"}})),
        (job({"sequence": None, "queueName": None}, cancel=True), queue()),
    ]  # fmt: skip
    for submission, its_queue in cases:
        store.queues.clear()
        if its_queue is not None:
            store.put_queue(its_queue, NOW)
        after = acceptance.decide(submission, store, {}, NOW)
        found.add((acceptance.transition_of(after), submission.status.phase, after.phase))
    begun = job({"phase": "Running", "attempt": 1})
    progress = Progress(attempt=1, percentage=5.0, stage="Analyzing", updated_at=NOW)
    found.add((Transition.PROGRESS, begun.status.phase, statuses.running(begun, progress, NOW).phase))
    refused = statuses.launch_refused(job(), 1, "Bad", "Mend it.", NOW)
    found.add((Transition.DEAD_LETTERED, Phase.QUEUED, refused.phase))
    for phase in set(Phase) - {Phase.REJECTED}:
        failed_once = job({"phase": phase, "attempt": 2, "attempts": [{"attempt": 1, "failureClass": "Transient"}]})
        found.add((Transition.LOG_ARCHIVED, phase, with_log(failed_once.status, 1, "file:///results/x").phase))
    return found


def declared() -> set[tuple[Transition, Phase, Phase]]:
    return {
        (transition, before, after)
        for transition, before, after in itertools.product(Transition, Phase, Phase)
        if transition.allows(before, after)
    }


def test_every_reachable_write_is_in_the_table(explored: Seen) -> None:
    assert set(explored) <= declared()


def test_every_row_of_the_table_is_reached(explored: Seen) -> None:
    assert declared() - set(explored) - outside_of_the_lifecycle() == set()


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("attempts never fall", lambda a, b: b.attempt >= a.attempt),
        ("a finished job stays finished, but for a replay",
         lambda a, b: a.phase not in FINISHED_PHASES or b.phase is a.phase or b.observed_replay > a.observed_replay),
        ("the place in the order is kept, but for a replay",
         lambda a, b: b.sequence == a.sequence or b.observed_replay > a.observed_replay),
        ("a final phase is stamped and says why",
         lambda a, b: b.phase not in FINISHED_PHASES or
         (b.finished_at is not None and any(c.type == "Finished" and c.status == "True" for c in b.conditions))),
        ("what is no longer under way has no stop",
         lambda a, b: b.phase in (Phase.STARTING, Phase.RUNNING) or b.stop is None),
        ("BackingOff and only it has a next attempt",
         lambda a, b: (b.next_attempt_at is None) == (b.phase != "BackingOff")),
        ("retries stay within maxRetries", lambda a, b: b.retries <= 1),
        ("a final failure has a fingerprint", lambda a, b: b.phase is not Phase.FAILED or b.failure_fingerprint),
    ],
)  # fmt: skip
def test_a_rule_holds_over_every_transition(
    explored: Seen, rule: str, holds: Callable[[AnalysisJobStatus, AnalysisJobStatus], bool]
) -> None:
    broken = [
        (transition.label, before.phase, after.phase)
        for (transition, _, _), ways in explored.items()
        for before, after in ways
        if not holds(before, after)
    ]
    assert not broken, rule


def test_the_documented_table_is_the_codes_own() -> None:
    written = (ROOT / "docs/transitions.md").read_text()
    assert written == page(), "run `make docs`"


def test_a_write_that_is_not_in_the_table_is_refused() -> None:
    assert not Transition.SUCCEEDED.allows(Phase.FAILED, Phase.SUCCEEDED)
    assert not Transition.STOPPING.allows(Phase.STARTING, Phase.RUNNING)
