"""Commands about jobs, by the real kubectl against the real API server with an operator at work."""

import json
import subprocess
import uuid
from pathlib import Path

import pytest
import yaml

from klipfake.world import World, job

FAILS = {"fake_exits": "1"}


@pytest.fixture
def queue(stage: World) -> str:
    """A queue with one slot that nothing of other tests is in."""
    name = f"q-{uuid.uuid4().hex[:6]}"
    stage.queue(name, maxConcurrentJobs=1, maxRetries=0, retryDelaysSeconds=[1], timeoutSeconds=600)
    return name


def test_a_submission_waits_in_line_and_every_view_tells_its_place(stage: World, analysis, queue: str) -> None:
    stage.change("aq", queue, mode="Paused")
    for name in ("first", "second"):
        analysis("submit", f"https://example.com/{name}.mp4", "--name", f"{queue}-{name}", "--queue", queue)
    stage.until(lambda: stage.get("aq", queue)["status"].get("queued") == 2, "both wait")
    rows = [line.split() for line in analysis.out("list", "--queue", queue).splitlines()]
    assert rows[0][:4] == ["NAME", "PRIORITY", "PHASE", "POS"]
    assert [row[:4] for row in rows[1:]] == [
        [f"{queue}-first", "NORMAL", "Queued", "1"], [f"{queue}-second", "NORMAL", "Queued", "2"],
    ]  # fmt: skip
    why = json.loads(analysis.out("why", f"{queue}-second", "-o", "json"))
    assert (why["outlook"]["position"], why["inLine"], why["ahead"]) == (2, 2, [f"{queue}-first"])
    assert [reason["code"] for reason in why["reasons"]][:2] == ["queue-paused", "jobs-ahead"]
    assert why["whatIf"]["URGENT"]["position"] == 1
    assert analysis.out("prioritize", f"{queue}-second", "urgent").endswith("is URGENT\n")
    text = analysis.out("why", f"{queue}-second")
    assert "1st of 2" in text
    assert f"kubectl analysis queue resume {queue}" in text
    assert "URGENT" in analysis.out("status", f"{queue}-second")
    # A selector leaves jobs out, and places count them all the same.
    only = analysis.out("list", "--field-selector", f"metadata.name={queue}-first", "--no-headers").split()
    assert only[3] == "2"


def test_a_dry_run_says_when_it_would_start_and_leaves_nothing(stage: World, analysis, queue: str) -> None:
    done = analysis.out("submit", "https://example.com/talk.mp4", "--queue", queue, "--dry-run")
    assert "created (server dry run)" in done
    assert f"It would be number 1 in the queue {queue}, start at any moment" in done
    assert not analysis.out("list", "--queue", queue)
    stage.change("aq", queue, mode="Draining")
    assert "would be rejected" in analysis.out("submit", "https://example.com/a.mp4", "--queue", queue, "--dry-run")


def test_wait_tells_success_from_failure_by_the_exit_code(analysis, queue: str) -> None:
    done = analysis.out("submit", "https://example.com/ok.mp4", "--queue", queue, "--wait", "--timeout", "2m")
    assert "Succeeded" in done
    failed = analysis.out(
        "submit", "https://example.com/no.mp4", "--queue", queue, "--param", "fake_exits=1", "--watch", code=1
    )
    assert "Failed" in failed
    late = analysis(
        "submit", "https://example.com/long.mp4", "--queue", queue, "--param", "fake_seconds=300", "--wait",
        "--timeout", "2s", code=7,
    )  # fmt: skip
    assert "They go on" in late.stderr


def test_a_file_of_urls_is_submitted_and_what_is_no_url_is_named_by_its_line(analysis, queue: str, tmp_path) -> None:
    file = tmp_path / "urls.txt"
    file.write_text("# the week\nhttps://example.com/one.mp4\n\nhttps://example.com/two.mp4#t=5   # the good part\n")
    made = analysis.out("submit", "-f", str(file), "--queue", queue, "-o", "json")
    urls = [item["spec"]["videoUrl"] for item in json.loads(made)["items"]]
    assert urls == ["https://example.com/one.mp4", "https://example.com/two.mp4#t=5"]
    assert analysis("submit", "-f", "-", "--queue", queue, "-o", "name", stdin="https://example.com/x\n").stdout
    file.write_text("https://example.com/one.mp4\nnonsense\n")
    assert "line 2: 'nonsense'" in analysis("submit", "-f", str(file), code=2).stderr


def test_what_the_server_refuses_is_said_in_its_words(analysis, queue: str) -> None:
    refused = analysis("submit", "https://example.com/a.mp4", "--max-retries", "50", code=6).stderr
    assert "spec.maxRetries in body should be less than or equal to 20" in refused
    analysis("submit", "https://example.com/a.mp4", "--name", f"{queue}-a", "--queue", queue)
    assert "already exists" in analysis("submit", "https://example.com/a.mp4", "--name", f"{queue}-a", code=6).stderr


def test_outputs_are_those_of_kubectl(stage: World, analysis, queue: str) -> None:
    stage.change("aq", queue, mode="Paused")
    stage.apply(job(f"{queue}-a", queueName=queue, videoId="77"), job(f"{queue}-b", queueName=queue))
    stage.until(lambda: stage.get("aq", queue)["status"].get("queued") == 2, "both wait")
    found = json.loads(analysis.out("list", "-q", queue, "-o", "json"))
    assert [item["kind"] for item in found["items"]] == ["AnalysisJob", "AnalysisJob"]
    assert yaml.safe_load(analysis.out("list", "-q", queue, "-o", "yaml")) == found
    names = analysis.out("list", "-q", queue, "-o", "name").split()
    assert names == [f"analysisjob.analysis.klipstream.io/{queue}-{letter}" for letter in "ab"]
    assert stage.kubectl("get", *names, "-o", "name").split() == names
    wide = analysis.out("list", "-A", "-q", queue, "-o", "wide").splitlines()
    assert wide[0].startswith("NAMESPACE")
    assert "77" in wide[1].split()
    assert "\x1b" not in "\n".join(wide), "no colour in a pipe"
    assert json.loads(analysis.out("status", f"{queue}-a", "-o", "json"))["metadata"]["name"] == f"{queue}-a"


def test_cancel_and_its_errors(stage: World, analysis, queue: str) -> None:
    stage.change("aq", queue, mode="Paused")
    stage.apply(job(f"{queue}-a", queueName=queue), job(f"{queue}-b", queueName=queue))
    stage.until(lambda: stage.get("aq", queue)["status"].get("queued") == 2, "both wait")
    assert "is being cancelled" in analysis.out("cancel", f"{queue}-a")
    stage.until_phase(f"{queue}-a", "Cancelled")
    assert "it is Cancelled already" in analysis("cancel", f"{queue}-a", code=6).stderr
    assert f"there is no analysisjob {queue}-x" in analysis("cancel", f"{queue}-x", code=3).stderr
    by_field = ("cancel", "--field-selector", f"status.queueName={queue}")
    assert "Say --yes to confirm" in analysis(*by_field, code=6).stderr
    # One that has ended already is no reason not to wait for the others.
    analysis("cancel", f"{queue}-a", f"{queue}-b", "--wait", code=6)
    assert stage.phase(f"{queue}-b") == "Cancelled"
    assert "name at least one job" in analysis("cancel", code=2).stderr


def test_a_cancel_that_is_not_done_in_time_is_told_by_the_exit_code(alone, kubectl) -> None:
    """Without an operator nothing is cancelled."""
    alone("submit", "https://example.com/a.mp4", "--name", "a")
    alone("cancel", "a", "--wait", "--timeout", "1s", code=7)


def test_a_batch_that_is_submitted_again_leaves_what_exists(alone) -> None:
    urls = ("https://example.com/a.mp4", "https://example.com/b.mp4", "https://example.com/a.mp4")
    first = alone.out("submit", *urls[:2], "--batch", "monday", "-o", "name").splitlines()
    again = alone.out("submit", *urls, "--batch", "monday").splitlines()
    assert again[:2] == [f"{name} exists already" for name in first]
    assert again[2].endswith(" created")
    assert len(alone.out("list", "-o", "name").split()) == 3


def test_a_url_in_a_secret_is_submitted_by_its_place(alone) -> None:
    made = json.loads(alone.out("submit", "--url-from", "video/url", "--name", "a", "-o", "json"))
    assert made["spec"]["videoUrlFrom"] == {"name": "video", "key": "url"}
    assert "write SECRET/KEY" in alone("submit", "--url-from", "video", code=2).stderr


def test_shared_options_may_stand_before_the_command(alone, kubectl) -> None:
    alone("submit", "https://example.com/a.mp4", "--name", "a")
    for before in (("-n", alone.namespace), (f"-n{alone.namespace}", "--request-timeout=0"), ("-A",)):
        done = subprocess.run(
            ["kubectl", "analysis", *before, "list", "--no-headers"], env=alone.environment, capture_output=True,
            text=True, check=False, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert " a " in f" {done.stdout}", done.stdout


def test_a_failed_job_runs_again_and_nothing_else_does(stage: World, analysis, queue: str) -> None:
    stage.apply(job(f"{queue}-a", queueName=queue, params={"fake_exits": "1,0"}))
    stage.until_phase(f"{queue}-a", "Failed")
    status = analysis.out("status", f"{queue}-a")
    assert f"kubectl analysis retry {queue}-a" in status
    assert "Transient" in status
    assert "Succeeded" in analysis.out("retry", f"{queue}-a", "--timeout-seconds", "900", "--wait")
    assert stage.get("aj", f"{queue}-a")["spec"]["timeoutSeconds"] == 900
    assert "only Failed jobs run again" in analysis("retry", f"{queue}-a", code=6).stderr
    assert analysis("watch", f"{queue}-a").stdout.startswith(f"{queue}-a Succeeded")
    assert "there is no analysisjob" in analysis("watch", "nobody", code=3).stderr
    assert "not both" in analysis("watch", f"{queue}-a", "-l", "a=b", code=2).stderr


def test_logs_follow_the_job_across_its_attempts(stage: World, analysis, queue: str) -> None:
    stage.change("aq", queue, maxRetries=2)
    lines = json.dumps([[0.1, "begin"], [1.0, "middle"], [1.5, "end"]])
    params = {"fake_exits": "1,0", "fake_seconds": "6", "fake_log_script": lines}
    stage.apply(job(f"{queue}-a", queueName=queue, params=params))
    followed = analysis("logs", f"{queue}-a", "-f", "--timeout", "3m")
    assert followed.stdout.count("begin\nmiddle\nend\n") == 2
    assert "attempt 2 ---" in followed.stderr
    assert f"{queue}-a Succeeded" in followed.stderr
    none = analysis("logs", f"{queue}-a", "--attempt", "9", code=3).stderr
    assert "has begun 2 attempts" in none


def test_a_log_that_breaks_off_is_taken_up_again_without_losing_or_doubling_lines(stage, analysis, queue) -> None:
    lines = json.dumps([[0.1, "one"], [2.0, "two"], [3.0, "three"]])
    params = {"fake_seconds": "5", "fake_log_script": lines, "fake_log_breaks": "1"}
    stage.apply(job(f"{queue}-a", queueName=queue, params=params))
    assert analysis("logs", f"{queue}-a", "-f", "--timeout", "3m").stdout == "one\ntwo\nthree\n"


def test_an_archived_log_is_read_where_the_pod_is_gone(stage: World, analysis, queue: str, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    stage.change("aq", queue, results={"url": f"file://{tmp_path}/results"})
    stage.apply(job(f"{queue}-a", queueName=queue, params=FAILS | {"fake_log_bytes": "45"}))
    stage.until_phase(f"{queue}-a", "Failed")
    stage.until(lambda: "logUrl" in stage.get("aj", f"{queue}-a")["status"]["attempts"][0], "it is archived")
    whole = analysis.out("logs", f"{queue}-a")
    stage.kubectl("delete", "pods", "--all", "--wait=false")
    label = f"analysis.klipstream.io/job-uid={stage.get('aj', f'{queue}-a')['metadata']['uid']}"
    stage.until(lambda: not stage.kubectl("get", "pods", "-l", label, "-o", "name"), "the pod is gone")
    assert analysis.out("logs", f"{queue}-a") == whole
    assert whole.startswith("attempt 1 line 0\n")


def test_colours_are_for_terminals_and_errors_never_show_a_traceback(analysis) -> None:
    assert "Did you mean 'list'?" in analysis("lst", code=2).stderr
    assert "No such option" in analysis("list", "--frob", code=2).stderr
    assert "--phase Lost: use" in analysis("list", "--phase", "Lost", code=2).stderr
    assert "there is no context 'nope'" in analysis("list", "--context", "nope", code=2).stderr
    assert "write NAME=VALUE" in analysis("submit", "https://example.com/a", "--param", "x", code=2).stderr
    assert "needs a terminal" in analysis("top", code=2).stderr
    assert "is no span of time" in analysis("list", "--request-timeout", "soon", code=2).stderr
