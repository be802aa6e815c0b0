"""Recordings with known exciting moments: speech, music, silence, decoys and a chat that may or may not react.

Nothing here is taken from the detector, and nothing but `evaluate` imports it: what is planted follows from what
streams are like, not from what is looked for.
"""
