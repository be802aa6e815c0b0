"""Bugs planted into the operator, each of which the simulation has to catch: who watches the watchman.

`python -m klipsim.planted` runs each with its seed and without a bug; `--find 60` looks for another seed where the
recorded one shows nothing.

Planted as well (`--unseen --find 300`), and caught by none of some 20 to 80 seeds that were chosen for each by their
plans. The reasons are what reading the code suggests, not proven by a run:

- queues and statuses written without resourceVersion: the decisions of two replicas rarely meet since a new leader
  reads everything first; caught at seeds 932 and 3279 before that.
- Jobs changed without resourceVersion, and a suspended Job not fenced off: a resume has to be held up beyond the Lease
  in the very run in which its job is cancelled or finds no node again; too rare for the plans of faults and users.
- what the cache does not hold taken for gone or deleted, and a sweep without pods: caught until a new leader read
  everything live before it acts; since then a cache that lags seems to be mended before it harms.
- a job's place taken from its version at acceptance: it takes a user's patch between the first sight of a job and its
  acceptance, and another submission before the patch; the same mistake was found by simulation when it was real.
- older versions of queues taken in: every write of a queue carries the version that was read, so a decision on an
  older one meets a conflict, and is made anew on what is read live.
- older versions of Jobs and pods taken in: the same for changes of Jobs; and a pod's end is final in whatever order
  it is told (tests/unit/test_store.py).
- a post written over what another replica wrote: the CRD refuses what falls, and the worker's next post mends it
  (tests/unit/test_latest_progress.py).

Not planted, since no history could show it: what only costs time (a reflector that keeps its version after a 410;
two workers on one key; nobody told whether a try found a node: its end is told anyway), what is equal by design (a
create that is sent again meets its own name; a status that is written twice meets a conflict; Cancelled where success
had been observed: a lost watch event may look the same, see tests/unit/test_lifecycle.py), totals, and a uid that is
ignored: names of jobs never come back in a run.
"""
