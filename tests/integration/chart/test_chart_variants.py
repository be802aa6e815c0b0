"""Every variant of the chart: what helm renders is what the API server takes, and pods are restricted."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import yaml

from klipcrds import manifests

ROOT = Path(__file__).resolve().parents[3]
CHART = str(ROOT / "charts" / "klipstream")
VARIANTS = sorted(Path(__file__).with_name("values").glob("*.yaml"))
CLUSTER_WIDE = ("ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
OTHERS = ("media-a", "media-b", "2024")
RESTRICTED = ("enforce", "warn", "audit")
Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]
Helm = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def others(kubectl: Kubectl, custom_resources: None) -> Iterator[None]:
    """The custom resources of other projects, and namespaces that values name."""
    for path in manifests():
        kubectl("apply", "--server-side", "--force-conflicts", "-f", str(path))
        kubectl("wait", "--for=condition=Established", "-f", str(path), "--timeout=60s")
    for name in OTHERS:
        kubectl("create", "namespace", name)
    yield
    for name in OTHERS:
        kubectl("delete", "namespace", name, "--wait=false")


def rendered(helm: Helm, values: Path, namespace: str) -> str:
    done = helm("template", "r", CHART, "-n", namespace, "-f", str(values))
    assert done.returncode == 0, done.stderr
    return done.stdout


def pods(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The spec of each pod that an object makes, by the object's name; workers included."""
    for each in objects:
        name, spec = f"{each['kind']} {each['metadata']['name']}", each.get("spec", {})
        if each["kind"] == "Pod":
            yield name, spec
        elif each["kind"] == "AnalysisQueue":
            yield name, spec["workerTemplate"]["spec"]
        elif "template" in spec and "spec" in spec["template"]:
            yield name, spec["template"]["spec"]


@pytest.mark.parametrize("values", VARIANTS, ids=lambda path: path.stem)
def test_the_api_server_takes_what_is_rendered(
    values: Path, helm: Helm, kubectl: Kubectl, namespace: str, others: None
) -> None:
    labels = [f"pod-security.kubernetes.io/{mode}=restricted" for mode in RESTRICTED]
    kubectl("label", "namespace", namespace, *labels)
    # A dry run makes no account that the pod of the next line could run as.
    kubectl("-n", namespace, "create", "serviceaccount", "r-test", "--save-config")
    objects = [each for each in yaml.safe_load_all(rendered(helm, values, namespace)) if each]
    for each in objects:
        if each["kind"] not in CLUSTER_WIDE:
            each["metadata"].setdefault("namespace", namespace)
    text = yaml.safe_dump_all(objects)
    done = kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)
    assert "Warning" not in done.stderr, done.stderr


@pytest.mark.parametrize("values", VARIANTS, ids=lambda path: path.stem)
def test_every_pod_is_restricted_bounded_and_placed(values: Path, helm: Helm) -> None:
    objects = [each for each in yaml.safe_load_all(rendered(helm, values, "here")) if each]
    for name, pod in pods(objects):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name
            assert container["resources"]["requests"]["cpu"], name
        if values.stem == "pinned":
            assert pod["imagePullSecrets"] == [{"name": "registry"}], name
            assert name == "AnalysisQueue default" or pod.get("nodeSelector") in ({"pool": "system"}, None), name


@pytest.mark.parametrize("values", VARIANTS, ids=lambda path: path.stem)
def test_every_pod_has_a_network_policy_and_one_that_stays_a_budget(values: Path, helm: Helm) -> None:
    objects = [each for each in yaml.safe_load_all(rendered(helm, values, "here")) if each]
    settings = yaml.safe_load(values.read_text())

    def selectors(kind: str) -> list[dict[str, str]]:
        specs = [each["spec"] for each in objects if each["kind"] == kind]
        return [(spec.get("selector") or spec.get("podSelector")).get("matchLabels", {}) for spec in specs]

    for each in objects:
        if each["kind"] not in ("Deployment", "StatefulSet", "Job", "Pod"):
            continue
        labels = (each if each["kind"] == "Pod" else each["spec"]["template"])["metadata"]["labels"]
        component = labels["app.kubernetes.io/name"].removeprefix("klipstream-")
        if each["kind"] in ("Job", "Pod"):
            off = settings.get("operator", {}).get("networkPolicy", {}).get("enabled") is False
            assert off or any(s and s.items() <= labels.items() for s in selectors("NetworkPolicy")), component
            continue
        alone = each["kind"] == "Deployment" and each["spec"]["replicas"] < 2
        assert alone or any(s and s.items() <= labels.items() for s in selectors("PodDisruptionBudget")), component
        off = settings.get(component, {}).get("networkPolicy", {}).get("enabled") is False
        assert off or any(s and s.items() <= labels.items() for s in selectors("NetworkPolicy")), component


@pytest.mark.parametrize(
    ("values", "release"), list(zip(VARIANTS, cycle(("my.release", "true", "123", "0x1f")), strict=False))
)
def test_a_name_is_a_name_whatever_yaml_takes_it_for(values: Path, release: str, helm: Helm) -> None:
    settings = yaml.safe_load(values.read_text())
    alone = [] if settings.get("operator", {}).get("namespaces") else ["--set", "gateway.namespace="]
    done = helm("template", release, CHART, "-n", "2024", "-f", str(values), *alone)
    assert done.returncode == 0, done.stderr
    for each in yaml.safe_load_all(done.stdout):
        for where, text in names_in(each or {}):
            assert isinstance(text, str), f"{each['kind']}: {where} is {text!r}"
        if each and each["kind"] in ("Service", "StatefulSet"):
            assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", each["metadata"]["name"])


def names_in(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every name, namespace, label, annotation, host and value of an object, by its path."""
    if isinstance(node, list):
        for each in node:
            yield from names_in(each, where)
    elif isinstance(node, dict):
        for key, value in node.items():
            texts = where.endswith(("labels", "matchLabels", "annotations"))
            if texts or (re.search("(?i)(name|namespace|host|value|image)$", key) and not isinstance(value, dict)):
                yield f"{where}.{key}", value
            elif key in ("hosts", "hostnames", "resourceNames", "dnsNames"):
                yield from ((f"{where}.{key}", each) for each in value)
            else:
                yield from names_in(value, f"{where}.{key}")


def test_workers_reach_the_operator_and_nothing_private(helm: Helm) -> None:
    objects = [
        each for each in yaml.safe_load_all(rendered(helm, VARIANTS[0].with_name("defaults.yaml"), "here")) if each
    ]
    (policy,) = (
        each["spec"] for each in objects if each["kind"] == "NetworkPolicy" and each["metadata"]["name"] == "r-worker"
    )
    assert policy["ingress"] == []
    assert policy["podSelector"]["matchExpressions"] == [{"key": "analysis.klipstream.io/queue", "operator": "Exists"}]
    for rule in policy["egress"]:
        for peer in rule.get("to", ()):
            block = peer.get("ipBlock")
            assert block is None or {"10.0.0.0/8", "169.254.0.0/16"} <= set(block["except"]) or ":" in block["cidr"]
    (operator,) = (peer for rule in policy["egress"] for peer in rule.get("to", ()) if "podSelector" in peer)
    assert operator["podSelector"]["matchLabels"]["app.kubernetes.io/name"] == "klipstream-operator"


QUIET = "operator.replicas=0,relay.replicas=0,crds.upgrade=false,relay.persistence.enabled=false,results.url=s3://b/a"


def test_a_pause_and_the_autoscalers_slots_outlast_upgrades_and_rollbacks(
    helm: Helm, kubectl: Kubectl, custom_resources: None, namespace: str
) -> None:
    here = ("-n", namespace)
    for server_side in ("true", "false"):  # helm 3 merges on its side, helm 4 applies on the server's
        apply = f"--server-side={server_side}"
        scaled = f"{QUIET},autoscaling.by=hpa"
        installed = helm("install", "r", CHART, *here, "--skip-crds", "--set", scaled, apply)
        assert installed.returncode == 0, installed.stderr
        for step, slots in (("upgrade", "7"), ("rollback", "5")):
            kubectl(*here, "patch", "aq", "default", "--type=merge", "-p", '{"spec":{"mode":"Paused"}}')
            kubectl(*here, "scale", "aq/default", f"--replicas={slots}")
            upgrade = ("upgrade", "r", CHART, "--set", f"{scaled},defaultQueue.maxQueueSize=50", apply)
            done = helm(*(upgrade if step == "upgrade" else ("rollback", "r", "1")), *here)
            assert done.returncode == 0, done.stderr
            fields = "jsonpath={.spec.mode} {.spec.maxConcurrentJobs} {.spec.maxQueueSize}"
            size = "50" if step == "upgrade" else "100"
            assert kubectl(*here, "get", "aq", "default", "-o", fields).stdout == f"Paused {slots} {size}", step
        assert helm("uninstall", "r", *here).returncode == 0
        kubectl(*here, "delete", "aq", "default")


@pytest.mark.parametrize("server_side", ["true", "false"])
def test_a_queue_that_an_earlier_chart_paused_or_left_running_stays_so(
    helm: Helm, kubectl: Kubectl, custom_resources: None, namespace: str, tmp_path: Path, server_side: str
) -> None:
    """Charts before rendered the mode: what goes from one revision to the next is taken away by helm."""
    here, apply = ("-n", namespace), f"--server-side={server_side}"
    shutil.copytree(CHART, tmp_path / "before")
    template = tmp_path / "before" / "templates" / "default-queue.yaml"
    text = re.sub(r"    \{\{- if \$left \}\}\n.*?\{\{- end \}\}\n", "", template.read_text(), count=1, flags=re.DOTALL)
    template.write_text(text.replace("{{- if not $left }}", "{{- if true }}"))
    installed = helm("install", "r", str(tmp_path / "before"), *here, "--skip-crds", "--set", QUIET, apply)
    assert installed.returncode == 0, installed.stderr
    mode = (*here, "get", "aq", "default", "-o", "jsonpath={.spec.mode}")
    for wanted in ("Paused", "Paused", "Running", "Paused", "Paused"):
        kubectl(*here, "patch", "aq", "default", "--type=merge", "-p", f'{{"spec":{{"mode":"{wanted}"}}}}')
        done = helm("upgrade", "r", CHART, *here, "--set", QUIET, apply)
        assert done.returncode == 0, done.stderr
        assert kubectl(*mode).stdout == wanted
    assert helm("uninstall", "r", *here).returncode == 0


def test_what_cannot_be_changed_is_refused_with_the_steps(
    helm: Helm, kubectl: Kubectl, custom_resources: None, namespace: str
) -> None:
    here, settings = ("-n", namespace), "operator.replicas=0,relay.replicas=0,crds.upgrade=false"
    assert helm("install", "r", CHART, *here, "--skip-crds", "--set", settings).returncode == 0

    def upgrade(more: str) -> "subprocess.CompletedProcess[str]":
        return helm("upgrade", "r", CHART, *here, "--dry-run=server", "--set", f"{settings},{more}")

    for more, steps in (
        ("results.persistence.accessModes={ReadWriteMany}", "results.persistence.existingClaim"),
        ("results.persistence.storageClassName=fast", "results.persistence.existingClaim"),
        ("relay.persistence.storageClassName=fast", "--cascade=orphan"),
        ("relay.persistence.enabled=false", "--cascade=orphan"),
    ):
        done = upgrade(more)
        assert done.returncode != 0, more
        assert steps in done.stderr, done.stderr
    larger = helm("upgrade", "r", CHART, *here, "--set", f"{settings},relay.persistence.size=2Gi")
    assert larger.returncode == 0, larger.stderr
    kubectl(*here, "delete", "statefulset", "r-relay", "--cascade=orphan")
    assert upgrade("relay.persistence.storageClassName=fast").returncode == 0
    assert helm("uninstall", "r", *here).returncode == 0


def test_what_values_keep_from_an_upgrade_is_kept(
    helm: Helm, kubectl: Kubectl, custom_resources: None, namespace: str
) -> None:
    """Slots that an autoscaler set, the mode that somebody set, and a queue that was left by an uninstall."""
    claims = "relay.persistence.enabled=false,results.url=s3://bucket/analyses"
    settings = f"operator.replicas=0,relay.replicas=0,crds.upgrade=false,{claims}"
    scaled = f"{settings},autoscaling.by=none"
    assert helm("install", "r", CHART, "-n", namespace, "--skip-crds", "--set", scaled).returncode == 0
    kubectl("-n", namespace, "scale", "aq/default", "--replicas=7")
    slots = ("-n", namespace, "get", "aq", "default", "-o", "jsonpath={.spec.maxConcurrentJobs}")
    hpa = f"{settings},autoscaling.by=hpa"
    assert helm("upgrade", "r", CHART, "-n", namespace, "--set", hpa).returncode == 0
    assert kubectl(*slots).stdout == "7"
    assert helm("uninstall", "r", "-n", namespace).returncode == 0
    assert kubectl(*slots).stdout == "7", "it outlives the release, with its jobs"
    again = helm("install", "r", CHART, "-n", namespace, "--skip-crds", "--set", hpa)
    assert again.returncode == 0, again.stderr
    assert kubectl(*slots).stdout == "7"
    assert helm("uninstall", "r", "-n", namespace).returncode == 0
