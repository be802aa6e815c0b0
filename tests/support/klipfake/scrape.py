"""What a process exposes on its metrics port."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """The figures of one scrape."""

    def __init__(self, port: int) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            families = list(text_string_to_metric_families(answer.read().decode()))
        self.samples = [sample for family in families for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels among theirs."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == f"klipstream_{name}" and labels.items() <= sample.labels.items()
        )
