"""The analysis: download, measure, find, write result.json; and how each of its ends is told to the queue."""

import json
import logging
import signal
import tempfile
from dataclasses import asdict
from pathlib import Path

import av
import numpy as np

from klipstream_pipeline.download import download
from klipstream_pipeline.highlights import Highlight, find_highlights
from klipstream_pipeline.loudness import Loudness, measure_loudness
from klipstream_pipeline.outcome import AnalysisError, Exit, Report
from klipstream_pipeline.reporter import Reporter
from klipstream_pipeline.task import Task
from klipstream_results import ResultStoreError, open_store

log = logging.getLogger(__name__)
RESULT_NAME = "result.json"
RESULT_VERSION = 1


def run(task: Task) -> Exit:
    """Analyse one video and leave a termination message; the exit code."""
    with Reporter(task) as reporter:
        # The kubelet sends SIGTERM when the pod is stopped; the analysis ends at its next step.
        signal.signal(signal.SIGTERM, lambda *_: reporter.cancel("the pod is being stopped"))
        try:
            url, found = analyse(task, reporter)
        except AnalysisError as error:
            log.error("%s: %s", error.error_code, error)
            Report(str(error), error_code=error.error_code, retryable=error.retryable).write(task.termination_log)
            return error.exit_code
        except ResultStoreError as error:
            log.error("ResultsNotWritten: %s", error)
            Report(str(error), error_code="ResultsNotWritten", retryable=True).write(task.termination_log)
            return Exit.TRANSIENT
    Report(f"{found} highlights found", result_url=url).write(task.termination_log)
    return Exit.SUCCESS


def analyse(task: Task, reporter: Reporter) -> tuple[str, int]:
    """URL of the result and the number of highlights. Raises AnalysisError or ResultStoreError."""
    with tempfile.TemporaryDirectory(prefix="analysis-") as scratch:
        video = Path(scratch) / "video"
        reporter.report("Downloading", 0.0, task.video_url.partition("?")[0])
        size = download(task.video_url, video, lambda share, said: reporter.report("Downloading", share, said))
        reporter.report("Analyzing", 0.0)
        loudness = measure_loudness(video, lambda share, said: reporter.report("Analyzing", share, said))
    reporter.report("Finding Highlights", 0.0)
    highlights = find_highlights(loudness)
    reporter.report("Finding Highlights", 0.8, f"{len(highlights)} highlights")
    content = json.dumps(make_result(task, size, loudness, highlights), indent=1).encode()
    url = open_store(task.results_url).write_result(task.job_id, task.attempt, RESULT_NAME, content)
    reporter.report("Completed", 1.0, f"{len(highlights)} highlights")
    log.info("%d highlights in %.0f s of sound: %s", len(highlights), loudness.duration_seconds, url)
    return url, len(highlights)


def make_result(task: Task, size_bytes: int, loudness: Loudness, highlights: list[Highlight]) -> dict[str, object]:
    """The content of result.json, version 1.

    `video` holds size in bytes and duration in seconds; `loudness` the level's median, 95th percentile and
    maximum in dBFS; `highlights` a list of start, peak and end in seconds with the rise in dB.
    """
    return {
        "version": RESULT_VERSION,
        "job_id": task.job_id,
        "attempt": task.attempt,
        "video": {"size_bytes": size_bytes, "duration_seconds": round(loudness.duration_seconds, 2)},
        "loudness": {
            "window_seconds": loudness.window_seconds,
            "median_dbfs": round(float(np.median(loudness.dbfs)), 1),
            "p95_dbfs": round(float(np.percentile(loudness.dbfs, 95)), 1),
            "maximum_dbfs": round(float(loudness.dbfs.max()), 1),
        },
        "highlights": [asdict(highlight) for highlight in highlights],
        "software": {"pyav": av.__version__, "numpy": np.__version__},
    }
