"""klipstream-worker: run a program that prints its progress as an analysis of the queue."""

from __future__ import annotations

import argparse
import sys

from klipstream_worker.errors import BadTask
from klipstream_worker.task import AnalysisTask
from klipstream_worker.wrapper import run


def main() -> int:
    """Parse and do; the exit code."""
    parser = argparse.ArgumentParser(prog="klipstream-worker", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="run a program whose lines '::progress 45 Analyzing' are its progress")
    running.add_argument("program", nargs=argparse.REMAINDER, metavar="-- PROGRAM ...")
    program = parser.parse_args().program
    program = program[1:] if program[:1] == ["--"] else program
    if not program:
        running.error("name the program: klipstream-worker run -- ./analyse.sh")
    try:
        task = AnalysisTask.from_environment(video_url="")
    except BadTask as error:
        print(f"klipstream-worker: {error}", file=sys.stderr)
        return BadTask.exit_code
    with task:
        run(program, task)
    return 0


if __name__ == "__main__":
    sys.exit(main())
