"""Shortages of room in the cluster: when they begin, who tries again and when, and when they are over."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from klipfake.objects import NOW, SUSPENDED, UID, ended, job, kube_job, pod, queue, running, view
from klipstream_api import AnalysisJob, AnalysisQueue, CapacityShortage
from klipstream_operator.capacity import next_try, open_lanes, shape_of, shortages

STOP = {"attempt": 1, "reason": "Unschedulable", "at": NOW.isoformat(),
        "message": "No node has room: 0/1 nodes are available: 1 Insufficient memory."}  # fmt: skip


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def short(**changes: Any) -> CapacityShortage:
    values: dict[str, Any] = {"shape": "default", "since": NOW, "tries": 1, "next_try_at": at(15), "missing": ("cpu",)}
    return CapacityShortage(**values | changes)


def with_shortage(*entries: CapacityShortage, **spec: Any) -> AnalysisQueue:
    return queue({"capacity": [entry.to_wire() for entry in entries]}, **spec)


def given_back(**spec: Any) -> tuple[AnalysisJob, Any]:
    return job(running("Starting") | {"stop": STOP}, **spec), view(SUSPENDED)


def test_the_first_job_that_finds_no_node_begins_a_shortage() -> None:
    (entry,) = shortages(queue(), [given_back()], [], {}, NOW)
    assert (entry.shape, entry.missing, entry.tries, entry.next_try_at) == ("default", ("memory",), 1, at(15))
    assert (entry.since, entry.message, entry.trying) == (NOW, STOP["message"], None)


def test_long_words_of_the_scheduler_are_cut() -> None:
    said = STOP | {"message": "0/1 nodes are available: " + ", ".join(f"1 Insufficient r{n}" for n in range(40))}
    of = job(running("Starting") | {"stop": said})
    (entry,) = shortages(queue(), [(of, view(SUSPENDED))], [], {}, NOW)
    assert (len(entry.message), len(entry.missing)) == (512, 8)


def test_a_shortage_begins_only_where_no_node_was_found() -> None:
    stalled = job(running("Starting") | {"stop": STOP | {"reason": "Stalled"}})
    ran = (given_back()[0], view(SUSPENDED, ended(1, node_name="")))
    unstopped = (job(running("Starting")), view(SUSPENDED))
    assert shortages(queue(), [(stalled, view(SUSPENDED)), ran, unstopped], [], {}, NOW) == ()


def test_a_shortage_that_goes_on_counts_from_its_beginning() -> None:
    before = with_shortage(short(since=at(-100), trying=UID, missing=("memory",)))
    (entry,) = shortages(before, [given_back()], [], {}, NOW)
    assert (entry.since, entry.missing) == (at(-100), ("memory",))


def test_those_that_started_together_count_once() -> None:
    (entry,) = shortages(queue(), [given_back(), given_back()], [], {}, NOW)
    assert entry.tries == 1


@pytest.mark.parametrize(("tries", "pause"), [(1, 30), (2, 60), (5, 300), (50, 300)])
def test_the_pause_doubles_with_each_try_up_to_its_limit(tries: int, pause: int) -> None:
    before = with_shortage(short(tries=tries, trying=UID))
    (entry,) = shortages(before, [given_back()], [], {}, NOW)
    assert (entry.tries, entry.next_try_at, entry.trying) == (tries + 1, at(pause), None)


def test_a_job_that_finds_a_node_ends_the_shortage() -> None:
    before = with_shortage(short(trying=UID))
    assert shortages(before, [], [], {UID: view(kube_job(), pod("Pending", node_name="n1"))}, NOW) == ()
    waits = {UID: view(kube_job(), pod("Pending", node_name=""))}
    assert shortages(before, [], [], waits, NOW) == before.status.capacity


def test_a_try_that_was_cancelled_lets_another_one_try() -> None:
    (entry,) = shortages(with_shortage(short(trying=UID)), [], [], {}, NOW)
    assert entry.trying is None


def test_room_that_a_finished_job_leaves_is_tried_at_once() -> None:
    finished = (job({"phase": "Succeeded", "attempt": 1}), view(kube_job(), ended(0, node_name="n1")))
    (entry,) = shortages(with_shortage(short(next_try_at=at(300))), [finished], [], {}, NOW)
    assert entry.next_try_at == NOW
    (due,) = shortages(with_shortage(short(next_try_at=at(-5))), [finished], [], {}, NOW)
    assert due.next_try_at == at(-5)
    for nowhere in (view(kube_job(), ended(0, node_name="")), view(kube_job())):
        (later,) = shortages(with_shortage(short(next_try_at=at(300))), [(finished[0], nowhere)], [], {}, NOW)
        assert later.next_try_at == at(300), "what had no node leaves no room"


def test_room_is_tried_by_every_size() -> None:
    finished = (job({"phase": "Succeeded", "attempt": 1}), view(kube_job(), ended(0, node_name="n1")))
    before = with_shortage(short(next_try_at=at(300)), short(shape="large", next_try_at=at(200)))
    assert [entry.next_try_at for entry in shortages(before, [finished], [], {}, NOW)] == [NOW, NOW]


def test_each_size_is_followed_by_itself() -> None:
    before = with_shortage(short(shape="a"), short(shape="b", trying="ub"), short(shape="c", trying="uc"),
                           short(shape="d", trying="ud"))  # fmt: skip
    held = {"ub": view(kube_job(), pod("Pending", node_name="n1")), "uc": view(kube_job(), pod(node_name=""))}
    after = shortages(before, [], [], held, NOW)
    assert [(entry.shape, entry.trying) for entry in after] == [("a", None), ("c", "uc"), ("d", None)]


def test_the_eight_latest_sizes_are_kept_the_oldest_first() -> None:
    before = with_shortage(*(short(shape=f"s{n}", since=at(-n)) for n in range(8)))
    after = shortages(before, [given_back()], [], {}, at(1))
    assert [entry.shape for entry in after] == [*(f"s{n}" for n in range(6, -1, -1)), "default"]


def test_a_reserved_job_of_that_size_is_the_one_that_tries() -> None:
    (entry,) = shortages(with_shortage(short()), [], [job()], {}, NOW)
    assert entry.trying == UID
    (other,) = shortages(with_shortage(short()), [], [job(resources={"limits": {"cpu": "4"}})], {}, NOW)
    assert other.trying is None


def test_a_changed_queue_is_a_new_beginning() -> None:
    before = with_shortage(short())
    changed = before.model_copy(update={"metadata": before.metadata.model_copy(update={"generation": 2})})
    assert shortages(changed, [], [], {}, NOW) == ()


def test_jobs_with_resources_of_their_own_are_another_size() -> None:
    large, same, small = (job(resources={"limits": {"cpu": cpu}}) for cpu in ("4", "4", "1"))
    assert shape_of(job()) == "default"
    assert shape_of(large) == shape_of(same) != shape_of(small)
    assert len(shape_of(large)) == 12
    one, other = ({"cpu": "1", "memory": "1Gi"}, {"memory": "1Gi", "cpu": "1"})
    assert shape_of(job(resources={"limits": one})) == shape_of(job(resources={"limits": other}))


@pytest.mark.parametrize(
    ("rule", "entry", "taken", "expected"),
    [
        ("its time has not come", short(next_try_at=at(1)), {}, False),
        ("its time has come", short(next_try_at=NOW), {}, True),
        ("one tries already", short(next_try_at=NOW, trying="x"), {}, False),
        ("one was picked just now", short(next_try_at=NOW), {"x": "default"}, False),
        ("another size was picked just now", short(next_try_at=NOW), {"x": "other"}, True),
    ],
)
def test_which_sizes_may_start(rule: str, entry: CapacityShortage, taken: dict[str, str], expected: bool) -> None:
    is_open = open_lanes(with_shortage(entry), taken, NOW)
    assert is_open("default") is expected, rule
    assert is_open("fits"), "a size that fits is never held up"


def test_the_queue_wakes_up_for_the_next_try_only_while_none_is_under_way() -> None:
    assert next_try(with_shortage(short(next_try_at=at(7))), at(0)) == at(7)
    assert next_try(with_shortage(short(trying="x")), at(0)) is None
    assert next_try(with_shortage(short(next_try_at=at(9)), short(shape="b", next_try_at=at(3))), at(0)) == at(3)
    assert next_try(with_shortage(short(next_try_at=at(9)), short(shape="b", next_try_at=at(3))), at(3)) == at(9)
    assert next_try(queue(), at(0)) is None
