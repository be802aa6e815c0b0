"""Which shard a queue, a job and a worker belong to."""

from typing import Any

import pytest

from klipfake.objects import NOW, queue
from klipstream_api import AnalysisJob, AnalysisQueue, names
from klipstream_operator import acceptance
from klipstream_operator.acceptance import is_ours
from klipstream_operator.settings import Settings
from klipstream_operator.sharding import UNROUTED, Shard
from klipstream_operator.store import Store
from klipstream_service import BadSetting

SHARDS = [Shard(number, 3) for number in range(3)]
NAMES = [f"queue-{n}" for n in range(60)]


def of(key: tuple[str, str]) -> Shard:
    return next(shard for shard in SHARDS if shard.covers(key))


def job(queue_name: str | None = None, **status: Any) -> dict[str, Any]:
    spec = {"videoUrl": "https://example.com/v.mp4"} | ({"queueName": queue_name} if queue_name else {})
    metadata = {"namespace": "n", "name": "job", "uid": "uid-job", "resourceVersion": "7",
                "creationTimestamp": NOW.isoformat()}  # fmt: skip
    return {"metadata": metadata, "spec": spec, "status": status}


def called(name: str, version: int = 5, **spec: Any) -> AnalysisQueue:
    made = queue(**spec)
    metadata = made.metadata.model_copy(
        update={"name": name, "namespace": "n", "uid": f"uid-{name}", "resource_version": str(version)}
    )
    return made.model_copy(update={"metadata": metadata})


def store_of(shard: Shard) -> Store:
    return Store(lambda _: None, lambda _: None, lambda: None, shard)


# --- queues ------------------------------------------------------------------------------------------------------


def test_every_queue_has_one_shard_and_every_shard_has_queues() -> None:
    covering = [[shard.number for shard in SHARDS if shard.covers(("n", name))] for name in NAMES]
    assert all(len(found) == 1 for found in covering)
    assert {found[0] for found in covering} == {0, 1, 2}
    assert Shard().covers(("n", "any"))


def test_the_shard_of_a_queue_is_the_same_in_every_release() -> None:
    """By CRC-32 of namespace/name, as docs/operations.md says: running operators of two releases must agree."""
    assert [Shard(0, 4).number_of(("team-a", name)) for name in ("default", "batch", "live")] == [0, 3, 1]


def test_queues_of_other_shards_are_known_for_routing_alone() -> None:
    mine = of(("n", "a"))
    store, theirs = store_of(mine), next(name for name in NAMES if not mine.covers(("n", name)))
    assert store.put_queue(called(theirs), NOW)
    assert not store.queues
    assert store.queue(("n", theirs)) is not None
    assert not store.put_queue(called(theirs, version=4), NOW), "an older one does not replace a newer one"
    store.remove_queue(("n", theirs), f"uid-{theirs}", NOW)
    assert not store.all_queues()


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("name", NAMES[:3])
def test_whatever_changes_where_jobs_go_has_submissions_looked_at_again(shards: int, name: str) -> None:
    woken: list[None] = []
    store = Store(lambda _: None, lambda _: None, lambda: woken.append(None), Shard(0, shards))
    store.put_queue(called(name), NOW)
    assert len(woken) == 1
    later = called(name, version=6)
    store.put_queue(later, NOW)
    assert len(woken) == 1, "nothing has changed but its version"
    ending = called(name, version=7)
    store.put_queue(ending.model_copy(update={"metadata": ending.metadata.model_copy(
        update={"deletion_timestamp": NOW})}), NOW)  # fmt: skip
    assert len(woken) == 2, "a queue that is being deleted gets nothing new"
    store.remove_queue(("n", name), f"uid-{name}", NOW)
    assert len(woken) == 3, "another queue may be the only one now"


# --- jobs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES[:6])
def test_a_job_is_seen_by_the_shard_of_its_queue_alone(name: str) -> None:
    accepted = job(None, queueName=name, phase="Running")
    for seen in (job(name), accepted, job(name, phase="Rejected")):
        assert [shard for shard in SHARDS if shard.sees_job(seen)] == [of(("n", name))]


def test_a_submission_that_names_no_queue_is_seen_by_all_until_one_took_it() -> None:
    assert [shard for shard in SHARDS if shard.sees_job(job())] == SHARDS
    assert [shard for shard in SHARDS if shard.sees_job(job(phase="Queued"))] == SHARDS
    assert [shard for shard in SHARDS if shard.sees_job(job(phase="Cancelled"))] == [of(("n", UNROUTED))]


@pytest.mark.parametrize("queues", [[], ["default"], ["only"], ["default", "other"]])
def test_one_shard_decides_about_a_submission(queues: list[str]) -> None:
    deciding = []
    for shard in SHARDS:
        store = store_of(shard)
        for name in queues:
            store.put_queue(called(name), NOW)
        if is_ours(AnalysisJob.from_wire(job()), store):
            deciding.append(shard)
    target = "default" if "default" in queues else "only" if queues else UNROUTED
    assert deciding == [of(("n", target))]


def test_a_worker_belongs_to_the_shard_of_its_queue() -> None:
    pod = {"metadata": {"namespace": "n", "labels": {names.QUEUE_LABEL: "queue-1"}}}
    assert [shard for shard in SHARDS if shard.sees_workload(pod)] == [of(("n", "queue-1"))]
    assert Shard().sees_workload({"metadata": {"namespace": "n"}})


async def test_what_another_shard_is_to_decide_is_looked_at_once_for_each_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thousands of such submissions wait in every shard while they come."""
    store, asked = store_of(next(shard for shard in SHARDS if not shard.covers(("n", "default")))), []
    store.put_queue(called("default"), NOW)
    monkeypatch.setattr(acceptance, "is_ours", lambda job, store: asked.append(job.uid))
    deciding = acceptance.Acceptance(store, writer=None)  # type: ignore[arg-type]  # it writes nothing here
    store.put_job(AnalysisJob.from_wire(job()), NOW)
    for _ in range(3):
        assert deciding._batch(deciding._line()) == []
    assert asked == ["uid-job"]
    store.put_queue(called("only"), NOW)
    assert deciding._batch(deciding._line()) == []
    assert asked == ["uid-job"] * 2


# --- settings ----------------------------------------------------------------------------------------------------


def test_each_shard_has_a_lease_of_its_own_and_the_only_one_keeps_its_name() -> None:
    assert Shard().lease_name("operator") == "operator"
    assert [shard.lease_name("operator") for shard in SHARDS] == [f"operator-{n}-of-3" for n in range(3)]


URL = {"KLIPSTREAM_SHARD_URL": "http://operator-{shard}/v1/progress"}


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"KLIPSTREAM_SHARDS": "0"}, "KLIPSTREAM_SHARDS"),
        ({"KLIPSTREAM_SHARDS": "17"} | URL, "KLIPSTREAM_SHARDS"),
        ({"KLIPSTREAM_SHARDS": "2", "KLIPSTREAM_SHARD": "2"} | URL, "KLIPSTREAM_SHARD"),
        ({"KLIPSTREAM_SHARD": "1"}, "KLIPSTREAM_SHARD"),
        ({"KLIPSTREAM_SHARDS": "2"}, "KLIPSTREAM_SHARD_URL"),
        ({"KLIPSTREAM_SHARDS": "2", "KLIPSTREAM_SHARD_URL": "http://operator/"}, "KLIPSTREAM_SHARD_URL"),
    ],
)
def test_settings_that_divide_wrongly_are_refused(environment: dict[str, str], said: str) -> None:
    with pytest.raises(BadSetting, match=said):
        Settings.from_environment(environment)


def test_a_shard_is_set_by_its_number_and_how_many_there_are() -> None:
    environment = {"KLIPSTREAM_SHARDS": "3", "KLIPSTREAM_SHARD": "2"} | URL
    assert Settings.from_environment(environment).shard == Shard(2, 3)
    assert Settings.from_environment({}).shard == Shard(0, 1)
