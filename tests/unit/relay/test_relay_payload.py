"""The body of a webhook is exactly what the guide shows, and its schema is published."""

import json
from datetime import UTC, datetime
from pathlib import Path

import jsonschema

import klipstream_relay
from klipstream_api import WebhookEvent
from klipstream_relay.events import Announcement
from klipstream_relay.payload import MAX_BODY_BYTES, body_of, schema

PACKAGE = Path(klipstream_relay.__file__).parent
WHAT = Announcement(
    WebhookEvent.PROGRESS, "msg_1", datetime(2024, 1, 15, 10, 30, tzinfo=UTC), 17, 1, 45.0, "Analyzing", 1200.0
)


def test_a_body_is_the_guide_s_with_type_attempt_and_sequence() -> None:
    assert json.loads(body_of("uuid-string", "2472774741", WHAT)) == {
        "type": "job.progress",
        "job_id": "uuid-string",
        "video_id": "2472774741",
        "status": "processing",
        "progress": {"percentage": 45.0, "current_stage": "Analyzing", "estimated_completion_seconds": 1200.0},
        "attempt": 1,
        "sequence": 17,
        "timestamp": "2024-01-15T10:30:00.000Z",
    }


def test_bodies_match_the_schema_that_is_published() -> None:
    published = json.loads((PACKAGE / "webhook.schema.json").read_text())
    assert published == schema(), "run `make crds` and commit what changes"
    validator = jsonschema.Draft202012Validator(published, format_checker=jsonschema.FormatChecker())
    validator.validate(json.loads(body_of("id", None, WHAT)))


def test_the_longest_body_is_far_below_the_limit() -> None:
    longest = Announcement(WebhookEvent.PROGRESS, "msg_1", WHAT.at, 2**53, 10**6, 99.9, "\N{SNOWMAN}" * 64, 1e9)
    assert len(body_of("j" * 63, "\N{SNOWMAN}" * 128, longest)) < MAX_BODY_BYTES / 10
