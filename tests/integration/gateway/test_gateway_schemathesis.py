"""A sample of the requests that are made up from the description (tests/e2e/test_gateway_schemathesis.py: all)."""

from pathlib import Path

import pytest

from klipgate.made_up import run


@pytest.mark.timeout(900)
def test_the_gateway_answers_as_it_describes_itself(stack, tmp_path: Path) -> None:
    findings = run(stack, tmp_path, examples=2, phases="examples,fuzzing", seconds=800)
    assert findings.passed, findings.said
    assert len(findings.seen) > 20
    assert {status for counts in findings.seen.values() for status in counts} >= {200, 202, 404, 422}
