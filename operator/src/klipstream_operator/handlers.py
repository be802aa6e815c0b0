"""What Kopf runs for us: its settings and the slow resource (AnalysisQueues)."""

from typing import Any

import kopf

from klipstream_api import names
from klipstream_operator.runtime import Runtime


def make_registry(runtime: Runtime) -> kopf.OperatorRegistry:
    """Kopf's handlers, bound to one runtime.

    AnalysisJobs, Jobs and pods do not come through Kopf: its feed costs several times the CPU of a plain watch
    and does not announce deletions that it missed. Queues are few; for them the sweep makes up for it.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_via_client(**kwargs)

    @kopf.on.startup(registry=registry)
    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.peering.standalone = True
        settings.posting.enabled = False
        settings.watching.server_timeout = 300
        settings.watching.inactivity_timeout = 600
        settings.execution.max_workers = 2

    @kopf.on.event(names.GROUP, names.VERSION, "analysisqueues", registry=registry)
    async def queue_event(event: kopf.RawEvent, **_: Any) -> None:
        runtime.queue_event(event["type"], dict(event["object"]))

    return registry
