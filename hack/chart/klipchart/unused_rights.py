"""Rights whose occasions `make e2e SUITE=chart` does not bring about, with the reason: (account, resource, verb)."""

UNUSED: dict[tuple[str, str, str], str] = {
    ("operator", "pods/status", "patch"): "a node must be lost for that (tests/e2e/test_crash.py)",
    ("operator", "pods", "delete"): "a node must be lost for that (tests/e2e/test_crash.py)",
}
