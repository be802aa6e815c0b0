"""What the status of a job announces."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from klipstream_api import AnalysisJob, Phase, WebhookEvent, guide_status
from klipstream_relay.events import Announcement, deletion, history, is_announced, next_beat, progress, webhook_id

UID = "0b8f3c1e-0000-4000-8000-000000000001"
HALF_A_MINUTE = timedelta(seconds=30)


def at(seconds: float) -> str:
    return (datetime(2026, 1, 2, 3, 0, tzinfo=UTC) + timedelta(seconds=seconds)).isoformat()


def job(**status: Any) -> AnalysisJob:
    accepted = {"queueName": "q", "queuedAt": at(0), "sequence": 7}
    return AnalysisJob.from_wire({
        "metadata": {"name": "a", "namespace": "n", "uid": UID},
        "spec": {"videoUrl": "https://example.com/v.mp4"},
        "status": accepted | status,
    })  # fmt: skip


def attempt(number: int, began: float, ended: float | None = None, failure: str | None = None) -> dict[str, Any]:
    entry = {"attempt": number, "startedAt": at(began)}
    return entry | ({"finishedAt": at(ended)} if ended else {}) | ({"failureClass": failure} if failure else {})


FIRST, LOST = attempt(1, 10), attempt(1, 10, 20, "Transient")
SECOND, DEAD = attempt(2, 30), attempt(2, 30, 40, "Transient")
REPLAYED = {"observedReplay": 1, "sequence": 9, "queuedAt": at(50), "attempts": [LOST, DEAD]}


@pytest.mark.parametrize(
    ("rule", "of", "expected"),
    [
        ("nothing before a queue takes it", job(queueName=None, queuedAt=None, sequence=None), []),
        ("accepted", job(), ["queued 0"]),
        ("an attempt", job(phase="Starting", attempt=1, attempts=[FIRST]), ["queued 0", "started 1"]),
        ("progress is no part of it", job(phase="Running", attempt=1, attempts=[FIRST], progress={
            "attempt": 1, "percentage": 5, "stage": "s", "updatedAt": at(11)}), ["queued 0", "started 1"]),
        ("a failure that is tried again", job(phase="BackingOff", attempt=1, attempts=[LOST]),
         ["queued 0", "started 1", "retrying 1"]),
        ("the next attempt", job(phase="Starting", attempt=2, attempts=[LOST, SECOND]),
         ["queued 0", "started 1", "retrying 1", "started 2"]),
        ("the last failure ends it", job(phase="Failed", attempt=2, attempts=[LOST, DEAD], finishedAt=at(40)),
         ["queued 0", "started 1", "retrying 1", "started 2", "failed 2"]),
        ("success", job(phase="Succeeded", attempt=1, attempts=[attempt(1, 10, 20)], finishedAt=at(20)),
         ["queued 0", "started 1", "succeeded 1"]),
        ("a cancelled attempt failed in no way", job(phase="Cancelled", attempt=1, attempts=[attempt(1, 10, 20)],
         finishedAt=at(20)), ["queued 0", "started 1", "cancelled 1"]),
        ("cancelled while it waits", job(phase="Cancelled", finishedAt=at(5)), ["queued 0", "cancelled 0"]),
        ("cancelled between two attempts", job(phase="Cancelled", attempt=1, attempts=[LOST], finishedAt=at(25)),
         ["queued 0", "started 1", "retrying 1", "cancelled 1"]),
        ("what is refused was never queued", job(phase="Rejected", queuedAt=None, finishedAt=at(5)), ["rejected 0"]),
        ("after a replay what came before is over, but for a failure that nobody was told of",
         job(attempt=2, **REPLAYED), ["failed 2", "queued 2"]),
        ("which was announced", job(attempt=2, announcedAt=at(41), **REPLAYED), ["queued 2"]),
        ("and an announcement before it does not count", job(attempt=2, announcedAt=at(21), **REPLAYED),
         ["failed 2", "queued 2"]),
        ("the replay's own attempt", job(phase="Starting", attempt=3, announcedAt=at(41),
         **(REPLAYED | {"attempts": [LOST, DEAD, attempt(3, 60)]})), ["queued 2", "started 3"]),
        ("a refused replay announces nothing new", job(phase="Failed", attempt=2, attempts=[LOST, DEAD],
         finishedAt=at(40), observedReplay=1), ["queued 0", "started 1", "retrying 1", "started 2", "failed 2"]),
    ],
)  # fmt: skip
def test_the_status_tells_what_happened(rule: str, of: AnalysisJob, expected: list[str]) -> None:
    assert [f"{each.event.removeprefix('job.')} {each.attempt}" for each in history(of)] == expected, rule


def test_ids_are_the_same_whenever_they_are_derived_and_never_twice() -> None:
    early = history(job(phase="BackingOff", attempt=1, attempts=[LOST]))
    late = history(job(phase="Failed", attempt=2, attempts=[LOST, DEAD], finishedAt=at(40)))
    assert [each.id for each in late[: len(early)]] == [each.id for each in early]
    assert len({each.id for each in late}) == len(late)
    replayed = history(job(attempt=2, **REPLAYED))
    assert replayed[0].id == late[-1].id, "the failure of the life before"
    assert replayed[1].id != late[0].id, "queued again is another event"
    assert webhook_id("other", late[0].event, "0") != late[0].id


def test_a_replay_that_is_refused_announces_nothing_again() -> None:
    before = job(phase="Failed", attempt=2, attempts=[LOST, DEAD], finishedAt=at(40))
    refused = job(phase="Failed", attempt=2, attempts=[LOST, DEAD], finishedAt=at(40), observedReplay=3)
    assert history(refused) == history(before)


def test_the_sequence_rises_even_where_moments_do_not() -> None:
    same = attempt(1, 0, 0.0001, "Transient")
    found = history(job(phase="Failed", attempt=1, attempts=[same], finishedAt=at(0)))
    sequences = [each.sequence for each in found]
    assert sequences == sorted(set(sequences))


RUNNING: dict[str, Any] = {"phase": "Running", "attempt": 1, "attempts": [FIRST], "startedAt": at(10)}
POST = {"attempt": 1, "percentage": 12.5, "stage": "Analyzing", "updatedAt": at(15), "estimatedCompletionSeconds": 40}


def moment(seconds: float) -> datetime:
    return datetime.fromisoformat(at(seconds))


def said(of: AnalysisJob, seconds: float) -> Announcement:
    found = progress(of, moment(seconds), HALF_A_MINUTE)
    assert found is not None
    return found


def test_progress_is_that_of_the_running_attempt() -> None:
    found = said(job(**RUNNING, progress=POST), 16)
    assert (found.percentage, found.stage, found.estimated_completion_seconds) == (12.5, "Analyzing", 40)
    assert (found.at, found.attempt, found.status) == (moment(15), 1, "processing")
    stale = said(job(**(RUNNING | {"attempt": 2, "attempts": [LOST, SECOND], "startedAt": at(30)}), progress=POST), 31)
    assert (stale.percentage, stale.stage, stale.at) == (0.0, "Running", moment(30)), "of an attempt before"
    assert progress(job(phase="Succeeded", attempt=1, progress=POST), moment(16), HALF_A_MINUTE) is None


def test_without_news_a_beat_per_interval_has_an_id_of_its_own() -> None:
    of = job(**RUNNING, progress=POST)
    first, second, third = said(of, 16), said(of, 46), said(of, 76)
    assert said(of, 44).id == first.id
    assert len({first.id, second.id, third.id}) == 3
    assert [each.estimated_completion_seconds for each in (first, second, third)] == [40, 10, 0]
    assert next_beat(of, moment(16), HALF_A_MINUTE) == moment(45) == second.at


def test_the_end_follows_every_beat_even_if_the_relay_s_clock_is_ahead() -> None:
    of = job(**RUNNING, progress=POST)
    last = said(of, 15 + 3600)
    ended = history(job(**(RUNNING | {"phase": "Succeeded"}), progress=POST, finishedAt=at(15 + 3599)))[-1]
    assert ended.sequence > last.sequence > history(of)[-1].sequence


def test_a_deletion_follows_everything() -> None:
    found = deletion(UID, 2, 10**15, moment(0))
    assert (found.event, found.sequence, found.status) == (WebhookEvent.DELETED, 10**15 + 1, "deleted")


@pytest.mark.parametrize(("announced", "expected"), [(None, False), (39.9, False), (40, True), (41, True)])
def test_an_end_counts_as_announced_from_its_own_moment_on(announced: float | None, expected: bool) -> None:
    told = {"announcedAt": at(announced)} if announced is not None else {}
    assert is_announced(job(phase="Failed", finishedAt=at(40), **told)) is expected
    assert not is_announced(job(phase="Running", **told))


def test_every_event_has_the_guide_s_word_for_it() -> None:
    words = {guide_status(phase) for phase in Phase} | {"deleted"}
    now = moment(0)
    assert {Announcement(event, "", now, 0, 0, 0.0, "").status for event in WebhookEvent} == words
