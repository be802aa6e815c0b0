"""What the worker was asked to do: the environment of the worker contract (docs/worker-guide.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from klipstream_worker.errors import BadTask

TERMINATION_LOG = Path("/dev/termination-log")
LAPTOP_JOB_ID = "local"
LAPTOP_RESULTS = "analysis-results"
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")


@dataclass(frozen=True)
class Assignment:
    """One attempt of one analysis, as ANALYSIS_* describes it."""

    video_url: str
    job_id: str = LAPTOP_JOB_ID
    attempt: int = 1
    video_id: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    results_url: str | None = None
    """The queue's results URL, such as s3://bucket/prefix or file:///results; None where the queue has none."""
    checkpoint: str | None = None
    """What the last attempt posted, as it was posted."""
    sealed: bool = False
    """Whether the job has sealed fields, which come with the queue's answers."""
    progress_url: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    termination_log: Path | None = None

    @property
    def on_a_laptop(self) -> bool:
        """Whether nothing but the video is known: no queue is behind it."""
        return self.progress_url is None

    @property
    def job_folder(self) -> Path | None:
        """The job's folder in the results store, where that is a folder (file://); None for buckets."""
        if self.results_url is None:
            return None
        parts = urlsplit(self.results_url)
        return Path(unquote(parts.path)) / "jobs" / self.job_id if parts.scheme == "file" else None

    @classmethod
    def read(
        cls, environment: Mapping[str, str], arguments: Sequence[str] = (), video_url: str | None = None
    ) -> Assignment:
        """Read ANALYSIS_* variables. Raises BadTask.

        Where ANALYSIS_VIDEO_URL is not set, the video is `video_url`, or the first of `arguments` that is no option.
        Where no queue is behind it at all, results go to the folder analysis-results.
        """

        def value(name: str) -> str | None:
            return environment.get(f"ANALYSIS_{name}") or None

        def path(name: str) -> Path | None:
            said = value(name)
            return Path(said) if said is not None else None

        video = value("VIDEO_URL") or video_url
        if video is None:
            video = next((each for each in arguments if each and not each.startswith("-")), None)
        if video is None:
            raise BadTask("there is no video: the queue sets ANALYSIS_VIDEO_URL; by hand, give its URL as an argument")
        attempt = value("ATTEMPT") or "1"
        if not (attempt.isascii() and attempt.isdigit() and int(attempt) >= 1):
            raise BadTask(f"ANALYSIS_ATTEMPT={attempt!r}: attempts count from 1")
        job_id = value("JOB_ID") or LAPTOP_JOB_ID
        if not _SAFE.fullmatch(job_id):
            raise BadTask(f"ANALYSIS_JOB_ID={job_id!r}: letters, digits, '.', '_' and '-' are known in ids")
        alone = value("JOB_ID") is None and value("PROGRESS_URL") is None
        return cls(
            video_url=video,
            job_id=job_id,
            attempt=int(attempt),
            video_id=value("VIDEO_ID"),
            params=_params(path("PARAMS_FILE")),
            results_url=value("RESULTS") or (Path(LAPTOP_RESULTS).absolute().as_uri() if alone else None),
            checkpoint=value("CHECKPOINT"),
            sealed=value("SEALED") == "true",
            progress_url=value("PROGRESS_URL"),
            token_file=path("TOKEN_FILE"),
            ca_file=path("CA_FILE"),
            # The kubelet mounts the file; where it is not, there is nobody to read it.
            termination_log=path("TERMINATION_LOG") or (TERMINATION_LOG if TERMINATION_LOG.is_file() else None),
        )


def _params(file: Path | None) -> dict[str, str]:
    if file is None or not file.exists():
        return {}
    try:
        params = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadTask(f"ANALYSIS_PARAMS_FILE={file} cannot be read as JSON: {error}") from error
    if not isinstance(params, dict) or not all(isinstance(each, str) for each in params.values()):
        raise BadTask(f"ANALYSIS_PARAMS_FILE={file}: an object of strings is needed")
    return params
