"""`python -m klipchart`: write what is generated for the chart; with --check only say what is not current."""

import sys
from pathlib import Path

from klipchart.dashboard import dashboard
from klipchart.explained import page
from klipchart.readme import readme
from klipchart.rights import NAMESPACE, render, rights_of, table
from klipchart.unused_rights import UNUSED
from klipcluster.tools import tools_folder

CHART = Path("charts/klipstream")


def generated(root: Path) -> dict[Path, str]:
    """Every generated file of the repository at `root`, and what it should hold."""
    helm, chart = tools_folder() / "helm", root / CHART
    rights = rights_of(render(helm, chart), render(helm, chart, f"operator.namespaces={{{NAMESPACE}}}"))
    return {
        CHART / "README.md": readme((chart / "values.yaml").read_text()),
        CHART / "dashboard.json": dashboard(),
        Path("docs/rbac.md"): table(rights, UNUSED),
        Path("docs/static-checks.md"): page(),
    }


def main() -> int:
    """Write, or check; the exit code."""
    stale = 0
    for path, text in generated(Path.cwd()).items():
        if path.exists() and path.read_text() == text:
            continue
        if "--check" in sys.argv:
            print(f"{path} is not current: run `make charts`", file=sys.stderr)
            stale += 1
        else:
            path.write_text(text)
            print(f"wrote {path}")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
