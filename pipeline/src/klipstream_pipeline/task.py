"""What the worker was asked to do: the environment of the worker contract."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


class BadTask(ValueError):
    """The environment does not follow the worker contract; the message names the variable."""


@dataclass(frozen=True)
class Task:
    """One attempt of one analysis."""

    job_id: str
    attempt: int
    video_url: str
    results_url: str
    progress_url: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    termination_log: Path = Path("/dev/termination-log")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Task":
        """Read ANALYSIS_* variables. Raises BadTask."""

        def needed(name: str) -> str:
            value = environment.get(f"ANALYSIS_{name}", "")
            if not value:
                raise BadTask(f"ANALYSIS_{name} is not set: the queue sets it, or set it by hand to try the worker")
            return value

        def path(name: str) -> Path | None:
            value = environment.get(f"ANALYSIS_{name}")
            return Path(value) if value else None

        attempt = environment.get("ANALYSIS_ATTEMPT", "1")
        if not attempt.isdecimal() or int(attempt) < 1:
            raise BadTask(f"ANALYSIS_ATTEMPT={attempt!r}: attempts count from 1")
        return cls(
            job_id=needed("JOB_ID"),
            attempt=int(attempt),
            video_url=needed("VIDEO_URL"),
            results_url=needed("RESULTS"),
            progress_url=environment.get("ANALYSIS_PROGRESS_URL") or None,
            token_file=path("TOKEN_FILE"),
            ca_file=path("CA_FILE"),
            params=_params(path("PARAMS_FILE")),
            termination_log=path("TERMINATION_LOG") or cls.termination_log,
        )


def _params(file: Path | None) -> dict[str, str]:
    if file is None or not file.exists():
        return {}
    try:
        params = json.loads(file.read_text())
    except ValueError as error:
        raise BadTask(f"ANALYSIS_PARAMS_FILE={file} is not JSON: {error}") from error
    if not isinstance(params, dict) or not all(isinstance(value, str) for value in params.values()):
        raise BadTask(f"ANALYSIS_PARAMS_FILE={file}: an object of strings is needed")
    return params
