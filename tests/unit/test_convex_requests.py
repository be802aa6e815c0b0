"""What apps ask of the cluster through Convex, as AnalysisJobs."""

from typing import Any

import pytest

from klipstream_convex.requests import Refusal, job_of


def submission(**more: Any) -> dict[str, Any]:
    return {"jobId": "j57a", "submission": {"videoUrl": "https://example.com/v.mp4"} | more}


def test_numbers_of_an_app_become_those_of_a_job() -> None:
    asked = submission(notBefore=1767323045678.0, timeoutSeconds=60.0, maxRetries=0.0)
    spec = job_of(asked, "ns")["spec"]
    assert spec == {
        "jobId": "j57a", "videoUrl": "https://example.com/v.mp4", "notBefore": "2026-01-02T03:04:05Z",
        "timeoutSeconds": 60, "maxRetries": 0,
    }  # fmt: skip


@pytest.mark.parametrize("field", ["notBefore", "timeoutSeconds", "maxRetries"])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_refused_and_ends_nothing(field: str, number: float) -> None:
    with pytest.raises(Refusal, match=field):
        job_of(submission(**{field: number}), "ns")


@pytest.mark.parametrize("milliseconds", [-1.0, 1767323045.0, 1e17, 1e300])
def test_a_moment_in_other_units_is_refused(milliseconds: float) -> None:
    with pytest.raises(Refusal, match="milliseconds since 1970"):
        job_of(submission(notBefore=milliseconds), "ns")
