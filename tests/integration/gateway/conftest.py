"""A namespace with a real operator, a fake kubelet and a gateway, for all tests of a module."""

import uuid
from collections.abc import Iterator

import pytest

from klipgate.stack import Stack, stacked


@pytest.fixture(scope="module")
def stack(request, control_plane, custom_resources, kubectl, tmp_path_factory) -> Iterator[Stack]:
    """With a node that serves logs where the module says LOGS = True."""
    home = f"t-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", home)
    folder, node = tmp_path_factory.mktemp("gateway"), getattr(request.module, "LOGS", False)
    with stacked(kubectl, control_plane.kubeconfig, home, folder, node) as stack:
        yield stack
    if node:
        kubectl("delete", "nodes", "--all", "--wait=false")
    kubectl("delete", "namespace", home, "--wait=false")
