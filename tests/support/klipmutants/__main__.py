"""`make mutants [MODULE=name] [MINUTES=n]`: mutate the pure modules and count what the quick unit tests kill.

A run that was cut short goes on where it was; killed mutants stay killed until their function changes, survivors are
tried again when the tests change. `--fresh` begins anew.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from klipmutants import report, stage
from klipmutants.modules import DESELECTED, MODULES, PACKAGES, READ_BY_TESTS, TESTS

ROOT = Path(__file__).resolve().parents[3]
WORKSPACE = ROOT / "build" / "mutants"
MODEL_LIVES = 8
GRACE_SECONDS = 20
SLOW_PLUGINS = ("cacheprovider", "unraisableexception", "threadexception")
"""Half of the time of a process for one mutant went into starting pytest and into their garbage collections."""


def settings() -> str:
    """The workspace's pyproject.toml: the pytest settings of the real one, and mutmut's."""
    plugins = ("klipmutants.quick", "pytest_asyncio.plugin", "pytest_timeout", *(f"no:{name}" for name in SLOW_PLUGINS))
    pytest_arguments = [*(f"-p{plugin}" for plugin in plugins), "--assert=plain", "--tb=no", "--no-header"]
    lines = [
        "[tool.pytest.ini_options]",
        'addopts = "--import-mode=importlib --strict-markers"',
        'asyncio_mode = "auto"',
        'asyncio_default_fixture_loop_scope = "function"',
        "timeout = 60",
        "",
        "[tool.mutmut]",
        'source_paths = ["src"]',
        f"only_mutate = {[f'src/{package}/{module}.py' for package, module in MODULES]}",
        f"also_copy = {sorted({name.split('/')[0] for name in READ_BY_TESTS})}",
        f"pytest_add_cli_args = {pytest_arguments}",
        f"pytest_add_cli_args_test_selection = {['tests', *(f'--deselect={test}' for test in DESELECTED)]}",
        "timeout_multiplier = 10.0",
        "timeout_constant = 6.0",
        "use_git_change_detection = false",
        'on_dependency_change = "ignore"',
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("module", nargs="*", choices=[[], *sorted(module for _, module in MODULES)])
    parser.add_argument("--minutes", type=float, default=45.0, help="stop after that long; the next run goes on")
    parser.add_argument("--children", type=int, default=1, help="mutants that are tried at the same time")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs found out")
    parser.add_argument("--show", action="store_true", help="list the survivors with their differences; run nothing")
    arguments = parser.parse_args()
    chosen = [each for each in MODULES if not arguments.module or each[1] in arguments.module]
    if arguments.show:
        report.show_survivors(WORKSPACE, chosen)
        return 0
    if arguments.fresh:
        shutil.rmtree(WORKSPACE, ignore_errors=True)
    if stage.stage(ROOT, WORKSPACE, PACKAGES, TESTS, READ_BY_TESTS, settings()):
        report.forget_survivors(WORKSPACE)
    names = [f"{package}.{module}.*" for package, module in chosen] if arguments.module else []
    _run(names, arguments.children, arguments.minutes * 60)
    return report.print_table(WORKSPACE, chosen)


def _run(names: list[str], children: int, seconds: float) -> None:
    environment = os.environ | {
        "KLIPSTREAM_MODEL_LIVES": str(MODEL_LIVES),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [str(Path(sys.executable).parent / "mutmut"), "run", "--max-children", str(children), *names]
    running = subprocess.Popen(command, cwd=WORKSPACE, env=environment)
    try:
        if running.wait(seconds) != 0:
            sys.exit("mutmut could not run; the reason is above")
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        # Each result is on disk already; a process that tries a mutant ends by its own limit.
        running.terminate()
        running.wait(GRACE_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
