"""When a circuit opens, is probed and closes; what becomes of a delivery after a try."""

import pytest

from klipstream_relay.attempts import RetryPolicy, judge
from klipstream_relay.breaker import Breaker, BreakerPolicy
from klipstream_relay.deliveries import Delivery, State
from klipstream_relay.sender import Outcome

POLICY = BreakerPolicy(threshold=3, first_open_seconds=10, longest_open_seconds=35)


def failing(breaker: Breaker, times: int, now: float) -> Breaker:
    for _ in range(times):
        breaker = breaker.failed(POLICY, now, 1.0)
    return breaker


def test_a_circuit_opens_after_so_many_failures_in_a_row() -> None:
    assert failing(Breaker(), 2, 0).allowance(4, 0) == 4
    opened = failing(Breaker(), 3, 0)
    assert opened.is_open
    assert opened.allowance(4, 9.9) == 0
    assert not failing(failing(Breaker(), 2, 0).succeeded(), 2, 0).is_open, "a success in between"


def test_an_open_circuit_is_probed_by_one_and_each_failure_doubles_the_wait() -> None:
    opened = failing(Breaker(), 3, 0)
    assert opened.allowance(4, 10) == 1
    waits = []
    now = 10.0
    for _ in range(4):
        opened = opened.failed(POLICY, now, 1.0)
        waits.append(opened.next_at() - now)
        now = opened.next_at()
    assert waits == [20, 35, 35, 35]
    assert opened.succeeded() == Breaker()


def test_what_was_on_its_way_when_it_opened_does_not_count_as_a_probe() -> None:
    opened = failing(Breaker(), 3, 0)
    assert opened.failed(POLICY, 1, 1.0).next_at() == opened.next_at()


def test_an_endpoint_is_left_alone_for_as_long_as_it_asks() -> None:
    asked = Breaker().failed(POLICY, 100, 1.0, pause_seconds=7)
    assert not asked.is_open
    assert (asked.allowance(4, 106), asked.allowance(4, 107)) == (0, 4)
    assert asked.failed(POLICY, 101, 1.0).allowance(4, 106) == 0, "another failure does not shorten it"


def test_who_was_down_before_a_restart_is_probed_first() -> None:
    known = Breaker.known_to_be_down()
    assert (known.is_open, known.allowance(4, 0)) == (True, 1)
    assert known.failed(POLICY, 0, 1.0).next_at() > 0


RETRIES = RetryPolicy(attempts=3, first_delay_seconds=10, factor=4, longest_delay_seconds=100, give_up_seconds=1000)


def delivery(tries: int = 0) -> Delivery:
    return Delivery("msg_1", "e", "https://example.com", "job.failed", "u", "n", b"{}", 0.0, tries)


def outcome(delivered: bool = False, retryable: bool = True, retry_after: float | None = None) -> Outcome:
    return Outcome(delivered, 200 if delivered else 500, "R", "m", retry_after, False, retryable, 0.1)


@pytest.mark.parametrize(
    ("rule", "tries", "result", "counts", "now", "expected"),
    [
        ("delivered", 0, outcome(True), True, 5, (State.DELIVERED, 1, 5)),
        ("tried again after the first delay", 0, outcome(), True, 5, (State.PENDING, 1, 15)),
        ("then four times as long", 1, outcome(), True, 5, (State.PENDING, 2, 45)),
        ("three tries", 2, outcome(), True, 5, (State.DEAD, 3, 5)),
        ("what no try mends is given up at once", 0, outcome(retryable=False), True, 5, (State.DEAD, 1, 5)),
        ("as late as the endpoint asks", 0, outcome(retry_after=60), True, 5, (State.PENDING, 1, 65)),
        ("but not later than the longest delay", 0, outcome(retry_after=10**9), True, 5, (State.PENDING, 1, 105)),
        ("a failed probe costs no try", 2, outcome(), False, 5, (State.PENDING, 2, 45)),
        ("but not for ever", 2, outcome(), False, 1000, (State.DEAD, 3, 1000)),
        ("a probe that arrives", 2, outcome(True), False, 1000, (State.DELIVERED, 3, 1000)),
    ],
)
def test_what_follows_a_try(
    rule: str, tries: int, result: Outcome, counts: bool, now: float, expected: tuple[State, int, float]
) -> None:
    found = judge(delivery(tries), result, counts, RETRIES, now, 1.0)
    assert (found.state, found.tries, found.due) == expected, rule
