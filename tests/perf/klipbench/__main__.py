"""`python -m klipbench SUITE`: run a benchmark, print its figures, fail when a promise was broken."""

import argparse
import signal
import sys
from pathlib import Path

from klipbench import admission, baseline, cli, convex, gateway, report, webhooks
from klipcluster.errors import ClusterError

BUILD = Path("build") / "bench"


def main() -> int:
    """Run the suite that was asked for; 0 when all promises held."""
    parser = argparse.ArgumentParser(prog="python -m klipbench", description=__doc__)
    suites = parser.add_subparsers(dest="suite", required=True, metavar="SUITE")
    admission.add_options(suites.add_parser("admission", help="workloads through a queue of 50 slots, and bare Jobs"))
    admission.add_options(suites.add_parser("scale", help="100,000 queued jobs"), deep=100_000)
    webhooks.add_options(suites.add_parser("webhooks", help="deliveries on loopback, memory with many pending"))
    cli.add_options(suites.add_parser("cli", help="start-up and long lists of kubectl analysis, as ratios to kubectl"))
    convex.add_options(suites.add_parser("convex", help="10,000 jobs shown in Convex, and mended after changes"))
    gateway.add_options(suites.add_parser("gateway", help="requests and streams of the REST API, 10,000 waiting jobs"))
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stopped run takes its cluster down, too
    try:
        broken = SUITES[asked.suite](asked)
    except ClusterError as error:
        print(f"klipbench: {error}", file=sys.stderr)
        return 2
    if broken:
        print(f"FAILED: a promise was broken, see {asked.suite}.json and the logs in {BUILD}")
    return int(broken)


def _admission(asked: argparse.Namespace) -> bool:
    options = admission.Options(tuple(asked.only), asked.scale, asked.deep, asked.seed, asked.store)
    file = BUILD / f"{asked.suite}.json"

    def measured(so_far: admission.Result) -> None:
        """A run that is stopped leaves what it had."""
        report.write_json(so_far, file)

    result = (admission.run_scale if asked.suite == "scale" else admission.run)(options, BUILD, measured)
    report.write_json(result, file)
    report.write_plots(result, file.with_suffix(".svg"))
    print("\n".join(report.lines(result)))
    if asked.store and (found := report.ratios(result)):
        baseline.write(report.BASELINE, found)
    return report.broken(result)


def _gateway(asked: argparse.Namespace) -> bool:
    result = gateway.run(gateway.Options(asked.jobs, asked.callers, asked.seconds, asked.streams), BUILD)
    gateway.write_json(result, BUILD / "gateway.json")
    print("\n".join(gateway.lines(result)))
    return gateway.broken(result)


def _webhooks(asked: argparse.Namespace) -> bool:
    result = webhooks.run(webhooks.Options(asked.deliveries, asked.pending, asked.endpoints), BUILD)
    webhooks.write_json(result, BUILD / "webhooks.json")
    print("\n".join(webhooks.lines(result)))
    return webhooks.broken(result)


def _cli(asked: argparse.Namespace) -> bool:
    result = cli.run(cli.Options(asked.jobs, asked.rounds), BUILD)
    cli.write_json(result, BUILD / "cli.json")
    print("\n".join(cli.lines(result)))
    return cli.broken(result)


def _convex(asked: argparse.Namespace) -> bool:
    result = convex.run(convex.Options(asked.jobs, asked.changes, asked.seed), BUILD)
    convex.write_json(result, BUILD / "convex.json")
    print("\n".join(convex.lines(result)))
    return convex.broken(result)


SUITES = {
    "admission": _admission,
    "scale": _admission,
    "cli": _cli,
    "convex": _convex,
    "gateway": _gateway,
    "webhooks": _webhooks,
}

if __name__ == "__main__":
    sys.exit(main())
