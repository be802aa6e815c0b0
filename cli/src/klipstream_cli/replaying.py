"""What runs a failed job again (pure)."""

from __future__ import annotations

from typing import Any

from klipstream_cli.changing import NothingToDo
from klipstream_cli.jobs_view import phase_of


def replayed(job: dict[str, Any]) -> dict[str, Any]:
    """The change that runs a failed job again. Raises NothingToDo for any other."""
    phase = phase_of(job)
    if phase != "Failed":
        hint = {"Cancelled": "submit it again", "Rejected": "submit it again", "Succeeded": "it has its results"}
        raise NothingToDo(f"it is {phase}, and only Failed jobs run again ({hint.get(phase, 'it has not ended')})")
    asked, acted = int(job["spec"].get("replay") or 0), int(job.get("status", {}).get("observedReplay") or 0)
    if asked > acted:
        raise NothingToDo("it has been asked to run again already, and the operator has not done so yet")
    return {"replay": max(asked, acted) + 1}
