"""Benchmarks of the analysis queue against a real Kubernetes API server, and the judge of what happened there."""
