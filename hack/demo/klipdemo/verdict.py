"""What the demo promises, checked: all succeeded, in order, within the limit, with the planted highlights."""

from dataclasses import dataclass
from typing import Any

from klipdemo.install import LIMIT
from klipdemo.run import Recording

TOLERANCE_SECONDS = 3.0
VALUES = {"URGENT": 4, "HIGH": 3, "NORMAL": 2, "LOW": 1}


@dataclass(frozen=True)
class Check:
    """One promise and whether it was kept."""

    promise: str
    kept: bool
    seen: str


def judge(
    jobs: list[dict[str, Any]], recording: Recording, results: dict[str, dict[str, Any]], truth: dict[str, list[float]]
) -> list[Check]:
    """The four promises of the demo."""
    failed = [job["metadata"]["name"] for job in jobs if job["status"]["phase"] != "Succeeded"]
    expected = [
        job["metadata"]["name"]
        for job in sorted(jobs, key=lambda job: (-VALUES[job["spec"]["priority"]], job["status"].get("sequence", 0)))
    ]
    wrong = [
        f"{job['metadata']['name']}: found {_found(job, results)}, planted {truth[job['spec']['videoId']]}"
        for job in jobs
        if not same(_found(job, results), truth[job["spec"]["videoId"]])
    ]
    planted = sum(len(moments) for moments in truth.values())
    succeeded = f"not succeeded: {failed}" if failed else f"{len(jobs)} of {len(jobs)}"
    most = recording.most_live
    return [
        Check("every job succeeded", not failed, succeeded),
        Check("starts followed priority, then first in first out", recording.starts == expected,
              " → ".join(recording.starts) or "no start was seen"),
        Check(f"never more than {LIMIT} ran at once", 0 < most <= LIMIT, f"at most {most}"),
        Check("the highlights are the planted ones", not wrong, "; ".join(wrong) or f"all {planted}, none extra"),
    ]  # fmt: skip


def _found(job: dict[str, Any], results: dict[str, dict[str, Any]]) -> list[float]:
    result = results.get(job["metadata"]["uid"], {})
    return [highlight["peak_seconds"] for highlight in result.get("highlights", ())]


def same(found: list[float], planted: list[float]) -> bool:
    """Every planted moment found within three seconds, none missing, none extra."""
    return len(found) == len(planted) and all(
        abs(one - other) <= TOLERANCE_SECONDS for one, other in zip(sorted(found), sorted(planted), strict=True)
    )
