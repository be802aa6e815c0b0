"""What helm makes of operator.shards: operators that differ in their number alone, and find one another."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = str(Path(__file__).resolve().parents[3] / "charts" / "klipstream")
SHARD, SHARDS = "analysis.klipstream.io/shard", "analysis.klipstream.io/shards"
Helm = Callable[..., Any]
Objects = dict[tuple[str, str], dict[str, Any]]


def rendered(helm: Helm, *settings: str) -> Objects:
    sets = [word for setting in settings for word in ("--set", setting)]
    done = helm("template", "r", CHART, "-n", "here", *sets)
    assert done.returncode == 0, done.stderr
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(done.stdout) if each}


def named(objects: Objects, kind: str) -> set[str]:
    return {name for found, name in objects if found == kind and "operator" in name}


def pod_labels(objects: Objects, shard: int) -> dict[str, str]:
    labels: dict[str, str] = objects["Deployment", f"r-operator-{shard}"]["spec"]["template"]["metadata"]["labels"]
    return labels


def environment(objects: Objects, deployment: str) -> dict[str, str]:
    (container,) = objects["Deployment", deployment]["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


@pytest.mark.parametrize("settings", [(), ("operator.shards=1",), ("operator.shards=null",)])
def test_one_shard_has_no_number_anywhere(helm: Helm, settings: tuple[str, ...]) -> None:
    """null is what values have that --reuse-values keeps from a chart without shards."""
    objects = rendered(helm, *settings)
    for kind in ("Deployment", "Service", "PodDisruptionBudget"):
        assert named(objects, kind) == {"r-operator"}, kind
    deployment = objects["Deployment", "r-operator"]
    assert SHARD not in str(deployment)
    assert not {name for name in environment(objects, "r-operator") if "SHARD" in name}
    assert "podSelector" not in str(objects["NetworkPolicy", "r-operator"]["spec"]["egress"])


@pytest.mark.parametrize("shards", [2, 16])
def test_each_shard_is_an_operator_of_its_own(helm: Helm, shards: int) -> None:
    objects = rendered(helm, f"operator.shards={shards}", "operator.podLabels.a=b")
    names = {f"r-operator-{number}" for number in range(shards)}
    assert named(objects, "Deployment") == named(objects, "PodDisruptionBudget") == names
    assert named(objects, "Service") == names | {"r-operator"}
    for number in range(shards):
        deployment, labels = objects["Deployment", f"r-operator-{number}"], pod_labels(objects, number)
        told = deployment["metadata"]["labels"]
        assert (told[SHARD], told[SHARDS], labels[SHARD], labels["a"]) == (str(number), str(shards), str(number), "b")
        pod = deployment["spec"]["template"]["spec"]
        selectors = [
            deployment["spec"]["selector"]["matchLabels"],
            objects["PodDisruptionBudget", f"r-operator-{number}"]["spec"]["selector"]["matchLabels"],
            objects["Service", f"r-operator-{number}"]["spec"]["selector"],
            *(each["labelSelector"]["matchLabels"] for each in pod["topologySpreadConstraints"]),
        ]
        for selector in selectors:
            picked = [other for other in range(shards) if selects(selector, pod_labels(objects, other))]
            assert picked == [number], selector


def test_shards_differ_in_their_number_alone(helm: Helm) -> None:
    objects = rendered(helm, "operator.shards=2", "operator.archiveLogs=true", "operator.extraEnv[0].name=A")
    first, second = (yaml.safe_dump(objects["Deployment", f"r-operator-{number}"]["spec"]) for number in (0, 1))
    changed = re.sub(rf"({SHARD}: |name: KLIPSTREAM_SHARD\n *value: )'0'", r"\1'1'", first)
    assert first != second
    assert changed == second


def test_an_operator_is_told_its_shard_and_where_the_others_are(helm: Helm) -> None:
    objects = rendered(helm, "operator.shards=3")
    for number in range(3):
        told = environment(objects, f"r-operator-{number}")
        assert (told["KLIPSTREAM_SHARD"], told["KLIPSTREAM_SHARDS"]) == (str(number), "3")
        assert told["KLIPSTREAM_LEASE_NAME"] == "r-operator", "the operator makes the Lease's name of it"
        assert told["KLIPSTREAM_PROGRESS_URL"] == "https://r-operator.here.svc:8080/v1/progress"
        url = told["KLIPSTREAM_SHARD_URL"].replace("{shard}", str(number))
        assert url == f"https://r-operator-{number}.here.svc:8080/v1/progress"
        service = objects["Service", f"r-operator-{number}"]["spec"]
        assert service["ports"] == [{"name": "progress", "port": 8080, "targetPort": "progress"}]


def test_workers_post_to_any_shard(helm: Helm) -> None:
    objects = rendered(helm, "operator.shards=3")
    service = objects["Service", "r-operator"]["spec"]
    assert all(selects(service["selector"], pod_labels(objects, number)) for number in range(3))
    policy = objects["NetworkPolicy", "r-worker"]["spec"]
    (operator,) = (peer for rule in policy["egress"] for peer in rule.get("to", ()) if "podSelector" in peer)
    assert all(selects(operator["podSelector"]["matchLabels"], pod_labels(objects, number)) for number in range(3))


def test_shards_reach_one_another_for_progress_alone(helm: Helm) -> None:
    objects = rendered(helm, "operator.shards=2")
    policy = objects["NetworkPolicy", "r-operator"]["spec"]

    def of_operators(peer: dict[str, Any]) -> bool:
        selector = peer.get("podSelector", {}).get("matchLabels")
        return bool(selector) and "namespaceSelector" not in peer and selects(selector, pod_labels(objects, 1))

    ports = [{"protocol": "TCP", "port": 8080}]
    assert [rule["ports"] for rule in policy["ingress"] if any(map(of_operators, rule.get("from", ())))] == [ports]
    assert [rule["ports"] for rule in policy["egress"] if any(map(of_operators, rule.get("to", ())))] == [ports]


def test_the_leases_of_todays_shards_may_be_held_and_those_of_others_seen(helm: Helm) -> None:
    rules = rendered(helm, "operator.shards=2")["Role", "r-operator-lease"]["rules"]
    own = ["r-operator-0-of-2", "r-operator-1-of-2"]
    assert {verb: rule.get("resourceNames") for rule in rules for verb in rule["verbs"]} == {
        "create": None, "list": None, "get": own, "patch": own,
    }  # fmt: skip


@pytest.mark.parametrize("shards", [1, 3])
def test_alerts_count_as_many_leaders_as_there_are_shards(helm: Helm, shards: int) -> None:
    settings = (f"operator.shards={shards}", "monitoring.prometheusRule.enabled=true")
    groups = rendered(helm, *settings)["PrometheusRule", "r"]["spec"]["groups"]
    found = {each["alert"]: each for group in groups for each in group["rules"]}
    assert f"< {shards} or " in found["KlipstreamNoLeader"]["expr"]
    assert f" of {shards} shards" in found["KlipstreamNoLeader"]["annotations"]["summary"]
    assert found["KlipstreamSeveralLeaders"]["expr"].startswith("sum by (namespace, shard) (")
    assert "$shards" not in str(groups)


def test_a_single_replica_of_each_shard_holds_no_drain_up(helm: Helm) -> None:
    assert named(rendered(helm, "operator.shards=2", "operator.replicas=1"), "PodDisruptionBudget") == set()


def test_those_who_lead_another_number_of_shards_keep_the_right_to_their_leases(
    helm: Helm, kubectl: Callable[..., Any], custom_resources: None, namespace: str
) -> None:
    """helm changes roles before Deployments: they would end before others may take their place, and give nothing up."""
    for name in ("r-operator", "r-operator-1-of-4", "r-operator-0-of-2", "r-relay", "other-operator"):
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}}
        kubectl("--namespace", namespace, "create", "-f", "-", stdin=json.dumps(lease))
    done = helm("template", "r", CHART, "-n", namespace, "--set", "operator.shards=2", "--dry-run=server")
    assert done.returncode == 0, done.stderr
    objects = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(done.stdout) if each}
    rules = objects["Role", "r-operator-lease"]["rules"]
    assert [rule.get("resourceNames") for rule in rules] == [
        None,
        ["r-operator-0-of-2", "r-operator-1-of-2"],
        ["r-operator", "r-operator-1-of-4"],
    ]
    assert rules[2]["verbs"] == ["get", "patch"]
