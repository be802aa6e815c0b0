"""Fixtures of the tests that run the operator."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from klipfake.processes import Operator, Process
from klipfake.world import World, playing


@pytest.fixture
def world(control_plane, custom_resources, kubectl, namespace: str, tmp_path: Path) -> Iterator[World]:
    operator = Operator(control_plane.kubeconfig, tmp_path / "operator.log", namespace)
    kubelet = Process("klipfake.kubelet", control_plane.kubeconfig, tmp_path / "kubelet.log")
    with playing(kubectl, namespace, operator, kubelet) as world:
        yield world
