"""Fixtures of the command line's tests: `kubectl analysis` by the real kubectl, and a stage that many tests share."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from klipcluster.tools import tools_folder
from klipfake.processes import Operator, Process
from klipfake.world import World, playing

Run = Callable[..., "subprocess.CompletedProcess[str]"]
BESIDE_PYTHON = str(Path(sys.executable).parent)


class Analysis:
    """`kubectl analysis` in one namespace, as a user with a kubeconfig runs it."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.kubeconfig, self.namespace = kubeconfig, namespace

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([BESIDE_PYTHON, str(tools_folder()), os.environ["PATH"]])
        return os.environ | {"KUBECONFIG": str(self.kubeconfig), "PATH": path}

    def command(self, *arguments: str) -> list[str]:
        return ["kubectl", "analysis", *arguments, "--namespace", self.namespace]

    def __call__(self, *arguments: str, code: int = 0, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Run it; its exit code is to be `code`."""
        done = subprocess.run(
            self.command(*arguments), env=self.environment, input=stdin or "", capture_output=True, text=True,
            check=False, timeout=240,
        )  # fmt: skip
        assert done.returncode == code, f"{arguments} -> {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def out(self, *arguments: str, **options: object) -> str:
        return self(*arguments, **options).stdout  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def stage(control_plane, custom_resources, kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A namespace with an operator and a fake kubelet that serves logs, for all tests of a file."""
    folder, namespace = tmp_path_factory.mktemp("stage"), f"cli-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", namespace)
    operator = Operator(control_plane.kubeconfig, folder / "operator.log", namespace)
    kubelet = Process("klipfake.kubelet", control_plane.kubeconfig, folder / "kubelet.log", "--node")
    try:
        with playing(kubectl, namespace, operator, kubelet) as world:
            yield world
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")
        kubectl("delete", "nodes", "--all", "--wait=false")


@pytest.fixture
def analysis(stage: World, control_plane) -> Analysis:
    """The command line on the stage."""
    return Analysis(control_plane.kubeconfig, stage.namespace)


@pytest.fixture
def alone(control_plane, custom_resources, namespace: str) -> Analysis:
    """The command line in a namespace where no operator is."""
    return Analysis(control_plane.kubeconfig, namespace)
