"""A history written by hand, as an audit log: every write gets the next revision and comes a second after the last."""

from datetime import UTC, datetime
from typing import Any

from klipjudge.audit import requests_of
from klipjudge.history import Request
from klipjudge.judge import judge
from klipjudge.verdict import Terms, Verdict
from klipjudge.vocabulary import FINISHED, GROUP, JOBS, OPERATOR, QUEUES

START = 1_800_000_000.0
USER = "kubectl"
CONTROLLER = "kube-controller-manager"
KUBELET = "kubelet"
NOT_STARTED = {"phase": "Queued", "attempt": 0, "observedReplay": 0}


class Log:
    """The writes so far; objects are kept, so that each call names only what it changes."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.revision = 100
        self.clock = START
        self._jobs: dict[str, dict[str, Any]] = {}
        self._queues: dict[str, dict[str, Any]] = {}

    def requests(self) -> list[Request]:
        """As the judge takes them."""
        return requests_of(self.events)

    def judged(self, **terms: Any) -> Verdict:
        """What the judge says of it."""
        return judge(self.requests(), Terms(**terms))

    def rules(self, **terms: Any) -> list[str]:
        """The rules that were broken, in order."""
        return [violation.rule for violation in self.judged(**terms).violations]

    def event(self, verb: str, resource: str, answer: dict[str, Any], *, code: int = 200, agent: str = USER) -> None:
        """A request that was answered."""
        self.revision += 1
        self.clock += 1
        resource, _, subresource = resource.partition("/")
        resource, _, group = resource.partition(".")
        answer = {"metadata": {}} | answer
        if answer.get("kind") != "Status":
            answer["metadata"] = {"resourceVersion": str(self.revision)} | answer["metadata"]
        self.events.append(
            {
                "stage": "ResponseComplete",
                "requestURI": "/",
                "verb": verb,
                "userAgent": f"{agent}/1.0",
                "objectRef": {
                    "resource": resource,
                    "subresource": subresource,
                    "apiGroup": group,
                    "namespace": "ns",
                    "name": answer["metadata"].get("name", ""),
                },
                "responseStatus": {"code": code},
                "responseObject": answer,
                "requestReceivedTimestamp": time_of(self.clock),
                "stageTimestamp": time_of(self.clock + 0.01),
            }
        )

    def unanswered(self, code: int = 0) -> None:
        """The last request was not answered, since its sender was killed; the store took it all the same."""
        asked = self.events[-1]["responseObject"]
        status = {"code": code}
        self.events[-1] |= {"requestObject": asked, "responseObject": {"kind": "Status"}, "responseStatus": status}

    def deleted(self, resource: str, name: str, agent: str = USER, uid: str = "") -> None:
        """A deletion that was answered without the object."""
        answer = {"kind": "Status", "metadata": {"name": name}, "details": {"uid": uid}}
        self.event("delete", resource, answer, agent=agent)

    def overtaken(self) -> None:
        """The last answer but one was complete only after the last one, and so is logged after it."""
        late, soon = self.events[-2:]
        self.events[-2:] = [soon, late | {"stageTimestamp": soon["stageTimestamp"]}]

    # --- the queue --------------------------------------------------------------------------------------------

    def queue(self, *admitted: tuple[str, int], agent: str = OPERATOR, name: str = "q", **status: Any) -> None:
        """Exactly these reservations."""
        queue = self._queue(name)
        entries = [{"uid": uid, "attempt": attempt, "name": uid} for uid, attempt in admitted]
        queue["status"] = queue["status"] | {"initialized": True, "admitted": entries} | status
        self._write_queue(queue, f"{QUEUES}/status", agent)

    def set_queue(self, *, name: str = "q", agent: str = USER, **spec: Any) -> None:
        """A user patches the spec; `limit` stands for maxConcurrentJobs."""
        if "limit" in spec:
            spec["maxConcurrentJobs"] = spec.pop("limit")
        fresh = name not in self._queues
        queue = self._queue(name)
        queue["spec"] = queue["spec"] | spec
        if not fresh or spec:
            self._write_queue(queue, QUEUES, agent)

    def scale(self, limit: int) -> None:
        """kubectl scale."""
        self._queue("q")["spec"] = self._queue("q")["spec"] | {"maxConcurrentJobs": limit}
        self.event("patch", f"{QUEUES}/scale", {"metadata": {"name": "q"}, "spec": {"replicas": limit}})

    def wipe_queue(self) -> None:
        """A restore leaves the queue without a status."""
        self._queue("q")["status"] = {}
        self._write_queue(self._queue("q"), f"{QUEUES}/status", USER)

    def take(self, *keys: tuple[str, int]) -> None:
        """Reservations beside those that there are."""
        self.queue(*self._admitted(), *keys)

    def release(self, *keys: tuple[str, int], agent: str = OPERATOR) -> None:
        """Reservations that are given up."""
        self.queue(*(key for key in self._admitted() if key not in keys), agent=agent)

    def delete_queue(self, name: str = "q") -> None:
        """The queue is gone."""
        del self._queues[name]
        self.deleted(QUEUES, name)

    def _admitted(self) -> list[tuple[str, int]]:
        entries = self._queue("q")["status"].get("admitted", [])
        return [(entry["uid"], entry["attempt"]) for entry in entries]

    def _queue(self, name: str) -> dict[str, Any]:
        if name not in self._queues:
            queue = {"metadata": {"name": name, "uid": f"queue-{name}"}, "spec": {"maxConcurrentJobs": 1}}
            self._queues[name] = queue | {"status": {}}
            self.event("create", QUEUES, queue, code=201)
            self._queues[name]["status"] = {"initialized": True}
            self._write_queue(self._queues[name], f"{QUEUES}/status", OPERATOR)
        return self._queues[name]

    def _write_queue(self, queue: dict[str, Any], resource: str, agent: str) -> None:
        self.event("patch", resource, dict(queue), agent=agent)

    # --- AnalysisJobs -----------------------------------------------------------------------------------------

    def submit(self, uid: str, *, created_at: float | None = None, **spec: Any) -> None:
        """A user creates an AnalysisJob."""
        created = time_of(int(self.clock + 1) if created_at is None else created_at)
        metadata = {"name": uid, "uid": uid, "creationTimestamp": created}
        self._jobs[uid] = {"metadata": metadata, "spec": {"priority": "NORMAL"} | spec, "status": dict(NOT_STARTED)}
        self.event("create", JOBS, dict(self._jobs[uid]), code=201)
        self._jobs[uid]["revision"] = self.revision

    def accept(self, uid: str, sequence: int | None = None, *, queue: str = "q", agent: str = OPERATOR) -> None:
        """The operator accepts it; without a sequence: at the revision that the write was guarded by."""
        sequence = self._jobs[uid]["revision"] if sequence is None else sequence
        self.status(uid, agent=agent, queueName=queue, sequence=sequence, queuedAt=time_of(self.clock))

    def job(self, uid: str, sequence: int | None = None, **spec: Any) -> None:
        """Submitted and accepted."""
        self.submit(uid, **spec)
        self.accept(uid, sequence)

    def change(self, uid: str, **spec: Any) -> None:
        """A user patches the spec."""
        job = self._jobs[uid]
        job["spec"] = job["spec"] | spec
        self._write_job(uid, JOBS, USER)

    def status(self, uid: str, *, agent: str = OPERATOR, **status: Any) -> None:
        """The operator writes the status; a final phase brings its condition and its time unless they are given."""
        job = self._jobs[uid]
        if status.get("phase") in FINISHED:
            condition = {"type": "Finished", "status": "True", "reason": status["phase"]}
            status = {"finishedAt": time_of(self.clock), "conditions": [condition]} | status
        job["status"] = job["status"] | status
        self._write_job(uid, f"{JOBS}/status", agent)

    def delete(self, uid: str, agent: str = USER) -> None:
        """The AnalysisJob is gone."""
        del self._jobs[uid]
        self.deleted(JOBS, uid, agent)

    def _write_job(self, uid: str, resource: str, agent: str) -> None:
        answer = {key: value for key, value in self._jobs[uid].items() if key != "revision"}
        self.event("patch", resource, answer, agent=agent)
        self._jobs[uid]["revision"] = self.revision

    # --- attempts ---------------------------------------------------------------------------------------------

    def batch_job(self, uid: str, attempt: int = 1, job_uid: str | None = None, *, suspend: bool = False,
                  verb: str = "create", agent: str = OPERATOR, conditions: tuple[str, ...] = ()) -> None:  # fmt: skip
        """A write to the Job of an attempt."""
        job_uid = job_uid or f"job-{uid}-a{attempt}"
        metadata = {"name": f"{uid}-a{attempt}", "uid": job_uid, "labels": _labels(uid, attempt)}
        status = {"conditions": [{"type": each, "status": "True"} for each in conditions]}
        answer = {"metadata": metadata, "spec": {"suspend": suspend}, "status": status}
        self.event(verb, "jobs.batch", answer, agent=agent)

    def pod(self, uid: str, phase: str, *, of: str, attempt: int = 1, verb: str = "patch", agent: str = KUBELET,
            status: dict[str, Any] | None = None, **metadata: Any) -> None:  # fmt: skip
        """A write to a worker pod."""
        described = {"name": uid, "uid": uid, "labels": _labels(of, attempt)} | metadata
        resource = "pods/status" if verb == "patch" else "pods"
        answer = {"metadata": described, "status": {"phase": phase} | (status or {})}
        self.event(verb, resource, answer, agent=agent)

    def start(self, uid: str, attempt: int = 1) -> None:
        """From the Job to the running pod."""
        self.batch_job(uid, attempt)
        entries = [
            *self._jobs[uid]["status"].get("attempts", []),
            {"attempt": attempt, "jobUID": f"job-{uid}-a{attempt}"},
        ]
        self.status(uid, phase="Starting", attempt=attempt, attempts=entries)
        self.pod(f"pod-{uid}-a{attempt}", "Pending", of=uid, attempt=attempt, verb="create", agent=CONTROLLER)
        self.pod(f"pod-{uid}-a{attempt}", "Running", of=uid, attempt=attempt)

    def succeed(self, uid: str, attempt: int = 1) -> None:
        """The pod's end, and the job's."""
        self.pod(f"pod-{uid}-a{attempt}", "Succeeded", of=uid, attempt=attempt)
        self.status(uid, phase="Succeeded", attempts=self.attempts(uid))

    def fail(self, uid: str, attempt: int = 1, *, kind: str = "Transient", **status: Any) -> None:
        """The pod's end, and what follows from it."""
        self.pod(f"pod-{uid}-a{attempt}", "Failed", of=uid, attempt=attempt)
        self.status(uid, attempts=self.attempts(uid, kind), **{"phase": "Queued"} | status)

    def attempts(self, uid: str, kind: str | None = None) -> list[dict[str, Any]]:
        """The attempts so far, the last one ended, with that failure class."""
        *earlier, last = self._jobs[uid]["status"]["attempts"]
        ended = last | {"finishedAt": time_of(self.clock)} | ({"failureClass": kind} if kind is not None else {})
        return [*earlier, ended]

    def run(self, uid: str) -> None:
        """A job that waits, to its end."""
        self.take((uid, 1))
        self.start(uid)
        self.succeed(uid)
        self.release((uid, 1))


def time_of(seconds: float) -> str:
    """A moment as the API writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _labels(uid: str, attempt: int) -> dict[str, str]:
    return {f"{GROUP}/job-uid": uid, f"{GROUP}/attempt": str(attempt), f"{GROUP}/queue": "q"}
