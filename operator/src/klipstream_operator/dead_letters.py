"""Dead letters in groups that failed alike, and the replay of a whole group with a canary first (pure)."""

from collections.abc import Iterable, Mapping, Set
from datetime import datetime

from klipstream_api import AnalysisJob, AnalysisQueue, DeadLetterGroup, GroupReplay, Phase, QueueMode, ReplayState
from klipstream_api.analysisqueue import DEAD_LETTER_GROUPS_AT_MOST, REPLAYS_KEPT
from klipstream_operator.operations import Outcome

UNFINISHED = (ReplayState.CANARY, ReplayState.RELEASING)
Jobs = Mapping[str, AnalysisJob]
"""AnalysisJobs by uid."""


def groups(dead: Mapping[str, Set[str]], jobs: Jobs) -> tuple[DeadLetterGroup, ...]:
    """The largest groups of a queue; `dead` holds the uids by fingerprint."""
    largest = sorted(dead.items(), key=lambda item: (-len(item[1]), item[0]))[:DEAD_LETTER_GROUPS_AT_MOST]
    return tuple(_group(fingerprint, jobs[min(uids)], len(uids)) for fingerprint, uids in largest if uids)


def _group(fingerprint: str, example: AnalysisJob, count: int) -> DeadLetterGroup:
    last = example.status.attempts[-1] if example.status.attempts else None
    return DeadLetterGroup(
        fingerprint=fingerprint,
        count=count,
        reason=(last.reason if last is not None else None) or "",
        message=((last.message if last is not None else None) or "")[:512],
        example=example.metadata.name,
    )


def begin(
    queue: AnalysisQueue, request: str, dead: Mapping[str, Set[str]], jobs: Jobs, now: datetime
) -> tuple[GroupReplay | None, Outcome]:
    """Start the replay that a request asks for (its first word is the fingerprint), or say why not."""
    fingerprint = next(iter(request.split()), "")
    uids = dead.get(fingerprint, frozenset())
    if not uids or not fingerprint:
        known = ", ".join(sorted(dead)[:5]) or "there are none"
        return None, Outcome(0, f'Refused: no dead letter has the fingerprint "{fingerprint}" ({known}).', refused=True)
    if queue.spec.mode is QueueMode.DRAINING:
        return None, Outcome(0, "Refused: the queue is draining and takes nothing in.", refused=True)
    if any(replay.fingerprint == fingerprint and replay.state in UNFINISHED for replay in queue.status.replays):
        return None, Outcome(0, f"Refused: {fingerprint} is being replayed already.", refused=True)
    canary = min((jobs[uid] for uid in uids), key=lambda job: (job.status.sequence or 0, job.uid))
    replay = GroupReplay(
        fingerprint=fingerprint,
        requested_at=now,
        state=ReplayState.CANARY,
        canary=canary.metadata.name,
        canary_uid=canary.uid,
        canary_replay=max(canary.spec.replay, canary.status.observed_replay + 1),
        jobs=len(uids),
        message=f"{canary.metadata.name} goes first; the others follow only if it succeeds.",
    )
    return replay, Outcome(len(uids), replay.message)


def with_replay(replays: tuple[GroupReplay, ...], new: GroupReplay) -> tuple[GroupReplay, ...]:
    """The replays with one more; the oldest finished ones are forgotten first."""
    kept = [replay for replay in replays if replay.state in UNFINISHED]
    finished = [replay for replay in replays if replay.state not in UNFINISHED]
    room = max(0, REPLAYS_KEPT - 1 - len(kept))
    return (*finished[len(finished) - min(room, len(finished)) :], *kept[-(REPLAYS_KEPT - 1) :], new)


def advance(replay: GroupReplay, dead: Mapping[str, Set[str]], jobs: Jobs) -> GroupReplay:
    """Where a replay stands now."""
    if replay.state is ReplayState.CANARY:
        return _after_canary(replay, jobs)
    if replay.state is ReplayState.RELEASING:
        left = len(followers(replay, dead, jobs))
        released = max(replay.released, replay.jobs - 1 - left)
        if left == 0:
            others = f"and the other {released} run again" if released else "and there was no other"
            message = f"{replay.canary} succeeded, {others}."
            return replay.model_copy(update={"state": ReplayState.FINISHED, "released": released, "message": message})
        return replay.model_copy(update={"released": released})
    return replay


def _after_canary(replay: GroupReplay, jobs: Jobs) -> GroupReplay:
    canary = jobs.get(replay.canary_uid)
    if canary is None:
        return _stopped(replay, f"{replay.canary} was deleted, so nothing is known of the cause. Ask again.")
    status = canary.status
    if status.phase is Phase.SUCCEEDED:
        message = f"{replay.canary} succeeded; the others follow."
        return replay.model_copy(update={"state": ReplayState.RELEASING, "message": message})
    if status.phase is Phase.CANCELLED:
        return _stopped(replay, f"{replay.canary} was cancelled. Ask again.")
    if status.phase is Phase.FAILED and status.observed_replay >= replay.canary_replay:
        last = status.attempts[-1].message if status.attempts else None
        return _stopped(replay, f"{replay.canary} failed again, so the others were left alone: {last or 'no message'}")
    return replay


def _stopped(replay: GroupReplay, message: str) -> GroupReplay:
    return replay.model_copy(update={"state": ReplayState.STOPPED, "message": message[:512]})


def canary_due(replay: GroupReplay, jobs: Jobs) -> AnalysisJob | None:
    """The canary, as long as its spec.replay has not been raised."""
    canary = jobs.get(replay.canary_uid)
    if replay.state is not ReplayState.CANARY or canary is None:
        return None
    return canary if canary.spec.replay < replay.canary_replay else None


def followers(replay: GroupReplay, dead: Mapping[str, Set[str]], jobs: Jobs) -> list[AnalysisJob]:
    """Dead letters of the group that were there when it was asked for and are not asked to run again yet."""
    candidates: Iterable[AnalysisJob] = (jobs[uid] for uid in dead.get(replay.fingerprint, frozenset()))
    return sorted(
        (
            job
            for job in candidates
            if job.uid != replay.canary_uid
            and job.spec.replay <= job.status.observed_replay
            and job.status.finished_at is not None
            and job.status.finished_at <= replay.requested_at
        ),
        key=lambda job: (job.status.sequence or 0, job.uid),
    )
