"""A deterministic simulation of the operator in a Kubernetes cluster: one seed is one run, replayed to the last step."""
