"""What makes a simulation worth anything: it repeats itself to the last step, and it is as large as it claims."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

SEEDS = (1, 2, 3)


def python(code: str) -> Any:
    """What a program prints as JSON, with the order of sets that the simulation needs."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


RUN = f"""
import json
from klipsim.run import Scenario, simulate
runs = []
for seed in {SEEDS}:
    scenario, result = Scenario.of(seed), simulate(seed)
    runs.append({{"digest": result.digest, "violations": result.violations, "jobs": result.jobs,
                 "writes": result.all_writes, "faults": result.hit.total(), "replicas": scenario.replicas,
                 "queues": len(scenario.plan.queues), "checked": result.checked}})
print(json.dumps(runs))
"""

CHANGED = """
import json
import orjson
from klipsim.apiserver import ApiServer
from klipsim.run import simulate
stored, store = [], ApiServer._store

def kept(self, *args):
    obj = store(self, *args)
    stored.append((obj, orjson.dumps(obj)))
    return obj

ApiServer._store = kept
for seed in (1, 6, 8, 15, 121):  # one and two shards, a change of their number, events, and less done
    simulate(seed)
changed = [obj["metadata"]["name"] for obj, was in stored if orjson.dumps(obj) != was]
print(json.dumps([len(stored), changed]))
"""

SMALLEST = """
import json
from dataclasses import replace
from klipsim.run import Scenario, run
scenario = Scenario.of(1)
queues = [action for action in scenario.plan.actions if action.verb == "create queue"]
plan = replace(scenario.plan, actions=queues, reactions=[])
result = run(replace(scenario, plan=plan, faults=[]))
print(json.dumps([result.all_writes, result.violations]))
"""


@pytest.fixture(scope="module")
def runs() -> list[dict[str, Any]]:
    return list(python(RUN))


def test_nobody_changes_the_stored_objects_that_all_are_handed() -> None:
    number, changed = python(CHANGED)
    assert number > 1000
    assert not changed


def test_a_seed_stands_for_one_run(runs: list[dict[str, Any]]) -> None:
    """In another process, every write is the same, by the same sender, at the same moment."""
    assert [run["digest"] for run in python(RUN)] == [run["digest"] for run in runs]
    assert len({run["digest"] for run in runs}) == len(SEEDS)


def test_a_run_is_large_enough_to_go_wrong(runs: list[dict[str, Any]]) -> None:
    for run in runs:
        assert run["replicas"] >= 2
        assert run["queues"] >= 2
        assert run["jobs"] >= 20
        assert run["faults"] >= 5
        assert run["writes"] >= 200


def test_a_run_in_which_nobody_does_anything_goes_on_until_it_is_large_enough() -> None:
    writes, violations = python(SMALLEST)
    assert writes >= 200
    assert violations == []


def test_the_promises_are_put_to_the_test_and_kept(runs: list[dict[str, Any]]) -> None:
    for run in runs:
        assert run["violations"] == []
        for rule in ("limit", "one-pod", "one-job", "inversion", "fifo", "released-early", "unfinished", "quiet"):
            assert run["checked"][rule] > 0, rule
