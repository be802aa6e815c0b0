"""The operator against a real node, seen through the API server: for end-to-end suites."""
