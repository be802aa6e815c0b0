"""Whatever ends a command early is a line and an exit code, never a traceback: the program as it runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from klipanswers import says, server
from klipstream_cli.errors import Exit

API = "analysis.klipstream.io/v1alpha1"


def run(*arguments: str, stdout: int | str = subprocess.PIPE, stdin: str = "", **environment: str):
    target = open(stdout, "w") if isinstance(stdout, str) else stdout  # noqa: SIM115 - closed with the test
    return subprocess.run(
        [sys.executable, "-m", "klipstream_cli", *arguments], input=stdin, stdout=target, stderr=subprocess.PIPE,
        text=True, check=False, timeout=120, env=dict(__import__("os").environ) | environment,
    )  # fmt: skip


def manifest(name: str = "a", kind: object = "AnalysisJob", **spec: object) -> str:
    body = {"videoUrl": "https://e.x/a", **spec}
    return json.dumps({"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": body})


def kubeconfig(folder: Path, url: str) -> str:
    path = folder / "config"
    path.write_text(json.dumps({
        "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": url}}], "users": [{"name": "u", "user": {}}],
    }))  # fmt: skip
    return str(path)


def test_an_empty_name_is_a_mistake(tmp_path: Path) -> None:
    done = run("status", "", "--kubeconfig", kubeconfig(tmp_path, "http://127.0.0.1:1"))
    assert (done.returncode, "the name of the analysisjob is empty" in done.stderr) == (Exit.USAGE, True), done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [(manifest(kind=["a"]), "no matches for kind"), (manifest(params={"a": {"b": 1}}), "must be of type string"),
     (manifest().replace('"spec": {', '"spec": {1: 2, '), 'unknown field "spec.1"'),
     (manifest(params={"a": "b"}).replace('{"a": "b"}', "{1: a, b: c}"), "0 problems")],
)  # fmt: skip
def test_lint_takes_whatever_yaml_can_say(text: str, words: str) -> None:
    done = run("lint", "-", stdin=text)
    assert words in done.stdout, done.stderr
    assert "Traceback" not in done.stderr


def test_a_disk_that_is_full_is_told() -> None:
    done = run("lint", "-", stdin=manifest(), stdout="/dev/full")
    assert (done.returncode, done.stderr) == (Exit.FAILED, "error: No space left on device\n")


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with server(says({"metadata": {"resourceVersion": "5"}, "items": []})) as (url, _):
        done = run("top", "--once", "--svg", f"{tmp_path}/none/x.svg", "--kubeconfig", kubeconfig(tmp_path, url))
    assert "none/x.svg: No such file or directory" in done.stderr
    assert (done.returncode, "Traceback" in done.stderr) == (Exit.FAILED, False)


def test_a_terminal_without_our_characters_loses_no_data(tmp_path: Path) -> None:
    name = {"metadata": {"name": "a", "namespace": "default"}, "spec": {"videoUrl": "https://e.x/ü"}, "status": {}}
    config = kubeconfig(tmp_path, "http://127.0.0.1:1")
    assert run("lint", "-", stdin=manifest(name="ü"), PYTHONIOENCODING="ascii").stdout.startswith("? -")
    with server(says(name)) as (url, _):
        config = kubeconfig(tmp_path, url)
        for output in ("json", "yaml"):
            done = run("status", "a", "--kubeconfig", config, "-o", output, PYTHONIOENCODING="ascii")
            assert "\\u00fc" in done.stdout or "\\xFC" in done.stdout, done


def test_nothing_of_others_steers_the_terminal(tmp_path: Path) -> None:
    """C0 and C1 controls, and marks that turn the direction of text."""
    name = "a\x1b]0;owned\x07\u009b31m\u202e.yaml"
    (tmp_path / name).write_text(manifest(name="x\u009b2J"))
    out = run("lint", str(tmp_path)).stdout
    assert not set("\x1b\x07\u009b\u202e") & set(out), ascii(out)
