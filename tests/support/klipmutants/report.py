"""What became of each mutant, read from what mutmut keeps beside its copies of the modules."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

Module = tuple[str, str]
_OUTCOMES = {0: "survived", 1: "killed", 3: "killed", 5: "survived", 33: "survived", None: "untried", 2: "untried"}
_TIMEOUTS = (-24, 24, 36, 152, 255)


def outcome(exit_code: int | None) -> str:
    """mutmut's exit codes in words; a mutant that no test reaches survived, one that ends the process was killed."""
    return "timeout" if exit_code in _TIMEOUTS else _OUTCOMES.get(exit_code, "killed")


def _kept(workspace: Path, module: Module) -> Path:
    return workspace / "mutants" / "src" / module[0] / f"{module[1]}.py.meta"


def results(workspace: Path, module: Module) -> dict[str, int | None]:
    """The exit code of the tests by mutant; empty where the module was not mutated yet."""
    path = _kept(workspace, module)
    return dict(json.loads(path.read_text())["exit_code_by_key"]) if path.exists() else {}


def forget_survivors(workspace: Path) -> None:
    """The tests changed: whoever survived is tried again, and which tests reach which function is found out anew."""
    (workspace / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)
    for path in (workspace / "mutants" / "src").rglob("*.py.meta"):
        kept = json.loads(path.read_text())
        codes = kept["exit_code_by_key"]
        kept["exit_code_by_key"] = {key: code if outcome(code) == "killed" else None for key, code in codes.items()}
        path.write_text(json.dumps(kept, indent=4))


def print_table(workspace: Path, modules: list[Module]) -> int:
    """A row for each module, and the total on the last line; 1 where mutants are left that were not tried."""
    table = Table("module", *(f"{head}" for head in ("mutants", "killed", "timeout", "survived", "rate")))
    total: Counter[str] = Counter()
    for module in modules:
        counts = Counter(outcome(code) for code in results(workspace, module).values())
        table.add_row(".".join(module), *_figures(counts))
        total += counts
    Console(width=100).print(table)
    mutants, killed, timeout, survived, rate = _figures(total)
    left = f", {total['untried']} not tried yet: run it again to go on" if total["untried"] else ""
    print(f"{mutants} mutants, {killed} killed, {timeout} timeouts, {survived} survived, {rate} killed{left}")
    return 1 if total["untried"] else 0


def _figures(counts: Counter[str]) -> tuple[str, ...]:
    """A mutant that never ends is found out as well."""
    mutants = counts.total() - counts["untried"]
    found_out = counts["killed"] + counts["timeout"]
    rate = f"{100 * found_out / mutants:.1f} %" if mutants else "-"
    return str(mutants), str(counts["killed"]), str(counts["timeout"]), str(counts["survived"]), rate


def show_survivors(workspace: Path, modules: list[Module]) -> None:
    """What each survivor changed."""
    for module in modules:
        for name, code in results(workspace, module).items():
            if outcome(code) == "survived":
                command = [str(Path(sys.executable).parent / "mutmut"), "show", name]
                subprocess.run(command, cwd=workspace, check=True)
