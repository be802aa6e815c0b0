"""The chart on a real node: installing releases, and what the audit log tells of their rights."""
