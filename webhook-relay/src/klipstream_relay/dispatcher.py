"""From the ledger to the endpoints: a lane per endpoint, with its own limit and circuit breaker.

Only deliveries that are on their way are in memory; the ledger has the rest. What is promised of order: at most one
delivery of a job is on its way to an endpoint, and none before an earlier one of the same job has arrived or was given
up. So a receiver sees a job's webhooks in their order, but for those that arrive twice (the answer to the first was
lost, or this process died before it was written down) and those that are redelivered by hand.
"""

import asyncio
import contextlib
import heapq
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from klipstream_api import FINAL_EVENTS
from klipstream_relay.attempts import OF_THE_JOB, Result, RetryPolicy, Verdict, judge
from klipstream_relay.breaker import Breaker, BreakerPolicy
from klipstream_relay.deliveries import Delivery, State
from klipstream_relay.ledger import Ledger
from klipstream_relay.ledger_file import LedgerFile, Settlement
from klipstream_relay.limits import Limits

log = logging.getLogger(__name__)
LONGEST_WAIT_SECONDS = 1.0
UPKEEP_SECONDS = 1.0
GIVE_UP_EVERY_SECONDS = 30.0
COUNT_EVERY_SECONDS = 5.0
PRUNE_EVERY_SECONDS = 600.0
THROTTLES = (408, 429)
NEVER = float("inf")


_Note = Callable[[LedgerFile], None]


class Shown(Protocol):
    """Who counts (metrics)."""

    def tried(self, delivery: Delivery, result: Result, verdict: Verdict) -> None: ...


@dataclass(slots=True)
class _Lane:
    """An endpoint that has something to deliver, or is not well."""

    breaker: Breaker = field(default_factory=Breaker)
    out: int = 0
    """On their way."""
    due: float = NEVER
    """When the ledger has something for it; infinite where it has nothing."""
    wakes_at: float = NEVER
    """When it is looked at again; one entry of the heap says so, older ones are stale."""
    starved: bool = False
    """Whether it waits for others to leave room."""


@dataclass(frozen=True, slots=True)
class _Refused:
    """An outcome without a try."""

    reason: str
    message: str
    delivered: bool = False
    code: int | None = None
    retry_after_seconds: float | None = None
    disable: bool = False
    retryable: bool = False
    seconds: float = 0.0


FAULT = _Refused("InternalError", "the relay could not try it: see its log", retryable=True)
REMOVED = _Refused("EndpointRemoved", "the queue names this endpoint no more")
GONE = _Refused("Gone", "the receiver answered 410 before: it wants no more; redeliver to try it again")


class Dispatcher:
    """Sends what the ledger has, as `send` reports what became of it. Times are Unix seconds of `now`."""

    def __init__(
        self,
        ledger: Ledger,
        send: Callable[[Delivery], Awaitable[Result]],
        url_of: Callable[[Delivery], str | None],
        *,
        now: Callable[[], float],
        retries: RetryPolicy,
        breakers: BreakerPolicy,
        limits: Limits,
        on_final: Callable[[str], None],
        shown: Shown,
    ) -> None:
        """`url_of` says where a delivery goes, None where its endpoint was removed. `on_final` is told the uids of
        jobs whose end was delivered or given up."""
        self._ledger = ledger
        self._send = send
        self._url_of = url_of
        self._now = now
        self._retries = retries
        self._breakers = breakers
        self._limits = limits
        self._on_final = on_final
        self._shown = shown
        self._lanes: dict[str, _Lane] = {}
        self._gone: set[tuple[str, str]] = set()
        self._wakes: list[tuple[float, str]] = []
        self._starved: deque[str] = deque()
        self._something = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.out = 0
        """Deliveries on their way."""
        self.pending = self.dead = 0
        """Deliveries in the ledger, as of the last look."""
        self.oldest_pending: float | None = None
        """When the oldest one that is pending came in."""

    @property
    def open_circuits(self) -> int:
        """Endpoints that are taken to be down."""
        return sum(lane.breaker.is_open for lane in self._lanes.values())

    async def load(self) -> None:
        """What the ledger holds: who has something to deliver, and who was down when the last process ended."""
        for key, _, _, down in await self._ledger.read(lambda file: file.endpoints()):
            if down:
                self._lanes[key] = _Lane(Breaker.known_to_be_down())
        await self._look_at_everything()

    async def _look_at_everything(self) -> None:
        self._gone = await self._ledger.read(lambda file: file.gone())
        for key, due in (await self._ledger.read(lambda file: file.waiting_endpoints())).items():
            self._wake(key, due)

    def look(self, endpoints: set[str]) -> None:
        """These endpoints have something new to deliver."""
        now = self._now()
        for key in endpoints:
            self._wake(key, now)

    def _wake(self, key: str, at: float) -> None:
        lane = self._lanes.setdefault(key, _Lane())
        lane.due = min(lane.due, at)
        self._look_at(key, lane, at)

    def _look_at(self, key: str, lane: _Lane, at: float) -> None:
        at = max(at, lane.breaker.next_at())
        if at < lane.wakes_at:
            lane.wakes_at = at
            heapq.heappush(self._wakes, (at, key))
            self._something.set()

    # --- the loop --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Never returns."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._upkeep(), name="upkeep of the ledger")
            while True:
                wanted = self._wanted(self._now())
                if wanted:
                    await self._start(tasks, wanted)
                    continue
                wait_seconds = LONGEST_WAIT_SECONDS
                if self._wakes:
                    wait_seconds = min(wait_seconds, max(0.001, self._wakes[0][0] - self._now()))
                self._something.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_seconds):
                        await self._something.wait()

    async def drain(self, seconds: float) -> None:
        """Start nothing more and wait for what is on its way."""
        self._stopping = True
        if self._sending:
            await asyncio.wait(self._sending, timeout=seconds)

    def _wanted(self, now: float) -> dict[str, int]:
        """How many deliveries of which endpoints can be started."""
        wanted: dict[str, int] = {}
        room = 0 if self._stopping else self._limits.together - self.out
        while self._wakes and self._wakes[0][0] <= now:
            at, key = heapq.heappop(self._wakes)
            lane = self._lanes.get(key)
            if lane is None or at != lane.wakes_at:
                continue
            lane.wakes_at = NEVER
            if lane.due > now or lane.breaker.next_at() > now:
                self._look_at(key, lane, lane.due)
            elif room <= 0:
                if not lane.starved:
                    lane.starved = True
                    self._starved.append(key)
            else:
                crowded = self.out + sum(wanted.values()) >= self._limits.together // 2
                limit = lane.breaker.allowance(1 if crowded else self._limits.per_endpoint, now)
                if (count := min(limit - lane.out, room)) > 0:
                    wanted[key] = count
                    room -= count
        return wanted

    async def _start(self, tasks: asyncio.TaskGroup, wanted: dict[str, int]) -> None:
        # Something that is recorded while the ledger is asked sets it to a moment again.
        for key in wanted:
            self._lanes[key].due = NEVER
        now = self._now()
        taken = await self._ledger.read(lambda file: file.take(wanted, now))
        for key, due in taken.next_due.items():
            self._wake(key, due)
        for number, delivery in taken.deliveries:
            lane = self._lanes[delivery.endpoint]
            lane.out += 1
            self.out += 1
            task = tasks.create_task(self._deliver(lane, number, delivery), name=f"delivery {delivery.id}")
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        for key in wanted:
            self._drop_if_idle(key)
        for _ in range(sum(wanted.values()) - len(taken.deliveries)):
            self._feed_one(now)

    # --- one delivery ----------------------------------------------------------------------------------------

    async def _deliver(self, lane: _Lane, number: int, delivery: Delivery) -> None:
        probing = lane.breaker.is_open
        result = await self._try(delivery)
        now = self._now()
        verdict = judge(delivery, result, not probing, self._retries, now, _jitter())
        notes = self._judge_endpoint(lane, delivery, result, now)
        what = Settlement(
            number, delivery, verdict.state, verdict.tries, verdict.due, result.code, result.reason, result.message
        )
        # Steps are carried out in the order in which they are asked for. The look that follows must find this one
        # settled: it would not see the next delivery of the job otherwise, and nobody would look again.
        settled = self._ledger.write(lambda file: _settle(file, what, notes, now))
        lane.out -= 1
        self.out -= 1
        self._wake(delivery.endpoint, now)
        self._feed_one(now)
        self._shown.tried(delivery, result, verdict)
        await settled
        if verdict.state is not State.PENDING and delivery.event in FINAL_EVENTS:
            self._on_final(delivery.job_uid)

    def _feed_one(self, now: float) -> None:
        """There is room for one that waited for it."""
        while self._starved:
            key = self._starved.popleft()
            if (lane := self._lanes.get(key)) is not None and lane.starved:
                lane.starved = False
                self._look_at(key, lane, now)
                return

    async def _try(self, delivery: Delivery) -> Result:
        url = self._url_of(delivery)
        if url is None:
            return REMOVED
        if (delivery.endpoint, url) in self._gone:
            return GONE
        try:
            return await self._send(delivery if url == delivery.url else replace(delivery, url=url))
        except Exception:  # whatever one receiver brings about must not end the deliveries to all others
            log.exception("Delivery %s to %s could not be tried", delivery.id, delivery.endpoint)
            return FAULT

    def _judge_endpoint(self, lane: _Lane, delivery: Delivery, result: Result, now: float) -> list[_Note]:
        """What a try says of the endpoint and not only of the delivery; what of it is to be written down."""
        key, before = delivery.endpoint, lane.breaker
        notes: list[_Note] = []
        if result.disable:
            url = self._url_of(delivery) or delivery.url
            self._gone.add((key, url))
            notes.append(lambda file: file.set_gone(key, url, now))
            log.warning("%s answered 410: nothing is sent to this URL any more", key)
        answered = result.code is not None and result.code < 500 and result.code not in THROTTLES
        if result.delivered or answered:
            lane.breaker = before.succeeded()
        elif result.retryable and result.reason not in OF_THE_JOB:
            pause_seconds = min(result.retry_after_seconds or 0.0, self._retries.longest_delay_seconds)
            lane.breaker = before.failed(self._breakers, now, _jitter(), pause_seconds)
        down = lane.breaker.is_open
        if down != before.is_open:
            notes.append(lambda file: file.set_down(key, down))
            if down:
                log.warning("%s is taken to be down after %d failures in a row: %s", key, lane.breaker.failures,
                            result.message)  # fmt: skip
            else:
                log.info("%s is well again", key)
        return notes

    def _drop_if_idle(self, key: str) -> None:
        """Forget an endpoint that is well and has nothing to deliver."""
        lane = self._lanes.get(key)
        if lane is not None and not lane.out and lane.due == NEVER and lane.breaker == Breaker():
            del self._lanes[key]

    # --- upkeep ----------------------------------------------------------------------------------------------

    async def _upkeep(self) -> None:
        """Give up what is too old, forget what is over for long, and see what other processes changed."""
        version = await self._ledger.read(lambda file: file.version())
        give_up_at = prune_at = count_at = self._now()
        while True:
            await asyncio.sleep(UPKEEP_SECONDS)
            now = self._now()
            current = await self._ledger.read(lambda file: file.version())
            if current != version:
                version = current
                await self._look_at_everything()
            if now >= count_at:
                count_at = now + COUNT_EVERY_SECONDS
                await self._count()
            if now >= give_up_at:
                give_up_at = now + GIVE_UP_EVERY_SECONDS
                await self._give_up(now)
                await self._look_at_everything()
            if now >= prune_at and not await self._prune(now):
                prune_at = now + PRUNE_EVERY_SECONDS

    async def _count(self) -> None:
        counts, self.oldest_pending = await self._ledger.read(lambda file: (file.counts(), file.oldest_pending()))
        self.pending, self.dead = counts.get(State.PENDING, 0), counts.get(State.DEAD, 0)

    async def _give_up(self, now: float) -> None:
        before = now - self._retries.give_up_seconds
        for uid in await self._ledger.write(lambda file: file.give_up_old(before, now)):
            self._on_final(uid)

    async def _prune(self, now: float) -> int:
        before = now - self._limits.keep_seconds
        return await self._ledger.write(lambda file: file.prune(before))


def _settle(file: LedgerFile, what: Settlement, notes: list[_Note], now: float) -> None:
    file.settle(what, now)
    for note in notes:
        note(file)


def _jitter() -> float:
    return random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, protects nothing
