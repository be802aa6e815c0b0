"""What a run of the admission suite prints, and the JSON that it leaves."""

import json
from dataclasses import asdict
from pathlib import Path

from klipbench import baseline, goals, plots
from klipbench.admission import ADMITTED, Deep, Result
from klipbench.division import DividedRun
from klipbench.goals import Goal
from klipbench.work_off import OPERATOR, Costs, QueuedRun

BASELINE = Path(__file__).with_name("baseline.json")
FLAT = 1.2
"""Cost of a job at depth over that with a short backlog."""


def write_json(result: Result, file: Path) -> None:
    """Leave the whole result as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    said = asdict(result) | {"ratios": ratios(result), "goals": [asdict(g) | {"met": g.met} for g in goals_of(result)]}
    file.write_text(json.dumps(said, indent=1, sort_keys=True) + "\n")


def write_plots(result: Result, file: Path) -> None:
    """Leave the pictures of the runs through a queue, where there are any."""
    beside = {"busy, together": result.busy.together} if result.busy is not None else {}
    if runs := result.queued | beside:
        file.write_text(plots.svg(runs))


def broken(result: Result) -> bool:
    """Whether any promise of the queue was broken; a missed goal of speed is none."""
    busy = [result.busy.alone, result.busy.together] if result.busy is not None else []
    divided = [each for run in result.divided for each in run.broken]
    return bool(divided) or any(run.broken for run in [*result.queued.values(), *busy])


def lines(result: Result) -> list[str]:
    """The tables, the comparison with the baseline, and at the end each goal."""
    said = [f"load average before: {', '.join(f'{load:.1f}' for load in result.load_average)}"]
    if result.bare is not None:
        flow = result.bare.throughput
        said += ["", f"bare: {result.bare.costs.jobs} Jobs of 0.2 s, {flow.jobs_per_second:.1f}/s in "
                 f"{flow.makespan_seconds:.1f} s", *_cpu(result.bare.costs)]  # fmt: skip
    for name, run in result.queued.items():
        said += ["", *_run(name, run)]
    if (busy := result.busy) is not None:
        said += ["", *_run("busy, alone", busy.alone), "", *_run("busy, together", busy.together),
                 f"  beside it: {busy.streams} readers had {busy.events} events, {busy.reported} reports of progress, "
                 f"{busy.announced} webhooks"]  # fmt: skip
    if result.divided:
        said += ["", *_divided(result.divided)]
    if result.deep is not None:
        said += ["", *_deep(result.deep)]
    if found := ratios(result):
        said += ["", *baseline.lines(found, baseline.read(BASELINE))]
    return [*said, "", *goals.lines(goals_of(result))]


def ratios(result: Result) -> dict[str, float]:
    """Costs as multiples of those of bare Jobs in the same run; smaller is better."""
    if result.bare is None or (short := result.queued.get("short")) is None:
        return {}
    bare, costs = result.bare, short.costs
    return {
        "seconds per job of 0.2 s": bare.throughput.jobs_per_second / short.jobs_per_second,
        "API server CPU": costs.cpu_per_thousand("kube-apiserver") / bare.costs.cpu_per_thousand("kube-apiserver"),
        "operator CPU / API server CPU of bare Jobs": costs.cpu_per_thousand("operator")
        / bare.costs.cpu_per_thousand("kube-apiserver"),
        "CPU of all processes": _all_cpu(costs) / _all_cpu(bare.costs),
    }


def goals_of(result: Result) -> list[Goal]:
    """Issue 12's goals; what was not run is not measured."""
    mixed, short, deep, bare = result.queued.get("mixed"), result.queued.get("short"), result.deep, result.bare
    above = None
    if short is not None and bare is not None:
        server = "kube-apiserver"
        above = short.costs.cpu_per_thousand(server) - bare.costs.cpu_per_thousand(server)
    share = short.jobs_per_second / bare.throughput.jobs_per_second if short is not None and bare is not None else None
    big = deep is not None and deep.deep.depth >= 100_000
    found = [
        Goal("mixed: makespan over the ideal one", mixed.stretch if mixed else None, most=1.06),
        Goal("mixed: utilisation of the slots", mixed.throughput.utilisation if mixed else None, least=0.95),
        Goal("mixed: refill p99", mixed.throughput.refill_p99_seconds if mixed else None, "s", most=0.5),
        Goal("mixed: inversions", mixed.inversions if mixed else None, most=0),
        Goal("mixed: live worker pods", mixed.most_live if mixed else None, most=50),
        Goal("short: jobs/s over those of bare Jobs in the same run", share, least=0.65),
        Goal("short: inversions", short.inversions if short else None, most=0),
        Goal("short: refill p99", short.throughput.refill_p99_seconds if short else None, "s", most=1.0),
        Goal("short: operator requests for a job", short.costs.operator_requests if short else None, most=5),
        Goal("short: API server CPU of 1,000 jobs above bare Jobs", above, "s", most=16),
        Goal("short: operator CPU of 1,000 jobs", short.costs.cpu_per_thousand("operator") if short else None, "s",
             most=5),
        Goal("deep: restart to the first job", deep.restart_seconds if deep and not big else None, "s", most=1.5),
        Goal("scale: operator memory with 100,000 queued", deep.memory_bytes / 2**20 if deep and big else None, "MiB",
             most=500),
    ]  # fmt: skip
    if deep is not None:
        where = f"{deep.deep.depth} queued over {deep.shallow.depth}"
        found += [Goal(f"{where}: {what}", x, most=FLAT) for what, x in deep.deep.over(deep.shallow).items()]
    loss = result.busy.loss if result.busy is not None else None
    return [*found, Goal("busy: makespan lost to gateway, relay and progress", loss, most=0.1)]


def _all_cpu(costs: Costs) -> float:
    return sum(costs.cpu_per_thousand(process) for process in costs.used)


def _run(name: str, run: QueuedRun) -> list[str]:
    variant, flow = run.variant, run.throughput
    arriving = "all at once" if variant.per_second is None else f"{variant.per_second:.1f}/s"
    said = [
        f"{name}: {variant.jobs} jobs, {variant.slots} slots, {arriving}: makespan {run.makespan_seconds:.1f} s of "
        f"{run.ideal_seconds:.1f}, {run.jobs_per_second:.1f} jobs/s, utilisation {flow.utilisation:.1%}, refill p50 "
        f"{flow.refill_p50_seconds:.3f} p99 {flow.refill_p99_seconds:.3f} s, {run.most_live} live pods at most, "
        f"{run.inversions} inversions",
        f"  {'seconds':<56}{'count':>8}{'p50':>9}{'p99':>9}{'most':>9}",
    ]
    waits = {f"admission of {of}": spread for of, spread in run.admission.items()}
    for what, spread in (waits | run.refill_steps | {"pod's end -> status says so": run.status_age}).items():
        said.append(f"  {what:<56}{spread.count:>8}{spread.p50:>9.3f}{spread.p99:>9.3f}{spread.most:>9.3f}")
    said += _cpu(run.costs)
    for agent, kinds in sorted(run.costs.requests.items(), key=lambda each: -sum(each[1].values())):
        for kind, count in sorted(kinds.items(), key=lambda each: -each[1]):
            if count >= variant.jobs / 20 or agent in OPERATOR:
                said.append(f"  {agent:<28}{kind:<52}{count:>8}{count / variant.jobs:>8.2f} per job")
    return said + [f"  BROKEN {each}" for each in run.broken[:10]]


def _cpu(costs: Costs) -> list[str]:
    said = [f"  {'process':<28}{'CPU s per 1,000 jobs':>22}{'MiB now':>10}{'at most':>10}"]
    for process, used in costs.used.items():
        now, most = used.memory_bytes / 2**20, used.peak_memory_bytes / 2**20
        said.append(f"  {process:<28}{costs.cpu_per_thousand(process):>22.2f}{now:>10.0f}{most:>10.0f}")
    if costs.requests:
        said.append(f"  operator: {costs.operator_requests:.2f} requests per job, {costs.operator_writes:.2f} writes")
    return said


def _divided(runs: list[DividedRun]) -> list[str]:
    head = ("operators", "jobs/s", "by one at most", "requests", "operators ms", "API server ms", "MiB")
    said = ["  " + "".join(f"{each:>15}" for each in head) + "   per job, four queues"]
    for each in runs:
        costs = each.costs
        figures = (
            f"{each.operators}", f"{each.jobs_per_second:.1f}", f"{each.most_by_one:.0%}",
            f"{costs.operator_requests:.2f}", f"{costs.cpu_per_thousand('operator'):.1f}",
            f"{costs.cpu_per_thousand('kube-apiserver'):.1f}",
            f"{costs.used['operator'].memory_bytes / 2**20:.0f}",
        )  # fmt: skip
        said.append("  " + "".join(f"{figure:>15}" for figure in figures))
        said += [f"  BROKEN {broken}" for broken in each.broken[:10]]
    return said


def _deep(deep: Deep) -> list[str]:
    said = [f"  {'queued':>8}{'accepted/s':>12}{'jobs/s':>9}{'refill p50':>12}{'p99':>8}{'requests':>10}"
            f"{'operator ms':>13}{'API server ms':>15}   per job"]  # fmt: skip
    for each in (deep.shallow, deep.deep):
        costs = each.costs
        said.append(
            f"  {each.depth:>8}{(each.depth + ADMITTED) / each.accepted_seconds:>12.0f}{each.jobs_per_second:>9.1f}"
            f"{each.refill_p50_seconds:>12.3f}{each.refill_p99_seconds:>8.3f}{costs.operator_requests:>10.2f}"
            f"{costs.cpu_per_thousand('operator'):>13.1f}{costs.cpu_per_thousand('kube-apiserver'):>15.1f}"
        )
    for depth, spread in deep.priority_changes.items():
        said.append(f"  raised to URGENT at depth {depth}: its Job comes after p50 {spread.p50:.3f} s, "
                    f"at most {spread.most:.3f} s")  # fmt: skip
    said.append(f"  operator memory with {deep.deep.depth + ADMITTED} queued: {deep.memory_bytes / 2**20:.0f} MiB")
    if deep.restart_seconds is not None:
        said.append(f"  restart to the first job: {deep.restart_seconds:.2f} s")
    if deep.failover_seconds is not None:
        said.append(f"  kill -9 of the leader to the standby's first job: {deep.failover_seconds:.1f} s")
    return said
