"""Fixtures of the tests that run the operator."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from klipcluster.tools import tools_folder
from klipfake.processes import Operator, Process
from klipfake.world import World, playing


@pytest.fixture
def world(control_plane, custom_resources, kubectl, namespace: str, tmp_path: Path) -> Iterator[World]:
    operator = Operator(control_plane.kubeconfig, tmp_path / "operator.log", namespace)
    kubelet = Process("klipfake.kubelet", control_plane.kubeconfig, tmp_path / "kubelet.log")
    with playing(kubectl, namespace, operator, kubelet) as world:
        yield world


@pytest.fixture
def helm(control_plane) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """The real helm: helm("lint", chart) returns the completed process, whatever came of it."""
    environment = os.environ | {"KUBECONFIG": str(control_plane.kubeconfig)}

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(tools_folder() / "helm"), *arguments], env=environment, capture_output=True, text=True, check=False
        )

    return run
