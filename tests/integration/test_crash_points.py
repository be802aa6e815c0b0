"""A sample of the crash-point sweep (tests/e2e/test_crash.py runs all of it)."""

from functools import partial
from pathlib import Path

import pytest

from klipcluster import Running
from klipsweep.case import Crash
from klipsweep.sweep import all_cases, golden_run, stage, sweep

EVERY = 16


@pytest.mark.timeout(900)
async def test_a_crash_at_some_writes_breaks_no_promise(
    audited: Running, custom_resources: None, tmp_path: Path
) -> None:
    async with stage(audited, tmp_path) as shared:
        golden = await golden_run(shared)
        cases = all_cases(len(golden.writes), every=EVERY, frozen_every=2 * EVERY)
        findings = await sweep(shared, cases, golden, say=partial(print, flush=True))
    print(findings.last_line())
    assert findings.violations == []
    assert {outcome.case.crash for outcome in findings.reached} == set(Crash)
    assert len(findings.reached) > len(cases) // 2
