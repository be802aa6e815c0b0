"""What each transition writes, and that it writes nothing else."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from klipfake.changes import changes
from klipfake.objects import NOW, QUEUE, UID, job, pod, queue, running
from klipstream_api import (
    AnalysisJob,
    AnalysisJobStatus,
    Attempt,
    FailureClass,
    Phase,
    Priority,
    Progress,
    Stop,
    StopReason,
)
from klipstream_api.meta import condition
from klipstream_operator import statuses
from klipstream_operator.failures import Failure
from klipstream_operator.workload import Termination

T = "2026-01-02T03:04:05.000Z"
EARLIER = "2026-01-02T03:02:00.000Z"


def at(minute: int) -> datetime:
    return datetime(2026, 1, 2, 3, minute, tzinfo=UTC)


POSTED = Progress(attempt=1, percentage=5.0, stage="Analyzing", estimated_completion_seconds=9, updated_at=NOW)
OF_ANOTHER_ATTEMPT = POSTED.model_copy(update={"attempt": 7, "updated_at": at(2)})
TRANSIENT = Failure(FailureClass.TRANSIENT, "WorkerError", "It broke.", 3)
LOST = Failure(FailureClass.INFRASTRUCTURE, "NodeLost", "Gone.", node_name="node")
CORRUPT = Failure(FailureClass.PERMANENT, "Corrupt", "No video.", 4)
UNSEEN = Failure(FailureClass.UNSCHEDULABLE, "JobDeleted", "Gone.")


def stop(reason: StopReason = StopReason.UNSCHEDULABLE) -> Stop:
    return Stop(attempt=1, reason=reason, message="Why.", at=NOW)


def cond(type_: str, status: str, reason: str = "Because") -> dict[str, Any]:
    return {"type": type_, "status": status, "reason": reason, "message": "m", "lastTransitionTime": EARLIER}


NO_ROOM = {"conditions": [cond("CapacityAvailable", "False")]}
HELD = running(stop={"attempt": 1, "reason": "Stalled", "at": EARLIER}, effectivePriority="HIGH")
NO_NODE = running("Queued", effectivePriority="HIGH")
DEAD = {
    "phase": "Failed", "attempt": 2, "retries": 1, "infrastructureLosses": 1, "finishedAt": EARLIER,
    "announcedAt": EARLIER, "failureFingerprint": "f",
    "conditions": [cond("Finished", "True"), cond("DeadLettered", "True")],
}  # fmt: skip
WITH_RESULTS = queue(results={"url": "s3://bucket/X/"})
BEGUN = {"attempt": 1, "jobName": f"{UID}-a1", "jobUID": "j1", "startedAt": T}
FINISHED = {"observedGeneration": 1, "finishedAt": T}
OVER = {"finishedAt": T}


def failed_attempt(failure: Failure) -> dict[str, Any]:
    said = {"failureClass": failure.failure_class.value, "reason": failure.reason, "exitCode": failure.exit_code}
    return OVER | {key: value for key, value in said.items() if value is not None}


@pytest.mark.parametrize(
    ("rule", "of", "write", "expected"),
    [
        ("an accepted job takes its place and forgets what held it up",
         job({"sequence": None, "queueName": None, "queuedAt": None} | NO_ROOM, replay=2),
         lambda of: statuses.accepted(of, "q", 8, NOW),
         {"observedGeneration": 1, "observedReplay": 2, "queueName": "q", "sequence": 8, "queuedAt": T,
          "conditions": {"CapacityAvailable": None}}),
        ("other conditions stay", job({"conditions": [cond("Other", "False")]}),
         lambda of: statuses.accepted(of, "q", 8, NOW), {"observedGeneration": 1, "sequence": 8, "queuedAt": T}),
        ("a start names the attempt's Job and ends what was about the last one",
         job({"nextAttemptAt": EARLIER, "effectivePriority": "HIGH", "conditions": [cond("Stalled", "True")],
              "stop": {"attempt": 1, "reason": "Stalled", "at": EARLIER}}),
         lambda of: statuses.started(of, 1, "j1", NOW),
         {"phase": "Starting", "observedGeneration": 1, "attempt": 1, "attempts": {1: BEGUN}, "startedAt": T,
          "nextAttemptAt": None, "stop": None, "effectivePriority": None,
          "conditions": {"Stalled": ("False", "NewAttempt", T)}}),
        ("five attempts are kept", job(running(attempt=5, attempts=[{"attempt": n} for n in (1, 2, 3, 4, 5)])),
         lambda of: statuses.started(of, 6, "j6", NOW),
         {"phase": "Starting", "observedGeneration": 1, "attempt": 6, "startedAt": T,
          "attempts": {6: {"attempt": 6, "jobName": f"{UID}-a6", "jobUID": "j6", "startedAt": T}, 1: None}}),
        ("an attempt that goes on starts anew, and keeps its Job",
         job(NO_NODE | {"stop": {"attempt": 1, "reason": "Unschedulable", "at": EARLIER}}),
         lambda of: statuses.resumed(of, NOW),
         {"phase": "Starting", "observedGeneration": 1, "attempts": {1: {"startedAt": T}}, "startedAt": T,
          "stop": None, "effectivePriority": None}),
        ("only the last attempt goes on",
         job(running("Queued", 2, attempts=[{"attempt": 1, "startedAt": EARLIER}, {"attempt": 2}])),
         lambda of: statuses.resumed(of, NOW),
         {"phase": "Starting", "observedGeneration": 1, "attempts": {2: {"startedAt": T}}, "startedAt": T}),
        ("a worker that posts runs, and so it has a node", job(running("Starting") | NO_ROOM),
         lambda of: statuses.running(of, POSTED, NOW),
         {"phase": "Running", "progress": POSTED.to_wire(),
          "conditions": {"CapacityAvailable": ("True", "Scheduled", T)}}),
        ("one that does not post keeps its progress", job(running("Starting", progress=POSTED.to_wire())),
         lambda of: statuses.running(of, None, NOW), {"phase": "Running"}),
        ("a stop is written down before it is done", job(running()),
         lambda of: statuses.stopping(of, stop(StopReason.START_FAILED), NOW),
         {"stop": stop(StopReason.START_FAILED).to_wire()}),
        ("a stall shows as a condition", job(running()),
         lambda of: statuses.stopping(of, stop(StopReason.STALLED), NOW),
         {"stop": stop(StopReason.STALLED).to_wire(), "conditions": {"Stalled": ("True", "Stalled", T)}}),
        ("so does what was cleared as stuck", job(running()),
         lambda of: statuses.stopping(of, stop(StopReason.CLEARED_AS_STUCK), NOW),
         {"stop": stop(StopReason.CLEARED_AS_STUCK).to_wire(),
          "conditions": {"Stalled": ("True", "ClearedAsStuck", T)}}),
        ("a slot that is given back names what is missing", job(running(stop=stop().to_wire())),
         lambda of: statuses.returned(of, stop(), ("cpu", "node affinity"), NOW),
         {"phase": "Queued", "stop": None,
          "conditions": {"CapacityAvailable": ("False", "InsufficientCpuAndNodeAffinity", T)}}),
        ("or that no node fits", job(running()), lambda of: statuses.returned(of, stop(), (), NOW),
         {"phase": "Queued", "conditions": {"CapacityAvailable": ("False", "NoNodeFits", T)}}),
        ("an attempt that is not gone on with burns nothing", job(running("Queued", stop=stop().to_wire())),
         lambda of: statuses.abandoned(of, "JobDeleted", "Gone.", NOW),
         {"stop": None, "attempts": {1: failed_attempt(UNSEEN)}}),
        ("aging raises", job(), lambda of: statuses.aged(of, Priority.HIGH), {"effectivePriority": "HIGH"}),
        ("and takes back", job({"effectivePriority": "HIGH"}), lambda of: statuses.aged(of, Priority.NORMAL),
         {"effectivePriority": None}),
        ("a cancelled job is finished and its attempt over",
         job(HELD | {"nextAttemptAt": EARLIER, "observedReplay": 1}, replay=3),
         lambda of: statuses.cancelled(of, NOW, "m"),
         {"phase": "Cancelled", "nextAttemptAt": None, "stop": None, "effectivePriority": None, "observedReplay": 3,
          "attempts": {1: OVER}, "conditions": {"Finished": ("True", "Cancelled", T)}} | FINISHED),
        ("a rejected job names the queue that refused it", job({"sequence": None, "queueName": None}),
         lambda of: statuses.rejected(of, "q", "QueueFull", "m", NOW),
         {"phase": "Rejected", "queueName": "q", "conditions": {"Finished": ("True", "QueueFull", T)}} | FINISHED),
        ("an observed replay never falls", job({"observedReplay": 4}, replay=3),
         lambda of: statuses.rejected(of, "q", "QueueFull", "m", NOW),
         {"phase": "Rejected", "conditions": {"Finished": ("True", "QueueFull", T)}} | FINISHED),
        ("a success is complete", job(running(progress=OF_ANOTHER_ATTEMPT.to_wire()) | NO_ROOM),
         lambda of: statuses.succeeded(of, WITH_RESULTS, None, NOW),
         {"phase": "Succeeded", "attempts": {1: OVER}, "resultUrl": f"s3://bucket/X/jobs/{UID}/attempts/1/",
          "progress": {"attempt": 1, "percentage": 100.0, "stage": "Completed", "updatedAt": T},
          "conditions": {"Finished": ("True", "Succeeded", T), "CapacityAvailable": ("True", "Scheduled", T)}}
         | FINISHED),
        ("without a results store there is no address", job(running()),
         lambda of: statuses.succeeded(of, QUEUE, None, NOW),
         {"phase": "Succeeded", "attempts": {1: OVER}, "conditions": {"Finished": ("True", "Succeeded", T)}}
         | FINISHED),
        ("nor where the queue is gone", job(running()), lambda of: statuses.succeeded(of, None, None, NOW),
         {"phase": "Succeeded", "attempts": {1: OVER}, "conditions": {"Finished": ("True", "Succeeded", T)}}
         | FINISHED),
        ("a replay begins anew but goes on counting attempts", job(DEAD, replay=2),
         lambda of: statuses.replayed(of, NOW),
         {"phase": "Queued", "observedGeneration": 1, "observedReplay": 2, "sequence": 9, "queuedAt": T, "retries": 0,
          "infrastructureLosses": 0, "finishedAt": None, "failureFingerprint": None,
          "conditions": {"Finished": ("False", "Replayed", T), "DeadLettered": ("False", "Replayed", T)}}),
        ("a refused replay is used up", job(DEAD, replay=2), lambda of: statuses.replay_refused(of, NOW),
         {"observedReplay": 2, "conditions": {"DeadLettered": ("True", "ReplayRefused", EARLIER)}}),
        ("a failure is tried again", job(running(stop=stop().to_wire())),
         lambda of: statuses.failed(of, QUEUE, TRANSIENT, NOW),
         {"phase": "BackingOff", "retries": 1, "nextAttemptAt": "2026-01-02T03:04:35.000Z", "stop": None,
          "attempts": {1: failed_attempt(TRANSIENT)}}),
        ("after a second where the job says so", job(running(), retryDelaysSeconds=[1]),
         lambda of: statuses.failed(of, QUEUE, TRANSIENT, NOW),
         {"phase": "BackingOff", "retries": 1, "nextAttemptAt": "2026-01-02T03:04:06.000Z",
          "attempts": {1: failed_attempt(TRANSIENT)}}),
        ("or at once", job(running(), retryDelaysSeconds=[0]), lambda of: statuses.failed(of, QUEUE, TRANSIENT, NOW),
         {"phase": "Queued", "retries": 1, "attempts": {1: failed_attempt(TRANSIENT)}}),
        ("the first loss is repeated at once, and had a node", job(running("Starting") | NO_ROOM),
         lambda of: statuses.failed(of, QUEUE, LOST, NOW),
         {"phase": "Queued", "infrastructureLosses": 1, "attempts": {1: failed_attempt(LOST)},
          "conditions": {"CapacityAvailable": ("True", "Scheduled", T)}}),
        ("the second one waits as the first retry does", job(running(infrastructureLosses=1)),
         lambda of: statuses.failed(of, QUEUE, LOST, NOW),
         {"phase": "BackingOff", "infrastructureLosses": 2, "nextAttemptAt": "2026-01-02T03:04:35.000Z",
          "attempts": {1: failed_attempt(LOST)}}),
        ("the tenth is still repeated", job(running(infrastructureLosses=9)),
         lambda of: statuses.failed(of, QUEUE, LOST, NOW),
         {"phase": "BackingOff", "infrastructureLosses": 10, "nextAttemptAt": "2026-01-02T03:09:05.000Z",
          "attempts": {1: failed_attempt(LOST)}}),
        ("what cannot get better is a dead letter, and a raised replay is not used up by it",
         job(HELD, replay=1), lambda of: statuses.failed(of, QUEUE, CORRUPT, NOW),
         {"phase": "Failed", "stop": None, "effectivePriority": None, "attempts": {1: failed_attempt(CORRUPT)},
          "failureFingerprint": CORRUPT.fingerprint,
          "conditions": {"Finished": ("True", "Permanent", T), "DeadLettered": ("True", "Corrupt", T)}} | FINISHED),
        ("the last retry is used", job(running(retries=2)), lambda of: statuses.failed(of, QUEUE, TRANSIENT, NOW),
         {"phase": "BackingOff", "retries": 3, "nextAttemptAt": "2026-01-02T03:09:05.000Z",
          "attempts": {1: failed_attempt(TRANSIENT)}}),
        ("then no more", job(running(retries=3)), lambda of: statuses.failed(of, QUEUE, TRANSIENT, NOW),
         {"phase": "Failed", "attempts": {1: failed_attempt(TRANSIENT)}, "failureFingerprint": TRANSIENT.fingerprint,
          "conditions": {"Finished": ("True", "Transient", T), "DeadLettered": ("True", "WorkerError", T)}} | FINISHED),
        ("a refused launch counts as an attempt that failed for good", job(),
         lambda of: statuses.launch_refused(of, 1, "Bad", "Mend it.", NOW),
         {"phase": "Failed", "attempt": 1, "startedAt": T,
          "attempts": {1: BEGUN | {"jobUID": "", "finishedAt": T, "failureClass": "Permanent", "reason": "Bad"}},
          "failureFingerprint": Failure(FailureClass.PERMANENT, "Bad", "Mend it.").fingerprint,
          "conditions": {"Finished": ("True", "Permanent", T), "DeadLettered": ("True", "Bad", T)}} | FINISHED),
    ],
)  # fmt: skip
def test_a_transition_writes(rule: str, of: AnalysisJob, write: Any, expected: dict[str, Any]) -> None:
    assert changes(of.status, write(of)) == expected, rule


def test_a_trouble_that_is_over_needs_no_words() -> None:
    over = condition(statuses.running(job(running("Starting") | NO_ROOM), None, NOW).conditions, "CapacityAvailable")
    assert over is not None
    assert over.message == ""


def test_accepted_is_what_a_queue_took_not_what_has_its_place() -> None:
    assert statuses.is_accepted(job().status)
    assert not statuses.is_accepted(job({"queueName": None}).status)


def test_of_two_posts_of_the_same_moment_the_one_that_is_not_written_counts() -> None:
    other = POSTED.model_copy(update={"stage": "Downloading"})
    assert statuses.latest_progress(POSTED, other) == other


def test_only_the_current_attempt_ends_and_only_once() -> None:
    attempts = [{"attempt": 1}, {"attempt": 2, "finishedAt": EARLIER}]
    settled = job(running(attempt=2, attempts=attempts))
    assert statuses.cancelled(settled, NOW, "m").attempts == settled.status.attempts


def test_what_a_dead_letter_says_first_is_the_failure_and_then_why_it_is_final() -> None:
    for losses, retries, failure, why in (
        (10, 0, LOST, "11 attempts were lost"), (0, 0, CORRUPT, "in the same way"), (0, 3, TRANSIENT, "all 3 retries"),
    ):  # fmt: skip
        status = statuses.failed(job(running(infrastructureLosses=losses, retries=retries)), QUEUE, failure, NOW)
        dead = condition(status.conditions, "DeadLettered")
        assert dead is not None
        assert dead.message.startswith(f"{failure.message} ")
        assert why in dead.message
        assert status.attempts[-1].message == failure.message


def test_long_words_of_others_are_cut_to_what_the_api_server_takes() -> None:
    failure = Failure(FailureClass.TRANSIENT, "R" * 200, "m" * 3000, 1)
    entry = statuses.failed(job(running()), QUEUE, failure, NOW).attempts[-1]
    assert (entry.reason, entry.message) == ("R" * 128, "m" * 1024)
    refused = statuses.launch_refused(job(), 1, "Bad", "m" * 3000, NOW)
    assert refused.attempts[-1].message == "m" * 1024
    dead = condition(refused.conditions, "DeadLettered")
    assert dead is not None
    assert dead.message.startswith("m" * 1024 + " Not tried again")
    words = tuple("w" * 64 for _ in range(8))
    short = condition(statuses.returned(job(running()), stop(), words, NOW).conditions, "CapacityAvailable")
    assert short is not None
    assert len(short.reason) == 128


def test_a_worker_that_ended_before_the_cancel_is_told_so() -> None:
    said = [
        condition(statuses.succeeded(job(running(), cancel=cancel), QUEUE, None, NOW).conditions, "Finished")
        for cancel in (True, False)
    ]
    assert ["cancel" in each.message for each in said if each is not None] == [True, False]
    assert all(each.message.endswith(".") for each in said if each is not None)


def test_the_workers_own_address_of_the_results_wins() -> None:
    ended = pod("Succeeded", termination=Termination(0, "", '{"result_url": "s3://mine"}'))
    assert statuses.succeeded(job(running()), WITH_RESULTS, ended, NOW).result_url == "s3://mine"


@pytest.mark.parametrize(
    ("rule", "status", "goes_on", "next_attempt", "since"),
    [
        ("one that never began", {}, False, 1, at(0)),
        ("one whose attempt found no node", running("Queued") | NO_ROOM, True, 1, at(2)),
        ("one whose attempt found none, by an older operator that did not say so", running("Queued"), True, 1, at(0)),
        ("one that has room again", running("Queued") | {"conditions": [cond("CapacityAvailable", "True")]}, True, 1,
         at(0)),
        ("one whose attempt runs", running() | NO_ROOM, False, 2, at(0)),
        ("one whose attempt is over",
         running("Queued") | {"attempts": [{"attempt": 1, "finishedAt": at(1).isoformat()}]}, False, 2, at(1)),
        ("one whose last attempt is unknown", running("Queued", 2) | {"attempts": [{"attempt": 1}]}, False, 3, at(0)),
        ("one that was replayed after its attempt",
         running("Queued") | {"attempts": [{"attempt": 1, "finishedAt": "2026-01-02T02:59:00Z"}]}, False, 2, at(0)),
    ],
)  # fmt: skip
def test_what_the_next_reservation_is_for_and_since_when_it_waits(
    rule: str, status: dict[str, Any], goes_on: bool, next_attempt: int, since: datetime
) -> None:
    of = job(status).status
    assert (statuses.resumable(of), statuses.next_attempt(of), statuses.waiting_since(of)) == (
        goes_on, next_attempt, since,
    ), rule  # fmt: skip


def test_a_job_that_was_never_accepted_does_not_wait() -> None:
    assert statuses.waiting_since(AnalysisJobStatus(phase=Phase.QUEUED)) is None
    ended = Attempt(attempt=1, finished_at=NOW - timedelta(seconds=1))
    assert statuses.waiting_since(AnalysisJobStatus(attempt=1, attempts=(ended,))) == ended.finished_at
