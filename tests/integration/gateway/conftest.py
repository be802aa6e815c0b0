"""A namespace with a real operator, a fake kubelet and a gateway, for all tests of a module."""

import uuid
from collections.abc import Iterator

import pytest

from klipgate.stack import Stack, stacked


@pytest.fixture(scope="module")
def stack(control_plane, custom_resources, kubectl, tmp_path_factory) -> Iterator[Stack]:
    home = f"t-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", home)
    with stacked(kubectl, control_plane.kubeconfig, home, tmp_path_factory.mktemp("gateway")) as stack:
        yield stack
    kubectl("delete", "namespace", home, "--wait=false")
