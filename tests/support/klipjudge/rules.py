"""The rules by name: each is a promise of the design, said in a sentence."""

RULES = {
    # Slots
    "limit": "no more live worker pods than slots, at any revision",
    "overcommit": "no reservation beyond the limit that holds at that revision",
    "one-pod": "one live pod for each AnalysisJob",
    "one-job": "one Job for each attempt; it is made again only before its uid is recorded",
    "one-reservation": "one reservation for each AnalysisJob, at most",
    "attempt-once": "an attempt that has ended is never reserved again",
    "reserved-first": "a Job that may run is made, or resumed, only under a reservation",
    "initialized-first": "a queue that was not looked over reserves nothing but what already runs",
    "released-early": "a slot is not released while a pod of its attempt is live or can come",
    "name-occupied": "an unused reservation is released only once a suspended Job has its name",
    "job-kept": "the operator never deletes the Job of an AnalysisJob that lives",
    "lost-node": "a pod is given up only when its queue says so, and no earlier",
    # Order
    "accepted-first": "only a job that this queue has accepted is reserved",
    "waiting-only": "only a job in phase Queued is reserved",
    "inversion": "strict priority, then first in, first out",
    "sequence": "a sequence is unique in its queue and kept until a replay",
    "fifo": "sequences are in the order of creation",
    "paused": "a paused queue reserves nothing",
    "not-before": "no reservation before notBefore",
    "draining": "a draining queue accepts nothing",
    "full": "a full queue accepts nothing",
    # Life of a job
    "terminal": "a finished job stays finished; only a replay lets a failed one go",
    "counters": "attempt and observedReplay never fall, and nothing is replayed unasked",
    "settled": "an attempt is settled in the status only when no pod of it is live",
    "success": "Succeeded only after the worker's pod has succeeded",
    "cancel": "nothing is reserved, started or resumed for a cancelled job once the cancel can be known",
    "retries": "each failure that burns a retry burns one, and no more than maxRetries of them",
    "losses": "a loss to the infrastructure burns no retry, and at most ten of them are borne",
    "retry-early": "no retry before nextAttemptAt",
    "progress": "progress never falls within an attempt and is frozen once the job is finished",
    "clock": "no moment in a status is later than the API server's clock",
    "announced": "a final phase, its Finished condition and finishedAt come and go in one write",
    # Leadership
    "leader": "what only a leader writes is sent by the holder of a Lease",
    "led-once": "a queue is led under one Lease at a time",
    # Ends
    "unfinished": "every submission ends in a final phase, in time where a bound is given",
    "purged": "the operator deletes finished jobs only",
    "slot-kept": "a slot does not outlast its job by more than the bound",
    "quiet": "no write by the operator in a steady state but its Lease",
}
