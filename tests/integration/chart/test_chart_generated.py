"""What is generated for the chart is current, strict and complete; what alerts and dashboard ask for is exposed."""

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from klipchart.__main__ import generated
from klipchart.dashboard import expressions
from klipchart.readme import values_of
from klipchart.rights import WHY, render, rights_of
from klipcluster.tools import tools_folder
from klipconvex.server import SECRET, functions_served
from klipfake.ports import free_port
from klipfake.processes import Operator, Process
from klipgate.process import Gateway
from klipstream_api import names
from klipstream_operator.metrics import REQUESTS

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "klipstream"
OPEN = {"global", "kubernetes"}
"""Parts of the schema that take anything: helm's own, and what only the API server can check."""


@pytest.mark.parametrize(
    "path", ["charts/klipstream/README.md", "charts/klipstream/dashboard.json", "docs/rbac.md", "docs/static-checks.md"]
)
def test_the_generated_file_is_current(path: str) -> None:
    assert generated(ROOT)[Path(path)] == (ROOT / path).read_text(), "run `make charts` and commit what changes"


def test_no_reason_in_the_table_of_rights_is_of_a_right_that_is_gone() -> None:
    text = (ROOT / "docs" / "rbac.md").read_text()
    for (account, resource), why in WHY.items():
        assert re.search(rf"^\| {account} \| .*`{resource}[`.].*{re.escape(why)}", text, re.MULTILINE), (
            account,
            resource,
        )


def test_refusals_are_counted_for_every_request_that_the_operator_has_a_right_to() -> None:
    """From 0, or the alert would miss the first one (KlipstreamRightMissing)."""
    by_kopf = {"customresourcedefinitions.apiextensions.k8s.io", "namespaces"}
    rights = {
        (f"{resource}.{each.group}" if each.group else resource, "log" if below == "log" else each.verb)
        for each in rights_of(render(tools_folder() / "helm", CHART)) if each.account == "operator"
        for resource, _, below in [each.resource.partition("/")]
    }  # fmt: skip
    counted = {(resource, verb) for resource, verbs in REQUESTS for verb in verbs}
    assert {(resource, verb) for resource, verb in rights if resource not in by_kopf} == counted


def test_every_object_of_the_schema_refuses_what_it_does_not_know() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    loose: list[str] = []

    def walk(node: Any, where: str) -> None:
        if isinstance(node, dict):
            name = where.rpartition(".")[2]
            if node.get("type") == "object" and name not in OPEN and "additionalProperties" not in node:
                loose.append(where)
            for key, value in node.items():
                walk(value, f"{where}.{key}" if key not in ("properties", "definitions", "items") else where)
        elif isinstance(node, list):
            for each in node:
                walk(each, where)

    walk(schema, "")
    assert loose == []


def test_the_schema_knows_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    differing: list[str] = []

    def resolved(node: dict[str, Any]) -> dict[str, Any]:
        reference = node.get("$ref")
        return schema["definitions"][reference.rpartition("/")[2]] if reference else node

    def compare(node: dict[str, Any], held: Any, where: str) -> None:
        known = resolved(node).get("properties")
        if known is None or not isinstance(held, dict) or not held:
            return
        optional = {"global", "enabled"} if not where else {"claims"}
        differing.extend(f"{where}.{name}" for name in (known.keys() ^ held.keys()) - optional)
        for name in known.keys() & held.keys():
            compare(known[name], held[name], f"{where}.{name}")

    compare(schema, values, "")
    assert differing == []


def test_every_value_is_explained_by_its_comment_or_that_of_its_group() -> None:
    values = values_of((CHART / "values.yaml").read_text())
    explained = {value.path for value in values if value.description}
    silent = [
        ".".join(value.path) for value in values
        if value.default is not None and not any(value.path[:n] in explained for n in range(2, len(value.path) + 1))
        and value.path not in explained and (value.path[:-1] not in explained or len(value.path) == 2)
    ]  # fmt: skip
    assert [name for name in silent if not name.endswith((".enabled",))] == []


@pytest.fixture(scope="module")
def scraped(
    control_plane, custom_resources: None, kubectl, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[set[str]]:
    """Names of the samples that the real processes expose, with a Convex deployment in the relay's reach."""
    import asyncio

    folder, namespace = tmp_path_factory.mktemp("metrics"), "metrics-exposed"
    kubectl("create", "namespace", namespace)
    (folder / "secret").write_text(SECRET)
    kubeconfig = control_plane.kubeconfig
    operator = Operator(kubeconfig, folder / "operator.log", namespace)
    gateway = Gateway(kubeconfig, folder, namespace)
    queue = {"apiVersion": names.API_VERSION, "kind": "AnalysisQueue", "metadata": {"name": "default"},
             "spec": {"workerTemplate": {"spec": {"containers": [{"name": "worker", "image": "none"}]}}}}  # fmt: skip
    kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(queue))

    async def scrape() -> set[str]:
        async with functions_served(folder / "convex.log") as convex:
            port = free_port()
            relay = Process(
                "klipstream_relay", kubeconfig, folder / "relay.log",
                KLIPSTREAM_NAMESPACES=namespace, KLIPSTREAM_LEASE_NAMESPACE=namespace, KLIPSTREAM_LEASE_NAME="relay",
                KLIPSTREAM_LEDGER=str(folder / "ledger.db"), KLIPSTREAM_HTTP_HOST="127.0.0.1",
                KLIPSTREAM_HTTP_PORT=str(port), KLIPSTREAM_CONVEX_URL=convex.url, KLIPSTREAM_CONVEX_CLUSTER="x",
                KLIPSTREAM_CONVEX_SECRET_FILE=str(folder / "secret"), KLIPSTREAM_CONVEX_REQUESTS_SECONDS="0",
            )  # fmt: skip
            processes = (operator, relay, gateway)
            try:
                for each in processes:
                    each.start()
                found: set[str] = set()
                wanted = "klipstream_queue_reservations{"  # its leader knows the queue
                async with asyncio.timeout(120):
                    while True:
                        texts = await asyncio.gather(
                            *(
                                asyncio.to_thread(page, each)
                                for each in (operator.metrics_port, port, gateway.metrics_port)
                            )
                        )
                        if all(texts) and wanted in texts[0] and "klipstream_relay_convex_drift" in texts[1]:
                            break
                        await asyncio.sleep(0.5)
                for text in texts:
                    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
                        more = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
                        found |= {name + suffix for suffix in more}
                return found
            finally:
                for each in processes:
                    each.kill()

    try:
        yield asyncio.run(scrape())
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")


def page(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


@pytest.mark.timeout(300)
def test_every_metric_of_alerts_and_dashboard_is_exposed_by_the_processes(
    scraped: set[str], helm: Callable[..., Any]
) -> None:
    done = helm("template", "r", str(CHART), "--set", "monitoring.prometheusRule.enabled=true,gateway.enabled=true",
                "-s", "templates/prometheus-rule.yaml")  # fmt: skip
    rules = [each["expr"] for group in yaml.safe_load(done.stdout)["spec"]["groups"] for each in group["rules"]]
    dashboard = json.loads((CHART / "dashboard.json").read_text())
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert sorted(panels) == sorted(expressions())
    asked = {name for text in rules + panels for name in re.findall(r"\b(?:klipstream|process)_[a-z_]+", text)}
    assert asked - scraped == set()
    assert len(asked) > 30
