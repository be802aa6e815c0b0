"""Which endpoints there are: those of the queues as they are now, and the callbacks that jobs named."""

import json

from klipstream_api import AnalysisJob, AnalysisQueue, SecretKeyRef
from klipstream_relay.deliveries import Delivery
from klipstream_relay.endpoints import Endpoint, Recipient, recipients

QueueKey = tuple[str, str]


class Directory:
    """Endpoints by their key. A queue's endpoint ends with it; a callback's is kept for what is still to be sent."""

    def __init__(self) -> None:
        self._queues: dict[QueueKey, AnalysisQueue] = {}
        self._urls: dict[str, str] = {}
        self._of_queues: dict[str, Endpoint] = {}
        self._callbacks: dict[str, Endpoint] = {}

    def put_queue(self, queue: AnalysisQueue) -> None:
        """A queue, or what is new of it."""
        self.remove_queue(queue.key)
        self._queues[queue.key] = queue
        for each in queue_recipients(queue):
            self._of_queues[each.endpoint.key] = each.endpoint
            self._urls[each.endpoint.key] = each.url

    def remove_queue(self, key: QueueKey) -> None:
        """The queue is gone, and its endpoints with it."""
        before = self._queues.pop(key, None)
        for each in queue_recipients(before) if before is not None else ():
            self._of_queues.pop(each.endpoint.key, None)
            self._urls.pop(each.endpoint.key, None)

    def put_callback(self, endpoint: Endpoint) -> None:
        """An endpoint that a job named."""
        self._callbacks[endpoint.key] = endpoint

    def recipients(self, job: AnalysisJob) -> tuple[Recipient, ...]:
        """Who is told of the job's changes."""
        name = job.status.queue_name or job.spec.queue_name
        queue = self._queues.get((job.metadata.namespace, name)) if name is not None else None
        return recipients(job, queue)

    def endpoint(self, key: str) -> Endpoint | None:
        """The endpoint as it is now; None where there is none any more."""
        return self._of_queues.get(key) or self._callbacks.get(key)

    def url(self, delivery: Delivery) -> str | None:
        """Where to send it: a queue's endpoint may have moved; None where it was removed."""
        return self._urls.get(delivery.endpoint) if delivery.endpoint.startswith("queue/") else delivery.url


def queue_recipients(queue: AnalysisQueue) -> tuple[Recipient, ...]:
    """The endpoints of a queue."""
    nobody = AnalysisJob.from_wire({"metadata": {"name": "-", "namespace": queue.metadata.namespace}, "spec": {}})
    return recipients(nobody, queue)


def facts_of(endpoint: Endpoint) -> str:
    """An endpoint as the ledger keeps it; the names of Secrets, and nothing that is in them."""
    refs = {"signing": endpoint.signing, "token": endpoint.token}
    named = {k: v and [v.name, v.key] for k, v in refs.items()}
    return json.dumps({"namespace": endpoint.namespace} | named | ({"sealed": True} if endpoint.sealed else {}))


def endpoint_from(key: str, facts: str) -> Endpoint:
    """The reverse of `facts_of`."""
    read = json.loads(facts)
    signing, token = (SecretKeyRef(name=v[0], key=v[1]) if (v := read[k]) else None for k in ("signing", "token"))
    return Endpoint(key, read["namespace"], signing, token, read.get("sealed", False))
