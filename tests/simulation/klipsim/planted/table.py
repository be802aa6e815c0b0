"""All planted bugs."""

from klipsim.planted import guards, leadership, life, order, slots, wakeups
from klipsim.planted.bug import Bug

_ALL: tuple[Bug, ...] = (*leadership.BUGS, *slots.BUGS, *guards.BUGS, *life.BUGS, *order.BUGS, *wakeups.BUGS)
BUGS = tuple(bug for bug in _ALL if bug.seed is not None)
UNSEEN = tuple(bug for bug in _ALL if bug.seed is None)
"""Those that no run showed, and why: see klipsim.planted."""
