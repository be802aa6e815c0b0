"""`python -m klipbench SUITE`: run a benchmark, print its figures, fail when a promise was broken."""

import argparse
import signal
import sys
from pathlib import Path

from klipbench import admission, report
from klipcluster.errors import ClusterError

BUILD = Path("build") / "bench"


def main() -> int:
    """Run the suite that was asked for; 0 when all promises held."""
    parser = argparse.ArgumentParser(prog="python -m klipbench", description=__doc__)
    suites = parser.add_subparsers(dest="suite", required=True, metavar="SUITE")
    admission.add_options(suites.add_parser("admission", help="1,000 queued jobs, limit 50, and bare Jobs"))
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stopped run takes its cluster down, too
    try:
        result = admission.run(admission.Options(asked.jobs, asked.limit, asked.seconds, asked.seed), BUILD)
    except ClusterError as error:
        print(f"klipbench: {error}", file=sys.stderr)
        return 2
    report.write_json(result, BUILD / "admission.json")
    print("\n".join(report.lines(result)))
    if report.broken(result):
        print(f"FAILED: a promise was broken, see admission.json and admission-*.log in {BUILD}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
