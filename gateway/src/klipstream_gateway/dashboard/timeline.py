"""A job's way as a picture: its stages, and its attempts on one axis of time (pure)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from klipstream_api.phases import STAGE_PERCENTAGES, Stage
from klipstream_gateway.answers import AttemptView, JobState, ProgressView
from klipstream_gateway.dashboard.words import duration

LEAST_PERCENT = 0.6
"""So that the shortest attempt can still be seen."""
STEPS = (Stage.DOWNLOADING, Stage.TRANSCRIBING, Stage.ANALYZING, Stage.FINDING_HIGHLIGHTS)
TICK_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)
TICKS_AT_MOST = 6


class StepState(StrEnum):
    """How far a stage is."""

    DONE = "done"
    CURRENT = "current"
    STOPPED = "stopped"
    TODO = "to do"


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of an attempt. `filled_percent` is of the stage itself."""

    name: str
    state: StepState
    filled_percent: float


def steps(progress: ProgressView, state: JobState) -> tuple[Step, ...]:
    """The guide's stages; one of the worker's own stands in the place that its percentage gives it."""
    done = state is JobState.COMPLETED
    moves = state is JobState.PROCESSING
    begun = progress.percentage > 0 or progress.current_stage != Stage.QUEUED
    known = next((stage for stage in STEPS if stage == progress.current_stage), None)
    shown = []
    for stage in STEPS:
        low, high = STAGE_PERCENTAGES[stage]
        here = begun and (
            stage is known if known is not None else low <= progress.percentage < (100 if stage is STEPS[-1] else high)
        )
        past = done or (begun and not here and _is_before(stage, known, progress.percentage))
        filled = 100.0 if past else min(100.0, max(0.0, 100 * (progress.percentage - low) / (high - low)))
        now = StepState.CURRENT if moves else StepState.STOPPED
        name = progress.current_stage if here and known is None and not done else stage.value
        shown.append(
            Step(
                name,
                StepState.DONE if past else now if here else StepState.TODO,
                filled if past or here else 0.0,
            )
        )
    return tuple(shown)


def _is_before(stage: Stage, known: Stage | None, percentage: float) -> bool:
    if known is not None:
        return STEPS.index(stage) < STEPS.index(known)
    return STAGE_PERCENTAGES[stage][1] <= percentage


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of the axis, in percent of it. `kind` is waiting, running, completed, failed or ended."""

    kind: str
    label: str
    left_percent: float
    width_percent: float
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of the axis."""

    left_percent: float
    label: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """Attempts one below the other on one axis, from submission to the end, or to now."""

    begin: datetime
    end: datetime
    rows: tuple[tuple[Bar, ...], ...]
    ticks: tuple[Tick, ...]


def timeline(
    attempts: Sequence[AttemptView],
    state: JobState,
    submitted_at: datetime | None,
    finished_at: datetime | None,
    now: datetime,
) -> Timeline | None:
    """A row for each attempt that is known: the wait before it, then its run. None before the first one began.

    Only the last five attempts are known, so the axis begins with the wait before the oldest of these.
    """
    begun = [each for each in attempts if each.started_at is not None]
    if not begun:
        return None
    first = begun[0].started_at
    assert first is not None
    begin = submitted_at if submitted_at is not None and begun[0].attempt == 1 and submitted_at < first else first
    end = max(finished_at or now, *(each.finished_at or begin for each in begun), begin + timedelta(seconds=1))
    whole = (end - begin).total_seconds()

    def bar(kind: str, label: str, start: datetime, stop: datetime, attempt: int | None = None) -> Bar:
        left = 100 * (start - begin).total_seconds() / whole
        width = max(LEAST_PERCENT, 100 * (stop - start).total_seconds() / whole)
        left = min(left, 100 - width)
        return Bar(kind, label, round(max(0.0, left), 2), round(min(width, 100.0), 2), attempt)

    rows, free = [], begin
    for each in begun:
        assert each.started_at is not None
        stop = each.finished_at or (finished_at if finished_at is not None else now)
        stop = max(stop, each.started_at)
        row = []
        if each.started_at > free:
            waited = (each.started_at - free).total_seconds()
            row.append(bar("waiting", f"waited {duration(waited)}", free, each.started_at))
        ran = duration((stop - each.started_at).total_seconds())
        kind, word = _outcome(each, state, last=each is begun[-1])
        row.append(bar(kind, f"attempt {each.attempt} {word} {ran}", each.started_at, stop, each.attempt))
        rows.append(tuple(row))
        free = stop
    return Timeline(begin, end, tuple(rows), tuple(ticks(whole)))


def _outcome(attempt: AttemptView, state: JobState, last: bool) -> tuple[str, str]:
    """The kind of its bar, and the words before its run time."""
    if attempt.failure_class is not None:
        return "failed", "failed after"
    if attempt.finished_at is None and state is JobState.PROCESSING and last:
        return "running", "has run for"
    if last and state is JobState.COMPLETED:
        return "completed", "completed after"
    return "ended", "ended after"


def ticks(whole_seconds: float) -> Iterator[Tick]:
    """At most six marks at round distances, from the axis' beginning."""
    step = next((each for each in TICK_SECONDS if whole_seconds / each <= TICKS_AT_MOST), None)
    if step is None:
        step = TICK_SECONDS[-1] * -(-int(whole_seconds) // (TICK_SECONDS[-1] * TICKS_AT_MOST))
    at = 0
    while at <= whole_seconds:
        left = 100 * at / whole_seconds
        if at == 0 or left <= 96:
            yield Tick(round(left, 2), "0" if at == 0 else f"+{duration(at)}")
        at += step
