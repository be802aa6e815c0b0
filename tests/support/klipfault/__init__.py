"""A proxy before the API server that injects the faults which a cluster, a network or a crash brings."""
