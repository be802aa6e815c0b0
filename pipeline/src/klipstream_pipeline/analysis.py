"""The analysis from the video's URL to the result: its stages, what is resumed, and what is written where."""

import json
import logging
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

from klipstream_netguard import BadRule
from klipstream_pipeline.chat import Chat, read_chat
from klipstream_pipeline.download import Limits, download_chat, download_video
from klipstream_pipeline.engines import Choice, choose_engine
from klipstream_pipeline.guard import rules_of
from klipstream_pipeline.highlights import find_highlights
from klipstream_pipeline.listening import Recording, fingerprint, listen, software
from klipstream_pipeline.outcome import BadParameter, ResultsNotWritten
from klipstream_pipeline.report import render_report
from klipstream_pipeline.result import make_result
from klipstream_pipeline.segment_log import SegmentLog, key_of
from klipstream_results import ResultStore, ResultStoreError, open_store
from klipstream_worker import AnalysisTask, Stage

log = logging.getLogger(__name__)
RESULT_NAME = "result.json"
REPORT_NAME = "report.html"
TRANSCRIPT_NAME = "transcript.json"
KNOWN_PARAMETERS = frozenset({"chat_url", "language", "transcriber"})
CHAT_SHARE = 0.1
"""Of the stage Downloading."""


def run(task: AnalysisTask, limits: Limits | None = None) -> None:
    """Analyse the task's video; ends the process' work as the SDK does: SystemExit with the failure's exit code."""
    with task:
        try:
            analyse(task, limits or Limits.from_environment())
        except ResultStoreError as error:
            raise ResultsNotWritten(str(error)) from error


def analyse(task: AnalysisTask, limits: Limits) -> None:
    """Raises an AnalysisError of outcome.py or chat.py, what the SDK raises, and ResultStoreError."""
    if task.results_url is None:
        raise BadParameter("the queue has no results URL (spec.results): there is no place for the result")
    try:
        rules_of(limits.allowed)
    except BadRule as error:
        raise BadParameter(f"spec.sources.allowedNetworks of the queue: {error}") from error
    for name in sorted(task.params.keys() - KNOWN_PARAMETERS):
        log.warning("parameter %s is unknown and ignored", name)
    choice = choose_engine(task.params)
    log.info("transcriber: %s", choice.reason)
    store = open_store(task.results_url)
    with tempfile.TemporaryDirectory(prefix="analysis-") as scratch:
        content, recording = _obtain(task, limits, choice, store, Path(scratch))
    _interpret(task, store, content, recording)


def _obtain(
    task: AnalysisTask, limits: Limits, choice: Choice, store: ResultStore, scratch: Path
) -> tuple[bytes | None, Recording]:
    """The chat log and the recording; what an earlier attempt has heard to the end is not fetched again."""
    name = f"heard-{key_of(task.video_url, software(choice))}"
    saved = store.load_checkpoint(task.job_id, name)
    recording = Recording.from_bytes(saved) if saved is not None else None
    with task.stage("Downloading") as stage:
        content = _chat(task, limits, scratch, stage)
        if recording is not None:
            log.info("the video was heard by an earlier attempt: it is not fetched again")
            stage.skip_to(1.0, "heard by an earlier attempt")
        else:
            video = scratch / "video"
            part = _Part(stage, CHAT_SHARE, 1.0).report
            size = download_video(task.source_url(), video, limits, part, named=task.video_url)
            log.info("%.1f MB fetched", size / 1e6)
    with task.stage("Transcribing") as stage:
        if recording is None:
            stage.report(0.0, choice.reason)
            sha256 = fingerprint(video, task.check)
            segments = SegmentLog(store, task.job_id, key_of(task.video_url, sha256, software(choice)))
            if segments.saved:
                log.info("%d utterances were transcribed by an earlier attempt", len(segments.saved))
            recording = listen(video, sha256, choice, segments, _StageWatch(task, stage))
            _save(store, task, name, recording)
        stage.skip_to(1.0, f"{len(recording.transcript.segments)} segments, {recording.transcript.reason}")
    return content, recording


def _save(store: ResultStore, task: AnalysisTask, name: str, recording: Recording) -> None:
    try:
        store.save_checkpoint(task.job_id, name, recording.to_bytes())
    except ResultStoreError as error:
        log.warning("a checkpoint could not be saved: %s", error)
    else:
        task.save_checkpoint({"heard_seconds": round(recording.loudness.duration_seconds, 1), "complete": True})


def _chat(task: AnalysisTask, limits: Limits, scratch: Path, stage: Stage) -> bytes | None:
    """The chat log, checked at once: a broken one fails before the hours of transcription, not after them."""
    url = task.params.get("chat_url")
    if not url:
        return None
    target = scratch / "chat"
    download_chat(url, target, limits, _Part(stage, 0.0, CHAT_SHARE, "chat: ").report)
    content = target.read_bytes()
    read_chat(content, math.inf)
    return content


def _interpret(task: AnalysisTask, store: ResultStore, content: bytes | None, recording: Recording) -> None:
    """What the recording and its chat mean, and where that is written. It takes seconds and is not resumed."""
    duration = recording.loudness.duration_seconds
    with task.stage("Analyzing") as stage:
        stage.report(0.0, "reading the chat" if content is not None else "no chat was given")
        chat: Chat | None = read_chat(content, duration) if content is not None else None
        stage.report(0.5, f"{len(chat.messages)} chat messages" if chat is not None else "")
        findings = find_highlights(recording.loudness, recording.transcript, chat)
    with task.stage("Finding Highlights") as stage:
        found = len(findings.highlights)
        stage.report(0.2, f"{found} highlights")
        result = make_result(
            job_id=task.job_id, attempt=task.attempt, recording=recording, chat=chat, findings=findings,
            video_url=task.video_url,
        )  # fmt: skip
        url = _write(store, task, result, stage)
    said = f"{found} highlights found" if found else f"no highlights: {findings.why_none}"
    log.info("%s in %.0f s of sound: %s", said, duration, url)
    task.succeed(said, result_url=url)


def _write(store: ResultStore, task: AnalysisTask, result: Mapping[str, object], stage: Stage) -> str:
    """result.json comes last: where it is, the others are."""
    files = {
        TRANSCRIPT_NAME: json.dumps(result["transcript"], indent=1, ensure_ascii=False),
        REPORT_NAME: render_report(result),
        RESULT_NAME: json.dumps(result, indent=1, ensure_ascii=False),
    }
    url = ""
    for number, (name, text) in enumerate(files.items()):
        stage.report(0.4 + 0.2 * number, f"writing {name}")
        url = store.write_result(task.job_id, task.attempt, name, text.encode())
    return url


class _Part:
    """A part of a stage."""

    def __init__(self, stage: Stage, low: float, high: float, prefix: str = "") -> None:
        self._stage, self._low, self._high, self._prefix = stage, low, high, prefix

    def report(self, share: float, message: str) -> None:
        self._stage.report(self._low + (self._high - self._low) * share, f"{self._prefix}{message}")


class _StageWatch:
    """Tells the queue how the listening goes."""

    def __init__(self, task: AnalysisTask, stage: Stage) -> None:
        self._task, self._stage = task, stage

    def report(self, share: float, message: str) -> None:
        self._stage.report(share, message)

    def skip_to(self, share: float, message: str) -> None:
        self._stage.skip_to(share, message)

    def saved(self, seconds: float) -> None:
        self._task.save_checkpoint({"heard_seconds": round(seconds, 1), "complete": False})

    def wants_checkpoint(self) -> bool:
        return self._task.checkpoint_requested
