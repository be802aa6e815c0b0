"""Which logs are archived, and how the end of a stream is kept."""

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from klipstream_api import AnalysisJob, AnalysisQueue
from klipstream_operator.log_archive import TooLong, last_bytes, to_archive
from klipstream_operator.log_store import root_of
from klipstream_operator.workload import AttemptView, PodView

FAILED = {"failureClass": "Transient", "finishedAt": "2026-01-02T03:04:05Z"}


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], b""),
        ([b"abc"], b"abc"),
        ([b"abc", b"def"], b"bcdef"),
        ([b"abcdefghijklmnop"], b"lmnop"),
        ([b"abcdefghijklmnop", b"q"], b"mnopq"),
        ([b"", b"a", b""], b"a"),
    ],
)
async def test_the_last_bytes_are_kept(parts: list[bytes], expected: bytes) -> None:
    assert await last_bytes(chunks(*parts), keep=5) == expected


async def test_the_last_bytes_do_not_depend_on_where_chunks_end() -> None:
    chance = random.Random(7)
    content = chance.randbytes(10_000)
    for _ in range(50):
        cuts = sorted(chance.sample(range(1, 10_000), 40))
        parts = [content[a:b] for a, b in zip([0, *cuts], [*cuts, 10_000], strict=True)]
        assert await last_bytes(chunks(*parts), keep=997) == content[-997:]


async def test_an_endless_log_is_not_read_to_its_end() -> None:
    with pytest.raises(TooLong):
        await last_bytes(chunks(*[b"x" * 10] * 11), keep=5, read_at_most=100)


def queue(results: bool = True) -> AnalysisQueue:
    spec: dict[str, Any] = {"workerTemplate": {"spec": {"containers": [{"name": "w", "image": "i"}]}}}
    return AnalysisQueue.from_wire({
        "metadata": {"name": "q", "namespace": "n"},
        "spec": spec | ({"results": {"url": "file:///results"}} if results else {}),
    })  # fmt: skip


def pod(attempt: int, phase: str = "Failed") -> PodView:
    return PodView(
        uid=f"p{attempt}", name=f"p{attempt}", namespace="n", resource_version=4, job_uid="u", attempt=attempt,
        owner_uid="j", phase=phase, reason="", message="", deleted_at=None, node_name="node", running_since=None,
        termination=None, disruption=None, unschedulable=None, waiting=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "entry", "pods", "where", "expected"),
    [
        ("a failed attempt whose pod is there", FAILED, [pod(1)], queue(), [1]),
        ("not without a results store", FAILED, [pod(1)], queue(results=False), []),
        ("not without the queue", FAILED, [pod(1)], None, []),
        ("not a second time", FAILED | {"logUrl": "file:///results/x"}, [pod(1)], queue(), []),
        ("not what succeeded or was cancelled", {"finishedAt": "2026-01-02T03:04:05Z"}, [pod(1)], queue(), []),
        ("not what still runs", {}, [pod(1, "Running")], queue(), []),
        ("not what left no pod", FAILED, [], queue(), []),
        ("not from the pod of another attempt", FAILED, [pod(2)], queue(), []),
    ],
)
def test_archived_is(
    rule: str, entry: dict[str, Any], pods: list[PodView], where: AnalysisQueue | None, expected: list[int]
) -> None:
    job = AnalysisJob.from_wire({
        "metadata": {"name": "a", "namespace": "n", "uid": "u"}, "spec": {"videoUrl": "https://example.com/v.mp4"},
        "status": {"phase": "BackingOff", "attempt": 1, "attempts": [{"attempt": 1} | entry]},
    })  # fmt: skip
    views = {each.attempt: AttemptView(pods={each.uid: each}) for each in pods}
    found = to_archive(job, where, lambda attempt: views.get(attempt, AttemptView()))
    assert [attempt.attempt for attempt, _ in found] == expected, rule


@pytest.mark.parametrize(
    ("log_url", "root"),
    [
        ("s3://bucket/jobs/x/jobs/id/attempts/2/worker.log", "s3://bucket/jobs/x"),
        ("file:///results/jobs/id/attempts/2/worker.log", "file:///results"),
        ("https://example.com/elsewhere", None),
    ],
)
def test_the_store_of_an_archived_log_is_read_from_its_url(log_url: str, root: str | None) -> None:
    assert root_of(log_url) == root
