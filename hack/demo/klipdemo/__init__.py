"""`make demo`: the main job on a real cluster, checked to the end."""
