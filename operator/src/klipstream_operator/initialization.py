"""What already runs for a queue that was never written, or was restored: its first status (rule 6)."""

import logging

from pydantic import ValidationError

from klipstream_api import Admitted, AnalysisJob, AnalysisQueue, AnalysisQueueStatus, names
from klipstream_api.phases import ACTIVE_PHASES
from klipstream_kube import JOBS, PODS, Client
from klipstream_operator.log_fields import queue_fields
from klipstream_operator.status_writer import ANALYSIS_JOBS
from klipstream_operator.store import Store, version
from klipstream_operator.workload import AttemptView, view_job, view_pod

log = logging.getLogger(__name__)


async def initial_status(queue: AnalysisQueue, client: Client, store: Store) -> AnalysisQueueStatus:
    """Take what already runs into the reservations, from live lists, before anything starts (rule 6)."""
    namespace, name = queue.key
    selector = f"{names.QUEUE_LABEL}={name}"
    attempts: dict[tuple[str, int], AttemptView] = {}
    for obj in (await client.list(JOBS, namespace, label_selector=selector))[0]:
        if (job := view_job(obj)) is not None:
            attempts.setdefault((job.job_uid, job.attempt), AttemptView()).job = job
    for obj in (await client.list(PODS, namespace, label_selector=selector))[0]:
        if (pod := view_pod(obj)) is not None:
            attempts.setdefault((pod.job_uid, pod.attempt), AttemptView()).pods[pod.uid] = pod
    by_uid = await _owners({uid for uid, _ in attempts}, namespace, client, store)
    held = {(entry.uid, entry.attempt): entry for entry in queue.status.admitted}
    for (uid, attempt), view in attempts.items():
        owner = by_uid.get(uid)
        unsettled = owner is not None and (
            owner.status.attempt < attempt or (owner.status.attempt == attempt and owner.status.phase in ACTIVE_PHASES)
        )
        if view.live_pods or not view.over or unsettled:
            owner_name = owner.metadata.name if owner is not None else uid
            held.setdefault((uid, attempt), Admitted(uid=uid, attempt=attempt, name=owner_name))
    admitted = tuple(held.values())
    initial = queue.status.model_copy(update={"initialized": True, "admitted": admitted, "active": len(admitted)})
    log.info("AnalysisQueue %s/%s: initialized with %d running attempts", namespace, name, len(admitted),
             extra=queue_fields(queue.key))  # fmt: skip
    return initial


async def _owners(uids: set[str], namespace: str, client: Client, store: Store) -> dict[str, AnalysisJob]:
    """The AnalysisJobs of these uids, live; a malformed one counts as unknown, so what runs for it is kept.

    All that is read is taken into the store: it may be newer than what the watch has told so far.
    """
    if not uids:
        return {}
    owners = {}
    async for page in client.list_pages(ANALYSIS_JOBS, namespace):
        for obj in page.get("items") or []:
            uid, seen = obj["metadata"]["uid"], store.shard.sees_job(obj)
            if not seen and uid not in uids:
                continue
            held = store.jobs.get(uid)
            if held is None or version(held) < int(obj["metadata"]["resourceVersion"]):
                try:
                    held = AnalysisJob.from_wire(obj)
                except ValidationError:
                    continue
                if seen:
                    store.put_job(held, client.now())
            if uid in uids:
                owners[uid] = held
    return owners
