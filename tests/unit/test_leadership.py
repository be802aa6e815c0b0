"""The fence before a write, and the one send that it allows."""

import pytest

from klipstream_kube import LeaseLost, Unreachable
from klipstream_operator.leadership import only_while, sent_once


def test_what_was_decided_before_the_server_asked_to_wait_is_not_sent_again() -> None:
    check = sent_once(lambda: None)
    check()
    with pytest.raises(Unreachable):
        check()


def test_the_lease_is_asked_before_the_one_send() -> None:
    def lost() -> None:
        raise LeaseLost("taken by another")

    with pytest.raises(LeaseLost):
        sent_once(lost)()


def test_what_does_not_hold_any_more_is_not_sent() -> None:
    asked, holds = [], [True]
    check = sent_once(only_while(lambda: holds[0]), lambda: asked.append("lease"))
    holds[0] = False
    with pytest.raises(Unreachable):
        check()
    assert asked == []
    holds[0] = True
    check()
    assert asked == ["lease"]
