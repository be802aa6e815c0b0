"""What callers are told of what they sent."""

from typing import Any

import pytest

from klipstream_gateway.problems import Refused
from klipstream_gateway.requests import Submission
from klipstream_gateway.validation import form_body, json_body

VIDEO = '{"video_url": "https://example.com/v", '


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ("{}", "body.video_url", "it is needed"),
        (VIDEO + '"url": 1}', "body.url", "there is no such field"),
        (VIDEO + '"pass word": 1}', "body.(name)", "there is no such field"),
        ('{"video_url": "www.example.com/v"}', "body.video_url", "begins with http:// or https://"),
        (VIDEO + '"callback_url": "http://example.com/v"}', "body.callback_url", "begins with https://"),
        (VIDEO + '"queue": "My Queue"}', "body.queue", "lower-case letters"),
        (VIDEO + '"not_before": "tomorrow"}', "body.not_before", "such as 2026-01-02T03:04:05Z"),
        (VIDEO + '"not_before": "2026-01-02T03:04:05"}', "body.not_before", "such as 2026-01-02T03:04:05Z"),
        (VIDEO + '"priority": "high"}', "body.priority", "'URGENT', 'HIGH', 'NORMAL' or 'LOW'"),
        (VIDEO + '"callback_token": "s3cr3t token"}', "body.callback_token", ""),
    ],
)
def test_a_wrong_field_is_named_with_what_may_be_there_and_never_with_what_was(
    body: str, field: str, said: str
) -> None:
    with pytest.raises(Refused) as refused:
        json_body(Submission, body.encode())
    (error,) = refused.value.errors or ()
    assert error.field == field
    assert said in error.message
    assert "s3cr3t" not in refused.value.detail


def test_forms_are_judged_alike_though_all_in_them_is_text() -> None:
    values: dict[str, Any] = {"video_url": "https://example.com/v", "max_retries": "2"}
    sent = form_body(Submission, values)
    assert isinstance(sent, Submission)
    assert sent.max_retries == 2
    with pytest.raises(Refused) as refused:
        form_body(Submission, values | {"queue": "My Queue"})
    assert "body.queue: use lower-case letters" in refused.value.detail
