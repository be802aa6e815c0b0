"""The operations on jobs."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from klipstream_api import FINISHED_PHASES, AnalysisJob, Phase, QueueMode, guide_status, names
from klipstream_gateway import submission as submissions
from klipstream_gateway.answers import BatchItem, BatchView, JobPage
from klipstream_gateway.cache import Cache
from klipstream_gateway.cluster import Cluster, refusal
from klipstream_gateway.logs import WorkerLogs
from klipstream_gateway.problems import Problem, Refused
from klipstream_gateway.queue_figures import waiting_by_queue
from klipstream_gateway.requests import Batch, DeadLetterQuery, JobQuery, LogQuery, PriorityChange, Submission
from klipstream_gateway.routes import Answer, Call, Principal, TextAnswer
from klipstream_gateway.submission import Sealer
from klipstream_gateway.traces import TRACEPARENT, Traces
from klipstream_gateway.views import PAYLOAD_ANNOTATION, REFERENCE_ANNOTATION, Views, tenant_of
from klipstream_kube import AlreadyExists, ApiError, Conflict, Forbidden, NotFound, Unreachable
from klipstream_netguard import Rules

IDEMPOTENCY_KEY = "Idempotency-Key"
CONFLICTS_AT_MOST = 4
ACTIVE = (Phase.STARTING, Phase.RUNNING)


@dataclass(slots=True)
class JobOperations:
    """Handlers of the routes about jobs."""

    cluster: Cluster
    cache: Cache
    views: Views
    sealer: Sealer
    rules: Rules
    worker_logs: WorkerLogs
    traces: Traces | None = None
    _on_their_way: Counter[str] = field(default_factory=Counter)
    """Submissions that are being written, by the queue that they will be routed to."""

    # --- submitting ------------------------------------------------------------------------------------------

    async def submit(self, call: Call) -> Answer:
        """Take a video into the queue. The answer comes once the job is stored in the cluster, with its position and
        when it will start. With an `Idempotency-Key` the same submission can be sent again without a second job: the
        first one is answered, for as long as it is kept. Where the queue had no place left for it after all, it is
        refused each time: send it with a new key then."""
        job, repeated = await self._submit(call, call.body, call.headers.get(IDEMPOTENCY_KEY))
        answer = self.views.submitted(job)
        headers = {"Location": answer.links.self}
        headers |= {"Idempotency-Replayed": "true"} if repeated else {}
        return Answer(answer, 202, headers, (answer.job_id,))

    async def submit_batch(self, call: Call) -> Answer:
        """Take up to a hundred videos in the order given. Each is judged alone, so some may be taken and others not;
        with an `Idempotency-Key` the whole batch can be sent again. It counts as one request of the limit."""
        batch: Batch = call.body
        key = call.headers.get(IDEMPOTENCY_KEY)
        results = []
        for number, each in enumerate(batch.jobs):
            results.append(await self._batch_item(call, each, None if key is None else f"{key}#{number}"))
        taken = tuple(result.job.job_id for result in results if result.job is not None)
        view = BatchView(accepted=len(taken), refused=len(results) - len(taken), results=tuple(results))
        return Answer(view, jobs=taken)

    async def _batch_item(self, call: Call, each: Submission, key: str | None) -> BatchItem:
        try:
            job, _ = await self._submit(call, each, key)
        except Refused as refused:
            return BatchItem(job=None, problem=refused.body(call.request_id))
        except (ApiError, Unreachable) as error:
            return BatchItem(job=None, problem=refusal(error).body(call.request_id))
        return BatchItem(job=self.views.submitted(job), problem=None)

    async def _submit(self, call: Call, sent: Submission, key: str | None) -> tuple[AnalysisJob, bool]:
        """The job, and whether it was there already. Raises Refused."""
        submissions.check(sent, self.rules)
        job_id = submissions.new_job_id()
        name = submissions.object_name(call.principal, call.address, key, job_id)
        try:
            waiting = waiting_by_queue(self.cache)
            waiting.update({each: waiting[each] + count for each, count in self._on_their_way.items()})
            queue = submissions.admit(sent, self.cache.queues, waiting)
        except Refused:
            # A repetition is answered as before, whatever the queue is like by now.
            if key is not None and (known := await self._repeated(name, sent)) is not None:
                return submissions.taken(known), True
            raise
        body = submissions.manifest(sent, call.principal, name, job_id, self.sealer)
        tracing = self.traces.begin(call.headers.get(TRACEPARENT)) if self.traces is not None else None
        if tracing is not None:
            body["metadata"]["annotations"][names.TRACEPARENT_ANNOTATION] = tracing.context.traceparent
        job, repeated = await self._stored(name, body, sent, queue)
        if self.traces is not None and tracing is not None and not repeated:
            self.traces.taken(tracing, job)
        return submissions.taken(job), repeated and key is not None

    async def _stored(self, name: str, body: dict[str, Any], sent: Submission, queue: str) -> tuple[AnalysisJob, bool]:
        """Create the job; with it, whether it was there already. Meanwhile it counts as waiting in its queue."""
        self._on_their_way[queue] += 1
        try:
            return await self.cluster.create_job(body), False
        except AlreadyExists:
            known = await self._repeated(name, sent)
            if known is None:
                raise Refused(Problem.CONFLICT, "The first submission was removed at this moment.") from None
            return known, True
        except Forbidden:
            # After a lost answer the second send meets the admission policy before the name that is taken: the queue
            # may be full by this very job.
            known = await self._repeated(name, sent)
            if known is None:
                raise
            return known, True
        finally:
            self._on_their_way[queue] -= 1

    async def _repeated(self, name: str, sent: Submission) -> AnalysisJob | None:
        """The job of a name that is taken. Raises Refused where it is that of another submission."""
        try:
            job = await self.cluster.read_job(name)
        except NotFound:
            return None
        if job.metadata.annotations.get(PAYLOAD_ANNOTATION) != submissions.payload_hash(sent):
            raise Refused(Problem.KEY_REUSED, "The body differs from the one that was first sent with this key.")
        return job

    # --- reading ---------------------------------------------------------------------------------------------

    async def status(self, call: Call) -> Answer:
        """The state, progress, position and estimate of a job. Needs no credentials: the id cannot be guessed, and
        nothing sensitive is shown. `?priority=` tells as well where the job would be at another priority."""
        job = await self.find(call.path_id)
        return Answer(self.views.status(job, call.query.priority))

    async def get(self, call: Call) -> Answer:
        """A job with its attempts, and why it waits."""
        return Answer(self.views.job(await self._own(call)))

    async def list_page(self, call: Call) -> Answer:
        """Jobs, the latest first, page by page. Credentials of a tenant see its jobs only."""
        query: JobQuery = call.query

        def wanted(job: AnalysisJob) -> bool:
            return (
                (query.queue is None or self.cache.queue_name(job) == query.queue)
                and (query.priority is None or job.spec.priority is query.priority)
                and (query.type is None or job.spec.type == query.type)
                and (query.video_id is None or job.spec.video_id == query.video_id)
                and (query.reference is None or job.metadata.annotations.get(REFERENCE_ANNOTATION) == query.reference)
                and (query.status is None or _guide_word(job) == query.status.value)
            )

        page = self._page(self.cache.jobs.values(), wanted, call, query.limit, query.cursor)
        return Answer(page)

    async def dead_letters(self, call: Call) -> Answer:
        """Jobs that failed for good, the latest first, page by page."""
        query: DeadLetterQuery = call.query

        def wanted(job: AnalysisJob) -> bool:
            return (query.queue is None or self.cache.queue_name(job) == query.queue) and (
                query.fingerprint is None or job.status.failure_fingerprint == query.fingerprint
            )

        return Answer(self._page(self.cache.dead_letters(), wanted, call, query.limit, query.cursor))

    async def logs(self, call: Call) -> Answer | TextAnswer:
        """The last lines that an attempt wrote: from its pod as long as that is there, then from the archive that the
        operator keeps of failed attempts."""
        query: LogQuery = call.query
        return TextAnswer(await self.worker_logs.read(await self._own(call), query.attempt, query.tail))

    # --- changing --------------------------------------------------------------------------------------------

    async def cancel(self, call: Call) -> Answer:
        """Cancel a job. One that waits is cancelled at once; one that runs is stopped, which takes some seconds. A job
        that is cancelled already is answered as it is."""
        job = await self._own(call)
        if job.status.phase is Phase.CANCELLED:
            return Answer(self.views.status(job), 202)
        self._unfinished(job)
        return Answer(self.views.status(await self.cluster.change_job(job, {"cancel": True})), 202)

    async def retry(self, call: Call) -> Answer:
        """Run a failed job again, with all its retries."""
        job = await self._own(call)
        for _ in range(CONFLICTS_AT_MOST):
            if job.status.phase is not Phase.FAILED:
                raise Refused(Problem.JOB_NOT_FAILED, f"The job is {_guide_word(job)}.")
            queue = self.cache.queues.get(self.cache.queue_name(job) or "")
            if queue is not None and queue.spec.mode is QueueMode.DRAINING:
                raise Refused(Problem.QUEUE_DRAINING, f"The queue {queue.metadata.name} is draining.")
            if job.spec.replay > job.status.observed_replay:
                return Answer(self.views.status(job), 202)
            try:
                again = {"replay": job.status.observed_replay + 1}
                return Answer(self.views.status(await self.cluster.change_job(job, again, guarded=True)), 202)
            except Conflict:
                job = await self.cluster.read_job(job.metadata.name)
        raise Refused(Problem.CONFLICT, "The job is being changed all the time.")

    async def prioritize(self, call: Call) -> Answer:
        """Give a waiting job another priority. It keeps its place in the order of submission, so within the new
        priority it comes before those that were submitted later. The answer shows its new position."""
        change: PriorityChange = call.body
        job = await self._own(call)
        self._unfinished(job)
        if job.status.phase in ACTIVE:
            raise Refused(Problem.JOB_STARTED, f"The job is {_guide_word(job)}.")
        return Answer(self.views.status(await self.cluster.change_job(job, {"priority": change.priority.value})))

    # --- finding ---------------------------------------------------------------------------------------------

    async def find(self, job_id: str) -> AnalysisJob:
        """A job, whoever asks. Raises Refused."""
        job = self.cache.by_id(job_id) or await self.cluster.find_job(job_id)
        if job is None:
            raise Refused(Problem.JOB_NOT_FOUND, f"There is no job {job_id}.")
        return job

    async def _own(self, call: Call) -> AnalysisJob:
        """A job that the caller may see. To others it is not there, so that ids tell nothing."""
        job = await self.find(call.path_id)
        if not visible(job, call.principal):
            raise Refused(Problem.JOB_NOT_FOUND, f"There is no job {call.path_id}.")
        return job

    def _unfinished(self, job: AnalysisJob) -> None:
        if job.status.phase in FINISHED_PHASES:
            raise Refused(Problem.JOB_FINISHED, f"The job is {_guide_word(job)}.")

    def _page(
        self,
        jobs: Iterable[AnalysisJob],
        wanted: Callable[[AnalysisJob], bool],
        call: Call,
        limit: int,
        cursor: str | None,
    ) -> JobPage:
        after = _place_of(cursor) if cursor is not None else None
        found = (
            job for job in jobs
            if visible(job, call.principal) and wanted(job) and (after is None or _place(job) < after)
        )  # fmt: skip
        latest = heapq.nlargest(limit + 1, found, key=_place)
        more = len(latest) > limit
        shown = latest[:limit]
        return JobPage(
            jobs=tuple(self.views.job(job) for job in shown),
            next_cursor=_cursor(shown[-1]) if more else None,
        )


def visible(job: AnalysisJob, principal: Principal) -> bool:
    """Whether a job is the caller's own, or the caller sees all."""
    return principal.tenant is None or tenant_of(job) == principal.tenant


def _guide_word(job: AnalysisJob) -> str:
    return guide_status(job.status.phase)


def _place(job: AnalysisJob) -> tuple[int, str]:
    """By the second of submission; the uid keeps the order of those of one second the same on every page."""
    created = job.metadata.creation_timestamp
    return (int(created.timestamp()) if created is not None else 0, job.uid)


def _cursor(job: AnalysisJob) -> str:
    """The place as text. Any text of that form is a place, whether a job is there or not."""
    seconds, uid = _place(job)
    return f"{seconds}.{uid}"


def _place_of(cursor: str) -> tuple[int, str]:
    seconds, _, uid = cursor.partition(".")
    return int(seconds), uid
