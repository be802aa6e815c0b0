"""The audit log as the judge and the benchmark read it, and the judge as a program."""

import json
from pathlib import Path

import pytest

from klipbench.figures import refill_seconds, requests_by_agent, throughput
from klipjudge.__main__ import main
from klipjudge.audit import read_requests
from klipjudge.rules import RULES
from klipjudge.vocabulary import JOBS
from klipjudge.written import Log


def written(log: Log, folder: Path) -> Path:
    file = folder / "audit.log"
    file.write_text("".join(json.dumps(event) + "\n" for event in log.events))
    return file


def test_a_half_written_last_line_is_left_out(log: Log, tmp_path: Path) -> None:
    log.submit("a")
    file = written(log, tmp_path)
    with file.open("a") as tail:
        tail.write('{"stage": "Respon')
    assert len(read_requests(file)) == 1


def test_the_program_lists_every_rule_and_how_often_it_was_checked(
    log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.job("a")
    log.run("a")
    assert main([str(written(log, tmp_path))]) == 0
    said = capsys.readouterr().out
    table = {line.split()[0]: line.split()[1:3] for line in said.splitlines()[1:-1]}
    assert set(table) == set(RULES)
    assert table["limit"] == ["1", "0"]
    assert table["draining"] == ["1", "0"]
    assert table["lost-node"] == ["0", "0"]
    assert said.splitlines()[-1].endswith("1 jobs left, 1 reservations, 0 violations")


def test_the_program_says_what_was_broken_and_where(
    log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.queue()
    log.batch_job("a")
    log.submit("b")
    assert main([str(written(log, tmp_path))]) == 1
    said = capsys.readouterr().out
    assert "revision 104: reserved-first: Job a-a1 was created without a reservation" in said
    assert "revision end: unfinished: AnalysisJob ns/b ended in phase Queued" in said


def test_the_program_takes_what_was_left_at_the_end(
    log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.submit("b")
    left = tmp_path / "left.json"
    status = {"phase": "Rejected", "finishedAt": "2027-01-01T00:00:00Z",
              "conditions": [{"type": "Finished", "status": "True"}]}  # fmt: skip
    metadata = {"name": "b", "uid": "b", "namespace": "ns", "resourceVersion": "900"}
    left.write_text(json.dumps({"items": [{"metadata": metadata, "spec": {}, "status": status}]}))
    assert main([str(written(log, tmp_path)), "--left", str(left)]) == 0


def test_the_program_counts_its_moments_from_the_logs_first_request(
    log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.job("a")
    log.run("a")
    file = written(log, tmp_path)
    assert main([str(file), "--quiet-from", "5"]) == 1
    assert main([str(file), "--quiet-from", "50"]) == 0
    assert main([str(file), "--faults-ended", "0", "--within", "1"]) == 1
    assert main([str(file), "--faults-ended", "0", "--within", "50"]) == 0
    assert main([str(file), "--namespace", "other"]) == 0


# --- figures ----------------------------------------------------------------------------------------------------


def attempt(log: Log, uid: str) -> None:
    log.batch_job(uid)
    log.pod(f"pod-{uid}", "Pending", of=uid, verb="create")
    log.pod(f"pod-{uid}", "Running", of=uid)
    log.pod(f"pod-{uid}", "Succeeded", of=uid)


def test_figures_come_from_the_pods_own_times(log: Log) -> None:
    attempt(log, "a")  # Job at 1 s, running at 3 s, ended at 4 s
    log.clock += 1
    attempt(log, "b")  # Job at 6 s, running at 8 s, ended at 9 s
    figures = throughput(log.requests(), limit=1)
    assert figures.makespan_seconds == pytest.approx(8)
    assert figures.jobs_per_second == pytest.approx(2 / 8)
    assert figures.utilisation == pytest.approx(2 / 8)
    assert figures.refill_p50_seconds == pytest.approx(2)


def test_the_slot_that_is_free_longest_is_refilled_first() -> None:
    assert refill_seconds([0, 0, 5, 9, 9.5], [4, 6, 9.2], limit=2) == pytest.approx([1, 3, 0.3])


def test_requests_are_counted_by_agent_and_refused_ones_apart(log: Log) -> None:
    log.submit("a")
    for code in (200, 409):
        log.event("patch", f"{JOBS}/status", {"kind": "Status"}, code=code, agent="x")
    counts = requests_by_agent(log.requests())["x"]
    assert counts == {f"patch {JOBS}/status": 1, f"patch {JOBS}/status (409)": 1}
