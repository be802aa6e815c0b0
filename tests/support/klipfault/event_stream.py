"""The bytes of a watch, with a fault in them."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable

import aiohttp

from klipfault.faults import (
    CloseWatch,
    DelayEvent,
    DuplicateEvent,
    ExpireWatch,
    FreezeWatch,
    SwallowEvent,
    WatchFault,
)
from klipfault.statuses import status_body


async def lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes]:
    """One event each, with its line end; a cut-off last one is left out."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line + b"\n"


async def with_fault(
    events: AsyncGenerator[bytes], fault: WatchFault, injected: Callable[[str], None]
) -> AsyncGenerator[bytes]:
    """The events as a client gets to see them. `injected` is told each time the fault happens."""
    count = 0
    if _is_over(fault, count):
        yield await _end(fault, injected)
        return
    async for event in events:
        if _is_bookmark(event):
            yield event
            continue
        count += 1
        match fault:
            case SwallowEvent(every) if count % every == 0:
                injected(fault.kind)
                continue
            case DuplicateEvent(every) if count % every == 0:
                injected(fault.kind)
                yield event
            case DelayEvent(every, seconds) if count % every == 0:
                injected(fault.kind)
                await asyncio.sleep(seconds)
        yield event
        if _is_over(fault, count):
            yield await _end(fault, injected)
            return


def _is_over(fault: WatchFault, count: int) -> bool:
    return isinstance(fault, CloseWatch | FreezeWatch | ExpireWatch) and count >= fault.after_events


async def _end(fault: WatchFault, injected: Callable[[str], None]) -> bytes:
    """The last bytes of a watch; waits for ever where they never come."""
    injected(fault.kind)
    if isinstance(fault, FreezeWatch):
        await asyncio.Event().wait()
    if isinstance(fault, ExpireWatch):
        return b'{"type":"ERROR","object":' + status_body(410) + b"}\n"
    return b""


def _is_bookmark(event: bytes) -> bool:
    return bool(json.loads(event).get("type") == "BOOKMARK")
