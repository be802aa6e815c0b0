"""The operator finishes its work behind a faulty connection, whatever the fault; judged from the audit log."""

import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from klipcluster import Running
from klipfault.faults import (
    WATCH_FAULTS,
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
from klipsweep.case import Case, Stage, run_case
from klipsweep.sweep import stage

pytestmark = pytest.mark.asyncio(loop_scope="module")
SHARE = 0.1
SWEEP_SECONDS = 2
"""What a watch never told is found by the sweep."""
FAULTS: list[Fault] = [
    *(Refuse(code) for code in (409, 410, 422, 500, 503)), Refuse(429, retry_after_seconds=1), Delay(0.7), Reset(),
    DropAnswer(), CloseWatch(2), FreezeWatch(5), ExpireWatch(2), SwallowEvent(3), DuplicateEvent(2),
    DelayEvent(3, seconds=0.5),
]  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    audited: Running, custom_resources: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    async with stage(audited, tmp_path_factory.mktemp("faults")) as shared:
        yield shared


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
async def test_all_work_ends_as_it_must_behind_a_faulty_connection(shared: Stage, fault: Fault) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")  # shown when the test fails
    # A create that is refused as invalid is never tried again, and rightly so: the Job would be invalid the next time.
    verbs = frozenset({"patch"}) if fault == Refuse(422) else None
    share = 1.0 if isinstance(fault, WATCH_FAULTS) else 0.25 if verbs else SHARE
    rule = Rule(fault, verbs=verbs, chance=share, dice=random.Random(seed))
    known = SWEEP_SECONDS + 5.0 if isinstance(fault, WATCH_FAULTS) else 5.0
    outcome = await run_case(shared, Case(), rules=[rule], sweep_seconds=SWEEP_SECONDS, seen_seconds=known)
    print(f"{outcome.faults}, {outcome.ended_by_themselves} processes ended by themselves, {outcome.seconds:.1f} s")
    assert outcome.violations == []
    assert outcome.faults[fault.kind] >= 1
