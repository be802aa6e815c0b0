"""What helm makes of the values: where things are, what they may reach, and what is refused with a reason."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "klipstream"
PINNED = Path(__file__).with_name("values") / "pinned.yaml"
Objects = list[dict[str, Any]]
Helm = Callable[..., Any]
IN_OTHERS = "operator.namespaces={media-a,media-b}"


def rendered(
    helm: Helm, *settings: str, more: tuple[str, ...] = (), chart: Path = CHART, release: str = "r"
) -> Objects:
    sets = [word for setting in settings for word in ("--set", setting)]
    done = helm("template", release, str(chart), "-n", "here", *sets, *more)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def refusal(helm: Helm, *settings: str) -> str:
    done = helm("template", "r", str(CHART), "-n", "here", *(w for each in settings for w in ("--set", each)))
    assert done.returncode != 0, settings
    return str(done.stderr)


def the(objects: Objects, kind: str, name: str) -> dict[str, Any]:
    (found,) = (each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def pod_of(each: dict[str, Any]) -> dict[str, Any]:
    spec = each.get("spec", {})
    found: dict[str, Any] = spec if each["kind"] == "Pod" else spec.get("template", {}).get("spec", {})
    return spec["workerTemplate"]["spec"] if each["kind"] == "AnalysisQueue" else found


def policies(objects: Objects) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from ((each["metadata"]["name"], each["spec"]) for each in objects if each["kind"] == "NetworkPolicy")


# --- namespaces ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("namespaces", "home"), [("", "here"), ("operator.namespaces={media-a,here}", "here"), (IN_OTHERS, "media-a")]
)
def test_what_the_chart_makes_is_where_the_operator_looks(helm: Helm, namespaces: str, home: str) -> None:
    objects = rendered(helm, namespaces or "operator.namespaces=null", "gateway.enabled=true", "autoscaling.by=keda")
    for kind, name in (
        ("AnalysisQueue", "default"), ("PersistentVolumeClaim", "r-results"), ("Role", "r-test"),
        ("ScaledObject", "r-slots"), ("RoleBinding", "here-r-gateway"),
    ):  # fmt: skip
        assert the(objects, kind, name)["metadata"]["namespace"] == home, kind
    (check,) = the(objects, "Pod", "r-test")["spec"]["containers"]
    assert f"--namespace={home}" in check["args"]
    (query,) = (each["metadata"]["query"] for each in the(objects, "ScaledObject", "r-slots")["spec"]["triggers"])
    assert f'namespace="{home}"' in query


def test_a_claim_of_another_namespace_is_not_mounted(helm: Helm) -> None:
    deployment = the(rendered(helm, IN_OTHERS, "operator.archiveLogs=true"), "Deployment", "r-operator")
    assert not any("persistentVolumeClaim" in each for each in deployment["spec"]["template"]["spec"]["volumes"])


@pytest.mark.parametrize(
    "settings",
    [("gateway.enabled=true", "gateway.namespace=c"),
     ("relay.convex.url=https://x.convex.cloud", "relay.convex.secretName=s", "relay.convex.requestsNamespace=c")],
)  # fmt: skip
def test_a_namespace_that_nobody_looks_after_is_refused(helm: Helm, settings: tuple[str, ...]) -> None:
    said = refusal(helm, IN_OTHERS, *settings)
    assert f"{settings[-1].split('=')[0]} is c, which is not in operator.namespaces (media-a, media-b)" in said


# --- what a cloud asks for -------------------------------------------------------------------------------------


def test_workers_of_the_default_queue_take_variables_and_an_account_of_their_user(helm: Helm) -> None:
    queue = the(
        rendered(
            helm, "worker.extraEnv[0].name=AWS_DEFAULT_REGION,worker.extraEnv[0].value=eu",
            "worker.envFrom[0].secretRef.name=bucket", "worker.serviceAccountName=analyses", "worker.podLabels.a=b",
        ), "AnalysisQueue", "default",
    )  # fmt: skip
    template = queue["spec"]["workerTemplate"]
    (worker,) = template["spec"]["containers"]
    assert worker["env"] == [{"name": "AWS_DEFAULT_REGION", "value": "eu"}]
    assert worker["envFrom"] == [{"secretRef": {"name": "bucket"}}]
    assert template["spec"]["serviceAccountName"] == "analyses"
    assert template["labels"] == {"a": "b"}


@pytest.mark.parametrize(
    ("component", "kind"), [("operator", "Deployment"), ("relay", "StatefulSet"), ("gateway", "Deployment")]
)
def test_pods_take_labels_and_accounts_annotations(helm: Helm, component: str, kind: str) -> None:
    objects = rendered(
        helm, "gateway.enabled=true", f"{component}.serviceAccount.annotations.role=x", f"{component}.podLabels.a=b"
    )
    assert the(objects, "ServiceAccount", f"r-{component}")["metadata"]["annotations"] == {"role": "x"}
    workload = the(objects, kind, f"r-{component}")["spec"]
    labels = workload["template"]["metadata"]["labels"]
    assert labels["a"] == "b"
    assert "a" not in workload["selector"]["matchLabels"], "a selector cannot be changed"


def test_users_may_be_left_to_the_cluster(helm: Helm, tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("podUser: {runAsUser: null, runAsGroup: null, fsGroup: null}\n")
    objects = rendered(helm, "gateway.enabled=true", more=("-f", str(tmp_path / "values.yaml")))
    contexts = [pod["securityContext"] for each in objects if (pod := pod_of(each))]
    assert len(contexts) == 6
    for context in contexts:
        assert context["runAsNonRoot"] is True
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & context.keys()
    assert "65532" not in str(the(objects, "Pod", "r-test"))


def test_names_are_asked_for_where_the_cluster_answers(helm: Helm) -> None:
    found = dict(policies(rendered(helm, "gateway.enabled=true", "networkPolicies.dnsPorts={5353}")))
    assert set(found) == {"r-operator", "r-relay", "r-gateway", "r-worker", "r-crds", "r-test"}
    for name, spec in found.items():
        ports = [port for rule in spec["egress"] for port in rule.get("ports", ())]
        assert {"protocol": "UDP", "port": 5353} in ports, name
        assert {"protocol": "UDP", "port": 53} not in ports, name


def test_images_come_from_the_registry_that_is_named(helm: Helm) -> None:
    objects = rendered(helm, "gateway.enabled=true", "imageRegistry=registry.example.com/team/")
    images = {container["image"] for each in objects for container in pod_of(each).get("containers", ())}
    assert len(images) == 4
    assert all(image.startswith("registry.example.com/team/klipstream-") for image in images), images
    own = rendered(helm, "imageRegistry=registry.example.com", "relay.image.repository=mirror.example.com/r")
    (relay,) = the(own, "StatefulSet", "r-relay")["spec"]["template"]["spec"]["containers"]
    assert relay["image"].startswith("mirror.example.com/r:")


def test_images_have_the_tag_that_is_named(helm: Helm) -> None:
    objects = rendered(helm, "gateway.enabled=true", "imageTag=mine", "relay.image.tag=other")
    images = {container["image"] for each in objects for container in pod_of(each).get("containers", ())}
    tags = {image.removeprefix("localhost/klipstream-").split(":")[0]: image.split(":")[1] for image in images}
    assert tags == {"operator": "mine", "relay": "other", "gateway": "mine", "pipeline": "mine"}


def test_the_job_of_helm_test_runs_where_workers_do(helm: Helm) -> None:
    objects = rendered(helm, more=("-f", str(PINNED)))
    worker = the(objects, "AnalysisQueue", "default")["spec"]["workerTemplate"]["spec"]
    (check,) = the(objects, "Pod", "r-test")["spec"]["containers"]
    (argument,) = (each for each in check["args"] if each.startswith("--pod="))
    pod = json.loads(argument.removeprefix("--pod="))
    names = ("nodeSelector", "tolerations", "affinity", "imagePullSecrets", "priorityClassName", "securityContext")
    assert pod == {name: worker[name] for name in names}


# --- the API server's addresses --------------------------------------------------------------------------------


@pytest.fixture
def endpoint(kubectl: Callable[..., Any]) -> Iterator[int]:
    """The API server's own EndpointSlice, which one that listens on loopback does not have; its port."""
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "kubernetes"},
        "addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.7"]}], "ports": [{"name": "https", "port": 16443}],
    }  # fmt: skip
    kubectl("-n", "default", "apply", "-f", "-", stdin=json.dumps(slice_))
    yield 16443
    kubectl("-n", "default", "delete", "endpointslice", "kubernetes")


def test_an_api_server_that_moves_is_still_reached(helm: Helm, custom_resources: None, endpoint: int) -> None:
    """With a cluster in reach, too: the addresses of the day would shut the operator out when they change."""
    found = dict(policies(rendered(helm, "gateway.enabled=true", more=("--dry-run=server",))))
    assert len(found) == 6
    for name in found.keys() - {"r-worker"}:
        open_to_all = [port["port"] for rule in found[name]["egress"] if "to" not in rule for port in rule["ports"]]
        assert {443, 6443, endpoint} <= set(open_to_all), name
    narrowed = dict(policies(rendered(helm, "operator.networkPolicy.apiServer={10.0.0.9/32}")))
    for name in ("r-operator", "r-crds", "r-test"):
        (peer,) = (peer for rule in narrowed[name]["egress"] for peer in rule.get("to", ()))
        assert peer == {"ipBlock": {"cidr": "10.0.0.9/32"}}
        assert 443 not in [port["port"] for rule in narrowed[name]["egress"] for port in rule.get("ports", ())]


# --- rendered by others ----------------------------------------------------------------------------------------


def test_it_may_be_a_part_of_another_chart(helm: Helm, tmp_path: Path) -> None:
    shutil.copytree(CHART, tmp_path / "charts" / "klipstream")
    dependency = {"name": "klipstream", "version": "*", "condition": "klipstream.enabled"}
    chart = {"apiVersion": "v2", "name": "shop", "version": "1.0.0", "dependencies": [dependency]}
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(chart))
    (tmp_path / "values.yaml").write_text("global: {team: media}\nklipstream: {enabled: true}\n")
    alone = {(each["kind"], each["metadata"]["name"]) for each in rendered(helm)}
    part = rendered(helm, chart=tmp_path)
    assert {(each["kind"], each["metadata"]["name"]) for each in part} == alone
    assert rendered(helm, "klipstream.enabled=false", chart=tmp_path) == []


def test_what_others_decide_is_not_rendered(helm: Helm) -> None:
    """The mode is whoever pauses', slots are the autoscaler's: GitOps and rollbacks would set them back."""
    spec = the(rendered(helm), "AnalysisQueue", "default")["spec"]
    assert "mode" not in spec
    assert spec["maxConcurrentJobs"] == 3
    scaled = the(rendered(helm, "autoscaling.by=hpa"), "AnalysisQueue", "default")["spec"]
    assert "maxConcurrentJobs" not in scaled
    assert the(rendered(helm, "defaultQueue.mode=Paused"), "AnalysisQueue", "default")["spec"]["mode"] == "Paused"


def test_every_field_of_a_queue_can_be_set_on_the_default_one(helm: Helm) -> None:
    crd = yaml.safe_load((ROOT / "crds" / "analysisqueues.yaml").read_text())
    fields = set(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"])
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["defaultQueue"]["properties"]
    template = (CHART / "templates" / "default-queue.yaml").read_text().split("\nspec:\n")[1]
    by_values = set(re.findall(r"^  (\w+):", template, re.MULTILINE))
    assert fields - by_values == set(schema["extraSpec"]["properties"])
    queue = the(rendered(helm, "defaultQueue.extraSpec.progressFrom=Logs"), "AnalysisQueue", "default")
    assert queue["spec"]["progressFrom"] == "Logs"


# --- the rest --------------------------------------------------------------------------------------------------


def test_the_operator_holds_its_own_lease_alone(helm: Helm) -> None:
    rules = the(rendered(helm), "Role", "r-operator-lease")["rules"]
    assert {verb: rule.get("resourceNames") for rule in rules for verb in rule["verbs"]} == {
        "create": None, "list": None, "get": ["r-operator"], "patch": ["r-operator"],
    }  # fmt: skip


def test_dashboards_of_two_releases_stand_side_by_side(helm: Helm) -> None:
    shown = []
    for release in ("r", "s"):
        settings = ("--set", "monitoring.dashboard.enabled=true", "-s", "templates/dashboard.yaml")
        text = helm("template", release, str(CHART), "-n", "here", *settings).stdout
        shown.append(json.loads(yaml.safe_load(text)["data"]["klipstream.json"]))
    assert shown[0]["uid"] != shown[1]["uid"]
    assert shown[0]["title"] == "KlipStream analysis queue here/r"
    assert all(len(each["uid"]) <= 40 for each in shown)


def test_two_releases_with_namespaces_of_their_own_share_no_object(helm: Helm) -> None:
    """So operators are spread over namespaces, and teams have one each."""

    def objects(release: str) -> set[tuple[str, str, str]]:
        settings = (
            f"operator.namespaces={{jobs-{release}}}",
            "gateway.enabled=true",
            "monitoring.dashboard.enabled=true",
        )
        made = rendered(helm, *settings, release=release)
        assert any(each["kind"] == "ValidatingAdmissionPolicy" for each in made)
        return {(each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]) for each in made}

    assert objects("one") & objects("two") == set()


@pytest.mark.parametrize(
    ("settings", "word"),
    [(("results.persistence.enabled=false",), "results.url is a path on a claim"),
     (("externalSecrets.refreshInterval=1d",), "refreshInterval"), (("podUser.runAsUser=0",), "runAsUser"),
     (("defaultQueue.extraSpec.progressFrom=Guesses",), "progressFrom"),
     (("operator.shards=0",), "at '/operator/shards'"), (("operator.shards=17",), "at '/operator/shards'"),
     (("operator.shards=two",), "at '/operator/shards'"), (("operator.shards=1.5",), "at '/operator/shards'")],
)  # fmt: skip
def test_what_could_not_work_is_refused(helm: Helm, settings: tuple[str, ...], word: str) -> None:
    assert word in refusal(helm, *settings)


def test_no_page_reads_the_log_of_one_of_two_replicas() -> None:
    """`kubectl logs deployment/…` picks one pod, which may be the standby."""
    for page in (ROOT / "docs").glob("*.md"):
        assert "logs deployment/" not in page.read_text(), page.name
