"""What a run of the admission suite prints, and the JSON that it leaves."""

import json
from dataclasses import asdict
from pathlib import Path

from klipbench.admission import Result

OPERATOR = ("klipstream-operator", "kopf")
RULES = {
    "limit": "never more live worker pods than the limit",
    "overcommit": "never more reservations than the limit",
    "one-pod": "at most one live pod per AnalysisJob",
    "one-job": "one Job per attempt",
    "one-reservation": "an attempt is reserved once",
    "reserved-first": "no Job before its reservation",
    "accepted-first": "no reservation before its acceptance",
    "inversion": "no job is taken before one that comes first",
    "unfinished": "every AnalysisJob is finished",
}


def write_json(result: Result, file: Path) -> None:
    """Leave the whole result as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asdict(result), indent=1, sort_keys=True) + "\n")


def broken(result: Result) -> bool:
    """Whether any promise was broken."""
    return bool(result.verdict.violations) or result.stalled > 0 or result.verdict.jobs != result.options.jobs


def lines(result: Result) -> list[str]:
    """The tables, and the figures at the end."""
    return [*_requests(result), "", *_rules(result), "", *_figures(result)]


def _requests(result: Result) -> list[str]:
    jobs = result.options.jobs
    table = [f"{'agent':<28}{'request':<52}{'count':>8}{'per job':>9}"]
    for agent, counts in sorted(result.requests.items(), key=lambda each: -sum(each[1].values())):
        for kind, count in sorted(counts.items(), key=lambda each: -each[1]):
            if count >= jobs / 20:
                table.append(f"{agent:<28}{kind:<52}{count:>8}{count / jobs:>9.2f}")
    return table


def _rules(result: Result) -> list[str]:
    table = []
    for rule, promise in RULES.items():
        count = result.verdict.count(rule)
        table.append(f"{'ok    ' if not count else 'BROKEN'} {promise}" + (f": {count} times" if count else ""))
    for violation in result.verdict.violations[:10]:
        table.append(f"       revision {violation.revision}: {violation.message}")
    return table


def _figures(result: Result) -> list[str]:
    options, queued, bare = result.options, result.queued, result.bare
    jobs = options.jobs
    writes = requests = 0
    for agent in OPERATOR:
        for kind, count in result.requests.get(agent, {}).items():
            requests += count
            writes += count if kind.split()[0] in ("create", "update", "patch", "delete") else 0
    return [
        f"{jobs} jobs, limit {options.limit}, {options.seconds:g} s each: phases {result.verdict.phases}, "
        f"at most {result.verdict.most_live} live pods, {result.verdict.count('inversion')} inversions "
        f"in {result.verdict.reservations} reservations",
        f"makespan {queued.makespan_seconds:.1f} s, {queued.jobs_per_second:.1f} jobs/s, "
        f"utilisation {queued.utilisation:.0%}, slot refill p50 {queued.refill_p50_seconds * 1000:.0f} ms, "
        f"p99 {queued.refill_p99_seconds * 1000:.0f} ms",
        f"bare Jobs without a limit {bare.jobs_per_second:.1f} jobs/s in {bare.makespan_seconds:.1f} s: "
        f"the queue reaches {queued.jobs_per_second / bare.jobs_per_second:.2f} of it",
        f"operator: {requests / jobs:.2f} requests per job, {writes / jobs:.2f} of them writes, "
        f"{result.operator.cpu_seconds / jobs * 1000:.1f} ms CPU per job, "
        f"{result.operator.peak_memory_bytes / 2**20:.0f} MiB; "
        f"API server {result.apiserver_cpu_seconds / jobs * 1000:.1f} ms CPU per job",
    ]
