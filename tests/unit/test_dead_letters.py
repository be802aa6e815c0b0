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


def test_a_group_shows_one_of_its_letters() -> None:
    said = {"attempts": [{"attempt": 1, "reason": "Other"}, {"attempt": 2, "reason": "R", "message": "m" * 1000}]}
    dead, jobs = letters(letter("2", {"attempts": []}), letter("1", said))
    (group,) = groups(dead, jobs)
    assert (group.example, group.reason, group.message) == ("job-1", "R", "m" * 512)
    (silent,) = groups(*letters(letter("2", {"attempts": []})))
    assert (silent.example, silent.count, silent.reason, silent.message) == ("job-2", 1, "", "")
    (mute,) = groups(*letters(letter("2", {"attempts": [{"attempt": 1}]})))
    assert (mute.reason, mute.message) == ("", "")


def test_the_twenty_largest_groups_are_shown_and_no_empty_one() -> None:
    jobs = {str(n): letter(str(n)) for n in range(30)}
    dead = {f"f{n:02}": {str(n)} for n in reversed(range(30))} | {"large": {"1", "2"}, "empty": set()}
    assert [group.fingerprint for group in groups(dead, jobs)] == ["large", *(f"f{n:02}" for n in range(19))]
    assert groups({"empty": set()}, jobs) == ()


def test_the_oldest_of_the_group_is_the_canary() -> None:
    dead, jobs = letters(letter("2"), letter("1"), letter("3"))
    begun, outcome = begin(queue(), "f once more", dead, jobs, NOW)
    assert begun is not None
    assert (begun.canary, begun.canary_replay, begun.jobs, outcome.count) == ("job-1", 1, 3, 3)
    assert (begun.fingerprint, begun.canary_uid, begun.requested_at, begun.state) == ("f", "1", NOW, ReplayState.CANARY)
    assert begun.message == outcome.message
    assert not outcome.refused


def test_a_blank_request_replays_nothing() -> None:
    jobs = {"1": letter("1", {"failureFingerprint": None})}
    begun, outcome = begin(queue(), "  ", {"": {"1"}}, jobs, NOW)
    assert begun is None
    assert outcome.refused


@pytest.mark.parametrize(("asked", "observed", "expected"), [(0, 0, 1), (0, 4, 5), (7, 4, 7), (5, 5, 6)])
def test_the_canary_is_asked_for_a_replay_that_it_has_not_seen(asked: int, observed: int, expected: int) -> None:
    begun, _ = begin(queue(), "f", *letters(letter("1", {"observedReplay": observed}, replay=asked)), NOW)
    assert begun is not None
    assert begun.canary_replay == expected


def test_of_two_that_are_as_old_the_first_by_uid_is_the_canary() -> None:
    dead, jobs = letters(letter("2", {"sequence": None}), letter("1", {"sequence": None}), letter("0", {"sequence": 1}))
    begun, _ = begin(queue(), "f", dead, jobs, NOW)
    assert begun is not None
    assert begun.canary == "job-1"


def test_who_asks_for_an_unknown_group_is_told_the_known_ones() -> None:
    dead = {f"f{n}": {"1"} for n in range(9, 0, -1)}
    jobs = {"1": letter("1")}
    for request_, word in (("nothing at all", '"nothing"'), (" ", '""')):
        begun, outcome = begin(queue(), request_, dead, jobs, NOW)
        assert f"the fingerprint {word} " in outcome.message
        assert (begun, outcome.count, outcome.refused) == (None, 0, True)
        assert "(f1, f2, f3, f4, f5)" in outcome.message
    _, outcome = begin(queue(), "x", {}, {}, NOW)
    assert '"x" (there are none)' in outcome.message


@pytest.mark.parametrize(
    ("request_", "the_queue", "word"),
    [
        ("x", queue(), "no dead letter"),
        ("f", queue(mode="Draining"), "draining"),
        ("f", queue({"replays": [replay().to_wire()]}), "being replayed"),
        ("f", queue({"replays": [replay(state=ReplayState.RELEASING).to_wire()]}), "being replayed"),
    ],
)
def test_a_replay_that_cannot_be_is_refused(request_: str, the_queue: Any, word: str) -> None:
    begun, outcome = begin(the_queue, request_, *letters(letter("1")), NOW)
    assert begun is None
    assert (outcome.refused, outcome.count) == (True, 0)
    assert word in outcome.message


@pytest.mark.parametrize(
    "earlier", [replay(state=ReplayState.FINISHED), replay(state=ReplayState.STOPPED), replay(fingerprint="g")]
)
def test_a_replay_that_is_over_or_of_another_group_is_in_nobodys_way(earlier: GroupReplay) -> None:
    begun, _ = begin(queue({"replays": [earlier.to_wire()]}), "f", *letters(letter("1")), NOW)
    assert begun is not None


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
    advanced = advance(replay(), dead, jobs)
    assert advanced.state is state, rule
    assert (advanced == replay()) is (state is ReplayState.CANARY)
    assert ("job-1" in advanced.message) is (state is not ReplayState.CANARY)


def test_why_the_others_were_left_alone_is_said_in_the_canarys_words() -> None:
    def said(**attempt: Any) -> str:
        failed = letter("1", {"observedReplay": 1, "attempts": [{"attempt": 1} | attempt]})
        return advance(replay(), *letters(failed)).message

    assert said(message="codec 17").endswith(": codec 17")
    assert said().endswith(": no message")
    assert len(said(message="m" * 1000)) == 512
    bare = letter("1", {"observedReplay": 2, "attempts": []})
    assert advance(replay(), *letters(bare)).message.endswith(": no message")


def test_a_replay_that_is_over_stays_as_it_is() -> None:
    over = replay(state=ReplayState.STOPPED)
    assert advance(over, *letters(letter("1", {"phase": "Succeeded"}))) == over


def test_only_those_that_were_dead_when_it_was_asked_for_follow_once() -> None:
    late = {"finishedAt": (NOW + timedelta(seconds=1)).isoformat()}
    dead, jobs = letters(letter("1"), letter("2"), letter("3", late), letter("4", replay=1))
    assert [each.uid for each in followers(replay(), dead, jobs)] == ["2"]
    at_once, endless = {"finishedAt": NOW.isoformat()}, {"finishedAt": None}
    dead, jobs = letters(letter("3"), letter("2", at_once), letter("4", {"sequence": 1}), letter("5", endless))
    assert [each.uid for each in followers(replay(), dead, jobs)] == ["4", "2", "3"], "the oldest first"
    dead, jobs = letters(letter("3", {"sequence": None}), letter("2", {"sequence": None}), letter("0", {"sequence": 1}))
    assert [each.uid for each in followers(replay(), dead, jobs)] == ["2", "3", "0"]
    asked_before = letter("7", {"observedReplay": 2}, replay=2)
    assert followers(replay(), *letters(asked_before)) == [asked_before]
    assert followers(replay(fingerprint="unknown"), dead, jobs) == []


def test_a_replay_is_finished_when_all_have_followed() -> None:
    releasing = replay(state=ReplayState.RELEASING)
    assert advance(releasing, *letters(letter("2"), letter("3", replay=1))).released == 1
    done = advance(releasing, {}, {})
    assert (done.state, done.released) == (ReplayState.FINISHED, 2)
    assert "job-1" in done.message
    assert "other 2" in done.message
    again = advance(replay(state=ReplayState.RELEASING, released=2), *letters(letter("2")))
    assert (again.state, again.released) == (ReplayState.RELEASING, 2), "the count never falls"


def test_the_canary_is_asked_once() -> None:
    assert canary_due(replay(), {"1": letter("1")}) is not None
    assert canary_due(replay(), {"1": letter("1", replay=1)}) is None
    assert canary_due(replay(state=ReplayState.RELEASING), {"1": letter("1")}) is None
    assert canary_due(replay(), {}) is None


def test_unfinished_replays_are_never_forgotten() -> None:
    finished = tuple(replay(fingerprint=f"old{n}", state=ReplayState.FINISHED) for n in range(8))
    kept = with_replay((replay(fingerprint="open"), *finished), replay(fingerprint="new"))
    assert len(kept) == 8
    assert [entry.fingerprint for entry in kept] == ["old2", "old3", "old4", "old5", "old6", "old7", "open", "new"]
    few = with_replay((replay(fingerprint="old", state=ReplayState.STOPPED),), replay(fingerprint="new"))
    assert [entry.fingerprint for entry in few] == ["old", "new"]
    many = tuple(replay(fingerprint=f"open{n}") for n in range(8))
    kept = with_replay((*many, *finished), replay(fingerprint="new"))
    assert [entry.fingerprint for entry in kept] == [*(f"open{n}" for n in range(1, 8)), "new"]
