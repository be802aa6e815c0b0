"""Reading ahead: the next part is asked for while one is looked at."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

_T = TypeVar("_T")


async def read_ahead(parts: AsyncGenerator[_T]) -> AsyncGenerator[_T]:
    """The same parts in the same order, one of them asked for ahead; what that raises comes when its turn comes.

    Whoever takes them holds one more than without it. A part that is there already may be out of date when its turn
    comes: this is for those who take all of them at once, as a cache is filled.
    """
    following = asyncio.create_task(_next(parts))
    try:
        while (found := await following) is not None:
            following = asyncio.create_task(_next(parts))
            yield found[0]
    finally:
        following.cancel()
        await asyncio.wait({following})
        if not following.cancelled():
            following.exception()  # has been raised, or nobody wants to know any more
        await parts.aclose()


async def _next(parts: AsyncGenerator[_T]) -> tuple[_T] | None:
    async for part in parts:
        return (part,)
    return None
