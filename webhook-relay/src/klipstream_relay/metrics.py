"""What Prometheus reads of the relay. No label names an endpoint: `list` does, and their number is not bounded."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from klipstream_api import WebhookEvent
from klipstream_relay.attempts import Result, Verdict
from klipstream_relay.deliveries import Delivery, State

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LATENCIES = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400)


class Metrics:
    """Counters of the deliveries; gauges are read at each scrape."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.registry = CollectorRegistry()
        self._tries = Counter("klipstream_relay_tries", "Tries to deliver, by what became of them.",
                              ["event", "reason"], registry=self.registry)  # fmt: skip
        self._deliveries = Counter("klipstream_relay_deliveries", "Deliveries that ended: delivered or dead.",
                                   ["event", "state"], registry=self.registry)  # fmt: skip
        # An alert asks whether the dead rise at all, and Prometheus sees no rise in a series that begins at 1.
        for event in WebhookEvent:
            for state in (State.DELIVERED, State.DEAD):
                self._deliveries.labels(event, state)
        self._try_seconds = Histogram("klipstream_relay_try_seconds", "How long a try took.", buckets=_SECONDS,
                                      registry=self.registry)  # fmt: skip
        self._latency = Histogram("klipstream_relay_delivery_seconds", "From the ledger to the receiver.",
                                  buckets=_LATENCIES, registry=self.registry)  # fmt: skip
        self._commits = Histogram("klipstream_relay_commit_seconds", "How long a commit of the ledger took.",
                                  buckets=_SECONDS, registry=self.registry)  # fmt: skip

    def tried(self, delivery: Delivery, result: Result, verdict: Verdict) -> None:
        """A try ended."""
        self._tries.labels(delivery.event, result.reason).inc()
        self._try_seconds.observe(result.seconds)
        if verdict.state != "pending":
            self._deliveries.labels(delivery.event, verdict.state).inc()
        if result.delivered:
            self._latency.observe(max(0.0, self._now() - delivery.created))

    def committed(self, seconds: float, _: int) -> None:
        """A transaction of the ledger was committed."""
        self._commits.observe(seconds)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that is read at each scrape."""
        Gauge(f"klipstream_relay_{name}", text, registry=self.registry).set_function(value)
