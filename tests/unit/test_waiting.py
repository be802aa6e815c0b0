"""Why a job waits, by table; REST API and command line say the same."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from klipstream_api import AnalysisJob, AnalysisQueue
from klipstream_cli.reasons import command_for
from klipstream_cli.reasons import reasons as at_the_command_line
from klipstream_gateway.why import why_waiting

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SHORT = {"type": "CapacityAvailable", "status": "False", "reason": "NoNodeFits", "message": "No node has 8 CPUs.",
         "lastTransitionTime": NOW.isoformat()}  # fmt: skip
BROKEN = SHORT | {"type": "Ready", "reason": "InvalidWorkerTemplate", "message": "Nothing starts: no image."}


def moment(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).isoformat()


def job(status: dict[str, Any], **spec: Any) -> AnalysisJob:
    return AnalysisJob.from_wire({
        "metadata": {"name": "j", "uid": "u", "resourceVersion": "5", "creationTimestamp": moment(-45)},
        "spec": {"videoUrl": "https://e.x/a"} | spec,
        "status": {"phase": "Queued", "sequence": 3} | status,
    })  # fmt: skip


def queue(status: dict[str, Any], **spec: Any) -> AnalysisQueue:
    template = {"spec": {"containers": [{"name": "w", "image": "i"}]}}
    return AnalysisQueue.from_wire({
        "metadata": {"name": "q", "uid": "q"}, "spec": {"workerTemplate": template, "maxConcurrentJobs": 2} | spec,
        "status": status,
    })  # fmt: skip


FREE = queue({})
CASES: list[tuple[str, AnalysisJob, AnalysisQueue | None, int | None, list[str]]] = [
    ("it runs", job({"phase": "Running"}), FREE, None, []),
    ("nothing is in its way", job({}), FREE, 1, ["next"]),
    ("it has to wait its turn", job({}), queue({"active": 2}), 3, ["jobs-ahead", "slots-taken"]),
    ("nobody takes it", job({}), None, None, ["no-queue"]),
    ("the queue stands still", job({}, cancel=True), queue({}, mode="Paused"), 2,
     ["being-cancelled", "queue-paused", "jobs-ahead"]),
    ("it was tried", job({"phase": "BackingOff", "nextAttemptAt": moment(30)}), FREE, None, ["backing-off"]),
    ("it is too early", job({}, notBefore=moment(30)), FREE, None, ["not-due"]),
    ("and then it is not", job({}, notBefore=moment(-1)), FREE, 1, ["next"]),
    ("its queue is broken", job({}), queue({"conditions": [BROKEN]}), 1, ["queue-not-ready", "next"]),
    ("no node fits", job({"conditions": [SHORT]}), FREE, 1, ["no-capacity"]),
    ("there is no slot", job({}), queue({}, maxConcurrentJobs=0), 1, ["no-slots"]),
    ("nobody accepts it", job({"sequence": None}), FREE, 1, ["no-operator"]),
    ("the last slot is another's", job({}), queue({"active": 1}, reservedSlots={"URGENT": 1}), 1, ["slots-reserved"]),
    ("or its own", job({}, priority="URGENT"), queue({"active": 1}, reservedSlots={"URGENT": 1}), 1, ["next"]),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "waiting", "where", "position", "codes"), CASES, ids=[each[0] for each in CASES])
def test_a_wait_has_the_same_reasons_wherever_one_asks(
    rule: str, waiting: AnalysisJob, where: AnalysisQueue | None, position: int | None, codes: list[str]
) -> None:
    assert [reason.code for reason in at_the_command_line(waiting, where, position, NOW)] == codes, rule
    assert [reason.code for reason in why_waiting(waiting, where, position, NOW)] == codes, rule


def test_a_job_that_was_submitted_a_moment_ago_misses_no_operator() -> None:
    new = job({"sequence": None})
    (reason,) = at_the_command_line(new, FREE, 1, NOW - timedelta(seconds=44))
    assert reason.code == "not-accepted-yet"


def test_moments_are_told_in_the_words_of_the_place() -> None:
    waiting = job({"phase": "BackingOff", "attempt": 2, "nextAttemptAt": moment(30)})
    (there,) = at_the_command_line(waiting, FREE, None, NOW)
    (here,) = why_waiting(waiting, FREE, None, NOW)
    assert "Attempt 2 failed (no message); the next one is due in 30s (" in there.message
    assert here.message.endswith("is due at 2026-01-02T03:04:35.000Z.")


def test_a_command_is_told_where_one_helps() -> None:
    paused = queue({}, mode="Paused")
    found = at_the_command_line(job({}), paused, 2, NOW)
    assert [command_for(reason, job({}), paused) for reason in found] == ["kubectl analysis queue resume q", ""]
