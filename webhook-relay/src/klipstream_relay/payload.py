"""The body of a webhook, exactly as the guide shows it; `python -m klipstream_relay.payload FILE` writes its schema."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from klipstream_api import WebhookEvent
from klipstream_api.meta import Time
from klipstream_relay.events import Announcement

MAX_BODY_BYTES = 20_000
"""What Standard Webhooks ask for; the bounds of the fields keep a body far below it."""


class WebhookProgress(BaseModel):
    """How far the analysis is."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    percentage: Annotated[float, Field(ge=0, le=100)]
    """Of the whole analysis."""
    current_stage: Annotated[str, Field(max_length=64)]
    """Downloading, Transcribing, Analyzing, Finding Highlights, Completed or a stage of the worker's own; Queued,
    Starting or Running where no worker has named one."""
    estimated_completion_seconds: Annotated[float, Field(ge=0)] | None
    """Seconds that remain by the worker's estimate; null where it gave none."""


class Webhook(BaseModel):
    """A webhook of the KlipStream analysis queue. No secret and no content of the video is part of it."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    type: WebhookEvent
    """What happened."""
    job_id: Annotated[str, Field(max_length=64)]
    """The job's id."""
    video_id: Annotated[str, Field(max_length=128)] | None
    """The platform's id of the video; null where the submission named none."""
    status: Annotated[str, Field(max_length=16)]
    """queued, processing, retrying, completed, failed, cancelled, rejected or deleted."""
    progress: WebhookProgress
    """How far the analysis was then."""
    attempt: int
    """The attempt that it is about; 0 before the first."""
    sequence: int
    """Rises with every webhook of a job: ignore one that is lower than what you have."""
    timestamp: Time
    """When it happened."""


def body_of(job_id: str, video_id: str | None, what: Announcement) -> bytes:
    """The bytes that are signed and sent, the same for every try."""
    webhook = Webhook(
        type=what.event,
        job_id=job_id,
        video_id=video_id,
        status=what.status,
        progress=WebhookProgress(
            percentage=what.percentage,
            current_stage=what.stage,
            estimated_completion_seconds=what.estimated_completion_seconds,
        ),
        attempt=what.attempt,
        sequence=what.sequence,
        timestamp=what.at,
    )
    body = webhook.model_dump_json().encode()
    assert len(body) < MAX_BODY_BYTES
    return body


def schema() -> dict[str, Any]:
    """The JSON schema of a body."""
    generated = Webhook.model_json_schema(mode="serialization")
    generated["properties"]["timestamp"]["format"] = "date-time"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | generated


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(schema(), indent=2) + "\n")
