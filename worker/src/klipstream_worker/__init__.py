"""What an analysis needs to run in KlipStream's queue: progress, cancellation, checkpoints, results.

>>> with AnalysisTask.from_environment() as task:                    # doctest: +SKIP
...     with task.stage("Analyzing") as stage:
...         for frame in stage.iterate(frames):
...             look_at(frame)
...     task.succeed("3 highlights", result_url=task.write_result("result.json", found))

No dependency but Python 3.9 or newer. The guide is docs/worker-guide.md.
"""

from klipstream_worker.assignment import Assignment
from klipstream_worker.bands import STANDARD_BANDS
from klipstream_worker.checkpoints import CheckpointTooLarge
from klipstream_worker.errors import AnalysisError, BadTask, Cancelled, StaleAttempt
from klipstream_worker.results_folder import ResultsNotWritten
from klipstream_worker.stage import Stage
from klipstream_worker.task import AnalysisTask
from klipstream_worker.termination import Ending

__all__ = [
    "STANDARD_BANDS",
    "AnalysisError",
    "AnalysisTask",
    "Assignment",
    "BadTask",
    "Cancelled",
    "CheckpointTooLarge",
    "Ending",
    "ResultsNotWritten",
    "Stage",
    "StaleAttempt",
]
