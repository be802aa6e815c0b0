"""A real Kubernetes on one Linux machine without Docker, for demo and tests.

The control plane alone needs no root and serves integration tests; the whole node runs pods with containerd.
"""

from klipcluster.cluster import Cluster, Running
from klipcluster.errors import ClusterError

__all__ = ["Cluster", "ClusterError", "Running"]
