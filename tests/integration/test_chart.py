"""The chart with the real helm: linted, refused where values are wrong, installed with rights that suffice."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from klipfake.processes import Operator, Process
from klipstream_operator.health import ENDING_SECONDS

ROOT = Path(__file__).resolve().parents[2]
CHART = str(ROOT / "charts" / "klipstream")


def test_the_chart_is_linted_and_its_pods_are_restricted(helm: Callable[..., Any]) -> None:
    linted = helm("lint", "--strict", CHART)
    assert linted.returncode == 0, linted.stdout
    objects = [each for each in yaml.safe_load_all(helm("template", "r", CHART).stdout) if each]
    pods = [each["spec"]["template"]["spec"] for each in objects if each["kind"] in ("Deployment", "StatefulSet")]
    pods += [each["spec"]["workerTemplate"]["spec"] for each in objects if each["kind"] == "AnalysisQueue"]
    assert len(pods) == 3
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize(
    ("setting", "word"),
    [("operator.replica=2", "replica"), ("defaultQueue.maxConcurrentJobs=many", "maxConcurrentJobs"),
     ("defaultQueue.mode=Stopped", "mode"), ("results.url=/results", "url"),
     ("operator.archiveLogs=sometimes", "archiveLogs"), ("operator.extraEnv[0].value=x", "name"),
     ("metrics.port=8080", "port"),
     ("operator.events=maybe", "events"), ("relay.replicas=2", "replicas"),
     ("relay.allowedHosts={https://a.b}", "allowedHosts"), ("relay.clusterNetworks={10.0.0.1}", "clusterNetworks"),
     ("relay.attempts=0", "attempts")],
)  # fmt: skip
def test_a_wrong_value_is_refused_by_name(helm: Callable[..., Any], setting: str, word: str) -> None:
    done = helm("template", "r", CHART, "--set", setting)
    assert done.returncode != 0
    assert word in done.stderr


@pytest.mark.parametrize(
    ("rule", "settings", "archived", "mounted"),
    [
        ("a claim of one node stays where the workers are", "", False, None),
        ("on a single node it is mounted", "operator.archiveLogs=true", True, "/results"),
        ("at the path of the URL", "operator.archiveLogs=true,results.url=file:///data/out", True, "/data/out"),
        ("a claim of many nodes is mounted", "results.persistence.accessModes={ReadWriteMany}", True, "/results"),
        ("unless told otherwise",
         "results.persistence.accessModes={ReadWriteMany},operator.archiveLogs=false", False, None),
        ("a bucket needs no mount", "results.url=s3://bucket/analysis", True, None),
    ],
)  # fmt: skip
def test_logs_are_archived_where_that_holds_nobody_up(
    helm: Callable[..., Any], rule: str, settings: str, archived: bool, mounted: str | None
) -> None:
    values = ["--set", ",".join(filter(None, (settings, "operator.progressFromLogs=false")))]
    rendered = helm("template", "r", CHART, "-n", "here", *values)
    assert rendered.returncode == 0, rendered.stderr
    objects = [each for each in yaml.safe_load_all(rendered.stdout) if each]
    pod = next(each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment")
    (operator,) = pod["containers"]
    environment = {each["name"]: each.get("value") for each in operator["env"]}
    assert environment["KLIPSTREAM_ARCHIVE_LOGS"] == str(archived).lower(), rule
    assert environment.get("KLIPSTREAM_RESULTS_CLAIM") == ("here/r-results" if mounted else None)
    mounts = {each["name"]: each["mountPath"] for each in operator["volumeMounts"]}
    assert mounts.get("results") == mounted, rule
    claims = [each["persistentVolumeClaim"]["claimName"] for each in pod["volumes"] if "persistentVolumeClaim" in each]
    assert claims == (["r-results"] if mounted else [])
    rules = [rule for each in objects if each["kind"] == "ClusterRole" for rule in each["rules"]]
    assert any("pods/log" in each["resources"] for each in rules) is archived


def test_logs_may_be_read_for_progress_unless_told_otherwise(helm: Callable[..., Any]) -> None:
    objects = [each for each in yaml.safe_load_all(helm("template", "r", CHART).stdout) if each]
    rules = [rule for each in objects if each["kind"] == "ClusterRole" for rule in each["rules"]]
    assert [each["verbs"] for each in rules if "pods/log" in each["resources"]] == [["get"]]


def test_the_operator_takes_variables_of_its_user(helm: Callable[..., Any]) -> None:
    variables = "operator.extraEnv[0].name=AWS_DEFAULT_REGION,operator.extraEnv[0].value=eu"
    settings = f"{variables},operator.envFrom[0].secretRef.name=keys"
    objects = [each for each in yaml.safe_load_all(helm("template", "r", CHART, "--set", settings).stdout) if each]
    (operator,) = next(each for each in objects if each["kind"] == "Deployment")["spec"]["template"]["spec"][
        "containers"
    ]
    assert {"name": "AWS_DEFAULT_REGION", "value": "eu"} in operator["env"]
    assert operator["envFrom"] == [{"secretRef": {"name": "keys"}}]


def test_the_metrics_port_is_the_one_of_the_values_everywhere(helm: Callable[..., Any]) -> None:
    objects = [
        each for each in yaml.safe_load_all(helm("template", "r", CHART, "--set", "metrics.port=9999").stdout) if each
    ]
    (deployment,) = (each for each in objects if each["kind"] == "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "KLIPSTREAM_METRICS_PORT", "value": "9999"} in container["env"]
    assert {"name": "metrics", "containerPort": 9999} in container["ports"]
    (service,) = (each for each in objects if each["kind"] == "Service" and "operator" in each["metadata"]["name"])
    assert {"name": "metrics", "port": 9999, "targetPort": "metrics"} in service["spec"]["ports"]


def test_two_replicas_stand_on_different_nodes_and_never_end_together(helm: Callable[..., Any]) -> None:
    objects = [each for each in yaml.safe_load_all(helm("template", "r", CHART).stdout) if each]
    (deployment,) = (each for each in objects if each["kind"] == "Deployment")
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    pod = deployment["spec"]["template"]["spec"]
    spread = {each["topologyKey"]: each for each in pod["topologySpreadConstraints"]}
    assert set(spread) == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    for constraint in spread.values():
        assert constraint["whenUnsatisfiable"] == "ScheduleAnyway", "one node is enough"
        assert constraint["labelSelector"]["matchLabels"].items() <= labels.items()
    budgets = [each for each in objects if each["kind"] == "PodDisruptionBudget"]
    (budget,) = (each["spec"] for each in budgets if each["metadata"]["name"] == "r-operator")
    assert budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= labels.items()


def test_a_single_replica_holds_no_drain_up(helm: Callable[..., Any]) -> None:
    text = helm("template", "r", CHART, "--set", "operator.replicas=1").stdout
    budgets = [each for each in yaml.safe_load_all(text) if each and each["kind"] == "PodDisruptionBudget"]
    assert [each["metadata"]["name"] for each in budgets] == ["r-relay"]
    assert all(each["spec"]["maxUnavailable"] == 1 for each in budgets), "an eviction is allowed"


def test_the_probes_ask_what_they_are_for_and_leave_time_to_end(helm: Callable[..., Any]) -> None:
    objects = [each for each in yaml.safe_load_all(helm("template", "r", CHART).stdout) if each]
    (deployment,) = (each for each in objects if each["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "liveness"}
    assert container["startupProbe"]["httpGet"] == container["livenessProbe"]["httpGet"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "progress", "scheme": "HTTPS"}
    linger = next(float(e["value"]) for e in container["env"] if e["name"] == "KLIPSTREAM_LINGER_SECONDS")
    assert pod["terminationGracePeriodSeconds"] > ENDING_SECONDS + linger


@pytest.mark.parametrize("events", ["true", "false"])
def test_the_right_to_create_events_goes_with_the_setting(helm: Callable[..., Any], events: str) -> None:
    text = helm("template", "r", CHART, "--set", f"operator.events={events}").stdout
    objects = [each for each in yaml.safe_load_all(text) if each]
    rules = [rule for each in objects if each["kind"] in ("Role", "ClusterRole") for rule in each["rules"]]
    assert [rule["verbs"] for rule in rules if "events" in rule["resources"]] == (
        [["create"]] if events == "true" else []
    )
    assert f'{{name: KLIPSTREAM_EVENTS, value: "{"on" if events == "true" else "off"}"}}' in text


def test_the_installed_rights_suffice_for_a_job_from_start_to_end(
    helm: Callable[..., Any], kubectl: Callable[..., Any], custom_resources: None, control_plane, namespace: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    """The operator runs here, as the ServiceAccount of the chart; control planes have no node for its pods."""
    settings = f"relay.replicas=0,operator.replicas=0,operator.archiveLogs=true,operator.namespaces={{{namespace}}}"
    # The Job that brings CRDs up to date would need a node.
    settings += ",crds.upgrade=false"
    values = ["--set", settings, "--skip-crds"]
    installed = helm("install", "r", CHART, "-n", namespace, *values)
    assert installed.returncode == 0, installed.stderr
    try:
        token = kubectl("-n", namespace, "create", "token", "r-operator").stdout.strip()
        config = yaml.safe_load(control_plane.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token}
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(config))
        # Its rights are on the Lease of its release alone.
        lease = {"KLIPSTREAM_LEASE_NAME": "r-operator"}
        operator = Operator(kubeconfig, tmp_path / "operator.log", namespace, **lease)
        kubelet = Process("klipfake.kubelet", control_plane.kubeconfig, tmp_path / "kubelet.log")
        operator.start()
        kubelet.start()
        try:
            manifest = (ROOT / "examples" / "first-job.yaml").read_text()
            kubectl("-n", namespace, "apply", "-f", "-", stdin=manifest)
            kubectl("-n", namespace, "wait", "aj/first", "--for=condition=Finished", "--timeout=60s")
            phase = kubectl("-n", namespace, "get", "aj", "first", "-o", "jsonpath={.status.phase}").stdout
            assert phase == "Succeeded"
            account = f"--as=system:serviceaccount:{namespace}:r-operator"
            asked = kubectl("-n", namespace, "auth", "can-i", "get", "pods", "--subresource=log", account)
            assert asked.stdout.strip() == "yes"
            at_once = '{"spec":{"retention":{"succeededSeconds":0}}}'
            kubectl("-n", namespace, "patch", "aq", "default", "--type=merge", "-p", at_once)
            kubectl("-n", namespace, "wait", "aj/first", "--for=delete", "--timeout=60s")
            kubectl("-n", namespace, "patch", "aq", "default", "--type=merge", "-p", '{"spec":{"mode":"Paused"}}')
            upgraded = helm("upgrade", "r", CHART, "-n", namespace, *values)
            assert upgraded.returncode == 0, upgraded.stderr
            mode = kubectl("-n", namespace, "get", "aq", "default", "-o", "jsonpath={.spec.mode}").stdout
            assert mode == "Paused", "an upgrade does not resume a paused queue"
            assert "forbidden" not in operator.said().lower(), operator.said()
            announced = kubectl("-n", namespace, "get", "events", "-o", "jsonpath={.items[*].reason}",
                                "--field-selector=involvedObject.kind=AnalysisJob").stdout  # fmt: skip
            assert announced.split() == ["Accepted", "Started", "Succeeded"]
        finally:
            operator.kill()
            kubelet.kill()
    finally:
        assert helm("uninstall", "r", "-n", namespace).returncode == 0


def test_definitions_that_an_earlier_installation_left_are_brought_up_to_date_too(helm: Callable[..., Any]) -> None:
    manifest = helm("template", "r", CHART, "-s", "templates/crds-upgrade.yaml").stdout
    objects = [each for each in yaml.safe_load_all(manifest) if each]
    assert "Job" in {each["kind"] for each in objects}
    for each in objects:
        assert each["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade", each["kind"]


def test_the_rights_of_the_upgrade_bring_the_custom_resources_up_to_date(
    helm: Callable[..., Any], kubectl: Callable[..., Any], custom_resources: None, control_plane, namespace: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    """The Job's process runs here, as its ServiceAccount; one field is taken away before, and one put in."""
    hooks = ("-s", "templates/crds-upgrade.yaml")
    manifest = helm("template", "r", CHART, "-n", namespace, *hooks).stdout
    account_and_role = [each for each in yaml.safe_load_all(manifest) if each and each["kind"] != "Job"]
    kubectl("-n", namespace, "apply", "-f", "-", stdin=yaml.safe_dump_all(account_and_role))
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": kubectl("-n", namespace, "create", "token", "r-crds").stdout.strip()}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    name = "analysisqueues.analysis.klipstream.io"
    spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties"

    def patched(operation: dict[str, Any]) -> None:
        kubectl("patch", "crd", name, "--type=json", "-p", json.dumps([operation]))

    def upgrade() -> str:
        command = [sys.executable, "-m", "klipstream_operator.crd_upgrade"]
        environment = os.environ | {"KUBECONFIG": str(tmp_path / "kubeconfig")}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr

    try:
        patched({"op": "remove", "path": f"{spec}/sources"})
        assert f"{name}: upgraded" in upgrade()
        assert "sources" in kubectl("get", "crd", name, "-o", "json").stdout
        assert f"{name}: unchanged" in upgrade()
        patched({"op": "add", "path": f"{spec}/later", "value": {"type": "string"}})
        assert f"{name}: newer" in upgrade()
        assert "later" in kubectl("get", "crd", name, "-o", "json").stdout, "what a newer release added stays"
    finally:
        kubectl("replace", "-f", str(ROOT / "crds" / "analysisqueues.yaml"))
        kubectl("-n", namespace, "delete", "-f", "-", stdin=yaml.safe_dump_all(account_and_role))


def test_helm_test_finds_a_working_installation_and_one_that_does_not_work(
    helm: Callable[..., Any], kubectl: Callable[..., Any], custom_resources: None, control_plane, namespace: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    """The test's process runs here, as its ServiceAccount; the fake kubelet's pods post no progress."""
    manifest = helm("template", "r", CHART, "-n", namespace, "-s", "templates/tests/first-job.yaml").stdout
    objects = [each for each in yaml.safe_load_all(manifest) if each]
    (pod,) = (each for each in objects if each["kind"] == "Pod")
    rest = [each for each in objects if each["kind"] != "Pod"]
    kubectl("-n", namespace, "apply", "-f", "-", stdin=yaml.safe_dump_all(rest))
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": kubectl("-n", namespace, "create", "token", "r-test").stdout.strip()}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))

    def check(seconds: int) -> "subprocess.CompletedProcess[str]":
        (container,) = pod["spec"]["containers"]
        command = [sys.executable, *container["command"][1:], *container["args"], f"--timeout-seconds={seconds}"]
        environment = os.environ | {"KUBECONFIG": str(tmp_path / "kubeconfig")}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    done = check(3)
    assert done.returncode == 1
    assert "the job is Queued after 3 s" in done.stderr
    operator = Operator(control_plane.kubeconfig, tmp_path / "operator.log", namespace)
    kubelet = Process("klipfake.kubelet", control_plane.kubeconfig, tmp_path / "kubelet.log")
    operator.start()
    kubelet.start()
    try:
        done = check(120)
        assert done.returncode == 1
        assert "its progress did not arrive" in done.stderr, done.stderr
    finally:
        operator.kill()
        kubelet.kill()
    assert "r-test" not in kubectl("-n", namespace, "get", "aq,aj", "-o", "name").stdout, "it leaves nothing behind"


def test_examples_are_taken_by_the_api_server(
    kubectl: Callable[..., Any], custom_resources: None, namespace: str
) -> None:
    for name in ("first-job.yaml", "queue.yaml", "demo/jobs.yaml"):
        kubectl("-n", namespace, "apply", "--dry-run=server", "--validate=strict", "-f", str(ROOT / "examples" / name))
