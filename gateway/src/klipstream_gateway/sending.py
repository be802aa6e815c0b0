"""Writing to a caller who may have stopped reading: bytes, and event streams."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from aiohttp import ClientConnectionResetError, web

from klipstream_gateway.routes import EventStream, ServerEvent

WRITE_SECONDS = 30.0
"""How long a caller may leave what it is sent unread. Its buffers are full by then."""
CREDENTIALS_SECONDS = 15.0
"""A stream looks at its caller's credentials at each sign of life, and at least that often."""


async def deliver(request: web.Request, writing: Awaitable[None], seconds: float = WRITE_SECONDS) -> None:
    """Await a write to the caller. Raises ConnectionResetError, and cuts the connection, where it reads nothing."""
    try:
        async with asyncio.timeout(seconds):
            await writing
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the caller does not read what it is sent") from None


async def send_events(
    request: web.Request, response: web.StreamResponse, stream: EventStream, is_still: Callable[[], Awaitable[bool]]
) -> None:
    """Until the stream ends, the caller leaves or reads no more, or its credentials are not valid any more."""
    checked_at = time.monotonic()
    try:
        async with contextlib.aclosing(stream.events) as events:
            await response.prepare(request)
            await deliver(request, response.write(b"retry: 2000\n\n"))
            async for event in events:
                if event is None or event.data is None or time.monotonic() - checked_at > CREDENTIALS_SECONDS:
                    if not await is_still():
                        break
                    checked_at = time.monotonic()
                await deliver(request, response.write(b": alive\n\n" if event is None else _encoded(event)))
            await deliver(request, response.write_eof())
    except (ClientConnectionResetError, ConnectionResetError):
        return
    finally:
        stream.leave()


def _encoded(event: ServerEvent) -> bytes:
    if event.data is None:
        return b"id: %s\n\n" % event.id.encode()
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event.id.encode(), event.event.encode(), event.data)
