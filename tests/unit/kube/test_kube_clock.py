from datetime import UTC
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klipstream_kube.clock import ServerClock, steady_clock

T0 = 1_800_000_000.0


def hear(clock: ServerClock, offset_seconds: float, sent_at: float, there: float, back: float) -> None:
    """One exchange with a server whose clock is off by `offset_seconds`."""
    clock.heard(formatdate(int(sent_at + there + offset_seconds), usegmt=True), sent_at, sent_at + there + back)


def test_clocks_that_agree_need_no_correction() -> None:
    clock = ServerClock()
    for n in range(50):
        hear(clock, 0.0, T0 + n * 1.37, 0.002, 0.002)
        assert clock.offset_seconds == 0.0


@given(
    offset_seconds=st.floats(-86400, 86400),
    exchanges=st.lists(
        st.tuples(st.floats(0.01, 7), st.floats(0.0005, 0.5), st.floats(0.0005, 0.5)), min_size=1, max_size=40
    ),
)
def test_the_correction_is_never_further_off_than_date_and_delay_allow(
    offset_seconds: float, exchanges: list[tuple[float, float, float]]
) -> None:
    clock = ServerClock()
    at = T0
    for pause, there, back in exchanges:
        at += pause
        hear(clock, offset_seconds, at, there, back)
        assert abs(clock.offset_seconds - offset_seconds) <= 1.0 + there + back + 0.1


def test_many_answers_tell_the_offset_better_than_the_headers_second() -> None:
    clock = ServerClock()
    for n in range(200):
        hear(clock, 100.4, T0 + n * 1.37, 0.002, 0.002)
    assert clock.offset_seconds == pytest.approx(100.4, abs=0.1)


def test_a_clock_that_was_set_is_believed_at_once() -> None:
    clock = ServerClock()
    for n in range(20):
        hear(clock, 0.0, T0 + n, 0.002, 0.002)
    hear(clock, -3600.0, T0 + 30, 0.002, 0.002)
    assert clock.offset_seconds == pytest.approx(-3600, abs=1.01)


@pytest.mark.parametrize("date", [None, "yesterday", ""])
def test_an_answer_without_a_usable_date_changes_nothing(date: str | None) -> None:
    clock = ServerClock()
    clock.heard(date, T0, T0)
    assert clock.offset_seconds == 0.0


def test_an_answer_that_came_before_it_was_asked_for_tells_nothing_and_one_at_once_does() -> None:
    clock = ServerClock()
    date = formatdate(T0 + 100, usegmt=True)
    clock.heard(date, T0, T0 - 1)
    assert clock.offset_seconds == 0.0
    clock.heard(date, T0, T0)
    assert clock.offset_seconds == 100.0


def test_now_is_the_servers_time() -> None:
    clock = ServerClock(lambda: T0)
    hear(clock, 7200.0, T0, 0.001, 0.001)
    assert clock.now().timestamp() == pytest.approx(T0 + 7200, abs=1.01)
    assert clock.now().tzinfo is UTC


def test_setting_the_wall_clock_changes_nothing() -> None:
    """Found by simulation: a notBefore that came just after the clock was set back was seen 10 s too late."""
    wall, monotonic = T0, 5.0
    clock = ServerClock(steady_clock(lambda: wall, lambda: monotonic))
    hear(clock, 0.0, clock.local(), 0.001, 0.001)
    monotonic += 60
    wall += 60 - 3600
    assert clock.now().timestamp() == pytest.approx(T0 + 60, abs=1.01)
