"""Installing the chart, the test videos and the eight jobs."""

import json
from pathlib import Path

from klipdemo.clusters import Place
from klipdemo.shell import Shell

RELEASE = "klipstream"
EXAMPLES = Path("examples/demo")
LIMIT = 2
SMALL_WORKER = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}


def install_chart(place: Place) -> None:
    """Install or upgrade the chart with a paused queue of two slots, and wait for the operator."""
    shell = place.shell
    shell.kubectl("apply", "-f", "-", stdin=_namespace(shell.namespace))
    if place.results_folder is not None:
        shell.kubectl("apply", "-f", "-", stdin=_volume(place.results_folder, shell.namespace))
    # On a machine of our own the claim can be mounted by the operator as well, since everything runs on one node.
    archive = True if place.results_folder is not None else "auto"
    values = {
        "operator": {"image": {"tag": "dev"}, "replicas": 1, "archiveLogs": archive},
        "worker": {"image": {"tag": "dev"}, "resources": SMALL_WORKER},
        "defaultQueue": {"mode": "Paused", "maxConcurrentJobs": LIMIT},
        "results": {
            "persistence": {"storageClassName": "-" if place.results_folder is not None else "", "size": "1Gi"}
        },
    }
    shell.helm("upgrade", "--install", RELEASE, "charts/klipstream", "--set-json", *_set_json(values))
    # The image keeps its tag between two demos, so a changed one needs new pods.
    shell.kubectl("rollout", "restart", "deployment/klipstream-operator")
    shell.kubectl("rollout", "status", "deployment/klipstream-operator", "--timeout=120s")


def serve_videos(shell: Shell, seed: int) -> dict[str, list[float]]:
    """Serve eight generated videos; the loud moments of each in seconds."""
    manifest = (EXAMPLES / "videos.yaml").read_text().replace('--seed, "1"', f'--seed, "{seed}"')
    shell.kubectl("apply", "-f", "-", stdin=manifest)
    shell.kubectl("rollout", "status", "deployment/demo-videos", "--timeout=120s")
    path = f"/api/v1/namespaces/{shell.namespace}/services/demo-videos:http/proxy/truth.json"
    truth: dict[str, list[float]] = json.loads(shell.kubectl("get", "--raw", path))
    return truth


def submit_jobs(shell: Shell) -> None:
    """Pause the queue, remove the jobs of an earlier demo and apply the eight of this one."""
    shell.kubectl("patch", "analysisqueue", "default", "--type=merge", "-p", '{"spec":{"mode":"Paused"}}')
    shell.kubectl("delete", "analysisjobs", "-l", "demo=klipstream", "--ignore-not-found", "--wait=true")
    shell.kubectl("apply", "-f", str(EXAMPLES / "jobs.yaml"))


def _set_json(values: dict[str, object]) -> list[str]:
    return [",".join(f"{key}={json.dumps(value)}" for key, value in values.items())]


def _namespace(name: str) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def _volume(folder: Path, namespace: str) -> str:
    """A volume in a folder of this machine, kept for the chart's claim."""
    return json.dumps({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "klipstream-demo-results"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "hostPath": {"path": str(folder), "type": "Directory"},
            "claimRef": {"namespace": namespace, "name": f"{RELEASE}-results"},
        },
    })  # fmt: skip
