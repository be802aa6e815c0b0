"""The workspace in which mutmut runs: the sources that it mutates and the tests that are quick enough to kill.

mutmut wants one `src` folder whose paths are the modules' names, so the packages are copied into one. On the way
each file is rewritten without a change of behaviour, for two reasons:

- mutmut leaves every decorated function alone, and much of what is decided stands in properties. They become plain
  methods with `name = property(method)` behind them, so they are mutated like everything else.
- The text of a message is for people and no behaviour. A sentence, that is a plain literal in which a blank parts two
  words or comes before the first one, becomes a triple-quoted one, whose text mutmut leaves alone. Reasons, condition
  types, keys, patterns (raw literals) and separators have no such blank and stay; that a message is given at all does
  too.
"""

import ast
import io
import re
import shutil
import tokenize
from pathlib import Path

_SENTENCE = re.compile(r"^[\"'] \(?\w|\w[\w,.;:)']* \(?\w")
_QUOTES = ('"""', "'''")


def stage(
    source: Path, workspace: Path, packages: list[Path], tests: list[str], others: list[str], settings: str
) -> bool:
    """Bring the workspace up to date; True where tests changed. What did not change keeps its time of change."""
    (workspace / "src").mkdir(parents=True, exist_ok=True)
    for package in packages:
        for path in sorted((source / package).rglob("*.py")):
            target = workspace / "src" / package.name / path.relative_to(source / package)
            _write(target, rewritten(path.read_text()))
    changed = _write(workspace / "pyproject.toml", settings)
    wanted = {path for pattern in tests for path in source.glob(pattern) if path.is_file()}
    for path in sorted(wanted):
        changed |= _write(workspace / path.relative_to(source), path.read_text())
    for path in list((workspace / "tests").rglob("*")):
        if path.is_file() and source / path.relative_to(workspace) not in wanted and "__pycache__" not in path.parts:
            path.unlink()
            changed = True
    for name in others:
        _write(workspace / name, (source / name).read_text())
    if changed:
        # mutmut only ever adds tests to its copy.
        shutil.rmtree(workspace / "mutants" / "tests", ignore_errors=True)
    return changed


def _write(path: Path, text: str) -> bool:
    if path.exists() and path.read_text() == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return True


def rewritten(source: str) -> str:
    """The same module with plain methods for properties, and with sentences that mutmut leaves alone."""
    return _methods_for_properties(_sentences_apart(source))


def _sentences_apart(source: str) -> str:
    lines = source.splitlines(keepends=True)
    for token in reversed(list(tokenize.generate_tokens(io.StringIO(source).readline))):
        if token.type != tokenize.STRING or token.start[0] != token.end[0] or token.string[0] not in "\"'":
            continue
        if token.string.startswith(_QUOTES) or not _SENTENCE.search(token.string):
            continue
        said = token.string[1:-1]
        quotes = next(q for q in _QUOTES if q not in said and not said.endswith(q[0]))
        line = lines[token.start[0] - 1]
        lines[token.start[0] - 1] = f"{line[: token.start[1]]}{quotes}{said}{quotes}{line[token.end[1] :]}"
    return "".join(lines)


def _methods_for_properties(source: str) -> str:
    lines = source.splitlines(keepends=True)
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    methods = [node for each in classes for node in each.body if isinstance(node, ast.FunctionDef)]
    for method in reversed(methods):
        if [ast.unparse(decorator) for decorator in method.decorator_list] != ["property"]:
            continue
        assert method.end_lineno is not None
        indent = " " * method.col_offset
        lines.insert(method.end_lineno, f"\n{indent}{method.name} = property(get_{method.name})\n")
        definition = lines[method.lineno - 1]
        lines[method.lineno - 1] = definition.replace(f"def {method.name}(", f"def get_{method.name}(", 1)
        del lines[method.decorator_list[0].lineno - 1]
    return "".join(lines)
