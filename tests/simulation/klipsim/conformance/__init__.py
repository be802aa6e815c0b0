"""Scripted cases that run against a real cluster and against the simulated one, and must show the same in both."""
