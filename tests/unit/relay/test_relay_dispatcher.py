"""The dispatcher with a real ledger: nothing waits for nothing, nothing overtakes, nobody takes all the room."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from klipstream_relay.attempts import Result, RetryPolicy
from klipstream_relay.breaker import BreakerPolicy
from klipstream_relay.deliveries import Delivery
from klipstream_relay.dispatcher import Dispatcher
from klipstream_relay.ledger import Ledger
from klipstream_relay.ledger_file import JobRow
from klipstream_relay.limits import Limits
from klipstream_relay.metrics import Metrics
from klipstream_relay.sender import Outcome

URL = "https://example.com/hook"
TAKEN = Outcome(True, 200, "Delivered", "", None, False, False, 0.0)
FAILED = Outcome(False, 503, "ServerError", "", None, False, True, 0.0)
CHAIN = ("queued", "started", "retrying", "succeeded")

Send = Callable[[Delivery], Awaitable[Result]]


@asynccontextmanager
async def dispatching(folder: Path, send: Send, **limits: int):
    """A dispatcher that sends by a function, and its ledger."""
    async with Ledger(folder / "ledger.db") as ledger:
        dispatcher = Dispatcher(
            ledger, send, lambda delivery: delivery.url, now=time.time, retries=RetryPolicy(first_delay_seconds=0.01),
            breakers=BreakerPolicy(), limits=Limits(**limits), on_final=lambda _: None, shown=Metrics(time.time),
        )  # fmt: skip
        await dispatcher.load()
        running = asyncio.create_task(dispatcher.run())
        try:
            yield dispatcher, ledger
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.wait({running})


async def put(dispatcher: Dispatcher, ledger: Ledger, uid: str, event: str, endpoint: str) -> None:
    row = JobRow(uid, "n", uid, uid, None, 1, 1, (), None)
    delivery = Delivery(f"{uid}-{event}", endpoint, URL, f"job.{event}", uid, "n", b"{}", time.time())
    dispatcher.look(await ledger.write(lambda file: file.record(row, [delivery])))


async def until(condition: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_what_waits_for_an_earlier_delivery_is_sent_when_that_has_arrived(tmp_path: Path) -> None:
    """Each job has an endpoint of its own, so that nobody else's delivery has it looked at again."""
    sent: dict[str, list[str]] = {}

    async def send(delivery: Delivery) -> Result:
        await asyncio.sleep(random.choice((0, 0, 0.001, 0.003)))
        sent.setdefault(delivery.job_uid, []).append(delivery.event.removeprefix("job."))
        return TAKEN

    async with dispatching(tmp_path, send) as (dispatcher, ledger):

        async def live(uid: str) -> None:
            for event in CHAIN:
                await put(dispatcher, ledger, uid, event, f"e-{uid}")
                await asyncio.sleep(random.choice((0, 0, 0.001, 0.003)))

        await asyncio.gather(*(live(f"u{number}") for number in range(300)))
        await until(lambda: sum(map(len, sent.values())) >= 300 * len(CHAIN), 20)
    assert all(events == list(CHAIN) for events in sent.values())


async def test_an_endpoint_has_so_many_at_once_and_fewer_when_it_is_crowded(tmp_path: Path) -> None:
    out: Counter[str] = Counter()
    most: Counter[str] = Counter()
    hanging = asyncio.Event()

    async def send(delivery: Delivery) -> Result:
        out[delivery.endpoint] += 1
        most[delivery.endpoint] = max(most[delivery.endpoint], out[delivery.endpoint])
        most["together"] = max(most["together"], dispatcher.out)
        if delivery.endpoint.startswith("hangs"):
            await hanging.wait()
        out[delivery.endpoint] -= 1
        return TAKEN

    async with dispatching(tmp_path, send, per_endpoint=4, together=16) as (dispatcher, ledger):
        for endpoint in ("hangs-1", "hangs-2", "hangs-3", "hangs-4", "hangs-5"):
            for number in range(10):
                await put(dispatcher, ledger, f"{endpoint}-{number}", "queued", endpoint)
            expected = 4 if endpoint < "hangs-3" else 1
            async with asyncio.timeout(60):
                while out[endpoint] < expected:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
        assert [out[f"hangs-{number}"] for number in range(1, 6)] == [4, 4, 1, 1, 1]
        for number in range(20):
            await put(dispatcher, ledger, f"good-{number}", "queued", "good")
        async with asyncio.timeout(60):
            while await ledger.read(lambda file: file.counts().get("delivered", 0)) < 20:
                await asyncio.sleep(0.01)
        hanging.set()
        async with asyncio.timeout(60):
            while await ledger.read(lambda file: file.counts().get("pending", 0)):
                await asyncio.sleep(0.01)
    assert most["together"] <= 16
    assert max(count for name, count in most.items() if name != "together") == 4


async def test_who_found_no_room_is_served_when_there_is_some(tmp_path: Path) -> None:
    async def send(_: Delivery) -> Result:
        await asyncio.sleep(0.002)
        return TAKEN

    async with dispatching(tmp_path, send, together=2) as (dispatcher, ledger):
        for number in range(100):
            await put(dispatcher, ledger, f"u{number}", "queued", f"e-{number}")
        async with asyncio.timeout(60):
            while await ledger.read(lambda file: file.counts()) != {"delivered": 100}:
                await asyncio.sleep(0.01)


async def test_a_sender_that_raises_costs_a_try_and_not_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def send(_: Delivery) -> Result:
        raise RuntimeError("a header that nobody thought of")

    async with dispatching(tmp_path, send) as (dispatcher, ledger):
        await put(dispatcher, ledger, "u", "queued", "e")
        async with asyncio.timeout(60):
            while await ledger.read(lambda file: file.counts()) != {"dead": 1}:
                await asyncio.sleep(0.01)
    assert "a header that nobody thought of" in caplog.text


async def test_what_waits_for_an_endpoint_that_is_down_grows_no_memory(tmp_path: Path) -> None:
    async def send(_: Delivery) -> Result:
        return FAILED

    async with dispatching(tmp_path, send) as (dispatcher, ledger):
        for number in range(300):
            await put(dispatcher, ledger, f"u{number}", "queued", "down")
        assert dispatcher.open_circuits == 1
        assert len(dispatcher._wakes) < 10
        assert await ledger.read(lambda file: file.counts().get("pending", 0)) > 290
