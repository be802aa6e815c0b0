"""Doctor with the Deployments that the chart makes for shards."""

import json
from datetime import UTC, datetime
from pathlib import Path

import yaml

CHART = Path(__file__).resolve().parents[3] / "charts" / "klipstream"


def test_doctor_finds_the_leases_of_the_charts_shards(alone, helm, kubectl) -> None:
    settings = ("--set", "operator.shards=2,operator.replicas=0", "-s", "templates/operator.yaml")
    done = helm("template", "r", str(CHART), "-n", alone.namespace, *settings)
    assert done.returncode == 0, done.stderr
    kubectl("-n", alone.namespace, "apply", "-f", "-", stdin=done.stdout)
    made = {"r-operator-0-of-2": "r-operator-0-abc", "r-operator": ""}
    for name, holder in made.items():
        spec = {"holderIdentity": holder or None, "leaseDurationSeconds": 600,
                "renewTime": datetime.now(UTC).isoformat(timespec="microseconds")}  # fmt: skip
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": spec}
        kubectl("-n", alone.namespace, "apply", "-f", "-", stdin=yaml.safe_dump(lease))
    found = [each for each in json.loads(alone.out("doctor", "-o", "json", code=1)) if each["check"] == "Leader"]
    assert [(each["state"], each["message"]) for each in found] == [
        ("ok", f"r-operator-0-abc leads ({alone.namespace}/r-operator-0-of-2)"),
        ("failed", f"no operator has ever held {alone.namespace}/r-operator-1-of-2"),
    ]
