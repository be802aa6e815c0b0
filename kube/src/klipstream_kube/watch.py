"""Reading a watch: a stream of JSON lines, one event each."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import orjson

from .errors import Unreachable, from_status


async def events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[tuple[str, dict[str, Any]]]:
    """(type, object) of every complete line.

    An ERROR event is raised as the ApiError of its code. A last line without its end was cut off with the
    connection and is not an event; a complete line that is no event means that something on the way
    garbles the stream: Unreachable.
    """
    async for line in _lines(chunks):
        try:
            event = orjson.loads(line)
            kind, item = event["type"], event["object"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise Unreachable(f"a watch sent a line that is no event: {line[:200]!r}") from error
        if kind == "ERROR":
            raise from_status(item)
        yield kind, item


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    # Not StreamReader.readline: it refuses lines beyond its buffer, and an object may have 1.5 MiB.
    torn: list[bytes] = []
    async for chunk in chunks:
        first, *rest = chunk.split(b"\n")
        torn.append(first)
        if not rest:
            continue
        yield b"".join(torn)
        for line in rest[:-1]:
            yield line
        torn = [rest[-1]]
