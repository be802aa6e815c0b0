"""The chart's alerts: each has a runbook and a case for promtool, which tests/e2e/test_chart_alerts.py runs."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from klipcluster.tools import tools_folder

ROOT = Path(__file__).resolve().parents[3]
CHART = str(ROOT / "charts" / "klipstream")
CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("alert_cases.yaml").read_text())
GUIDE = {
    "KlipstreamQueueLong": "> 50", "KlipstreamWorkersBusy": "> 90", "KlipstreamProcessingSlow": "> 7200",
    "KlipstreamJobsFailing": "> 10",
}  # fmt: skip


@pytest.fixture(scope="module")
def rule() -> dict[str, Any]:
    """The PrometheusRule as helm renders it."""
    values = "monitoring.prometheusRule.enabled=true,gateway.enabled=true"
    settings = ["-n", "m", "--set", values, "-s", "templates/prometheus-rule.yaml"]
    command = [str(tools_folder() / "helm"), "template", "r", CHART, *settings]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rule: dict[str, Any] = yaml.safe_load(done.stdout)
    return rule


@pytest.fixture(scope="module")
def alerts(rule: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["alert"]: each for group in rule["spec"]["groups"] for each in group["rules"]}


def test_every_alert_has_a_case(alerts: dict[str, dict[str, Any]]) -> None:
    assert {case["alert"] for case in CASES} == set(alerts)


def test_every_alert_has_a_runbook_with_a_command(alerts: dict[str, dict[str, Any]]) -> None:
    text = (ROOT / "docs" / "alerts.md").read_text()
    runbooks = dict(re.findall(r"^## (Klipstream\w+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert set(runbooks) == set(alerts)
    for name, alert in alerts.items():
        assert alert["annotations"]["runbook_url"].endswith(f"docs/alerts.md#{name.lower()}")
        assert "```bash" in runbooks[name] or "`kubectl" in runbooks[name], f"{name}: what is one to do?"


def test_the_four_alerts_of_the_guide_begin_where_it_says(alerts: dict[str, dict[str, Any]]) -> None:
    for name, threshold in GUIDE.items():
        assert alerts[name]["expr"].endswith(threshold), alerts[name]["expr"]


def test_thresholds_and_labels_are_those_of_the_values(helm: Callable[..., Any]) -> None:
    settings = (
        "monitoring.prometheusRule.enabled=true,monitoring.prometheusRule.thresholds.queueLength=7,"
        "monitoring.prometheusRule.alertLabels.team=media,monitoring.prometheusRule.for=90s,operator.leaseSeconds=30"
    )
    done = helm("template", "r", CHART, "--set", settings, "-s", "templates/prometheus-rule.yaml")
    assert done.returncode == 0, done.stderr
    found = {each["alert"]: each for group in yaml.safe_load(done.stdout)["spec"]["groups"] for each in group["rules"]}
    assert found["KlipstreamQueueLong"]["expr"].endswith("> 7")
    assert found["KlipstreamQueueLong"]["for"] == "90s"
    assert found["KlipstreamLeaseNotRenewed"]["expr"].endswith("> 0.6 * 30")
    assert all(each["labels"]["team"] == "media" for each in found.values())
    assert "$for" not in done.stdout


def test_alerts_of_a_component_are_there_where_the_component_is(helm: Callable[..., Any]) -> None:
    settings = "monitoring.prometheusRule.enabled=true,relay.enabled=false"
    done = helm("template", "r", CHART, "--set", settings, "-s", "templates/prometheus-rule.yaml")
    groups = [group["name"] for group in yaml.safe_load(done.stdout)["spec"]["groups"]]
    assert groups == ["klipstream.queues", "klipstream.operator"]


@pytest.mark.parametrize(
    ("settings", "matchers"),
    [((), {'job="m/r-operator"', 'job="m/r-relay"', 'job="m/r-gateway"'}),
     (('monitoring.prometheusRule.selector=release="r"',), {'release="r"'})],
)  # fmt: skip
def test_each_series_that_an_alert_asks_for_is_of_its_release(
    helm: Callable[..., Any], settings: tuple[str, ...], matchers: set[str]
) -> None:
    settings = ("monitoring.prometheusRule.enabled=true", "gateway.enabled=true", *settings)
    sets = [word for setting in settings for word in ("--set-string" if "selector" in setting else "--set", setting)]
    done = helm("template", "r", CHART, "-n", "m", *sets, "-s", "templates/prometheus-rule.yaml")
    assert done.returncode == 0, done.stderr
    found = [each for group in yaml.safe_load(done.stdout)["spec"]["groups"] for each in group["rules"]]
    asked = [selector for each in found for selector in re.findall(r"\bklipstream_[a-z_]+(\{[^}]*\}|)", each["expr"])]
    assert len(asked) > 30
    assert {selector.strip("{}").split(",")[0] for selector in asked} == matchers


def test_the_job_that_alerts_ask_for_is_that_of_the_pod_monitors(helm: Callable[..., Any]) -> None:
    """Without a jobLabel the Prometheus Operator names the job after namespace and name of the PodMonitor."""
    settings = "monitoring.podMonitor.enabled=true,gateway.enabled=true"
    done = helm("template", "r", CHART, "-n", "m", "--set", settings, "-s", "templates/pod-monitor.yaml")
    monitors = [each for each in yaml.safe_load_all(done.stdout) if each]
    assert {each["metadata"]["name"] for each in monitors} == {"r-operator", "r-relay", "r-gateway"}
    assert not any("jobLabel" in each["spec"] for each in monitors)
