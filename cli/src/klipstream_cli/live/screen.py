"""One frame of the view, as lines of exactly the terminal's width (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rich.text import Text

from klipstream_api import AnalysisJob, AnalysisQueue, Phase, QueueMode
from klipstream_api.phases import FINISHED_PHASES
from klipstream_cli.live.picture import Picture
from klipstream_cli.outlook_text import start_text
from klipstream_cli.printing import safe
from klipstream_cli.reasons import reasons
from klipstream_cli.times import span
from klipstream_queueing.outlook import Outlook, expected_rank

WIDE_COLUMNS = 120
MESSAGE_SECONDS = 5.0
PHASE_STYLES = {
    Phase.QUEUED: "cyan", Phase.STARTING: "blue", Phase.RUNNING: "bright_blue", Phase.BACKING_OFF: "yellow",
    Phase.SUCCEEDED: "green", Phase.FAILED: "red", Phase.CANCELLED: "bright_black", Phase.REJECTED: "magenta",
}  # fmt: skip
PRIORITY_STYLES = {"URGENT": "bold red", "HIGH": "yellow", "NORMAL": "", "LOW": "bright_black"}
MODE_STYLES = {QueueMode.RUNNING: "green", QueueMode.PAUSED: "yellow", QueueMode.DRAINING: "magenta"}
_ORDER = (Phase.RUNNING, Phase.STARTING, Phase.QUEUED, Phase.BACKING_OFF, Phase.FAILED, Phase.SUCCEEDED,
          Phase.CANCELLED, Phase.REJECTED)  # fmt: skip
KEYS = "↑↓ c cancel  +- priority  p pause  r retry  w why  f finished  tab queue  q quit"


@dataclass(slots=True)
class View:
    """What the person at the keys chose."""

    selected: tuple[str, str] | None = None
    queue: tuple[str, str] | None = None
    """Only this queue's jobs; all where None."""
    finished: bool = False
    why: bool = False
    question: str = ""
    message: str = ""
    said_at: datetime | None = None
    """When the message was new."""
    place: int = 0
    """Row of what is selected."""
    first_row: int = 0


def rows(picture: Picture, view: View) -> list[AnalysisJob]:
    """The jobs that are shown, in order: what runs, what waits in starting order, what backs off, what ended."""
    chosen = []
    for job in picture.jobs.values():
        if job.status.phase in FINISHED_PHASES and not view.finished and not job_is_dead(job):
            continue
        if view.queue is not None:
            queue = picture.queue_of(job)
            if queue is None or queue.key != view.queue:
                continue
        chosen.append(job)

    def order(job: AnalysisJob) -> tuple[object, ...]:
        place = _ORDER.index(job.status.phase)
        if job.status.phase is Phase.QUEUED:
            return (place, *expected_rank(job))
        ended = job.status.finished_at
        return place, -(ended.timestamp() if ended is not None else 0.0), job.metadata.namespace, job.metadata.name

    return sorted(chosen, key=order)


def job_is_dead(job: AnalysisJob) -> bool:
    """A dead letter stays in view until somebody looks into it."""
    return any(found.type == "DeadLettered" and found.status == "True" for found in job.status.conditions)


def frame(picture: Picture, view: View, width: int, height: int, now: datetime, where: str) -> list[Text]:
    """Exactly `height` lines of at most `width` columns. Moves the selection to something that is there."""
    jobs = rows(picture, view)
    keys = [(job.metadata.namespace, job.metadata.name) for job in jobs]
    if view.selected not in keys:  # it is gone: whatever stands in its place now
        view.selected = keys[min(view.place, len(keys) - 1)] if keys else None
    view.place = keys.index(view.selected) if view.selected is not None else 0
    lines = [_title(picture, width, now, where), *_queues(picture, view, width, height, now), Text("")]
    panel = _why(picture, view, width, now) if view.why else []
    room = max(1, height - len(lines) - 3 - len(panel))
    lines.append(_header(width))
    _scroll(view, keys, room)
    shown = jobs[view.first_row : view.first_row + room]
    for job in shown:
        is_selected = (job.metadata.namespace, job.metadata.name) == view.selected
        line = _row(job, picture.outlook_of(job, now), now, width)
        if is_selected:
            line.stylize("reverse")
        lines.append(line)
    if not jobs:
        what = "No unfinished jobs (f shows finished ones)." if len(picture.loaded) == 2 else "Reading…"
        lines.append(Text(what, style="bright_black"))
    lines += [Text("")] * (height - 2 - len(panel) - len(lines))
    lines += [*panel, _message(picture, view, len(jobs), room, now), Text(KEYS, style="bright_black")]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
        line.no_wrap = True
    return lines[:height]


def _title(picture: Picture, width: int, now: datetime, where: str) -> Text:
    counts = dict.fromkeys(Phase, 0)
    for job in picture.jobs.values():
        counts[job.status.phase] += 1
    dead = sum(map(job_is_dead, picture.jobs.values()))
    running = counts[Phase.RUNNING] + counts[Phase.STARTING]
    left = Text.assemble(("analysis ", "bold"), (where, "cyan"))
    right = f"{running} running  {counts[Phase.QUEUED]} waiting  {counts[Phase.BACKING_OFF]} backing off  {dead} dead  "
    right += f"{now.astimezone():%H:%M:%S}"
    left.append(" " * max(2, width - left.cell_len - len(right)))
    return left.append(right)


def _queues(picture: Picture, view: View, width: int, height: int, now: datetime) -> list[Text]:
    shown = sorted(picture.queues.values(), key=lambda queue: queue.key)
    if view.queue is not None:
        shown = [queue for queue in shown if queue.key == view.queue]
    at_most = max(1, height // 8)
    lines = [_queue(picture, queue, width, now) for queue in shown[:at_most]]
    if len(shown) > at_most:
        lines.append(Text(f"… and {len(shown) - at_most} more queues (tab)", style="bright_black"))
    return lines


def _queue(picture: Picture, queue: AnalysisQueue, width: int, now: datetime) -> Text:
    status, limit, mode = queue.status, queue.spec.max_concurrent_jobs, queue.spec.mode
    bar_width = 20 if width >= WIDE_COLUMNS else 10
    line = Text(f"{queue.metadata.name[:16]:<17}")
    line.append(f"{mode.value:<9}", style=MODE_STYLES[mode])
    line.append_text(bar(100 * status.active / limit if limit else 0, bar_width))
    line.append(f" {status.active}/{limit} slots  {status.queued}/{queue.spec.max_queue_size} waiting")
    if status.dead_lettered:
        line.append(f"  {status.dead_lettered} dead", style="red")
    slot = picture.view(queue, now).next_slot_seconds()
    if slot:
        line.append(f"  slot in {span(slot)}", style="bright_black")
    if not all(found.status == "True" for found in status.conditions if found.type == "Ready"):
        line.append("  not ready", style="bold red")
    return line


def _header(width: int) -> Text:
    cells = _cells("NAME", "PRIORITY", "PHASE", "POS", "PROGRESS", "STAGE", "ETA", "QUEUE", "TRY", "AGE", width)
    return Text("".join(cells), style="bold")


def _cells(
    name: str, priority: str, phase: str, place: str, progress: str, stage: str, eta: str, queue: str, attempt: str,
    age: str, width: int,
) -> list[str]:  # fmt: skip
    """Cells with their padding; the name takes what the others leave."""
    wide = width >= WIDE_COLUMNS
    bar_width = 26 if wide else 13
    fixed = [
        (priority, 9),
        (phase, 11),
        (place, 5),
        (progress, bar_width),
        (stage, 19 if wide else 11),
        (eta, 12 if wide else 8),
    ]
    if wide:
        fixed += [(queue, 16), (attempt, 5), (age, 8)]
    name_width = max(12, width - sum(size for _, size in fixed))
    return [_fit(name, name_width), *(_fit(text, size) for text, size in fixed)]


def _fit(text: str, size: int) -> str:
    return f"{text if len(text) < size else text[: size - 2] + '…':<{size}}"


def _row(job: AnalysisJob, outlook: Outlook | None, now: datetime, width: int) -> Text:
    status = job.status
    priority = (status.effective_priority or job.spec.priority).value
    progress = status.progress if status.progress is not None and status.progress.attempt == status.attempt else None
    percentage = 100.0 if status.phase is Phase.SUCCEEDED else progress.percentage if progress is not None else None
    created = job.metadata.creation_timestamp
    cells = _cells(
        job.metadata.name,
        priority,
        status.phase.value,
        str(outlook.position) if outlook is not None and outlook.position is not None else "",
        "",
        safe(progress.stage) if progress is not None else "",
        _eta(job, outlook, now),
        status.queue_name or job.spec.queue_name or "",
        str(status.attempt or ""),
        span((now - created).total_seconds()) if created is not None else "",
        width,
    )
    line = Text()
    styles = ["", PRIORITY_STYLES[priority], PHASE_STYLES[status.phase]]
    for number, cell in enumerate(cells):
        if number == 4 and percentage is not None:
            inner = len(cell) - 6
            line.append_text(bar(percentage, inner)).append(f"{percentage:>4.0f}% "[: len(cell) - inner])
        else:
            line.append(cell, style=styles[number] if number < len(styles) else "")
    return line


def _eta(job: AnalysisJob, outlook: Outlook | None, now: datetime) -> str:
    """Until the start of what waits (~12m), until the end of what runs."""
    if job.status.phase is Phase.BACKING_OFF and job.status.next_attempt_at is not None:
        return f"~{span((job.status.next_attempt_at - now).total_seconds())}"
    if outlook is None:
        return ""
    if job.status.phase in (Phase.RUNNING, Phase.STARTING):
        return span(outlook.finish_p50_seconds)
    return f"~{span(outlook.start_p50_seconds)}" if outlook.start_p50_seconds is not None else ""


def bar(percentage: float, width: int) -> Text:
    """A bar of eighths."""
    filled = max(0.0, min(100.0, percentage)) / 100 * width
    whole = int(filled)
    rest = int((filled - whole) * 8)
    text = Text("█" * whole, style="green" if percentage >= 100 else "bright_blue")
    if rest and whole < width:
        text.append(" ▏▎▍▌▋▊▉"[rest])
        whole += 1
    return text.append("·" * (width - whole), style="bright_black")


def _scroll(view: View, keys: list[tuple[str, str]], room: int) -> None:
    place = keys.index(view.selected) if view.selected in keys else 0
    if place < view.first_row:
        view.first_row = place
    elif place >= view.first_row + room:
        view.first_row = place - room + 1
    view.first_row = max(0, min(view.first_row, len(keys) - room))


def _why(picture: Picture, view: View, width: int, now: datetime) -> list[Text]:
    """The panel about the selected job."""
    job = picture.jobs.get(view.selected) if view.selected is not None else None
    if job is None:
        return []
    outlook, queue = picture.outlook_of(job, now), picture.queue_of(job)
    found = reasons(job, queue, outlook.position if outlook is not None else None, now)
    lines = [
        Text("─" * width, style="bright_black"),
        Text(f"{job.metadata.name}: {safe(job.spec.video_url or '')}", style="bold"),
    ]
    lines += [Text(f"• {safe(reason.message)}") for reason in found[:3]]
    if not found:
        said = [
            c.message for c in job.status.conditions if c.type in ("DeadLettered", "Finished") and c.status == "True"
        ]
        progress = job.status.progress
        lines.append(
            Text(safe(said[-1]) if said else safe(progress.message or "") if progress is not None else "It runs.")
        )
    start = start_text(outlook, now)
    if start and job.status.phase in (Phase.QUEUED, Phase.BACKING_OFF):
        lines.append(Text(f"Starts {start}", style="cyan"))
    return lines


def _message(picture: Picture, view: View, count: int, room: int, now: datetime) -> Text:
    """One line: a question, else what became of the last key, else what is wrong; the former for a while only."""
    if view.question:
        return Text(f"{view.question} y/n", style="bold yellow")
    is_new = view.said_at is not None and (now - view.said_at).total_seconds() < MESSAGE_SECONDS
    if picture.problems and not (view.message and is_new):
        return Text(f"Not current: {safe(next(iter(picture.problems.values())))}", style="bold red")
    if view.message:
        return Text(safe(view.message), style="green")
    hidden = count - room
    return Text(f"{count} jobs" + (f", {hidden} of them beyond the screen" if hidden > 0 else ""), style="bright_black")
