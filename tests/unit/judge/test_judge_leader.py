"""The judge finds who acts as the leader without the Lease."""

from dataclasses import replace

import pytest

from klipjudge.history import Request
from klipjudge.judge import judge
from klipjudge.leadership import LEASES
from klipjudge.written import OPERATOR, USER, Log

OLD, NEW = f"{OPERATOR}-a.1", f"{OPERATOR}-b.1"


def lease(log: Log, agent: str, holder: str | None = "somebody", name: str = "operator") -> None:
    """A Lease is written by that process, which holds it then for 15 seconds or (None) gives it up."""
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 15}
    log.event("patch", LEASES, {"metadata": {"name": name}, "spec": spec}, agent=agent)


def judged(log: Log, sent: float) -> list[str]:
    """Broken rules, if the last request left its sender at that moment."""
    *before, last = log.requests()
    return [violation.rule for violation in judge([*before, replace(last, sent=sent)]).violations]


def all_sent(log: Log) -> list[Request]:
    """What the two processes wrote left them in the moment in which it arrived."""
    return [replace(each, sent=each.received) if each.agent in (OLD, NEW) else each for each in log.requests()]


@pytest.mark.parametrize(("sender", "found"), [(OLD, ["leader"]), (NEW, []), (USER, [])])
def test_only_the_holder_of_the_lease_writes_as_a_leader(log: Log, sender: str, found: list[str]) -> None:
    lease(log, OLD)
    lease(log, NEW)
    log.queue(agent=sender)
    assert judged(log, sent=log.clock - 0.1) == found


def test_a_write_that_left_before_the_successor_took_over_may_come_late(log: Log) -> None:
    lease(log, OLD)
    left = log.clock + 0.5
    lease(log, NEW)
    log.queue(agent=OLD)
    assert judged(log, sent=left) == []


def test_who_gave_the_lease_up_writes_nothing_more(log: Log) -> None:
    lease(log, OLD)
    log.queue(agent=OLD)
    lease(log, OLD, holder=None)
    log.queue(agent=OLD, queued=1)
    assert judged(log, sent=log.clock - 0.1) == ["leader"]


@pytest.mark.parametrize(("phase", "found"), [("Running", []), ("Cancelled", ["leader"])])
def test_progress_is_written_by_every_replica(log: Log, phase: str, found: list[str]) -> None:
    log.job("a")
    lease(log, NEW)
    log.status("a", agent=OLD, phase=phase)
    assert [rule for rule in judged(log, sent=log.clock - 0.1) if rule == "leader"] == found


def test_an_audit_log_does_not_say_which_process_sent_what(log: Log) -> None:
    lease(log, OLD)
    lease(log, NEW)
    log.queue(agent=OLD)
    assert log.rules() == []


@pytest.mark.parametrize("by", ["released", "still held", "run out"])
def test_a_queue_is_led_under_one_lease_at_a_time(log: Log, by: str) -> None:
    """As when the number of shards changes: the leaders have different Leases then, and each holds its own."""
    lease(log, OLD)
    log.queue(agent=OLD)
    lease(log, NEW, name="operator-0-of-2")
    if by == "released":
        lease(log, OLD, holder=None)
    if by == "run out":
        log.clock += 20
        lease(log, NEW, name="operator-0-of-2")
    log.queue(agent=NEW, queued=1)
    found = {each.rule for each in judge(all_sent(log)).violations}
    assert found == ({"led-once"} if by == "still held" else set())


def test_shards_lead_queues_of_their_own_at_the_same_time(log: Log) -> None:
    lease(log, OLD, name="operator-0-of-2")
    lease(log, NEW, name="operator-1-of-2")
    log.queue(agent=OLD)
    log.queue(agent=NEW, name="other")
    log.queue(agent=OLD, queued=1)
    assert judge(all_sent(log)).violations == []
