"""The gateway as a process, and callers of it."""
