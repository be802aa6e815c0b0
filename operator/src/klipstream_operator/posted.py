"""What becomes of progress when posts and writes meet: several replicas take posts of one worker."""

from datetime import datetime

from klipstream_api import Progress, ProgressPost, StageResources


def posted(
    pending: Progress | None, written: Progress | None, attempt: int, post: ProgressPost, now: datetime
) -> Progress | None:
    """What is to be written after a post: of its percentage, the highest so far; of its checkpoint, the last posted.

    `pending` was to be written before it and `written` is in the status. A post without anything new leaves `pending`
    as it was, so that it costs no write and does not hide a stall.
    """
    if pending is not None and pending.attempt != attempt:
        pending = None
    shown = latest_progress(written, pending)
    percentage = round(post.percentage, 1)
    if shown is not None and shown.attempt == attempt:
        percentage = max(percentage, shown.percentage)
    after = Progress(
        attempt=attempt,
        percentage=percentage,
        stage=post.stage,
        message=post.message or None,
        estimated_completion_seconds=post.estimated_completion_seconds,
        checkpoint=post.checkpoint if post.checkpoint is not None else pending.checkpoint if pending else None,
        resources=resources_of(post) or (pending.resources if pending else None),
        updated_at=now,
    )
    becomes = latest_progress(written, after)
    assert becomes is not None
    if shown is not None and _content(shown) == _content(becomes):
        return pending
    return after


def latest_progress(written: Progress | None, pending: Progress | None) -> Progress | None:
    """The status' progress once what a replica holds is written over it.

    Another replica may have written since: what it took later counts, and of what this one took before only a higher
    percentage. A checkpoint stays until one is posted that is newer, beyond the attempt.
    """
    if written is None or pending is None:
        return pending or written
    if written.attempt > pending.attempt:
        return written
    same = written.attempt == pending.attempt
    resources = pending.resources or (written.resources if same else None)
    percentage = max(written.percentage, pending.percentage) if same else pending.percentage
    if same and written.updated_at > pending.updated_at:
        checkpoint = written.checkpoint if written.checkpoint is not None else pending.checkpoint
        update = {"percentage": percentage, "checkpoint": checkpoint, "resources": written.resources or resources}
        return written.model_copy(update=update)
    checkpoint = pending.checkpoint if pending.checkpoint is not None else written.checkpoint
    return pending.model_copy(update={"percentage": percentage, "checkpoint": checkpoint, "resources": resources})


def resources_of(post: ProgressPost) -> tuple[StageResources, ...] | None:
    """What a post says of the stages, each once: the last word counts."""
    by_stage = {
        each.stage: StageResources(
            stage=each.stage,
            peak_memory_bytes=each.peak_memory_bytes,
            cpu_seconds=each.cpu_seconds,
            wall_seconds=each.wall_seconds,
        )
        for each in post.resources
    }
    return tuple(by_stage.values()) or None


def _content(progress: Progress) -> tuple[object, ...]:
    """What makes progress new; the worker's estimate alone does not, nor what the stages took."""
    return progress.attempt, progress.percentage, progress.stage, progress.message, progress.checkpoint
