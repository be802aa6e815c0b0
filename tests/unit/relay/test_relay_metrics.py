"""What Prometheus reads of the relay."""

from prometheus_client import generate_latest

from klipstream_api import WebhookEvent
from klipstream_relay.metrics import Metrics


def test_webhooks_that_are_given_up_are_counted_from_0() -> None:
    """Prometheus sees no rise in a series whose first sample is 1: the first one would never be alerted of."""
    text = generate_latest(Metrics(lambda: 0.0).registry).decode()
    for event in WebhookEvent:
        assert f'klipstream_relay_deliveries_total{{event="{event}",state="dead"}} 0.0' in text
