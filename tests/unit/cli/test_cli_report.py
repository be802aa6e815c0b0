"""What `report` counts and how its page shows it: pure."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from klipstream_cli.figures import Report, report, spread
from klipstream_cli.report_html import page, stage_rows

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def job(number: int, *resources: dict[str, Any]) -> dict[str, Any]:
    """A job that succeeded an hour ago, after 100 s of which it waited 10, with what its stages took."""
    end = NOW - timedelta(hours=1)
    start = (end - timedelta(seconds=90)).isoformat()
    return {
        "metadata": {"name": f"j{number}", "creationTimestamp": (end - timedelta(seconds=100)).isoformat()},
        "spec": {"videoUrl": "https://videos.example/a.mp4", "type": "vod"},
        "status": {
            "phase": "Succeeded", "attempt": 1, "queueName": "default", "finishedAt": end.isoformat(),
            "queuedAt": (end - timedelta(seconds=100)).isoformat(),
            "attempts": [{"attempt": 1, "startedAt": start, "finishedAt": end.isoformat(),
                          "resources": list(resources)}],
        },
    }  # fmt: skip


def of(*jobs: dict[str, Any]) -> Report:
    return report(jobs, NOW - timedelta(days=1), NOW)


def test_stages_show_what_was_measured_and_nothing_else() -> None:
    whole = {"stage": "Analyzing", "wallSeconds": 60, "cpuSeconds": 90, "peakMemoryBytes": 2**30}
    found = of(
        job(1, whole), job(2, whole | {"wallSeconds": 80}), job(3, {"stage": "Old", "cpuSeconds": 5}, {"stage": "None"})
    )
    assert list(stage_rows(found)) == [
        ("Analyzing", "60s", "80s", "90s", "90s", "1024 MiB"),
        ("Old", "", "", "5s", "5s", ""),
    ]
    analyzing = found.stages["Analyzing"].wall_seconds
    assert analyzing is not None
    assert (analyzing.count, analyzing.most) == (2, 80)


def test_waits_runs_and_the_whole_are_told_apart() -> None:
    found = of(job(1))
    assert found.waits["NORMAL"].p50 == 10
    assert found.runs["vod"].p50 == 90
    assert found.turnarounds is not None
    assert found.turnarounds.p50 == 100


@pytest.mark.parametrize(
    ("values", "median", "nine_in_ten"),
    [([1, 100], 1, 100), ([5], 5, 5), (list(range(1, 11)), 5, 9), ([3, 1, 2], 2, 3)],
)
def test_quantiles_go_by_the_nearest_rank(values: list[float], median: float, nine_in_ten: float) -> None:
    found = spread(values)
    assert found is not None
    assert (found.p50, found.p90) == (median, nine_in_ten)


def test_queues_of_one_name_in_several_namespaces_are_told_apart() -> None:
    here, there = job(1), job(2)
    here["metadata"]["namespace"], there["metadata"]["namespace"] = "a", "b"
    assert of(here, there).queues == {"a/default": {"Succeeded": 1}, "b/default": {"Succeeded": 1}}
    assert of(here).queues == {"default": {"Succeeded": 1}}


def test_what_users_named_cannot_break_the_page() -> None:
    shown = page(of(job(1, {"stage": "<script>alert(1)</script>", "wallSeconds": 1})), "<b>title</b>")
    assert "&lt;script&gt;" in shown
    assert "<script" not in shown
    assert "<b>" not in shown
