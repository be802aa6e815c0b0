"""What is mutated is the same program, and what became of a mutant is not flattered."""

import json
from pathlib import Path

import pytest

from klipmutants.modules import MODULES, PACKAGES, TESTS
from klipmutants.report import forget_survivors, outcome, print_table
from klipmutants.stage import rewritten, stage

ROOT = Path(__file__).resolve().parents[2]
SOURCE = '''
class Job:
    """A job; it's one."""

    @property
    def over(self) -> bool:
        return self.reason in ("Failed", 'Two words "quoted"')

    @staticmethod
    def said(what):
        return ", ".join((r"a b", f"a {what} b", "It is over.", " and so it ends"))
'''


def test_the_rewritten_module_does_the_same() -> None:
    spaces: list[dict[str, type]] = [{}, {}]
    for space, source in zip(spaces, (SOURCE, rewritten(SOURCE)), strict=True):
        exec(source, space)
    said = [space["Job"].said("x") for space in spaces]
    assert said[0] == said[1]
    for reason in ("Failed", 'Two words "quoted"', "Other"):
        jobs = [space["Job"]() for space in spaces]
        for each in jobs:
            each.reason = reason
        assert jobs[0].over == jobs[1].over == (reason != "Other")


def test_properties_are_mutated_and_only_sentences_are_not() -> None:
    source = rewritten(SOURCE)
    assert "def get_over(self)" in source
    assert "@property" not in source
    for mutated in ('"Failed"', '", ".join', 'r"a b"'):
        assert f" {mutated}" in source or f"({mutated}" in source
    for left_alone in ('"""It is over."""', '""" and so it ends"""', "'''Two words \"quoted\"'''"):
        assert left_alone in source


def test_every_module_and_every_test_that_is_named_is_there() -> None:
    folders = {package.name: ROOT / package for package in PACKAGES}
    assert [name for package, name in MODULES if not (folders[package] / f"{name}.py").is_file()] == []
    assert [pattern for pattern in TESTS if not list(ROOT.glob(pattern))] == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [(0, "survived"), (1, "killed"), (3, "killed"), (5, "survived"), (33, "survived"), (None, "untried"),
     (2, "untried"), (-24, "timeout"), (36, "timeout"), (-11, "killed")],
)  # fmt: skip
def test_a_mutant_that_no_test_reaches_survived(code: int | None, expected: str) -> None:
    assert outcome(code) == expected


def test_when_tests_change_survivors_are_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "mutants" / "src" / "p" / "m.py.meta"
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps({"exit_code_by_key": {"a": 1, "b": 0, "c": 36, "d": 1}}))
    assert print_table(tmp_path, [("p", "m")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "4 mutants, 2 killed, 1 timeouts, 1 survived, 75.0 % killed"
    forget_survivors(tmp_path)
    assert json.loads(kept.read_text())["exit_code_by_key"] == {"a": 1, "b": None, "c": None, "d": 1}
    assert print_table(tmp_path, [("p", "m")]) == 1


def test_only_what_changed_is_written_again(tmp_path: Path) -> None:
    source, workspace = tmp_path / "source", tmp_path / "workspace"
    for name, text in (("p/m.py", "x = 1\n"), ("tests/test_a.py", "1\n"), ("tests/test_b.py", "2\n")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)

    def again() -> bool:
        return stage(source, workspace, [Path("p")], ["tests/*.py"], [], "settings")

    assert again()
    before = (workspace / "src" / "p" / "m.py").stat().st_mtime_ns
    assert not again(), "no test changed"
    assert (workspace / "src" / "p" / "m.py").stat().st_mtime_ns == before
    (source / "tests" / "test_b.py").unlink()
    assert again()
    assert [path.name for path in (workspace / "tests").iterdir()] == ["test_a.py"]
