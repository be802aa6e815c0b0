"""The order in which submissions are accepted is the order in which they were created (found by simulation)."""

from datetime import timedelta

from klipfake.objects import NOW, queue
from klipstream_api import AnalysisJob
from klipstream_operator.acceptance import decide
from klipstream_operator.store import Store


def created(name: str, version: int, **spec: object) -> AnalysisJob:
    metadata = {"name": name, "namespace": "n", "uid": f"uid-{name}", "resourceVersion": str(version),
                "creationTimestamp": NOW.isoformat()}  # fmt: skip
    return AnalysisJob.from_wire({"metadata": metadata, "spec": {"videoUrl": "https://example.com/v.mp4", **spec}})


def changed(job: AnalysisJob, version: int, **update: object) -> AnalysisJob:
    metadata = job.metadata.model_copy(update={"resource_version": str(version)})
    return job.model_copy(update={"metadata": metadata, **update})


def empty_store() -> Store:
    return Store(lambda _: None, lambda _: None, lambda: None)


def test_jobs_that_waited_for_their_queue_keep_the_order_of_their_creation() -> None:
    store = empty_store()
    jobs = [created("first", 10, queueName="q"), created("second", 11, queueName="q")]
    for job in jobs:
        store.put_job(job, NOW)
    # The writes that say that there is no queue are answered in whatever order.
    held_up = [changed(job, 30 - n, status=decide(job, store, {}, NOW)) for n, job in enumerate(jobs)]
    for job in held_up:
        store.put_job(job, NOW)
        assert job.uid in store.unaccepted
    later = empty_store()  # of an operator that was started only now
    later.put_queue(queue(), NOW)
    for job in held_up:
        later.put_job(job, NOW)
    sequences = [decide(job, later, {}, NOW + timedelta(seconds=60)).sequence for job in held_up]
    assert sequences == [10, 11]


def test_a_job_that_is_changed_before_its_acceptance_keeps_its_place() -> None:
    store = empty_store()
    store.put_queue(queue(), NOW)
    for job in (created("first", 10, queueName="q"), created("second", 11, queueName="q")):
        store.put_job(job, NOW)
    store.put_job(changed(store.jobs["uid-first"], 12), NOW)
    sequences = [decide(store.jobs[f"uid-{name}"], store, {}, NOW).sequence for name in ("first", "second")]
    assert sequences == [10, 11]
