"""The integration cases on the oldest and the newest Kubernetes that we name as supported (docs/versions.md)."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from klipcluster import releases
from klipcluster.go_build import binary

ROOT = Path(__file__).resolve().parents[2]
REPORTS = ROOT / "build" / "versions"
ENDS = (releases.OLDEST, releases.NEWEST)
CASES = [
    # That it is this release, and that what hack/cluster promises of a control plane holds on it.
    "test_cluster_control_plane.py",
    # The definitions: schemas, rules over changes, selectable fields, columns, scale.
    "test_custom_resources.py",
    # Lists, watches, patches and Leases, as our client uses them.
    "kube",
    # What the simulated API server and Job controller answer is what these answer.
    "test_simulated_cluster.py",
    "test_simulated_controllers.py",
    # A job's life, admission and high availability, with the real Job controller; killed at each kind of write.
    "test_life.py",
    "test_operator.py",
    "test_operations.py",
    "test_admission_invariants.py",
    "test_crash_points.py",
    "test_high_availability.py",
    "test_retention.py",
    # Identity of workers by TokenReview, and what is posted to the operator.
    "test_progress.py",
    # The chart: each variant is taken by the API server, installed with rights that suffice, admission policies work.
    "test_chart.py",
    "chart/test_chart_variants.py",
    "chart/test_chart_restore.py",
    # Relay and gateway: their rights, policies and contracts.
    "relay/test_relay_chart.py",
    "relay/test_relay_operator.py",
    "relay/test_relay_secrets.py",
    "gateway/test_gateway_access.py",
    "gateway/test_gateway_chart.py",
    "gateway/test_gateway_contract.py",
    "cli/test_cli_rights.py",
    "cli/test_cli_jobs.py",
]


@dataclass(frozen=True)
class Result:
    """What pytest counted on one release."""

    version: str
    cases: int
    passed: int
    exit_code: int

    def __str__(self) -> str:
        return f"{self.version}: {self.passed} of {self.cases} cases passed"


def run_on(release: str) -> Result:
    """All cases, with every control plane that they bring up of one release."""
    binary(releases.program(release))  # compiled here, where no case's time limit runs
    report = REPORTS / f"{release}.xml"
    report.unlink(missing_ok=True)
    print(f"\n--- Kubernetes {releases.RELEASES[release]}", flush=True)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "3", "-m", "not node and not sweep", f"--junitxml={report}"]
    command += [str(Path("tests", "integration", case)) for case in CASES]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {releases.VARIABLE: release}, check=False)
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    cases, failed, broken, skipped = (int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped"))
    return Result(releases.RELEASES[release], cases, cases - failed - broken - skipped, done.returncode)


@pytest.mark.sweep
@pytest.mark.timeout(7200)
def test_the_integration_cases_hold_on_both_ends_of_the_supported_range(figures: Callable[[str], None]) -> None:
    REPORTS.mkdir(parents=True, exist_ok=True)
    results = [run_on(release) for release in ENDS]
    figures("Kubernetes " + "; ".join(map(str, results)))
    assert [result.exit_code for result in results] == [0, 0]
    assert all(result.passed == result.cases > 0 for result in results)
