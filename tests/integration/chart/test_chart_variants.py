"""Every variant of the chart: what helm renders is what the API server takes, and pods are restricted."""

import re
import subprocess
from collections.abc import Callable, Iterator
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
def test_every_pod_that_stays_has_a_budget_and_a_network_policy(values: Path, helm: Helm) -> None:
    objects = [each for each in yaml.safe_load_all(rendered(helm, values, "here")) if each]
    settings = yaml.safe_load(values.read_text())

    def selectors(kind: str) -> list[dict[str, str]]:
        specs = [each["spec"] for each in objects if each["kind"] == kind]
        return [(spec.get("selector") or spec.get("podSelector")).get("matchLabels", {}) for spec in specs]

    for each in objects:
        if each["kind"] not in ("Deployment", "StatefulSet"):
            continue
        labels = each["spec"]["template"]["metadata"]["labels"]
        component = labels["app.kubernetes.io/name"].removeprefix("klipstream-")
        alone = each["kind"] == "Deployment" and each["spec"]["replicas"] < 2
        assert alone or any(s and s.items() <= labels.items() for s in selectors("PodDisruptionBudget")), component
        off = settings.get(component, {}).get("networkPolicy", {}).get("enabled") is False
        assert off or any(s and s.items() <= labels.items() for s in selectors("NetworkPolicy")), component


@pytest.mark.parametrize("values", VARIANTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("release", ["true", "123", "my.release", "1e3"])
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


def test_what_values_keep_from_an_upgrade_is_kept(
    helm: Helm, kubectl: Kubectl, custom_resources: None, namespace: str
) -> None:
    """Slots that an autoscaler set, the mode that somebody set, and a queue that was left by an uninstall."""
    claims = "relay.persistence.enabled=false,results.persistence.enabled=false"
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
