"""Installing the chart, the test videos and the eight jobs."""

import json
from pathlib import Path

from klipdemo.clusters import RELEASE, Place
from klipdemo.current import LABEL
from klipdemo.images import Images
from klipdemo.rollout import wait_until_available
from klipdemo.shell import Shell

EXAMPLES = Path("examples/demo")
LIMIT = 2
SMALL_WORKER = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}

PRIVATE_NETWORKS = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")


def install_chart(place: Place) -> None:
    """Install or upgrade the chart with a paused queue of two slots, and wait for the operator."""
    shell, images = place.shell, place.images
    shell.kubectl("apply", "-f", "-", stdin=_namespace(shell.namespace))
    if place.results_folder is not None:
        shell.kubectl("apply", "-f", "-", stdin=_volume(place.results_folder, shell.namespace))
    # On a machine of our own the claim can be mounted by the operator as well, since everything runs on one node.
    archive = True if place.results_folder is not None else "auto"
    values = {
        "operator": {
            "image": _image(images, "operator"),
            "replicas": 1,
            "archiveLogs": archive,
            # On somebody's own cluster no right and no eye beyond the demo's namespace.
            "namespaces": [shell.namespace] if place.kind == "current" else [],
        },
        # Definitions that others on somebody's own cluster use stay as they are; and no hook waits for an image that
        # cannot be had, which the demo says at once.
        "crds": {"upgrade": place.kind != "current"},
        # Nothing of the demo is announced, and a cluster of somebody's need not have a volume for the ledger.
        "relay": {"enabled": False},
        "worker": {
            "image": _image(images, "pipeline"),
            "resources": SMALL_WORKER,
            "networkPolicy": {"allowedNetworks": list(PRIVATE_NETWORKS)},
        },
        "defaultQueue": {
            "mode": "Paused",
            "maxConcurrentJobs": LIMIT,
            # The videos come from a Service of the cluster.
            "extraSpec": {"sources": {"allowedNetworks": list(PRIVATE_NETWORKS)}},
        },
        "results": {
            "persistence": {"storageClassName": "-" if place.results_folder is not None else "", "size": "1Gi"}
        },
    }
    shell.helm("upgrade", "--install", RELEASE, "charts/klipstream", "--set-json", *_set_json(values))
    # The image keeps its tag between two demos, so a changed one needs new pods.
    shell.kubectl("rollout", "restart", "deployment/klipstream-operator")
    wait_until_available(shell, "klipstream-operator")


def serve_videos(place: Place, seed: int) -> dict[str, list[float]]:
    """Serve eight generated videos; the loud moments of each in seconds."""
    shell = place.shell
    manifest = place.images.put_into((EXAMPLES / "videos.yaml").read_text()).replace('--seed, "1"', f'--seed, "{seed}"')
    shell.kubectl("apply", "-f", "-", stdin=manifest)
    wait_until_available(shell, "demo-videos")
    path = f"/api/v1/namespaces/{shell.namespace}/services/demo-videos:http/proxy/truth.json"
    truth: dict[str, list[float]] = json.loads(shell.kubectl("get", "--raw", path))
    return truth


def submit_jobs(shell: Shell) -> None:
    """Pause the queue, remove the jobs of an earlier demo and apply the eight of this one."""
    shell.kubectl("patch", "analysisqueue", "default", "--type=merge", "-p", '{"spec":{"mode":"Paused"}}')
    shell.kubectl("delete", "analysisjobs", "-l", "demo=klipstream", "--ignore-not-found", "--wait=true")
    shell.kubectl("apply", "-f", str(EXAMPLES / "jobs.yaml"))


def results_reader(images: Images) -> str:
    """The manifest of a pod that prints the results."""
    return images.put_into((EXAMPLES / "show-results.yaml").read_text())


def _image(images: Images, component: str) -> dict[str, str]:
    return {"repository": images.repository(component), "tag": images.tag}


def _set_json(values: dict[str, object]) -> list[str]:
    return [",".join(f"{key}={json.dumps(value)}" for key, value in values.items())]


def _namespace(name: str) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": LABEL}})


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
