"""The analysis that the queue asked for, from its environment to its exit code."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from klipstream_worker.assignment import Assignment
from klipstream_worker.bands import COMPLETED, STAGE_CHARACTERS, Band, Weights, bands_of
from klipstream_worker.checkpoints import Checkpoints
from klipstream_worker.console import Console
from klipstream_worker.endpoint import Endpoint
from klipstream_worker.errors import AnalysisError, Cancelled, StaleAttempt
from klipstream_worker.estimate import Estimator
from klipstream_worker.reporter import MESSAGE_CHARACTERS, Reporter, Update
from klipstream_worker.resources import StageMeters
from klipstream_worker.results_folder import ResultsNotWritten, safe_name, write_file
from klipstream_worker.sealed import SealedParams
from klipstream_worker.signals import SignalWatch
from klipstream_worker.stage import Stage
from klipstream_worker.termination import URL_CHARACTERS, Ending, FileWatch

log = logging.getLogger("klipstream_worker")


class AnalysisTask:
    """One attempt of one analysis. `with AnalysisTask.from_environment() as task: ...`

    While the block runs, progress is posted in the background, and SIGTERM and SIGINT end it. At its end the queue is
    told how it went: nothing raised means success; an AnalysisError ends the process with its exit code; any other
    exception is told with its class and message, as retryable, and goes on as it would without the block (exit code 1).

    Methods may be called from any thread. In a forked child they do nothing.
    """

    def __init__(self, assignment: Assignment, *, stages: Weights | None = None, handle_signals: bool = True) -> None:
        self.assignment = assignment
        self._bands = bands_of(stages)
        folder = assignment.job_folder
        self._checkpoints = Checkpoints(
            folder / "checkpoints" if folder is not None else None, assignment.attempt, assignment.checkpoint
        )
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._update = Update(0.0, "")
        self._estimator = Estimator(time.monotonic())
        self._meters = StageMeters.here(container=not assignment.on_a_laptop)
        self._console = Console() if assignment.on_a_laptop else None
        self._signals = SignalWatch(self.cancel) if handle_signals else None
        self._sealed = SealedParams()
        self._reporter: Reporter | None = None
        if assignment.progress_url is not None:
            endpoint = Endpoint(assignment.progress_url, assignment.token_file, assignment.ca_file)
            self._reporter = Reporter(endpoint, self._extras, self._demand_stop, self._sealed.take)
        self._stop_reason: AnalysisError | None = None
        self._ending: Ending | None = None
        self._termination = FileWatch(assignment.termination_log)
        self._entered = False

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str] | None = None,
        *,
        video_url: str | None = None,
        stages: Weights | None = None,
        handle_signals: bool = True,
    ) -> AnalysisTask:
        """What ANALYSIS_* says; raises BadTask where it says nothing that makes sense.

        On a laptop, where nothing is set, the video is `video_url`, or the first argument of the command line that is
        no option; progress is printed and results go to the folder analysis-results. `stages` gives own stages in
        their order with their weights, such as {"Decode": 1, "Detect": 8, "Write": 1}; without it they are those of
        the queue: Downloading, Transcribing, Analyzing, Finding Highlights.
        """
        known = os.environ if environment is None else environment
        return cls(Assignment.read(known, sys.argv[1:], video_url), stages=stages, handle_signals=handle_signals)

    # --- what is to be done ----------------------------------------------------------------------------------

    @property
    def job_id(self) -> str:
        """The job's id, "local" on a laptop."""
        return self.assignment.job_id

    @property
    def attempt(self) -> int:
        """The number of the attempt, from 1."""
        return self.assignment.attempt

    @property
    def video_url(self) -> str:
        """The video to analyse; of a URL whose signature was sealed the part that is no secret (see `source_url`)."""
        return self.assignment.video_url

    @property
    def video_id(self) -> str | None:
        """The platform's id of the video, where the job has one."""
        return self.assignment.video_id

    @property
    def params(self) -> Mapping[str, str]:
        """The job's own parameters."""
        return self.assignment.params

    def sealed_params(self, timeout_seconds: float = 60.0) -> Mapping[str, str]:
        """Parameters that were sealed for the worker alone; empty where there are none. Keep them out of logs.

        They come with the queue's answer to a post, so this waits for one. Raises AnalysisError where they cannot be
        opened, or where the queue does not say, and whatever `check` raises.
        """
        if self._reporter is None:
            return {}
        if not self._entered:
            raise RuntimeError("use the task in a with statement: with AnalysisTask.from_environment() as task:")
        self._sealed.ask()
        with self._lock:
            before = self._update
        self._report(before.stage or "Starting", before.percentage, before.message)
        return self._sealed.wait(timeout_seconds, self.check)

    def source_url(self, timeout_seconds: float = 60.0) -> str:
        """Where the video is read from: `video_url`, or the whole URL where it was sealed for its signature. Keep it
        out of logs and messages.

        Waits for the queue's answer where the job has sealed fields. Raises what `sealed_params` raises.
        """
        if self.assignment.sealed:
            self.sealed_params(timeout_seconds)
        return self._sealed.video_url or self.video_url

    @property
    def results_url(self) -> str | None:
        """The queue's results URL; results of this attempt belong under jobs/<job id>/attempts/<attempt>/ in it."""
        return self.assignment.results_url

    @property
    def deadline(self) -> datetime | None:
        """When the queue ends the attempt for its time limit; None as long as the queue has not said."""
        said = self._reporter.deadline if self._reporter is not None else None
        with contextlib.suppress(ValueError):
            # Python 3.9 knows neither "Z" nor fractions of other than 3 or 6 digits.
            return datetime.fromisoformat(re.sub(r"(\.\d+)?Z$", "+00:00", said)) if said is not None else None
        return None

    # --- progress --------------------------------------------------------------------------------------------

    def stage(self, name: str, *, band: Band | None = None) -> Stage:
        """A stage, for a `with` statement. `band` says which part of the whole it is (such as (20, 40)), where its
        name does not. Raises ValueError for a stage that nothing is known of.
        """
        found = band if band is not None else self._bands.get(name)
        if found is None:
            raise ValueError(
                f"stage {name!r} is not one of {', '.join(self._bands)}: give its band, such as band=(20, 40), or all"
                " stages with their weights to from_environment(stages=...)"
            )
        if not 0 <= found[0] <= found[1] <= 100 or not name or len(name) > STAGE_CHARACTERS:
            raise ValueError(f"stage {name!r} with band {found}: a short name, and 0 <= from <= to <= 100 are needed")
        return Stage(self, name, found)

    def check(self) -> None:
        """Raises Cancelled or StaleAttempt when the analysis is to end. `report` and `iterate` call it."""
        if os.getpid() == self._pid and (reason := self.stop_reason) is not None:
            raise reason

    @property
    def stop_reason(self) -> AnalysisError | None:
        """Why the analysis is to end, for those who would rather ask than catch; None as long as it is not."""
        reason = self._stop_reason
        if reason is None and self._reporter is not None:
            reason = self._reporter.stop_reason
        if reason is not None and self._signals is not None:
            self._signals.heard()
        return reason

    def cancel(self, reason: AnalysisError | str) -> None:
        """Have the next `check` raise, in whatever thread."""
        self._stop_reason = reason if isinstance(reason, AnalysisError) else Cancelled(reason)

    def report(self, percentage: float, stage: str, message: str = "") -> None:
        """Say how far the whole is, 0 to 100, for those who reckon that themselves; never raises, unlike a stage's."""
        if stage:
            self._meters.switch(stage[:STAGE_CHARACTERS])
            self._report(stage[:STAGE_CHARACTERS], min(100.0, max(0.0, percentage)), message)

    def _demand_stop(self, reason: AnalysisError) -> None:
        if self._signals is not None:
            self._signals.demand(reason)

    def _enter(self, name: str) -> str | None:
        if not self._entered:
            raise RuntimeError("use the task in a with statement: with AnalysisTask.from_environment() as task:")
        return self._meters.switch(name)

    def _leave(self, outer: str | None) -> None:
        self._meters.switch(outer)

    def _report(self, stage: str, percentage: float, message: str, *, skipped: bool = False) -> None:
        if os.getpid() != self._pid:
            return
        with self._lock:
            before = self._update
            # Two stages may be on at once, and a share may fall: the whole never does.
            risen = before.percentage if math.isnan(percentage) else max(before.percentage, percentage)
            said = message[:MESSAGE_CHARACTERS]
            self._update = update = Update(risen, stage, said, before.checkpoint)
            now = time.monotonic()
            self._estimator.observe(now, risen, skipped=skipped)
            if self._console is not None:
                self._console.show(risen, stage, said, self._estimator.remaining_seconds(now))
        if self._reporter is not None:
            self._reporter.offer(update)

    def _extras(self) -> dict[str, Any]:
        extras: dict[str, Any] = {}
        with self._lock:
            remaining_seconds = self._estimator.remaining_seconds(time.monotonic())
        if remaining_seconds is not None:
            extras["estimated_completion_seconds"] = round(min(remaining_seconds, 31_536_000.0), 1)
        if self._sealed.asks():
            extras["sealed"] = True
        if resources := self._meters.posted():
            extras["resources"] = resources
        return extras

    @property
    def resources(self) -> list[dict[str, Any]]:
        """Per stage so far: stage, peak_memory_bytes, cpu_seconds, wall_seconds."""
        return self._meters.posted()

    # --- checkpoints -----------------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Any:
        """What the last attempt saved; None where there was none, or it saved nothing."""
        return self._checkpoints.found

    @property
    def checkpoint_folder(self) -> Path | None:
        """A folder that outlives the attempt, for checkpoints that are files; None where results go to a bucket.

        Other attempts of the job use it as well: name what you write by what it is, and replace whole files.
        Raises OSError where it cannot be made.
        """
        folder = self._checkpoints.folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def checkpoint_requested(self) -> bool:
        """Whether the queue asks for a checkpoint; no more once one is saved."""
        return self._reporter is not None and self._reporter.checkpoint_requested

    def save_checkpoint(self, value: Any) -> None:
        """Keep a JSON value for the next attempt. It never waits for the network.

        Up to 1024 characters travel with the next progress post. Where results go to a folder (file://) the value is
        also written there at once and may be of any size; elsewhere a larger one raises CheckpointTooLarge.
        """
        if os.getpid() != self._pid:
            return
        posted = self._checkpoints.save(value)
        if self._reporter is None:
            return
        self._reporter.checkpoint_requested = False
        if posted is not None:
            with self._lock:
                before = self._update
                self._update = update = Update(before.percentage, before.stage, before.message, posted)
            if update.stage:
                self._reporter.offer(update)

    # --- results and the end ---------------------------------------------------------------------------------

    def write_result(self, name: str, content: bytes | str | Mapping[str, Any] | Sequence[Any]) -> str:
        """Write a result file of this attempt into the results folder, all of it or nothing; its URL.

        Text is written as UTF-8, anything else as JSON. Raises ResultsNotWritten, also where results go to a bucket:
        write there with a client of your own, under `results_url`.
        """
        folder, name = self.assignment.job_folder, safe_name(name)
        if folder is None:
            raise ResultsNotWritten(
                f"results go to {self.results_url or 'no place, since the queue has no results URL'}:"
                " the SDK writes to folders (file://) only",
                retryable=False,
            )
        if isinstance(content, str):
            content = content.encode()
        elif not isinstance(content, (bytes, bytearray)):
            content = json.dumps(content, ensure_ascii=False, indent=2).encode()
        path = f"jobs/{self.job_id}/attempts/{self.attempt}/{name}"
        try:
            write_file(folder / "attempts" / str(self.attempt) / name, bytes(content))
        except OSError as error:
            raise ResultsNotWritten(f"{path} could not be written to {self.results_url}: {error}") from error
        return f"{(self.results_url or '').rstrip('/')}/{path}"

    def succeed(self, message: str = "", *, result_url: str | None = None) -> None:
        """Say how it went and where the result is; told to the queue when the block ends."""
        if result_url is not None and len(result_url) > URL_CHARACTERS:
            raise ValueError(f"a result URL of {len(result_url)} characters: {URL_CHARACTERS} at most are kept")
        self._ending = Ending(message, result_url=result_url)

    def _may_keep(self, error: BaseException | None) -> bool:
        """Whether what a child process wrote as termination message stays, since nothing better is known here."""
        return self._ending is None if error is None else isinstance(error, AnalysisError) and error.keeps_message

    def __enter__(self) -> AnalysisTask:
        self._entered = True
        self._meters.start()
        if self._reporter is not None:
            self._reporter.start()
        if self._signals is not None:
            self._signals.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if os.getpid() != self._pid:
            return  # a forked child leaves through here as well, and has nothing to tell
        if self._signals is not None:
            self._signals.hold()
        try:
            self._meters.end()
            # First the message, which is local: a kill may come while the last post is on its way.
            ending = ended_by(error, self._ending)
            if not (self._may_keep(error) and self._termination.changed()):
                ending.write(self.assignment.termination_log)
            if ending.error_code is None:
                self._report(COMPLETED, 100.0, ending.message)
            if self._reporter is not None and not self._reporter.finish():
                log.warning("the last progress could not be posted")
        finally:
            if self._signals is not None:
                self._signals.restore()
        if isinstance(error, AnalysisError):
            _tell(error)
            raise SystemExit(error.exit_code) from error
        if isinstance(error, KeyboardInterrupt):
            raise SystemExit(Cancelled.exit_code) from error


def ended_by(error: BaseException | None, said: Ending | None) -> Ending:
    """What is told of an end: what the worker said where it succeeded, else what was raised."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return said or Ending("")
    if isinstance(error, AnalysisError):
        return Ending(str(error), error_code=error.error_code, retryable=error.retryable)
    if isinstance(error, KeyboardInterrupt):
        return Ending("interrupted", error_code=Cancelled.error_code, retryable=True)
    if isinstance(error, SystemExit):
        how = error.code if isinstance(error.code, str) else f"the worker ended itself with exit code {error.code}"
        return Ending(how, error_code="WorkerError", retryable=True)
    name = type(error).__name__
    return Ending(f"{name}: {error}" if str(error) else name, error_code=name, retryable=True)


def _tell(error: AnalysisError) -> None:
    """On stderr, so that it stands in the pod's log; with the traceback of what caused it."""
    if error.__cause__ is not None and not isinstance(error, (Cancelled, StaleAttempt)):
        traceback.print_exception(type(error.__cause__), error.__cause__, error.__cause__.__traceback__)
    print(f"{error.error_code}: {error}", file=sys.stderr, flush=True)
