# ruff: noqa: E501
"""The Grafana dashboard, from a short table of panels: JSON written by hand has no reader."""

import json
from dataclasses import dataclass
from typing import Any

Q = 'namespace=~"$namespace",queue=~"$queue"'
# What each process of ours shows, and nobody else's.
OURS = "klipstream_operator_leading or klipstream_relay_leading or klipstream_gateway_cached_jobs"
ROW_WIDTH, PANEL_HEIGHT = 24, 7


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure: (expression, legend) of each line; stat panels show the last value alone."""

    title: str
    lines: tuple[tuple[str, str], ...]
    unit: str = "short"
    width: int = 8
    kind: str = "timeseries"
    description: str = ""


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    ("Now", (
        Panel("Waiting", ((f"sum(klipstream_queue_depth{{{Q}}})", ""),), width=4, kind="stat"),
        Panel("Slots taken", ((f"sum(klipstream_queue_reservations{{{Q}}})", ""),), width=4, kind="stat"),
        Panel("Slots", ((f"sum(klipstream_queue_max_concurrent_jobs{{{Q}}})", ""),), width=4, kind="stat"),
        Panel("Backing off", ((f'sum(klipstream_queue_jobs{{{Q},phase="BackingOff"}})', ""),), width=4, kind="stat"),
        Panel("Dead letters", ((f"sum(klipstream_queue_dead_letters{{{Q}}})", ""),), width=4, kind="stat"),
        Panel("Leaders", (("sum by (namespace, shard) (klipstream_operator_leading)", "{{namespace}} {{shard}}"),),
              width=4, kind="stat", description="1 for each shard of each release, or something is wrong"),
    )),
    ("Queues", (
        Panel("Waiting, by priority", ((f"sum by (queue, priority) (klipstream_queue_depth{{{Q}}})",
                                        "{{queue}} {{priority}}"),)),
        Panel("Slots taken", ((f"klipstream_queue_utilization_ratio{{{Q}}}", "{{namespace}}/{{queue}}"),), "percentunit"),
        Panel("Finished per hour", ((f"3600 * sum by (phase) (rate(klipstream_jobs_finished_total{{{Q}}}[1h]))",
                                     "{{phase}}"),)),
        Panel("Failed for good", ((
            f'sum by (queue) (rate(klipstream_jobs_finished_total{{{Q},phase="Failed"}}[1h]))'
            f' / sum by (queue) (rate(klipstream_jobs_finished_total{{{Q},phase=~"Succeeded|Failed"}}[1h]))',
            "{{queue}}"),), "percentunit"),
        Panel("Attempts that failed, by class", ((
            f"sum by (failure_class) (increase(klipstream_attempts_retried_total{{{Q}}}[1h]))", "{{failure_class}}"),)),
        Panel("Refused", ((f"sum by (reason) (increase(klipstream_jobs_rejected_total{{{Q}}}[1h]))", "{{reason}}"),)),
    )),
    ("How long", (
        Panel("An attempt, on average", ((
            f"sum by (queue) (rate(klipstream_attempt_run_seconds_sum{{{Q}}}[6h]))"
            f" / sum by (queue) (rate(klipstream_attempt_run_seconds_count{{{Q}}}[6h]))", "{{queue}}"),), "s"),
        Panel("Waiting, 95 % wait less", ((
            f"histogram_quantile(0.95, sum by (le, priority) (rate(klipstream_job_wait_seconds_bucket{{{Q}}}[1h])))",
            "{{priority}}"),), "s"),
        Panel("Peak memory of a stage, 95 % need less", ((
            f"histogram_quantile(0.95, sum by (le, stage) (rate(klipstream_stage_peak_memory_bytes_bucket{{{Q}}}[1d])))",
            "{{stage}}"),), "bytes"),
    )),
    ("Operator", (
        Panel("A look at a job, 99 % are faster", ((
            "histogram_quantile(0.99, sum by (le) (rate(klipstream_operator_reconcile_seconds_bucket[5m])))", ""),), "s"),
        Panel("Jobs to be looked at", (("klipstream_operator_reconcile_queue_length", "{{pod}}"),)),
        Panel("Requests to the API server", ((
            "sum by (verb, resource) (rate(klipstream_operator_api_requests_total[5m]))", "{{verb}} {{resource}}"),), "reqps"),
        Panel("Looks that failed", (("increase(klipstream_operator_reconcile_errors_total[10m])", "{{pod}}"),)),
        Panel("Mended by the sweep", ((
            "sum by (resource) (increase(klipstream_operator_sweep_repairs_total[1h]))", "{{resource}}"),)),
        Panel("Memory", ((f"process_resident_memory_bytes and on (namespace, pod) ({OURS})", "{{pod}}"),), "bytes"),
    )),
    ("Webhooks and Convex", (
        Panel("Deliveries", ((
            "sum by (state) (rate(klipstream_relay_deliveries_total[5m]))", "{{state}}"),), "reqps"),
        Panel("On their way", (("klipstream_relay_pending", "webhooks"), ("klipstream_relay_convex_waiting", "Convex"))),
        Panel("Oldest on its way", (("klipstream_relay_oldest_pending_seconds", ""),), "s"),
        Panel("To the receiver, 95 % are faster", ((
            "histogram_quantile(0.95, sum by (le) (rate(klipstream_relay_delivery_seconds_bucket[5m])))", ""),), "s"),
        Panel("Receivers taken to be down", (("klipstream_relay_open_circuits", ""),)),
        Panel("Rows that Convex had wrong", (("klipstream_relay_convex_drift", ""),)),
    )),
    ("Gateway", (
        Panel("Answers", ((
            "sum by (status) (rate(klipstream_gateway_requests_total[5m]))", "{{status}}"),), "reqps", 12),
        Panel("Time to the answer, 95 % are faster", ((
            "histogram_quantile(0.95, sum by (le, operation) (rate(klipstream_gateway_request_seconds_bucket[5m])))",
            "{{operation}}"),), "s", 12),
    )),
)  # fmt: skip


def expressions() -> list[str]:
    """Every expression of the dashboard."""
    return [expression for _, panels in ROWS for panel in panels for expression, _ in panel.lines]


def dashboard() -> str:
    """The dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS:
        place = {"h": 1, "w": ROW_WIDTH, "x": 0, "y": top}
        panels.append({"type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []})
        top, left = top + 1, 0
        for panel in row:
            if left + panel.width > ROW_WIDTH:
                top, left = top + PANEL_HEIGHT, 0
            panels.append(_panel(panel, left, top))
            left += panel.width
        top += PANEL_HEIGHT
    for number, each in enumerate(panels, start=1):
        each["id"] = number
    return json.dumps(_frame(panels), indent=1, ensure_ascii=False) + "\n"


def _panel(panel: Panel, left: int, top: int) -> dict[str, Any]:
    return {
        "type": panel.kind, "title": panel.title, "description": panel.description,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"h": PANEL_HEIGHT, "w": panel.width, "x": left, "y": top},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {},
        "targets": [
            {"refId": chr(ord("A") + number), "expr": expression, "legendFormat": legend or "__auto"}
            for number, (expression, legend) in enumerate(panel.lines)
        ],
    }  # fmt: skip


def _frame(panels: list[dict[str, Any]]) -> dict[str, Any]:
    def variable(name: str, query: str) -> dict[str, Any]:
        return {
            "name": name, "type": "query", "query": query, "refresh": 2, "includeAll": True, "multi": True,
            "allValue": ".*", "current": {"text": "All", "value": "$__all"},
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
        }  # fmt: skip

    return {
        "title": "KlipStream analysis queue", "uid": "klipstream", "tags": ["klipstream"], "schemaVersion": 39,
        "version": 1, "editable": True, "refresh": "30s", "time": {"from": "now-6h", "to": "now"}, "timezone": "",
        "templating": {"list": [
            {"name": "datasource", "type": "datasource", "query": "prometheus", "current": {}},
            variable("namespace", "label_values(klipstream_queue_depth, namespace)"),
            variable("queue", 'label_values(klipstream_queue_depth{namespace=~"$namespace"}, queue)'),
        ]},
        "panels": panels,
    }  # fmt: skip
