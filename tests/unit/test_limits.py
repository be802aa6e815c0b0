"""Whose limit holds: the job's own, otherwise its queue's, otherwise the documented default."""

from typing import Any

import pytest

from klipfake.objects import job, queue
from klipstream_api import AnalysisQueue
from klipstream_operator.limits import Limits, limits_of, spec_of

QUEUES = queue(timeoutSeconds=50, maxRetries=5, retryDelaysSeconds=[5, 6], nodeLost={"seconds": 50, "release": False})


@pytest.mark.parametrize(
    ("rule", "own", "its_queue", "timeout", "retries", "delays"),
    [
        ("the queue's", {}, QUEUES, 50, 5, (5, 6)),
        ("the job's", {"timeoutSeconds": 9, "maxRetries": 2, "retryDelaysSeconds": [1]}, QUEUES, 9, 2, (1,)),
        ("no retry is a limit as well", {"maxRetries": 0}, QUEUES, 50, 0, (5, 6)),
        ("the defaults where the queue is gone", {}, None, 3600, 3, (30, 120, 300)),
    ],
)
def test_limits(
    rule: str, own: dict[str, Any], its_queue: AnalysisQueue | None, timeout: int, retries: int, delays: tuple[int, ...]
) -> None:
    assert limits_of(job(**own), its_queue) == Limits(timeout, retries, delays, spec_of(its_queue).node_lost), rule


@pytest.mark.parametrize(("retry", "seconds"), [(1, 30), (2, 120), (3, 300), (4, 300), (99, 300)])
def test_the_last_delay_repeats(retry: int, seconds: int) -> None:
    assert limits_of(job(), None).retry_delay_seconds(retry) == seconds
