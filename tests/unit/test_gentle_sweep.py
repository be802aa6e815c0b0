"""How a sweep goes through its pages: a periodic one lets others go on between two, a hasty one does not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from klipstream_kube import Client
from klipstream_operator.status_writer import StatusWriter
from klipstream_operator.store import Store
from klipstream_operator.sweep import GENTLY, PAUSE_AT_MOST_SECONDS, Sweep
from klipstream_operator.turnstile import Turnstile

PAGES = 3
LISTS = {
    "jobs": "/apis/analysis.klipstream.io/v1alpha1/namespaces/n/analysisjobs",
    "queues": "/apis/analysis.klipstream.io/v1alpha1/namespaces/n/analysisqueues",
    "batch": "/apis/batch/v1/namespaces/n/jobs",
    "pods": "/api/v1/namespaces/n/pods",
}


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of each pause of the sweep, which are not waited for."""
    found: list[float] = []

    async def at_once(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr("klipstream_operator.sweep.asyncio.sleep", at_once)
    return found


@pytest.fixture
def sweep(server: Any, client: Client) -> Sweep:
    """Of a namespace with three pages of AnalysisJobs and nothing else."""
    for name, path in LISTS.items():
        pages = PAGES if name == "jobs" else 1
        server.on("GET", path, *(server.answer(page(number, pages)) for number in range(pages)))
    writer = StatusWriter(client, Store(lambda _: None, lambda _: None, lambda: None), None, Turnstile())
    return Sweep(client, writer, ("n",), 0.01, lambda *_: 0, lambda *_: None)


def page(number: int, pages: int) -> dict[str, Any]:
    more = {"continue": f"page {number + 1}"} if number + 1 < pages else {}
    return {"metadata": {"resourceVersion": "10"} | more, "items": []}


@asynccontextmanager
async def running(sweep: Sweep) -> AsyncIterator[None]:
    task = asyncio.create_task(sweep.run())
    try:
        yield
    finally:
        task.cancel()


async def test_a_gentle_one_pauses_after_each_page_but_the_last(sweep: Sweep, pauses: list[float]) -> None:
    await sweep.sweep("n", gently=True)
    assert len(pauses) == PAGES - 1
    assert all(0 < seconds <= PAUSE_AT_MOST_SECONDS for seconds in pauses)


async def test_it_pauses_as_many_times_as_long_as_a_page_took_but_not_for_ever(
    sweep: Sweep, server: Any, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("klipstream_operator.sweep.GENTLY", 1e9)
    await sweep.sweep("n", gently=True)
    assert pauses == [PAUSE_AT_MOST_SECONDS] * (PAGES - 1)
    assert GENTLY > 1, "others get most of the time"


async def test_one_that_others_wait_for_does_not_pause(sweep: Sweep, pauses: list[float]) -> None:
    await sweep.sweep("n")
    assert not pauses


async def test_it_hurries_from_when_somebody_asks_for_a_reconciliation(
    sweep: Sweep, server: Any, pauses: list[float]
) -> None:
    async def asked_meanwhile(_: web.Request) -> web.StreamResponse:
        sweep.reconcile(("n", "q"), lambda _: None)
        return web.json_response(page(1, PAGES))

    replies = server.script["GET", LISTS["jobs"]]
    replies[1] = asked_meanwhile
    await sweep.sweep("n", gently=True)
    assert len(pauses) == 1


async def test_one_that_lost_its_pages_is_done_again_without_pauses(
    sweep: Sweep, server: Any, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages are kept for some minutes only: a list of very many could be too slow each time."""
    monkeypatch.setattr("klipstream_operator.sweep.RETRY_SECONDS", 0.01)
    over = asyncio.Event()

    async def at_the_end(_: web.Request) -> web.StreamResponse:
        over.set()
        return web.json_response(page(0, 1))

    pages = server.script["GET", LISTS["jobs"]]
    first, second, last = pages
    pages.clear()
    pages.extend([first, server.refuse(410, "Expired"), first, second, last])
    server.script["GET", LISTS["pods"]][0] = at_the_end
    async with running(sweep), asyncio.timeout(10):
        await over.wait()
    assert len(server.sent("GET", LISTS["jobs"])) == 2 + PAGES
    assert len(pauses) == 1, "only after the first page of the first time"
