"""Sealed parameters and URLs: opened here and nowhere else, for the reply to a worker, and never written or logged."""

import logging
from dataclasses import dataclass, field

from klipstream_api import AnalysisJob
from klipstream_operator.log_fields import job_fields
from klipstream_sealing import BadFields, CannotOpen, KeyMissing, RingFile, SealedFields

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """What was sealed for the worker, or why it cannot be opened; neither where nothing was."""

    params: dict[str, str] | None = field(default=None, repr=False)
    video_url: str | None = field(default=None, repr=False)
    problem: str | None = None
    retryable: bool = False
    """Whether another attempt may find them openable: the key is not here yet."""


def open_params(job: AnalysisJob, ring: RingFile | None) -> Opened:
    """The job's sealed parameters. A problem is logged once per reply that it stands in, by its reason alone."""
    sealed = job.spec.sealed
    if sealed is None:
        return Opened()
    try:
        if job.spec.job_id is None:
            raise CannotOpen("the job has no spec.jobId, which they would be sealed for")
        if ring is None:
            raise KeyMissing("sealing is not set up here: there is no key ring")
        fields = SealedFields.from_json(ring.open(sealed, job.metadata.namespace, job.spec.job_id))
    except (CannotOpen, BadFields) as error:
        log.warning("The sealed fields of %s/%s cannot be opened: %s", job.metadata.namespace, job.metadata.name, error,
                    extra=job_fields(job))  # fmt: skip
        return Opened(problem=f"the sealed fields cannot be opened: {error}", retryable=isinstance(error, KeyMissing))
    return Opened(params=dict(fields.params), video_url=fields.video_url)
