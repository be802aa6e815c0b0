"""Quantities and the queue's bounds."""

import pytest

from klipfake.objects import job, queue
from klipstream_operator.bounds import amount, excess


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "1000m"), ("1Ki", "1024"), ("1k", "1000"), ("0.5Gi", "512Mi"), ("2T", "2000G"), ("1Ti", "1024Gi")],
)
def test_equal_quantities(one: str, other: str) -> None:
    assert amount(one) == amount(other)


@pytest.mark.parametrize(
    ("resources", "bounds", "beyond"),
    [
        (None, {"cpu": "1"}, None),
        ({"limits": {"cpu": "1000m"}}, {"cpu": "1"}, None),
        ({"limits": {"cpu": "1001m"}}, {"cpu": "1"}, "resources.limits.cpu is 1001m and the queue q allows 1"),
        ({"requests": {"memory": "33Gi"}}, {"memory": "32Gi"}, "resources.requests.memory is 33Gi"),
        ({"limits": {"nvidia.com/gpu": "8"}}, {"cpu": "1"}, None),
        ({"requests": {"cpu": "2"}, "limits": {"cpu": "3"}}, {"cpu": "1"},
         "resources.requests.cpu is 2 and the queue q allows 1; resources.limits.cpu is 3 and the queue q allows 1"),
        ({"limits": {"cpu": "9"}}, None, None),
    ],
)  # fmt: skip
def test_excess(resources: dict[str, dict[str, str]] | None, bounds: dict[str, str] | None, beyond: str | None) -> None:
    of = job() if resources is None else job(resources=resources)
    said = excess(of, queue() if bounds is None else queue(resourceBounds={"max": bounds}))
    assert said == beyond if beyond is None else str(said).startswith(beyond)
