"""What a write changed, for the metrics."""

from typing import Any

import pytest

from klipfake.objects import job, running
from klipstream_operator.status_diff import ended_attempts, waits_again_since, waits_first_since

QUEUED_AT, ENDED, DUE = "2026-01-02T03:00:00Z", "2026-01-02T03:02:00Z", "2026-01-02T03:03:00Z"


def attempts(*ended: str | None) -> dict[str, Any]:
    entries = [{"attempt": number} | ({"finishedAt": at} if at else {}) for number, at in enumerate(ended, 1)]
    return {"attempts": entries, "attempt": len(ended)}


@pytest.mark.parametrize(
    ("rule", "before", "after", "expected"),
    [
        ("it ended", attempts(ENDED, None), attempts(ENDED, ENDED), [2]),
        ("it goes on", attempts(None), attempts(None), []),
        ("it had ended before", attempts(ENDED), attempts(ENDED, None), []),
        ("it began and ended at once", attempts(), attempts(ENDED), [1]),
    ],
)
def test_an_attempt_ends_once(rule: str, before: dict[str, Any], after: dict[str, Any], expected: list[int]) -> None:
    found = ended_attempts(job(before).status, job(after).status)
    assert [entry.attempt for entry in found] == expected, rule


@pytest.mark.parametrize(
    ("rule", "before", "after", "since"),
    [
        ("after its delay, not during it", running("BackingOff", nextAttemptAt=DUE),
         running("Queued") | attempts(ENDED), DUE),
        ("a lost attempt at once", running(), running("Queued") | attempts(ENDED), ENDED),
        ("a replay since it was asked for", {"phase": "Failed"}, {}, QUEUED_AT),
        ("what waited before does not come back", {}, running("Queued") | attempts(ENDED), None),
        ("what does not wait neither", running("BackingOff", nextAttemptAt=DUE), running("Starting"), None),
    ],
)  # fmt: skip
def test_since_when_a_job_waits_again(
    rule: str, before: dict[str, Any], after: dict[str, Any], since: str | None
) -> None:
    found = waits_again_since(job(before).status, job(after).status)
    assert (found.strftime("%Y-%m-%dT%H:%M:%SZ") if found is not None else None) == since, rule


def test_only_the_first_wait_counts_from_the_acceptance() -> None:
    assert waits_first_since(job().status) == job().status.queued_at
    assert waits_first_since(job(attempts(ENDED)).status) is None
