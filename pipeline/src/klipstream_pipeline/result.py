"""Interim, until branch highlights brings its own."""

from dataclasses import asdict
from typing import Any

from klipstream_pipeline.chat import Chat
from klipstream_pipeline.findings import Findings
from klipstream_pipeline.listening import Recording


def make_result(
    *, job_id: str, attempt: int, recording: Recording, chat: Chat | None, findings: Findings
) -> dict[str, Any]:
    return {
        "version": 2,
        "job_id": job_id,
        "attempt": attempt,
        "video": {
            "size_bytes": recording.size_bytes,
            "sha256": recording.sha256,
            "duration_seconds": recording.loudness.duration_seconds,
        },
        "transcript": asdict(recording.transcript),
        "highlights": [asdict(each) for each in findings.highlights],
    }
