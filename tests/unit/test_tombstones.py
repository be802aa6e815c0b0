"""A watch that was cut off repeats what happened meanwhile: it brings nothing back that is known to be gone."""

from klipfake.objects import NOW, UID, job, kube_job, pod, queue
from klipstream_operator.store import Store
from klipstream_operator.tombstones import Tombstones


def store() -> Store:
    return Store(lambda _: None, lambda _: None, lambda: None)


def test_a_deleted_job_is_not_brought_back() -> None:
    """Found by simulation: a job that the sweep had found deleted was reserved a minute later."""
    known = store()
    known.put_queue(queue(), NOW)
    known.put_job(job(), NOW)
    known.remove_job(UID)
    assert not known.put_job(job(), NOW)
    assert UID not in known.jobs
    assert len(known.backlogs["n", "q"].first(9)) == 0


def test_a_deleted_pod_or_job_of_kubernetes_is_not_brought_back() -> None:
    known = store()
    known.put_job(job(), NOW)
    for view in (kube_job(), pod()):
        known.put_workload(view)
        known.remove_workload(view.uid)
        known.put_workload(view)
    attempt = known.attempt((UID, 1))
    assert attempt.job is None
    assert attempt.live_pods == []


def test_what_a_live_read_found_gone_stays_gone() -> None:
    known = store()
    known.put_job(job(), NOW)
    for view in (kube_job(), pod()):
        known.put_workload(view)
    known.mark_gone((UID, 1))
    for view in (kube_job(), pod()):
        known.put_workload(view)
    assert known.attempt((UID, 1)).job is None
    assert known.attempt((UID, 1)).over


def test_a_deleted_queue_is_not_brought_back_but_a_new_one_of_its_name_is_taken() -> None:
    known = store()
    old = queue()
    known.put_queue(old, NOW)
    known.remove_queue(old.key, old.metadata.uid, NOW)
    assert not known.put_queue(old, NOW)
    new = old.model_copy(update={"metadata": old.metadata.model_copy(update={"uid": "another"})})
    assert known.put_queue(new, NOW)


def test_only_so_many_are_remembered_the_latest_ones() -> None:
    tombstones = Tombstones(kept=2)
    for uid in ("a", "b", "a", "c"):
        tombstones.add(uid)
    assert [uid in tombstones for uid in ("a", "b", "c")] == [True, False, True]
