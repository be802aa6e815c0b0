"""Who gets the free slots of a queue: those that come first, as far as slots are not kept for higher priorities."""

from collections.abc import Callable, Mapping

from klipstream_api import Priority
from klipstream_queueing.backlog import Backlog, every_lane
from klipstream_queueing.order import Rank


def kept_for_higher(value: int, reserved_slots: Mapping[str, int] | None, active: Mapping[int, int]) -> int:
    """Slots that a job of that priority value must leave free: reserved for higher ones and not used by them."""
    return sum(
        max(0, slots - active.get(Priority(name).value_number, 0))
        for name, slots in (reserved_slots or {}).items()
        if Priority(name).value_number > value
    )


def take_first(
    backlog: Backlog,
    free: int,
    reserved_slots: Mapping[str, int] | None,
    active: Mapping[int, int],
    is_open: Callable[[str], bool] = every_lane,
    taken: Callable[[str, str], None] = lambda _uid, _lane: None,
) -> list[Rank]:
    """Take the jobs that start now out of the backlog, first one first.

    `free` slots are to be had, `active` counts by priority value those that hold one. A job that must leave the
    last free slots to higher priorities ends the search: those behind it must leave as many. `taken` is told uid
    and lane of each, before `is_open` is asked again.
    """
    counts = dict(active)
    picked: list[Rank] = []
    while len(picked) < free and (found := backlog.peek(is_open)) is not None:
        rank, lane = found
        if free - len(picked) <= kept_for_higher(rank.priority_value, reserved_slots, counts):
            break
        backlog.remove(rank.uid)
        picked.append(rank)
        counts[rank.priority_value] = counts.get(rank.priority_value, 0) + 1
        taken(rank.uid, lane)
    return picked
