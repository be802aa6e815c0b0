"""Pages from a cache alone: what they say when there is nothing, when all is well, and when the cluster is away."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from klipstream_gateway.access import Access
from klipstream_gateway.dashboard.assets import assets
from klipstream_gateway.dashboard.operations import Caller, Operations
from klipstream_gateway.dashboard.pages import Pages, Viewer
from klipstream_gateway.dashboard.rendering import Rendering
from klipstream_gateway.keys import KeyFolder
from klipstream_gateway.problems import Problem, Refused
from klipstream_gateway.rates import RateLimiter
from klipstream_gateway.routes import ANONYMOUS, Principal, Scope
from klipstream_gateway.service import make_service
from klipstream_gateway.settings import Settings
from klipstream_kube import Client, Connection

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
ADMIN = Principal("key:boss", frozenset({Scope.ADMIN}))
READER = Principal("key:reader", frozenset({Scope.READ}))
RED = Principal("key:red", frozenset({Scope.READ, Scope.SUBMIT}), "red")


@dataclass
class Desk:
    """A dashboard that is connected to nothing."""

    pages: Pages
    rendering: Rendering
    cache: Any
    problems: list[str] = field(default_factory=list)

    def queue(self, name: str = "default", status: Any = None, **spec: Any) -> None:
        self.cache.put_queue(
            {"metadata": {"name": name, "uid": f"q-{name}", "resourceVersion": "5"},
             "spec": {"workerTemplate": {"spec": {"containers": [{"name": "worker", "image": "i"}]}}} | spec,
             "status": status or {}}
        )  # fmt: skip

    def job(self, name: str, phase: str = "Queued", tenant: str | None = None, status: Any = None, **spec: Any) -> str:
        labels = {"analysis.klipstream.io/tenant": tenant} if tenant else {}
        self.cache.put_job(
            {"metadata": {"name": name, "uid": name, "resourceVersion": "9", "labels": labels,
                          "creationTimestamp": "2026-11-26T11:00:00Z"},
             "spec": {"videoUrl": "https://example.com/v", "videoId": f"video-{name}"} | spec,
             "status": {"phase": phase, "queueName": "default", "queuedAt": "2026-11-26T11:00:00Z", "sequence": 9}
             | (status or {})}
        )  # fmt: skip
        return name

    async def read(self, path: str, principal: Principal = ADMIN) -> str:
        """The text of a page."""
        viewer = Viewer(Caller(principal, "192.0.2.1", "r"), "token" if principal is not ANONYMOUS else "")
        page = await self.pages.at(f"/dashboard{path}", viewer)
        html = self.rendering.page(page, viewer, f"/dashboard{path}")
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    settings = Settings.from_environment("default", {})
    problems: list[str] = []
    async with Client(Connection("http://127.0.0.1:9")) as client:
        service = make_service(settings, client, lambda: problems)
        access = Access(KeyFolder(None), None)
        operations = Operations(service.routes, access, RateLimiter(settings.rates, settings.rate_storage), 30)
        pages = Pages(operations, service.cache, service.views, lambda: NOW, settings.anonymous_submit)
        yield Desk(pages, Rendering(assets(), lambda: NOW), service.cache, problems)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "There is no queue yet"), ("/jobs", "There are no jobs yet"), ("/dead-letters", "No dead letters"),
        ("/administration", "There is no queue yet"),
    ],
)  # fmt: skip
async def test_where_there_is_nothing_the_page_says_what_to_do(desk: Desk, path: str, says: str) -> None:
    assert says in await desk.read(path)


async def test_an_empty_queue_says_that_a_job_would_start_at_once_or_why_not(desk: Desk) -> None:
    desk.queue()
    assert "starts at once" in await desk.read("/queues/default")
    desk.queue("stopped", mode="Paused")
    assert "Nothing is started while the queue is paused" in await desk.read("/queues/stopped")
    desk.queue("closed", mode="Draining")
    assert "takes nothing in while it is draining" in await desk.read("/queues/closed")


async def test_while_the_cluster_is_away_pages_show_what_was_known_and_say_so(desk: Desk) -> None:
    desk.queue()
    desk.job("a")
    desk.problems.append("the watch of analysisjobs is cut off")
    for path in ("", "/jobs", "/queues/default", "/jobs/a"):
        text = await desk.read(path)
        assert "What is shown may be old." in text
        assert "the watch of analysisjobs is cut off" in text
    assert "video-a" in await desk.read("/jobs")


async def test_each_form_for_a_submission_has_a_key_of_its_own(desk: Desk) -> None:
    viewer = Viewer(Caller(ADMIN, "192.0.2.1", "r"), "token")
    forms = []
    for _ in range(2):
        html = desk.rendering.page(await desk.pages.at("/dashboard/submit", viewer), viewer, "/dashboard/submit")
        forms += re.findall(r'name="once" value="([A-Za-z0-9_-]{32})"', html)
    assert len(set(forms)) == 2


async def test_lines_can_be_narrowed_by_priority_and_words(desk: Desk) -> None:
    desk.queue(maxConcurrentJobs=0)
    desk.job("one", priority="HIGH")
    desk.job("two", priority="LOW")
    assert "video-two" not in await desk.read("/queues/default?priority=HIGH")
    assert "video-one" not in await desk.read("/queues/default?q=VIDEO-TWO")
    assert "No job in line matches" in await desk.read("/queues/default?q=nothing")


async def test_jobs_that_are_retried_or_not_due_yet_stand_beside_the_line(desk: Desk) -> None:
    desk.queue(maxConcurrentJobs=0)
    desk.job("now")
    desk.job("again", "BackingOff", status={"attempt": 1, "nextAttemptAt": "2026-11-26T12:02:00Z"})
    desk.job("tomorrow", notBefore="2126-11-27T00:00:00Z")
    text = await desk.read("/queues/default")
    assert re.search(r"In line 1 .*Waiting for a retry 1 .*in 2 min.*Not before a set time 1 video-tomorrow", text)


async def test_of_a_long_line_the_first_hundred_are_shown_and_all_are_counted(desk: Desk) -> None:
    desk.queue(maxConcurrentJobs=0)
    for number in range(120):
        desk.job(f"j{number:03}")
    text = await desk.read("/queues/default")
    assert "The first 100 of 120" in text
    assert "video-j099" in text
    assert "video-j100" not in text
    assert "video-j110" in await desk.read("/queues/default?q=j110")


async def test_the_end_of_a_job_is_announced_or_not_yet(desk: Desk) -> None:
    desk.queue()
    callback = {"url": "https://hooks.example.com/x"}
    ended = {"finishedAt": "2026-11-26T11:30:00Z", "startedAt": "2026-11-26T11:10:00Z", "attempt": 1}
    desk.job("told", "Succeeded", status=ended | {"announcedAt": "2026-11-26T11:30:01Z"}, callback=callback)
    desk.job("untold", "Succeeded", status=ended, callback=callback)
    desk.job(
        "before-the-replay", "Succeeded", status=ended | {"announcedAt": "2026-11-26T11:00:00Z"}, callback=callback
    )
    assert "announced to everybody, or given up, 29 min ago" in await desk.read("/jobs/told")
    assert "not announced yet" in await desk.read("/jobs/untold")
    assert "not announced yet" in await desk.read("/jobs/before-the-replay")


async def test_a_tenant_finds_nothing_of_others_on_any_page(desk: Desk) -> None:
    held = [{"uid": f"runs-{tenant}", "attempt": 1, "name": tenant} for tenant in ("red", "blue")]
    desk.queue(status={"admitted": held})
    failed = {
        "finishedAt": "2026-11-26T11:30:00Z",
        "attempt": 1,
        "failureFingerprint": "f",
        "conditions": [
            {"type": "DeadLettered", "status": "True", "reason": "R", "lastTransitionTime": "2026-11-26T11:30:00Z"}
        ],
    }
    for tenant in ("red", "blue"):
        desk.job(f"waits-{tenant}", tenant=tenant)
        desk.job(f"failed-{tenant}", "Failed", tenant=tenant, status=failed)
        desk.job(f"runs-{tenant}", "Running", tenant=tenant,
                 status={"attempt": 1, "startedAt": "2026-11-26T11:50:00Z"})  # fmt: skip
    seen = " ".join([await desk.read(path, RED) for path in ("", "/jobs", "/queues/default", "/dead-letters")])
    assert "failed-red" in seen
    assert "runs-red" in seen
    assert "blue" not in seen


@pytest.mark.parametrize(
    ("path", "principal", "problem"),
    [
        ("/administration", ANONYMOUS, Problem.UNAUTHENTICATED), ("/administration", READER, Problem.FORBIDDEN),
        ("/dead-letters", ANONYMOUS, Problem.UNAUTHENTICATED), ("/submit", READER, Problem.FORBIDDEN),
        ("/nothing", ADMIN, Problem.NOT_FOUND), ("/jobs/unknown..", ADMIN, Problem.JOB_NOT_FOUND),
        ("/queues/unknown", ADMIN, Problem.QUEUE_NOT_FOUND),
    ],
)  # fmt: skip
async def test_what_may_not_be_seen_or_is_not_there_is_refused(
    desk: Desk, path: str, principal: Principal, problem: Problem
) -> None:
    with pytest.raises(Refused) as refused:
        await desk.read(path, principal)
    assert refused.value.problem is problem
