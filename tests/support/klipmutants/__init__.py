"""Automatic mutants of the pure modules: mutmut in a workspace of its own, and what became of each mutant."""
