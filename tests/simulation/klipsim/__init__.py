"""A deterministic simulation of the operator in a Kubernetes cluster: one seed is one run.

See docs/guarantees.md.
"""
