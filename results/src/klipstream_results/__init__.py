"""Where analyses leave their results and checkpoints: one small interface over fsspec."""

from klipstream_results.store import ResultStore, ResultStoreError, open_store

__all__ = ["ResultStore", "ResultStoreError", "open_store"]
