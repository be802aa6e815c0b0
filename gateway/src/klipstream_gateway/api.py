"""The registry: every operation of the API, in one place."""

from collections.abc import Callable
from dataclasses import dataclass

from klipstream_gateway.administration import Administration
from klipstream_gateway.answers import (
    Acts,
    BatchView,
    DeadLetterPage,
    GroupList,
    Health,
    JobPage,
    JobStatusView,
    JobView,
    ProblemList,
    QueueConfigView,
    QueueList,
    QueueMetrics,
    QueueStatusView,
    Submitted,
)
from klipstream_gateway.jobs import IDEMPOTENCY_KEY, JobOperations
from klipstream_gateway.problems import PROBLEMS_PATH, Problem, Refused, descriptions
from klipstream_gateway.queue_config import QueueConfiguration
from klipstream_gateway.queue_figures import QueueReports
from klipstream_gateway.requests import (
    Batch,
    DeadLetterQuery,
    JobQuery,
    LogQuery,
    PriorityChange,
    QueueConfig,
    QueueQuery,
    Submission,
    WhatIfQuery,
)
from klipstream_gateway.routes import Answer, Call, Handler, HeaderParameter, RateClass, Route, Scope
from klipstream_gateway.streams import LAST_EVENT_ID, Streams
from klipstream_gateway.traces import TRACE_HEADER, TRACEPARENT

EVENTS = "text/event-stream"
KEY_HEADER = HeaderParameter(
    "A text of your own that names this submission, such as a UUID: sent again with the same body, it makes no second"
    " job.",
    r"^[\x21-\x7e]+$",
    255,
)
LAST_ID_HEADER = HeaderParameter("The id of the last event that was received.", r"^[0-9]*$", 20)


@dataclass(slots=True)
class Meta:
    """Handlers of the routes about the gateway itself."""

    problems: Callable[[], list[str]]
    """What keeps it from being ready; may name addresses and accounts of the cluster."""
    public_problems: Callable[[], list[str]]
    """The same for everybody."""

    async def live(self, _: Call) -> Answer:
        """Whether the process works at all."""
        return Answer(Health(status="ok", problems=()))

    async def ready(self, call: Call) -> Answer:
        """Whether the gateway knows the cluster's state, and so can answer. Administrators are told the reason as the
        log has it."""
        found = self.problems() if call.principal.may(Scope.ADMIN) else self.public_problems()
        if found:
            raise Refused(Problem.NOT_READY, "; ".join(found), {"Retry-After": "1"})
        return Answer(Health(status="ok", problems=()))

    async def kinds(self, _: Call) -> Answer:
        """Every kind of problem that this API answers, and what to do about it."""
        return Answer(ProblemList(problems=descriptions()))


def routes(
    jobs: JobOperations,
    queues: QueueReports,
    acts: Administration,
    config: QueueConfiguration,
    streams: Streams,
    meta: Meta,
    anonymous_submit: bool = False,
) -> tuple[Route, ...]:
    """All operations."""
    refused = (Problem.QUEUE_NOT_FOUND, Problem.QUEUE_FULL, Problem.QUEUE_DRAINING, Problem.KEY_REUSED)
    job = "/api/v1/jobs/{job_id}"
    submitting = None if anonymous_submit else Scope.SUBMIT
    status, submit, change, admin = RateClass.STATUS, RateClass.SUBMIT, RateClass.CHANGE, RateClass.ADMIN
    sent_along = {IDEMPOTENCY_KEY: KEY_HEADER, TRACEPARENT: TRACE_HEADER}
    unknown_job, unknown_queue = Problem.JOB_NOT_FOUND, Problem.QUEUE_NOT_FOUND

    def administration(name: str, operation: str, summary: str, handler: Handler, answer: int) -> Route:
        return Route("POST", f"/api/v1/queue/{name}", operation, "Administration", summary, handler,
                     {answer: Acts}, admin, Scope.ADMIN, query=QueueQuery, problems=(unknown_queue, Problem.CONFLICT),
                     audited=True)  # fmt: skip

    return (
        Route("POST", "/api/v1/analysis", "submitAnalysis", "Jobs", "Submit a video", jobs.submit,
              {202: Submitted}, submit, submitting, body=Submission,
              problems=(*refused, Problem.SEALING_UNAVAILABLE, Problem.CONFLICT), headers=sent_along,
              audited=True),
        Route("POST", "/api/v1/analysis/batch", "submitBatch", "Jobs", "Submit several videos", jobs.submit_batch,
              {200: BatchView}, submit, submitting, body=Batch, headers=sent_along, audited=True,
              many=True),
        Route("GET", "/api/v1/jobs", "listJobs", "Jobs", "List jobs", jobs.list_page,
              {200: JobPage}, status, Scope.READ, query=JobQuery),
        Route("GET", job, "getJob", "Jobs", "A job with its attempts", jobs.get,
              {200: JobView}, status, Scope.READ, problems=(unknown_job,)),
        Route("GET", f"{job}/status", "getJobStatus", "Jobs", "The state of a job", jobs.status,
              {200: JobStatusView}, status, query=WhatIfQuery, problems=(unknown_job,)),
        Route("GET", f"{job}/events", "followJob", "Events", "Follow a job", streams.job,
              {200: EVENTS, 204: None}, status, problems=(unknown_job,), headers={LAST_EVENT_ID: LAST_ID_HEADER}),
        Route("GET", f"{job}/logs", "getJobLogs", "Jobs", "What the worker wrote", jobs.logs,
              {200: "text/plain"}, status, Scope.READ, query=LogQuery, problems=(unknown_job, Problem.LOG_NOT_FOUND)),
        Route("POST", f"{job}/cancel", "cancelJob", "Jobs", "Cancel a job", jobs.cancel,
              {202: JobStatusView}, change, Scope.SUBMIT,
              problems=(unknown_job, Problem.JOB_FINISHED, Problem.CONFLICT), audited=True),
        Route("POST", f"{job}/retry", "retryJob", "Jobs", "Run a failed job again", jobs.retry,
              {202: JobStatusView}, change, Scope.SUBMIT,
              problems=(unknown_job, Problem.JOB_NOT_FAILED, Problem.QUEUE_DRAINING, Problem.CONFLICT), audited=True),
        Route("PUT", f"{job}/priority", "setJobPriority", "Jobs", "Change a job's priority", jobs.prioritize,
              {200: JobStatusView}, change, Scope.SUBMIT, body=PriorityChange,
              problems=(unknown_job, Problem.JOB_FINISHED, Problem.JOB_STARTED, Problem.CONFLICT), audited=True),
        Route("GET", "/api/v1/queue/status", "getQueueStatus", "Queues", "What the queue does", queues.status,
              {200: QueueStatusView}, status, query=QueueQuery, problems=(unknown_queue,)),
        Route("GET", "/api/v1/queue/metrics", "getQueueMetrics", "Queues", "The queue's figures", queues.metrics,
              {200: QueueMetrics}, status, query=QueueQuery, problems=(unknown_queue,)),
        Route("GET", "/api/v1/queues", "listQueues", "Queues", "List the queues", queues.list_all,
              {200: QueueList}, status),
        administration("pause", "pauseQueue", "Start no more jobs", acts.pause, 200),
        administration("resume", "resumeQueue", "Start jobs again", acts.resume, 200),
        administration("drain", "drainQueue", "Take no more jobs, finish the rest", acts.drain, 200),
        administration("clear", "clearQueue", "Cancel all that wait", acts.clear, 202),
        administration("clear-stuck", "clearStuck", "End attempts that do not get on", acts.clear_stuck, 202),
        administration("restart", "restartOperator", "Forget and read everything again", acts.restart, 202),
        administration("reconcile", "reconcileQueue", "Mend what was missed", acts.reconcile, 202),
        Route("GET", "/api/v1/queue/config", "getQueueConfig", "Administration", "The limits of a queue", config.config,
              {200: QueueConfigView}, status, Scope.READ, query=QueueQuery, problems=(unknown_queue,)),
        Route("PUT", "/api/v1/queue/config", "setQueueConfig", "Administration", "Change limits of a queue",
              config.configure, {200: QueueConfigView}, admin, Scope.ADMIN, query=QueueQuery, body=QueueConfig,
              problems=(unknown_queue, Problem.CONFLICT), audited=True),
        Route("GET", "/api/v1/dead-letters", "listDeadLetters", "Dead letters", "Jobs that failed for good",
              jobs.dead_letters, {200: DeadLetterPage}, status, Scope.READ, query=DeadLetterQuery),
        Route("GET", "/api/v1/dead-letters/groups", "listDeadLetterGroups", "Dead letters", "Jobs that failed alike",
              queues.groups, {200: GroupList}, status, Scope.ADMIN, query=QueueQuery, problems=(unknown_queue,)),
        Route("POST", "/api/v1/dead-letters/groups/{fingerprint}/replay", "replayDeadLetterGroup", "Dead letters",
              "Run a group again", acts.replay_group, {202: Acts}, admin, Scope.ADMIN, query=QueueQuery,
              problems=(Problem.GROUP_NOT_FOUND, unknown_queue, Problem.QUEUE_DRAINING, Problem.CONFLICT),
              audited=True),
        Route("GET", "/api/v1/events", "followAll", "Events", "Follow all jobs and queues", streams.everything,
              {200: EVENTS}, status, Scope.READ, query=QueueQuery, headers={LAST_EVENT_ID: LAST_ID_HEADER}),
        Route("GET", PROBLEMS_PATH, "listProblems", "About", "Kinds of problems", meta.kinds,
              {200: ProblemList}, status),
        Route("GET", "/healthz", "getLiveness", "About", "Is the process alive", meta.live, {200: Health}, None),
        Route("GET", "/readyz", "getReadiness", "About", "Can it answer", meta.ready, {200: Health}, None,
              problems=(Problem.NOT_READY,)),
    )  # fmt: skip
