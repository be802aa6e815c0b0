"""Judges a run of the queue from the writes that an API server took, and from nothing else."""
