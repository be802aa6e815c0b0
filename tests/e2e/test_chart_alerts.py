"""The chart's alerts with the real promtool: each fires at what it is for, and at nothing less.

Apart from `make test`, since a machine that has not compiled promtool yet takes minutes for it.
"""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from klipcluster.go_build import PROMTOOL, binary
from klipcluster.tools import tools_folder

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(3600)]
ROOT = Path(__file__).resolve().parents[2]
CASES: list[dict[str, Any]] = yaml.safe_load((ROOT / "tests/integration/chart/alert_cases.yaml").read_text())


def rendered(shards: int) -> dict[str, Any]:
    """The PrometheusRule as helm renders it for so many operators."""
    values = f"monitoring.prometheusRule.enabled=true,gateway.enabled=true,operator.shards={shards}"
    settings = ["-n", "m", "--set", values, "-s", "templates/prometheus-rule.yaml"]
    command = [str(tools_folder() / "helm"), "template", "r", str(ROOT / "charts" / "klipstream"), *settings]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rule: dict[str, Any] = yaml.safe_load(done.stdout)
    return rule


def promtool(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(binary(PROMTOOL)), *arguments], cwd=folder, capture_output=True, text=True, check=False)


def scraped(series: list[dict[str, str]]) -> list[dict[str, str]]:
    """With the job that Prometheus gives what it scrapes by a PodMonitor: its namespace and name."""

    def of_release(each: dict[str, str]) -> dict[str, str]:
        name = each["series"]
        if 'job="' in name:
            return each
        (component,) = re.findall(r"^klipstream_(relay|gateway)_", name) or ["operator"]
        return each | {"series": name.replace("{", f'{{job="m/r-{component}",', 1)}

    return [of_release(each) for each in series]


def expected(case: dict[str, Any], alert: dict[str, Any]) -> list[dict[str, Any]]:
    """What promtool is to see: nothing while it is silent, then the alert."""
    seen = {
        "exp_labels": {"severity": case.get("severity", alert["labels"]["severity"])} | case["labels"],
        "exp_annotations": {"runbook_url": alert["annotations"]["runbook_url"], "summary": case["summary"]},
    }
    tests = [{"eval_time": case["fires"], "alertname": case["alert"], "exp_alerts": [seen]}]
    if "silent" in case:
        tests.insert(0, {"eval_time": case["silent"], "alertname": case["alert"], "exp_alerts": []})
    return tests


@pytest.mark.parametrize("shards", sorted({case.get("shards", 1) for case in CASES}))
def test_promtool_finds_each_alert_firing_where_it_should_and_silent_before(
    shards: int, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    rule, cases = rendered(shards), [case for case in CASES if case.get("shards", 1) == shards]
    alerts = {each["alert"]: each for group in rule["spec"]["groups"] for each in group["rules"]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
    checked = promtool(tmp_path, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(alerts)} rules found" in checked.stdout
    tests = [
        {
            "name": f"{case['alert']} {case.get('about', '')}".strip(),
            "interval": "1m", "input_series": scraped(case["series"]),
            "alert_rule_test": expected(case, alerts[case["alert"]]),
        }
        for case in cases if "summary" in case
    ]  # fmt: skip
    tests += [
        {
            "name": case["alert"], "interval": "1m", "input_series": scraped(case["series"]),
            "promql_expr_test": [
                {
                    "expr": f"count by ({', '.join(case['labels'])})"
                    f" (ALERTS{{alertname='{case['alert']}',alertstate='firing'}})",
                    "eval_time": when,
                    "exp_samples": [{"labels": _selector(case["labels"]), "value": 1}] if when == case["fires"] else [],
                }
                for when in (case["silent"], case["fires"])
            ],
        }
        for case in cases if "summary" not in case
    ]  # fmt: skip
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(document))
    done = promtool(tmp_path, "test", "rules", "tests.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    counted = f"{len(alerts)} rules, {len(cases)} cases"
    figures(f"alerts of {shards} shards: {counted}: each fires where it should and is silent before")


def _selector(labels: dict[str, str]) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}"
