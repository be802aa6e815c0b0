"""A real Kubernetes on one Linux machine without Docker, for demo and tests.

The control plane alone needs no root and serves integration tests; the whole node runs pods with containerd.
"""

from klipcluster.cluster import Cluster, ClusterError, Running

__all__ = ["Cluster", "ClusterError", "Running"]
