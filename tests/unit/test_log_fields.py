"""Every log line about a job or a queue can be found by its fields."""

import ast
import logging
from pathlib import Path

import pytest

from klipstream_api import AnalysisJob
from klipstream_operator.log_fields import (
    PlainFormatter,
    attempt_fields,
    job_fields,
    queue_fields,
    wire_fields,
    wire_queue_fields,
)
from klipstream_operator.workload import view_job

SOURCES = sorted((Path(__file__).resolve().parents[2] / "operator" / "src" / "klipstream_operator").glob("*.py"))
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
WIRE = {
    "metadata": {"name": "film", "namespace": "n", "uid": "u1", "resourceVersion": "9"},
    "spec": {"videoUrl": "https://example.com/v.mp4"},
    "status": {"attempt": 2, "queueName": "q"},
}
FIELDS = {"job": "n/film", "uid": "u1", "attempt": 2, "queue": "q", "namespace": "n"}


def test_a_job_has_the_same_fields_before_and_after_it_is_parsed() -> None:
    assert job_fields(AnalysisJob.from_wire(WIRE)) == wire_fields(WIRE) == FIELDS


def test_a_job_that_no_queue_took_yet_is_found_by_the_queue_that_it_names() -> None:
    early = {"metadata": WIRE["metadata"], "spec": {"videoUrl": "https://example.com/v.mp4", "queueName": "later"}}
    assert job_fields(AnalysisJob.from_wire(early))["queue"] == "later"


def test_an_attempt_whose_job_is_gone_keeps_what_is_known_of_it() -> None:
    labels = {"analysis.klipstream.io/job-uid": "u1", "analysis.klipstream.io/attempt": "3"}
    metadata = {"name": "u1-a3", "namespace": "n", "uid": "j1", "resourceVersion": "1", "labels": labels}
    view = view_job({"metadata": metadata, "spec": {}})
    assert view is not None
    assert attempt_fields(view, AnalysisJob.from_wire(WIRE)) == FIELDS | {"attempt": 3}
    orphan = attempt_fields(view, None)
    assert (orphan["uid"], orphan["attempt"], orphan["namespace"]) == ("u1", 3, "n")


def test_a_queue_is_found_by_the_labels_of_its_metrics() -> None:
    assert queue_fields(("n", "q")) == wire_queue_fields({"metadata": {"name": "q", "namespace": "n"}})
    assert queue_fields(("n", "q")) == {"namespace": "n", "queue": "q"}


def _calls(path: Path) -> list[ast.Call]:
    """The log calls of a file whose text speaks of one AnalysisJob or AnalysisQueue."""
    return [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "log"
        and node.func.attr in LEVELS
        and isinstance(node.args[0], ast.Constant)
        and any(f"{kind} %s" in str(node.args[0].value) for kind in ("AnalysisJob", "AnalysisQueue", "Job"))
    ]


def test_every_line_about_a_job_or_a_queue_carries_its_fields() -> None:
    found = [(path.name, call) for path in SOURCES for call in _calls(path)]
    assert len(found) >= 10
    bare = [f"{name}:{call.lineno}" for name, call in found if "extra" not in {word.arg for word in call.keywords}]
    assert not bare, "pass extra=job_fields(job), or queue_fields(key)"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (FIELDS, "it started [job=n/film uid=u1 attempt=2 queue=q]"),
        (queue_fields(("n", "q")), "it started [queue=q]"),
        ({}, "it started"),
    ],
)
def test_a_plain_line_ends_with_its_fields(fields: dict[str, object], line: str) -> None:
    record = logging.getLogger("x").makeRecord("x", logging.INFO, "f", 1, "it %s", ("started",), None, extra=fields)
    assert PlainFormatter().format(record) == line
