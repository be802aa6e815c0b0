"""Writing to a caller who may have stopped reading."""

import asyncio
from collections.abc import Awaitable

from aiohttp import web

WRITE_SECONDS = 30.0
"""How long a caller may leave what it is sent unread. Its buffers are full by then."""


async def deliver(request: web.Request, writing: Awaitable[None], seconds: float = WRITE_SECONDS) -> None:
    """Await a write to the caller. Raises ConnectionResetError, and cuts the connection, where it reads nothing."""
    try:
        async with asyncio.timeout(seconds):
            await writing
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the caller does not read what it is sent") from None
