"""Metrics of a gateway."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

CALLER_LEFT = 499
"""Status that is counted for a caller who left before the answer, as proxies do."""


class Metrics:
    """Requests answered, requests made, and gauges that are read at each scrape."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._answers = Counter(
            "klipstream_gateway_requests_total", "Requests that were answered.", ["operation", "status"],
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "klipstream_gateway_request_seconds", "Time to the answer, or to the first event of a stream.",
            ["operation"], buckets=BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._asked = Counter(
            "klipstream_gateway_api_requests_total", "Requests to the API server; status 0: no answer.",
            ["verb", "resource", "status"], registry=self.registry,
        )  # fmt: skip

    def answered(self, operation: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._answers.labels(operation, str(status)).inc()
        self._seconds.labels(operation).observe(seconds)

    def asked(self, verb: str, resource: str, status: int, _seconds: float) -> None:
        """A request to the API server ended."""
        self._asked.labels(verb, resource, str(status)).inc()

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that is read at each scrape."""
        Gauge(f"klipstream_gateway_{name}", text, registry=self.registry).set_function(value)
