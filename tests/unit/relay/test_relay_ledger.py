"""The ledger: chains, superseding, what survives, and what is done by hand."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from klipstream_relay.deliveries import Delivery, State
from klipstream_relay.ledger import Ledger, LedgerInUse
from klipstream_relay.ledger_file import JobRow, LedgerFile, Settlement

URL = "https://example.com/hook"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[LedgerFile]:
    opened = LedgerFile(tmp_path / "ledger.db")
    yield opened
    opened.close()


def row(uid: str = "u", finished_at: str | None = None, sequence: int = 1) -> JobRow:
    return JobRow(uid, "n", f"job-{uid}", f"id-{uid}", None, 1, sequence, (("e", URL),), finished_at)


def some(event: str, occurrence: int = 1, uid: str = "u", endpoint: str = "e", created: float = 0.0) -> Delivery:
    return Delivery(f"{uid}-{event}-{occurrence}", endpoint, URL, f"job.{event}", uid, "n", b"{}", created)


def record(file: LedgerFile, *deliveries: Delivery, **job: str | None) -> set[str]:
    uid = deliveries[0].job_uid if deliveries else "u"
    return file.record(row(uid, job.get("finished_at")), deliveries)


def take(file: LedgerFile, now: float = 100.0, count: int = 10, endpoint: str = "e") -> list[tuple[int, Delivery]]:
    return file.take({endpoint: count}, now).deliveries


def names(taken: list[tuple[int, Delivery]]) -> list[str]:
    return [delivery.id for _, delivery in taken]


def settle(file: LedgerFile, each: tuple[int, Delivery], state: State = State.DELIVERED, due: float = 0.0) -> None:
    number, delivery = each
    file.settle(Settlement(number, delivery, state, delivery.tries + 1, due, 500, "R", "m"), 100.0)


def test_a_delivery_is_recorded_once_whatever_is_seen_again(file: LedgerFile) -> None:
    assert record(file, some("queued"), some("started")) == {"e"}
    assert record(file, some("queued"), some("started")) == set()
    assert file.counts() == {"pending": 2}
    settle(file, take(file)[0])
    assert record(file, some("queued")) == set()
    assert file.counts() == {"pending": 1, "delivered": 1}


def test_one_delivery_of_a_job_is_out_at_an_endpoint_and_the_next_follows_its_end(file: LedgerFile) -> None:
    record(file, some("queued"), some("started"), some("succeeded"))
    first = take(file)
    assert names(first) == ["u-queued-1"]
    assert take(file) == []
    settle(file, first[0], State.PENDING, due=150.0)
    assert take(file, now=149.0) == [], "nothing of the job comes before the retry"
    again = take(file, now=150.0)
    assert names(again) == ["u-queued-1"]
    assert again[0][1].tries == 1
    settle(file, again[0], State.DEAD)
    second = take(file, now=150.0)
    assert names(second) == ["u-started-1"]
    settle(file, second[0])
    assert names(take(file, now=150.0)) == ["u-succeeded-1"]


def test_other_jobs_and_endpoints_do_not_wait(file: LedgerFile) -> None:
    record(file, some("queued"), some("queued", endpoint="f"))
    record(file, some("queued", uid="v"))
    assert names(take(file)) == ["u-queued-1", "v-queued-1"]
    assert names(take(file, endpoint="f")) == ["u-queued-1"]


def test_what_is_not_due_says_when_it_is(file: LedgerFile) -> None:
    record(file, some("queued", created=200.0))
    found = file.take({"e": 1}, 100.0)
    assert (found.deliveries, found.next_due) == ([], {"e": 200.0})
    assert file.waiting_endpoints() == {"e": 200.0}


def test_anything_newer_supersedes_progress_that_was_not_sent(file: LedgerFile) -> None:
    record(file, some("started"))
    record(file, some("progress", 1))
    record(file, some("progress", 2))
    record(file, some("progress", 3), some("progress", 3, endpoint="f"))
    assert file.counts() == {"pending": 3}, "started, and one progress for each endpoint"
    settle(file, take(file)[0])
    assert names(take(file)) == ["u-progress-3"]
    record(file, some("succeeded"))
    assert take(file) == [], "what is on its way is not taken back, and the end follows it"


def test_progress_that_fails_is_not_tried_again_where_something_newer_waits(file: LedgerFile) -> None:
    record(file, some("progress", 1))
    out = take(file)
    record(file, some("progress", 2))
    settle(file, out[0], State.PENDING, due=500.0)
    assert names(take(file)) == ["u-progress-2"]


def test_ends_are_never_superseded(file: LedgerFile) -> None:
    record(file, some("failed", 1), finished_at="t")
    record(file, some("queued", 2), some("progress", 2), some("succeeded", 2), finished_at="t2")
    seen = []
    while out := take(file):
        seen += names(out)
        settle(file, out[0])
    assert seen == ["u-failed-1", "u-queued-2", "u-succeeded-2"]


def test_a_job_is_complete_once_its_end_has_reached_everybody(file: LedgerFile) -> None:
    record(file, some("queued"), some("succeeded"), some("succeeded", endpoint="f"), finished_at="2026-01-02T00:00:00Z")
    for endpoint in ("e", "e", "f"):
        assert file.complete(None) == file.complete(["u"]) == []
        settle(file, take(file, endpoint=endpoint)[0], State.DEAD if endpoint == "f" else State.DELIVERED)
    (job,) = file.complete(["u", "other"])
    assert (job.uid, job.finished_at) == ("u", "2026-01-02T00:00:00Z")
    file.close_job("u", "another end")
    assert file.complete(None) == [job], "a replay has another end"
    file.close_job("u", job.finished_at)
    assert file.complete(None) == []


def test_a_job_without_anybody_to_tell_is_complete_at_once(file: LedgerFile) -> None:
    record(file, finished_at="2026-01-02T00:00:00Z")
    assert [job.uid for job in file.complete(["u"])] == ["u"]


def test_what_is_too_old_becomes_a_dead_letter_and_lets_the_next_come(file: LedgerFile) -> None:
    record(file, some("queued", created=1.0))
    record(file, some("started", created=90.0))
    assert file.give_up_old(50.0, 100.0) == ["u"]
    assert file.counts() == {"pending": 1, "dead": 1}
    out = take(file)
    assert names(out) == ["u-started-1"]
    assert file.give_up_old(99.0, 100.0) == [], "what is on its way is judged by its answer"


def test_a_dead_letter_is_redelivered_with_its_id_after_what_waits(file: LedgerFile) -> None:
    record(file, some("queued"))
    settle(file, take(file)[0], State.DEAD)
    record(file, some("started"))
    file.set_gone("e", URL, 1.0)
    assert file.redeliver(None, "other", 200.0) == 0
    assert file.redeliver(None, "e", 200.0) == 1
    assert file.gone() == set(), "who redelivers wants it tried"
    out = take(file, now=200.0)
    assert names(out) == ["u-started-1"]
    settle(file, out[0])
    (again,) = take(file, now=200.0)
    assert (again[1].id, again[1].tries, again[1].created) == ("u-queued-1", 0, 200.0)


def test_a_delivered_one_is_redelivered_by_its_id_only(file: LedgerFile) -> None:
    record(file, some("queued"))
    settle(file, take(file)[0])
    assert file.redeliver(None, None, 200.0) == 0
    assert file.redeliver(["u-queued-1", "unknown"], None, 200.0) == 1
    assert names(take(file, now=200.0)) == ["u-queued-1"]
    assert file.redeliver(["u-queued-1"], None, 200.0) == 0, "it is pending already"


def test_what_is_over_is_forgotten_once_its_job_is_closed(file: LedgerFile) -> None:
    record(file, some("started"), some("progress"), some("succeeded"), finished_at="t")
    while out := take(file):
        settle(file, out[0])
    assert file.prune(99.0) == 0, "too young"
    assert file.prune(101.0) == 0, "an open job's events are kept, so that they are not announced again"
    file.close_job("u", "t")
    assert file.prune(101.0) == 2
    assert (file.counts(), file.job("u")) == ({}, None)


def test_since_is_said_once_and_remembered(file: LedgerFile) -> None:
    assert file.see_endpoint("k", "{}", 5.0) == 5.0
    assert file.see_endpoint("k", '{"x": 1}', 9.0) == 5.0
    file.set_down("k", True)
    assert file.endpoints() == [("k", '{"x": 1}', 5.0, True)]


def test_callbacks_that_nothing_is_for_are_forgotten(file: LedgerFile) -> None:
    for key in ("callback/used", "callback/unused", "queue/n/q/e"):
        file.see_endpoint(key, "{}", 0.0)
    record(file, some("queued", endpoint="callback/used"))
    file.forget_unused_callbacks()
    assert {key for key, *_ in file.endpoints()} == {"callback/used", "queue/n/q/e"}


def test_open_jobs_are_those_of_the_namespaces_that_are_watched(file: LedgerFile) -> None:
    record(file, some("queued"))
    assert file.open_uids(()) == file.open_uids(("n",)) == {"u"}
    assert file.open_uids(("m",)) == set()


async def test_what_was_answered_is_in_the_file_when_another_process_reads_it(tmp_path: Path) -> None:
    async with Ledger(tmp_path / "ledger.db") as ledger:
        writes = [ledger.write(lambda file, n=n: record(file, some("queued", uid=f"u{n}"))) for n in range(200)]
        await asyncio.gather(*writes)
        other = sqlite3.connect(tmp_path / "ledger.db")
        assert other.execute("SELECT count(*) FROM deliveries").fetchone() == (200,)
        other.close()


async def test_steps_are_carried_out_in_order_and_committed_together(tmp_path: Path) -> None:
    commits: list[int] = []
    async with Ledger(tmp_path / "ledger.db", lambda _, steps: commits.append(steps)) as ledger:
        writes = [ledger.write(lambda file, n=n: record(file, some("queued", uid=f"u{n}"))) for n in range(300)]
        taken = await ledger.read(lambda file: take(file, count=1000))
        assert names(taken) == [f"u{n}-queued-1" for n in range(300)], "a read sees what was asked for before it"
        await asyncio.gather(*writes)
    assert sum(commits) == 300
    assert len(commits) < 60


async def test_a_step_that_fails_fails_its_whole_transaction(tmp_path: Path) -> None:
    def broken(file: LedgerFile) -> None:
        record(file, some("queued"))
        raise OSError("no space left on device")

    async with Ledger(tmp_path / "ledger.db") as ledger:
        with pytest.raises(OSError, match="no space"):
            await ledger.write(broken)
        assert await ledger.read(lambda file: file.counts()) == {}


async def test_a_second_relay_does_not_get_the_ledger(tmp_path: Path) -> None:
    async with Ledger(tmp_path / "ledger.db"):
        with pytest.raises(LedgerInUse, match="another relay"):
            Ledger(tmp_path / "ledger.db")
    async with Ledger(tmp_path / "ledger.db"):
        pass
