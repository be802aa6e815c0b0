"""Which Kubernetes is brought up: the one that has a node, or the control plane of an end of the supported range."""

import os

from klipcluster.errors import ClusterError
from klipcluster.go_build import KUBERNETES, KUBERNETES_VERSION, Program, version_flags

VARIABLE = "KLIPSTREAM_KUBERNETES"
"""Environment variable with the minor release for every cluster that is not told another one."""
OLDEST, WITH_NODE, NEWEST = "1.32", "1.34", "1.37"
"""The supported range (kubeVersion of the chart, docs/versions.md) and the release whose kubelet is built as well."""

RELEASES = {OLDEST: "v1.32.13", WITH_NODE: KUBERNETES_VERSION, NEWEST: "v1.37.2"}
"""Minor release to the patch release that is built of it."""


def chosen(minor: str | None = None) -> str:
    """The minor release that was asked for: by the argument, else by the environment. Raises ClusterError."""
    asked = minor or os.environ.get(VARIABLE) or WITH_NODE
    if asked not in RELEASES:
        raise ClusterError(f"Kubernetes {asked} is not built here: choose one of {', '.join(RELEASES)}")
    return asked


def program(minor: str) -> Program:
    """What holds etcd, API server and controller manager of a minor release."""
    if minor == WITH_NODE:
        return KUBERNETES
    version = RELEASES[minor]
    oldest_go = (1, 26) if minor == NEWEST else (1, 24)
    return Program("control-plane", 360, version_flags(version), version=version, oldest_go=oldest_go)
