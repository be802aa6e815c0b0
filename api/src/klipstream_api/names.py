"""Names that stand in the cluster: the API group, labels, annotations, and what things are called."""

GROUP = "analysis.klipstream.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

JOB_UID_LABEL = f"{GROUP}/job-uid"
JOB_NAME_LABEL = f"{GROUP}/job"
ATTEMPT_LABEL = f"{GROUP}/attempt"
QUEUE_LABEL = f"{GROUP}/queue"

PARAMS_ANNOTATION = f"{GROUP}/params"
PROGRESS_CA_ANNOTATION = f"{GROUP}/progress-ca"

CLEAR_ANNOTATION = f"{GROUP}/clear"
CLEAR_STUCK_ANNOTATION = f"{GROUP}/clear-stuck"
RECONCILE_ANNOTATION = f"{GROUP}/reconcile"
RESTART_ANNOTATION = f"{GROUP}/restart"
REPLAY_ANNOTATION = f"{GROUP}/replay"
FENCED_ANNOTATION = f"{GROUP}/fenced"
TEMPLATE_ANNOTATION = f"{GROUP}/template"
WITHDRAWN_ANNOTATION = f"{GROUP}/withdrawn"
"""On a Kubernetes Job that Kueue was told never to start again."""

KUEUE_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
"""Kueue's: names the LocalQueue that decides when a Kubernetes Job runs."""

TRACEPARENT_ANNOTATION = f"{GROUP}/traceparent"
"""On an AnalysisJob: the place in a trace that it goes on from (W3C Trace Context)."""

CALLBACK_LABEL = f"{GROUP}/callback"
"""Says by "true" that a Secret may be used for webhooks."""
ALLOWED_HOSTS_ANNOTATION = f"{GROUP}/allowed-hosts"
"""Hosts, between commas, that such a Secret may be used for."""

WORKER_CONTAINER = "worker"
PROGRESS_AUDIENCE = "klipstream-progress"
DEFAULT_QUEUE = "default"


def attempt_job_name(job_uid: str, attempt: int) -> str:
    """The name of the Kubernetes Job that runs one attempt: the whole uid, since 8 hex digits would collide.

    The name is what rule 2 rests on: a create that arrives late meets an occupied name.
    """
    return f"{job_uid}-a{attempt}"
