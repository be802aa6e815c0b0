"""How figures read."""

from datetime import UTC, datetime, timedelta

import pytest

from klipstream_gateway.dashboard import words

NOW = datetime(2026, 11, 26, 4, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"), (-3, "0 s"), (0, "0 s"), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (61, "1 min 1 s"),
        (299, "4 min 59 s"), (301, "5 min"), (3599, "59 min"), (3600, "1 h"), (5400, "1 h 30 min"),
        (86_399, "23 h 59 min"), (86_400, "1 d"), (97_200, "1 d 3 h"),
    ],
)  # fmt: skip
def test_durations_have_two_units_at_most(seconds, text):
    assert words.duration(seconds) == text


def test_a_moment_that_a_fast_clock_puts_ahead_is_now():
    assert words.ago(NOW + timedelta(seconds=2), NOW) == "0 s ago"
    assert words.ago(NOW - timedelta(minutes=7), NOW) == "7 min ago"
    assert words.ago(None, NOW) == "–"


def test_moments_are_in_utc_and_have_their_date():
    assert words.stamp(NOW) == "26 Nov 2026, 04:05:06 UTC"
    assert words.clock(NOW) == "04:05"


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (13, "13th"), (21, "21st"),
     (111, "111th"), (1003, "1,003rd")],
)  # fmt: skip
def test_places_in_line_are_ordinals(number, text):
    assert words.ordinal(number) == text


@pytest.mark.parametrize(("seconds", "text"), [(None, "–"), (0.2, "now"), (180, "in 3 min")])
def test_what_is_to_come_reads_as_such(seconds, text):
    assert words.until(seconds) == text


@pytest.mark.parametrize(
    ("processed", "failed", "text"),
    [(0, 0, "–"), (4, 0, "100 %"), (4, 1, "75 %"), (3, 1, "66.7 %"), (100_000, 1, "99.9 %"), (5, 5, "0 %")],
)
def test_a_success_rate_is_whole_only_where_nothing_failed(processed, failed, text):
    assert words.percent(words.success_percent(processed, failed)) == text


def test_one_thing_is_not_several():
    assert [words.several(n, "job") for n in (0, 1, 1200)] == ["0 jobs", "1 job", "1,200 jobs"]
    assert words.several(2, "retry", "retries") == "2 retries"
