"""Groups of dead letters and their replay, one step a test."""

from datetime import timedelta
from typing import Any

import pytest

from klipfake.objects import NOW, job, queue
from klipstream_api import AnalysisJob, GroupReplay, ReplayState
from klipstream_operator.dead_letters import advance, begin, canary_due, followers, groups, with_replay

DEAD = {"phase": "Failed", "attempt": 1, "failureFingerprint": "f", "finishedAt": "2026-01-02T03:00:00Z",
        "attempts": [{"attempt": 1, "reason": "CodecUnknown", "message": "codec 17"}]}  # fmt: skip


def letter(uid: str, status: dict[str, Any] | None = None, **spec: Any) -> AnalysisJob:
    of = job(DEAD | {"sequence": int(uid)} | (status or {}), **spec)
    return of.model_copy(update={"metadata": of.metadata.model_copy(update={"uid": uid, "name": f"job-{uid}"})})


def letters(*jobs: AnalysisJob) -> tuple[dict[str, set[str]], dict[str, AnalysisJob]]:
    return {"f": {each.uid for each in jobs}}, {each.uid: each for each in jobs}


def replay(**changes: Any) -> GroupReplay:
    values: dict[str, Any] = {"fingerprint": "f", "requested_at": NOW, "state": ReplayState.CANARY, "canary": "job-1",
                              "canary_uid": "1", "canary_replay": 1, "jobs": 3}  # fmt: skip
    return GroupReplay(**values | changes)


def test_groups_are_counted_the_largest_first() -> None:
    dead, jobs = letters(letter("1"), letter("2"), letter("3"))
    dead["g"] = {"3"}
    dead["f"] = {"1", "2"}
    assert [(group.fingerprint, group.count, group.reason) for group in groups(dead, jobs)] == [
        ("f", 2, "CodecUnknown"), ("g", 1, "CodecUnknown"),
    ]  # fmt: skip


def test_the_oldest_of_the_group_is_the_canary() -> None:
    dead, jobs = letters(letter("2"), letter("1"), letter("3"))
    begun, outcome = begin(queue(), "f once more", dead, jobs, NOW)
    assert begun is not None
    assert (begun.canary, begun.canary_replay, begun.jobs, outcome.count) == ("job-1", 1, 3, 3)


@pytest.mark.parametrize(
    ("request_", "the_queue", "word"),
    [
        ("x", queue(), "no dead letter"),
        ("f", queue(mode="Draining"), "draining"),
        ("f", queue({"replays": [replay().to_wire()]}), "being replayed"),
    ],
)
def test_a_replay_that_cannot_be_is_refused(request_: str, the_queue: Any, word: str) -> None:
    begun, outcome = begin(the_queue, request_, *letters(letter("1")), NOW)
    assert begun is None
    assert outcome.refused
    assert word in outcome.message


@pytest.mark.parametrize(
    ("rule", "canary", "state"),
    [
        ("it was not replayed yet", letter("1"), ReplayState.CANARY),
        ("it runs", letter("1", {"phase": "Running", "observedReplay": 1}), ReplayState.CANARY),
        ("it succeeded", letter("1", {"phase": "Succeeded", "observedReplay": 1}), ReplayState.RELEASING),
        ("it failed again", letter("1", {"observedReplay": 1}), ReplayState.STOPPED),
        ("it was cancelled", letter("1", {"phase": "Cancelled", "observedReplay": 1}), ReplayState.STOPPED),
        ("it was deleted", None, ReplayState.STOPPED),
    ],
)
def test_what_the_canary_decides(rule: str, canary: AnalysisJob | None, state: ReplayState) -> None:
    dead, jobs = letters(letter("2"), *((canary,) if canary is not None else ()))
    assert advance(replay(), dead, jobs).state is state, rule


def test_only_those_that_were_dead_when_it_was_asked_for_follow_once() -> None:
    late = {"finishedAt": (NOW + timedelta(seconds=1)).isoformat()}
    dead, jobs = letters(letter("1"), letter("2"), letter("3", late), letter("4", replay=1))
    assert [each.uid for each in followers(replay(), dead, jobs)] == ["2"]


def test_a_replay_is_finished_when_all_have_followed() -> None:
    releasing = replay(state=ReplayState.RELEASING)
    assert advance(releasing, *letters(letter("2"), letter("3", replay=1))).released == 1
    done = advance(releasing, {}, {})
    assert (done.state, done.released) == (ReplayState.FINISHED, 2)


def test_the_canary_is_asked_once() -> None:
    assert canary_due(replay(), {"1": letter("1")}) is not None
    assert canary_due(replay(), {"1": letter("1", replay=1)}) is None
    assert canary_due(replay(state=ReplayState.RELEASING), {"1": letter("1")}) is None


def test_unfinished_replays_are_never_forgotten() -> None:
    finished = tuple(replay(fingerprint=f"old{n}", state=ReplayState.FINISHED) for n in range(8))
    kept = with_replay((replay(fingerprint="open"), *finished), replay(fingerprint="new"))
    assert len(kept) == 8
    assert {"open", "new"} <= {entry.fingerprint for entry in kept}
