"""What the admission benchmark makes of an audit log, and how it judges its own figures."""

import math
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import pytest

from klipbench import baseline
from klipbench.figures import Spread, Throughput, running_pods
from klipbench.goals import Goal
from klipbench.plots import svg
from klipbench.variant import MIXED, SHORT, Variant, ideal_seconds
from klipbench.waits import REFILL_STEPS, admission_seconds, refill_steps, status_age_seconds
from klipbench.work_off import Costs, QueuedRun
from klipjudge.vocabulary import JOBS
from klipjudge.written import Log


def settled(log: Log, uid: str) -> None:
    log.pod(f"pod-{uid}", "Succeeded", of=uid)
    log.status(uid, phase="Succeeded")


def test_a_burst_comes_at_once_in_the_exact_shares_of_its_classes() -> None:
    plan = Variant("mixed", 2000, 50, MIXED).plan(seed=1)
    assert Counter(each.of.name for each in plan) == {"small": 1400, "medium": 400, "large": 200}
    assert {each.after_seconds for each in plan} == {0.0}
    assert ideal_seconds(plan, 50) == pytest.approx((1400 * 2 + 400 * 5 + 200 * 10) / 50)


def test_the_same_seed_plans_the_same_jobs() -> None:
    variant = Variant("steady", 300, 50, MIXED, load=0.8)
    assert variant.plan(7) == variant.plan(7)
    assert variant.plan(7) != variant.plan(8)


def test_steady_arrivals_keep_the_share_of_slots_busy_that_was_asked_for() -> None:
    variant = Variant("steady", 4000, 50, SHORT, load=0.8)
    last = variant.plan(seed=3)[-1].after_seconds
    assert 4000 * variant.mean_seconds / (50 * last) == pytest.approx(0.8, rel=0.1)


def test_the_wait_for_admission_ends_with_the_first_job_of_an_attempt_and_counts_by_class(log: Log) -> None:
    log.submit("small-1")
    log.submit("large-2")
    for uid in ("small-1", "large-2", "small-1"):
        owned = {"metadata": {"name": f"{uid}-a1", "ownerReferences": [{"uid": uid}]}}
        log.event("create", "jobs.batch", owned)
    waits = admission_seconds(log.requests())
    assert {name: (spread.count, spread.most) for name, spread in waits.items()} == {
        "small": (1, pytest.approx(2)),
        "large": (1, pytest.approx(2)),
    }


def test_a_refill_is_told_step_by_step(log: Log) -> None:
    log.job("a")
    log.job("b")
    log.take(("a", 1))
    log.clock += 10
    settled(log, "a")  # the pod ends at 14 s, the status at 15 s
    log.clock += 1
    log.queue(("b", 1))  # a's slot goes to b at 17 s
    log.clock += 2
    log.event("create", "jobs.batch", {"metadata": {"name": "b-a1", "ownerReferences": [{"uid": "b"}]}})
    steps = refill_steps(log.requests())
    assert list(steps) == list(REFILL_STEPS)
    seen, _, released, _, created = (steps[step] for step in REFILL_STEPS)
    assert [seen.p50, released.p50, created.p50] == pytest.approx([1, 2, 3], abs=0.02)  # an answer takes 10 ms
    assert status_age_seconds(log.requests()).p50 == pytest.approx(1, abs=0.02)


def test_pods_that_are_not_of_the_queue_belong_to_no_job(log: Log) -> None:
    log.event("patch", "pods/status", {"metadata": {"name": "x", "uid": "x"}, "status": {"phase": "Succeeded"}})
    assert status_age_seconds(log.requests()).count == 0


@pytest.mark.parametrize(
    ("goal", "met", "said"),
    [
        (Goal("x", 0.9, most=1.0), True, "met"),
        (Goal("x", 1.1, most=1.0), False, "missed"),
        (Goal("x", 0.7, least=0.65), True, "met"),
        (Goal("x", 0.6, least=0.65), False, "missed"),
        (Goal("x", math.inf, most=1.0), False, "missed"),
        (Goal("x", None, most=1.0), None, "not measured"),
    ],
)
def test_a_goal_is_met_within_its_bound_and_not_judged_unmeasured(goal: Goal, met: bool | None, said: str) -> None:
    assert goal.met is met
    assert goal.line().endswith(said)


def test_a_run_is_compared_with_the_stored_ratios(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    assert baseline.read(file) == {}
    baseline.write(file, {"CPU": 2.0, "seconds": 1.5})
    lines = baseline.lines({"CPU": 2.5, "seconds": 1.4, "new": 1.0}, baseline.read(file))
    assert lines[1].endswith("+25%  WORSE")
    assert lines[2].endswith("-7%")
    assert "-" in lines[3]


def test_a_baseline_that_is_no_table_is_refused_with_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    file.write_text('{"CPU": "much"}')
    with pytest.raises(ValueError, match="store it anew with --store"):
        baseline.read(file)


def test_names_of_classes_are_those_of_jobs_without_their_number(log: Log) -> None:
    log.submit("a-b-000001")
    log.event("create", "jobs.batch", {"metadata": {"name": "j", "ownerReferences": [{"uid": "a-b-000001"}]}})
    assert set(admission_seconds(log.requests())) == {"a-b"}
    assert log.requests()[0].resource == JOBS


def test_the_pods_that_run_are_counted_over_the_time_of_the_run(log: Log) -> None:
    began = log.clock
    log.event("create", "jobs.batch", {"metadata": {"name": "a-a1"}})
    for uid in "ab":
        log.pod(f"pod-{uid}", "Running", of=uid)
        log.clock += 9
    for uid in "ab":
        log.pod(f"pod-{uid}", "Succeeded", of=uid)
        log.clock += 9
    series = running_pods(log.requests(), points=100)
    assert series[0] == (0.0, 0)
    assert {pods for _, pods in series} == {0, 1, 2}
    assert series[-1][1] == 0
    assert series[-1][0] == pytest.approx(log.clock - 9 - began, abs=2)


def test_the_picture_shows_each_run_beside_its_slots_and_its_ideal_time() -> None:
    flow = Throughput(8.0, 1.0, 0.5, 0.1, 0.2)
    none = Spread(0, 0.0, 0.0, 0.0)
    run = QueuedRun(Variant("<mixed>", 8, 4, MIXED), 8.0, 6.0, flow, {}, {}, none, Costs(8, {}, {}), 4, 0, [],
                    [(0.0, 0), (4.0, 4), (8.0, 0)])  # fmt: skip
    tree = ElementTree.fromstring(svg({"<mixed>": run, "second": run}))
    texts = ["".join(each.itertext()) for each in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert "<mixed>: 8 jobs, 4 slots, utilisation 50%" in texts
    assert texts.count("ideal") == 2
    lines = [each.get("points") for each in tree.iter("{http://www.w3.org/2000/svg}polyline")]
    assert len(lines) == 6
    assert lines[2] == "40.0,190.0 400.0,40.0 760.0,190.0"
