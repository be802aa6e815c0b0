"""Requests to the operator while it is not there to act on them."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

GROUPS = ("first", "second")


def dead_letters(stack, name: str) -> None:
    """A queue with two groups of dead letters, as its status says."""
    stack.world.queue(name)
    stack.world.until(lambda: stack.anyone.get(f"/api/v1/queue/status?queue={name}").status_code == 200, "the queue")
    groups = [{"fingerprint": each, "count": 1, "reason": "Crashed", "message": "x"} for each in GROUPS]
    status = json.dumps({"status": {"deadLetterGroups": groups}})
    stack.world.kubectl("patch", "aq", name, "--subresource=status", "--type=merge", "-p", status)
    known = f"/api/v1/dead-letters/groups?queue={name}"
    stack.world.until(lambda: len(stack.admin.get(known).json()["groups"]) == 2, "the groups")


def replay(stack, queue: str, fingerprint: str) -> Any:
    return stack.admin.post(f"/api/v1/dead-letters/groups/{fingerprint}/replay?queue={queue}")


def asked(stack, queue: str) -> str:
    annotations = stack.world.get("aq", queue)["metadata"]["annotations"]
    return str(annotations["analysis.klipstream.io/replay"])


def test_a_replay_that_was_promised_is_not_overwritten_by_another(stack):
    stack.world.operator.kill()
    try:
        dead_letters(stack, "graves")
        first = replay(stack, "graves", "first")
        assert (first.status_code, first.json()["queues"][0]["acknowledged"]) == (202, False)
        request = asked(stack, "graves")
        other = replay(stack, "graves", "second")
        assert (other.status_code, other.json()["code"]) == (409, "conflict")
        assert replay(stack, "graves", "first").status_code == 202, "the same group joins"
        assert asked(stack, "graves") == request
    finally:
        stack.world.operator.start()


def test_of_two_replays_at_once_one_is_promised_and_the_other_refused(stack):
    stack.world.operator.kill()
    try:
        for number in range(3):
            queue = f"race-{number}"
            dead_letters(stack, queue)
            with ThreadPoolExecutor(2) as threads:
                answers = list(threads.map(lambda each, queue=queue: replay(stack, queue, each), GROUPS))
            assert sorted(answer.status_code for answer in answers) == [202, 409]
            promised = GROUPS[[answer.status_code for answer in answers].index(202)]
            assert asked(stack, queue).split()[0] == promised
    finally:
        stack.world.operator.start()
