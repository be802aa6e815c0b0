"""What callers send: bodies and queries, with their bounds."""

import base64
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from klipstream_api import Priority
from klipstream_api.analysisjob import DNS_LABEL, HTTP_URL, HTTPS_URL, MAX_PARAMS_CHARACTERS
from klipstream_api.analysisqueue import MAX_CONCURRENT_JOBS_BOUND
from klipstream_gateway.answers import JobState

BATCH_AT_MOST = 100
PAGE_AT_MOST = 200
METADATA_AT_MOST = 32
METADATA_CHARACTERS = 6000
TAIL_AT_MOST = 5000
# Printable, as far as a worker's environment and people's terminals can hold it.
PLAIN_TEXT = r"^[^\x00-\x1f\x7f]*$"


def _year_2000s(moment: datetime) -> datetime:
    if not 2000 <= moment.year <= 2999:
        raise ValueError("use a moment from 2000 to 2999")
    return moment


def _together(limit: int) -> AfterValidator:
    def check(value: dict[str, str]) -> dict[str, str]:
        if sum(len(name) + len(text) for name, text in value.items()) > limit:
            raise ValueError(f"names and values together have more than {limit} characters")
        return value

    return AfterValidator(check)


def _signing_secret(value: str) -> str:
    """As the relay takes it, which refuses to send what it cannot sign: 24 to 64 bytes in base64 with its padding."""
    try:
        key = base64.b64decode(value.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise ValueError("what follows whsec_ is not base64 with its padding") from None
    if not 24 <= len(key) <= 64:
        raise ValueError(f"a signing secret has 24 to 64 bytes before base64; this one has {len(key)}")
    return value


Cursor = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,11}\.[0-9A-Za-z-]{1,64}$")]
QueueName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=DNS_LABEL)]
JobType = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=DNS_LABEL)]
VideoId = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=PLAIN_TEXT)]
Reference = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=PLAIN_TEXT)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_][-A-Za-z0-9_.]*$")]
NamedTexts = dict[Name, Annotated[str, Field(max_length=4096)]]
Secret = Annotated[str, StringConstraints(min_length=8, max_length=1024, pattern=r"^[\x21-\x7e]+$")]
Seconds = Annotated[int, Field(ge=1, le=604_800)]
RetryDelays = Annotated[tuple[Annotated[int, Field(ge=0, le=86_400)], ...], Field(min_length=1, max_length=10)]


class RequestModel(BaseModel):
    """A body: a field that is not known is refused, so that a typing error does not pass in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class QueryModel(BaseModel):
    """A query."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Submission(RequestModel):
    """A video to be analysed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "video_url": "https://www.twitch.tv/videos/2472774741",
                    "video_id": "2472774741",
                    "priority": "HIGH",
                    "callback_url": "https://your-app.com/webhooks/analysis",
                    "metadata": {"user_id": "premium_user_789"},
                }
            ]
        }
    )

    video_url: Annotated[str, StringConstraints(min_length=8, max_length=2048, pattern=HTTP_URL)]
    """http(s) URL of the video or stream. One with a signature, a token or a password is sealed before it is stored;
    of its query only what says which video it is (`v`, `id`) is shown then."""
    video_id: VideoId | None = None
    """The platform's id of the video; shown in status and webhooks."""
    priority: Priority = Priority.NORMAL
    """URGENT, HIGH, NORMAL or LOW."""
    queue: QueueName | None = None
    """The queue; where absent the queues' routing decides."""
    type: JobType | None = None
    """Kind of analysis, for routing and for estimates."""
    reference: Reference | None = None
    """Your own name for the job, to find it again: GET /api/v1/jobs?reference=…"""
    callback_url: Annotated[str, StringConstraints(min_length=9, max_length=2048, pattern=HTTPS_URL)] | None = None
    """An https URL outside of the cluster's network that is told of the job's progress and end."""
    callback_secret: (
        Annotated[
            str,
            StringConstraints(max_length=128, pattern=r"^whsec_[A-Za-z0-9+/]{32,112}={0,2}$"),
            AfterValidator(_signing_secret),
        ]
        | None
    ) = None
    """Signs the webhooks (Standard Webhooks); sealed before it is stored."""
    callback_token: Secret | None = None
    """Sent along with the webhooks as a bearer token; sealed before it is stored."""
    params: Annotated[NamedTexts, Field(max_length=32), _together(MAX_PARAMS_CHARACTERS)] | None = None
    """Parameters for the worker, which are not secret."""
    metadata: Annotated[NamedTexts, Field(max_length=METADATA_AT_MOST), _together(METADATA_CHARACTERS)] | None = None
    """What belongs to the job and may be sensitive: sealed before it is stored, opened for the worker alone."""
    timeout_seconds: Seconds | None = None
    """Longest run time of one attempt; the queue's where absent."""
    max_retries: Annotated[int, Field(ge=0, le=20)] | None = None
    """Retries after the first attempt; the queue's where absent."""
    not_before: Annotated[AwareDatetime, AfterValidator(_year_2000s)] | None = None
    """The job does not start before this moment, such as 2026-01-02T03:04:05Z."""


class Batch(RequestModel):
    """Several submissions at once; each is judged alone."""

    jobs: Annotated[tuple[Submission, ...], Field(min_length=1, max_length=BATCH_AT_MOST)]
    """In the order in which they are submitted."""


class PriorityChange(RequestModel):
    """A new priority."""

    priority: Priority
    """URGENT, HIGH, NORMAL or LOW."""


class QueueConfig(RequestModel):
    """Limits to change; those that are left out stay as they are."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "examples": [{"max_concurrent_jobs": 2}]})

    max_concurrent_jobs: Annotated[int, Field(ge=0, le=MAX_CONCURRENT_JOBS_BOUND)] | None = None
    """Slots; lowering it never stops what runs."""
    max_queue_size: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Jobs that may wait."""
    timeout_seconds: Seconds | None = None
    """Longest run time of one attempt."""
    max_retries: Annotated[int, Field(ge=0, le=20)] | None = None
    """Retries after the first attempt."""
    retry_delays_seconds: RetryDelays | None = None
    """Seconds before each retry, the last one repeating."""


class QueueQuery(QueryModel):
    """Which queue."""

    queue: QueueName | None = None
    """One queue; all of them where absent."""


class WhatIfQuery(QueryModel):
    """What would be."""

    priority: Priority | None = None
    """Tells as well where the job would be at this priority."""


class JobQuery(QueryModel):
    """Which jobs."""

    status: JobState | None = None
    """Only those in this state."""
    queue: QueueName | None = None
    """Only those of this queue."""
    priority: Priority | None = None
    """Only those of this priority."""
    type: JobType | None = None
    """Only those of this type."""
    video_id: VideoId | None = None
    """Only those of this video."""
    reference: Reference | None = None
    """Only those with this reference."""
    limit: Annotated[int, Field(ge=1, le=PAGE_AT_MOST)] = 50
    """How many at most."""
    cursor: Cursor | None = None
    """`next_cursor` of the page before."""


class DeadLetterQuery(QueryModel):
    """Which dead letters."""

    queue: QueueName | None = None
    """Only those of this queue."""
    fingerprint: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None
    """Only those of this group."""
    limit: Annotated[int, Field(ge=1, le=PAGE_AT_MOST)] = 50
    """How many at most."""
    cursor: Cursor | None = None
    """`next_cursor` of the page before."""


class LogQuery(QueryModel):
    """Which part of a log."""

    attempt: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """The attempt; the last one where absent."""
    tail: Annotated[int, Field(ge=1, le=TAIL_AT_MOST)] = 200
    """Lines from the end."""
