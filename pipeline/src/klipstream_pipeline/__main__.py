"""`python -m klipstream_pipeline`: the worker's entry point, test videos, and a look at results."""

import argparse
import json
import logging
import os
import sys


def main() -> int:
    """Parse and do."""
    parser = argparse.ArgumentParser(prog="python -m klipstream_pipeline", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("analyze", help="analyse the video that the environment names")
    videos = commands.add_parser("serve-test-videos", help="make videos with known loud moments and serve them")
    videos.add_argument("--count", type=int, default=8)
    videos.add_argument("--seconds", type=float, default=60.0)
    videos.add_argument("--seed", type=int, default=1)
    videos.add_argument("--host", default="127.0.0.1")
    videos.add_argument("--port", type=int, default=8000)
    results = commands.add_parser("show-results", help="print the newest result of each job, one JSON object a line")
    results.add_argument("--url", required=True, help="the queue's results URL")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if asked.command == "analyze":
        return _analyze()
    if asked.command == "serve-test-videos":
        from klipstream_pipeline.testserver import serve

        serve(asked.count, asked.seconds, asked.seed, asked.host, asked.port)
        return 0
    return _show_results(asked.url)


def _analyze() -> int:
    from klipstream_pipeline.analysis import run
    from klipstream_worker import AnalysisTask, BadTask

    try:
        # The command line is ours: the video stands in the environment.
        if not os.environ.get("ANALYSIS_VIDEO_URL"):
            raise BadTask("ANALYSIS_VIDEO_URL is not set: the queue sets it, or set it by hand to try the worker")
        task = AnalysisTask.from_environment()
    except BadTask as error:
        print(f"klipstream-pipeline: {error}", file=sys.stderr)
        return BadTask.exit_code
    run(task)
    return 0


def _show_results(url: str) -> int:
    from klipstream_pipeline.analysis import RESULT_NAME
    from klipstream_results import open_store

    store = open_store(url)
    for job_id in store.jobs():
        for attempt in store.attempts(job_id)[-1:]:
            print(json.dumps(json.loads(store.read_result(job_id, attempt, RESULT_NAME))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
