"""The gateway as the chart installs it: its settings, and its rights, which suffice and are no more than needed."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from klipcluster.tools import tools_folder
from klipgate.process import Gateway
from klipstream_gateway.routes import RateClass
from klipstream_gateway.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
CHART = str(ROOT / "charts" / "klipstream")


@pytest.fixture
def helm(control_plane) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    environment = os.environ | {"KUBECONFIG": str(control_plane.kubeconfig)}

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(tools_folder() / "helm"), *arguments], env=environment, capture_output=True, text=True, check=False
        )

    return run


def rendered(helm: Callable[..., Any], *settings: str) -> list[dict[str, Any]]:
    arguments = [part for setting in ("gateway.enabled=true", *settings) for part in ("--set", setting)]
    done = helm("template", "r", CHART, "-n", "here", *arguments)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in objects if each["kind"] == kind and each["metadata"]["name"].endswith("r-gateway")]


def test_the_gateway_understands_the_settings_of_its_chart(helm):
    objects = rendered(
        helm, "gateway.ratesPerMinute.admin=7", "gateway.trustedProxies={10.0.0.0/8,fd00::/8}",
        "gateway.allowedOrigins={https://app.example.com}", "gateway.anonymousSubmit=true",
        "relay.allowedHosts={*.shop.svc}",
    )  # fmt: skip
    (deployment,) = of_kind(objects, "Deployment")
    variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    values = {each["name"]: each["value"] for each in variables if "value" in each} | {"KLIPSTREAM_KEYS_FOLDER": "/tmp"}
    settings = Settings.from_environment("elsewhere", values)
    assert settings.namespace == "here"
    assert settings.rates[RateClass.ADMIN] == 7
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "fd00::/8"]
    assert settings.allowed_origins == ("https://app.example.com",)
    assert settings.allowed_callbacks == ("*.shop.svc",)
    assert settings.anonymous_submit
    assert (settings.lease_names, settings.lease_namespace) == (("r-operator",), "here")


def test_the_gateway_looks_at_the_leases_of_all_shards_and_may_read_no_others(helm):
    objects = rendered(helm, "operator.shards=2")
    variables = container_of(objects)["env"]
    values = {each["name"]: each["value"] for each in variables if "value" in each} | {"KLIPSTREAM_KEYS_FOLDER": "/tmp"}
    names = Settings.from_environment("elsewhere", values).lease_names
    assert names == ("r-operator-0-of-2", "r-operator-1-of-2")
    (role,) = (each for each in objects if (each["kind"], each["metadata"]["name"]) == ("Role", "r-gateway-lease"))
    (rule,) = role["rules"]
    assert (tuple(rule["resourceNames"]), rule["verbs"]) == (names, ["get"])


def container_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (deployment,) = of_kind(objects, "Deployment")
    return dict(deployment["spec"]["template"]["spec"]["containers"][0])


def test_a_redis_is_named_by_a_secret_and_may_be_called(helm):
    objects = rendered(helm, "gateway.rateStorage.secret=limits", "gateway.rateStorage.port=6380")
    (storage,) = [each for each in container_of(objects)["env"] if each["name"] == "KLIPSTREAM_RATE_STORAGE"]
    assert storage["valueFrom"]["secretKeyRef"] == {"name": "limits", "key": "url"}
    (authority,) = [each for each in container_of(objects)["env"] if each["name"] == "KLIPSTREAM_RATE_STORAGE_CA"]
    assert authority["valueFrom"]["secretKeyRef"] == {"name": "limits", "key": "ca.crt", "optional": True}
    (policy,) = of_kind(objects, "NetworkPolicy")
    assert {"ports": [{"protocol": "TCP", "port": 6380}]} in policy["spec"]["egress"]
    assert "6380" not in str(of_kind(rendered(helm), "NetworkPolicy"))


@pytest.mark.parametrize("component", ["gateway", "operator"])
@pytest.mark.parametrize(("results", "open_to_all"), [("s3://bucket/results", True), ("file:///results", False)])
def test_naming_the_api_server_leaves_the_way_to_the_bucket_open(helm, component, results, open_to_all):
    settings = [f"{component}.networkPolicy.apiServer={{10.1.2.3/32}}", f"results.url={results}"]
    objects = rendered(helm, *settings, "operator.archiveLogs=true")
    (policy,) = [
        each for each in objects if each["kind"] == "NetworkPolicy" and each["metadata"]["name"] == f"r-{component}"
    ]
    to_all = [rule["ports"] for rule in policy["spec"]["egress"] if "to" not in rule]
    assert ([{"protocol": "TCP", "port": 443}] in to_all) == open_to_all
    assert {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}]} in policy["spec"]["egress"]


@pytest.mark.parametrize(
    ("settings", "mounted"),
    [
        (["operator.archiveLogs=true"], True),
        (["results.persistence.accessModes={ReadWriteMany}"], True),
        (["operator.archiveLogs=true", "gateway.namespace=elsewhere"], False),
        (["operator.archiveLogs=false"], False),
        (["results.url=s3://bucket/analysis"], False),
    ],
)
def test_the_claim_with_archived_logs_is_mounted_to_be_read_where_they_are_archived(helm, settings, mounted):
    container = container_of(rendered(helm, *settings))
    mounts = [each for each in container["volumeMounts"] if each["name"] == "results"]
    assert mounts == ([{"name": "results", "mountPath": "/results", "readOnly": True}] if mounted else [])
    values = {each["name"]: each.get("value") for each in container["env"]}
    assert values.get("KLIPSTREAM_RESULTS_CLAIM") == ("here/r-results" if mounted else None)


def test_the_gateway_is_left_out_unless_asked_for(helm):
    assert not of_kind(rendered(helm, "gateway.enabled=false"), "Deployment")


def test_its_pods_are_restricted(helm):
    (deployment,) = of_kind(rendered(helm), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "kind"),
    [
        ("gateway.ingress.enabled=true", "Ingress"),
        ("gateway.httpRoute.enabled=true,gateway.httpRoute.parentRefs[0].name=outside", "HTTPRoute"),
    ],
)
def test_what_brings_it_outside_is_made_where_asked_for(helm, setting, kind):
    assert of_kind(rendered(helm), kind) == []
    assert len(of_kind(rendered(helm, setting), kind)) == 1


@pytest.mark.parametrize("setting", ["gateway.ratesPerMinute.status=0", "gateway.trustedProxies={10.0.0.1}"])
def test_a_wrong_value_is_refused(helm, setting):
    done = helm("template", "r", CHART, "--set", f"gateway.enabled=true,{setting}")
    assert done.returncode != 0
    assert setting.split(".")[1].partition("=")[0] in done.stderr


def test_the_installed_rights_suffice_and_are_no_more_than_needed(
    stack, helm, kubectl, control_plane, tmp_path: Path
) -> None:
    """The gateway runs here, as the ServiceAccount of the chart."""
    home = stack.world.namespace
    objects = yaml.safe_dump_all([
        each for each in yaml.safe_load_all(helm(
            "template", "r", CHART, "-n", home, "--set", "gateway.enabled=true", "-s", "templates/gateway-rbac.yaml"
        ).stdout) if each
    ])  # fmt: skip
    kubectl("-n", home, "apply", "-f", "-", stdin=objects)
    try:
        token = kubectl("-n", home, "create", "token", "r-gateway").stdout.strip()
        config = yaml.safe_load(control_plane.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token}
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(config))
        stack.world.until(lambda: bool(stack.world.items("lease")), "the operator leads")
        lease = stack.world.items("lease")[0]["metadata"]["name"]
        gateway = Gateway(kubeconfig, tmp_path, home, KLIPSTREAM_LEASE_NAME="r-operator")
        gateway.start()
        try:
            gateway.wait()
            with gateway.client("admin") as client:
                sent = client.post("/api/v1/analysis", json={"video_url": "https://example.com/v", "queue": "paused"})
                assert sent.status_code == 202, sent.text
                path = f"/api/v1/jobs/{sent.json()['job_id']}"
                assert client.put(f"{path}/priority", json={"priority": "LOW"}).status_code == 200
                assert client.get(f"{path}/logs").json()["code"] == "log-not-found"
                assert client.get("/api/v1/queue/metrics").status_code == 200
                assert client.post("/api/v1/queue/pause?queue=paused").status_code == 200
                assert client.post("/api/v1/queue/reconcile?queue=paused").status_code == 202
                admin = {"Authorization": f"Bearer {token}"}
                assert client.post("/api/v1/queue/pause?queue=paused", headers=admin).status_code == 200
            assert "forbidden" not in gateway.said().lower(), gateway.said()
        finally:
            gateway.kill()
        account = f"--as=system:serviceaccount:{home}:r-gateway"
        refused = (
            ("get", "secrets"), ("list", "secrets"), ("delete", "analysisjobs"), ("create", "pods"),
            ("patch", "analysisjobs", "--subresource=status"), ("get", f"leases/{lease}"),
        )  # fmt: skip
        for question in refused:
            asked = kubectl("-n", home, "auth", "can-i", *question, account, check=False)
            assert asked.stdout.strip() == "no", question
    finally:
        kubectl("-n", home, "delete", "-f", "-", "--wait=false", stdin=objects)
