"""Crashes the operator at every write of a run on the real API server, and judges what came of it."""
