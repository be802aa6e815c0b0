"""Which operation a form asks for, where a page may lead, and what dead letters are gathered by."""

import pytest

from klipstream_gateway.blueprint import blueprint
from klipstream_gateway.dashboard.acts import JOB_ACTS, QUEUE_ACTS, asked
from klipstream_gateway.dashboard.pages import local


def test_every_act_is_an_audited_operation_of_the_api():
    audited = {route.operation for route in blueprint() if route.audited}
    named = {*JOB_ACTS.values(), *QUEUE_ACTS.values(), "replayDeadLetterGroup", "setQueueConfig", "submitAnalysis"}
    assert named <= audited


def test_a_form_names_its_operation_by_its_path():
    found = asked("/dashboard/jobs/a-b/priority", {"csrf": "x", "priority": "HIGH"})
    assert found is not None
    assert (found.operation, found.path, found.body) == ("setJobPriority", {"job_id": "a-b"}, {"priority": "HIGH"})
    found = asked("/dashboard/administration/pause", {"queue": "bulk"})
    assert found is not None
    assert (found.operation, found.query, found.body) == ("pauseQueue", {"queue": "bulk"}, None)


def test_empty_fields_are_left_out_and_unknown_ones_are_not_passed_on():
    found = asked("/dashboard/submit", {"video_url": " https://x ", "type": " ", "callback_secret": "s", "csrf": "c"})
    assert found is not None
    assert found.body == {"video_url": "https://x"}


def test_a_form_that_is_sent_twice_is_one_submission():
    form = {"video_url": "https://example.com/v", "once": "0123456789abcdef-_"}
    found = asked("/dashboard/submit", form)
    assert found is not None
    assert found.headers == {"Idempotency-Key": "0123456789abcdef-_"}
    assert found.body == {"video_url": "https://example.com/v"}
    for once in ("", "short", "x" * 65, "0123456789abcdef\n0", "0123456789abcdefé"):
        other = asked("/dashboard/submit", form | {"once": once})
        assert other is not None
        assert other.headers == {}, once


def test_retry_delays_are_split_at_commas_and_blanks():
    found = asked("/dashboard/administration/config", {"queue": "q", "retry_delays_seconds": "30, 120;300 ,"})
    assert found is not None
    assert found.body == {"retry_delays_seconds": ["30", "120", "300"]}


@pytest.mark.parametrize(
    "path", ["/dashboard", "/dashboard/jobs/a/delete", "/dashboard/administration/format", "/dashboard/nothing"]
)
def test_there_is_no_other_act(path):
    assert asked(path, {}) is None


@pytest.mark.parametrize(
    "address",
    [None, "", "https://elsewhere.example", "//elsewhere.example", "/dashboard//elsewhere.example", "/dashboardx",
     "/docs", "/dashboard/\nSet-Cookie: a=b", "/dashboard/<script>", "javascript:alert(1)",
     "/dashboard/\\elsewhere.example", "/dashboard?q=\\", "/dashboard#x", "/dashboard?q=#x"],
)  # fmt: skip
def test_nobody_is_led_away_from_the_dashboard(address):
    assert local(address) == "/dashboard"


@pytest.mark.parametrize(
    "address", ["/dashboard", "/dashboard/jobs?status=failed&q=a%20b", "/dashboard/jobs/a-b_c.d", "/dashboard?q=a"]
)
def test_a_page_of_the_dashboard_is_gone_back_to(address):
    assert local(address) == address
