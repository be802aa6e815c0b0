"""What is put into words, tables and rules: pure."""

import io
from datetime import UTC, datetime, timedelta

import pytest

from klipstream_api import names
from klipstream_api.crds import analysis_job_crd, analysis_queue_crd
from klipstream_api.phases import ACTIVE_PHASES, FINISHED_PHASES, Priority
from klipstream_cli import resources
from klipstream_cli.cel import Absent, Unsupported, evaluate
from klipstream_cli.errors import Problem
from klipstream_cli.jobs_view import eta, positions, row
from klipstream_cli.printing import safe, table
from klipstream_cli.submission import manifest, params_of, stem_of, urls_of
from klipstream_cli.times import parse_span, span

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_the_names_that_are_written_twice_agree() -> None:
    assert (resources.GROUP, resources.API_VERSION) == (names.GROUP, names.API_VERSION)
    assert (resources.JOB_UID_LABEL, resources.ATTEMPT_LABEL) == (names.JOB_UID_LABEL, names.ATTEMPT_LABEL)
    assert resources.WORKER_CONTAINER == names.WORKER_CONTAINER
    assert {priority.value: priority.value_number for priority in Priority} == resources.PRIORITIES
    assert set(resources.FINISHED) == set(FINISHED_PHASES)
    assert set(resources.ACTIVE) == set(ACTIVE_PHASES)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (330, "5m30s"), (3600, "60m"), (10_800, "3h"), (11_100, "3h5m"),
     (86_400, "24h"), (200_000, "2d7h"), (900_000, "10d"), (None, "")],
)  # fmt: skip
def test_spans_are_short(seconds: float | None, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("45s", 45), ("1h30m", 5400), ("7d", 604_800), ("2w", 1_209_600)]
)
def test_spans_are_read(text: str, seconds: float) -> None:
    assert parse_span(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "1x", "h", "-5", "1.5h"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no span of time"):
        parse_span(text)


def job(
    name: str, priority: str = "NORMAL", sequence: int | None = None, phase: str = "Queued", **spec: object
) -> dict:
    metadata = {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "900"}
    status = {"phase": phase, "queueName": "q"} | ({"sequence": sequence} if sequence is not None else {})
    return {"metadata": metadata, "spec": {"priority": priority, **spec}, "status": status}


def test_places_go_by_priority_then_sequence_and_leave_out_what_does_not_wait() -> None:
    later = (NOW + timedelta(hours=1)).isoformat()
    jobs = [job("a", sequence=5), job("b", "URGENT", 9), job("c", sequence=3), job("new"), job("runs", phase="Running"),
            job("ends", sequence=1, cancel=True), job("later", sequence=2, notBefore=later)]  # fmt: skip
    found = positions(jobs, NOW)
    assert sorted(found, key=found.__getitem__) == [("ns", name) for name in ("b", "c", "a", "new")]


def test_a_raised_priority_counts_and_is_shown() -> None:
    aged = job("a", "LOW", 9)
    aged["status"]["effectivePriority"] = "HIGH"
    assert positions([job("b", sequence=1), aged], NOW)[("ns", "a")] == 1
    assert row(aged, 1, NOW)[1] == "HIGH"


def test_what_is_left_goes_by_the_workers_estimate_less_what_has_passed() -> None:
    running = job("a", phase="Running")
    running["status"] |= {"attempt": 2, "progress": {
        "attempt": 2, "percentage": 45, "estimatedCompletionSeconds": 100,
        "updatedAt": (NOW - timedelta(seconds=40)).isoformat(),
    }}  # fmt: skip
    assert eta(running, NOW) == "60s"
    running["status"]["attempt"] = 3
    assert eta(running, NOW) == "", "the estimate was another attempt's"


def test_tables_align_and_control_characters_do_not_reach_the_terminal() -> None:
    out = io.StringIO()
    table(("NAME", "STAGE"), [("a", "x\x1b[31mred"), ("longer", "y")], stream=out)
    assert out.getvalue() == "NAME     STAGE\na        x [31mred\nlonger   y\n"
    assert safe("a\nb") == "a b"


@pytest.mark.parametrize(
    ("url", "stem"),
    [("https://e.x/Some%20Video.mp4?x=1", "some-video"), ("https://e.x/", "video"), ("https://e.x/ünïcode", "n-code"),
     ("https://twitch.tv/videos/123456", "123456"), (f"https://e.x/{'a' * 80}", "a" * 40)],
)  # fmt: skip
def test_names_begin_like_the_video(url: str, stem: str) -> None:
    assert stem_of(url) == stem


def test_what_was_not_said_is_not_in_the_manifest() -> None:
    body = manifest("a", {}, {"videoUrl": "https://e.x/a", "priority": None, "params": {}, "timeoutSeconds": 0})
    assert body["spec"] == {"videoUrl": "https://e.x/a", "timeoutSeconds": 0}


@pytest.mark.parametrize("pairs", [["x"], ["=1"], ["a=1", "a=2"]])
def test_parameters_are_name_and_value_once(pairs: list[str]) -> None:
    assert params_of(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    with pytest.raises(Problem):
        params_of(pairs)


def test_no_url_at_all_is_a_mistake() -> None:
    with pytest.raises(Problem, match="at least one URL"):
        urls_of([], None)


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("1 + 2 == 3 && !(false || 2 < 1)", True),
        ("has(self.a) && self.a.size() == 2", True),
        ("has(self.b) || self.a.all(x, x in ['p', 'q'])", True),
        ("self.a.exists(x, x.startsWith('q'))", True),
        ("self.m.map(k, k.size() + self.m[k].size()).sum() <= 5", True),
        ("self.m.all(k, !format.qualifiedName().validate(k).hasValue())", True),
        ("self.a.filter(x, x == 'p').size()", 1),
        ("'it\\'s'.matches('^it')", True),
    ],
)
def test_rules_are_evaluated(rule: str, value: object) -> None:
    assert evaluate(rule, {"self": {"a": ["p", "q"], "m": {"k": "vvvv"}}}) == value


@pytest.mark.parametrize("rule", ["self.a.reverse()", "other.a", "1 +", "self.a ? 1", "'open", "has(self.a"])
def test_what_is_not_understood_is_left_to_the_server(rule: str) -> None:
    with pytest.raises(Unsupported):
        evaluate(rule, {"self": {"a": [1]}})


def test_a_missing_field_is_no_false_but_absent() -> None:
    with pytest.raises(Absent):
        evaluate("self.b == 1", {"self": {}})


def test_every_rule_of_the_crds_is_understood() -> None:
    """Otherwise lint would be silent about what it checks."""
    spec = {
        "videoUrl": "https://e.x/a", "params": {"a": "b"}, "resources": {"limits": {"cpu": "1"}},
        "cancel": False, "replay": 0, "accepts": {"types": ["a"]}, "results": {"url": "file:///a", "claimName": "c"},
        "reservedSlots": {"HIGH": 1}, "capacity": {"probeSeconds": 1, "probeAtMostSeconds": 2},
        "workerTemplate": {"labels": {"a": "b"}, "annotations": {"a": "b"}},
    }  # fmt: skip
    for crd in (analysis_job_crd(), analysis_queue_crd()):
        schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        rules = [*schema["properties"]["spec"]["x-kubernetes-validations"]]
        for rule in rules:
            if "oldSelf" not in rule["rule"]:
                assert evaluate(rule["rule"], {"self": spec}) is True, rule
        for rule in schema.get("x-kubernetes-validations", ()):
            assert evaluate(rule["rule"], {"self": {"metadata": {"name": "a"}}}) is True


@pytest.mark.parametrize("command", [["--help"], ["list", "--help"], ["__complete", "queue", ""]])
def test_help_and_completion_load_none_of_the_heavy_packages(command: list[str]) -> None:
    """Import times are what start-up consists of; figures are in `make bench SUITE=cli`."""
    import subprocess
    import sys

    code = (
        "import sys; sys.argv = ['kubectl-analysis', *sys.argv[1:]]\n"
        "from klipstream_cli.__main__ import run\n"
        "try:\n    run()\nexcept SystemExit:\n    pass\n"
        "heavy = {'pydantic', 'rich', 'kubernetes', 'aiohttp', 'klipstream_api', 'asyncio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
