"""Rights whose occasions `make e2e SUITE=chart` does not bring about, with the reason: (account, resource, verb)."""

UNUSED: dict[tuple[str, str, str], str] = {
    ("operator", "pods/status", "patch"): "a node must be lost for that (tests/e2e/test_crash.py)",
    ("operator", "pods", "delete"): "a node must be lost for that (tests/e2e/test_crash.py)",
    ("operator", "pods", "get"): "a pod that the cache does not know yet posts (tests/integration/test_progress.py)",
    ("operator", "jobs", "get"): "a Job that the cache does not show is read before it is taken for lost",
    ("operator", "analysisjobs", "get"): "a write met a conflict or its answer was lost, and is decided again",
    ("operator", "analysisqueues", "get"): "a write met a conflict or its answer was lost, and is decided again",
    ("operator", "workloads", "list"): "Kueue must be there for that (tests/integration/test_kueue.py)",
    ("operator", "workloads", "patch"): "Kueue must be there for that (tests/integration/test_kueue.py)",
    ("operator", "jobs", "patch"): "a worker does not end by itself when it is told to (tests/e2e/test_lifecycle.py)",
    ("relay", "analysisjobs", "patch"): "an app cancels or re-prioritises through Convex (tests/e2e/test_convex.py)",
    ("relay", "analysisjobs", "get"): "a sealed secret is read with its job, and Convex' sweep reads what it doubts",
    ("relay", "analysisqueues", "get"): "`python -m klipstream_relay verify` asks",
    ("gateway", "analysisjobs", "get"): "a submission is repeated whose answer was lost, or that its cache lacks",
}
