"""Traces: ids that everybody finds alike, and the spans that a status write completes."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from klipfake.objects import NOW, QUEUE, UID, ended, job, running, view
from klipstream_api import AnalysisJob, Phase, names
from klipstream_operator import statuses
from klipstream_operator.failures import classify
from klipstream_operator.jobs import WorkerContract, make_job
from klipstream_operator.spans import spans_of, trace_of
from klipstream_service import BadSetting, Environment
from klipstream_service.trace_context import JobTrace, begun, chosen, parse
from klipstream_service.tracing import TracingSettings

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("rule", "text", "taken"),
    [
        ("as the recommendation shows it", GIVEN, True),
        ("blanks around it", f"  {GIVEN} ", True),
        ("a later version may have more", f"cc{GIVEN[2:]}-what-ever", True),
        ("this version has no more", f"{GIVEN}-what", False),
        ("version ff is none", f"ff{GIVEN[2:]}", False),
        ("no trace", f"00-{'0' * 32}-00f067aa0ba902b7-01", False),
        ("no span", f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01", False),
        ("capitals", GIVEN.upper(), False),
        ("nothing", None, False),
        ("something else", "hello", False),
    ],
)
def test_a_traceparent_is_read(rule: str, text: str | None, taken: bool) -> None:
    found = parse(text)
    assert (found is not None) == taken, rule
    if found is not None:
        assert found.traceparent == GIVEN


def test_an_unsampled_trace_stays_unsampled_in_all_its_spans() -> None:
    trace = JobTrace.of(UID, GIVEN[:-2] + "00", 7, 1.0)
    assert not trace.whole.sampled
    assert not trace.attempt(1).sampled
    assert not begun(parse(GIVEN[:-2] + "00"), 1.0).sampled


def test_a_job_that_nobody_traces_has_a_trace_of_its_own_that_everybody_finds() -> None:
    first, second = JobTrace.of(UID, None, 7, 1.0), JobTrace.of(UID, "nonsense", 7, 1.0)
    assert first == second
    assert first.parent_id is None
    assert JobTrace.of("another", None, 7, 1.0).whole.trace_id != first.whole.trace_id


def test_attempts_and_replays_have_spans_of_their_own_in_one_trace() -> None:
    life, next_life = JobTrace.of(UID, GIVEN, 7, 1.0), JobTrace.of(UID, GIVEN, 8, 1.0)
    spans = {life.whole.span_id, next_life.whole.span_id, *(life.attempt(n).span_id for n in range(1, 5))}
    assert len(spans) == 6
    assert life.whole.trace_id == next_life.whole.trace_id == 0x4BF92F3577B34DA6A3CE929D0E0E4736


@pytest.mark.parametrize(("ratio", "share"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0)])
def test_so_many_traces_are_sampled(ratio: float, share: float) -> None:
    taken = sum(chosen(JobTrace.of(str(n), None, 1, 1.0).whole.trace_id, ratio) for n in range(4000))
    assert taken / 4000 == pytest.approx(share, abs=0.03)


def annotated(status: dict[str, Any] | None = None) -> AnalysisJob:
    plain = job(status)
    metadata = plain.metadata.model_copy(update={"annotations": {names.TRACEPARENT_ANNOTATION: GIVEN}})
    return plain.model_copy(update={"metadata": metadata})


def test_a_start_ends_the_wait_for_a_slot() -> None:
    of = annotated()
    (wait,) = spans_of(of, statuses.started(of, 1, "j1", NOW), 1.0)
    assert (wait.name, wait.start, wait.end) == ("admission wait", datetime(2026, 1, 2, 3, tzinfo=UTC), NOW)
    assert wait.parent_id == trace_of(of, 7, 1.0).whole.span_id


def test_a_retry_ends_an_attempt_and_not_the_analysis() -> None:
    of = annotated(running())
    failure = classify(view(None, ended(1)))
    (attempt,) = spans_of(of, statuses.failed(of, QUEUE, failure, NOW), 1.0)
    assert (attempt.name, attempt.attributes["klipstream.exit_code"]) == ("attempt", 1)
    assert attempt.error == failure.message
    assert attempt.context == trace_of(of, 7, 1.0).attempt(1)


def test_the_end_of_a_job_goes_on_from_the_span_that_submitted_it() -> None:
    of = annotated(running())
    attempt, whole = spans_of(of, statuses.succeeded(of, QUEUE, ended(0), NOW), 1.0)
    assert (attempt.error, whole.error, whole.name) == (None, None, "analysis")
    assert whole.parent_id == 0x00F067AA0BA902B7
    assert whole.attributes["klipstream.phase"] == Phase.SUCCEEDED


def test_what_ends_nothing_is_no_span() -> None:
    of = annotated(running("Starting"))
    assert spans_of(of, statuses.running(of, None, NOW), 1.0) == ()
    backwards = NOW - timedelta(days=1)
    (attempt, _) = spans_of(annotated(running()), statuses.succeeded(of, QUEUE, ended(0), backwards), 1.0)
    assert attempt.start == attempt.end == backwards, "a clock that was set back"


def test_a_worker_is_told_its_attempts_span_where_tracing_is_on() -> None:
    of = annotated()
    for ratio, told in ((None, None), (1.0, trace_of(of, 7, 1.0).attempt(2).traceparent)):
        made = make_job(of, QUEUE, 2, WorkerContract("http://x", trace_ratio=ratio))
        env = {entry["name"]: entry.get("value") for entry in made["spec"]["template"]["spec"]["containers"][0]["env"]}
        assert env.get("TRACEPARENT") == told


@pytest.mark.parametrize(
    ("endpoint", "used"),
    [
        ("", None),
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("https://collector/", "https://collector/v1/traces"),
        ("https://collector/tenant/v1/traces", "https://collector/tenant/v1/traces"),
    ],
)
def test_the_endpoint_may_leave_out_the_path(endpoint: str, used: str | None) -> None:
    found = TracingSettings.from_environment(Environment({"KLIPSTREAM_TRACING_ENDPOINT": endpoint}))
    assert (found.endpoint if found is not None else None) == used


@pytest.mark.parametrize("endpoint", ["collector:4318", "grpc://collector", "http://"])
def test_an_endpoint_that_cannot_be_is_refused(endpoint: str) -> None:
    with pytest.raises(BadSetting, match="TRACING_ENDPOINT"):
        TracingSettings.from_environment(Environment({"KLIPSTREAM_TRACING_ENDPOINT": endpoint}))


def test_nothing_of_opentelemetry_is_loaded_where_tracing_is_off() -> None:
    mains = "import klipstream_operator.__main__, klipstream_gateway.__main__, klipstream_relay.__main__, sys"
    check = f"{mains}; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
