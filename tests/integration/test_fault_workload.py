"""The operator finishes its work behind a faulty connection, whatever the fault; judged from the audit log."""

import random
from pathlib import Path

import pytest

from klipcluster import Running
from klipfault.faults import (
    CloseWatch,
    Delay,
    DelayEvent,
    DropAnswer,
    DuplicateEvent,
    ExpireWatch,
    Fault,
    FreezeWatch,
    Refuse,
    Reset,
    Rule,
    SwallowEvent,
)
from klipsweep.case import Case, run_case
from klipsweep.sweep import stage

SHARE = 0.15
SWEEP_SECONDS = 2
"""What a watch never told is found by the sweep."""
FAULTS: list[Fault] = [
    *(Refuse(code) for code in (409, 410, 422, 500, 503)), Refuse(429, retry_after_seconds=1), Delay(0.7), Reset(),
    DropAnswer(), CloseWatch(2), FreezeWatch(5), ExpireWatch(2), SwallowEvent(3), DuplicateEvent(2),
    DelayEvent(3, seconds=0.5),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
async def test_all_work_ends_as_it_must_behind_a_faulty_connection(
    audited: Running, custom_resources: None, tmp_path: Path, fault: Fault
) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")  # shown when the test fails
    rule = Rule(fault, chance=SHARE, dice=random.Random(seed))
    if not isinstance(fault, Refuse | Delay | Reset | DropAnswer):
        rule.chance = 1.0
    async with stage(audited, tmp_path) as shared:
        outcome = await run_case(shared, Case(), rules=[rule], sweep_seconds=SWEEP_SECONDS)
    print(f"{outcome.faults}, {outcome.ended_by_themselves} processes ended by themselves, {outcome.seconds:.1f} s")
    assert outcome.violations == []
    assert outcome.faults[fault.kind] > 1
