"""What is mutated, and which tests are to kill it."""

from pathlib import Path

PACKAGES = [
    Path("operator/src/klipstream_operator"),
    Path("queueing/src/klipstream_queueing"),
    Path("kube/src/klipstream_kube"),
]

_PURE = {
    "klipstream_operator": (
        "administration", "bounds", "capacity", "dead_letters", "failures", "lifecycle", "limits", "operations",
        "patches", "queue_status", "retention", "status_diff", "statuses", "stops", "store", "tombstones",
        "transitions", "workload",
    ),
    "klipstream_queueing": ("aging", "backlog", "estimate", "order", "routing", "runtimes", "slots"),
    "klipstream_kube": ("backoff", "clock", "watch"),
}  # fmt: skip
MODULES = [(package, module) for package, modules in _PURE.items() for module in modules]

TESTS = [
    "tests/conftest.py",
    "tests/unit/conftest.py",
    *(
        f"tests/unit/test_{name}.py"
        for name in (
            "administration", "bounds", "capacity", "dead_letters", "events", "failures", "jobs", "latest_progress",
            "lifecycle", "lifecycle_model", "lifecycle_writes", "limits", "metrics", "operations_policy", "patches",
            "queue_status", "queueing", "recordings", "retention", "start_problems", "status_diff", "status_writer",
            "statuses", "stops", "store", "tombstones", "transitions",
        "workload",
        )
    ),
    "tests/unit/recordings/*",
    *(f"tests/unit/kube/test_kube_{name}.py" for name in ("backoff", "clock", "reflector", "watch")),
]  # fmt: skip
DESELECTED = [
    # Explores every state for five seconds; the model test does much of the same in less.
    *(f"tests/unit/test_transitions.py::{name}" for name in (
        "test_every_reachable_write_is_in_the_table", "test_every_row_of_the_table_is_reached",
        "test_a_rule_holds_over_every_transition",
    )),
    "tests/unit/kube/test_kube_watch.py::test_lines_may_be_torn_anywhere[1]",
    # Waits on purpose.
    "tests/unit/test_events.py::test_a_burst_costs_the_api_server_no_more_than_the_rate",
    "tests/unit/test_events.py::test_recording_does_not_wait_for_an_api_server_that_is_away",
    "tests/unit/kube/test_kube_reflector.py::test_a_throttled_watch_waits_as_asked_and_resumes_where_it_was",
]  # fmt: skip
READ_BY_TESTS = ["docs/metrics.md", "docs/transitions.md"]
