"""The reference analysis worker: finds the loud moments of a video."""
