"""How much of a pod's log is answered."""

from typing import Any

import pytest

from klipstream_gateway.logs import LOG_BYTES, WorkerLogs

LOG = "/api/v1/namespaces/ns/pods/pod/log"


class Pods:
    """What the logs' reader asks of the cluster."""

    namespace = "ns"

    def __init__(self, client: Any) -> None:
        self.client = client


@pytest.mark.parametrize(("lines", "whole"), [(10, True), (4000, True), (5000, False), (40_000, False)])
async def test_of_a_log_that_is_too_long_its_end_is_answered(server: Any, client: Any, lines: int, whole: bool) -> None:
    written = "".join(f"{number:06d} {'x' * 250}\n" for number in range(lines))
    server.on("GET", LOG, server.text(written))
    logs: Any = WorkerLogs(Pods(client), None, None)  # type: ignore[arg-type]
    answered = await logs._of_pod("pod", lines)
    assert (answered == written) is whole
    assert written.endswith(answered)
    assert answered.splitlines()[0].endswith("x" * 250)
    assert len(answered) > 0.99 * min(len(written), LOG_BYTES)
    assert len(answered) <= LOG_BYTES


async def test_a_line_that_is_longer_than_the_answer_is_cut(server: Any, client: Any) -> None:
    server.on("GET", LOG, server.text("x" * (2 * LOG_BYTES)))
    logs: Any = WorkerLogs(Pods(client), None, None)  # type: ignore[arg-type]
    assert await logs._of_pod("pod", 1) == "x" * LOG_BYTES
