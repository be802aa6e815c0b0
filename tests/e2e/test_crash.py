"""The operator is killed, or frozen beyond its Lease, at every write of a run: nothing is lost, nothing runs twice."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from klipcluster import Running
from klipsweep.sweep import all_cases, golden_run, stage, sweep

FOLDER = Path(__file__).resolve().parents[2] / "build" / "crash"
"""Logs of the cases that broke a promise stay here."""


@pytest.mark.sweep
@pytest.mark.timeout(3600)
async def test_a_crash_at_any_write_breaks_no_promise(
    audited: Running, custom_resources: None, figures: Callable[[str], None]
) -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    async with stage(audited, FOLDER) as shared:
        golden = await golden_run(shared)
        findings = await sweep(shared, all_cases(len(golden.writes)), golden, say=partial(print, flush=True))
    print(findings.table())
    figures(findings.last_line())
    assert findings.violations == []
    assert len(findings.reached) >= 0.97 * len(findings.outcomes)
    assert not set(findings.kinds) - set(findings.crashed_at)
