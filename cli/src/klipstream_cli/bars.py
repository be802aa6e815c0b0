"""A progress bar for each job, redrawn in place."""

from __future__ import annotations

from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from klipstream_cli.api import Api
from klipstream_cli.jobs_view import eta, phase_of, progress_of
from klipstream_cli.printing import PHASE_COLOURS, safe
from klipstream_cli.resources import ACTIVE, WAITING

SHOWN_AT_MOST = 20
_PLACES = dict.fromkeys(ACTIVE, 0) | dict.fromkeys(WAITING, 1)
STYLES = {"grey": "bright_black"}


class Bars:
    """Bars in the terminal while the block lasts; the lines that are printed meanwhile go above them."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("[{task.fields[style]}]{task.fields[phase]}[/]"),
            TextColumn("{task.fields[stage]}", markup=False),
            console=Console(),
            redirect_stdout=True,
            redirect_stderr=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, job: dict[str, Any]) -> None:
        """Draw the job as it is now."""
        name, phase = job["metadata"]["name"], phase_of(job)
        progress = progress_of(job)
        left = eta(job, self._api.now())
        stage = " ".join(filter(None, (safe(str(progress.get("stage") or "")), f"{left} left" if left else "")))
        fields: dict[str, Any] = {"phase": phase, "stage": stage, "style": _style(phase)}
        done = 100.0 if phase == "Succeeded" else float(progress.get("percentage") or 0)
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=100.0, visible=False, **fields)
        self._progress.update(self._tasks[name], completed=done, **fields)
        self._choose()

    def shown(self) -> list[str]:
        """The jobs that have a bar now."""
        return [task.description for task in self._progress.tasks if task.visible]

    def _choose(self) -> None:
        """So many as fit: what is under way first, then what waits, then what ended (which has its line above)."""
        tasks = sorted(self._progress.tasks, key=lambda task: (_PLACES.get(task.fields["phase"], 2), task.id))
        for place, task in enumerate(tasks):
            if task.visible != (place < SHOWN_AT_MOST):
                self._progress.update(task.id, visible=place < SHOWN_AT_MOST)


def _style(phase: str) -> str:
    colour = PHASE_COLOURS.get(phase, "white")
    return STYLES.get(colour, colour)
