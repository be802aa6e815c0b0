"""Judges an audit log: `python -m klipjudge audit.log [--quiet-from SECONDS]`; exit code 1 if a promise was broken."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from klipjudge.audit import read_requests
from klipjudge.history import as_written
from klipjudge.judge import judge
from klipjudge.rules import RULES
from klipjudge.verdict import Terms, Verdict
from klipjudge.vocabulary import JOBS


def main(arguments: Sequence[str] | None = None) -> int:
    """Print how often each rule was checked and broken, then each violation."""
    parser = argparse.ArgumentParser(prog="klipjudge", description=__doc__)
    parser.add_argument("log", type=Path, help="audit log of an API server, with bodies of requests and answers")
    parser.add_argument("--namespace", help="judge this namespace only")
    left = "AnalysisJobs as they were at the end (kubectl get aj -A -o json), for writes whose answer is not in the log"
    parser.add_argument("--left", type=Path, metavar="FILE", help=left)
    since = "in seconds since the first request of the log"
    parser.add_argument("--quiet-from", type=float, metavar="SECONDS", help=f"the steady state begins, {since}")
    parser.add_argument("--faults-ended", type=float, metavar="SECONDS", help=f"nothing fails any more, {since}")
    parser.add_argument("--within", type=float, default=0.0, metavar="SECONDS", help="all is finished that long later")
    options = parser.parse_args(arguments)
    requests = read_requests(options.log)
    if options.namespace is not None:
        requests = [request for request in requests if request.namespace == options.namespace]
    start = min((request.received for request in requests), default=0.0)
    if options.left is not None:
        requests += as_written(JOBS, json.loads(options.left.read_text())["items"])
    terms = Terms(finish_within_seconds=options.within)
    if options.quiet_from is not None:
        terms = replace(terms, quiet_from=start + options.quiet_from)
    if options.faults_ended is not None:
        terms = replace(terms, faults_ended=start + options.faults_ended)
    verdict = judge(requests, terms)
    print(table(verdict))
    print(
        f"{len(requests)} requests, {verdict.jobs} jobs left, {verdict.reservations} reservations,"
        f" {len(verdict.violations)} violations"
    )
    return 1 if verdict.violations else 0


def table(verdict: Verdict) -> str:
    """The rules with how often each was checked and broken, then the violations."""
    lines = [f"{'rule':18}{'checked':>9}{'broken':>8}  promise"]
    for rule, promise in RULES.items():
        lines.append(f"{rule:18}{verdict.checked[rule]:>9}{verdict.count(rule):>8}  {promise}")
    for violation in verdict.violations:
        lines.append(f"revision {violation.revision or 'end'}: {violation.rule}: {violation.message}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
