"""Taking AnalysisQueues that the API server sent into the store."""

import logging

from pydantic import ValidationError

from klipstream_api import AnalysisQueue
from klipstream_kube import Client
from klipstream_operator.log_fields import wire_queue_fields
from klipstream_operator.store import Store

log = logging.getLogger(__name__)


def take_queue(obj: dict[str, object], store: Store, client: Client) -> AnalysisQueue | None:
    """Take an AnalysisQueue that the API server sent into the store; a malformed one is named and left alone."""
    try:
        queue = AnalysisQueue.from_wire(obj)
    except ValidationError as error:
        first = error.errors()[0]
        metadata = obj.get("metadata")
        log.error(
            "AnalysisQueue %s is malformed and starts nothing until it is mended: %s: %s",
            metadata.get("name") if isinstance(metadata, dict) else "?",
            ".".join(str(part) for part in first["loc"]), first["msg"],
            extra=wire_queue_fields(obj),
        )  # fmt: skip
        return None
    store.put_queue(queue, client.now())
    return queue
