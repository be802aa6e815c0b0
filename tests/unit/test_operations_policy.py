"""Administrative requests: which are open, how they are acknowledged, what clear means for a job."""

from typing import Any

import pytest

from klipfake.objects import NOW, job, queue, running
from klipstream_api import AnalysisQueue, OperationName
from klipstream_operator.operations import Outcome, acknowledged, cleared, confirm_clear, last_done, pending

AT = NOW.isoformat()
BEFORE, AFTER = "2026-01-02T03:00:00Z", "2026-01-02T03:30:00Z"


def asked(status: dict[str, Any] | None = None, **annotations: str) -> AnalysisQueue:
    bare = queue(status)
    wire = {f"analysis.klipstream.io/{name.replace('_', '-')}": value for name, value in annotations.items()}
    return bare.model_copy(update={"metadata": bare.metadata.model_copy(update={"annotations": wire})})


def done(name: str, request: str = "1") -> dict[str, Any]:
    return {"operations": [{"name": name, "request": request, "at": AT, "count": 3}]}


def test_a_value_is_acted_on_once_and_another_value_asks_again() -> None:
    assert pending(asked(reconcile="1")) == {OperationName.RECONCILE: "1"}
    assert pending(asked(done("Reconcile"), reconcile="1")) == {}
    assert pending(asked(done("Reconcile"), reconcile="2")) == {OperationName.RECONCILE: "2"}
    assert pending(asked(reconcile="", other="1")) == {}
    every = asked(done("Reconcile"), clear="q", clear_stuck="2", reconcile="1", restart="3", replay="f")
    assert pending(every) == {
        OperationName.CLEAR: "q", OperationName.CLEAR_STUCK: "2", OperationName.RESTART: "3", OperationName.REPLAY: "f",
    }  # fmt: skip
    assert pending(asked(reconcile="x" * 300)) == {OperationName.RECONCILE: "x" * 256}


def test_an_acknowledgement_has_time_and_count_and_a_refusal_keeps_the_earlier_ones() -> None:
    (first,) = acknowledged(asked(clear="q"), {OperationName.CLEAR: Outcome(5, "five")}, NOW)
    assert (first.request, first.at, first.count, first.message) == ("q", NOW, 5, "five")
    before = asked(done("Clear", "q"), clear="x")
    (second,) = acknowledged(before, {OperationName.CLEAR: Outcome(0, "Refused", refused=True)}, NOW)
    assert (second.request, second.count, second.at) == ("x", 3, last_done(before, OperationName.CLEAR))
    assert second.message == "Refused"
    assert last_done(before, OperationName.CLEAR) == NOW
    (new,) = acknowledged(asked(clear="x"), {OperationName.CLEAR: Outcome(0, "m" * 1000, refused=True)}, NOW)
    assert (new.name, new.at, new.count, new.message) == (OperationName.CLEAR, None, 0, "m" * 512)


def test_other_acknowledgements_stay() -> None:
    both = asked(done("Reconcile"), restart="1")
    kept, added = acknowledged(both, {OperationName.RESTART: Outcome(1, "m")}, NOW)
    assert (kept, added.name) == (both.status.operations[0], OperationName.RESTART)


def test_what_was_never_done_has_no_time() -> None:
    assert last_done(queue(done("Clear")), OperationName.RESTART) is None
    assert last_done(None, OperationName.CLEAR) is None
    two = {"operations": [*done("Restart")["operations"], {"name": "Clear", "request": "q", "at": AFTER}]}
    assert last_done(queue(two), OperationName.CLEAR) == job({"queuedAt": AFTER}).status.queued_at


@pytest.mark.parametrize(("request_", "accepted"), [("q", True), ("q again", True), ("yes", False), ("qq", False)])
def test_clear_is_confirmed_by_the_queues_name(request_: str, accepted: bool) -> None:
    refusal = confirm_clear(asked(clear=request_), request_)
    assert (refusal is None) == accepted
    assert accepted or "kubectl annotate aq q" in str(refusal)
    assert accepted or "analysis.klipstream.io/clear=q" in str(refusal)


@pytest.mark.parametrize(
    ("rule", "status", "expected"),
    [
        ("it waited then", {"queuedAt": BEFORE}, True),
        ("it came in that moment", {"queuedAt": AT}, True),
        ("nobody knows since when it waits", {"queuedAt": None}, False),
        ("it came later", {"queuedAt": AFTER}, False),
        ("it backed off then", running("BackingOff") | {"attempts": [{"attempt": 1, "finishedAt": BEFORE}]}, True),
        ("it ran then and backs off since", running("BackingOff") | {"attempts": [{"attempt": 1, "finishedAt": AFTER}]},
         False),
        ("it runs", running(), False),
        ("it is finished", {"phase": "Failed", "queuedAt": BEFORE}, False),
    ],
)  # fmt: skip
def test_clear_cancels_what_waited_at_that_moment(rule: str, status: dict[str, Any], expected: bool) -> None:
    assert cleared(job(status), queue(done("Clear"))) is expected, rule
    assert not cleared(job(status), queue()), "without a clear nothing is"
