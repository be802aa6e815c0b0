"""`python -m klipchart.static BIN`: the chart's static checks, with yamllint and checkov from BIN.

The exit code is 1 where something is not clean.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from klipchart.explained import EXPLAINED
from klipcluster.tools import tools_folder

CHART = Path("charts/klipstream")
VARIANTS = Path("tests/integration/chart/values")
OURS = (CHART / "values.yaml", CHART / "Chart.yaml", CHART / "alerts.yaml", Path("crds"), VARIANTS)


def main() -> int:
    """Run all checks and say what is wrong."""
    tools = Path(sys.argv[1])
    problems = [*_helm_lint(), *_yamllint(tools)]
    with tempfile.TemporaryDirectory() as scratch:
        variants = list(_render(Path(scratch)))
        problems += _checkov(tools, Path(scratch))
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"static: {len(variants)} variants, {len(EXPLAINED)} findings explained, {len(problems)} problems")
    return 1 if problems else 0


def _render(folder: Path) -> Iterator[Path]:
    helm = str(tools_folder() / "helm")
    for values in sorted(VARIANTS.glob("*.yaml")):
        target = folder / values.name
        command = [helm, "template", "klipstream", str(CHART), "-n", "klipstream", "-f", str(values)]
        with target.open("w") as file:
            subprocess.run(command, check=True, stdout=file)
        yield target


def _helm_lint() -> Iterator[str]:
    for values in sorted(VARIANTS.glob("*.yaml")):
        command = [str(tools_folder() / "helm"), "lint", "--strict", str(CHART), "-f", str(values)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            yield f"helm lint with {values.name}: {done.stdout}"


def _yamllint(tools: Path) -> Iterator[str]:
    command = [str(tools / "yamllint"), "--strict", "-f", "parsable", "-c", "hack/chart/yamllint.yaml", *map(str, OURS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    yield from done.stdout.splitlines()
    if done.returncode != 0 and not done.stdout:
        yield f"yamllint: {done.stderr}"


def _checkov(tools: Path, folder: Path) -> Iterator[str]:
    options = ["--framework", "kubernetes", "--compact", "--quiet", "-o", "json"]
    command = [str(tools / "checkov"), "-d", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    report = report[0] if isinstance(report, list) else report
    if report["summary"]["parsing_errors"]:
        yield f"checkov could not read {report['results']['parsing_errors']}"
    found = {failed["check_id"] for failed in report["results"]["failed_checks"]}
    for failed in report["results"]["failed_checks"]:
        if failed["check_id"] not in EXPLAINED:
            yield f"{failed['check_id']} {failed['check_name']}: {failed['resource']} in {failed['file_path']}"
    for check in EXPLAINED.keys() - found:
        yield f"{check} is explained and never found: remove it from hack/chart/klipchart/explained.py"


if __name__ == "__main__":
    sys.exit(main())
